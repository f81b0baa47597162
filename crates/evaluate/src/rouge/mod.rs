//! ROUGE (Lin 2004): what a text has in common with a reference, by words, pairs of words and common subsequences.
//!
//! Two Python packages of that name give different numbers for the same texts; [`Variant`] says which of them is meant.

mod overlap;
mod stem;
mod subsequence;
mod text;
mod tokens;
mod union;

use serde::{Deserialize, Serialize};

pub use text::{RougeReader, RougeText};

/// The Python package whose numbers these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Variant {
    /// `rouge-score` 0.1.2 by Google: words are runs of a–z and 0–9 in lower case, each counted as often as it stands there,
    /// sentences are lines.
    Google,
    /// The same with `use_stemmer=True`: words of more than three letters without their endings.
    GoogleStemmed,
    /// `rouge` 1.0.1 on PyPI, by default options: words are what stands between blanks, each counted once however often it stands
    /// there, and sentences end at full stops, those within a number too. A sentence of blanks holds one empty word. Sentences may
    /// be longer than Python's recursion allows the package.
    Pypi,
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Measure {
    /// Words.
    #[serde(rename = "rouge1")]
    One,
    /// Pairs of neighbouring words, across sentences too.
    #[serde(rename = "rouge2")]
    Two,
    /// The longest common subsequence of the whole texts. With [`Variant::Pypi`] the same as [`Measure::Lsum`]: the package's
    /// `rouge-l` looks at sentences.
    #[serde(rename = "rougeL")]
    L,
    /// Sentence by sentence of the reference, the words in a longest common subsequence with any sentence of the prediction.
    #[serde(rename = "rougeLsum")]
    Lsum,
}

/// Shares of a prediction and of a reference that they have in common, 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rouge {
    /// Share of the prediction.
    pub precision: f64,
    /// Share of the reference.
    pub recall: f64,
    /// Their harmonic mean; with [`Variant::Pypi`] smaller than that by up to 5e-9, as in the package.
    pub f1: f64,
}

/// Compares a prediction with a reference. All 0 if one of them holds no words: `rouge-score` says so too, `rouge` 1.0.1 raises a
/// `ValueError` for a text that is empty or nothing but full stops.
///
/// [`RougeReader`] does the same for many pairs of the same texts.
pub fn rouge(variant: Variant, measure: Measure, prediction: &str, reference: &str) -> Rouge {
    let mut reader = RougeReader::new(variant);
    let (prediction, reference) = (reader.read(prediction), reader.read(reference));
    reader.compare(measure, &prediction, &reference)
}

/// The comparison with the reference that gives the largest F1, the first of equals, as `score_multi` of `rouge-score`. None if there
/// are no references.
pub fn best_rouge<T: AsRef<str>>(
    variant: Variant,
    measure: Measure,
    prediction: &str,
    references: &[T],
) -> Option<Rouge> {
    let mut reader = RougeReader::new(variant);
    let prediction = reader.read(prediction);
    let mut best: Option<Rouge> = None;
    for reference in references {
        let reference = reader.read(reference.as_ref());
        let found = reader.compare(measure, &prediction, &reference);
        if best.is_none_or(|best| found.f1 > best.f1) {
            best = Some(found);
        }
    }
    best
}

