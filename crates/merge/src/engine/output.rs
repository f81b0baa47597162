//! Where finished blocks go: the shards of the result, in any order and from any thread.
//!
//! A shard is ended as soon as its last tensor is made, in the background: hashing and syncing do not hold up the blocks of the
//! next one. In a publication that can be resumed it is kept then, with what became of its tensors, so that a merge that is
//! killed later, or another process, need not make it again.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use tributary_store::{PositionedWriter, Publication, RegionWriter};
use tributary_tensorfile::ShardLayout;

use super::made::{Made, to_note};
use super::work::Work;
use crate::error::{MergeError, Result};

/// The shards being written; nothing of them is visible before the publication is committed.
pub(crate) struct Output {
    publication: Publication,
    shards: Vec<Mutex<Shard>>,
    names: Vec<(String, usize)>,
    /// `None` once no more files end.
    ended: Option<SyncSender<Ended>>,
    ending: Option<JoinHandle<Result<()>>>,
    /// Why a shard could not be ended, for whoever writes next.
    failure: Arc<Mutex<Option<MergeError>>>,
}

/// A shard and what is known of its tensors.
struct Shard {
    layout: ShardLayout,
    state: State,
    made: Vec<(String, Made)>,
    /// Tensors that are not made yet.
    left: usize,
}

enum State {
    /// Somebody else makes it, or it is ended.
    Elsewhere,
    /// Nothing of it is written yet: a model of many files has few of them open.
    Waiting,
    Open(Arc<RegionWriter>),
}

/// A shard whose bytes are all there.
struct Ended {
    writer: RegionWriter,
    note: Vec<u8>,
}

impl Output {
    /// Prepares those of the `shards` that are to be made here.
    pub(crate) fn begin(
        publication: &Publication,
        shards: &[ShardLayout],
        tensors: &[Work],
        is_made_here: impl Fn(usize) -> bool,
    ) -> Result<Output> {
        let prepare = |(number, layout): (usize, &ShardLayout)| {
            Mutex::new(Shard {
                state: if is_made_here(number) {
                    State::Waiting
                } else {
                    State::Elsewhere
                },
                made: Vec::new(),
                left: layout.tensors.len(),
                layout: layout.clone(),
            })
        };
        let shards = shards.iter().enumerate().map(prepare).collect();
        // One waits while one is ended: of small files more would gather in memory.
        let (ended, receiver) = sync_channel(1);
        let failure = Arc::<Mutex<Option<MergeError>>>::default();
        let (of_thread, told) = (publication.clone(), Arc::clone(&failure));
        let ending = std::thread::Builder::new()
            .name("tributary-shards".to_string())
            .spawn(move || end_shards(&of_thread, &receiver, &told))
            .map_err(|error| MergeError::Internal(format!("no thread to end files: {error}")))?;
        Ok(Output {
            publication: publication.clone(),
            shards,
            names: tensors
                .iter()
                .map(|tensor| (tensor.spec.name.clone(), tensor.shard))
                .collect(),
            ended: Some(ended),
            ending: Some(ending),
            failure,
        })
    }

    /// Is this shard made here?
    pub(crate) fn has(&self, shard: usize) -> bool {
        self.shard(shard)
            .is_ok_and(|shard| !matches!(shard.state, State::Elsewhere))
    }

    fn shard(&self, shard: usize) -> Result<MutexGuard<'_, Shard>> {
        let found = self.shards.get(shard);
        let found = found.ok_or_else(|| MergeError::Internal(format!("there is no shard {shard}")))?;
        Ok(found.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Writes `bytes` at `offset` of a shard.
    pub(crate) fn write(&self, shard: usize, offset: u64, bytes: &[u8]) -> Result<()> {
        if let Some(error) = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(error);
        }
        Ok(self.writer(shard)?.write_at(offset, bytes)?)
    }

    /// The writer of a shard; the first call begins it with its header.
    fn writer(&self, number: usize) -> Result<Arc<RegionWriter>> {
        let mut shard = self.shard(number)?;
        let writer = match &shard.state {
            State::Open(writer) => return Ok(Arc::clone(writer)),
            State::Elsewhere => {
                return Err(MergeError::Internal(format!("shard {number} is not made here")));
            }
            State::Waiting => self
                .publication
                .region_writer(&shard.layout.file, shard.layout.len)?,
        };
        writer.write_at(0, &shard.layout.header)?;
        let writer = Arc::new(writer);
        shard.state = State::Open(Arc::clone(&writer));
        Ok(writer)
    }

    /// Notes that a tensor is made; every byte of it has been written. Gives the number of the shard if that was its last one.
    pub(crate) fn note(&self, tensor: usize, made: &Made) -> Option<usize> {
        let (name, number) = self.names.get(tensor)?;
        let mut shard = self.shard(*number).ok()?;
        if matches!(shard.state, State::Elsewhere) {
            return None;
        }
        shard.made.push((name.clone(), made.clone()));
        shard.left = shard.left.saturating_sub(1);
        (shard.left == 0).then_some(*number)
    }

    /// Ends a shard of which every tensor is made.
    pub(crate) fn end_shard(&self, number: usize) -> Result<()> {
        // One of nothing but empty tensors was never written to.
        self.writer(number)?;
        let mut shard = self.shard(number)?;
        let State::Open(writer) = std::mem::replace(&mut shard.state, State::Elsewhere) else {
            return Err(MergeError::Internal(format!("shard {number} is ended twice")));
        };
        let note = to_note(&std::mem::take(&mut shard.made));
        drop(shard);
        // Nobody writes any more, so nobody else holds it.
        let writer = Arc::into_inner(writer);
        let writer =
            writer.ok_or_else(|| MergeError::Internal(format!("shard {number} is still written to")))?;
        let ended = self
            .ended
            .as_ref()
            .filter(|ended| ended.send(Ended { writer, note }).is_ok());
        match ended {
            Some(_) => Ok(()),
            None => Err(MergeError::Internal(
                "the thread that ends files is gone".to_string(),
            )),
        }
    }

    /// Waits until every shard that is whole is part of the artifact.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        drop(self.ended.take());
        match self.ending.take().map(JoinHandle::join) {
            Some(Err(_)) => Err(MergeError::Internal(
                "the thread that ends files is gone".to_string(),
            )),
            Some(Ok(ended)) => ended,
            None => Ok(()),
        }
    }
}

/// A merge that fails or is stopped still keeps the files that are whole.
impl Drop for Output {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// Ends every shard that comes, also after one could not be ended: what is whole is kept.
fn end_shards(
    publication: &Publication,
    ended: &Receiver<Ended>,
    failure: &Mutex<Option<MergeError>>,
) -> Result<()> {
    for shard in ended {
        let kept = match publication.is_resumable() {
            true => publication.keep(shard.writer, shard.note),
            false => publication.add(shard.writer),
        };
        if let Err(error) = kept {
            let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
            failure.get_or_insert(error.into());
        }
    }
    match failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
        Some(error) => Err(error),
        None => Ok(()),
    }
}
