//! Storage for measurements: the files of a folder as they are, and what is uploaded while the server runs.
//!
//! It does as little as it can, because client and server share the processors of one machine: no checksum is computed,
//! no file is copied, what is sent is the mapped file itself, what is received stays in memory ([`Room`]), and a version
//! tag is a number. A file that lay in the folder at the start is never changed, only forgotten when its key is deleted or
//! written anew.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use futures::{StreamExt, stream};
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, CommonPrefix, CompleteMultipartUploadInput,
    CompleteMultipartUploadOutput, CreateMultipartUploadInput, CreateMultipartUploadOutput,
    DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, DeletedObject, ETag,
    ETagCondition, GetObjectInput, GetObjectOutput, HeadObjectInput, HeadObjectOutput, ListObjectsV2Input,
    ListObjectsV2Output, Object, PutObjectInput, PutObjectOutput, StreamingBlob, UploadPartInput,
    UploadPartOutput,
};
use s3s::{S3, S3Error, S3Request, S3Response, S3Result, s3_error};

use super::BUCKET;
use super::room::{Filling, Room};

/// Bytes that are sent, and counted, at once.
const SENT_BYTES: u64 = 512 << 10;
/// Most keys of one answer to a listing.
const LISTED: usize = 1000;

/// An object.
#[derive(Clone)]
struct Stored {
    /// In the order in which they are served; a mapped file is one.
    pieces: Arc<[Bytes]>,
    size: u64,
    version: u64,
    modified: SystemTime,
}

/// The storage.
#[derive(Clone)]
pub(crate) struct ServedFolder {
    versions: Arc<AtomicU64>,
    objects: Arc<Mutex<BTreeMap<String, Stored>>>,
    uploads: Arc<Mutex<BTreeMap<String, Parts>>>,
    room: Room,
}

/// What an upload consists of, by number.
type Parts = BTreeMap<i32, Vec<Bytes>>;

impl ServedFolder {
    /// The files below `folder/bucket` (links are followed) under their paths.
    pub(crate) fn new(folder: &Path) -> io::Result<ServedFolder> {
        let served = ServedFolder {
            versions: Arc::default(),
            objects: Arc::default(),
            uploads: Arc::default(),
            room: Room::default(),
        };
        served.take_in(&folder.join(BUCKET), "")?;
        Ok(served)
    }

    fn take_in(&self, folder: &Path, prefix: &str) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            let key = format!("{prefix}{name}");
            if path.is_dir() {
                self.take_in(&path, &format!("{key}/"))?;
            } else {
                let stored = self.stored(vec![map(&File::open(&path)?)?]);
                lock(&self.objects).insert(key, stored);
            }
        }
        Ok(())
    }

    fn stored(&self, pieces: Vec<Bytes>) -> Stored {
        Stored {
            size: pieces.iter().map(|piece| piece.len() as u64).sum(),
            pieces: pieces.into(),
            version: self.versions.fetch_add(1, Ordering::Relaxed),
            modified: SystemTime::now(),
        }
    }

    fn find(&self, key: &str, condition: Option<&ETagCondition>) -> S3Result<Stored> {
        let found = lock(&self.objects).get(key).cloned();
        let found = found.ok_or_else(|| s3_error!(NoSuchKey))?;
        match condition {
            Some(condition) if !found.is(condition) => Err(s3_error!(PreconditionFailed)),
            _ => Ok(found),
        }
    }

    /// Puts an object in its place if the conditions hold of what is there.
    fn place(
        &self,
        key: String,
        stored: Stored,
        if_match: Option<&ETagCondition>,
        if_none_match: Option<&ETagCondition>,
    ) -> S3Result<ETag> {
        let mut objects = lock(&self.objects);
        let there = objects.get(&key);
        let matches = if_match.is_none_or(|condition| there.is_some_and(|there| there.is(condition)));
        let differs = if_none_match.is_none_or(|condition| !there.is_some_and(|there| there.is(condition)));
        if !(matches && differs) {
            return Err(s3_error!(PreconditionFailed));
        }
        let tag = stored.tag();
        objects.insert(key, stored);
        Ok(tag)
    }
}

