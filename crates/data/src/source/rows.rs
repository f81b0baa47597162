//! Rows as they stand, all columns as JSON values, for whoever knows what they mean: JSON lines and parquet tables.

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::source::lines::Lines;
use crate::source::parquet::parquet_rows;
use crate::source::{Format, Input, Source};

/// The columns of a row by name.
type Row = Map<String, Value>;

impl Source {
    /// The rows of all files, one file after the other: the objects of JSON lines, the rows of parquet tables. In tables, nulls stay nulls,
    /// lists and structures become arrays and objects, decimals texts, bytes base64.
    ///
    /// # Errors
    /// If there is no such file, if it is of another format or damaged, if a line is no object, or a table has more than a million rows.
    pub fn rows(&self) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        for file in self.files()? {
            let input = Input::from_store(&self.store, &file)?;
            match self.format.or_else(|| Format::from_name(&file)) {
                Some(Format::Jsonl) => rows.append(&mut json_rows(input)?),
                Some(Format::Parquet) => rows.append(&mut parquet_rows(&input)?),
                Some(Format::Text) | None => {
                    let problem = "rows are read from JSON lines (.jsonl) and parquet tables (.parquet); \
                                   `datasets.Dataset.to_json` and `to_parquet` write them";
                    return Err(Error::Format {
                        path: input.name().to_owned(),
                        problem: problem.to_owned(),
                    });
                }
            }
        }
        Ok(rows)
    }
}

fn json_rows(input: Input) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut lines = Lines::new(input);
    while let Some(line) = lines.next().transpose()? {
        if line.text.trim().is_empty() {
            continue;
        }
        match serde_json::from_str(&line.text) {
            Ok(Value::Object(row)) => rows.push(row),
            Ok(_) => return Err(lines.malformed(line.number, "no JSON object")),
            Err(error) => return Err(lines.malformed(line.number, format!("not JSON: {error}"))),
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_keep_their_columns() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("a.jsonl");
        std::fs::write(&place, "{\"q\": \"x\", \"n\": [1, 2]}\n\n{\"q\": \"y\"}\n").unwrap();
        let rows = Source::open(place.to_str().unwrap()).unwrap().rows().unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0]["n"][1], 2);
        std::fs::write(&place, "{\"q\": \"x\"}\n[]\n").unwrap();
        let error = Source::open(place.to_str().unwrap()).unwrap().rows().unwrap_err();
        assert!(error.to_string().contains("line 2"), "{error}");
    }
}
