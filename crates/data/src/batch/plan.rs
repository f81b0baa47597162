//! Where every piece of every document goes in one epoch.
//!
//! A plan is computed from lengths alone, so it is cheap (well under a second for a million documents) and never stored: a
//! resumed run computes it again. Documents are taken in the epoch's order. One longer than a row is cut into row-long pieces,
//! each a segment of its own. Shorter ones (and last pieces) are never cut: each goes into the fullest of a few dozen open rows
//! that still has room, else opens a new row (best fit with bounded space; rows end up more than 95 % full for usual lengths).
//! Pieces in which nothing is scored are left out.

use super::shape::Piece;
use crate::random::Draws;
use crate::tokenize::Document;

/// Rows that may wait for a fitting document.
const OPEN_ROWS: usize = 64;

const DOCUMENT_ORDER: u64 = 1;
const ROW_ORDER: u64 = 2;

/// What a plan depends on besides the documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PlanOptions {
    pub(super) len: usize,
    pub(super) seed: u64,
    pub(super) shuffle: bool,
    pub(super) pack: bool,
}

/// The rows of one epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pieces: Vec<Piece>,
    /// Where in `pieces` each row begins, and the end of the last.
    begins: Vec<usize>,
    /// Order in which the rows are given out.
    order: Vec<u32>,
}

impl Plan {
    pub(super) fn new(documents: &[Document], options: PlanOptions, epoch: u64) -> Self {
        let mut indices: Vec<u32> = (0..documents.len() as u32).collect();
        if options.shuffle {
            Draws::new(&[options.seed, epoch, DOCUMENT_ORDER]).shuffle(&mut indices);
        }
        let mut rows = Rows {
            len: options.len as u32,
            opened: 0,
            open: Vec::new(),
            closed: Vec::new(),
        };
        for index in indices {
            let document = &documents[index as usize];
            for offset in (0..document.tokens.len()).step_by(options.len) {
                let len = options.len.min(document.tokens.len() - offset);
                let predicted = offset + 1..document.tokens.len().min(offset + len + 1);
                if !document.loss[predicted].iter().any(|&scored| scored) {
                    continue;
                }
                let piece = Piece {
                    document: index,
                    offset: offset as u32,
                    len: len as u32,
                    column: 0,
                };
                if options.pack {
                    rows.place(piece)
                } else {
                    rows.append(piece)
                }
            }
        }
        let rows = rows.finish();
        let mut order: Vec<u32> = (0..rows.len() as u32).collect();
        if options.shuffle {
            // Rows come out in the order of documents, and the pieces of a long document one after the other: mix them.
            Draws::new(&[options.seed, epoch, ROW_ORDER]).shuffle(&mut order);
        }
        let mut begins = vec![0];
        for row in &rows {
            begins.push(begins[begins.len() - 1] + row.len());
        }
        Self {
            pieces: rows.into_iter().flatten().collect(),
            begins,
            order,
        }
    }

    /// Number of rows in the epoch.
    pub(super) fn rows(&self) -> usize {
        self.order.len()
    }

    /// Tokens in the epoch's rows.
    pub(super) fn tokens(&self) -> u64 {
        self.pieces.iter().map(|piece| u64::from(piece.len)).sum()
    }

    /// The pieces of the `index`-th row given out.
    pub(super) fn row(&self, index: usize) -> &[Piece] {
        let row = self.order[index] as usize;
        &self.pieces[self.begins[row]..self.begins[row + 1]]
    }
}

struct Row {
    number: u32,
    free: u32,
    pieces: Vec<Piece>,
}

/// Rows being filled.
struct Rows {
    len: u32,
    opened: u32,
    open: Vec<Row>,
    closed: Vec<Row>,
}

impl Rows {
    /// A row of its own.
    fn append(&mut self, piece: Piece) {
        self.closed.push(Row {
            number: self.opened,
            free: self.len - piece.len,
            pieces: vec![piece],
        });
        self.opened += 1;
    }

