//! What responses follow which instructions, type by type; what is refused; and that no response takes long.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::*;

/// An instruction.
pub(super) fn parse(id: &str, arguments: Value) -> Result<Instruction> {
    Instruction::parse(id, arguments.as_object().unwrap())
}

/// Does a response follow an instruction?
pub(super) fn holds(id: &str, arguments: Value, response: &str) -> bool {
    parse(id, arguments).unwrap().holds(response)
}

/// Of the responses, those that follow.
pub(super) fn following<'a>(id: &str, arguments: Value, responses: &[&'a str]) -> Vec<&'a str> {
    let instruction = parse(id, arguments).unwrap();
    responses
        .iter()
        .copied()
        .filter(|response| instruction.holds(response))
        .collect()
}

#[test]
fn letters_are_counted_in_any_case() {
    let id = "keywords:letter_frequency";
    let given = |letter: &str, relation: &str| json!({"letter": letter, "let_frequency": 2, "let_relation": relation});
    assert_eq!(
        following(id, given("E", "at least"), &["eE", "e", "é e e"]),
        ["eE", "é e e"]
    );
    assert_eq!(
        following(id, given("e", "less than"), &["eE", "e", ""]),
        ["e", ""]
    );
    assert!(holds(id, given("#", "at least"), "#a #b"));
}

#[test]
fn sentences_have_bounds() {
    let id = "length_constraints:number_sentences";
    let given = |relation: &str| json!({"num_sentences": 2, "relation": relation});
    let texts = ["One.", "One. Two.", "One. Two. Three", "Mr. One"];
    assert_eq!(
        following(id, given("at least"), &texts),
        ["One. Two.", "One. Two. Three"]
    );
    assert_eq!(following(id, given("less than"), &texts), ["One.", "Mr. One"]);
}

#[test]
fn the_prompt_comes_first() {
    let given = json!({"prompt_to_repeat": " Say Hello. "});
    let texts = [
        "say hello. Hello!",
        "\n\"Say hello.\"",
        " SAY HELLO.",
        "Say hello",
    ];
    assert_eq!(
        following("combination:repeat_prompt", given, &texts),
        ["say hello. Hello!", " SAY HELLO."]
    );
}

#[test]
fn the_end_is_a_phrase() {
    let texts = [
        "x any QUESTIONS?",
        "\"Any questions?\" \n",
        "Any questions? No.",
        "any questions",
    ];
    let found = following(
        "startend:end_checker",
        json!({"end_phrase": "Any questions? "}),
        &texts,
    );
    assert_eq!(found, ["x any QUESTIONS?", "\"Any questions?\" \n"]);
}

#[test]
fn case_is_that_of_all_letters() {
    let upper = "THE DOG RAN THROUGH THE WOOD AND LOOKED FOR ITS STICK.";
    let lower = upper.to_lowercase();
    let german = "der hund lief durch den wald und suchte seinen stock, den er nicht mehr finden konnte.";
    let texts = [upper, &lower, "The dog ran.", german, "123"];
    assert_eq!(
        following("change_case:english_capital", json!({}), &texts),
        [upper]
    );
    assert_eq!(
        following("change_case:english_lowercase", json!({}), &texts),
        [lower.as_str()]
    );
    let given = |relation: &str| json!({"capital_frequency": 2, "capital_relation": relation});
    let texts = ["NASA and ESA", "NASA", "I CAN", "none"];
    let id = "change_case:capital_word_frequency";
    assert_eq!(
        following(id, given("at least"), &texts),
        ["NASA and ESA", "I CAN"]
    );
    assert_eq!(following(id, given("less than"), &texts), ["NASA", "none"]);
}

#[test]
fn commas_are_those_of_ascii() {
    assert_eq!(
        following("punctuation:no_comma", json!({}), &["a; b", "a, b", "a，b"]),
        ["a; b", "a，b"]
    );
}

#[test]
fn a_language_is_asked_for_by_code() {
    let french = "Le chien courait dans la forêt et cherchait son bâton, qu'il ne trouvait plus.";
    assert!(holds(
        "language:response_language",
        json!({"language": "fr"}),
        french
    ));
    assert!(!holds(
        "language:response_language",
        json!({"language": "ko"}),
        french
    ));
}

/// Arguments for every type.
fn every() -> Vec<Instruction> {
    let every = json!({
        "num_words": 3, "num_sentences": 3, "num_paragraphs": 3, "nth_paragraph": 1, "first_word": "a", "relation": "at least",
        "keyword": "aa", "keywords": ["aa", "zz"], "forbidden_words": ["a b", "zz"], "frequency": 3, "letter": "z", "let_frequency": 1,
        "let_relation": "less than", "language": "de", "num_placeholders": 1, "postscript_marker": "P.P.S", "num_bullets": 1,
        "num_highlights": 1, "section_spliter": "aa", "num_sections": 1, "prompt_to_repeat": "a", "end_phrase": "a",
        "capital_frequency": 1, "capital_relation": "at least",
    });
    let parse = |(id, read): &(&'static str, _)| {
        let read: fn(&mut Arguments<'_>) -> Result<Rule> = *read;
        let rule = read(&mut Arguments::new(id, every.as_object().unwrap())).unwrap();
        Instruction { id, rule }
    };
    types::TYPES.iter().map(parse).collect()
}

#[test]
fn long_responses_take_linear_time() {
    let instructions = every();
    let pieces = [
        "*", "**a ", "* \n", "\n", " ", "a", "a.", ". ", "! ", "a! ", "- ", "--", "[", "[a\n", "<<", ">>",
        "'", "\"", "p. ", "p.p. ", "aa ", "aa1", "{", "[\"", "\\", "A'S", "CANNOT", "é", "\u{a0}", ",",
        "...", ". . ", "a b", "```",
    ];
    for piece in pieces {
        let response = piece.repeat(100_000 / piece.len());
        for instruction in &instructions {
            let start = Instant::now();
            instruction.holds(&response);
            // Milliseconds; a step for each pair of characters would take longer.
            let taken = start.elapsed();
            assert!(
                taken < Duration::from_secs(1),
                "{} {piece:?} {taken:?}",
                instruction.id()
            );
        }
    }
}

#[test]
fn nothing_is_too_odd_to_check() {
    let instructions = every();
    let odd = [
        "",
        "\0",
        "\u{feff}",
        "'",
        "\"",
        ".",
        "\u{301}",
        "İ",
        "👩‍👩‍👧",
        "\r\n\r\n",
        "ﬁ",
        "ǅ.",
        "«.» ",
        ". .\u{85}.",
        "“.”--",
    ];
    for first in odd {
        for second in odd {
            let response = format!("{first}{second}{first}");
            assert_eq!(loose(&instructions, &response).len(), 25);
        }
    }
}
