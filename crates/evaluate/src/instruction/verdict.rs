//! What holds of a response: as it is, and with what often stands around it taken away.

use super::Instruction;
use super::text::{is_blank, trim};

/// Which instructions a response follows as it is. A blank one follows none.
pub fn strict(instructions: &[Instruction], response: &str) -> Vec<bool> {
    verdicts(instructions, &[response])
}

/// Which instructions a response follows in one of eight variants: as it is, without its first line, its last and both, and each
/// of these without asterisks. A blank variant follows none.
pub fn loose(instructions: &[Instruction], response: &str) -> Vec<bool> {
    let rest = response.split_once('\n').map_or("", |(_, rest)| rest);
    let body = response.rsplit_once('\n').map_or("", |(body, _)| body);
    let inner = rest.rsplit_once('\n').map_or("", |(inner, _)| inner);
    let cut = [response, trim(rest), trim(body), trim(inner)];
    let plain = cut.map(|text| text.replace('*', ""));
    let variants: Vec<&str> = cut.into_iter().chain(plain.iter().map(String::as_str)).collect();
    verdicts(instructions, &variants)
}

/// Which instructions hold for one of the variants that are not blank.
fn verdicts(instructions: &[Instruction], variants: &[&str]) -> Vec<bool> {
    let variants: Vec<&str> = variants.iter().copied().filter(|text| !is_blank(text)).collect();
    let follows = |instruction: &Instruction| variants.iter().any(|text| instruction.holds(text));
    instructions.iter().map(follows).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    fn instructions() -> Vec<Instruction> {
        let phrase = json!({"end_phrase": "The end."});
        vec![
            Instruction::parse("startend:quotation", &Map::new()).unwrap(),
            Instruction::parse("startend:end_checker", phrase.as_object().unwrap()).unwrap(),
        ]
    }

    #[test]
    fn strict_takes_the_response_as_it_is() {
        assert_eq!(strict(&instructions(), "\"It is. The end.\""), [true, true]);
        assert_eq!(
            strict(&instructions(), "Sure!\n\"It is. The end.\""),
            [false, true]
        );
        assert!(strict(&[], "x").is_empty());
    }

    #[test]
    fn a_blank_response_follows_nothing() {
        let no_comma = [Instruction::parse("punctuation:no_comma", &Map::new()).unwrap()];
        for blank in ["", " \n\t", "\u{a0}\u{3000}"] {
            assert_eq!(
                (strict(&no_comma, blank), loose(&no_comma, blank)),
                (vec![false], vec![false])
            );
        }
        // Nor does a variant that is blank.
        assert_eq!(
            (loose(&no_comma, "a, b\n "), loose(&no_comma, "a, b\n.")),
            (vec![false], vec![true])
        );
    }

    #[test]
    fn loose_takes_lines_and_stars_away() {
        let loose = |response: &str| loose(&instructions(), response);
        assert_eq!(loose("Sure!\n\"It is. The end.\""), [true, true]);
        assert_eq!(loose("\"It is. The end.\"\nDone?"), [true, true]);
        assert_eq!(loose("Sure!\n\n\"It is. The end.\"\n\nDone?"), [true, true]);
        assert_eq!(loose("**\"It is. The end.\"**"), [true, true]);
        assert_eq!(
            loose("Sure!\n\"It is.\nThe end.\"\nDone?\nReally?"),
            [false, false]
        );
        // Each instruction may be followed by another variant.
        assert_eq!(loose("\"It is.\"\nThe end."), [true, true]);
    }
}
