//! Where finished blocks go: the shards of the result, in any order and from any thread.
//!
//! A shard is ended as soon as its last tensor is made, in the background: hashing and syncing do not hold up the blocks of the
//! next one. In a publication that can be resumed it is kept then, with what became of its tensors, so that a merge that is
//! killed later, or another process, need not make it again.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use tributary_store::{PositionedWriter, Publication, RegionWriter};
use tributary_tensorfile::ShardLayout;

use super::made::{Made, to_note};
use super::work::Work;
use crate::error::{MergeError, Result};

/// The shards being written; nothing of them is visible before the publication is committed.
pub(crate) struct Output {
    shards: Vec<Mutex<Shard>>,
    names: Vec<(String, usize)>,
    /// `None` once no more files end.
    ended: Option<Sender<Ended>>,
    ending: Option<JoinHandle<Result<()>>>,
}

/// A shard being written; without a writer it is not made here, or ended.
struct Shard {
    writer: Option<Arc<RegionWriter>>,
    made: Vec<(String, Made)>,
    /// Tensors that are not made yet.
    left: usize,
}

/// A shard whose bytes are all there.
struct Ended {
    writer: RegionWriter,
    note: Vec<u8>,
}

impl Output {
    /// Starts those of the `shards` that are to be made here, and writes their headers.
    pub(crate) fn begin(
        publication: &Publication,
        shards: &[ShardLayout],
        tensors: &[Work],
        is_made_here: impl Fn(usize) -> bool,
    ) -> Result<Output> {
        let start = |(number, shard): (usize, &ShardLayout)| -> Result<Mutex<Shard>> {
            let mut writer = None;
            if is_made_here(number) {
                let new = publication.region_writer(&shard.file, shard.len)?;
                new.write_at(0, &shard.header)?;
                writer = Some(Arc::new(new));
            }
            Ok(Mutex::new(Shard {
                writer,
                made: Vec::new(),
                left: shard.tensors.len(),
            }))
        };
        let shards = shards.iter().enumerate().map(start).collect::<Result<_>>()?;
        let (ended, receiver) = channel();
        let publication = publication.clone();
        let ending = std::thread::Builder::new()
            .name("tributary-shards".to_string())
            .spawn(move || end_shards(&publication, &receiver))
            .map_err(|error| MergeError::Internal(format!("no thread to end files: {error}")))?;
        Ok(Output {
            shards,
            names: tensors
                .iter()
                .map(|tensor| (tensor.spec.name.clone(), tensor.shard))
                .collect(),
            ended: Some(ended),
            ending: Some(ending),
        })
    }

    /// Is this shard made here?
    pub(crate) fn has(&self, shard: usize) -> bool {
        self.shard(shard).is_ok_and(|shard| shard.writer.is_some())
    }

    fn shard(&self, shard: usize) -> Result<MutexGuard<'_, Shard>> {
        let found = self.shards.get(shard);
        let found = found.ok_or_else(|| MergeError::Internal(format!("there is no shard {shard}")))?;
        Ok(found.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Writes `bytes` at `offset` of a shard.
    pub(crate) fn write(&self, shard: usize, offset: u64, bytes: &[u8]) -> Result<()> {
        let writer = self.shard(shard)?.writer.clone();
        let writer = writer.ok_or_else(|| MergeError::Internal(format!("shard {shard} is not made here")))?;
        Ok(writer.write_at(offset, bytes)?)
    }

    /// Notes that a tensor is made; every byte of it has been written. The last one ends its shard.
    pub(crate) fn note(&self, tensor: usize, made: &Made) {
        let Some((name, number)) = self.names.get(tensor) else {
            return;
        };
        let Ok(mut shard) = self.shard(*number) else {
            return;
        };
        if shard.writer.is_none() {
            return;
        }
        shard.made.push((name.clone(), made.clone()));
        shard.left = shard.left.saturating_sub(1);
        if shard.left > 0 {
            return;
        }
        let made = std::mem::take(&mut shard.made);
        // Nobody writes any more, so nobody else holds it.
        let writer = shard.writer.take().and_then(Arc::into_inner);
        if let (Some(writer), Some(ended)) = (writer, &self.ended) {
            let note = to_note(&made);
            let _ = ended.send(Ended { writer, note });
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

fn end_shards(publication: &Publication, ended: &Receiver<Ended>) -> Result<()> {
    for shard in ended {
        match publication.is_resumable() {
            true => publication.keep(shard.writer, shard.note)?,
            false => publication.add(shard.writer)?,
        }
    }
    Ok(())
}
