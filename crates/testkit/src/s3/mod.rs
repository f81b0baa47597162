//! A real S3 HTTP server over a folder, on loopback, for as long as the value lives.
//!
//! The protocol is s3s. For tests the storage is s3s-fs behind the locks of `atomic`, and `network` breaks requests as a
//! fault plan says; for measurements it is `served`, which is fast, and `traffic` counts the bytes.

mod atomic;
mod network;
mod room;
mod served;
mod traffic;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::BoxFuture;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder as ConnectionBuilder;
use s3s::HttpResponse;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::faults::{FaultPlan, FaultSource};

pub use traffic::{Count, Traffic};

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
    /// Another port of the same server, where requests never meet a fault.
    pub clear_endpoint: String,
    faults: Arc<FaultSource>,
    folder: PathBuf,
    _runtime: Runtime,
    _folder: Option<tempfile::TempDir>,
}

impl S3Server {
    /// Starts a server with one empty bucket.
    ///
    /// # Panics
    /// If it cannot: a test cannot go on without it.
    pub fn start() -> Self {
        Self::start_faulty(FaultPlan::all(0, 0))
    }

    /// Starts a server with one empty bucket whose requests fail as `plan` has it.
    ///
    /// # Panics
    /// If it cannot.
    #[expect(clippy::expect_used)]
    pub fn start_faulty(plan: FaultPlan) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut server = Self::start_in(folder.path(), 0, plan).expect("a server");
        server._folder = Some(folder);
        server
    }

    /// Starts a server over `folder` on `port` of the loopback address (0: any free one).
    ///
    /// # Errors
    /// If the folder or the port cannot be used.
    pub fn start_in(folder: &Path, port: u16, plan: FaultPlan) -> io::Result<Self> {
        std::fs::create_dir_all(folder.join(BUCKET))?;
        let faults = Arc::new(FaultSource::new(plan));
        let mut builder = S3ServiceBuilder::new(atomic::AtomicFiles::new(folder)?);
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let service = builder.build();
        let calm = Arc::new(FaultSource::new(FaultPlan::all(0, 0)));
        let clear = network::FaultyService::new(service.clone(), calm);
        let faulty = network::FaultyService::new(service, Arc::clone(&faults));
        let runtime = runtime()?;
        let endpoint = listen(&runtime, port, faulty)?;
        let clear_endpoint = listen(&runtime, 0, clear)?;
        Ok(Self {
            endpoint,
            clear_endpoint,
            faults,
            folder: folder.to_path_buf(),
            _runtime: runtime,
            _folder: None,
        })
    }

    /// Where everything is: objects in folders named by bucket, and beside them `.upload-ID.json` for each upload that is
    /// not completed and `.upload_id-ID.part-N` for its parts.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// To count the faults, and to stop them.
    pub fn faults(&self) -> &FaultSource {
        &self.faults
    }

    /// The variables a client needs to reach this server.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        environment(&self.endpoint)
    }

    /// The variables a client needs to reach it where there are no faults.
    pub fn clear_environment(&self) -> Vec<(&'static str, String)> {
        environment(&self.clear_endpoint)
    }
}

/// A server for measurements: the files of a folder, and a count of what goes over the network.
///
/// It believes every signature, and what is uploaded is gone with it.
pub struct CountingServer {
    /// `http://127.0.0.1:PORT`.
    pub endpoint: String,
    /// What went over the network since the start.
    pub traffic: Traffic,
    _runtime: Runtime,
}

impl CountingServer {
    /// Serves the files below `folder/bucket` on `port` of the loopback address (0: any free one).
    ///
    /// # Errors
    /// If the folder or the port cannot be used.
    pub fn start_in(folder: &Path, port: u16) -> io::Result<Self> {
        std::fs::create_dir_all(folder.join(BUCKET))?;
        let traffic = Traffic::default();
        let service = S3ServiceBuilder::new(served::ServedFolder::new(folder)?).build();
        let runtime = runtime()?;
        let endpoint = listen(
            &runtime,
            port,
            traffic::CountingService::new(service, traffic.clone()),
        )?;
        Ok(Self {
            endpoint,
            traffic,
            _runtime: runtime,
        })
    }

    /// The variables a client needs to reach this server.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        environment(&self.endpoint)
    }
}

fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
}

fn environment(endpoint: &str) -> Vec<(&'static str, String)> {
    vec![
        ("AWS_ENDPOINT_URL", endpoint.to_owned()),
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
        ("AWS_REGION", "us-east-1".to_owned()),
    ]
}

/// Serves on `port` (0: any) until the runtime ends; returns the address.
fn listen<S>(runtime: &Runtime, port: u16, service: S) -> io::Result<String>
where
    S: Service<
            Request<Incoming>,
            Response = HttpResponse,
            Error = io::Error,
            Future = BoxFuture<'static, io::Result<HttpResponse>>,
        > + Clone
        + Send
        + Sync
        + 'static,
{
    let listener = runtime.block_on(TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))))?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    runtime.spawn(async move {
        let mut accepted = 0_u64;
        while let Ok((socket, _)) = listener.accept().await {
            let _ = socket.set_nodelay(true);
            // Every second broken connection ends with a reset, the others with an orderly close.
            accepted += 1;
            if accepted.is_multiple_of(2) {
                let _ = socket.set_zero_linger();
            }
            let service = service.clone();
            tokio::spawn(async move {
                let connections = ConnectionBuilder::new(TokioExecutor::new());
                // A client that hangs up is no fault of the server.
                let _ = connections.serve_connection(TokioIo::new(socket), service).await;
            });
        }
    });
    Ok(endpoint)
}
