//! A remote object being written: a multipart upload whose parts are numbered by position.
//!
//! Bytes may arrive in any order and from several threads, each byte once. Held in memory are the parts that are not
//! complete and at most [`IN_FLIGHT`] complete ones on their way. Nothing becomes visible before
//! [`RemoteStaged::publish`]; a dropped stage aborts its upload (a killed process cannot: give buckets a lifecycle rule
//! for unfinished uploads) unless it was kept for others.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use object_store::multipart::PartId;
use tokio::sync::Semaphore;

use crate::coverage::Coverage;
use crate::digest::{Digest, LEAF_BYTES, PieceDigest, PieceHasher, from_leaves, pieces};
use crate::error::{Result, StoreError};
use crate::part_room;
use crate::remote::Remote;
use crate::remote_upload::{KeptUpload, Part, Upload, complete, is_there};
use crate::runtime::{block_on, spawn};

/// Complete parts on their way at one time.
const IN_FLIGHT: usize = 4;
/// S3's limit.
const MAX_PARTS: u64 = 10_000;

/// One remote object being written.
pub(crate) struct RemoteStage {
    upload: Arc<Upload>,
    slots: Arc<Semaphore>,
    part_bytes: u64,
    len: Option<u64>,
}

/// A complete remote object that nobody can see yet.
pub(crate) struct RemoteStaged {
    upload: Arc<Upload>,
    /// The whole object, while it is small enough to go in one request.
    small: Option<Bytes>,
    size: u64,
    digest: Digest,
}

impl RemoteStage {
    /// Starts the object `key`. Without `len` the parts have 8 MiB, which ends at 78 GiB.
    pub(crate) fn begin(remote: &Arc<Remote>, key: &str, len: Option<u64>) -> RemoteStage {
        let needed = len.unwrap_or(0).div_ceil(MAX_PARTS).max(1);
        let part_bytes = needed.div_ceil(LEAF_BYTES) * LEAF_BYTES;
        let upload = Upload {
            remote: Arc::clone(remote),
            key: key.to_string(),
            id: Mutex::default(),
            state: Mutex::default(),
        };
        RemoteStage {
            upload: Arc::new(upload),
            slots: Arc::new(Semaphore::new(IN_FLIGHT)),
            part_bytes,
            len,
        }
    }

    pub(crate) fn describe(&self) -> String {
        self.upload.remote.at(&self.upload.key)
    }

    /// Takes `data` for `offset` and sends every part that is now complete; waits while too many are on their way.
    pub(crate) fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        let end = offset
            .checked_add(data.len() as u64)
            .filter(|end| self.len.is_none_or(|len| *end <= len))
            .ok_or_else(|| StoreError::misuse(self.describe(), "a write reaches past the declared size"))?;
        if pieces(end, self.part_bytes) > MAX_PARTS {
            let reason = "more than 10,000 parts of 8 MiB; declare the size before writing";
            return Err(StoreError::misuse(self.describe(), reason));
        }
        let mut at = offset;
        while at < end {
            let index = at / self.part_bytes;
            let stop = end.min((index + 1) * self.part_bytes);
            let piece = &data[to_index(at - offset)..to_index(stop - offset)];
            if let Some(bytes) = self.fill(index, at - index * self.part_bytes, piece)? {
                self.dispatch(index, bytes)?;
            }
            at = stop;
        }
        Ok(())
    }

    fn part_len(&self, index: u64) -> u64 {
        let start = index * self.part_bytes;
        self.len.map_or(self.part_bytes, |len| {
            len.saturating_sub(start).min(self.part_bytes)
        })
    }

    /// Copies `piece` into part `index`; returns the part's bytes once it is complete.
    fn fill(&self, index: u64, start: u64, piece: &[u8]) -> Result<Option<Bytes>> {
        let mut state = self.upload.state();
        if let Some(failure) = state.failure.take() {
            return Err(failure);
        }
        let twice = || {
            let at = index * self.part_bytes + start;
            StoreError::misuse(
                self.describe(),
                format!("a byte of the {} from {at} on was written twice", piece.len()),
            )
        };
        if state.closed.contains(&index) {
            return Err(twice());
        }
        let full = self.part_len(index);
        let part = state.open.entry(index).or_insert_with(|| Part {
            bytes: part_room::take(to_index(full)),
            coverage: Coverage::default(),
        });
        let end = start + piece.len() as u64;
        if !part.coverage.add(start, end) {
            return Err(twice());
        }
        part.bytes[to_index(start)..to_index(end)].copy_from_slice(piece);
        let complete = part.coverage.is(full);
        // A lone part goes in one request at the end, so its bytes stay.
        if !complete || self.len.is_some_and(|len| len <= self.part_bytes) {
            return Ok(None);
        }
        state.closed.insert(index);
        let part = state.open.remove(&index);
        Ok(part.map(|part| part_room::lend(part.bytes, to_index(full))))
    }

    /// Hashes and sends one part in the background.
    fn dispatch(&self, index: u64, bytes: Bytes) -> Result<()> {
        let id = self.upload.start()?;
        let slot = block_on(Arc::clone(&self.slots).acquire_owned())?
            .map_err(|_| StoreError::misuse(self.describe(), "the upload has ended"))?;
        let upload = Arc::clone(&self.upload);
        let start = index * self.part_bytes;
        spawn(async move {
            let leaves = hash_leaves(start, &bytes);
            let sent = upload.send(&id, index, bytes).await;
            let mut state = upload.state();
            state.leaves.extend(leaves);
            match sent {
                Ok(part) => {
                    state.sent.insert(index, part);
                }
                Err(error) => {
                    state.failure = Some(upload.remote.error("upload a part of", &upload.key, &error))
                }
            }
            drop(state);
            // Before the slot: whoever gets all slots back must also be the only holder of the upload.
            drop(upload);
            drop(slot);
        })?;
        Ok(())
    }

    /// Ends the object at `size` bytes: every byte must have arrived. Waits for the parts on their way.
    pub(crate) fn finish(self, size: u64) -> Result<(Digest, Vec<Digest>, RemoteStaged)> {
        let small = self.take_small(size)?;
        if small.is_none() {
            self.send_rest(size)?;
        }
        let all = u32::try_from(IN_FLIGHT).unwrap_or(u32::MAX);
        let idle = block_on(self.slots.acquire_many(all))?;
        drop(idle);
        let mut state = self.upload.state();
        if let Some(failure) = state.failure.take() {
            return Err(failure);
        }
        if let Some(bytes) = &small {
            state.leaves.extend(hash_leaves(0, bytes));
        } else if state.sent.len() as u64 != pieces(size, self.part_bytes) {
            return Err(StoreError::misuse(
                self.describe(),
                "a part of it was never written",
            ));
        }
        let leaves: Vec<PieceDigest> = state.leaves.values().copied().collect();
        drop(state);
        let (digest, chunks) = from_leaves(&leaves);
        Ok((
            digest,
            chunks,
            RemoteStaged {
                upload: self.upload,
                small,
                size,
                digest,
            },
        ))
    }

    /// The whole object if it is one part that has not been sent.
    fn take_small(&self, size: u64) -> Result<Option<Bytes>> {
        let mut state = self.upload.state();
        if size == 0 {
            return Ok(Some(Bytes::new()));
        }
        if size > self.part_bytes || !state.sent.is_empty() || self.upload.id().is_some() {
            return Ok(None);
        }
        match state.open.remove(&0) {
            Some(part) if part.coverage.is(size) => Ok(Some(part_room::lend(part.bytes, to_index(size)))),
            other => {
                let gap = other.and_then(|part| part.coverage.gap(size)).unwrap_or(0);
                Err(StoreError::misuse(
                    self.describe(),
                    format!("byte {gap} was never written"),
                ))
            }
        }
    }

    /// Sends what is left: the last part, if the size was not known before.
    fn send_rest(&self, size: u64) -> Result<()> {
        let open = std::mem::take(&mut self.upload.state().open);
        for (index, part) in open {
            let start = index * self.part_bytes;
            let len = size.saturating_sub(start).min(self.part_bytes);
            if !part.coverage.is(len) {
                let gap = start + part.coverage.gap(len).unwrap_or(0);
                return Err(StoreError::misuse(
                    self.describe(),
                    format!("byte {gap} was never written"),
                ));
            }
            self.dispatch(index, part_room::lend(part.bytes, to_index(len)))?;
        }
        Ok(())
    }
}

