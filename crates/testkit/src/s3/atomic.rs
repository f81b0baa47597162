//! s3s-fs behind locks, so that it keeps the promises of S3 that a client builds on.
//!
//! What s3s-fs 0.14.1 lacks and this layer adds:
//!
//! * a conditional write is a check and then a rename, so two could win: writes of one key happen one at a time;
//! * content and version tag change in two steps, so a reader could see the new one with the old other: readers of a
//!   key wait for its writer;
//! * a client that hangs up would stop a write between those steps: a write that has begun runs to its end;
//! * an upload that is not there is answered with 403, as if it were somebody else's: here as S3 does;
//! * `If-Match` is ignored when reading, and a directory can be read: refused here;
//! * bodies are read in 4 KiB: here in 512 KiB.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::BytesMut;
use futures::stream;
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, CompleteMultipartUploadInput,
    CompleteMultipartUploadOutput, CreateMultipartUploadInput, CreateMultipartUploadOutput,
    DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, ETag, ETagCondition,
    GetObjectInput, GetObjectOutput, HeadBucketInput, HeadBucketOutput, HeadObjectInput, HeadObjectOutput,
    ListBucketsInput, ListBucketsOutput, ListObjectsInput, ListObjectsOutput, ListObjectsV2Input,
    ListObjectsV2Output, ListPartsInput, ListPartsOutput, PutObjectInput, PutObjectOutput, StreamingBlob,
    UploadPartInput, UploadPartOutput,
};
use s3s::{S3, S3Error, S3Request, S3Response, S3Result, s3_error};
use s3s_fs::FileSystem;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::{OwnedRwLockWriteGuard, RwLock};

/// Locks; keys that share one merely wait for each other.
const LOCKS: usize = 256;
const READ_BYTES: usize = 512 << 10;

/// The storage of the server.
#[derive(Clone)]
pub(crate) struct AtomicFiles {
    files: Arc<FileSystem>,
    folder: PathBuf,
    locks: Arc<Vec<Arc<RwLock<()>>>>,
}

impl AtomicFiles {
    pub(crate) fn new(folder: &Path) -> io::Result<AtomicFiles> {
        let files = FileSystem::new(folder).map_err(|error| io::Error::other(format!("{error:?}")))?;
        let locks = (0..LOCKS).map(|_| Arc::default()).collect();
        Ok(AtomicFiles {
            files: Arc::new(files),
            folder: folder.to_path_buf(),
            locks: Arc::new(locks),
        })
    }

    fn lock(&self, key: &str) -> &Arc<RwLock<()>> {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        &self.locks[(hasher.finish() % LOCKS as u64) as usize]
    }

    /// s3s-fs keeps a file for each upload.
    fn check_upload(&self, id: &str) -> S3Result<()> {
        if self.folder.join(format!(".upload-{id}.json")).is_file() {
            Ok(())
        } else {
            Err(s3_error!(NoSuchUpload))
        }
    }

    fn path(&self, bucket: &str, key: &str) -> S3Result<PathBuf> {
        let path = self.folder.join(bucket).join(key);
        if path.is_dir() {
            Err(s3_error!(NoSuchKey))
        } else {
            Ok(path)
        }
    }
}

/// Runs `work` to its end even if the client hangs up meanwhile, holding `guards` all the time.
async fn to_the_end<T: Send + 'static>(
    guards: Vec<OwnedRwLockWriteGuard<()>>,
    work: impl Future<Output = S3Result<T>> + Send + 'static,
) -> S3Result<T> {
    let task = tokio::spawn(async move {
        let result = work.await;
        drop(guards);
        result
    });
    task.await.map_err(S3Error::internal_error)?
}

fn check(condition: Option<&ETagCondition>, found: Option<&ETag>) -> S3Result<()> {
    match (condition, found) {
        (Some(ETagCondition::ETag(wanted)), Some(found)) if !wanted.strong_cmp(found) => {
            Err(s3_error!(PreconditionFailed, "ETag does not match"))
        }
        _ => Ok(()),
    }
}

/// `length` bytes of `file` from where it stands.
fn body(file: File, length: usize) -> StreamingBlob {
    let pieces = stream::unfold((file, length), |(mut file, left)| async move {
        if left == 0 {
            return None;
        }
        let mut piece = BytesMut::with_capacity(left.min(READ_BYTES));
        let end = piece.capacity().min(left);
        match (&mut file).take(end as u64).read_buf(&mut piece).await {
            Ok(0) => Some((Err(io::ErrorKind::UnexpectedEof.into()), (file, 0))),
            Ok(read) => Some((Ok(piece.freeze()), (file, left - read))),
            Err(error) => Some((Err(error), (file, 0))),
        }
    });
    StreamingBlob::wrap(pieces)
}

