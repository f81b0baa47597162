//! Parquet tables: records through arrow, one row group at a time, and whole rows of small tables as JSON values.
//!
//! Of records only the columns wanted are read: for each row group their bytes are fetched whole (one ranged read a column, which is what
//! object storage likes), decoded in slices of a few hundred rows, and dropped. The schema comes from parquet alone, so that
//! string, large string and dictionary-of-string columns all arrive as one type. Damaged files are errors: where the decoder
//! itself asserts on damaged metadata, its panic is caught and turned into one.

use std::io::{BufReader, Read};
use std::panic::AssertUnwindSafe;

use arrow::array::{Array, AsArray, ListArray, RecordBatch, StringArray, StructArray};
use bytes::{Buf, Bytes};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, FileReader, Length};
use parquet::file::serialized_reader::SerializedFileReader;
use serde_json::{Map, Value};

use crate::error::{Error, Place, Result};
use crate::record::{Message, Record};
use crate::source::Input;
use crate::source::columns::{Columns, Form};

/// Rows decoded at a time.
const ROWS: usize = 256;

/// Most rows, and values of all columns, of a table that is read whole: a few bytes can claim any number.
const MAX_ROWS: i64 = 1 << 20;
const MAX_VALUES: i64 = 1 << 26;

/// Every row of a table with all its columns. The file is in memory for as long as it is read.
pub(super) fn parquet_rows(input: &Input) -> Result<Vec<Map<String, Value>>> {
    let len = usize::try_from(input.len()).map_err(|_| damaged(input, "larger than memory"))?;
    let bytes = input.range(0, len)?;
    guarded(input, || {
        let table = SerializedFileReader::new(bytes)?;
        let mut left = (MAX_ROWS, MAX_VALUES);
        for group in table.metadata().row_groups() {
            let values: i64 = group.columns().iter().map(|column| column.num_values()).sum();
            left = (left.0 - group.num_rows(), left.1 - values);
            if group.num_rows() < 0 || values < 0 || left.0 < 0 || left.1 < 0 {
                let problem = format!("more than {MAX_ROWS} rows or {MAX_VALUES} values");
                return Err(ParquetError::General(problem));
            }
        }
        let mut rows = Vec::new();
        for row in table.get_row_iter(None)? {
            if let Value::Object(row) = row?.to_json_value() {
                rows.push(row);
            }
        }
        Ok(rows)
    })
}

pub(super) struct ParquetRecords {
    input: Input,
    metadata: ArrowReaderMetadata,
    form: Form,
    projection: ProjectionMask,
    next_group: usize,
    rows: Option<ParquetRecordBatchReader>,
    decoded: std::vec::IntoIter<Result<Record>>,
    /// Rows decoded so far.
    row: u64,
    broken: bool,
}

impl ParquetRecords {
    pub(super) fn open(input: Input, columns: &Columns) -> Result<Self> {
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let metadata = guarded(&input, || {
            ArrowReaderMetadata::load(&InputChunks(input.clone()), options)
        })?;
        let names: Vec<&str> = metadata
            .schema()
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        let form = columns.form(&names, input.name(), Place::Schema)?;
        let wanted: Vec<&str> = match &form {
            Form::Text(text) => vec![text],
            Form::Completion { prompt, completion } => vec![prompt, completion],
            Form::Messages { list, .. } => vec![list],
        };
        let roots: Vec<usize> = (0..names.len())
            .filter(|&index| wanted.contains(&names[index]))
            .collect();
        let projection = ProjectionMask::roots(metadata.parquet_schema(), roots);
        Ok(Self {
            input,
            metadata,
            form,
            projection,
            next_group: 0,
            rows: None,
            decoded: Vec::new().into_iter(),
            row: 0,
            broken: false,
        })
    }

    /// Decodes the next slice of rows. False at the end of the table.
    fn advance(&mut self) -> Result<bool> {
        loop {
            if let Some(rows) = &mut self.rows {
                match guarded(&self.input, || {
                    rows.next().transpose().map_err(ParquetError::from)
                })? {
                    Some(batch) => {
                        self.decoded = self.records(&batch)?.into_iter();
                        self.row += batch.num_rows() as u64;
                        return Ok(true);
                    }
                    None => self.rows = None,
                }
            }
            if self.next_group >= self.metadata.metadata().num_row_groups() {
                return Ok(false);
            }
            self.rows = Some(self.open_group(self.next_group)?);
            self.next_group += 1;
        }
    }

