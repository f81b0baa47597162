//! Where finished blocks go: the shards of the result, in a local file in any order, or upstream in order.

use std::io::Write;
use std::sync::{Condvar, Mutex, PoisonError};

use tributary_store::{ArtifactObject, PositionedWriter, Publication, RegionWriter};
use tributary_tensorfile::ShardLayout;

use crate::error::{MergeError, Result};

/// The shards being written. Blocks come from several threads.
pub(crate) enum Output {
    /// Local files: any block at any time.
    Regions(Regions),
    /// Objects that must be sent front to back: a block waits for its turn.
    Ordered(Ordered),
}

impl Output {
    /// Opens all shards and writes their headers. Blocks of an ordered output must be *claimed* in the order of their
    /// places, so that the block whose turn it is always belongs to a running worker.
    pub(crate) fn begin(publication: &Publication, shards: &[ShardLayout], is_local: bool) -> Result<Output> {
        Ok(if is_local {
            Output::Regions(Regions::begin(publication, shards)?)
        } else {
            Output::Ordered(Ordered::begin(publication, shards)?)
        })
    }

    /// Writes `bytes` at `offset` of a shard.
    pub(crate) fn write(&self, shard: usize, offset: u64, bytes: &[u8]) -> Result<()> {
        match self {
            Output::Regions(regions) => regions.write(shard, offset, bytes),
            Output::Ordered(ordered) => ordered.write(shard, offset, bytes),
        }
    }

    /// Lets blocks that wait for their turn give up: some other block will never come.
    pub(crate) fn abandon(&self) {
        if let Output::Ordered(ordered) = self {
            ordered.lock().abandoned = true;
            ordered.turn.notify_all();
        }
    }

    /// Finishes what is still open.
    pub(crate) fn finish(self) -> Result<()> {
        match self {
            Output::Regions(regions) => regions.finish(),
            Output::Ordered(ordered) => ordered.finish(),
        }
    }
}

/// Local files.
pub(crate) struct Regions {
    publication: Publication,
    shards: Vec<RegionWriter>,
}

impl Regions {
    fn begin(publication: &Publication, shards: &[ShardLayout]) -> Result<Regions> {
        let region = |shard: &ShardLayout| -> Result<RegionWriter> {
            let writer = publication.region_writer(&shard.file, shard.len)?;
            writer.write_at(0, &shard.header)?;
            Ok(writer)
        };
        let shards = shards.iter().map(region).collect::<Result<_>>()?;
        Ok(Regions {
            publication: publication.clone(),
            shards,
        })
    }

    fn write(&self, shard: usize, offset: u64, bytes: &[u8]) -> Result<()> {
        let writer = self
            .shards
            .get(shard)
            .ok_or_else(|| MergeError::Internal(format!("there is no shard {shard}")))?;
        Ok(writer.write_at(offset, bytes)?)
    }

    fn finish(self) -> Result<()> {
        for writer in self.shards {
            self.publication.add(writer)?;
        }
        Ok(())
    }
}

/// Objects written front to back.
pub(crate) struct Ordered {
    publication: Publication,
    shards: Vec<(String, Vec<u8>, u64)>,
    state: Mutex<State>,
    turn: Condvar,
}

struct State {
    shard: usize,
    offset: u64,
    writer: Option<ArtifactObject>,
    abandoned: bool,
}

impl Ordered {
    fn begin(publication: &Publication, shards: &[ShardLayout]) -> Result<Ordered> {
        let shards = shards
            .iter()
            .map(|shard| (shard.file.clone(), shard.header.clone(), shard.len))
            .collect();
        let state = State {
            shard: 0,
            offset: 0,
            writer: None,
            abandoned: false,
        };
        let ordered = Ordered {
            publication: publication.clone(),
            shards,
            state: Mutex::new(state),
            turn: Condvar::new(),
        };
        ordered.advance(&mut ordered.lock())?;
        Ok(ordered)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the shard whose turn it is, and finishes those that are complete.
    fn advance(&self, state: &mut State) -> Result<()> {
        while let Some((path, header, len)) = self.shards.get(state.shard) {
            let fail = |source| MergeError::Write {
                path: path.clone(),
                source,
            };
            if state.writer.is_none() {
                let mut writer = self.publication.writer(path)?;
                writer.write_all(header).map_err(fail)?;
                state.writer = Some(writer);
                state.offset = header.len() as u64;
            }
            if state.offset < *len {
                break;
            }
            if let Some(writer) = state.writer.take() {
                writer.finish()?;
            }
            state.shard += 1;
            state.offset = 0;
        }
        Ok(())
    }

    fn write(&self, shard: usize, offset: u64, bytes: &[u8]) -> Result<()> {
        let mut state = self.lock();
        while (state.shard, state.offset) != (shard, offset) {
            if state.abandoned {
                return Err(MergeError::Cancelled);
            }
            state = self.turn.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let path = self
            .shards
            .get(shard)
            .map(|(path, ..)| path.clone())
            .unwrap_or_default();
        if let Some(writer) = &mut state.writer {
            writer
                .write_all(bytes)
                .map_err(|source| MergeError::Write { path, source })?;
        }
        state.offset += bytes.len() as u64;
        let advanced = self.advance(&mut state);
        self.turn.notify_all();
        advanced
    }

    fn finish(self) -> Result<()> {
        let state = self.lock();
        if state.shard < self.shards.len() {
            return Err(MergeError::Internal(format!(
                "shard {} was not written to its end",
                state.shard
            )));
        }
        Ok(())
    }
}
