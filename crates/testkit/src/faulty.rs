//! An object store that fails as drawn: a layer over any other.
//!
//! Stands for what a client sees below its HTTP library. "Done" and "not done" are told apart strictly: a lost answer
//! means the operation has happened on the store below.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartId, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use crate::faults::{Fault, FaultPlan, FaultSource};

/// `inner`, with faults.
#[derive(Debug)]
pub struct FaultyStore<T> {
    inner: Arc<T>,
    faults: Arc<FaultSource>,
}

impl<T> FaultyStore<T> {
    /// Faults from the start. Who keeps `inner` sees the truth.
    pub fn new(inner: Arc<T>, plan: FaultPlan) -> FaultyStore<T> {
        FaultyStore {
            inner,
            faults: Arc::new(FaultSource::new(plan)),
        }
    }

    /// To count the faults, and to stop them.
    pub fn faults(&self) -> &FaultSource {
        &self.faults
    }

    /// Does `operation` as the next draw has it.
    async fn with_fault<R>(&self, operation: impl Future<Output = Result<R>>) -> Result<R> {
        match self.faults.draw() {
            None | Some(Fault::CutBody) => operation.await,
            Some(Fault::Slow) => {
                tokio::time::sleep(self.faults.delay()).await;
                operation.await
            }
            Some(fault @ (Fault::LostAnswer | Fault::ErrorAfter)) => {
                operation.await?;
                Err(broken(fault))
            }
            Some(fault) => Err(broken(fault)),
        }
    }
}

fn broken(fault: Fault) -> Error {
    Error::Generic {
        store: "FaultyStore",
        source: format!("injected: {fault:?}").into(),
    }
}

impl<T: fmt::Debug> fmt::Display for FaultyStore<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultyStore({:?})", self.inner)
    }
}

#[async_trait]
impl<T: ObjectStore> ObjectStore for FaultyStore<T> {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.with_fault(self.inner.put_opts(location, payload, options))
            .await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let head = options.head;
        match self.faults.draw() {
            Some(fault @ (Fault::CutBody | Fault::Slow)) if !head => {
                let delay = (fault == Fault::Slow).then(|| self.faults.delay());
                let found = self.inner.get_opts(location, options).await?;
                let (meta, range, attributes) =
                    (found.meta.clone(), found.range.clone(), found.attributes.clone());
                let extensions = found.extensions.clone();
                let bytes = found.bytes().await?;
                let payload = GetResultPayload::Stream(pieces(bytes, fault == Fault::CutBody, delay));
                Ok(GetResult {
                    payload,
                    meta,
                    range,
                    attributes,
                    extensions,
                })
            }
            None | Some(Fault::CutBody | Fault::Slow) => self.inner.get_opts(location, options).await,
            Some(fault) => Err(broken(fault)),
        }
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        match self.faults.draw() {
            None | Some(Fault::CutBody | Fault::Slow) => self.inner.delete_stream(locations),
            Some(fault @ (Fault::LostAnswer | Fault::ErrorAfter)) => self
                .inner
                .delete_stream(locations)
                .map(move |_| Err(broken(fault)))
                .boxed(),
            Some(fault) => stream::once(async move { Err(broken(fault)) }).boxed(),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.faults.draw() {
            None | Some(Fault::Slow) => self.inner.list(prefix),
            // Some of the names, then the end of the connection.
            Some(fault) => self
                .inner
                .list(prefix)
                .take(1)
                .chain(stream::once(async move { Err(broken(fault)) }))
                .boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.with_fault(self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.with_fault(self.inner.copy_opts(from, to, options)).await
    }
}

#[async_trait]
impl<T: MultipartStore> MultipartStore for FaultyStore<T> {
    async fn create_multipart(&self, path: &Path) -> Result<MultipartId> {
        self.with_fault(self.inner.create_multipart(path)).await
    }

    async fn put_part(&self, path: &Path, id: &MultipartId, part: usize, data: PutPayload) -> Result<PartId> {
        self.with_fault(self.inner.put_part(path, id, part, data)).await
    }

    async fn complete_multipart(
        &self,
        path: &Path,
        id: &MultipartId,
        parts: Vec<PartId>,
    ) -> Result<PutResult> {
        self.with_fault(self.inner.complete_multipart(path, id, parts))
            .await
    }

    async fn abort_multipart(&self, path: &Path, id: &MultipartId) -> Result<()> {
        self.with_fault(self.inner.abort_multipart(path, id)).await
    }
}

/// `bytes` in four pieces, each after `delay`; if `cut`, broken off after two.
fn pieces(bytes: Bytes, cut: bool, delay: Option<std::time::Duration>) -> BoxStream<'static, Result<Bytes>> {
    let step = bytes.len().div_ceil(4).max(1);
    let whole = (0..bytes.len())
        .step_by(step)
        .map(|at| bytes.slice(at..bytes.len().min(at + step)));
    let mut answers: Vec<Result<Bytes>> = whole.map(Ok).collect();
    if cut {
        answers.truncate(answers.len() / 2);
        answers.push(Err(broken(Fault::CutBody)));
    }
    let wait = move |answer| async move {
        if let Some(delay) = delay {
            tokio::time::sleep(delay).await;
        }
        answer
    };
    stream::iter(answers).then(wait).boxed()
}
