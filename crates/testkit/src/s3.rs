//! A real S3 HTTP server over a temporary folder, on loopback, for as long as the value lives.
//!
//! s3s-fs checks a condition and renames in two steps, so two conditional writes may both win. Its trait is
//! wrapped so that writes of one server happen one at a time; reads are not serialised.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder as ConnectionBuilder;
use s3s::auth::SimpleAuth;
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, CompleteMultipartUploadInput, CompleteMultipartUploadOutput,
    CreateMultipartUploadInput, CreateMultipartUploadOutput, DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput,
    DeleteObjectsOutput, GetObjectInput, GetObjectOutput, HeadBucketInput, HeadBucketOutput, HeadObjectInput,
    HeadObjectOutput, ListObjectsV2Input, ListObjectsV2Output, PutObjectInput, PutObjectOutput, UploadPartInput,
    UploadPartOutput,
};
use s3s::service::S3ServiceBuilder;
use s3s::{S3, S3Request, S3Response, S3Result};
use s3s_fs::FileSystem;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::Mutex;

/// Access key of the server.
pub const ACCESS_KEY: &str = "testkit-access";
/// Secret key of the server.
pub const SECRET_KEY: &str = "testkit-secret-canary";
/// The one bucket.
pub const BUCKET: &str = "bucket";

/// A running server.
pub struct S3Server {
    /// `http://127.0.0.1:PORT`.
    pub endpoint: String,
    _runtime: Runtime,
    _folder: Option<tempfile::TempDir>,
}

impl S3Server {
    /// Starts a server with one empty bucket.
    ///
    /// # Panics
    /// If it cannot: a test cannot go on without it.
    #[expect(clippy::expect_used)]
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut server = Self::start_in(folder.path(), 0);
        server._folder = Some(folder);
        server
    }

    /// Starts a server over `folder` on `port` of the loopback address (0: any free one).
    ///
    /// # Panics
    /// If it cannot.
    #[expect(clippy::expect_used)]
    pub fn start_in(folder: &Path, port: u16) -> Self {
        std::fs::create_dir_all(folder.join(BUCKET)).expect("a bucket");
        let files = FileSystem::new(folder).expect("a file system");
        let mut builder = S3ServiceBuilder::new(OneWriter { files, writing: Arc::default() });
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let service = builder.build();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listener = runtime.block_on(TcpListener::bind(address)).expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        runtime.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let service = service.clone();
                tokio::spawn(async move {
                    let connections = ConnectionBuilder::new(TokioExecutor::new());
                    // A client that hangs up is no fault of the server.
                    let _ = connections.serve_connection(TokioIo::new(socket), service).await;
                });
            }
        });
        Self { endpoint, _runtime: runtime, _folder: None }
    }

    /// The variables a client needs to reach this server.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT_URL", self.endpoint.clone()),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
        ]
    }
}

/// The file system behind a lock on writes.
struct OneWriter {
    files: FileSystem,
    writing: Arc<Mutex<()>>,
}

/// The whole implementation: methods passed through as they are, and those passed through under the lock.
macro_rules! pass {
    (
        read { $($read:ident($read_input:ty) -> $read_output:ty;)* }
        write { $($write:ident($write_input:ty) -> $write_output:ty;)* }
    ) => {
        #[async_trait::async_trait]
        impl S3 for OneWriter {
            $(async fn $read(&self, request: S3Request<$read_input>) -> S3Result<S3Response<$read_output>> {
                self.files.$read(request).await
            })*

            $(async fn $write(&self, request: S3Request<$write_input>) -> S3Result<S3Response<$write_output>> {
                let _writing = self.writing.lock().await;
                self.files.$write(request).await
            })*
        }
    };
}

pass! {
    read {
        get_object(GetObjectInput) -> GetObjectOutput;
        head_object(HeadObjectInput) -> HeadObjectOutput;
        head_bucket(HeadBucketInput) -> HeadBucketOutput;
        list_objects_v2(ListObjectsV2Input) -> ListObjectsV2Output;
        create_multipart_upload(CreateMultipartUploadInput) -> CreateMultipartUploadOutput;
        upload_part(UploadPartInput) -> UploadPartOutput;
        abort_multipart_upload(AbortMultipartUploadInput) -> AbortMultipartUploadOutput;
    }
    write {
        put_object(PutObjectInput) -> PutObjectOutput;
        complete_multipart_upload(CompleteMultipartUploadInput) -> CompleteMultipartUploadOutput;
        delete_object(DeleteObjectInput) -> DeleteObjectOutput;
        delete_objects(DeleteObjectsInput) -> DeleteObjectsOutput;
    }
}
