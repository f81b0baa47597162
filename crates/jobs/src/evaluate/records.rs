//! What was measured row by row, as parquet: for whoever goes on with data frames.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, UInt64Array};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use tributary_evaluate::{Answer, DocumentScore, Given, Part};
use tributary_pipeline::JobError;

use super::cell::Cell;
use super::settings::TOP;
use super::tasks::Answers;

/// A line for every document that every model read: `model`, `data`, `id`, `tokens`, `nll` (Σ, nats), and `top_1`, `top_5` (tokens that
/// were among the most probable ones), null where they were not asked for.
pub(super) fn documents(cells: &[Cell]) -> Result<Vec<u8>, JobError> {
    let rows: Vec<(&Cell, &DocumentScore)> = cells
        .iter()
        .flat_map(|cell| cell.documents.iter().map(move |document| (cell, document)))
        .collect();
    let top = |at: usize| {
        let counts = rows.iter().map(|(_, document)| document.correct.get(at).copied());
        Arc::new(counts.collect::<UInt64Array>()) as ArrayRef
    };
    let mut columns: Vec<(String, ArrayRef)> = vec![
        (
            "model".to_owned(),
            texts(rows.iter().map(|(cell, _)| Some(cell.model.as_str()))),
        ),
        (
            "data".to_owned(),
            texts(rows.iter().map(|(cell, _)| Some(cell.data.as_str()))),
        ),
        (
            "id".to_owned(),
            texts(rows.iter().map(|(_, document)| Some(document.id.as_str()))),
        ),
        (
            "tokens".to_owned(),
            Arc::new(
                rows.iter()
                    .map(|(_, document)| document.tokens)
                    .collect::<UInt64Array>(),
            ),
        ),
        (
            "nll".to_owned(),
            Arc::new(
                rows.iter()
                    .map(|(_, document)| document.nll)
                    .collect::<Float64Array>(),
            ),
        ),
    ];
    columns.extend(
        TOP.iter()
            .enumerate()
            .map(|(at, k)| (format!("top_{k}"), top(at))),
    );
    file(columns)
}

/// A line for every score of every answer: `model`, `task`, `row` (from 0), `score`, `value` and `weight` (a score is Σ value / Σ weight),
/// and `text`, what was written, null where nothing is.
pub(super) fn answers(answered: &[Answers]) -> Result<Vec<u8>, JobError> {
    let rows: Vec<Line<'_>> = answered
        .iter()
        .flat_map(|of| of.answers.iter().map(move |answer| (of, answer)))
        .flat_map(|(of, answer)| {
            let scores = answer.scores.iter();
            scores.map(move |(score, part)| Line {
                of,
                answer,
                score,
                part: *part,
            })
        })
        .collect();
    let numbers = |number: &dyn Fn(&Line<'_>) -> u64| {
        Arc::new(rows.iter().map(number).collect::<UInt64Array>()) as ArrayRef
    };
    file(vec![
        (
            "model".to_owned(),
            texts(rows.iter().map(|row| Some(row.of.model.as_str()))),
        ),
        (
            "task".to_owned(),
            texts(rows.iter().map(|row| Some(row.of.task.as_str()))),
        ),
        ("row".to_owned(), numbers(&|row| row.answer.row as u64)),
        ("score".to_owned(), texts(rows.iter().map(|row| Some(row.score)))),
        (
            "value".to_owned(),
            Arc::new(rows.iter().map(|row| row.part.value).collect::<Float64Array>()),
        ),
        ("weight".to_owned(), numbers(&|row| row.part.weight)),
        ("text".to_owned(), texts(rows.iter().map(Line::text))),
    ])
}

/// A score of an answer.
struct Line<'a> {
    of: &'a Answers,
    answer: &'a Answer,
    score: &'a str,
    part: Part,
}

impl<'a> Line<'a> {
    fn text(&self) -> Option<&'a str> {
        match &self.answer.given {
            Given::Written { text, .. } => Some(text),
            Given::Choice { .. } | Given::Read { .. } => None,
        }
    }
}

fn texts<'a>(texts: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(texts.collect::<StringArray>())
}

fn file(columns: Vec<(String, ArrayRef)>) -> Result<Vec<u8>, JobError> {
    let broken = |error: String| JobError::bug(format!("writing parquet: {error}"));
    let nullable = columns.into_iter().map(|(name, column)| (name, column, true));
    let batch =
        RecordBatch::try_from_iter_with_nullable(nullable).map_err(|error| broken(error.to_string()))?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties))
        .map_err(|error| broken(error.to_string()))?;
    writer
        .write(&batch)
        .and_then(|()| writer.close())
        .map_err(|error| broken(error.to_string()))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use arrow::array::AsArray;
    use arrow::datatypes::{Float64Type, UInt64Type};
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;

    #[test]
    fn answers_are_read_back() {
        let part = |value| Part { value, weight: 1 };
        let written = Given::Written {
            text: "four".to_owned(),
            filtered: BTreeMap::new(),
            targets: vec!["4".to_owned()],
            cut: false,
        };
        let answer = |row, value, given: &Given| Answer {
            row,
            scores: BTreeMap::from([("exact_match".to_owned(), part(value))]),
            given: given.clone(),
        };
        let read = Given::Read {
            tokens: 3,
            log_likelihood: -2.0,
        };
        let answered = [Answers {
            model: "m".to_owned(),
            task: "t".to_owned(),
            version: None,
            answers: vec![answer(0, 1.0, &written), answer(1, 0.5, &read)],
        }];
        let bytes = bytes::Bytes::from(answers(&answered).unwrap());
        let mut reader = ParquetRecordBatchReaderBuilder::try_new(bytes)
            .unwrap()
            .build()
            .unwrap();
        let batch = reader.next().unwrap().unwrap();
        assert_eq!(batch.num_rows(), 2);
        let column = |name: &str| batch.column_by_name(name).unwrap();
        assert_eq!(
            column("value").as_primitive::<Float64Type>().values().to_vec(),
            [1.0, 0.5]
        );
        assert_eq!(
            column("row").as_primitive::<UInt64Type>().values().to_vec(),
            [0, 1]
        );
        let texts: Vec<Option<&str>> = column("text").as_string::<i32>().iter().collect();
        assert_eq!(texts, [Some("four"), None]);
    }
}
