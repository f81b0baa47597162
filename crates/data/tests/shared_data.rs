//! Real data sets, where the folder `shared` stands beside the repository.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking and says what it skips"
)]

use std::path::PathBuf;

use tributary_data::{Columns, Record, Result, Source, TokenizeOptions, Tokenizer, tokenize};

/// A file of the shared data, or nothing (said aloud) where there is none.
fn shared(path: &str) -> Option<Source> {
    let file = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").unwrap())
        .join("../../../shared/data")
        .join(path);
    if !file.exists() {
        eprintln!("skipped: no {}", file.display());
        return None;
    }
    Some(Source::open(file.canonicalize().unwrap().to_str().unwrap()).unwrap())
}

fn question_and_answer() -> Columns {
    Columns {
        prompt: Some("question".into()),
        completion: Some("answer".into()),
        ..Columns::default()
    }
}

#[test]
fn questions_and_answers_are_suggested_and_then_read() {
    let Some(source) = shared("gsm8k/test.jsonl") else {
        return;
    };
    let error = source.records().unwrap().next().unwrap().unwrap_err().to_string();
    assert!(
        error.contains("test.jsonl, line 1: ")
            && error.ends_with("`columns: {prompt: question, completion: answer}`"),
        "{error}"
    );
    let records: Vec<Record> = source
        .with_columns(question_and_answer())
        .records()
        .unwrap()
        .collect::<Result<_>>()
        .unwrap();
    assert_eq!(records.len(), 1319);
    let Record::Completion { prompt, completion } = &records[0] else {
        panic!("{:?}", records[0])
    };
    assert!(prompt.starts_with("Janet\u{2019}s ducks lay 16 eggs") && completion.ends_with("#### 18"));
}

#[test]
fn plain_text_is_one_document_or_many() {
    let Some(source) = shared("grimm_tales/tales.txt") else {
        return;
    };
    let whole: Vec<Record> = source.records().unwrap().collect::<Result<_>>().unwrap();
    assert_eq!(
        (whole.len(), whole[0].text_bytes()),
        (1, 502_703),
        "byte for byte"
    );
    let paragraphs = source
        .with_separator("")
        .records()
        .unwrap()
        .collect::<Result<Vec<_>>>()
        .unwrap();
    assert!(paragraphs.len() > 1000);
}

#[test]
fn a_tokenizer_learned_from_a_book_gives_the_book_back() {
    let Some(source) = shared("tinyshakespeare/input.txt").or_else(|| shared("grimm_tales/tales.txt")) else {
        return;
    };
    let records: Vec<Record> = source.records().unwrap().collect::<Result<_>>().unwrap();
    let Record::Text(text) = &records[0] else { panic!() };
    let tokenizer =
        Tokenizer::train_byte_bpe(std::iter::once(text.clone()), 1024, &["<|endoftext|>"]).unwrap();
    let documents = tokenize(
        records.iter().cloned().map(Ok),
        &tokenizer,
        &TokenizeOptions::default(),
    )
    .unwrap();
    assert_eq!(tokenizer.decode(&documents[0].tokens, true).unwrap(), *text);
    let bytes_per_token = text.len() as f64 / documents[0].tokens.len() as f64;
    assert!((2.0..4.0).contains(&bytes_per_token), "{bytes_per_token}");
}
