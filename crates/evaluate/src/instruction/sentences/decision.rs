//! Does a sentence end between two tokens?

/// Words that a period does not end. No `etc`, `e.g` or `i.e`: the English model of nltk has none of them either.
const ABBREVIATIONS: &str = " mr mrs ms messrs dr prof st sr jr gen col lt maj adm sen rep reps jan feb aug sep sept oct nov dec \
    tues wed fri a.m p.m yr ft ave vs inc ltd co cos corp bros u.s u.s.a u.k u.n u.s.s.r d.c n.y n.j n.c s.c n.h n.m n.d w.va \
    calif colo conn fla ill kan mich minn okla tenn wash wis ph.d m.b.a ";

/// Letters that are abbreviations before any word.
const INITIALS: &str = "cdefghklmnprstvw";

/// Letters that are labels where they begin a line, not initials of a name; the others of such a list are initials before any word.
const LABELS: &str = "abi";

/// Words that begin a sentence even after an abbreviation, if in upper case.
const STARTERS: &str = " according although among both but despite even finally he her here however if in indeed instead it many \
    meanwhile moreover most nevertheless nonetheless nor separately similarly since so some the there these they this though thus \
    under when while yes yet your ";

/// Words that are no names though they are in upper case: a letter before them is no initial.
const COMMON: &str = " a all also an and are as at be by can do for from has have his how i is just let my no not now of on one or our \
    their then to was we were what where who why will with you ";

/// Does a sentence end between the two?
pub(super) fn ends_sentence(token: &str, next: &str, begins_line: bool) -> bool {
    if ["?", "!"].contains(&token) {
        return true;
    }
    let Some(word) = token.strip_suffix('.') else {
        return false;
    };
    let ellipsis = word.ends_with('.');
    if ellipsis && !word.chars().all(|c| c == '.') {
        return false;
    }
    let word = word.to_lowercase();
    let known = |word: &str| listed(ABBREVIATIONS, word) || is_initial(word) && INITIALS.contains(word);
    let abbreviation = ellipsis || known(&word) || word.rsplit('-').next().is_some_and(known);
    let next_word = next.trim_end_matches('.').to_lowercase();
    let upper = next.starts_with(char::is_uppercase);
    // Neither a mark nor a word in lower case begins a sentence.
    let continues = [";", ":", ",", ".", "!", "?"].contains(&next) || next.starts_with(char::is_lowercase);
    let starter = upper && listed(STARTERS, &next_word);
    if is_initial(&word) {
        let label = begins_line && LABELS.contains(&word);
        let no_name = !upper || label || starter || listed(COMMON, &next_word);
        return !abbreviation && !continues && no_name;
    }
    if is_number(&word) {
        return !continues;
    }
    !abbreviation || starter
}

/// Is the word in a list?
fn listed(list: &str, word: &str) -> bool {
    list.split_ascii_whitespace().any(|listed| listed == word)
}

/// One letter?
fn is_initial(word: &str) -> bool {
    let mut characters = word.chars();
    characters.next().is_some_and(|c| c.is_alphabetic() || c == '_') && characters.next().is_none()
}

/// Digits, perhaps with a sign, commas, periods and hyphens?
fn is_number(word: &str) -> bool {
    let digits = word.strip_prefix('-').unwrap_or(word);
    let digits = digits.strip_prefix(['.', ',']).unwrap_or(digits);
    digits.starts_with(char::is_numeric) && digits.chars().all(|c| c.is_numeric() || ",.-".contains(c))
}
