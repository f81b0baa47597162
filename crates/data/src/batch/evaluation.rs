//! Batches for measuring: every document once, every token scored exactly once.
//!
//! A document is cut into windows of at most `context` inputs. Window 0 has inputs `0..context` and scores tokens `1..=context`
//! (each position predicts the next token). The next window begins with the last token the one before has scored, so that its
//! first position predicts the next unscored token; and so on. Every token but a document's very first is scored exactly once,
//! from at least one and at most `context` tokens before it. The very first has nothing before it: it is scored only if the
//! tokenizer puts a BOS before it, and then it is not the first. (These are lm-evaluation-harness's "rolling" windows.)
//!
//! With a `stride` smaller than `context` windows overlap: each begins `stride` tokens after the one before and scores only what
//! that one has not, so tokens have at least `context - stride` tokens before them, for more compute.
//!
//! Windows of like length are put together to waste little on padding; results find their way back by
//! [`Batch::scored_tokens`].

use super::shape::{Batch, Piece};
use crate::error::{Error, Result};
use crate::tokenize::Document;

/// How to cut documents for evaluation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvaluationOptions {
    /// Most rows of a batch.
    pub rows: usize,
    /// Most inputs of a window.
    pub context: usize,
    /// Tokens from one window's beginning to the next's, at most `context`; `None` for no overlap.
    pub stride: Option<usize>,
    /// Most positions of a batch (`rows * len`), padding included; a single longer row is still a batch.
    pub max_positions: Option<usize>,
    /// Token id in padding.
    pub pad: u32,
}

/// A window, and the first token it scores.
#[derive(Debug, Clone, Copy)]
struct Window {
    piece: Piece,
    first_scored: u32,
}

/// The batches of an evaluation, longest rows first (so that memory is tried first).
#[derive(Debug, Clone)]
pub struct EvaluationBatches<'a> {
    documents: &'a [Document],
    options: EvaluationOptions,
    windows: Vec<Window>,
    next: usize,
}

impl<'a> EvaluationBatches<'a> {
    /// Cuts `documents`. Those without a token to score have no part in any batch.
    ///
    /// # Errors
    /// If an option cannot work, or nothing at all is to be scored.
    pub fn new(documents: &'a [Document], options: EvaluationOptions) -> Result<Self> {
        for (option, value) in [("rows", options.rows), ("context", options.context)] {
            if value == 0 {
                return Err(Error::Option {
                    option,
                    problem: "must be at least 1".to_owned(),
                });
            }
        }
        let stride = options.stride.unwrap_or(options.context);
        if stride == 0 || stride > options.context {
            let problem = format!("{stride} is not in 1..={} (the context)", options.context);
            return Err(Error::Option {
                option: "stride",
                problem,
            });
        }
        let mut windows = Vec::new();
        for (index, document) in documents.iter().enumerate() {
            cut(index, document, options.context, stride, &mut windows)?;
        }
        if windows.is_empty() {
            let hint = "; a document needs two tokens (or one after a BOS) for one prediction".to_owned();
            return Err(Error::NothingToScore {
                documents: documents.len(),
                hint,
            });
        }
        windows.sort_by_key(|window| std::cmp::Reverse(window.piece.len));
        Ok(Self {
            documents,
            options,
            windows,
            next: 0,
        })
    }

    /// Tokens that will be scored in all.
    pub fn scored(&self) -> u64 {
        self.windows
            .iter()
            .map(|window| self.scored_in(window) as u64)
            .sum()
    }

    /// Positions (inputs, without padding) that the model will see in all.
    pub fn positions(&self) -> u64 {
        self.windows
            .iter()
            .map(|window| u64::from(window.piece.len))
            .sum()
    }

    fn scored_in(&self, window: &Window) -> usize {
        let end = (window.piece.offset + window.piece.len) as usize;
        let loss = &self.documents[window.piece.document as usize].loss;
        loss[window.first_scored as usize..=end]
            .iter()
            .filter(|&&scored| scored)
            .count()
    }
}

impl Iterator for EvaluationBatches<'_> {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        let first = self.windows.get(self.next)?;
        let len = first.piece.len as usize;
        let room = self
            .options
            .max_positions
            .map_or(usize::MAX, |most| most / len)
            .max(1);
        let end = self
            .windows
            .len()
            .min(self.next.saturating_add(self.options.rows.min(room)));
        let windows = &self.windows[self.next..end];
        self.next = end;
        let rows = windows.iter().map(|window| vec![window.piece]).collect();
        let scores = |row: usize, _: &Piece, token: usize| token >= windows[row].first_scored as usize;
        Some(Batch::new(self.documents, rows, len, self.options.pad, scores))
    }
}

