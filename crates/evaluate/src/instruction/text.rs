//! Text as Python sees it.

/// White space of Python: that of Unicode, and four separators of ASCII.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// The text without white space around it.
pub(super) fn trim(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// Nothing but white space?
pub(super) fn is_blank(text: &str) -> bool {
    text.chars().all(is_space)
}

/// A letter in upper case, and none in another?
pub(super) fn is_upper(text: &str) -> bool {
    text.chars().any(char::is_uppercase) && !text.chars().any(|c| c.is_lowercase() || is_title(c))
}

/// A letter in lower case, and none in another?
pub(super) fn is_lower(text: &str) -> bool {
    text.chars().any(char::is_lowercase) && !text.chars().any(|c| c.is_uppercase() || is_title(c))
}

/// A letter such as ǅ, upper and lower at once: neither, though it has a lower form.
fn is_title(c: char) -> bool {
    !c.is_uppercase() && !c.is_lowercase() && c.to_lowercase().next() != Some(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_needs_a_letter_and_no_other_case() {
        assert!(
            is_upper("A 1, É!")
                && !is_upper("Aa")
                && !is_upper("1 !")
                && !is_upper("Ǆ ǅ")
                && !is_upper("日本")
        );
        assert!(
            is_lower("a 1, é ß")
                && !is_lower("aA")
                && !is_lower("")
                && !is_lower("a ǅ")
                && is_lower("日本 a")
        );
    }

    #[test]
    fn space_is_pythons() {
        assert_eq!(trim("\u{a0}\x1c\u{3000} a b\u{2028}\n"), "a b");
        // No white space in either: zero width space and the byte order mark.
        assert_eq!(trim("\u{200b}a\u{feff}"), "\u{200b}a\u{feff}");
        assert!(is_blank(" \n\x1f") && is_blank("") && !is_blank(" . "));
    }
}
