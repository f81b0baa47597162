//! Documents made to do harm: an error with line and column, soon and in little memory.

use std::time::Duration;

use tributary_merge::{MergeConfig, MergeError};
use tributary_testkit::allocation::watched;

/// What a document may take. It takes milliseconds; the bound only has to hold on a crowded machine.
const MOST_TIME: Duration = Duration::from_secs(2);
const MOST_BYTES: usize = 32 << 20;
/// The longest document that is read.
const LONGEST: usize = 1 << 20;

type Place = Option<(usize, usize)>;

/// The first mistake of a document: its place, and the message of all; or why it was not refused as it should be.
fn refused(text: &str) -> Result<(Place, String), String> {
    let (result, taken) = watched(|| {
        let result = MergeConfig::parse(text, "merge.yml").map(drop);
        result.map_err(|error| (error.to_string(), Box::new(error)))
    });
    if taken.time > MOST_TIME || taken.bytes > MOST_BYTES {
        return Err(format!("it took {taken:?}"));
    }
    let Err((message, error)) = result else {
        return Err("it is not refused".to_string());
    };
    let MergeError::Config(problems) = *error else {
        return Err(format!("it is not refused as a document: {error}"));
    };
    if message.contains(|letter: char| letter.is_control() && letter != '\n') {
        return Err(message.escape_debug().to_string());
    }
    let place = problems.problems[0].place;
    Ok((place.map(|place| (place.line, place.column)), message))
}

fn filled(begin: &str, part: impl Fn(usize) -> String) -> String {
    let mut text = begin.to_string();
    for number in 0.. {
        let part = part(number);
        if text.len() + part.len() > LONGEST {
            break;
        }
        text.push_str(&part);
    }
    text
}

