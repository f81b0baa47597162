//! Marks that a response is laid out with.

use regex::Regex;

use super::text::{is_blank, is_space, trim};

/// What a constrained response must contain one of.
const OPTIONS: [&str; 3] = ["My answer is yes.", "My answer is no.", "My answer is maybe."];

/// One of the options, anywhere?
pub(super) fn constrained(response: &str) -> bool {
    OPTIONS.iter().any(|option| response.contains(option))
}

/// Wrapped in double quotation marks?
pub(super) fn quoted(response: &str) -> bool {
    let inside = trim(response).strip_prefix('"');
    inside.is_some_and(|rest| rest.ends_with('"'))
}

/// Two different responses, with `******` between them and perhaps around?
pub(super) fn two_responses(response: &str) -> bool {
    let parts: Vec<&str> = response.split("******").map(trim).collect();
    let inner_blank = parts.len() > 2 && parts[1..parts.len() - 1].contains(&"");
    let found: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    !inner_blank && matches!(found[..], [first, second] if first != second)
}

/// Texts in square brackets, each within a line.
pub(super) fn placeholders(response: &str) -> usize {
    let in_line = |line: &str| {
        let (mut count, mut rest) = (0, line);
        while let Some(open) = rest.find('[')
            && let Some(length) = rest[open..].find(']')
        {
            count += 1;
            rest = &rest[open + length + 1..];
        }
        count
    };
    response.split('\n').map(in_line).sum()
}

/// Lines that begin with a star (found by `star`) or a dash.
pub(super) fn bullets(response: &str, star: &Regex) -> usize {
    let dashes = response
        .split('\n')
        .filter(|line| line.trim_start_matches(is_space).starts_with('-'));
    star.find_iter(response).count() + dashes.count()
}

/// Texts between one star or two on each side, within a line. One between three counts twice, as in the published checker.
pub(super) fn highlights(response: &str) -> usize {
    response
        .split('\n')
        .map(|line| spans(line, "*") + spans(line, "**"))
        .sum()
}

/// Texts without a star between two `mark`s, not blank. A mark closes one text only.
fn spans(line: &str, mark: &str) -> usize {
    let (mut count, mut from) = (0, 0);
    while let Some(open) = line[from..].find(mark) {
        let inside = from + open + mark.len();
        let end = inside + line[inside..].find('*').unwrap_or(line.len() - inside);
        if line[end..].starts_with(mark) {
            count += usize::from(!is_blank(&line[inside..end]));
            from = end + mark.len();
        } else {
            from = inside + 1 - mark.len();
        }
    }
    count
}

/// A title in double angular brackets, within a line?
pub(super) fn title(response: &str) -> bool {
    response
        .split('\n')
        .any(|line| match (line.find("<<"), line.rfind(">>")) {
            (Some(open), Some(close)) if open + 2 < close => {
                !is_blank(line[open..close].trim_start_matches('<').trim_end_matches('>'))
            }
            _ => false,
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::following;

    #[test]
    fn placeholders_lie_within_lines() {
        let id = "detectable_content:number_placeholders";
        let texts = ["[a] [b]", "[a [b]]", "[] [é]", "[a\n] [b]", "[a]", "[a][b][c]"];
        assert_eq!(
            following(id, json!({"num_placeholders": 2}), &texts),
            ["[a] [b]", "[] [é]", "[a][b][c]"]
        );
    }

    #[test]
    fn bullets_are_counted_exactly() {
        let id = "detectable_format:number_bullet_lists";
        let texts = [
            "* a\n* b",
            "- a\n\n  * b",
            "*a*\n-b",
            "** a\n* b\n* c",
            "* a\n* b\n* c",
            "a * b\n* c - d",
            // A star alone takes the next line in.
            "*\n* a\n- b",
        ];
        let found = following(id, json!({"num_bullets": 2}), &texts);
        assert_eq!(
            found,
            [
                "* a\n* b",
                "- a\n\n  * b",
                "*a*\n-b",
                "** a\n* b\n* c",
                "*\n* a\n- b"
            ]
        );
    }

    #[test]
    fn highlights_lie_between_stars() {
        let id = "detectable_format:number_highlighted_sections";
        let texts = [
            "*a* *b*",
            "**a**",
            "*a*",
            "* * *a*",
            "*a\nb* *c*",
            "** **",
            "*a* b *",
            "***a***",
        ];
        let found = following(id, json!({"num_highlights": 2}), &texts);
        assert_eq!(found, ["*a* *b*", "***a***"]);
        let found = following(id, json!({"num_highlights": 1}), &texts);
        assert_eq!(
            found,
            ["*a* *b*", "**a**", "*a*", "* * *a*", "*a* b *", "***a***"]
        );
    }

    #[test]
    fn a_constrained_response_contains_an_option() {
        let texts = [
            "My answer is yes.",
            "So: My answer is maybe. Sorry!",
            "My answer is yes",
            "my answer is no.",
        ];
        assert_eq!(
            following("detectable_format:constrained_response", json!({}), &texts),
            texts[..2]
        );
    }

    #[test]
    fn titles_are_in_double_brackets() {
        let texts = [
            "<<a>>",
            "x <<<é>>> y",
            "<< >>",
            "<<>>",
            "<a>",
            "<<a\nb>>",
            ">>a<<",
            "<< >> <<b>>",
        ];
        let found = following("detectable_format:title", json!({}), &texts);
        assert_eq!(found, ["<<a>>", "x <<<é>>> y", "<< >> <<b>>"]);
    }

    #[test]
    fn two_responses_differ() {
        let texts = [
            "a\n******\nb",
            "******a******b******",
            "a****** a",
            "a******b******c",
            "a",
            "a************b",
            "a *** b",
        ];
        let found = following("combination:two_responses", json!({}), &texts);
        assert_eq!(found, ["a\n******\nb", "******a******b******"]);
    }

    #[test]
    fn quotations_are_wrapped() {
        let texts = [" \"a\"\n", "\"\"", "\"", "\"a", "a\"", "“a”", "'a'"];
        assert_eq!(
            following("startend:quotation", json!({}), &texts),
            [" \"a\"\n", "\"\""]
        );
    }
}
