//! Texts read once and compared many times.

use std::collections::HashMap;
use std::ops::Range;

use super::overlap::overlap;
use super::subsequence::common_length;
use super::tokens::sentences;
use super::union::union;
use super::{Measure, Rouge, Variant};

/// Reads texts and compares what it read.
#[derive(Clone, Debug)]
pub struct RougeReader {
    variant: Variant,
    /// Numbers of the words seen.
    numbers: HashMap<String, u32>,
}

/// A text as its [`RougeReader`] keeps it: numbers instead of words.
#[derive(Clone, Debug)]
pub struct RougeText {
    pub(super) words: Vec<u32>,
    /// Where in `words` each sentence is.
    pub(super) sentences: Vec<Range<usize>>,
    /// The words in order of their numbers, as often as they count.
    pub(super) ones: Vec<u32>,
    /// The pairs of neighbours likewise.
    twos: Vec<u64>,
}

impl RougeText {
    /// Does the text hold no words?
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }
}

impl RougeReader {
    /// A reader that has seen no text.
    pub fn new(variant: Variant) -> RougeReader {
        RougeReader {
            variant,
            numbers: HashMap::new(),
        }
    }

    /// Reads a text.
    pub fn read(&mut self, text: &str) -> RougeText {
        let (mut words, mut ranges) = (Vec::new(), Vec::new());
        for sentence in sentences(self.variant, text) {
            let start = words.len();
            for word in sentence {
                words.push(self.number(&word));
            }
            ranges.push(start..words.len());
        }
        let mut ones = words.clone();
        ones.sort_unstable();
        let mut twos: Vec<u64> = words
            .windows(2)
            .map(|pair| (u64::from(pair[0]) << 32) | u64::from(pair[1]))
            .collect();
        twos.sort_unstable();
        if self.variant == Variant::Pypi {
            ones.dedup();
            twos.dedup();
        }
        RougeText {
            words,
            sentences: ranges,
            ones,
            twos,
        }
    }

    /// Compares two texts of this reader, as [`rouge`](super::rouge) does; of texts of another reader the result means nothing.
    pub fn compare(&self, measure: Measure, prediction: &RougeText, reference: &RougeText) -> Rouge {
        let common = match (measure, self.variant) {
            (Measure::One, _) => overlap(&prediction.ones, &reference.ones),
            (Measure::Two, _) => {
                let common = overlap(&prediction.twos, &reference.twos);
                let (all, of) = (prediction.twos.len(), reference.twos.len());
                return Rouge::of_counts(self.variant, common, all, of);
            }
            (Measure::L, Variant::Google | Variant::GoogleStemmed) => {
                common_length(&prediction.words, &reference.words)
            }
            (Measure::L, Variant::Pypi) | (Measure::Lsum, _) => union(self.variant, prediction, reference),
        };
        Rouge::of_counts(self.variant, common, prediction.ones.len(), reference.ones.len())
    }

    fn number(&mut self, word: &str) -> u32 {
        if let Some(number) = self.numbers.get(word) {
            return *number;
        }
        let number = self.numbers.len() as u32;
        self.numbers.insert(word.to_owned(), number);
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rouge::rouge;

    #[test]
    fn texts_read_together_compare_as_alone() {
        let texts = [
            "The cat. The cat sat.",
            "",
            "A cat\nsat, the cat\nsat.",
            "sat sat",
        ];
        for variant in [Variant::Google, Variant::GoogleStemmed, Variant::Pypi] {
            let mut reader = RougeReader::new(variant);
            let read: Vec<RougeText> = texts.iter().map(|text| reader.read(text)).collect();
            assert!(read[1].is_empty() && !read[0].is_empty());
            for measure in [Measure::One, Measure::Two, Measure::L, Measure::Lsum] {
                for (first, text) in read.iter().zip(texts) {
                    for (second, other) in read.iter().zip(texts) {
                        let found = reader.compare(measure, first, second);
                        assert_eq!(found, rouge(variant, measure, text, other));
                        let back = reader.compare(measure, second, first);
                        if measure != Measure::Lsum && variant != Variant::Pypi {
                            assert_eq!(back.recall, found.precision);
                        }
                    }
                }
            }
        }
    }
}