impl RemoteStaged {
    /// Bytes held in memory until publication.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.small.as_ref().map_or(0, |bytes| bytes.len() as u64)
    }

    /// Sends held bytes to the server as an upload that is not completed yet, to free the memory.
    pub(crate) fn unload(&mut self) -> Result<()> {
        let Some(bytes) = self.small.take() else {
            return Ok(());
        };
        let id = self.upload.start()?;
        let sent = block_on(self.upload.send(&id, 0, bytes))?;
        let sent = sent.map_err(|error| self.upload.remote.error("upload", &self.upload.key, &error))?;
        self.upload.state().sent.insert(0, sent);
        Ok(())
    }

    /// Leaves the upload on the server, to be completed by whoever has what is returned: nothing for an empty object,
    /// which needs none.
    pub(crate) fn keep(mut self) -> Result<Option<KeptUpload>> {
        if self.size == 0 {
            return Ok(None);
        }
        self.unload()?;
        let state = self.upload.state();
        let parts = state.sent.values().map(|part| part.content_id.clone()).collect();
        drop(state);
        // Taken: from here on a drop no longer aborts it.
        let id = self.upload.id().take();
        let id = id.ok_or_else(|| {
            StoreError::misuse(self.upload.remote.at(&self.upload.key), "nothing was uploaded")
        })?;
        Ok(Some(KeptUpload { id, parts }))
    }

    /// Makes the object visible under its key, in one step. One that is `shared` with other writers of the same bytes is
    /// not written again where they were first, so that a reader of theirs does not see it change.
    pub(crate) fn publish(self, shared: bool) -> Result<()> {
        let upload = &self.upload;
        if let Some(bytes) = &self.small {
            if shared {
                return upload.remote.put_unless_there(&upload.key, bytes);
            }
            return upload.remote.put(&upload.key, bytes.clone());
        }
        let Some(id) = upload.id().clone() else {
            return Err(StoreError::misuse(
                upload.remote.at(&upload.key),
                "nothing was uploaded",
            ));
        };
        let parts: Vec<PartId> = upload.state().sent.values().cloned().collect();
        let completed = complete(&upload.remote, &upload.key, &id, &parts)?;
        if let Err(error) = completed {
            // The answer to a completion that did happen may have been lost; its repetition then finds no upload.
            if !is_there(&upload.remote, &upload.key, self.size, self.digest) {
                return Err(upload.remote.error("complete the upload of", &upload.key, &error));
            }
        }
        *upload.id() = None;
        Ok(())
    }
}

fn hash_leaves(start: u64, bytes: &[u8]) -> Vec<(u64, PieceDigest)> {
    let leaf = to_index(LEAF_BYTES);
    let hash = |(number, piece): (usize, &[u8])| {
        let offset = start + (number * leaf) as u64;
        (offset / LEAF_BYTES, PieceHasher::of(offset, piece))
    };
    bytes.chunks(leaf).enumerate().map(hash).collect()
}

/// An offset within one part or one write, which is in memory and so fits.
fn to_index(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}
