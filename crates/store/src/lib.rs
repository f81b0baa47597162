//! Artifacts in object storage: atomic publication, pointers, verification.
//!
//! Stands between object_store (or the local file system) and everything above that reads or writes a model,
//! a data set or a run record. A *blocking* facade: callers are plain threads; one small tokio runtime lives
//! inside and is never visible. Invariants:
//!
//! * A reader sees an artifact whole or not at all: objects first, the manifest ([`MANIFEST`]) last by a
//!   conditional put.
//! * A publication with a key survives its writers: what one has finished every other writer of the key finds, now or
//!   later, and any of them commits the same bytes.
//! * Every byte of an artifact is covered by a BLAKE3 digest, whole and per 16 MiB chunk ([`CHUNK_BYTES`]).
//! * A pointer moves by compare-and-swap only; each generation has exactly one winner.
//! * No credential is ever part of a message, a `Debug` text or an object.

mod address;
mod amazon;
mod artifact;
mod coverage;
mod credentials;
mod digest;
mod direct_read;
mod directory;
mod error;
mod hashing;
mod key;
mod leftovers;
mod local;
mod local_stage;
mod lock;
mod manifest;
mod memory;
mod part_room;
mod pauses;
mod placing;
mod pointer;
mod publication;
mod record;
mod remote;
mod remote_object;
mod remote_stage;
mod remote_upload;
mod runtime;
mod secrets;
mod store;
mod transfer;
mod unfinished;
mod verify;
mod verify_report;
mod writer;

pub use artifact::Artifact;
pub use digest::{CHUNK_BYTES, Digest};
pub use directory::StoreDirectory;
pub use error::{Result, StoreError};
pub use key::{MAX_PATH_BYTES, check_path};
pub use local::Durability;
pub use manifest::{
    FORMAT, Lineage, MANIFEST, MAX_MANIFEST_BYTES, Manifest, ManifestDraft, ObjectEntry, OutputEntry,
    Producer,
};
pub use pointer::{Pointer, PointerValue, Swap};
pub use publication::{ArtifactObject, Finished, Publication};
pub use record::MAX_NOTE_BYTES;
pub use secrets::{blank, mask};
pub use store::{Created, ObjectMeta, Store};
pub use verify_report::{Depth, Problem, ProblemKind, VerifyProgress, VerifyReport};
pub use writer::{ObjectWriter, PositionedWriter, RegionWriter, Written};