impl Rouge {
    /// From counts: what is common, and all of the prediction and of the reference.
    fn of_counts(variant: Variant, common: usize, prediction: usize, reference: usize) -> Rouge {
        // Nothing is common where there is nothing.
        let share = |whole: usize| common as f64 / whole.max(1) as f64;
        let (precision, recall) = (share(prediction), share(reference));
        let f1 = match variant {
            Variant::Pypi => 2.0 * (precision * recall / (precision + recall + 1e-8)),
            _ if common == 0 => 0.0,
            _ => 2.0 * precision * recall / (precision + recall),
        };
        Rouge {
            precision,
            recall,
            f1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Measure::{L, Lsum, One, Two};
    use super::Variant::{Google, GoogleStemmed, Pypi};
    use super::*;

    /// Are precision and recall these, and F1 their harmonic mean?
    fn check(variant: Variant, measure: Measure, texts: (&str, &str), precision: f64, recall: f64) {
        let found = rouge(variant, measure, texts.0, texts.1);
        assert_eq!((found.precision, found.recall), (precision, recall), "{texts:?}");
        let mean = if precision + recall > 0.0 {
            2.0 * precision * recall / (precision + recall)
        } else {
            0.0
        };
        let allowed = if variant == Pypi { 1e-8 } else { 1e-15 };
        assert!((found.f1 - mean).abs() < allowed, "{found:?} {mean}");
    }

    #[test]
    fn only_google_counts_a_word_twice() {
        let texts = ("a b b", "a a a b");
        check(Google, One, texts, 2.0 / 3.0, 0.5);
        check(Pypi, One, texts, 1.0, 1.0);
        // a b, b b against a a, a a, a b.
        check(Google, Two, texts, 0.5, 1.0 / 3.0);
        check(Pypi, Two, texts, 0.5, 0.5);
    }

    #[test]
    fn the_subsequence_keeps_the_order() {
        let texts = ("the gunman police killed", "police killed the gunman");
        check(Google, One, texts, 1.0, 1.0);
        check(Google, L, texts, 0.5, 0.5);
        check(Google, L, ("police kill the gunman", texts.1), 0.75, 0.75);
    }

    #[test]
    fn sentences_join_what_they_have_in_common() {
        // Lin 2004, section 3.2: w1 w2 and w1 w3 w5 give w1 w2 w3 w5.
        let reference = "w1 w2 w3 w4 w5";
        check(
            Google,
            Lsum,
            ("w1 w2 w6 w7 w8\nw1 w3 w8 w9 w5", reference),
            0.4,
            0.8,
        );
        // Eight words in the prediction, w1 and w8 twice.
        let prediction = "w1 w2 w6 w7 w8. w1 w3 w8 w9 w5.";
        check(Pypi, Lsum, (prediction, reference), 0.5, 0.8);
        check(Pypi, L, (prediction, reference), 0.5, 0.8);
        // Of the whole text: w1 w2 w3 w5.
        check(Google, L, (prediction, reference), 0.4, 0.8);
        // A word of the prediction counts for one of the reference.
        check(Google, Lsum, ("a b", "a b\na b"), 1.0, 0.5);
        check(Pypi, Lsum, ("a b", "a b. a b"), 1.0, 1.0);
    }

    #[test]
    fn endings_go_only_when_asked() {
        let texts = ("He walked.", "he walks");
        check(Google, One, texts, 0.5, 0.5);
        check(GoogleStemmed, Two, texts, 1.0, 1.0);
        // Words of three letters stay as they are.
        check(GoogleStemmed, One, ("was", "wa"), 0.0, 0.0);
    }

    #[test]
    fn nothing_has_nothing_in_common() {
        for measure in [One, Two, L, Lsum] {
            for texts in [("", ""), ("", "a b"), ("a b", ""), ("...", "a. b"), ("?!\n", "a")] {
                for variant in [Google, GoogleStemmed, Pypi] {
                    assert_eq!(rouge(variant, measure, texts.0, texts.1), Rouge::default());
                }
            }
        }
        // A sentence of blanks is an empty word.
        check(Pypi, One, (" ", "a. b"), 0.0, 0.0);
        check(Pypi, One, ("a. ", " "), 0.5, 1.0);
    }

    #[test]
    fn the_best_reference_is_the_first_of_equals() {
        let found = best_rouge(Google, One, "a b", &["x", "a", "a b c d"]);
        assert_eq!(found, Some(rouge(Google, One, "a b", "a")));
        let found = best_rouge(Google, One, "a b", &["a", "a b c d", "a b c"]);
        assert_eq!(found, Some(rouge(Google, One, "a b", "a b c")));
        let none: [&str; 0] = [];
        assert_eq!(best_rouge(Pypi, L, "a", &none), None);
    }
}
