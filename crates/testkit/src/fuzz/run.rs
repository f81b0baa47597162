//! One run: inputs are made, read and judged until the time is over.

use std::collections::HashSet;
use std::env;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::escape::{escaped, unescaped};
use super::mutate::Mutator;
use super::outcome::{Outcome, check};
use super::random::Random;
use super::watchdog::Watchdog;
use crate::allocation::Taken;

/// Seconds for one target where nothing else is asked for: all together take half a minute of one processor.
const SECONDS: u64 = 4;
/// Starting points kept.
const MOST_KEPT: usize = 4096;
/// Longest input that is shown.
const MOST_SHOWN: usize = 2000;
/// How long an input that fails is made smaller.
const SHRINKING: Duration = Duration::from_secs(20);

/// Something that reads inputs of one format.
pub trait Target {
    /// Its name.
    fn name(&self) -> &'static str;

    /// Valid inputs, each of which must be read.
    fn seeds(&self) -> Vec<Vec<u8>>;

    /// Words of the format.
    fn dictionary(&self) -> Vec<Vec<u8>>;

    /// Makes a changed input fit outwardly (lengths, checksums), so that what is inside is looked at.
    fn repair(&self, _input: &mut Vec<u8>, _random: &mut Random) {}

    /// Reads an input as the program would.
    fn read(&mut self, input: &[u8]) -> Outcome;
}

/// What the surroundings ask for.
struct Settings {
    time: Duration,
    seed: u64,
    /// One input instead of many.
    input: Option<PathBuf>,
}

impl Settings {
    fn of_environment() -> Self {
        let number = |name: &str| env::var(name).ok()?.parse().ok();
        Self {
            time: Duration::from_secs(number("TRIBUTARY_FUZZ_SECONDS").unwrap_or(SECONDS)),
            seed: number("TRIBUTARY_FUZZ_SEED").unwrap_or(0),
            input: env::var_os("TRIBUTARY_FUZZ_INPUT").map(PathBuf::from),
        }
    }
}

/// Fuzzes `target` as `TRIBUTARY_FUZZ_SECONDS` and `TRIBUTARY_FUZZ_SEED` ask, or reads the one input in the file
/// `TRIBUTARY_FUZZ_INPUT`. `kept` is a table of inputs that once failed, a line each: the target's name, a blank, the
/// input [`escaped`]. An input that fails is put into `folder`.
///
/// # Panics
/// With the input, if one fails; if a seed is refused, since it would be a poor start.
#[expect(clippy::panic, reason = "tests fail by panicking")]
pub fn run(target: &mut dyn Target, kept: &str, folder: &Path) {
    let settings = Settings::of_environment();
    let name = target.name();
    if let Some(path) = &settings.input {
        let input = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        match check(&input, &mut |input| target.read(input)) {
            Ok((outcome, taken)) => say(&format!("{name}: {outcome:?}, {taken:?}")),
            Err(what) => panic!("{name}: {what}"),
        }
        return;
    }
    let report = Report {
        name,
        seed: settings.seed,
        folder: folder.to_owned(),
    };
    let last_words = report.clone();
    let watchdog = Watchdog::start(move |what, input| last_words.of(what, input));
    let judge = |target: &mut dyn Target, input: &[u8]| {
        watchdog.begins(input);
        let result = check(input, &mut |input| target.read(input));
        watchdog.ended();
        result.unwrap_or_else(|what| {
            let small = shrink(input, &what, &mut |input| {
                check(input, &mut |input| target.read(input)).err()
            });
            panic!("{}", report.of(&what, &small))
        })
    };

    let mut known = HashSet::new();
    let mut starts = target.seeds();
    for seed in &starts {
        let (outcome, _) = judge(target, seed);
        assert!(
            matches!(outcome, Outcome::Read(_)),
            "{name}: a seed is refused: {outcome:?}\n{}",
            escaped(seed)
        );
        known.insert(outcome.kind(seed.len()));
    }
    for line in kept.lines() {
        let Some(text) = line.strip_prefix(name).and_then(|rest| rest.strip_prefix(' ')) else {
            continue;
        };
        let input = unescaped(text).unwrap_or_else(|| panic!("{name}: no escaped text: {text}"));
        judge(target, &input);
        starts.push(input);
    }
    let seeds = starts.len();
    let dictionary = target.dictionary();
    let mut mutator = Mutator::new(Random::new(settings.seed), &dictionary);
    let (start, mut count, mut most) = (Instant::now(), 0u64, Taken::default());
    let mut minutes = 0;
    let tell = |count: u64, kinds: usize, most: Taken| {
        let seconds = start.elapsed().as_secs_f64();
        say(&format!(
            "{name}, seed {}: {count} inputs in {seconds:.0} s, {kinds} kinds of outcome, at most {:.1} ms and {} KiB",
            settings.seed,
            most.time.as_secs_f64() * 1e3,
            most.bytes >> 10
        ));
    };
    while start.elapsed() < settings.time {
        // What was found lately leads further; what was there first is whole.
        let all = if mutator.random.once_in(2) {
            seeds
        } else {
            starts.len()
        };
        let (at, other) = (mutator.random.below(all), mutator.random.below(starts.len()));
        let mut input = mutator.change(&starts[at], &starts[other]);
        if !mutator.random.once_in(8) {
            target.repair(&mut input, &mut mutator.random);
        }
        let (outcome, taken) = judge(target, &input);
        most.bytes = most.bytes.max(taken.bytes);
        most.time = most.time.max(taken.time);
        count += 1;
        if known.insert(outcome.kind(input.len())) && starts.len() < MOST_KEPT {
            starts.push(input);
        }
        if start.elapsed().as_secs() / 60 > minutes {
            minutes += 1;
            tell(count, known.len(), most);
        }
    }
    tell(count, known.len(), most);
}

