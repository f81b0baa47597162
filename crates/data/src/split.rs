//! The held-out split, decided by content.
//!
//! A record's digest falls into one of 1000 buckets; the first `held_out` of them are held out. No state, no list and no
//! order is involved, so a document stays on its side when data are added, shuffled, split over files or duplicated: equal
//! content is always on the same side, and training never sees a held-out document.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::record::Record;
use crate::tokenize::Document;

/// Which side of the held-out split to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// Every record.
    #[default]
    All,
    /// Records that are not held out.
    Train,
    /// Held-out records.
    HeldOut,
}

impl Split {
    /// Whether this side has `record`, if `held_out` of 1000 buckets are held out.
    pub fn takes(self, record: &Record, held_out: u16) -> bool {
        match self {
            Self::All => true,
            Self::Train => bucket(record) >= held_out,
            Self::HeldOut => bucket(record) < held_out,
        }
    }

    /// The records of this side; errors pass through.
    pub fn filter<E>(
        self,
        records: impl Iterator<Item = Result<Record, E>>,
        held_out: u16,
    ) -> impl Iterator<Item = Result<Record, E>> {
        records.filter(move |record| {
            record
                .as_ref()
                .map_or(true, |record| self.takes(record, held_out))
        })
    }
}

/// The record's bucket, `0..1000`.
fn bucket(record: &Record) -> u16 {
    let digest = record.digest();
    let mut head = [0; 8];
    head.copy_from_slice(&digest.as_bytes()[..8]);
    ((u128::from(u64::from_le_bytes(head)) * 1000) >> 64) as u16
}

/// Documents that two sets share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlap {
    /// Different documents in the first set.
    pub left: usize,
    /// Different documents in the second set.
    pub right: usize,
    /// Ids in both, ascending.
    pub shared: Vec<String>,
}

/// What two sets of documents have in common, by content: for checking that an evaluation set is not in the training data.
/// Sees equal records only, not near copies.
pub fn overlap(left: &[Document], right: &[Document]) -> Overlap {
    let ids = |documents: &[Document]| {
        documents
            .iter()
            .map(|document| document.id.clone())
            .collect::<BTreeSet<_>>()
    };
    let (left, right) = (ids(left), ids(right));
    Overlap {
        left: left.len(),
        right: right.len(),
        shared: left.intersection(&right).cloned().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_are_disjoint_complete_and_of_the_asked_size() {
        let records: Vec<Record> = (0..20_000)
            .map(|n| Record::Text(format!("document {n}")))
            .collect();
        let held: Vec<&Record> = records
            .iter()
            .filter(|record| Split::HeldOut.takes(record, 50))
            .collect();
        assert!(
            (850..1150).contains(&held.len()),
            "{} of 20000 at 50 of 1000",
            held.len()
        );
        assert!(
            records
                .iter()
                .all(|record| Split::HeldOut.takes(record, 50) != Split::Train.takes(record, 50))
        );
        assert!(
            records
                .iter()
                .all(|record| Split::Train.takes(record, 0) && Split::All.takes(record, 50))
        );
        assert!(records.iter().all(|record| Split::HeldOut.takes(record, 1000)));
    }

    #[test]
    fn a_growing_share_keeps_what_was_held_out() {
        let records: Vec<Record> = (0..2000).map(|n| Record::Text(format!("document {n}"))).collect();
        assert!(
            records
                .iter()
                .all(|record| !Split::HeldOut.takes(record, 50) || Split::HeldOut.takes(record, 100))
        );
    }

    #[test]
    fn overlap_counts_contents() {
        let document = |id: &str| Document {
            tokens: vec![1],
            loss: vec![true],
            id: id.to_owned(),
            part: 0,
        };
        let (left, right) = (
            [document("b"), document("a"), document("a")],
            [document("a"), document("c")],
        );
        assert_eq!(
            overlap(&left, &right),
            Overlap {
                left: 2,
                right: 2,
                shared: vec!["a".to_owned()]
            }
        );
    }
}