#[test]
fn hostile_documents_are_refused_with_their_place() {
    let bomb: String = (1..12).fold(
        "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_string(),
        |text, level| {
            let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
            format!("{text}a{level}: &a{level} [{aliases}]\n")
        },
    );
    let merges: String = (1..50).fold("k0: &k0 {a: 1}\n".to_string(), |text, level| {
        let before = level - 1;
        format!("{text}k{level}: &k{level} {{<<: [*k{before}, *k{before}], b{level}: 1}}\n")
    });
    let long = format!(
        "x: &x \"{}\"\nmodels: [{}*x]\n",
        "y".repeat(LONGEST - 8000),
        "*x, ".repeat(900)
    );
    let cases: Vec<(&str, String, Place, &str)> = vec![
        ("an alias bomb", bomb, Some((5, 10)), "budget"),
        ("a text a thousand times", long, None, ""),
        ("merge keys", merges, None, ""),
        ("a mebibyte of [", "[".repeat(LONGEST), Some((1, 256)), "limit"),
        (
            "a mebibyte of {",
            "{a: ".repeat(LONGEST / 4),
            Some((1, 1021)),
            "limit",
        ),
        (
            "a mebibyte of - ",
            "- ".repeat(LONGEST / 2),
            Some((1, 65)),
            "budget",
        ),
        ("many documents", "---\n".repeat(LONGEST / 4), None, ""),
        (
            "a million documents",
            "---\n".repeat(1_000_000),
            None,
            "4000000 bytes",
        ),
        (
            "many values",
            filled("models:\n", |n| format!("- {n}\n")),
            None,
            "budget",
        ),
        (
            "many models that are none",
            filled("merge_method: linear\nmodels:\n", |n| {
                if n < 9000 {
                    format!("- {n:0100}\n")
                } else {
                    "#\n".to_string()
                }
            }),
            Some((3, 3)),
            "a mapping expected",
        ),
        (
            "many keys",
            filled("", |n| {
                if n < 4900 {
                    format!("k{n}: 1\n")
                } else {
                    "#\n".to_string()
                }
            }),
            None,
            "k0",
        ),
        (
            "a long key",
            format!("{}: 1\n", "k".repeat(1000)),
            Some((1, 1)),
            "unknown key",
        ),
        (
            "a very long quoted key",
            format!("? \"{}\"\n: 1\n", "k".repeat(LONGEST - 100)),
            None,
            "",
        ),
        (
            "a very long method",
            format!(
                "merge_method: {}\nmodels: [{{model: a}}]\n",
                "k".repeat(LONGEST - 100)
            ),
            Some((1, 15)),
            "unknown merge method",
        ),
        (
            "twice the same key",
            "models: []\nmodels: []\n".to_string(),
            Some((2, 1)),
            "twice",
        ),
        (
            "twice the same key, spelt differently",
            "models: []\n\"models\": []\n".to_string(),
            Some((2, 1)),
            "twice",
        ),
        (
            "a tab",
            "models:\n\t- model: a\n".to_string(),
            Some((2, 2)),
            "tab",
        ),
        (
            "no number",
            "merge_method: linear\nmodels: [{model: a, parameters: {weight: .nan}}]\n".to_string(),
            Some((2, 42)),
            "finite",
        ),
        (
            "an infinite number",
            "merge_method: linear\nmodels: [{model: a, parameters: {weight: -.inf}}]\n".to_string(),
            Some((2, 42)),
            "finite",
        ),
        (
            "an unknown alias",
            "models: *x\n".to_string(),
            Some((1, 9)),
            "anchor",
        ),
        ("NUL", "models: \0\n".to_string(), Some((1, 9)), ""),
        (
            "an escape sequence",
            "merge_method: linear\nmodels: [{model: \"\\e[2J\"}]\n".to_string(),
            Some((2, 18)),
            "control characters",
        ),
        ("half a text", "models: \"abc\n".to_string(), Some((1, 9)), ""),
        (
            "a key that is a list",
            "? [a]\n: b\n".to_string(),
            Some((1, 3)),
            "",
        ),
        ("a key that is nothing", "~: b\n".to_string(), Some((1, 1)), ""),
        (
            "carriage returns",
            "merge_method: linear\r\nmodels: [{model: 1}]\r\n".to_string(),
            Some((2, 18)),
            "text expected",
        ),
    ];
    let mut faults = Vec::new();
    for (name, text, place, words) in cases {
        match refused(&text) {
            Ok((found, message))
                if message.contains(words)
                    && (found == place
                        || (place.is_none() && (found.is_some() || words.ends_with("bytes")))) => {}
            Ok((found, message)) => faults.push(format!("{name}: at {found:?}, {words:?}: {message:.1000}")),
            Err(fault) => faults.push(format!("{name}: {fault:.1000}")),
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_byte_order_mark_and_other_line_ends_are_read_over() {
    for text in [
        "\u{feff}merge_method: linear\nmodels: [{model: a, parameters: {weight: 1}}]\n",
        "merge_method: linear\r\nmodels:\r\n- model: a\r\n  parameters: {weight: 1}\r\n",
    ] {
        MergeConfig::parse(text, "merge.yml").unwrap();
    }
}

#[test]
fn words_are_of_the_type_they_look_like() {
    let weight = |written: &str| {
        let text =
            format!("merge_method: linear\nmodels: [{{model: a, parameters: {{weight: {written}}}}}]\n");
        MergeConfig::parse(&text, "merge.yml").map_or_else(
            |error| error.to_string(),
            |config| serde_json::to_string(&config.spec.models[0].parameters["weight"]).unwrap(),
        )
    };
    assert_eq!(weight("1e-5").parse(), Ok(1e-5));
    assert_eq!(weight("0x10").parse(), Ok(16.0));
    assert_eq!(weight("1_000").parse(), Ok(1000.0));
    for words in ["no", "on", "2020-01-01", "~", "\"1\"", "1e999"] {
        assert!(
            weight(words).contains("merge.yml:2:42"),
            "{words}: {}",
            weight(words)
        );
    }
}
