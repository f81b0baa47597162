//! Hostile documents: an error with line and column, in bounded time.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod toys;

use std::time::{Duration, Instant};

use toys::{Toys, machine};
use tributary_pipeline::*;

/// Where the finding that begins with `message` is, its whole message, and how long the document took.
fn refused(text: &str, message: &str) -> ((u64, u64), String, Duration) {
    let start = Instant::now();
    let error = plan(
        Source::from_text("hostile.yaml", text),
        &Toys::default().registry(),
        &machine(),
    )
    .err();
    let elapsed = start.elapsed();
    let Some(PipelineError::Document(found)) = error else {
        panic!("not refused")
    };
    let all = found.to_json();
    let said = |finding: &serde_json::Value| finding["message"].as_str().unwrap().to_owned();
    let all = all.as_array().unwrap();
    let first = all
        .iter()
        .find(|finding| said(finding).starts_with(message))
        .unwrap_or(&all[0]);
    let number = |name: &str| first[name].as_u64().unwrap();
    // Drawing must not blow up either.
    assert!(found.render(100, false).len() < 4 << 20);
    ((number("line"), number("column")), said(first), elapsed)
}

#[test]
fn hostile_documents_are_refused_quickly_and_with_their_place() {
    let bomb = {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
            text.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
        }
        text
    };
    let anchors: String = (0..200).map(|n| format!("k{n}: &n{n} 1\n")).collect();
    let variables = format!(
        "variables: {{x: {}}}\nname:\n{}",
        "y".repeat(400_000),
        "- ${var.x}\n".repeat(9_000)
    );
    let nested = (0..40)
        .map(|depth| format!("{}k:\n", " ".repeat(depth)))
        .collect::<String>();
    let cases: Vec<(&str, String, (u64, u64), &str)> = vec![
        (
            "alias bomb",
            bomb,
            (5, 10),
            "too many values (aliases are counted where they expand)",
        ),
        (
            "a mebibyte of [",
            "[".repeat(1 << 20),
            (1, 33),
            "nested too deeply",
        ),
        ("deep blocks", nested, (33, 33), "nested too deeply"),
        (
            "many documents",
            "---\n".repeat(250_000),
            (2, 1),
            "more than one YAML document in the file",
        ),
        (
            "many values",
            "- 1\n".repeat(200_000),
            (10_000, 3),
            "too many values (aliases are counted where they expand)",
        ),
        ("many anchors", anchors, (101, 13), "too many anchors or aliases"),
        (
            "too long",
            " ".repeat((1 << 20) + 1),
            (1, 1),
            "the document has 1048577 bytes; at most 1048576 are read",
        ),
        (
            "duplicate keys",
            "name: a\nseed: 1\nname: b\n".into(),
            (3, 1),
            "the key `name` stands twice in one mapping",
        ),
        (
            "duplicate keys, spelt differently",
            "name: a\n\"name\": b\n".into(),
            (2, 1),
            "the key `name` stands twice in one mapping",
        ),
        (
            "tabs",
            "name: a\nsteps:\n\t- id: x\n".into(),
            (3, 2),
            "not YAML: tabs",
        ),
        (
            "merge keys",
            "a: &a {b: 1}\nc:\n  <<: *a\n".into(),
            (3, 3),
            "merge keys (`<<`) are not read",
        ),
        (
            "unknown alias",
            "name: *nope\n".into(),
            (1, 7),
            "not YAML: alias references unknown anchor",
        ),
        ("NUL", "name: \0\n".into(), (1, 7), "not YAML"),
        ("half a string", "name: \"abc\n".into(), (1, 7), "not YAML"),
        (
            "NaN",
            "name: a\nseed: .nan\n".into(),
            (2, 7),
            "NaN and infinity are not read",
        ),
        (
            "growth by variables",
            variables,
            (13, 3),
            "the document grows too large when its variables are filled in",
        ),
        (
            "empty",
            String::new(),
            (1, 1),
            "a pipeline is a mapping, found nothing",
        ),
        (
            "only a comment",
            "# nothing\n".into(),
            (2, 1),
            "a pipeline is a mapping, found nothing",
        ),
        (
            "a scalar",
            "hello\n".into(),
            (1, 1),
            "a pipeline is a mapping, found the text `hello`",
        ),
        (
            "a key that is a list",
            "? [a]\n: b\n".into(),
            (1, 3),
            "a key must be a plain word",
        ),
        ("an empty key", "~: b\n".into(), (1, 1), "a key cannot be empty"),
    ];
    for (name, text, place, message) in cases {
        let (at, said, elapsed) = refused(&text, message);
        assert!(said.starts_with(message), "{name}: {said}");
        assert_eq!(at, place, "{name}: {said}");
        // Milliseconds each; the bound only has to hold on a crowded machine.
        assert!(elapsed < Duration::from_secs(2), "{name} took {elapsed:?}");
    }
}

#[test]
fn a_byte_order_mark_is_read_over() {
    let text = "\u{feff}name: bom\nstore: memory:///bom\nsteps: [{id: a, job: write, with: {text: x}}]\n";
    assert!(
        plan(
            Source::from_text("bom.yaml", text),
            &Toys::default().registry(),
            &machine()
        )
        .is_ok()
    );
}

#[test]
fn no_cut_or_change_of_a_document_does_worse_than_an_error() {
    let text = include_str!("quickstart.yaml");
    let registry = Toys::default().registry();
    let read = |text: &str| {
        let result = plan(Source::from_text("cut.yaml", text), &registry, &machine());
        if let Err(PipelineError::Document(found)) = &result {
            found.render(100, false);
        }
        result.is_ok()
    };
    assert!(read(text));
    let ends: Vec<usize> = text.char_indices().map(|(index, _)| index).collect();
    for end in &ends {
        read(&text[..*end]);
    }
    for (place, with) in ends.iter().zip(
        ['{', '}', '[', ':', '\t', '"', '$', '*', '&', '#', '\n', '-', '!']
            .iter()
            .cycle(),
    ) {
        let mut changed = text.to_owned();
        changed.insert(*place, *with);
        read(&changed);
    }
}