    /// Into the open row that it fills best.
    fn place(&mut self, mut piece: Piece) {
        if piece.len == self.len {
            return self.append(piece);
        }
        let best = (0..self.open.len())
            .filter(|&index| self.open[index].free >= piece.len)
            .min_by_key(|&index| (self.open[index].free, self.open[index].number));
        match best {
            Some(index) => {
                let row = &mut self.open[index];
                piece.column = self.len - row.free;
                row.free -= piece.len;
                row.pieces.push(piece);
                if row.free == 0 {
                    let row = self.open.swap_remove(index);
                    self.closed.push(row);
                }
            }
            None => {
                self.open.push(Row {
                    number: self.opened,
                    free: self.len - piece.len,
                    pieces: vec![piece],
                });
                self.opened += 1;
                let fullest = (0..self.open.len())
                    .min_by_key(|&index| (self.open[index].free, self.open[index].number));
                if let Some(fullest) = fullest.filter(|_| self.open.len() > OPEN_ROWS) {
                    let row = self.open.swap_remove(fullest);
                    self.closed.push(row);
                }
            }
        }
    }

    /// All rows in the order they were opened.
    fn finish(mut self) -> Vec<Vec<Piece>> {
        self.closed.append(&mut self.open);
        self.closed.sort_by_key(|row| row.number);
        self.closed.into_iter().map(|row| row.pieces).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn documents(lengths: &[usize]) -> Vec<Document> {
        lengths
            .iter()
            .map(|&len| Document {
                tokens: vec![7; len],
                loss: vec![true; len],
                id: String::new(),
                part: 0,
            })
            .collect()
    }

    const OPTIONS: PlanOptions = PlanOptions {
        len: 100,
        seed: 1,
        shuffle: true,
        pack: true,
    };

    #[test]
    fn rows_are_nearly_full() {
        let mut draws = Draws::new(&[3]);
        let lengths: Vec<usize> = (0..5000).map(|_| draws.between(5, 80)).collect();
        let plan = Plan::new(&documents(&lengths), OPTIONS, 0);
        let filled = plan.tokens() as f64 / (plan.rows() * 100) as f64;
        assert!(filled > 0.95, "{filled}");
    }

    #[test]
    fn without_packing_or_shuffling_rows_follow_the_documents() {
        let plan = Plan::new(
            &documents(&[30, 250, 1, 40]),
            PlanOptions {
                shuffle: false,
                pack: false,
                ..OPTIONS
            },
            0,
        );
        let rows: Vec<(u32, u32, u32)> = (0..plan.rows())
            .flat_map(|row| plan.row(row))
            .map(|piece| (piece.document, piece.offset, piece.len))
            .collect();
        // The document of one token has nothing to predict.
        assert_eq!(
            rows,
            [(0, 0, 30), (1, 0, 100), (1, 100, 100), (1, 200, 50), (3, 0, 40)]
        );
    }

    #[test]
    fn a_last_piece_of_one_token_predicts_nothing_and_is_left_out() {
        let plan = Plan::new(
            &documents(&[201]),
            PlanOptions {
                shuffle: false,
                ..OPTIONS
            },
            0,
        );
        assert_eq!(plan.rows(), 2, "position 199 already predicts token 200");
    }

    #[test]
    fn epochs_differ_and_repeat_exactly() {
        let documents = documents(&[10; 300]);
        let plan = |epoch| Plan::new(&documents, OPTIONS, epoch);
        assert_eq!(plan(4), plan(4));
        assert_ne!(plan(4), plan(5));
    }

    proptest::proptest! {
        #[test]
        fn every_predicted_token_is_planned_once(
            lengths in proptest::collection::vec(0usize..70, 0..60), len in 1usize..40, seed: u64, shuffle: bool, pack: bool,
        ) {
            let documents = documents(&lengths);
            let plan = Plan::new(&documents, PlanOptions { len, seed, shuffle, pack }, 3);
            let mut predicted: BTreeMap<(u32, u32), u32> = BTreeMap::new();
            for row in 0..plan.rows() {
                let pieces = plan.row(row);
                let mut used = 0;
                for piece in pieces {
                    proptest::prop_assert_eq!(piece.column, used);
                    used += piece.len;
                    for token in piece.offset + 1..=piece.offset + piece.len {
                        if (token as usize) < lengths[piece.document as usize] {
                            *predicted.entry((piece.document, token)).or_default() += 1;
                        }
                    }
                }
                proptest::prop_assert!(used as usize <= len && used > 0 && (pack || pieces.len() == 1));
            }
            let expected: usize = lengths.iter().map(|len| len.saturating_sub(1)).sum();
            proptest::prop_assert_eq!(predicted.len(), expected);
            proptest::prop_assert!(predicted.values().all(|&count| count == 1));
        }
    }
}
