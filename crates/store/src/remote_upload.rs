//! A multipart upload on the server, and what is done with one by its id alone.
//!
//! An upload outlives the process that sent it: [`KeptUpload`] is all that another one needs to complete it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use object_store::multipart::PartId;
use object_store::{PutPayload, PutResult};
use serde::{Deserialize, Serialize};

use crate::coverage::Coverage;
use crate::digest::{Digest, PieceDigest};
use crate::error::{Result, StoreError};
use crate::remote::{BackendResult, Remote, object_path};
use crate::remote_object::RemoteObject;
use crate::runtime::{block_on, spawn};

/// An upload whose parts have all been sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeptUpload {
    pub(crate) id: String,
    /// The server's name of each part, in order.
    pub(crate) parts: Vec<String>,
}

impl KeptUpload {
    pub(crate) fn complete(&self, remote: &Remote, key: &str) -> Result<BackendResult<PutResult>> {
        let part = |content_id: &String| PartId {
            content_id: content_id.clone(),
        };
        let parts: Vec<PartId> = self.parts.iter().map(part).collect();
        complete(remote, key, &self.id, &parts)
    }

    /// Frees the room the parts take. One that is gone already is no error.
    pub(crate) fn abort(&self, remote: &Remote, key: &str) -> Result<()> {
        let aborted = block_on(async {
            let path = object_path(key)?;
            remote
                .retrying(|| remote.multipart.abort_multipart(&path, &self.id))
                .await
        })?;
        match aborted {
            Err(error) if !is_no_upload(&error) => Err(remote.error("abort the upload of", key, &error)),
            _ => Ok(()),
        }
    }
}

/// Makes an object of the parts that were sent.
pub(crate) fn complete(
    remote: &Remote,
    key: &str,
    id: &String,
    parts: &[PartId],
) -> Result<BackendResult<PutResult>> {
    block_on(async {
        let path = object_path(key)?;
        let complete = || remote.multipart.complete_multipart(&path, id, parts.to_vec());
        remote.retrying(complete).await
    })
}

impl Remote {
    /// Creates or replaces an object, but leaves one alone that has these bytes.
    pub(crate) fn put_unless_there(&self, key: &str, bytes: &Bytes) -> Result<()> {
        match self.create(key, bytes.clone()) {
            Err(error) if error.is_conflict() => self.put(key, bytes.clone()),
            other => other.map(drop),
        }
    }
}

/// Does the error say that there is no such upload (any more)?
pub(crate) fn is_no_upload(error: &object_store::Error) -> bool {
    match error {
        object_store::Error::NotFound { .. } => true,
        // The memory store's words; its error has no kind of its own.
        object_store::Error::Generic { source, .. } => {
            source.to_string().starts_with("MultipartUpload not found")
        }
        _ => false,
    }
}

/// Reads the object back: has it these bytes?
pub(crate) fn is_there(remote: &Arc<Remote>, key: &str, size: u64, digest: Digest) -> bool {
    let Ok(object) = RemoteObject::open(remote, key) else {
        return false;
    };
    crate::verify::digest_of(&object, size).is_ok_and(|found| found == Some(digest))
}

/// A part of which some bytes have arrived.
pub(crate) struct Part {
    /// Room for all of it; what has not arrived is anything.
    pub(crate) bytes: Vec<u8>,
    pub(crate) coverage: Coverage,
}

/// What has become of an upload's parts.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) open: BTreeMap<u64, Part>,
    /// Complete parts: on their way or sent.
    pub(crate) closed: BTreeSet<u64>,
    pub(crate) leaves: BTreeMap<u64, PieceDigest>,
    pub(crate) sent: BTreeMap<u64, PartId>,
    pub(crate) failure: Option<StoreError>,
}

/// The upload on the server; aborted on drop while it has an id.
pub(crate) struct Upload {
    pub(crate) remote: Arc<Remote>,
    pub(crate) key: String,
    pub(crate) id: Mutex<Option<String>>,
    pub(crate) state: Mutex<State>,
}

impl Upload {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn id(&self) -> MutexGuard<'_, Option<String>> {
        self.id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The upload's id, asked from the server at the first call.
    pub(crate) fn start(&self) -> Result<String> {
        let mut id = self.id();
        if let Some(id) = &*id {
            return Ok(id.clone());
        }
        let started = block_on(async {
            let path = object_path(&self.key)?;
            self.remote
                .retrying(|| self.remote.multipart.create_multipart(&path))
                .await
        })?;
        let started = started.map_err(|error| self.remote.error("start the upload of", &self.key, &error))?;
        Ok(id.insert(started).clone())
    }

    pub(crate) async fn send(&self, id: &String, index: u64, bytes: Bytes) -> BackendResult<PartId> {
        let path = object_path(&self.key)?;
        let number = usize::try_from(index).unwrap_or(usize::MAX);
        let send = || {
            self.remote
                .multipart
                .put_part(&path, id, number, PutPayload::from_bytes(bytes.clone()))
        };
        self.remote.retrying(send).await
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Some(id) = self.id().take() else { return };
        let (remote, key) = (Arc::clone(&self.remote), self.key.clone());
        // Best effort, and not waited for: drop may run anywhere, also inside the runtime.
        let _ = spawn(async move {
            if let Ok(path) = object_path(&key) {
                let _ = remote.multipart.abort_multipart(&path, &id).await;
            }
        });
    }
}
