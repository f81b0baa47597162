//! Changed copies of inputs.
//!
//! Half of the changes know nothing but bytes; the other half know what formats are made of: length fields, decimal
//! numbers, strings, brackets, lines, and the words of a dictionary.

use std::ops::Range;

use super::random::Random;
use super::tokens::{group, tokens};

/// Longest input made, in bytes: long enough for every limit of depth, and quick to read.
const MOST_BYTES: usize = 1 << 16;

/// Numbers at which a check that is missing shows.
const NUMBERS: [u64; 24] = [
    0,
    1,
    2,
    3,
    7,
    8,
    12,
    13,
    127,
    128,
    255,
    256,
    0xFFFF,
    0x1_0000,
    0x7FFF_FFFF,
    0x8000_0000,
    0xFFFF_FFFF,
    0x1_0000_0000,
    1 << 40,
    (1 << 53) + 1,
    (1 << 63) - 1,
    1 << 63,
    u64::MAX - 7,
    u64::MAX,
];

/// And such that text can hold and no integer can.
const WRITTEN: [&str; 20] = [
    "-1",
    "-0",
    "00",
    "0.5",
    "1.0",
    "1e2",
    "1e-400",
    "1e400",
    "-1e400",
    "1e999999999",
    "18446744073709551616",
    "-9223372036854775809",
    "0x10",
    "1_000",
    "NaN",
    "Infinity",
    ".nan",
    "-.inf",
    "null",
    "true",
];

/// Bytes that end, open or confuse.
const SPECIAL: [u8; 24] = [
    0, 1, 8, b'\t', b'\n', b'\r', 0x1B, b' ', b'"', b'#', b'%', b'&', b'*', b',', b'-', b'.', b'/', b':',
    b'[', b'\\', b']', b'{', 0x7F, 0xFF,
];

/// Makes changed copies.
pub struct Mutator<'a> {
    /// What decides the changes.
    pub random: Random,
    dictionary: &'a [Vec<u8>],
}

impl<'a> Mutator<'a> {
    /// Changes decided by `random`; `dictionary` are words of the format.
    pub fn new(random: Random, dictionary: &'a [Vec<u8>]) -> Self {
        Self { random, dictionary }
    }

    /// A changed copy of `input`; parts may come from `other`, another input of the same format.
    pub fn change(&mut self, input: &[u8], other: &[u8]) -> Vec<u8> {
        let mut out = input.to_vec();
        let times = 1 + self.random.below(1 << self.random.clone().below(4));
        for _ in 0..times {
            match self.random.below(16) {
                0 => self.flip_bit(&mut out),
                1 => self.set_byte(&mut out),
                2 | 3 => self.set_integer(&mut out),
                4 => self.cut(&mut out),
                5 => self.copy_range(&mut out, other),
                6 => self.splice(&mut out, other),
                7 | 8 => self.set_number(&mut out),
                9 | 10 => self.insert_word(&mut out),
                11 => self.replace_token(&mut out, other),
                12 => self.repeat_token(&mut out),
                13 => self.remove_token(&mut out),
                14 => self.nest(&mut out),
                _ => self.change_line(&mut out, other),
            }
            out.truncate(MOST_BYTES);
        }
        out
    }

    fn flip_bit(&mut self, out: &mut [u8]) {
        let at = self.random.below(out.len());
        if let Some(byte) = out.get_mut(at) {
            *byte ^= 1 << self.random.below(8);
        }
    }

    fn set_byte(&mut self, out: &mut [u8]) {
        let at = self.random.below(out.len());
        let value = SPECIAL[self.random.below(SPECIAL.len())];
        if let Some(byte) = out.get_mut(at) {
            *byte = value;
        }
    }

    /// Writes a little-endian integer of 4 or 8 bytes: lengths, counts and kinds of binary formats.
    fn set_integer(&mut self, out: &mut [u8]) {
        let width = if self.random.once_in(2) { 4 } else { 8 };
        let at = self.random.below(out.len());
        let mut value = NUMBERS[self.random.below(NUMBERS.len())];
        if self.random.once_in(4) {
            value = (out.len() as u64).wrapping_sub(self.random.below(16) as u64);
        }
        if let Some(place) = out.get_mut(at..at + width) {
            place.copy_from_slice(&value.to_le_bytes()[..width]);
        }
    }

    fn cut(&mut self, out: &mut Vec<u8>) {
        if self.random.once_in(4) {
            let end = self.random.below(out.len());
            out.truncate(end);
        } else {
            let range = self.random.range(out.len());
            out.drain(range);
        }
    }

    fn copy_range(&mut self, out: &mut Vec<u8>, other: &[u8]) {
        let part = if self.random.once_in(2) {
            out[self.random.range(out.len())].to_vec()
        } else {
            other[self.random.range(other.len())].to_vec()
        };
        let at = self.random.below(out.len() + 1);
        let times = if self.random.once_in(8) {
            1 << self.random.below(9)
        } else {
            1
        };
        insert(out, at, &part.repeat(times));
    }