    fn open_group(&self, group: usize) -> Result<ParquetRecordBatchReader> {
        let ranges = guarded(&self.input, || {
            let columns = self
                .metadata
                .metadata()
                .row_group(group)
                .columns()
                .iter()
                .enumerate();
            Ok(columns
                .filter(|(leaf, _)| self.projection.leaf_included(*leaf))
                .map(|(_, column)| column.byte_range())
                .collect::<Vec<_>>())
        })?;
        let mut chunks = Vec::new();
        for (begin, len) in ranges {
            let len = usize::try_from(len)
                .map_err(|_| damaged(&self.input, "a column chunk larger than memory"))?;
            chunks.push((begin, self.input.range(begin, len)?));
        }
        let bytes = GroupChunks {
            file_len: self.input.len(),
            chunks,
        };
        guarded(&self.input, || {
            ParquetRecordBatchReaderBuilder::new_with_metadata(bytes, self.metadata.clone())
                .with_row_groups(vec![group])
                .with_projection(self.projection.clone())
                .with_batch_size(ROWS)
                .build()
        })
    }

    /// The records of a slice of rows; a row that is no record is an error of its own.
    fn records(&self, batch: &RecordBatch) -> Result<Vec<Result<Record>>> {
        let place = |index: usize| {
            let row = self.row + index as u64 + 1;
            move |problem: String| Error::Malformed {
                path: self.input.name().to_owned(),
                place: Place::Row(row),
                problem,
            }
        };
        let rows = 0..batch.num_rows();
        match &self.form {
            Form::Text(text) => {
                let text = self.strings(batch, text)?;
                Ok(rows
                    .map(|row| text.get(row).map(Record::Text).map_err(place(row)))
                    .collect())
            }
            Form::Completion { prompt, completion } => {
                let (prompt, completion) = (self.strings(batch, prompt)?, self.strings(batch, completion)?);
                let record = |row| {
                    Ok(Record::Completion {
                        prompt: prompt.get(row)?,
                        completion: completion.get(row)?,
                    })
                };
                Ok(rows.map(|row| record(row).map_err(place(row))).collect())
            }
            Form::Messages { list, role, content } => {
                let array = self.column(batch, list)?;
                let list_array = array.as_list_opt::<i32>().ok_or_else(|| {
                    self.schema(format!(
                        "`{list}` is {}, not a list of messages",
                        array.data_type()
                    ))
                })?;
                let turns =
                    Turns::new(list_array, list, role, content).map_err(|problem| self.schema(problem))?;
                Ok(rows
                    .map(|row| turns.get(row).map(Record::Messages).map_err(place(row)))
                    .collect())
            }
        }
    }

    fn column<'a>(&self, batch: &'a RecordBatch, name: &str) -> Result<&'a dyn Array> {
        let array = batch.column_by_name(name);
        array
            .map(AsRef::as_ref)
            .ok_or_else(|| damaged(&self.input, &format!("column `{name}` is not in its row group")))
    }

    fn strings<'a>(&self, batch: &'a RecordBatch, name: &'a str) -> Result<Strings<'a>> {
        Strings::new(self.column(batch, name)?, name).map_err(|problem| self.schema(problem))
    }

    fn schema(&self, problem: String) -> Error {
        Error::Malformed {
            path: self.input.name().to_owned(),
            place: Place::Schema,
            problem,
        }
    }
}

impl Iterator for ParquetRecords {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(record) = self.decoded.next() {
                return Some(record);
            }
            if self.broken {
                return None;
            }
            match self.advance() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(err) => {
                    self.broken = true;
                    return Some(Err(err));
                }
            }
        }
    }
}

/// A column of text.
struct Strings<'a> {
    name: &'a str,
    values: &'a StringArray,
}

impl<'a> Strings<'a> {
    fn new(array: &'a dyn Array, name: &'a str) -> Result<Self, String> {
        match array.as_string_opt::<i32>() {
            Some(values) => Ok(Self { name, values }),
            None => Err(format!(
                "`{name}` is a column of {}, not of text",
                array.data_type()
            )),
        }
    }

