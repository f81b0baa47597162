//! Reading records from stores: formats, directories, damage.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking and says what it skips"
)]

use std::sync::Arc;

use arrow::array::{
    ArrayRef, DictionaryArray, Int64Array, LargeStringArray, ListArray, RecordBatch, StringArray, StructArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields, Int32Type};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use tributary_data::{Columns, Format, Message, Record, Result, Source};
use tributary_data::{Input, read};
use tributary_store::Store;

/// A parquet file of the given columns, three rows a row group.
fn table(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut bytes = Vec::new();
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(3))
        .build();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

fn rows(bytes: Vec<u8>, columns: &Columns) -> Result<Vec<Record>> {
    read(
        Input::from_bytes("t.parquet", bytes),
        Format::Parquet,
        columns,
        None,
    )?
    .collect()
}

fn texts() -> Vec<String> {
    (0..10).map(|n| format!("row {n}: ünïcode")).collect()
}

fn numbers() -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(0..10))
}

fn conversations(role: &str, content: &str) -> ArrayRef {
    let fields = Fields::from(vec![
        Field::new(role, DataType::Utf8, true),
        Field::new("weight", DataType::Int64, true),
        Field::new(content, DataType::Utf8, true),
    ]);
    let messages = StructArray::new(
        fields.clone(),
        vec![
            Arc::new(StringArray::from(vec!["user", "assistant", "user"])) as ArrayRef,
            Arc::new(Int64Array::from_iter_values(0..3)),
            Arc::new(StringArray::from(vec![Some("hi"), Some("hello"), None])),
        ],
        None,
    );
    let list = Field::new("item", DataType::Struct(fields), true);
    Arc::new(ListArray::new(
        Arc::new(list),
        OffsetBuffer::from_lengths([2, 0, 1]),
        Arc::new(messages),
        None,
    ))
}

#[test]
fn text_columns_of_any_string_type_over_row_groups() {
    let expected: Vec<Record> = texts().into_iter().map(Record::Text).collect();
    let strings: [ArrayRef; 3] = [
        Arc::new(StringArray::from(texts())),
        Arc::new(LargeStringArray::from(texts())),
        Arc::new(
            texts()
                .iter()
                .map(|text| Some(text.as_str()))
                .collect::<DictionaryArray<Int32Type>>(),
        ),
    ];
    for column in strings {
        let bytes = table(vec![("id", numbers()), ("text", column)]);
        assert_eq!(rows(bytes, &Columns::default()).unwrap(), expected);
    }
}

#[test]
fn columns_are_mapped_and_messages_are_read() {
    let bytes = table(vec![
        ("question", Arc::new(StringArray::from(texts()))),
        ("answer", Arc::new(StringArray::from(texts()))),
    ]);
    let error = rows(bytes.clone(), &Columns::default()).unwrap_err().to_string();
    assert!(
        error.starts_with("t.parquet, schema: ")
            && error.ends_with("`columns: {prompt: question, completion: answer}`"),
        "{error}"
    );
    let columns = Columns {
        prompt: Some("question".into()),
        completion: Some("answer".into()),
        ..Columns::default()
    };
    let first = &rows(bytes, &columns).unwrap()[0];
    assert_eq!(
        *first,
        Record::Completion {
            prompt: texts()[0].clone(),
            completion: texts()[0].clone()
        }
    );

    let columns = Columns {
        messages: Some("chat".into()),
        role: Some("from".into()),
        content: Some("value".into()),
        ..Columns::default()
    };
    let bytes = table(vec![("chat", conversations("from", "value"))]);
    let mut read = read(
        Input::from_bytes("t.parquet", bytes),
        Format::Parquet,
        &columns,
        None,
    )
    .unwrap();
    let expected = vec![Message::new("user", "hi"), Message::new("assistant", "hello")];
    assert_eq!(read.next().unwrap().unwrap(), Record::Messages(expected));
    assert_eq!(read.next().unwrap().unwrap(), Record::Messages(vec![]));
    assert_eq!(
        read.next().unwrap().unwrap_err().to_string(),
        "t.parquet, row 3: `value` is null"
    );
    assert!(read.next().is_none());
}

#[test]
fn wrong_types_in_a_table_are_named() {
    let error = |columns| rows(table(columns), &Columns::default()).unwrap_err().to_string();
    assert!(error(vec![("text", numbers())]).ends_with("schema: `text` is a column of Int64, not of text"));
    assert!(error(vec![("messages", numbers())]).contains("not a list of messages"));
    assert!(
        error(vec![("messages", conversations("role", "text"))])
            .contains("messages in `messages` have no `content` (found: role, weight, text)")
    );
    let gap = StringArray::from(vec![Some("a"), Some("b"), Some("c"), None]);
    assert_eq!(
        error(vec![("text", Arc::new(gap))]),
        "t.parquet, row 4: `text` is null"
    );
}

#[test]
fn damaged_parquet_is_an_error_and_never_a_panic() {
    std::panic::set_hook(Box::new(|_| {}));
    let good = table(vec![
        ("id", numbers()),
        ("text", Arc::new(StringArray::from(texts()))),
    ]);
    let mut errors = 0;
    for cut in 0..good.len() {
        errors += u32::from(rows(good[..cut].to_vec(), &Columns::default()).is_err());
    }
    assert_eq!(errors as usize, good.len(), "every truncation is noticed");
    let mut state = 1u64;
    for _ in 0..4000 {
        let mut bad = good.clone();
        for _ in 0..3 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let at = (state >> 33) as usize % bad.len();
            bad[at] = (state >> 20) as u8;
        }
        // Flips inside a page's values may go unnoticed; what matters is to come back.
        let _ = rows(bad, &Columns::default());
    }
}

