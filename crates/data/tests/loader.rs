//! The training stream: resuming, sharding, epochs, packing.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking and says what it skips"
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use tributary_data::{Batch, Cursor, Document, Error, Loader, LoaderOptions, Padding};
use tributary_data::{IGNORED, PADDING};

/// Documents whose tokens tell where they are: document `d` has tokens `1000 d, 1000 d + 1, …`.
fn documents(lengths: &[usize]) -> Arc<Vec<Document>> {
    let document = |(index, &len): (usize, &usize)| Document {
        tokens: (0..len as u32).map(|token| 1000 * index as u32 + token).collect(),
        loss: vec![true; len],
        id: format!("document {index}"),
        part: 0,
    };
    Arc::new(lengths.iter().enumerate().map(document).collect())
}

fn options() -> impl Strategy<Value = LoaderOptions> {
    (
        1usize..4,
        1usize..30,
        any::<u64>(),
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(rows, len, seed, shuffle, pack, longest)| LoaderOptions {
            rows,
            len,
            seed,
            shuffle,
            pack,
            padding: if longest { Padding::Longest } else { Padding::Full },
            pad: 999_999,
        })
}

/// At least one document with something to predict.
fn lengths() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(0usize..50, 0..25).prop_map(|mut lengths| {
        lengths.push(7);
        lengths
    })
}

fn take(loader: &mut Loader, batches: usize) -> Vec<Batch> {
    (0..batches).map(|_| loader.next_batch()).collect()
}

proptest! {
    #[test]
    fn any_split_point_resumes_exactly(lengths in lengths(), options in options(), before in 0usize..40, after in 1usize..20) {
        let documents = documents(&lengths);
        let mut straight = Loader::new(documents.clone(), options.clone()).unwrap();
        let all = take(&mut straight, before + after);

        let mut first = Loader::new(documents.clone(), options.clone()).unwrap();
        let head = take(&mut first, before);
        // Through JSON, as a checkpoint keeps it.
        let kept = serde_json::to_string(&first.cursor()).unwrap();
        drop(first);
        let cursor: Cursor = serde_json::from_str(&kept).unwrap();
        let mut second = Loader::new(documents, options).unwrap();
        second.seek(&cursor).unwrap();
        prop_assert_eq!(second.cursor(), cursor);
        let rest = take(&mut second, after);
        prop_assert_eq!([head, rest].concat(), all);
        prop_assert_eq!(second.cursor(), straight.cursor());
    }

    #[test]
    fn shards_are_disjoint_and_their_union_is_the_whole(lengths in lengths(), options in options(), world in 1usize..=8, batches in 1usize..8) {
        let documents = documents(&lengths);
        let rows = |batches: Vec<Batch>| batches.into_iter().flat_map(|batch| batch.documents).collect::<Vec<_>>();
        let whole = Loader::new(documents.clone(), LoaderOptions { rows: options.rows * world, ..options.clone() });
        let whole = rows(take(&mut whole.unwrap(), batches));
        let mut shards: Vec<Loader> = (0..world)
            .map(|rank| Loader::new(documents.clone(), options.clone()).unwrap().shard(rank, world).unwrap())
            .collect();
        let mut union = Vec::new();
        for _ in 0..batches {
            for shard in &mut shards {
                union.extend(rows(vec![shard.next_batch()]));
            }
        }
        prop_assert_eq!(&union, &whole, "one global batch after the other, rank by rank");
        prop_assert!(shards.iter().all(|shard| shard.cursor() == shards[0].cursor()));
    }

    #[test]
    fn a_run_may_resume_on_another_number_of_ranks(
        lengths in lengths(), options in options(), old in 1usize..=8, new in 1usize..=8, before in 0usize..6,
    ) {
        let documents = documents(&lengths);
        let mut first = Loader::new(documents.clone(), options.clone()).unwrap().shard(0, old).unwrap();
        take(&mut first, before);
        let mut single = Loader::new(documents.clone(), LoaderOptions { rows: 1, ..options.clone() }).unwrap();
        take(&mut single, before * old * options.rows);
        prop_assert_eq!(first.cursor(), single.cursor());
        let mut next = Vec::new();
        for rank in 0..new {
            let mut shard = Loader::new(documents.clone(), options.clone()).unwrap().shard(rank, new).unwrap();
            shard.seek(&first.cursor()).unwrap();
            next.extend(shard.next_batch().documents);
        }
        let expected: Vec<_> = take(&mut single, new * options.rows).into_iter().flat_map(|batch| batch.documents).collect();
        prop_assert_eq!(next, expected);
    }

    #[test]
    fn an_epoch_scores_every_token_but_the_first_once(lengths in lengths(), options in options()) {
        let documents = documents(&lengths);
        let mut loader = Loader::new(documents, LoaderOptions { rows: 1, ..options }).unwrap();
        for epoch in 0..3 {
            let mut scored: BTreeMap<i64, u32> = BTreeMap::new();
            prop_assert_eq!(loader.cursor().epoch, epoch);
            for _ in 0..loader.rows_in_epoch() {
                let batch = loader.next_batch();
                for (index, &target) in batch.targets.iter().enumerate().filter(|(_, target)| **target != IGNORED) {
                    prop_assert_eq!(target, i64::from(batch.tokens[index]) + 1, "a target is the next token of the same document");
                    *scored.entry(target).or_default() += 1;
                }
            }
            let expected: Vec<i64> = (0..).zip(&lengths).flat_map(|(index, &len)| (1..len as i64).map(move |token| 1000 * index + token)).collect();
            prop_assert_eq!(scored.keys().copied().collect::<Vec<_>>(), expected);
            prop_assert!(scored.values().all(|&count| count == 1));
        }
    }

    #[test]
    fn the_vectors_of_a_batch_agree(lengths in lengths(), options in options(), batches in 1usize..5) {
        let documents = documents(&lengths);
        let mut loader = Loader::new(documents.clone(), options.clone()).unwrap();
        for batch in take(&mut loader, batches) {
            prop_assert_eq!(batch.rows, options.rows);
            prop_assert!(batch.len == options.len || (options.padding == Padding::Longest && batch.len < options.len));
            let size = batch.rows * batch.len;
            prop_assert_eq!([batch.tokens.len(), batch.targets.len(), batch.segments.len(), batch.positions.len()], [size; 4]);
            let mut covered = 0;
            for (row, pieces) in batch.documents.iter().enumerate() {
                for (segment, piece) in pieces.iter().enumerate() {
                    for step in 0..piece.len as usize {
                        let index = row * batch.len + piece.column as usize + step;
                        let token = documents[piece.document as usize].tokens[piece.offset as usize + step];
                        prop_assert_eq!((batch.tokens[index], batch.segments[index], batch.positions[index]), (token, segment as u32, step as u32));
                        covered += 1;
                    }
                }
            }
            prop_assert_eq!(covered, batch.filled());
            let padding = (0..size).filter(|&index| batch.segments[index] == PADDING);
            let padding: Vec<_> = padding.map(|index| (batch.tokens[index], batch.targets[index], batch.positions[index])).collect();
            prop_assert_eq!(padding.len(), size - covered);
            prop_assert!(padding.iter().all(|&values| values == (999_999, IGNORED, 0)));
            prop_assert_eq!(batch.scored_tokens().count(), batch.scored());
        }
    }
}

