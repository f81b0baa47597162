//! Making a merge in several processes, and going on with one that was killed.
//!
//! Both are the same: what a process finishes is kept in the unfinished publication, under a key that every process of the
//! same merge at the same place finds. Files of tensors are kept whole, with what became of their tensors; the inner products
//! that a method needs before it begins are kept as notes, one a process. Processes take turns in the order of files, so each
//! reads what it makes alone; whoever finds all files finished publishes.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tributary_store::Publication;

use crate::engine::{Made, from_note, to_note};
use crate::error::{MergeError, Result};
use crate::plan::MergePlan;
use crate::run::{MERGE_VERSION, Watch};

/// Which of several processes this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Portion {
    /// From 0.
    pub index: usize,
    /// How many there are.
    pub of: usize,
    /// How long the others are waited for where something of all of them is needed; what is missing then is measured here.
    pub patience: Duration,
}

impl Portion {
    /// The only process.
    pub const WHOLE: Portion = Portion {
        index: 0,
        of: 1,
        patience: Duration::ZERO,
    };

    /// Is file number `file` made by this process?
    pub(crate) fn has(self, file: usize) -> bool {
        file % self.of.max(1) == self.index
    }
}

/// What became of tensors, by name.
type Named = Vec<(String, Made)>;

/// Between two looks at what the others have done.
const LOOK: Duration = Duration::from_millis(300);

impl MergePlan {
    /// What every process of this merge calls it: a digest of the document, of the models as far as they are known, and of
    /// the files that are made.
    pub fn key(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        let mut add = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        add(&MERGE_VERSION.to_le_bytes());
        add(&serde_json::to_vec(&self.spec).unwrap_or_default());
        for lineage in self.lineage() {
            add(format!("{lineage:?}").as_bytes());
        }
        for (_, source) in self.base.iter().chain(&self.inputs) {
            add(source.version().as_bytes());
        }
        add(self.tokenizer.version().as_bytes());
        add(&self.configuration);
        // Which rows belong to which token.
        add(self.tokenizers.as_bytes());
        for (name, bytes) in &self.tokenizer_files {
            add(name.as_bytes());
            add(bytes);
        }
        add(&[u8::from(self.measures_on_the_way())]);
        for shard in &self.layout.shards {
            add(shard.file.as_bytes());
            add(&shard.header);
        }
        hasher.finalize().to_hex().to_string()
    }

    /// What became of the tensors of every file that is finished, by file; `None` for one that is not.
    pub(crate) fn finished(&self, publication: &Publication) -> Result<Vec<Option<Named>>> {
        let all = publication.finished()?;
        let of = |file: &str| {
            let found = all.iter().find(|finished| finished.written.path == file)?;
            from_note(&found.note)
        };
        Ok(self.layout.shards.iter().map(|shard| of(&shard.file)).collect())
    }

    /// Keeps what this process measured, and gives what was measured of every tensor: by the others, or by `measure` (given the
    /// number of a process) where they did not do it in time or this process alone is at work.
    pub(crate) fn measured_by_all(
        &self,
        publication: &Publication,
        watch: &Watch<'_>,
        mut measure: impl FnMut(usize) -> Result<Vec<Made>>,
    ) -> Result<Vec<Made>> {
        let portion = self.options.portion;
        let mut all = vec![Made::default(); self.tensors.len()];
        let others = (1..portion.of).map(|step| (portion.index + step) % portion.of);
        for process in std::iter::once(portion.index).chain(others) {
            let name = format!("measured-{process}-of-{}", portion.of);
            let is_own = process == portion.index;
            let patience = if is_own { Duration::ZERO } else { portion.patience };
            let found = match publication.is_resumable() {
                true => wait_for(publication, &name, patience, watch)?,
                false => None,
            };
            let found = match found {
                Some(found) => found,
                None => {
                    let found = self.named(&measure(process)?);
                    if publication.is_resumable() {
                        publication.note(&name, to_note(&found))?;
                    }
                    found
                }
            };
            self.put_by_name(found, &mut all);
        }
        Ok(all)
    }

    /// What was made of each tensor, with its name; of those that something is known of.
    fn named(&self, made: &[Made]) -> Vec<(String, Made)> {
        let named = self
            .tensors
            .iter()
            .zip(made)
            .filter(|(_, made)| made.gram.is_some());
        named
            .map(|(tensor, made)| (tensor.spec.name.clone(), made.clone()))
            .collect()
    }

    /// Puts what became of tensors at their places.
    pub(crate) fn put_by_name(&self, found: Vec<(String, Made)>, all: &mut [Made]) {
        for (name, made) in found {
            let place = self
                .tensors
                .binary_search_by(|tensor| tensor.spec.name.as_str().cmp(&name));
            if let Some(slot) = place.ok().and_then(|place| all.get_mut(place)) {
                *slot = made;
            }
        }
    }
}

/// The note of another process, waited for.
fn wait_for(
    publication: &Publication,
    name: &str,
    patience: Duration,
    watch: &Watch<'_>,
) -> Result<Option<Vec<(String, Made)>>> {
    let start = Instant::now();
    loop {
        if let Some(note) = publication.read_note(name)? {
            // One that cannot be read is another version's: it is measured again.
            return Ok(from_note(&note));
        }
        if watch.cancel.load(Ordering::Relaxed) {
            return Err(MergeError::Cancelled);
        }
        if start.elapsed() >= patience {
            return Ok(None);
        }
        std::thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_of_one_process() {
        for of in 1..6 {
            for file in 0..20 {
                let makers = (0..of).filter(|index| {
                    let portion = Portion {
                        index: *index,
                        of,
                        ..Portion::WHOLE
                    };
                    portion.has(file)
                });
                assert_eq!(makers.count(), 1);
            }
        }
    }
}