fn remote(name: &str) -> Store {
    Store::open(&format!("memory:///{name}")).unwrap()
}

#[test]
fn a_directory_is_read_file_by_file_in_order() {
    let store = remote("directory");
    store.put("data/b.txt", "from b".as_bytes().to_vec()).unwrap();
    store
        .put("data/a.jsonl", b"{\"text\": \"from a\"}\n".to_vec())
        .unwrap();
    store
        .put(
            "data/c/d.parquet",
            table(vec![("text", Arc::new(StringArray::from(vec!["from d"])))]),
        )
        .unwrap();
    store.put("data/tributary.json", b"{}".to_vec()).unwrap();
    store.put("data/notes.pdf", b"%".to_vec()).unwrap();
    let source = Source::new(store.clone(), "data");
    assert_eq!(
        source.files().unwrap(),
        ["data/a.jsonl", "data/b.txt", "data/c/d.parquet"]
    );
    let records: Vec<Record> = source.records().unwrap().collect::<Result<_>>().unwrap();
    assert_eq!(
        records,
        ["from a", "from b", "from d"].map(|text| Record::Text(text.to_owned()))
    );
    let error = Source::new(store.clone(), "date")
        .records()
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("no such file"), "{error}");
    let error = Source::new(store, "data/notes.pdf")
        .records()
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("`format: text`"), "{error}");
}

#[test]
fn the_same_records_from_memory_a_disk_and_an_object_store() {
    let directory = tempfile::tempdir().unwrap();
    let text: String = (0..200_000)
        .map(|n| format!("{{\"text\": \"document number {n}\"}}\n"))
        .collect();
    assert!(text.len() > 5 << 20, "more than one block");
    std::fs::write(directory.path().join("big.jsonl"), &text).unwrap();
    let store = remote("big");
    store.put("big.jsonl", text.clone().into_bytes()).unwrap();
    let from_memory = read(
        Input::from_bytes("big.jsonl", text.into_bytes()),
        Format::Jsonl,
        &Columns::default(),
        None,
    )
    .unwrap();
    let from_memory: Vec<Record> = from_memory.collect::<Result<_>>().unwrap();
    assert_eq!(from_memory.len(), 200_000);
    let path = directory.path().join("big.jsonl");
    for source in [
        Source::open(path.to_str().unwrap()).unwrap(),
        Source::new(store, "big.jsonl"),
    ] {
        assert_eq!(
            source.records().unwrap().collect::<Result<Vec<_>>>().unwrap(),
            from_memory
        );
    }
}

#[test]
fn rows_of_a_table_keep_their_columns() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("rows.parquet");
    let bytes = table(vec![
        ("turns", conversations("role", "content")),
        (
            "number",
            Arc::new(Int64Array::from(vec![Some(3), None, Some(-1)])),
        ),
        ("letters", Arc::new(StringArray::from(vec!["a", "ü", ""]))),
    ]);
    std::fs::write(&place, &bytes).unwrap();
    let rows = Source::open(place.to_str().unwrap()).unwrap().rows().unwrap();
    let turn =
        |role, weight, content| serde_json::json!({"role": role, "weight": weight, "content": content});
    let (user, assistant) = (turn("user", 0, Some("hi")), turn("assistant", 1, Some("hello")));
    let expected = [
        serde_json::json!({"turns": [user, assistant], "number": 3, "letters": "a"}),
        serde_json::json!({"turns": [], "number": null, "letters": "ü"}),
        serde_json::json!({"turns": [turn("user", 2, None)], "number": -1, "letters": ""}),
    ];
    let rows: Vec<serde_json::Value> = rows.into_iter().map(Into::into).collect();
    assert_eq!(rows, expected);

    // Damaged anywhere: an error or other rows, never a panic.
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x55;
        std::fs::write(&place, damaged).unwrap();
        let _ = Source::open(place.to_str().unwrap()).unwrap().rows();
    }
    let refused = |bytes: &[u8]| {
        std::fs::write(&place, bytes).unwrap();
        let rows = Source::open(place.to_str().unwrap()).unwrap().rows();
        rows.unwrap_err().to_string()
    };
    let error = refused(&bytes[..bytes.len() / 2]);
    assert!(error.contains("rows.parquet"), "{error}");
    // A few bytes that claim to be a million rows.
    let nulls = RecordBatch::try_from_iter_with_nullable([(
        "n",
        Arc::new(Int64Array::new_null((1 << 20) + 1)) as ArrayRef,
        true,
    )])
    .unwrap();
    let mut small = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut small, nulls.schema(), None).unwrap();
    writer.write(&nulls).unwrap();
    writer.close().unwrap();
    assert!(small.len() < 10_000, "{}", small.len());
    let error = refused(&small);
    assert!(error.contains("more than 1048576 rows"), "{error}");
}

#[test]
fn random_bytes_are_errors() {
    let mut state = 7u64;
    for round in 0..300 {
        let bytes: Vec<u8> = (0..200)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (state >> 40) as u8
            })
            .collect();
        for format in [Format::Jsonl, Format::Parquet] {
            let outcome = read(
                Input::from_bytes("x", bytes.clone()),
                format,
                &Columns::default(),
                None,
            )
            .and_then(|records| records.collect::<Result<Vec<_>>>());
            assert!(outcome.is_err(), "round {round}: {outcome:?}");
        }
    }
}
