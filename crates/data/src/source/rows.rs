//! Rows as they stand, for whoever knows what the columns mean: JSON lines only.

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::source::lines::Lines;
use crate::source::{Format, Input, Source};

impl Source {
    /// The objects of all files of JSON lines, one file after the other.
    ///
    /// # Errors
    /// If there is no such file, if it is of another format, or a line is no object.
    pub fn rows(&self) -> Result<Vec<Map<String, Value>>> {
        let mut rows = Vec::new();
        for file in self.files()? {
            if self.format.or_else(|| Format::from_name(&file)) != Some(Format::Jsonl) {
                return Err(Error::Format {
                    path: self.store.describe(&file),
                    problem: "rows are read from JSON lines (.jsonl); `datasets.Dataset.to_json` writes them"
                        .to_owned(),
                });
            }
            let mut lines = Lines::new(Input::from_store(&self.store, &file)?);
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
        }
        Ok(rows)
    }
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
