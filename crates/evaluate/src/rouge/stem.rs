//! Words without their endings: Porter, "An algorithm for suffix stripping" (Program 14, 1980), with the changes of NLTK 3.10's
//! `PorterStemmer`.
//!
//! A word is \[C\](VC)ᵐ\[V\], C and V being runs of consonants and of vowels; m is its measure. Most rules ask for the measure of what
//! is left without the ending. Of a list of endings the first that the word has decides.

/// An ending and what comes in its place.
type Rule = (&'static str, &'static str);

/// Words that have a stem of their own.
const IRREGULAR: [(&str, &str); 16] = [
    ("sky", "sky"),
    ("skies", "sky"),
    ("dying", "die"),
    ("lying", "lie"),
    ("tying", "tie"),
    ("news", "news"),
    ("inning", "inning"),
    ("innings", "inning"),
    ("outing", "outing"),
    ("outings", "outing"),
    ("canning", "canning"),
    ("cannings", "canning"),
    ("howe", "howe"),
    ("proceed", "proceed"),
    ("exceed", "exceed"),
    ("succeed", "succeed"),
];

/// Step 1a.
const PLURALS: [Rule; 4] = [("sses", "ss"), ("ies", "i"), ("ss", "ss"), ("s", "")];

/// Step 2, for a measure above 0.
const DOUBLE: [Rule; 20] = [
    ("ational", "ate"),
    ("tional", "tion"),
    ("enci", "ence"),
    ("anci", "ance"),
    ("izer", "ize"),
    ("bli", "ble"),
    ("entli", "ent"),
    ("eli", "e"),
    ("ousli", "ous"),
    ("ization", "ize"),
    ("ation", "ate"),
    ("ator", "ate"),
    ("alism", "al"),
    ("iveness", "ive"),
    ("fulness", "ful"),
    ("ousness", "ous"),
    ("aliti", "al"),
    ("iviti", "ive"),
    ("biliti", "ble"),
    ("fulli", "ful"),
];

/// Step 3, for a measure above 0.
const MIDDLE: [Rule; 7] = [
    ("icate", "ic"),
    ("ative", ""),
    ("alize", "al"),
    ("iciti", "ic"),
    ("ical", "ic"),
    ("ful", ""),
    ("ness", ""),
];

/// Step 4, for a measure above 1; `ion` only after s or t.
const LAST: [&str; 19] = [
    "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou", "ism",
    "ate", "iti", "ous", "ive", "ize",
];

/// The stem of a word of a–z and 0–9 that has more than two letters; digits count as consonants.
pub(super) fn stem(mut word: String) -> String {
    if let Some((_, stem)) = IRREGULAR.iter().find(|(irregular, _)| *irregular == word) {
        return (*stem).to_owned();
    }
    plural(&mut word);
    past(&mut word);
    if let Some(left) = word.strip_suffix('y')
        && left.len() > 1
        && ends_in_consonant(left)
    {
        replace(&mut word, "y", "i");
    }
    while let Some(left) = word.strip_suffix("alli")
        && measure(left) > 0
    {
        replace(&mut word, "alli", "al");
    }
    double(&mut word);
    apply(&mut word, &MIDDLE, |left| measure(left) > 0);
    if let Some(ending) = LAST.iter().find(|ending| word.ends_with(**ending)) {
        let left = &word[..word.len() - ending.len()];
        if measure(left) > 1 && (*ending != "ion" || left.ends_with(['s', 't'])) {
            word.truncate(left.len());
        }
    }
    if let Some(left) = word.strip_suffix('e')
        && (measure(left) > 1 || measure(left) == 1 && !is_short(left))
    {
        word.pop();
    }
    if word.ends_with("ll") && measure(&word[..word.len() - 1]) > 1 {
        word.pop();
    }
    word
}

/// Step 1a.
fn plural(word: &mut String) {
    if word.len() == 4 && word.ends_with("ies") {
        word.pop();
        return;
    }
    apply(word, &PLURALS, |_| true);
}

