//! Objects behind object_store: S3 and compatible servers, and memory.
//!
//! Adds to the backend what the facade promises: one classification of errors, retries of what the backend itself does
//! not retry, and *resolution of unknown outcomes*. A conditional put whose answer was lost may have landed; the object
//! is then read back and compared, so that our own success is never reported as somebody else's.
//!
//! For S3 object_store itself repeats requests on statuses 408, 429, 5xx and refused connections; this layer, within the
//! same budget ([`crate::pauses`]), only repeats what object_store does not.

use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::client::{HttpError, HttpErrorKind};
use object_store::multipart::MultipartStore;
use object_store::path::Path as ObjectPath;
use object_store::{
    GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, UpdateVersion,
};

use crate::direct_read::{DirectReader, LEAST_BYTES, Unread};
use crate::error::{Result, StoreError};
use crate::pauses::Pauses;
use crate::remote_upload::is_no_upload;
use crate::runtime::block_on;
use crate::secrets::Secrets;
use crate::store::{Created, ObjectMeta};

pub(crate) type BackendResult<T> = std::result::Result<T, object_store::Error>;

/// One bucket, or one in-memory store.
pub(crate) struct Remote {
    pub(crate) objects: Arc<dyn ObjectStore>,
    pub(crate) multipart: Arc<dyn MultipartStore>,
    /// For large reads, where the server is one that it understands.
    pub(crate) direct: Option<DirectReader>,
    /// `s3://bucket` or `memory:///name`, for messages.
    pub(crate) label: String,
    pub(crate) secrets: Secrets,
    /// Does the backend repeat failed requests itself?
    pub(crate) backend_retries: bool,
    pub(crate) first_pause: Duration,
}

/// What a conditional put came to.
pub(crate) enum Conditional {
    /// It happened; the new version.
    Done(Option<String>),
    /// The condition did not hold, or it did and our own write of an earlier try is what broke it.
    Refused,
}

impl Remote {
    pub(crate) fn at(&self, key: &str) -> String {
        if key.is_empty() {
            self.label.clone()
        } else {
            self.secrets.mask(&format!("{}/{key}", self.label))
        }
    }

    /// The facade's error for a failure of `action` on `key`.
    pub(crate) fn error(&self, action: &'static str, key: &str, error: &object_store::Error) -> StoreError {
        use object_store::Error as E;
        let (at, message) = (self.at(key), self.text(error));
        match (error, status(&message)) {
            (E::NotFound { .. }, _) if !message.contains("NoSuchBucket") => StoreError::NotFound { at },
            (E::Precondition { .. }, _) => StoreError::Changed { at },
            (E::PermissionDenied { .. } | E::Unauthenticated { .. }, _) | (_, Some(401 | 403)) => {
                StoreError::Denied { action, at, message }
            }
            (_, status) => {
                let refused = status
                    .is_some_and(|status| (400..500).contains(&status) && ![408, 429].contains(&status));
                let transient = matches!(error, E::Generic { .. }) && !refused;
                StoreError::Backend {
                    action,
                    at,
                    message,
                    transient,
                }
            }
        }
    }

    /// The error and its causes in one line, without repetition and without secrets.
    fn text(&self, error: &object_store::Error) -> String {
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(error) = cause {
            let more = error.to_string();
            if !text.contains(&more) {
                text.push_str(": ");
                text.push_str(&more);
            }
            cause = error.source();
        }
        self.secrets.mask(&text)
    }

    /// Is another try of ours worth it? Only for what the backend does not repeat itself.
    pub(crate) fn may_retry(&self, error: &object_store::Error) -> bool {
        if !matches!(error, object_store::Error::Generic { .. }) || is_no_upload(error) {
            return false;
        }
        if !self.backend_retries {
            return true;
        }
        let mut cause = std::error::Error::source(error);
        while let Some(error) = cause {
            if let Some(http) = error.downcast_ref::<HttpError>() {
                // Connect and Request were repeated already; an answer that cannot be decoded stays that way.
                let kind = http.kind();
                return matches!(
                    kind,
                    HttpErrorKind::Timeout | HttpErrorKind::Interrupted | HttpErrorKind::Unknown
                );
            }
            cause = error.source();
        }
        false
    }

    /// Calls `attempt` until it succeeds, fails for good or the budget is spent.
    pub(crate) async fn retrying<T, F>(&self, mut attempt: impl FnMut() -> F) -> BackendResult<T>
    where
        F: Future<Output = BackendResult<T>>,
    {
        let mut pauses = Pauses::new(self.first_pause);
        loop {
            match attempt().await {
                Err(error) if self.may_retry(&error) => match pauses.next() {
                    Some(pause) => {
                        tracing::debug!(store = %self.label, error = %self.text(&error), "retrying");
                        tokio::time::sleep(pause).await;
                    }
                    None => return Err(error),
                },
                other => return other,
            }
        }
    }

