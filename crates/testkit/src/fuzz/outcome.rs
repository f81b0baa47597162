//! How reading an input ended, and whether it may end so.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::time::Duration;

use crate::allocation::watched;

/// Memory that reading may take whatever the input, and for every byte of it.
const MOST_BYTES: usize = 64 << 20;
const MOST_BYTES_A_BYTE: usize = 8;
/// Time that reading may take. It takes milliseconds; machines of tests are crowded.
pub const MOST_TIME: Duration = Duration::from_secs(2);
/// Longest message, whatever the input, and for every byte of it.
const MOST_MESSAGE: usize = 1 << 16;

/// How reading an input ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was read; what was said of it.
    Read(String),
    /// It was refused with this message.
    Refused(String),
    /// Neither: what is wrong.
    Wrong(String),
}

/// Reads an input and holds it to the rules: no panic, memory and time within bounds, a message that can be printed.
/// What a call took comes back with a good outcome.
///
/// # Errors
/// Which rule was broken.
pub fn check(
    input: &[u8],
    read: &mut dyn FnMut(&[u8]) -> Outcome,
) -> Result<(Outcome, crate::allocation::Taken), String> {
    let (result, mut taken) = watched(|| catch(|| read(input)));
    let outcome = result.map_err(|said| format!("panicked: {said}"))?;
    let most = MOST_BYTES + MOST_BYTES_A_BYTE * input.len();
    if taken.bytes > most {
        return Err(format!(
            "took {} bytes of memory; {most} are allowed for an input of {} bytes",
            taken.bytes,
            input.len()
        ));
    }
    if taken.time > MOST_TIME {
        // Once more, in case the machine was busy with something else.
        taken.time = watched(|| catch(|| read(input))).1.time.min(taken.time);
        if taken.time > MOST_TIME {
            return Err(format!("took {:?}; {MOST_TIME:?} are allowed", taken.time));
        }
    }
    match &outcome {
        Outcome::Wrong(what) => return Err(what.clone()),
        Outcome::Refused(message) if message.is_empty() => {
            return Err("was refused without a word".to_owned());
        }
        Outcome::Refused(words) | Outcome::Read(words) => check_words(words, input.len())?,
    }
    Ok((outcome, taken))
}

/// Words end up in terminals.
fn check_words(words: &str, input: usize) -> Result<(), String> {
    if words.len() > MOST_MESSAGE + MOST_BYTES_A_BYTE * input {
        return Err(format!("ended with {} bytes of words", words.len()));
    }
    match words
        .chars()
        .find(|letter| letter.is_control() && *letter != '\n')
    {
        Some(letter) => Err(format!(
            "ended with {letter:?} in the words: {}",
            words.escape_debug()
        )),
        None => Ok(()),
    }
}

impl Outcome {
    /// The kind of outcome: the first words without what changes from input to input (numbers, quoted text), and
    /// roughly where in the input it was.
    pub(super) fn kind(&self, input: usize) -> (String, usize) {
        let (mut kind, message) = match self {
            Self::Read(words) => ("read ".to_owned(), words),
            Self::Refused(words) | Self::Wrong(words) => (String::new(), words),
        };
        let end = message
            .match_indices('\n')
            .nth(1)
            .map_or(message.len(), |(at, _)| at);
        let message = &message[..end];
        let (mut quoted, mut number) = (false, false);
        for letter in message.chars() {
            let was_number = std::mem::replace(&mut number, letter.is_ascii_digit());
            match letter {
                '"' | '`' => quoted = !quoted,
                _ if quoted || kind.len() > 120 => {}
                _ if number && was_number => {}
                _ => kind.push(if number { '#' } else { letter }),
            }
        }
        let place = |word: &str| {
            let after = &message[message.find(word)? + word.len()..];
            let digits = after
                .find(|letter: char| !letter.is_ascii_digit())
                .unwrap_or(after.len());
            after[..digits].parse::<usize>().ok()
        };
        let at = place("at byte ")
            .or_else(|| place("column "))
            .or_else(|| place("line "));
        (kind, at.unwrap_or(0) * 8 / input.max(1))
    }
}

thread_local! {
    /// What the panic said, while somebody is listening on this thread.
    static SAID: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// The result of `call`, or the words and the place of its panic, which is not printed.
fn catch<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let is_heard = SAID.with_borrow_mut(|said| {
                let is_heard = said.is_some();
                *said = is_heard.then(|| panic.to_string());
                is_heard
            });
            if !is_heard {
                usual(panic);
            }
        }));
    });
    SAID.set(Some(String::new()));
    let result = catch_unwind(AssertUnwindSafe(call));
    let said = SAID.take().unwrap_or_default();
    result.map_err(|_| said)
}