/// What is said of an input that fails.
#[derive(Clone)]
struct Report {
    name: &'static str,
    seed: u64,
    folder: PathBuf,
}

impl Report {
    /// Puts the input into a file, and says how to read it again and how to keep it.
    fn of(&self, what: &str, input: &[u8]) -> String {
        let Self { name, seed, folder } = self;
        let path = folder.join(format!("fuzz-{name}.input"));
        // Without the file the words still hold the input, if it is short.
        let _ = std::fs::write(&path, input);
        let mut text = escaped(input);
        if text.len() > MOST_SHOWN {
            text.truncate(MOST_SHOWN);
            text.push_str("...");
        }
        format!(
            "{name} {what}\n\
             found with seed {seed}; the input has {} bytes; the line that keeps it in a table of inputs:\n\
             {name} {text}\n\
             to read it again: cargo xtask fuzz {name} --input {}",
            input.len(),
            path.display()
        )
    }
}

#[expect(
    clippy::print_stderr,
    reason = "shown when a test fails, and by cargo xtask fuzz"
)]
fn say(words: &str) {
    eprintln!("fuzz {words}");
}

/// A smaller input that fails in the same way, as far as it is found by leaving parts out.
fn shrink(input: &[u8], what: &str, failure: &mut dyn FnMut(&[u8]) -> Option<String>) -> Vec<u8> {
    // Which way: the words up to the first figure.
    let way = |what: &str| {
        what.split(|letter: char| letter.is_ascii_digit())
            .next()
            .map(str::to_owned)
    };
    let (start, mut best) = (Instant::now(), input.to_vec());
    let mut part = best.len() / 2;
    while part > 0 {
        let mut at = 0;
        while at < best.len() {
            if start.elapsed() > SHRINKING {
                return best;
            }
            let mut smaller = best.clone();
            smaller.drain(at..(at + part).min(best.len()));
            if failure(&smaller).is_some_and(|other| way(&other) == way(what)) {
                best = smaller;
            } else {
                at += part;
            }
        }
        part /= 2;
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_that_fails_is_made_small() {
        let fails = |input: &[u8]| {
            let is_bad = input.contains(&b'x') && input.contains(&b'y');
            is_bad.then(|| format!("is bad at {}", input.len()))
        };
        let small = shrink(b"aaaaxbbbbbbbycc", "is bad at 15", &mut |input| fails(input));
        assert_eq!(small, b"xy");
    }
}
