//! Where finished blocks go: the shards of the result, in any order and from any thread.

use tributary_store::{PositionedWriter, Publication, RegionWriter};
use tributary_tensorfile::ShardLayout;

use crate::error::{MergeError, Result};

/// The shards being written; nothing of them is visible before the publication is committed.
pub(crate) struct Output {
    publication: Publication,
    shards: Vec<RegionWriter>,
}

impl Output {
    /// Starts all shards and writes their headers.
    pub(crate) fn begin(publication: &Publication, shards: &[ShardLayout]) -> Result<Output> {
        let start = |shard: &ShardLayout| -> Result<RegionWriter> {
            let writer = publication.region_writer(&shard.file, shard.len)?;
            writer.write_at(0, &shard.header)?;
            Ok(writer)
        };
        let shards = shards.iter().map(start).collect::<Result<_>>()?;
        Ok(Output {
            publication: publication.clone(),
            shards,
        })
    }

    /// Writes `bytes` at `offset` of a shard.
    pub(crate) fn write(&self, shard: usize, offset: u64, bytes: &[u8]) -> Result<()> {
        let writer = self.shards.get(shard);
        let writer = writer.ok_or_else(|| MergeError::Internal(format!("there is no shard {shard}")))?;
        Ok(writer.write_at(offset, bytes)?)
    }

    /// Ends the shards and makes them part of the artifact.
    pub(crate) fn finish(self) -> Result<()> {
        for writer in self.shards {
            self.publication.add(writer)?;
        }
        Ok(())
    }
}