impl Stored {
    fn tag(&self) -> ETag {
        ETag::Strong(self.version.to_string())
    }

    fn listed(&self, key: &str) -> Object {
        Object {
            key: Some(key.to_owned()),
            size: signed(self.size),
            e_tag: Some(self.tag()),
            last_modified: Some(self.modified.into()),
            ..Object::default()
        }
    }

    fn is(&self, condition: &ETagCondition) -> bool {
        match condition {
            ETagCondition::Any => true,
            ETagCondition::ETag(tag) => tag.strong_cmp(&self.tag()),
        }
    }

    /// `length` bytes from `start` on.
    fn body(&self, start: u64, length: u64) -> StreamingBlob {
        let stored = self.clone();
        let sent = stream::unfold(start, move |at| {
            let piece = (at < start + length).then(|| stored.piece(at, start + length));
            let next = piece.map(|piece| {
                let end = at + piece.as_ref().map_or(length, |piece| piece.len() as u64);
                (piece, end)
            });
            async move { next }
        });
        StreamingBlob::wrap(sent)
    }

    /// Some bytes from `at` on, none at or after `end`.
    fn piece(&self, at: u64, end: u64) -> io::Result<Bytes> {
        let mut before = 0;
        for piece in self.pieces.iter() {
            let length = piece.len() as u64;
            if at < before + length {
                let count = SENT_BYTES.min(end - at).min(before + length - at);
                let within = |offset: u64| usize::try_from(offset).map_err(io::Error::other);
                return Ok(piece.slice(within(at - before)?..within(at - before + count)?));
            }
            before += length;
        }
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

/// The content of a file that nobody changes.
fn map(file: &File) -> io::Result<Bytes> {
    if file.metadata()?.len() == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: nobody changes a file that a measurement reads.
    #[expect(unsafe_code)]
    let content = unsafe { memmap2::Mmap::map(file) }?;
    Ok(Bytes::from_owner(content))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn signed(length: u64) -> Option<i64> {
    i64::try_from(length).ok()
}

async fn receive(room: &Room, body: Option<StreamingBlob>) -> S3Result<Vec<Bytes>> {
    let mut body = body.ok_or_else(|| s3_error!(IncompleteBody))?;
    let mut received = Filling::new(room);
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|error| S3Error::internal_error(io::Error::other(error.to_string())))?;
        received.add(&piece);
    }
    Ok(received.finish())
}

#[async_trait::async_trait]
impl S3 for ServedFolder {
    async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let found = self.find(&request.input.key, request.input.if_match.as_ref())?;
        Ok(S3Response::new(HeadObjectOutput {
            content_length: signed(found.size),
            e_tag: Some(found.tag()),
            last_modified: Some(found.modified.into()),
            ..HeadObjectOutput::default()
        }))
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let found = self.find(&request.input.key, request.input.if_match.as_ref())?;
        let range = match request.input.range {
            Some(range) => range.check(found.size)?,
            None => 0..found.size,
        };
        let content_range = format!(
            "bytes {}-{}/{}",
            range.start,
            range.end.saturating_sub(1),
            found.size
        );
        Ok(S3Response::new(GetObjectOutput {
            body: Some(found.body(range.start, range.end - range.start)),
            content_length: signed(range.end - range.start),
            content_range: request.input.range.map(|_| content_range),
            e_tag: Some(found.tag()),
            last_modified: Some(found.modified.into()),
            ..GetObjectOutput::default()
        }))
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input;
        let prefix = input.prefix.unwrap_or_default();
        let delimiter = input.delimiter.unwrap_or_default();
        let after = input.continuation_token.or(input.start_after);
        let (mut contents, mut folders) = (Vec::new(), Vec::new());
        let (mut last, mut is_truncated) = (None, false);
        for (key, stored) in lock(&self.objects).range(prefix.clone()..) {
            let Some(rest) = key.strip_prefix(&prefix) else {
                break;
            };
            let folder = rest.find(&delimiter).filter(|_| !delimiter.is_empty());
            let name = folder.map_or(key.as_str(), |end| &key[..prefix.len() + end + delimiter.len()]);
            if after.as_ref().is_some_and(|after| name <= after.as_str()) || last.as_deref() == Some(name) {
                continue;
            }
            if contents.len() + folders.len() == LISTED {
                is_truncated = true;
                break;
            }
            if folder.is_some() {
                folders.push(CommonPrefix {
                    prefix: Some(name.to_owned()),
                });
            } else {
                contents.push(stored.listed(key));
            }
            last = Some(name.to_owned());
        }
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: Some(prefix),
            key_count: i32::try_from(contents.len() + folders.len()).ok(),
            contents: Some(contents),
            common_prefixes: Some(folders),
            is_truncated: Some(is_truncated),
            next_continuation_token: last.filter(|_| is_truncated),
            ..ListObjectsV2Output::default()
        }))
    }

    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let input = request.input;
        let stored = self.stored(receive(&self.room, input.body).await?);
        let tag = self.place(
            input.key,
            stored,
            input.if_match.as_ref(),
            input.if_none_match.as_ref(),
        )?;
        Ok(S3Response::new(PutObjectOutput {
            e_tag: Some(tag),
            ..PutObjectOutput::default()
        }))
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let id = self.versions.fetch_add(1, Ordering::Relaxed).to_string();
        lock(&self.uploads).insert(id.clone(), Parts::new());
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(request.input.bucket),
            key: Some(request.input.key),
            upload_id: Some(id),
            ..CreateMultipartUploadOutput::default()
        }))
    }

    async fn upload_part(
        &self,
        request: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        let input = request.input;
        let number = input.part_number;
        if !lock(&self.uploads).contains_key(&input.upload_id) {
            return Err(s3_error!(NoSuchUpload));
        }
        let pieces = receive(&self.room, input.body).await?;
        let length: usize = pieces.iter().map(Bytes::len).sum();
        if let Some(parts) = lock(&self.uploads).get_mut(&input.upload_id) {
            parts.insert(number, pieces);
        }
        Ok(S3Response::new(UploadPartOutput {
            e_tag: Some(ETag::Strong(format!("{number}-{length}"))),
            ..UploadPartOutput::default()
        }))
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let input = request.input;
        let named = input
            .multipart_upload
            .and_then(|named| named.parts)
            .unwrap_or_default();
        let parts = lock(&self.uploads).get(&input.upload_id).cloned();
        let parts = parts.ok_or_else(|| s3_error!(NoSuchUpload))?;
        let mut pieces = Vec::new();
        for part in named {
            let number = part.part_number.ok_or_else(|| s3_error!(InvalidPart))?;
            let part = parts.get(&number).ok_or_else(|| s3_error!(InvalidPart))?;
            pieces.extend(part.iter().cloned());
        }
        let stored = self.stored(pieces);
        let tag = self.place(
            input.key.clone(),
            stored,
            input.if_match.as_ref(),
            input.if_none_match.as_ref(),
        )?;
        lock(&self.uploads).remove(&input.upload_id);
        Ok(S3Response::new(CompleteMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: Some(tag),
            ..CompleteMultipartUploadOutput::default()
        }))
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        lock(&self.uploads).remove(&request.input.upload_id);
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }

    async fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        lock(&self.objects).remove(&request.input.key);
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let mut objects = lock(&self.objects);
        let delete = |object: s3s::dto::ObjectIdentifier| {
            objects.remove(&object.key);
            DeletedObject {
                key: Some(object.key),
                ..DeletedObject::default()
            }
        };
        let deleted = request.input.delete.objects.into_iter().map(delete).collect();
        Ok(S3Response::new(DeleteObjectsOutput {
            deleted: Some(deleted),
            ..DeleteObjectsOutput::default()
        }))
    }
}
