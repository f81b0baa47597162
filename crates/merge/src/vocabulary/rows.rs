//! Where the rows of an embedding come from, when the result's tokens are not numbered as the model's.

use std::ops::Range;
use std::sync::OnceLock;

/// The rows of one model's embedding in the order of the result's tokens.
#[derive(Clone, Debug)]
pub(crate) struct RowMap {
    runs: Vec<Run>,
    /// The row that stands for no token, once it is known: see [`Rows::Padding`].
    pub(crate) padding: OnceLock<Vec<f32>>,
}

/// Rows that come from one place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Run {
    /// The rows of the result.
    pub(crate) rows: Range<usize>,
    pub(crate) from: Rows,
}

/// A place that rows come from. Models are numbered as members of a part.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Rows {
    /// Consecutive rows of a model.
    Of { member: usize, first: usize },
    /// For every row the mean of these: model and row.
    Mean(Vec<(usize, usize)>),
    /// Zeros.
    Zero,
    /// The mean of all rows that stand for a token (<https://nlp.stanford.edu/~johnhew/vocab-expansion.html>).
    Padding,
}

impl RowMap {
    /// From one place a row; neighbours that belong together become one run.
    pub(crate) fn new(rows: impl IntoIterator<Item = Rows>) -> RowMap {
        let mut runs: Vec<Run> = Vec::new();
        for (row, from) in rows.into_iter().enumerate() {
            match runs.last_mut() {
                Some(last) if continues(last, &from) => last.rows.end = row + 1,
                _ => runs.push(Run {
                    rows: row..row + 1,
                    from,
                }),
            }
        }
        RowMap {
            runs,
            padding: OnceLock::new(),
        }
    }

    /// Every run.
    pub(crate) fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The runs that hold rows of `rows`.
    pub(crate) fn within(&self, rows: Range<usize>) -> impl Iterator<Item = &Run> {
        let first = self.runs.partition_point(|run| run.rows.end <= rows.start);
        self.runs[first..]
            .iter()
            .take_while(move |run| run.rows.start < rows.end)
    }

    /// Is it the model's own embedding of that many rows, row by row?
    pub(crate) fn is_plain(&self, own: usize, rows: usize) -> bool {
        let whole = Rows::Of {
            member: own,
            first: 0,
        };
        matches!(self.runs.as_slice(), [run] if run.rows == (0..rows) && run.from == whole)
    }

    /// Are some rows computed, so that they are to be kept wider than they are stored?
    pub(crate) fn computes(&self) -> bool {
        let is_computed = |run: &Run| matches!(run.from, Rows::Mean(_) | Rows::Padding);
        self.runs.iter().any(is_computed)
    }
}

fn continues(run: &Run, next: &Rows) -> bool {
    match (&run.from, next) {
        (
            Rows::Of { member, first },
            Rows::Of {
                member: other,
                first: row,
            },
        ) => member == other && first + run.rows.len() == *row,
        (Rows::Zero, Rows::Zero) | (Rows::Padding, Rows::Padding) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_become_runs() {
        let of = |member, first| Rows::Of { member, first };
        let rows = [
            of(0, 0),
            of(0, 1),
            of(0, 5),
            of(1, 6),
            Rows::Zero,
            Rows::Zero,
            Rows::Padding,
        ];
        let map = RowMap::new(rows);
        let lengths: Vec<usize> = map.runs().iter().map(|run| run.rows.len()).collect();
        assert_eq!(lengths, [2, 1, 1, 2, 1]);
        let found: Vec<Range<usize>> = map.within(1..5).map(|run| run.rows.clone()).collect();
        assert_eq!(found, [0..2, 2..3, 3..4, 4..6]);
        assert!(map.computes() && !map.is_plain(0, 7));
        assert!(RowMap::new([of(3, 0), of(3, 1)]).is_plain(3, 2));
    }
}