    fn get(&self, row: usize) -> Result<String, String> {
        if self.values.is_null(row) {
            return Err(format!("`{}` is null", self.name));
        }
        Ok(self.values.value(row).to_owned())
    }
}

/// A column of lists of messages.
struct Turns<'a> {
    name: &'a str,
    lists: &'a ListArray,
    role: Strings<'a>,
    content: Strings<'a>,
}

impl<'a> Turns<'a> {
    fn new(lists: &'a ListArray, name: &'a str, role: &'a str, content: &'a str) -> Result<Self, String> {
        let messages: &StructArray = lists.values().as_struct_opt().ok_or_else(|| {
            format!(
                "`{name}` is a list of {}, not of messages",
                lists.values().data_type()
            )
        })?;
        let field = |field: &'a str| match messages.column_by_name(field) {
            Some(array) => Strings::new(array.as_ref(), field),
            None => Err(format!(
                "messages in `{name}` have no `{field}` (found: {})",
                messages.column_names().join(", ")
            )),
        };
        Ok(Self {
            name,
            lists,
            role: field(role)?,
            content: field(content)?,
        })
    }

    fn get(&self, row: usize) -> Result<Vec<Message>, String> {
        if self.lists.is_null(row) {
            return Err(format!("`{}` is null", self.name));
        }
        let offsets = self.lists.value_offsets();
        (offsets[row] as usize..offsets[row + 1] as usize)
            .map(|turn| {
                Ok(Message {
                    role: self.role.get(turn)?,
                    content: self.content.get(turn)?,
                })
            })
            .collect()
    }
}

/// Runs the decoder; its errors, and its panics over damaged bytes, become ours.
fn guarded<T>(input: &Input, decode: impl FnOnce() -> Result<T, ParquetError>) -> Result<T> {
    // What the closure touched is dropped after a panic: the reader is marked broken or was never made.
    match std::panic::catch_unwind(AssertUnwindSafe(decode)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(err)) => Err(damaged(input, &err.to_string())),
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied());
            Err(damaged(
                input,
                &format!("damaged file: {}", text.unwrap_or("the decoder gave up")),
            ))
        }
    }
}

fn damaged(input: &Input, problem: &str) -> Error {
    Error::Parquet {
        path: input.name().to_owned(),
        problem: problem.to_owned(),
    }
}

/// The whole file, for its metadata.
struct InputChunks(Input);

impl Length for InputChunks {
    fn len(&self) -> u64 {
        self.0.len()
    }
}

impl ChunkReader for InputChunks {
    type T = BufReader<InputRead>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(BufReader::with_capacity(
            64 << 10,
            InputRead {
                input: self.0.clone(),
                offset: start,
            },
        ))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        self.0
            .range(start, length)
            .map_err(|err| ParquetError::External(Box::new(err)))
    }
}

/// Reads on from an offset.
struct InputRead {
    input: Input,
    offset: u64,
}

impl Read for InputRead {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let left = usize::try_from(self.input.len().saturating_sub(self.offset)).unwrap_or(usize::MAX);
        let count = buffer.len().min(left);
        self.input.read_at(self.offset, &mut buffer[..count])?;
        self.offset += count as u64;
        Ok(count)
    }
}

/// The column chunks of one row group, in memory under the offsets they have in the file.
struct GroupChunks {
    file_len: u64,
    chunks: Vec<(u64, Bytes)>,
}

impl GroupChunks {
    fn from(&self, start: u64) -> Result<Bytes, ParquetError> {
        self.chunks
            .iter()
            .find(|(begin, bytes)| (*begin..*begin + bytes.len() as u64).contains(&start))
            .map(|(begin, bytes)| bytes.slice((start - begin) as usize..))
            .ok_or_else(|| {
                ParquetError::EOF(format!("byte {start} is outside the row group's column chunks"))
            })
    }
}

impl Length for GroupChunks {
    fn len(&self) -> u64 {
        self.file_len
    }
}

impl ChunkReader for GroupChunks {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(self.from(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let bytes = self.from(start)?;
        if bytes.len() < length {
            return Err(ParquetError::EOF(format!(
                "{length} bytes at {start} run past the column chunk"
            )));
        }
        Ok(bytes.slice(..length))
    }
}