    fn splice(&mut self, out: &mut Vec<u8>, other: &[u8]) {
        let at = self.random.below(out.len() + 1);
        let from = if self.random.once_in(2) {
            at.min(other.len())
        } else {
            self.random.below(other.len() + 1)
        };
        out.truncate(at);
        out.extend_from_slice(&other[from..]);
    }

    /// Replaces a number that is written out.
    fn set_number(&mut self, out: &mut Vec<u8>) {
        let numbers: Vec<Range<usize>> = tokens(out)
            .into_iter()
            .filter(|token| out[token.start].is_ascii_digit())
            .collect();
        let Some(place) = self.random.pick(&numbers).cloned() else {
            return;
        };
        let text = if self.random.once_in(2) {
            NUMBERS[self.random.below(NUMBERS.len())].to_string()
        } else {
            WRITTEN[self.random.below(WRITTEN.len())].to_owned()
        };
        out.splice(place, text.into_bytes());
    }

    fn insert_word(&mut self, out: &mut Vec<u8>) {
        let Some(word) = self.random.pick(self.dictionary) else {
            return;
        };
        let all = tokens(out);
        match self.random.pick(&all).cloned() {
            Some(place) if self.random.once_in(2) => {
                out.splice(place, word.iter().copied());
            }
            Some(place) => insert(out, place.start, word),
            None => insert(out, 0, word),
        }
    }

    fn replace_token(&mut self, out: &mut Vec<u8>, other: &[u8]) {
        let Some(place) = self.token(out) else { return };
        let part = if self.random.once_in(2) {
            self.token(out).map(|token| out[token].to_vec())
        } else {
            self.token(other).map(|token| other[token].to_vec())
        };
        out.splice(place, part.unwrap_or_default());
    }

    /// Twice the same, or very often, with a comma between where there is a list.
    fn repeat_token(&mut self, out: &mut Vec<u8>) {
        let Some(place) = self.token(out) else { return };
        let mut part = out[place.clone()].to_vec();
        if self.random.once_in(2) {
            part.push(b',');
        }
        let times = if self.random.once_in(8) {
            1 << self.random.below(12)
        } else {
            1
        };
        insert(out, place.start, &part.repeat(times.min(MOST_BYTES / part.len())));
    }

    fn remove_token(&mut self, out: &mut Vec<u8>) {
        if let Some(place) = self.token(out) {
            out.drain(place);
        }
    }

    /// Puts brackets around a part, once or far too often.
    fn nest(&mut self, out: &mut Vec<u8>) {
        let Some(place) = self.token(out) else { return };
        let pairs: [(&[u8], &[u8]); 4] = [(b"[", b"]"), (b"{\"a\":", b"}"), (b"{a: ", b"}"), (b"- ", b"")];
        let (open, close) = pairs[self.random.below(pairs.len())];
        let depth = 1 << self.random.below(11);
        let inside = out[place.clone()].to_vec();
        let nested = [open.repeat(depth), inside, close.repeat(depth)].concat();
        out.splice(place, nested);
    }

    /// Repeats, moves or indents a line.
    fn change_line(&mut self, out: &mut Vec<u8>, other: &[u8]) {
        let from = if self.random.once_in(2) {
            out.clone()
        } else {
            other.to_vec()
        };
        let lines: Vec<&[u8]> = from.split_inclusive(|byte| *byte == b'\n').collect();
        let Some(line) = self.random.pick(&lines) else {
            return;
        };
        let starts: Vec<usize> = std::iter::once(0)
            .chain((0..out.len()).filter(|at| out[*at] == b'\n').map(|at| at + 1))
            .collect();
        let at = starts[self.random.below(starts.len())];
        match self.random.below(4) {
            0 => insert(out, at, b"  "),
            1 => insert(out, at, b"\t"),
            _ => insert(out, at, line),
        }
    }

    /// A token, or a bracket with all that is in it.
    fn token(&mut self, text: &[u8]) -> Option<Range<usize>> {
        let all = tokens(text);
        let index = self.random.below(all.len());
        let token = all.get(index)?.clone();
        Some(if self.random.once_in(2) {
            group(text, &all, index)
        } else {
            token
        })
    }
}

fn insert(out: &mut Vec<u8>, at: usize, part: &[u8]) {
    out.splice(at..at, part.iter().copied());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_depend_on_the_seed_alone_and_are_bounded() {
        let words = vec![b"word".to_vec()];
        let text = br#"{"a": [1, 2, {"b": "c"}], "n": 12}"#;
        let make = |seed| {
            let mut mutator = Mutator::new(Random::new(seed), &words);
            (0..2000)
                .map(|_| mutator.change(text, b"x: 1\n"))
                .collect::<Vec<_>>()
        };
        let made = make(7);
        assert_eq!(made, make(7));
        assert_ne!(made, make(8));
        assert!(made.iter().all(|input| input.len() <= MOST_BYTES));
        assert!(made.iter().filter(|input| &input[..] != text).count() > 1500);
        // Nothing to change is no reason to panic.
        let mut mutator = Mutator::new(Random::new(1), &[]);
        (0..2000).for_each(|_| drop(mutator.change(b"", b"")));
    }
}