    pub(crate) fn get(&self, key: &str) -> Result<Bytes> {
        block_on(self.get_with_version(key))?
            .map(|(bytes, _)| bytes)
            .map_err(|e| self.error("read", key, &e))
    }

    pub(crate) async fn get_with_version(&self, key: &str) -> BackendResult<(Bytes, Option<String>)> {
        let path = object_path(key)?;
        self.retrying(|| async {
            let found = self.objects.get(&path).await?;
            let (size, version) = (found.meta.size, found.meta.e_tag.clone());
            let bytes = found.bytes().await?;
            check_length(size, bytes.len() as u64)?;
            Ok((bytes, version))
        })
        .await
    }

    /// The bytes `start .. start + buffer.len()`, of version `etag` if one is named.
    pub(crate) async fn read_into(
        &self,
        path: &ObjectPath,
        start: u64,
        buffer: &mut [u8],
        etag: Option<&str>,
    ) -> BackendResult<()> {
        let end = start + buffer.len() as u64;
        let mut filled = 0;
        let mut pauses = Pauses::new(self.first_pause);
        while filled < buffer.len() {
            let before = filled;
            let result = self.read_some(path, start..end, buffer, &mut filled, etag).await;
            let Err(error) = result else { continue };
            if !self.may_retry(&error) {
                return Err(error);
            }
            // Progress renews the budget: a long transfer over a poor line is no endless loop.
            if filled > before {
                pauses = Pauses::new(self.first_pause);
            }
            match pauses.next() {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(error),
            }
        }
        Ok(())
    }

    async fn read_some(
        &self,
        path: &ObjectPath,
        range: Range<u64>,
        buffer: &mut [u8],
        filled: &mut usize,
        etag: Option<&str>,
    ) -> BackendResult<()> {
        if self
            .read_directly(path, range.clone(), buffer, filled, etag)
            .await
        {
            return Ok(());
        }
        let options = GetOptions {
            range: Some(GetRange::Bounded(range.start + *filled as u64..range.end)),
            if_match: etag.map(str::to_string),
            ..GetOptions::default()
        };
        let found = self.objects.get_opts(path, options).await?;
        let mut stream = found.into_stream();
        while let Some(piece) = stream.try_next().await? {
            let room = buffer
                .get_mut(*filled..*filled + piece.len())
                .ok_or_else(|| wrong("more bytes than asked for"))?;
            room.copy_from_slice(&piece);
            *filled += piece.len();
        }
        if *filled < buffer.len() {
            Err(wrong("fewer bytes than asked for"))
        } else {
            Ok(())
        }
    }

    /// Tries to read what is missing without copies; is all of it there?
    async fn read_directly(
        &self,
        path: &ObjectPath,
        range: Range<u64>,
        buffer: &mut [u8],
        filled: &mut usize,
        etag: Option<&str>,
    ) -> bool {
        let Some(direct) = &self.direct else {
            return false;
        };
        let before = *filled;
        let missing = &mut buffer[before..];
        if missing.len() < LEAST_BYTES {
            return false;
        }
        let mut more = 0;
        let range = range.start + before as u64..range.end;
        let result = direct.read(path, range, missing, &mut more, etag).await;
        *filled += more;
        match result {
            Ok(()) => true,
            Err(Unread::Refused) => false,
            Err(Unread::Broken | Unread::Otherwise) => {
                tokio::time::sleep(self.first_pause).await;
                false
            }
        }
    }

    pub(crate) fn get_range(&self, key: &str, start: u64, len: usize) -> Result<Bytes> {
        let mut buffer = vec![0; len];
        let read = block_on(async { self.read_into(&object_path(key)?, start, &mut buffer, None).await })?;
        read.map_err(|e| self.error("read", key, &e))?;
        Ok(Bytes::from(buffer))
    }

