//! Small tasks with words, as conversations: repeat, reverse, write large, count, pick, sort out, opposites.

use super::words::{NUMBERS, OPPOSITES, WORDS, capitalised};
use super::world::{Purpose, World, one_of};
use crate::random::Draws;
use crate::record::{Message, Record};

impl World {
    /// `count` conversations of one or two tasks each, no two alike.
    pub fn instructions(&self, count: usize) -> Vec<Record> {
        super::grammar::distinct(count, |index, attempt| {
            let mut draws = self.draws(Purpose::Instructions, index, attempt);
            let words = some_words(&mut draws);
            let first = draws.below(TASKS);
            let mut messages = task(first, &words, &mut draws);
            // Now and then the user goes on with the same words.
            if first < SAME_WORDS && draws.chance(1, 4) {
                let second = (first + 1 + draws.below(SAME_WORDS - 1)) % SAME_WORDS;
                messages.extend(again(second, &words));
            }
            Record::Messages(messages)
        })
    }
}

/// All tasks, of which the first ones can be asked again of the same words.
const TASKS: usize = 8;
const SAME_WORDS: usize = 6;

/// Two to four different words.
fn some_words(draws: &mut Draws) -> Vec<&'static str> {
    let mut all: Vec<&str> = WORDS
        .iter()
        .flat_map(|(_, words)| words.iter().copied())
        .collect();
    draws.shuffle(&mut all);
    all.truncate(draws.between(2, 4));
    all
}

fn turn(ask: String, answer: String) -> Vec<Message> {
    vec![Message::new("user", ask), Message::new("assistant", answer)]
}

/// What the assistant answers to one of the tasks that can be repeated.
fn answer(number: usize, words: &[&str]) -> String {
    let reversed: Vec<&str> = words.iter().rev().copied().collect();
    let mut sorted = words.to_vec();
    sorted.sort_unstable();
    match number {
        0 => format!("{}.", words.join(", ")),
        1 => format!("{}.", reversed.join(", ")),
        2 => format!("{}.", words.join(", ").to_uppercase()),
        3 => format!("There are {} words.", NUMBERS[words.len()]),
        4 => format!("The first word is {}.", words[0]),
        _ => format!("The last word is {}.", words[words.len() - 1]),
    }
}

fn task(number: usize, words: &[&str], draws: &mut Draws) -> Vec<Message> {
    let list = words.join(", ");
    let ask = match number {
        0 => one_of(
            draws,
            &[
                "Repeat these words: {}.",
                "Say after me: {}.",
                "Please copy this: {}.",
            ],
        ),
        1 => one_of(
            draws,
            &[
                "Say these words backwards: {}.",
                "Turn this list around: {}.",
                "Reverse the order: {}.",
            ],
        ),
        2 => one_of(
            draws,
            &[
                "Write this in capital letters: {}.",
                "Make these words large: {}.",
                "Shout this: {}.",
            ],
        ),
        3 => one_of(
            draws,
            &[
                "How many words are these: {}?",
                "Count the words: {}.",
                "How long is this list: {}?",
            ],
        ),
        4 => one_of(
            draws,
            &[
                "What is the first word: {}?",
                "Which word comes first: {}?",
                "Tell me how this list begins: {}.",
            ],
        ),
        5 => one_of(
            draws,
            &[
                "What is the last word: {}?",
                "Which word comes last: {}?",
                "Tell me how this list ends: {}.",
            ],
        ),
        6 => return pick(draws),
        _ => return opposites(draws),
    };
    turn(ask.replace("{}", &list), answer(number, words))
}

/// The same words once more.
fn again(number: usize, words: &[&str]) -> Vec<Message> {
    let ask = [
        "And as they were?",
        "And backwards?",
        "And in capital letters?",
        "And how many are there?",
        "And the first one?",
        "And the last one?",
    ];
    turn(ask[number].to_owned(), answer(number, words))
}

/// Which of these are animals?
fn pick(draws: &mut Draws) -> Vec<Message> {
    let mut kinds: Vec<usize> = (0..WORDS.len()).collect();
    draws.shuffle(&mut kinds);
    let (kind, wanted) = WORDS[kinds[0]];
    let mut wanted = wanted.to_vec();
    let mut others = WORDS[kinds[1]].1.to_vec();
    draws.shuffle(&mut wanted);
    draws.shuffle(&mut others);
    let mut list: Vec<(&str, bool)> = wanted[..2].iter().map(|word| (*word, true)).collect();
    list.extend(others[..draws.between(1, 2)].iter().map(|word| (*word, false)));
    draws.shuffle(&mut list);
    let right: Vec<&str> = list
        .iter()
        .filter(|(_, wanted)| *wanted)
        .map(|(word, _)| *word)
        .collect();
    let list: Vec<&str> = list.iter().map(|(word, _)| *word).collect();
    turn(
        format!("Which of these are {kind}: {}?", list.join(", ")),
        format!("The {kind} are {} and {}.", right[0], right[1]),
    )
}

/// The opposites of two words.
fn opposites(draws: &mut Draws) -> Vec<Message> {
    let mut pairs = OPPOSITES;
    draws.shuffle(&mut pairs);
    let sides = pairs.map(|(one, other)| {
        if draws.chance(1, 2) {
            (other, one)
        } else {
            (one, other)
        }
    });
    let [(one, not_one), (two, not_two), ..] = sides;
    turn(
        format!("What are the opposites of {one} and {two}?"),
        format!(
            "{} is the opposite of {one}, and {not_two} of {two}.",
            capitalised(not_one)
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_do_what_was_asked() {
        let mut backwards = 0;
        for record in World::new(8).instructions(2000) {
            let Record::Messages(messages) = record else {
                panic!()
            };
            assert!(
                messages
                    .chunks(2)
                    .all(|turn| turn[0].role == "user" && turn[1].role == "assistant")
            );
            let (ask, answer) = (&messages[0].content, &messages[1].content);
            if let Some(list) = ask.strip_prefix("Say these words backwards: ") {
                let mut words: Vec<&str> = list.trim_end_matches('.').split(", ").collect();
                words.reverse();
                assert_eq!(*answer, format!("{}.", words.join(", ")));
                backwards += 1;
            }
        }
        assert!(backwards > 20);
    }
}