#[test]
fn a_cut_document_loses_no_target() {
    let options = LoaderOptions {
        shuffle: false,
        ..LoaderOptions::packed(2, 4, 0)
    };
    let batch = Loader::new(documents(&[7]), options).unwrap().next_batch();
    assert_eq!(batch.tokens, [0, 1, 2, 3, 4, 5, 6, 0]);
    assert_eq!(batch.targets, [1, 2, 3, 4, 5, 6, IGNORED, IGNORED]);
    assert_eq!(batch.segments, [0, 0, 0, 0, 0, 0, 0, PADDING]);
    assert_eq!(batch.positions, [0, 1, 2, 3, 0, 1, 2, 0]);
}

#[test]
fn only_what_is_marked_is_scored() {
    let mut marked = documents(&[5, 5]).to_vec();
    marked[0].loss = vec![false, false, false, true, true];
    marked[1].loss = vec![true, false, false, false, false];
    let options = LoaderOptions {
        shuffle: false,
        ..LoaderOptions::packed(1, 8, 0)
    };
    let mut loader = Loader::new(Arc::new(marked), options).unwrap();
    assert_eq!(
        loader.rows_in_epoch(),
        1,
        "the second document's only mark is on its first token, which nothing predicts"
    );
    assert_eq!(
        loader.next_batch().targets[..5],
        [IGNORED, IGNORED, 3, 4, IGNORED]
    );
}

#[test]
fn a_cursor_of_other_data_is_refused() {
    let options = LoaderOptions::packed(2, 16, 0);
    let cursor = Loader::new(documents(&[9, 9]), options.clone()).unwrap().cursor();
    let refuses = |lengths: &[usize], options: LoaderOptions| {
        let error = Loader::new(documents(lengths), options)
            .unwrap()
            .seek(&cursor)
            .unwrap_err();
        assert!(
            matches!(error, Error::Cursor { .. }) && error.to_string().contains("other data"),
            "{error}"
        );
    };
    refuses(&[9, 8], options.clone());
    refuses(
        &[9, 9],
        LoaderOptions {
            seed: 1,
            ..options.clone()
        },
    );
    refuses(
        &[9, 9],
        LoaderOptions {
            len: 17,
            ..options.clone()
        },
    );
    Loader::new(
        documents(&[9, 9]),
        LoaderOptions {
            rows: 5,
            ..options.clone()
        },
    )
    .unwrap()
    .seek(&cursor)
    .unwrap();
    let past = Cursor {
        row: 99,
        ..cursor.clone()
    };
    let error = Loader::new(documents(&[9, 9]), options)
        .unwrap()
        .seek(&past)
        .unwrap_err()
        .to_string();
    assert!(error.contains("row 99 is past the"), "{error}");
}

#[test]
fn nothing_to_train_on_is_said() {
    let error = |lengths: &[usize]| {
        Loader::new(documents(lengths), LoaderOptions::packed(1, 8, 0))
            .unwrap_err()
            .to_string()
    };
    assert!(error(&[]).contains("the data are empty"));
    assert!(error(&[1, 0]).contains("no document has a token to score (2 document(s) given)"));
}

#[test]
fn the_order_is_pinned() {
    // Runs resume across versions of this program: the order for a seed may never change silently.
    let mut loader = Loader::new(
        documents(&[3, 4, 5, 6, 7, 8, 9, 10]),
        LoaderOptions::packed(1, 12, 42),
    )
    .unwrap();
    let rows: Vec<Vec<u32>> = take(&mut loader, 10)
        .iter()
        .map(|batch| batch.documents[0].iter().map(|piece| piece.document).collect())
        .collect();
    let expected: [&[u32]; 10] = [
        &[7],
        &[4],
        &[2, 1],
        &[3],
        &[5],
        &[6, 0],
        &[1, 0, 2],
        &[6],
        &[3],
        &[5],
    ];
    assert_eq!(rows, expected);
}
