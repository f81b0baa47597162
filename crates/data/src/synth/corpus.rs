//! The four kinds of text and their files.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::world::World;
use crate::record::Record;

/// A kind of text about the little world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Corpus {
    /// Short stories (`text`).
    Stories,
    /// Questions about people and places (`prompt`, `completion`).
    Facts,
    /// Sums and differences up to twenty (`prompt`, `completion`).
    Arithmetic,
    /// Small tasks with words (`messages`).
    Instructions,
}

impl Corpus {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Stories, Self::Facts, Self::Arithmetic, Self::Instructions];

    /// The kind's name, as in settings and file names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stories => "stories",
            Self::Facts => "facts",
            Self::Arithmetic => "arithmetic",
            Self::Instructions => "instructions",
        }
    }

    /// The kind of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|corpus| corpus.name() == name)
    }

    /// `count` records of the world of `seed`.
    pub fn records(self, count: usize, seed: u64) -> Vec<Record> {
        let world = World::new(seed);
        match self {
            Self::Stories => world.stories(count),
            Self::Facts => world.facts(count),
            Self::Arithmetic => world.arithmetic(count),
            Self::Instructions => world.instructions(count),
        }
    }
}

/// `count` records as JSON lines; the same bytes for the same seed, on any machine.
pub fn write_corpus(kind: Corpus, count: usize, seed: u64) -> Vec<u8> {
    let mut out = Vec::new();
    for record in kind.records(count, seed) {
        out.extend_from_slice(record.to_json_line().as_bytes());
        out.push(b'\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn bytes_are_pinned() {
        // The quickstart's artifacts are keyed by these bytes: changing any text here gives everyone new artifacts.
        let digests =
            Corpus::ALL.map(|kind| blake3::hash(&write_corpus(kind, 500, 17)).to_hex()[..16].to_owned());
        assert_eq!(
            digests,
            [
                "83ea8dded7b753c0",
                "d1dc04c79be17eae",
                "aea384f9a1c4510d",
                "798c0f889550edeb"
            ]
        );
    }

    #[test]
    fn more_records_begin_with_the_fewer() {
        for kind in Corpus::ALL {
            assert!(
                write_corpus(kind, 300, 4).starts_with(&write_corpus(kind, 120, 4)),
                "{kind:?}"
            );
            assert_ne!(write_corpus(kind, 20, 4), write_corpus(kind, 20, 5), "{kind:?}");
        }
    }

    #[test]
    fn records_hardly_ever_repeat() {
        for (kind, count) in [
            (Corpus::Stories, 4000),
            (Corpus::Facts, 1100),
            (Corpus::Arithmetic, 4000),
            (Corpus::Instructions, 4000),
        ] {
            let records = kind.records(count, 1);
            let distinct: HashSet<_> = records.iter().map(|record| record.id()).collect();
            assert_eq!((records.len(), distinct.len()), (count, count), "{kind:?}");
        }
    }

    #[test]
    fn texts_are_filled_and_tidy() {
        for kind in Corpus::ALL {
            for record in kind.records(2000, 9) {
                let texts = match record {
                    Record::Text(text) => vec![text],
                    Record::Completion { prompt, completion } => {
                        assert!(
                            completion.starts_with(' ') && completion.ends_with('.'),
                            "{completion:?}"
                        );
                        vec![prompt, completion.trim_start().to_owned()]
                    }
                    Record::Messages(messages) => {
                        messages.into_iter().map(|message| message.content).collect()
                    }
                };
                for text in texts {
                    assert!(!text.contains(['{', '}', '[', ']', '|']), "unfilled: {text}");
                    assert!(
                        !text.contains("  ") && text.trim() == text && !text.contains(" ."),
                        "untidy: {text:?}"
                    );
                    assert!(text.is_ascii(), "{text}");
                }
            }
        }
    }
}
