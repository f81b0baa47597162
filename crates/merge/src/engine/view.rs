//! Reading a block of one model's tensor: its own bytes, or rows gathered from several models.

use std::ops::Range;

use tributary_tensorfile::{DType, from_f32, to_f32};

use super::work::{Work, WorkInput};
use crate::error::{MergeError, Result};
use crate::source::Source;
use crate::vocabulary::{RowMap, Rows, Run};

/// Elements that are read together where every row is needed.
const STRETCH: usize = 1 << 18;
/// Elements of a computed row that are averaged together.
const PIECE: usize = 4096;

/// Reads one input of one tensor.
pub(super) struct View<'a> {
    pub(super) inputs: &'a [(String, Source)],
    pub(super) tensor: &'a Work,
    /// Place of the input among those of the tensor.
    pub(super) member: usize,
}

impl View<'_> {
    /// Fills `buffer` with the elements of `range` as the input's type; returns the bytes of tensors that were read.
    pub(super) fn read(&self, range: Range<usize>, buffer: &mut [u8]) -> Result<u64> {
        let input = self.input(self.member)?;
        match &input.map {
            None => {
                self.fetch(input, range.start, buffer)?;
                Ok(buffer.len() as u64)
            }
            Some(map) => self.gather(input, map, range, buffer),
        }
    }

    fn input(&self, member: usize) -> Result<&WorkInput> {
        let found = self.tensor.inputs.get(member);
        found.ok_or_else(|| MergeError::Internal(format!("{} has no input {member}", self.tensor.spec.name)))
    }

    /// Reads from element `start` of a tensor on, as it is stored.
    fn fetch(&self, input: &WorkInput, start: usize, buffer: &mut [u8]) -> Result<()> {
        let Some((name, source)) = self.inputs.get(input.input) else {
            return Err(MergeError::Internal(format!("there is no input {}", input.input)));
        };
        source.read(
            name,
            &input.info,
            (start * input.info.dtype.size()) as u64,
            buffer,
        )
    }

    fn gather(&self, input: &WorkInput, map: &RowMap, range: Range<usize>, buffer: &mut [u8]) -> Result<u64> {
        let (width, size) = (self.tensor.place.row_of_tokens(), input.dtype.size());
        let rows = range.start / width..range.end.div_ceil(width);
        let mut read = 0;
        for run in map.within(rows) {
            let start = (run.rows.start * width).max(range.start);
            let end = (run.rows.end * width).min(range.end);
            let bytes = &mut buffer[(start - range.start) * size..(end - range.start) * size];
            read += self.run(input, map, run, start..end, width, bytes)?;
        }
        Ok(read)
    }

    /// Fills `bytes` with the elements `range`, which are all of one run.
    fn run(
        &self,
        input: &WorkInput,
        map: &RowMap,
        run: &Run,
        range: Range<usize>,
        width: usize,
        bytes: &mut [u8],
    ) -> Result<u64> {
        match &run.from {
            Rows::Of { member, first } => {
                let start = first * width + (range.start - run.rows.start * width);
                self.converted(self.input(*member)?, start, input.dtype, bytes)
            }
            Rows::Zero => {
                bytes.fill(0);
                Ok(0)
            }
            Rows::Mean(rows) => {
                let column = range.start - run.rows.start * width;
                let mut sum = vec![0.0f64; range.len()];
                let read = self.add_rows(rows, width, column, &mut sum)?;
                put(&sum, rows.len() as f64, input.dtype, bytes)?;
                Ok(read)
            }
            Rows::Padding => {
                let (row, read) = self.padding(map, width)?;
                let size = input.dtype.size();
                for (element, place) in range.zip(bytes.chunks_exact_mut(size)) {
                    from(input.dtype, &row[element % width..=element % width], place)?;
                }
                Ok(read)
            }
        }
    }

    /// Adds the elements from `column` on of these rows.
    fn add_rows(&self, rows: &[(usize, usize)], width: usize, column: usize, sum: &mut [f64]) -> Result<u64> {
        let mut values = vec![0.0f32; sum.len()];
        let mut bytes = vec![0; sum.len() * DType::F32.size()];
        let mut read = 0;
        for (member, row) in rows {
            read += self.converted(self.input(*member)?, row * width + column, DType::F32, &mut bytes)?;
            into(DType::F32, &bytes, &mut values)?;
            for (sum, value) in sum.iter_mut().zip(&values) {
                *sum += f64::from(*value);
            }
        }
        Ok(read)
    }

    /// Reads elements of another tensor as `dtype`.
    fn converted(&self, from_input: &WorkInput, start: usize, dtype: DType, bytes: &mut [u8]) -> Result<u64> {
        let stored = from_input.info.dtype;
        if stored == dtype {
            self.fetch(from_input, start, bytes)?;
            return Ok(bytes.len() as u64);
        }
        let mut read = 0;
        let mut values = [0.0f32; PIECE];
        let mut raw = vec![0; PIECE * stored.size()];
        for (number, piece) in bytes.chunks_mut(PIECE * dtype.size()).enumerate() {
            let count = piece.len() / dtype.size();
            let raw = &mut raw[..count * stored.size()];
            self.fetch(from_input, start + number * PIECE, raw)?;
            into(stored, raw, &mut values[..count])?;
            from(dtype, &values[..count], piece)?;
            read += raw.len() as u64;
        }
        Ok(read)
    }

    /// The mean of all rows that stand for a token, and the bytes that finding it took.
    fn padding<'m>(&self, map: &'m RowMap, width: usize) -> Result<(&'m [f32], u64)> {
        if let Some(row) = map.padding.get() {
            return Ok((row, 0));
        }
        let (mut sum, mut rows, mut read) = (vec![0.0f64; width], 0usize, 0);
        for run in map.runs().iter().filter(|run| run.from != Rows::Padding) {
            rows += run.rows.len();
            match &run.from {
                Rows::Of { member, first } => {
                    // Many rows a read: each may be a request over a network.
                    let stretch = (STRETCH / width).max(1);
                    for start in (0..run.rows.len()).step_by(stretch) {
                        let count = stretch.min(run.rows.len() - start);
                        let mut stretch = vec![0.0f64; count * width];
                        read += self.add_rows(&[(*member, first + start)], width, 0, &mut stretch)?;
                        for row in stretch.chunks_exact(width) {
                            sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
                        }
                    }
                }
                Rows::Mean(of) => {
                    let mut mean = vec![0.0f64; width];
                    read += self.add_rows(of, width, 0, &mut mean)?;
                    for (sum, mean) in sum.iter_mut().zip(&mean) {
                        *sum += mean / of.len() as f64;
                    }
                }
                Rows::Zero | Rows::Padding => {}
            }
        }
        let row = sum.iter().map(|sum| (sum / rows.max(1) as f64) as f32).collect();
        Ok((map.padding.get_or_init(|| row), read))
    }
}

fn put(sum: &[f64], count: f64, dtype: DType, bytes: &mut [u8]) -> Result<()> {
    let values: Vec<f32> = sum.iter().map(|sum| (sum / count) as f32).collect();
    from(dtype, &values, bytes)
}

fn into(dtype: DType, bytes: &[u8], values: &mut [f32]) -> Result<()> {
    to_f32(dtype, bytes, values).map_err(|error| MergeError::Internal(error.to_string()))
}

fn from(dtype: DType, values: &[f32], bytes: &mut [u8]) -> Result<()> {
    from_f32(dtype, values, bytes).map_err(|error| MergeError::Internal(error.to_string()))
}
