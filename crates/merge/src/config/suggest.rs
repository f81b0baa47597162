//! The nearest known word to a misspelt one.

/// The word of `known` that `text` most probably meant, if any is near.
pub(crate) fn nearest<'a>(text: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Nothing as long as this is near, and comparing takes time in the square of the length.
    let text = if text.len() > 100 { "" } else { text }.to_lowercase();
    known
        .into_iter()
        .map(|word| (strsim::jaro_winkler(&text, &word.to_lowercase()), word))
        .filter(|(score, _)| *score >= 0.8)
        // On equal scores the first one wins: `max_by` would take the last.
        .fold(None, |best: Option<(f64, &str)>, found| match best {
            Some(best) if best.0 >= found.0 => Some(best),
            _ => Some(found),
        })
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let known = ["linear", "task_arithmetic", "metagpt"];
        assert_eq!(nearest("task_aritmetic", known), Some("task_arithmetic"));
        assert_eq!(nearest("MetaGPT", known), Some("metagpt"));
        assert_eq!(nearest("lineer", known), Some("linear"));
        assert_eq!(nearest("zzz", known), None);
    }
}