/// Step 1b.
fn past(word: &mut String) {
    if word.ends_with("ied") {
        let short = word.len() == 4;
        replace(word, "ied", if short { "ie" } else { "i" });
        return;
    }
    if let Some(left) = word.strip_suffix("eed") {
        if measure(left) > 0 {
            word.pop();
        }
        return;
    }
    let Some(left) = word.strip_suffix("ed").or_else(|| word.strip_suffix("ing")) else {
        return;
    };
    if consonants(left).all(|consonant| consonant) {
        return;
    }
    word.truncate(left.len());
    let last_two = &word.as_bytes()[word.len().saturating_sub(2)..];
    let doubled = last_two.len() == 2 && last_two[0] == last_two[1] && ends_in_consonant(word);
    if ["at", "bl", "iz"].iter().any(|ending| word.ends_with(ending)) {
        word.push('e');
    } else if doubled {
        if !word.ends_with(['l', 's', 'z']) {
            word.pop();
        }
    } else if measure(word) == 1 && is_short(word) {
        word.push('e');
    }
}

/// Step 2.
fn double(word: &mut String) {
    if word.ends_with("logi") {
        // The l belongs to what is left: geo, theo are long enough.
        if measure(&word[..word.len() - 3]) > 0 {
            word.pop();
        }
        return;
    }
    apply(word, &DOUBLE, |left| measure(left) > 0);
}

/// Applies the first rule whose ending the word has, if what is left allows it.
fn apply(word: &mut String, rules: &[Rule], allows: impl Fn(&str) -> bool) {
    if let Some((ending, new)) = rules.iter().find(|(ending, _)| word.ends_with(ending))
        && allows(&word[..word.len() - ending.len()])
    {
        replace(word, ending, new);
    }
}

/// Puts `new` in the place of an ending that the word has.
fn replace(word: &mut String, ending: &str, new: &str) {
    word.truncate(word.len() - ending.len());
    word.push_str(new);
}

/// Letter by letter, is it a consonant? A y is one at the beginning and after a vowel.
fn consonants(word: &str) -> impl Iterator<Item = bool> {
    let mut before = false;
    word.bytes().map(move |letter| {
        before = match letter {
            b'a' | b'e' | b'i' | b'o' | b'u' => false,
            b'y' => !before,
            _ => true,
        };
        before
    })
}

fn ends_in_consonant(word: &str) -> bool {
    consonants(word).last().unwrap_or(false)
}

/// How often a consonant follows on a vowel.
fn measure(word: &str) -> usize {
    let mut after_vowel = false;
    consonants(word)
        .filter(|consonant| std::mem::replace(&mut after_vowel, !consonant) && *consonant)
        .count()
}

/// Does the word end in consonant, vowel, and a consonant other than w, x and y? Or is it a vowel and a consonant?
fn is_short(word: &str) -> bool {
    let kinds: Vec<bool> = consonants(word).collect();
    match kinds.as_slice() {
        [false, true] => true,
        [.., true, false, true] => !word.ends_with(['w', 'x', 'y']),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_measure_counts_vowels_before_consonants() {
        // Porter's own examples.
        for (m, words) in [
            (0, ["tr", "ee", "tree", "y", "by"].as_slice()),
            (1, &["trouble", "oats", "trees", "ivy"]),
            (2, &["troubles", "private", "oaten", "orrery"]),
        ] {
            for word in words {
                assert_eq!(measure(word), m, "{word}");
            }
        }
    }

    #[test]
    fn endings_go_step_by_step() {
        let words = [
            ("caresses", "caress"),
            ("ponies", "poni"),
            ("dies", "die"),
            ("died", "die"),
            ("spied", "spi"),
            ("feed", "feed"),
            ("agreed", "agre"),
            ("plastered", "plaster"),
            ("sing", "sing"),
            ("conflated", "conflat"),
            ("hopping", "hop"),
            ("falling", "fall"),
            ("filing", "file"),
            ("happy", "happi"),
            ("enjoy", "enjoy"),
            ("generalizations", "gener"),
            ("rationally", "ration"),
            ("hopefully", "hope"),
            ("theology", "theolog"),
            ("geology", "geolog"),
            ("replacement", "replac"),
            ("adoption", "adopt"),
            ("onion", "onion"),
            ("controll", "control"),
            ("cease", "ceas"),
            ("rate", "rate"),
            ("skies", "sky"),
            ("2020s", "2020"),
        ];
        for (word, expected) in words {
            assert_eq!(stem(word.to_owned()), expected, "{word}");
        }
    }
}