/// The windows of one document that score something.
fn cut(
    index: usize,
    document: &Document,
    context: usize,
    stride: usize,
    windows: &mut Vec<Window>,
) -> Result<()> {
    let (Ok(index), Ok(len)) = (u32::try_from(index), u32::try_from(document.tokens.len())) else {
        let problem = "more than 4294967295 documents, or tokens in one document".to_owned();
        return Err(Error::Option {
            option: "documents",
            problem,
        });
    };
    // The last token predicts nothing, so it is never an input.
    let inputs = len.saturating_sub(1);
    let (context, stride) = (
        u64::min(context as u64, u64::from(u32::MAX)) as u32,
        stride as u64,
    );
    let (mut begin, mut scored) = (0u32, 0u32);
    while scored < inputs {
        let end = inputs.min(begin.saturating_add(context));
        let first_scored = scored + 1;
        if document.loss[first_scored as usize..=end as usize].contains(&true) {
            let piece = Piece {
                document: index,
                offset: begin,
                len: end - begin,
                column: 0,
            };
            windows.push(Window { piece, first_scored });
        }
        scored = end;
        begin = u32::try_from(u64::from(begin) + stride).unwrap_or(u32::MAX);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::IGNORED;

    fn documents(lengths: &[usize]) -> Vec<Document> {
        lengths
            .iter()
            .enumerate()
            .map(|(index, &len)| Document {
                tokens: (0..len as u32).map(|token| 1000 * index as u32 + token).collect(),
                loss: vec![true; len],
                id: index.to_string(),
                part: 0,
            })
            .collect()
    }

    fn options(rows: usize, context: usize) -> EvaluationOptions {
        EvaluationOptions {
            rows,
            context,
            stride: None,
            max_positions: None,
            pad: 9,
        }
    }

    #[test]
    fn windows_without_overlap() {
        let documents = documents(&[8]);
        let batches: Vec<Batch> = EvaluationBatches::new(&documents, options(1, 3))
            .unwrap()
            .collect();
        let rows: Vec<(&[u32], &[i64])> = batches
            .iter()
            .map(|batch| (&batch.tokens[..], &batch.targets[..]))
            .collect();
        assert_eq!(
            rows,
            [
                (&[0, 1, 2][..], &[1, 2, 3][..]),
                (&[3, 4, 5], &[4, 5, 6]),
                (&[6], &[7])
            ]
        );
    }

    #[test]
    fn overlapping_windows_score_only_what_is_new() {
        let documents = documents(&[7]);
        let options = EvaluationOptions {
            stride: Some(2),
            ..options(9, 4)
        };
        let batch = EvaluationBatches::new(&documents, options)
            .unwrap()
            .next()
            .unwrap();
        assert_eq!(batch.tokens, [0, 1, 2, 3, 2, 3, 4, 5]);
        assert_eq!(batch.targets, [1, 2, 3, 4, IGNORED, IGNORED, 5, 6]);
    }

    #[test]
    fn batches_keep_to_their_budget_and_group_by_length() {
        let documents = documents(&[5, 11, 6, 11, 2, 1]);
        let options = EvaluationOptions {
            max_positions: Some(20),
            ..options(8, 100)
        };
        let shapes: Vec<_> = EvaluationBatches::new(&documents, options)
            .unwrap()
            .map(|batch| (batch.rows, batch.len))
            .collect();
        assert_eq!(shapes, [(2, 10), (3, 5)]);
    }

    #[test]
    fn impossible_options_and_empty_data_are_named() {
        let one = documents(&[1]);
        let error = |options| EvaluationBatches::new(&one, options).unwrap_err().to_string();
        assert!(
            error(EvaluationOptions {
                stride: Some(5),
                ..options(1, 4)
            })
            .contains("5 is not in 1..=4 (the context)")
        );
        assert!(error(options(0, 4)).contains("`rows`"));
        assert!(error(options(1, 4)).starts_with("no document has a token to score (1 document(s) given)"));
    }

    proptest::proptest! {
        #[test]
        fn every_token_but_the_first_is_scored_once_with_enough_before_it(
            lengths in proptest::collection::vec(0usize..40, 1..12), rows in 1usize..5, context in 1usize..12, stride in 1usize..12,
            budget in proptest::option::of(1usize..60),
        ) {
            let stride = stride.min(context);
            let documents = documents(&lengths);
            let options = EvaluationOptions { rows, context, stride: Some(stride), max_positions: budget, pad: 0 };
            let mut seen = std::collections::BTreeSet::new();
            if let Ok(batches) = EvaluationBatches::new(&documents, options) {
                let expected = batches.scored();
                let mut scored = 0;
                for batch in batches {
                    scored += batch.scored() as u64;
                    for token in batch.scored_tokens() {
                        proptest::prop_assert!(seen.insert((token.document, token.token)));
                        proptest::prop_assert_eq!(batch.targets[token.index], i64::from(1000 * token.document + token.token));
                        let before = batch.positions[token.index] as usize + 1;
                        proptest::prop_assert!(before > context - stride || before == token.token as usize);
                    }
                }
                proptest::prop_assert_eq!(scored, expected);
            }
            let expected: usize = lengths.iter().map(|len| len.saturating_sub(1)).sum();
            proptest::prop_assert_eq!(seen.len(), expected);
        }
    }
}