    pub(crate) fn head(&self, key: &str) -> Result<Option<ObjectMeta>> {
        let found = block_on(async {
            let path = object_path(key)?;
            self.retrying(|| self.objects.head(&path)).await
        })?;
        match found {
            Ok(meta) => Ok(Some(ObjectMeta {
                key: key.to_string(),
                size: meta.size,
                etag: meta.e_tag,
            })),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.error("look at", key, &error)),
        }
    }

    pub(crate) fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>> {
        let listed = block_on(async {
            let path = object_path(prefix)?;
            self.retrying(|| async {
                let mut found = Vec::new();
                let mut stream = self.objects.list((!prefix.is_empty()).then_some(&path));
                while let Some(meta) = stream.try_next().await? {
                    found.push(ObjectMeta {
                        key: meta.location.to_string(),
                        size: meta.size,
                        etag: meta.e_tag,
                    });
                }
                Ok(found)
            })
            .await
        })?;
        let mut found = listed.map_err(|e| self.error("list", prefix, &e))?;
        found.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(found)
    }

    /// Names directly below `prefix`; those that only have objects below them end in `/`.
    pub(crate) fn children(&self, prefix: &str) -> Result<Vec<String>> {
        let listed = block_on(async {
            let path = object_path(prefix)?;
            self.retrying(|| {
                self.objects
                    .list_with_delimiter((!prefix.is_empty()).then_some(&path))
            })
            .await
        })?;
        let listed = listed.map_err(|e| self.error("list", prefix, &e))?;
        let last = |path: &ObjectPath| path.filename().unwrap_or_default().to_string();
        let mut names: Vec<String> = listed.objects.iter().map(|meta| last(&meta.location)).collect();
        names.extend(
            listed
                .common_prefixes
                .iter()
                .map(|path| format!("{}/", last(path))),
        );
        names.sort();
        Ok(names)
    }

    pub(crate) fn delete(&self, key: &str) -> Result<bool> {
        // Servers answer alike whether or not there was an object.
        let there = self.head(key)?.is_some();
        let deleted = block_on(async {
            let path = object_path(key)?;
            self.retrying(|| self.objects.delete(&path)).await
        })?;
        match deleted {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(there),
            Err(error) => Err(self.error("delete", key, &error)),
        }
    }

    pub(crate) fn put(&self, key: &str, bytes: Bytes) -> Result<()> {
        let put = block_on(async {
            let path = object_path(key)?;
            self.retrying(|| self.objects.put(&path, PutPayload::from_bytes(bytes.clone())))
                .await
        })?;
        put.map(drop).map_err(|e| self.error("write", key, &e))
    }

    /// Creates the object unless one is there; a lost answer is resolved by reading back.
    pub(crate) fn create(&self, key: &str, bytes: Bytes) -> Result<Created> {
        let created = block_on(async {
            let mut pauses = Pauses::new(self.first_pause);
            loop {
                match self.put_if(key, bytes.clone(), PutMode::Create).await? {
                    Conditional::Done(_) => return Ok(Some(Created::New)),
                    Conditional::Refused => {}
                }
                match self.get_with_version(key).await {
                    Ok((there, _)) => return Ok((there == bytes).then_some(Created::AlreadyThere)),
                    // Some servers answer 409 to a put that raced with another and stored neither.
                    Err(error @ object_store::Error::NotFound { .. }) => match pauses.next() {
                        Some(pause) => tokio::time::sleep(pause).await,
                        None => return Err(error),
                    },
                    Err(error) => return Err(error),
                }
            }
        })?;
        match created {
            Ok(Some(created)) => Ok(created),
            Ok(None) => Err(StoreError::Conflict { at: self.at(key) }),
            Err(error) => Err(self.error("create", key, &error)),
        }
    }

    /// One conditional put, repeated while nobody can say whether it happened.
    async fn put_if(&self, key: &str, bytes: Bytes, mode: PutMode) -> BackendResult<Conditional> {
        let put = || self.put_if_once(key, bytes.clone(), mode.clone());
        self.retrying(put).await
    }

    /// One conditional put, tried once.
    pub(crate) async fn put_if_once(
        &self,
        key: &str,
        bytes: Bytes,
        mode: PutMode,
    ) -> BackendResult<Conditional> {
        let options = PutOptions {
            mode,
            ..PutOptions::default()
        };
        match self
            .objects
            .put_opts(&object_path(key)?, PutPayload::from_bytes(bytes), options)
            .await
        {
            Ok(done) => Ok(Conditional::Done(done.e_tag)),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                Ok(Conditional::Refused)
            }
            Err(error) => Err(error),
        }
    }
}

/// The HTTP status object_store's error speaks of; its type is private, its text is all there is.
fn status(message: &str) -> Option<u16> {
    let (_, rest) = message.split_once("status code: ")?;
    rest.get(..3)?.parse().ok()
}

/// The condition "still version `etag`".
pub(crate) fn unchanged(etag: &str) -> PutMode {
    PutMode::Update(UpdateVersion {
        e_tag: Some(etag.to_string()),
        version: None,
    })
}

/// The backend's form of an already checked key.
pub(crate) fn object_path(key: &str) -> BackendResult<ObjectPath> {
    Ok(ObjectPath::parse(key)?)
}

/// A short or long answer is as transient as a broken one.
fn wrong(reason: &'static str) -> object_store::Error {
    let cause = HttpError::new(HttpErrorKind::Interrupted, std::io::Error::other(reason));
    object_store::Error::Generic {
        store: "store",
        source: Box::new(cause),
    }
}

fn check_length(expected: u64, got: u64) -> BackendResult<()> {
    if expected == got {
        Ok(())
    } else {
        Err(wrong("an answer shorter or longer than announced"))
    }
}
