//! ROUGE-L of texts of several sentences (Lin 2004, section 3.2).

use super::Variant;
use super::overlap::overlap;
use super::subsequence::Pattern;
use super::text::RougeText;

/// How many words of the reference stand in a longest common subsequence of their sentence and any sentence of the prediction. None
/// counts more often than the prediction has it.
pub(super) fn union(variant: Variant, prediction: &RougeText, reference: &RougeText) -> usize {
    let mut found = vec![false; reference.words.len()];
    // Sentences may have several longest common subsequences. Which one counts is a matter of the package, and here of which
    // sentence is the pattern.
    let reference_leads = variant != Variant::Pypi;
    let (patterns, texts) = if reference_leads {
        (reference, prediction)
    } else {
        (prediction, reference)
    };
    for sentence in &patterns.sentences {
        let pattern = Pattern::new(&patterns.words[sentence.clone()]);
        for other in &texts.sentences {
            pattern.common(&texts.words[other.clone()], |at, with| {
                let place = if reference_leads {
                    sentence.start + at
                } else {
                    other.start + with
                };
                found[place] = true;
            });
        }
    }
    let mut words: Vec<u32> = reference
        .words
        .iter()
        .zip(found)
        .filter_map(|(word, found)| found.then_some(*word))
        .collect();
    words.sort_unstable();
    overlap(&words, &prediction.ones)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rouge::RougeReader;

    fn common(variant: Variant, prediction: &str, reference: &str) -> usize {
        let mut reader = RougeReader::new(variant);
        let (prediction, reference) = (reader.read(prediction), reader.read(reference));
        union(variant, &prediction, &reference)
    }

    #[test]
    fn of_equally_long_subsequences_each_package_has_its_own() {
        // Of a and b, either is a longest one: Google's is b, the other package's a. The second sentence adds b, or a.
        assert_eq!(common(Variant::Google, "a b\nb", "b a"), 1);
        assert_eq!(common(Variant::Pypi, "a b. b", "b a"), 2);
        assert_eq!(common(Variant::Google, "a b\na", "b a"), 2);
        assert_eq!(common(Variant::Pypi, "a b. a", "b a"), 1);
    }
}
