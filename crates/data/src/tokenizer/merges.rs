//! Learning the merges of a byte-pair encoding.
//!
//! The `tokenizers` crate has a trainer, but when two merges spell the same token its result depends on hash order and it
//! counts in 32 bits, so this one is ours: at every step the most frequent pair is merged, ties broken by the smaller pair
//! of ids, and nothing depends on threads or hashing. (Sennrich, Haddow and Birch, "Neural machine translation of rare words
//! with subword units", 2016, algorithm 1, with incremental pair counts.)

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

type Pair = (u32, u32);

/// A word as token ids, and how often it occurs.
pub(super) struct Word {
    pub(super) tokens: Vec<u32>,
    pub(super) count: u64,
}

/// Merges in order of learning. The `k`-th merge makes token `spellings.len() + k` (counted before the call), whose
/// spelling is appended to `spellings`. Stops at `limit` merges or when no pair occurs at least `min_count` times. A merge
/// that would spell an existing token is passed over, so spellings stay unique.
pub(super) fn learn(
    words: &mut [Word],
    spellings: &mut Vec<String>,
    limit: usize,
    min_count: u64,
) -> Vec<Pair> {
    let mut known: HashSet<String> = spellings.iter().cloned().collect();
    let mut counts: HashMap<Pair, u64> = HashMap::new();
    let mut places: HashMap<Pair, Vec<u32>> = HashMap::new();
    for (index, word) in words.iter().enumerate() {
        for pair in word.tokens.windows(2) {
            let pair = (pair[0], pair[1]);
            *counts.entry(pair).or_default() += word.count;
            note(&mut places, pair, index as u32);
        }
    }
    let mut queue: BinaryHeap<(u64, Reverse<Pair>)> = counts
        .iter()
        .map(|(&pair, &count)| (count, Reverse(pair)))
        .collect();
    let mut merges = Vec::new();
    while merges.len() < limit {
        let Some((count, Reverse(pair))) = queue.pop() else {
            break;
        };
        let current = counts.get(&pair).copied().unwrap_or(0);
        if current != count {
            // Stale: the pair lost occurrences to another merge since it was queued. Gains are queued when they happen.
            if current > 0 && current < count {
                queue.push((current, Reverse(pair)));
            }
            continue;
        }
        if count < min_count.max(1) {
            break;
        }
        let spelling = format!("{}{}", spellings[pair.0 as usize], spellings[pair.1 as usize]);
        if !known.insert(spelling.clone()) {
            continue;
        }
        let merged = spellings.len() as u32;
        spellings.push(spelling);
        merges.push(pair);
        let mut touched = places.remove(&pair).unwrap_or_default();
        touched.sort_unstable();
        touched.dedup();
        let mut gained: Vec<Pair> = Vec::new();
        for index in touched {
            let word = &mut words[index as usize];
            for old in word.tokens.windows(2) {
                if let Some(count) = counts.get_mut(&(old[0], old[1])) {
                    *count -= word.count;
                }
            }
            replace(&mut word.tokens, pair, merged);
            for new in word.tokens.windows(2) {
                let new = (new[0], new[1]);
                *counts.entry(new).or_default() += word.count;
                if new.0 == merged || new.1 == merged {
                    note(&mut places, new, index);
                    gained.push(new);
                }
            }
        }
        counts.remove(&pair);
        gained.sort_unstable();
        gained.dedup();
        queue.extend(gained.into_iter().map(|pair| (counts[&pair], Reverse(pair))));
    }
    merges
}

fn note(places: &mut HashMap<Pair, Vec<u32>>, pair: Pair, index: u32) {
    let list = places.entry(pair).or_default();
    if list.last() != Some(&index) {
        list.push(index);
    }
}

/// Replaces every occurrence of `pair`, from the left, by `merged`.
fn replace(tokens: &mut Vec<u32>, pair: Pair, merged: u32) {
    let (mut read, mut write) = (0, 0);
    while read < tokens.len() {
        if read + 1 < tokens.len() && (tokens[read], tokens[read + 1]) == pair {
            tokens[write] = merged;
            read += 2;
        } else {
            tokens[write] = tokens[read];
            read += 1;
        }
        write += 1;
    }
    tokens.truncate(write);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &[(&str, u64)], spellings: &mut Vec<String>) -> Vec<Word> {
        let mut letters: Vec<String> = list
            .iter()
            .flat_map(|(word, _)| word.chars().map(String::from))
            .collect::<HashSet<_>>()
            .into_iter()
            .collect();
        letters.sort();
        *spellings = letters.clone();
        list.iter()
            .map(|(word, count)| Word {
                tokens: word
                    .chars()
                    .map(|letter| {
                        letters
                            .iter()
                            .position(|entry| *entry == letter.to_string())
                            .unwrap() as u32
                    })
                    .collect(),
                count: *count,
            })
            .collect()
    }

    /// The definition, without any incremental bookkeeping.
    fn reference(words: &mut [Word], spellings: &mut Vec<String>, limit: usize, min_count: u64) -> Vec<Pair> {
        let mut merges = Vec::new();
        let mut passed_over = HashSet::new();
        while merges.len() < limit {
            let mut counts: HashMap<Pair, u64> = HashMap::new();
            for word in words.iter() {
                for pair in word.tokens.windows(2) {
                    *counts.entry((pair[0], pair[1])).or_default() += word.count;
                }
            }
            counts.retain(|pair, _| !passed_over.contains(pair));
            let Some((&pair, _)) = counts
                .iter()
                .filter(|(_, count)| **count >= min_count)
                .max_by_key(|(pair, count)| (**count, Reverse(**pair)))
            else {
                break;
            };
            let spelling = format!("{}{}", spellings[pair.0 as usize], spellings[pair.1 as usize]);
            if spellings.contains(&spelling) {
                passed_over.insert(pair);
                continue;
            }
            spellings.push(spelling);
            merges.push(pair);
            for word in words.iter_mut() {
                replace(&mut word.tokens, pair, spellings.len() as u32 - 1);
            }
        }
        merges
    }

    #[test]
    fn the_textbook_example() {
        let mut spellings = Vec::new();
        let mut list = words(
            &[("low", 5), ("lower", 2), ("newest", 6), ("widest", 3)],
            &mut spellings,
        );
        learn(&mut list, &mut spellings, 4, 1);
        assert_eq!(spellings[spellings.len() - 4..], ["es", "est", "lo", "low"]);
    }

    proptest::proptest! {
        #[test]
        fn incremental_counts_agree_with_the_definition(
            list in proptest::collection::vec(("[abc]{1,9}", 1u64..6), 1..30), limit in 0usize..40, min_count in 1u64..4,
        ) {
            let list: Vec<(&str, u64)> = list.iter().map(|(word, count)| (word.as_str(), *count)).collect();
            let (mut one, mut other) = (Vec::new(), Vec::new());
            let mut first = words(&list, &mut one);
            let mut second = words(&list, &mut other);
            let fast = learn(&mut first, &mut one, limit, min_count);
            let slow = reference(&mut second, &mut other, limit, min_count);
            proptest::prop_assert_eq!(fast, slow);
            proptest::prop_assert_eq!(one, other);
        }
    }
}
