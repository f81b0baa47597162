//! Cutting documents for evaluation: every token but a document's first is scored exactly once.
//!
//! A document longer than the context is read in windows that overlap by one token: the last token of a
//! window is the first input of the next, so nothing goes unscored. Windows are batched with others of
//! similar length to waste little on padding; results are put together by document and position.

use super::{Batch, IGNORED, PADDING};
use crate::tokenize::Document;

/// Where the rows of an evaluation batch come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Index of the document.
    pub document: usize,
    /// Token of the document at the row's first column.
    pub start: usize,
    /// Tokens of the document in the row.
    pub len: usize,
}

/// Batches over all documents: at most `context` tokens a row, at most `tokens` tokens a batch (but at least
/// one row), each with the window of every row.
pub fn evaluation_batches(documents: &[Document], context: usize, tokens: usize) -> Vec<(Batch, Vec<Window>)> {
    let context = context.max(2);
    let mut windows = Vec::new();
    for (document, Document { tokens, .. }) in documents.iter().enumerate() {
        let mut start = 0;
        while start + 1 < tokens.len() {
            let len = context.min(tokens.len() - start);
            windows.push(Window { document, start, len });
            start += len - 1;
        }
    }
    windows.sort_by_key(|window| (std::cmp::Reverse(window.len), window.document, window.start));
    let mut batches = Vec::new();
    let mut rest = &windows[..];
    while let Some(longest) = rest.first() {
        let rows = (tokens / longest.len).clamp(1, rest.len());
        let (these, others) = rest.split_at(rows);
        batches.push((batch(documents, these, longest.len), these.to_vec()));
        rest = others;
    }
    batches
}

fn batch(documents: &[Document], windows: &[Window], len: usize) -> Batch {
    let mut batch = Batch { rows: windows.len(), len, ..Batch::default() };
    for window in windows {
        let document = &documents[window.document];
        let end = window.start + window.len;
        batch.tokens.extend_from_slice(&document.tokens[window.start..end]);
        batch.targets.extend((window.start + 1..=end).map(|next| {
            if next < end && document.loss[next] { i64::from(document.tokens[next]) } else { IGNORED }
        }));
        batch.segments.extend(std::iter::repeat_n(0, window.len));
        let missing = len - window.len;
        batch.tokens.extend(std::iter::repeat_n(0, missing));
        batch.targets.extend(std::iter::repeat_n(IGNORED, missing));
        batch.segments.extend(std::iter::repeat_n(PADDING, missing));
        batch.documents.push(document.id.clone());
    }
    batch
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_token_is_scored_once(
            lengths in prop::collection::vec(0usize..60, 0..15),
            context in 2usize..40,
            tokens in 1usize..200,
        ) {
            let documents: Vec<Document> = lengths.iter().enumerate().map(|(index, &len)| Document {
                tokens: (0..len).map(|at| (index * 1000 + at) as u32).collect(),
                loss: (0..len).map(|at| at % 7 != 3).collect(),
                id: index.to_string(),
                part: 0,
            }).collect();
            let mut seen = BTreeSet::new();
            for (batch, windows) in evaluation_batches(&documents, context, tokens) {
                prop_assert!(batch.len <= context);
                prop_assert!(batch.rows == 1 || batch.rows * batch.len <= tokens);
                for (row, window) in windows.iter().enumerate() {
                    for column in 0..batch.len {
                        let target = batch.targets[row * batch.len + column];
                        if target >= 0 {
                            let token = batch.tokens[row * batch.len + column];
                            prop_assert_eq!(i64::from(token) + 1, target);
                            prop_assert_eq!(token as usize, window.document * 1000 + window.start + column);
                            prop_assert!(seen.insert(target), "scored twice");
                        }
                    }
                }
            }
            let expected: usize = documents.iter().map(|d| d.loss.iter().skip(1).filter(|s| **s).count()).sum();
            prop_assert_eq!(seen.len(), expected);
        }
    }
}
