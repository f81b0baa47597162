//! Every diagnostic, as a reader sees it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod toys;

use std::collections::BTreeMap;
use std::path::PathBuf;

use toys::{Toys, machine};
use tributary_pipeline::*;

const HEAD: &str = "name: d\nstore: memory:///diagnostics\n";

fn found(text: &str, overrides: &[&str]) -> Box<Diagnostics> {
    let source = Source {
        profiles: Vec::new(),
        name: "pipeline.yaml".into(),
        text: text.into(),
        base: PathBuf::from("tests/files"),
        overrides: overrides.iter().map(|text| (*text).to_owned()).collect(),
        environment: BTreeMap::from([
            ("WHO".into(), "world".into()),
            ("MY_TOKEN".into(), "canary".into()),
        ]),
    };
    match plan(source, &Toys::default().registry(), &machine()) {
        Err(PipelineError::Document(found)) => found,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("nothing was found wrong with\n{text}"),
    }
}

fn drawn(text: &str, overrides: &[&str]) -> String {
    let drawn = found(text, overrides).render(100, false);
    assert!(!drawn.contains("canary"), "{drawn}");
    // Lines that are blank but for spaces differ between editors.
    drawn.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// A snapshot of what is found wrong with some steps.
macro_rules! wrong {
    ($name:ident, $steps:expr) => {
        wrong!($name, $steps, []);
    };
    ($name:ident, $steps:expr, $overrides:expr) => {
        #[test]
        fn $name() {
            let text = format!("{HEAD}{}", $steps);
            let overrides: Vec<&str> = Vec::from($overrides);
            insta::assert_snapshot!(stringify!($name), drawn(&text, &overrides));
        }
    };
}

wrong!(
    unknown_keys,
    "sede: 3\nsteps:\n  - id: a\n    job: write\n    wiht: {}\n    with: {text: x, tims: 2, style: {framed: {widht: 3}}}\n    resources: {cpu: 1}\n"
);
wrong!(
    wrong_types,
    "seed: -1\nsteps:\n  - id: a\n    job: write\n    retries: many\n    with: {text: 2024, times: x, seeded: 'yes', scale: [1], style: {framed: {width: 300}}}\n"
);
wrong!(
    missing_keys,
    "steps:\n  - id: a\n  - job: write\n  - id: b\n    job: write\n    with:\n      times: 2\n  - id: c\n    job: write\n    with:\n      text: x\n      style: {framed: {}}\n"
);
wrong!(
    wrong_choice,
    "steps:\n  - {id: a, job: write, with: {text: x, style: plian}}\n  - {id: b, job: write, with: {text: x, style: framed}}\n  - {id: c, job: broken, with: {how: 3}}\n"
);
wrong!(
    unknown_job,
    "steps:\n  - {id: a, job: wirte}\n  - {id: b, job: teleport}\n"
);
wrong!(
    duplicate_and_bad_ids,
    "steps:\n  - {id: a, job: write, with: {text: x}}\n  - {id: a, job: write, with: {text: y}}\n  - {id: 1st, job: hang}\n  - {id: 'a b', job: hang}\n"
);
wrong!(
    cycle,
    "steps:\n  - id: a\n    job: concat\n    with:\n      parts:\n        - ${c.text}\n  - id: b\n    job: concat\n    with: {parts: ['${a.text}']}\n  - id: c\n    job: hang\n    after: [b]\n  - {id: x, job: hang, after: [y]}\n  - {id: y, job: hang, after: [x]}\n"
);
wrong!(
    bad_references,
    "steps:\n  - {id: base, job: write, with: {text: x}}\n  - id: b\n    job: concat\n    with:\n      parts:\n        - ${bse.text}\n        - ${base.txt}\n        - ${base.count}\n        - ${b.text}\n        - ${base}\n        - x/${base.text}\n        - ''\n    after: [bas]\n"
);
wrong!(
    wrong_kind,
    "steps:\n  - {id: base, job: write, with: {text: x}}\n  - id: b\n    job: concat\n    with:\n      parts:\n        - ${base.count}\n"
);
wrong!(
    reference_where_none_is_read,
    "steps:\n  - {id: base, job: write, with: {text: x}}\n  - id: b\n    job: write\n    with:\n      text: see ${base.text}\n"
);
wrong!(
    unquoted_reference_in_braces,
    "steps:\n  - {id: base, job: write, with: {text: x}}\n  - {id: b, job: name, with: {of: ${base.text}}}\n"
);
wrong!(
    missing_files,
    "steps:\n  - id: b\n    job: concat\n    with:\n      parts:\n        - storys.txt\n        - nowhere/at/all.txt\n        - ../files\n        - stories.txt#text\n        - memory:///nothing/here\n"
);
wrong!(
    too_many_resources,
    "steps:\n  - {id: a, job: hang, resources: {cpus: 64}}\n  - {id: b, job: hang, resources: {memory: 1TiB, gpus: 1}}\n  - {id: c, job: hang, resources: {cpus: 0, memory: much}}\n"
);
wrong!(
    overrides,
    "seed: 1\nvariables: {n: 1}\nsteps:\n  - {id: base, job: write, with: {text: x}}\n",
    [
        "sed=1",
        "seed",
        "variables.m=2",
        "steps.bas.with.text=x",
        "steps.base.with.times=lots",
        "steps.base.with.tiems=3",
        "seed=[1"
    ]
);
wrong!(
    variables,
    "variables: {n: three, l: [1], 'a b': 1}\nsteps:\n  - id: a\n    job: write\n    with: {text: 'x ${var.l}', times: '${var.n}'}\n  - id: b\n    job: write\n    with: {text: '${var.m} ${env:NOT_SET} ${env:MY_TOKEN}', times: '${env:WHO}'}\n"
);
wrong!(
    what_a_job_checks,
    "steps:\n  - {id: a, job: write, with: {text: x, times: 0}}\n  - id: b\n    job: concat\n    with:\n      parts: [stories.txt, poison.txt]\n"
);
wrong!(
    steps_of_the_wrong_shape,
    "steps:\n  - a\n  - {id: b, job: write, with: [text]}\n  - {id: c, job: hang, after: b, retries: 1000}\n"
);
wrong!(no_steps, "steps: []\n");
wrong!(steps_that_are_no_list, "steps:\n  a: {job: write}\n");
wrong!(
    bad_store,
    "steps:\n  - {id: a, job: hang}\n",
    ["store=ftp://example.org/x"]
);
wrong!(duplicate_key, "seed: 1\nseed: 2\nsteps: []\n");
wrong!(tab, "steps:\n\t- id: a\n");

#[test]
fn everything_wrong_with_a_document_is_found_at_once() {
    let text = format!(
        "{HEAD}sede: 3\nsteps:\n  - {{id: a, job: wirte}}\n  - {{id: b, job: write, with: {{txt: x}}}}\n  - {{id: c, job: concat, with: {{parts: [gone.txt, '${{d.text}}']}}}}\n  - {{id: e, job: hang, after: [e]}}\n  - {{id: f, job: write, with: {{text: x, times: 0}}}}\n"
    );
    let found = found(&text, &[]);
    let codes: Vec<&str> = found
        .findings()
        .iter()
        .map(|finding| finding.rule.code())
        .collect();
    assert_eq!(
        codes,
        [
            "pipeline::unknown_key",
            "pipeline::unknown_job",
            "pipeline::unknown_key",
            "pipeline::missing_input",
            "pipeline::unknown_step",
            "pipeline::self_reference",
            "pipeline::check",
        ]
    );
    assert_eq!(found.to_string(), "pipeline.yaml: 7 things are wrong");
}

#[test]
fn machines_get_the_same_as_json() {
    let text = format!("{HEAD}steps:\n  - {{id: a, job: wirte}}\n");
    insta::assert_json_snapshot!(found(&text, &[]).to_json(), @r#"
    [
      {
        "code": "pipeline::unknown_job",
        "message": "there is no job kind `wirte`",
        "file": "pipeline.yaml",
        "line": 4,
        "column": 18,
        "text": "wirte",
        "label": "",
        "help": "did you mean `write`?"
      }
    ]
    "#);
}

#[test]
fn credentials_are_neither_quoted_nor_printed() {
    let text = "name: d\nstore: s3://AKIAKEY:sesame+street@bucket/x\nsteps: [{id: a, job: write, wiht: 1, with: {text: 'https://h/x?X-Amz-Signature=sesame'}}]\n";
    let found = found(text, &["steps.a.retries=s3://u:sesame@b"]);
    let (drawn, json) = (found.render(100, false), found.to_json().to_string());
    assert!(drawn.contains("bucket/x") && drawn.contains("wiht"), "{drawn}");
    for said in [drawn, json, found.to_string()] {
        assert!(!said.contains("sesame") && !said.contains("AKIAKEY"), "{said}");
    }
}