/// Methods passed through as they are.
macro_rules! files {
    (
        pass { $($pass:ident($pass_input:ty) -> $pass_output:ty;)* }
        write { $($write:ident($write_input:ty) -> $write_output:ty;)* }
        upload { $($upload:ident($upload_input:ty) -> $upload_output:ty;)* }
    ) => {
        #[async_trait::async_trait]
        impl S3 for AtomicFiles {
            $(async fn $pass(&self, request: S3Request<$pass_input>) -> S3Result<S3Response<$pass_output>> {
                self.files.$pass(request).await
            })*

            $(async fn $write(&self, request: S3Request<$write_input>) -> S3Result<S3Response<$write_output>> {
                let guard = Arc::clone(self.lock(&request.input.key)).write_owned().await;
                let files = Arc::clone(&self.files);
                to_the_end(vec![guard], async move { files.$write(request).await }).await
            })*

            $(async fn $upload(&self, request: S3Request<$upload_input>) -> S3Result<S3Response<$upload_output>> {
                let guard = Arc::clone(self.lock(&request.input.key)).write_owned().await;
                self.check_upload(&request.input.upload_id)?;
                let files = Arc::clone(&self.files);
                to_the_end(vec![guard], async move { files.$upload(request).await }).await
            })*

            async fn upload_part(&self, request: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
                self.check_upload(&request.input.upload_id)?;
                self.files.upload_part(request).await
            }

            async fn delete_objects(
                &self,
                request: S3Request<DeleteObjectsInput>,
            ) -> S3Result<S3Response<DeleteObjectsOutput>> {
                // In the order of the locks, so that two of these calls cannot wait for each other.
                let mut locks: Vec<&Arc<RwLock<()>>> =
                    request.input.delete.objects.iter().map(|object| self.lock(&object.key)).collect();
                locks.sort_by_key(|lock| Arc::as_ptr(lock));
                locks.dedup_by_key(|lock| Arc::as_ptr(lock));
                let mut guards = Vec::with_capacity(locks.len());
                for lock in locks {
                    guards.push(Arc::clone(lock).write_owned().await);
                }
                let files = Arc::clone(&self.files);
                to_the_end(guards, async move { files.delete_objects(request).await }).await
            }

            async fn head_object(
                &self,
                request: S3Request<HeadObjectInput>,
            ) -> S3Result<S3Response<HeadObjectOutput>> {
                self.path(&request.input.bucket, &request.input.key)?;
                let condition = request.input.if_match.clone();
                let _reading = self.lock(&request.input.key).read().await;
                let response = self.files.head_object(request).await?;
                check(condition.as_ref(), response.output.e_tag.as_ref())?;
                Ok(response)
            }

            async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
                let path = self.path(&request.input.bucket, &request.input.key)?;
                let condition = request.input.if_match.clone();
                let _reading = self.lock(&request.input.key).read().await;
                let mut response = self.files.get_object(request).await?;
                let output = &mut response.output;
                check(condition.as_ref(), output.e_tag.as_ref())?;
                // Opened under the lock: this file keeps its content even if the name gets another one.
                let mut file = File::open(&path).await.map_err(S3Error::internal_error)?;
                file.set_max_buf_size(READ_BYTES);
                let range = output.content_range.as_deref().and_then(|range| range.strip_prefix("bytes "));
                let start = range.and_then(|range| range.split('-').next()?.parse().ok()).unwrap_or(0);
                file.seek(io::SeekFrom::Start(start)).await.map_err(S3Error::internal_error)?;
                let length = output.content_length.unwrap_or(0).try_into().map_err(S3Error::internal_error)?;
                output.body = Some(body(file, length));
                Ok(response)
            }
        }
    };
}

files! {
    pass {
        head_bucket(HeadBucketInput) -> HeadBucketOutput;
        list_buckets(ListBucketsInput) -> ListBucketsOutput;
        list_objects(ListObjectsInput) -> ListObjectsOutput;
        list_objects_v2(ListObjectsV2Input) -> ListObjectsV2Output;
        list_parts(ListPartsInput) -> ListPartsOutput;
        create_multipart_upload(CreateMultipartUploadInput) -> CreateMultipartUploadOutput;
    }
    write {
        put_object(PutObjectInput) -> PutObjectOutput;
        delete_object(DeleteObjectInput) -> DeleteObjectOutput;
    }
    upload {
        complete_multipart_upload(CompleteMultipartUploadInput) -> CompleteMultipartUploadOutput;
        abort_multipart_upload(AbortMultipartUploadInput) -> AbortMultipartUploadOutput;
    }
}
