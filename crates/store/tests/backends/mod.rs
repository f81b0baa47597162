//! What the tests run on: the stores, and bytes to put there.

#![allow(dead_code)]

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use tributary_store::{Artifact, Durability, ManifestDraft, PositionedWriter, Publication, Store};
use tributary_testkit::faults::FaultPlan;
use tributary_testkit::s3::{BUCKET, CountingServer, S3Server};

/// Runs `check` over a fresh place on every kind of store.
pub(crate) fn over_every_backend(check: impl Fn(&Store)) {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("case-{}", COUNT.fetch_add(1, Ordering::SeqCst));
    let folder = tempfile::tempdir().unwrap();
    check(&local(&folder.path().join("root")));
    check(&Store::open(&format!("memory://conformance/{name}")).unwrap());
    check(&on_server(server(), &name));
    check(&counted(&name));
}

/// A local store that leaves syncing to the system: what tests kill is the process, not the machine.
pub(crate) fn local(path: &std::path::Path) -> Store {
    Store::open(path.to_str().unwrap())
        .unwrap()
        .with_durability(Durability::Process)
}

/// The place `prefix` on `server`, with its faults.
pub(crate) fn on_server(server: &S3Server, prefix: &str) -> Store {
    open(prefix, server.environment())
}

/// The place `prefix` on `server`, without faults.
pub(crate) fn clear_on_server(server: &S3Server, prefix: &str) -> Store {
    open(prefix, server.clear_environment())
}

fn open(prefix: &str, environment: Vec<(&str, String)>) -> Store {
    let environment = environment
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    Store::open_with(&format!("s3://{BUCKET}/{prefix}"), environment).unwrap()
}

/// The server of this process that does what it is asked.
pub(crate) fn server() -> &'static S3Server {
    static SERVER: OnceLock<S3Server> = OnceLock::new();
    SERVER.get_or_init(S3Server::start)
}

/// The place `prefix` on [`counting_server`].
pub(crate) fn counted(prefix: &str) -> Store {
    open(prefix, counting_server().environment())
}

/// The server for measurements, which keeps the promises of S3 too.
pub(crate) fn counting_server() -> &'static CountingServer {
    static SERVER: OnceLock<(CountingServer, tempfile::TempDir)> = OnceLock::new();
    let start = || {
        let folder = tempfile::tempdir().unwrap();
        let server = CountingServer::start_in(folder.path(), 0).unwrap();
        (server, folder)
    };
    &SERVER.get_or_init(start).0
}

/// A server that fails as `plan` has it.
pub(crate) fn faulty_server(plan: FaultPlan) -> S3Server {
    S3Server::start_faulty(plan)
}

/// `len` bytes without repetition, different for each `salt`.
pub(crate) fn pattern(len: usize, salt: u64) -> Vec<u8> {
    let step = |at: u64| (at ^ salt.wrapping_mul(0x9e37_79b9)).wrapping_mul(0xff51_afd7_ed55_8ccd) >> 29;
    (0..len as u64).map(|at| step(at) as u8).collect()
}

/// A draft that says nothing but the kind.
pub(crate) fn draft() -> ManifestDraft {
    ManifestDraft {
        kind: "model".into(),
        ..ManifestDraft::default()
    }
}

/// Publishes `objects` at `store`.
pub(crate) fn publish(store: &Store, objects: &[(&str, Vec<u8>)]) -> tributary_store::Result<Artifact> {
    let publication = Publication::begin(store);
    for (path, bytes) in objects {
        publication.put(path, bytes.clone())?;
    }
    publication.commit(draft())
}

/// Repeatable random numbers.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// An artifact that several processes may make: large objects of these sizes, and two small ones.
pub(crate) struct Shared {
    pub(crate) sizes: &'static [u64],
}

impl Shared {
    pub(crate) fn path(&self, index: usize) -> String {
        format!("sub/model-{index}")
    }

    pub(crate) fn bytes(&self, index: usize) -> Vec<u8> {
        pattern(self.sizes[index] as usize, 100 + index as u64)
    }

    pub(crate) fn note(&self, index: usize) -> Vec<u8> {
        format!("{{\n\"norm\": {index}\n}}\n").into_bytes()
    }

    /// Makes and keeps object `index`.
    pub(crate) fn keep(&self, publication: &Publication, index: usize) -> tributary_store::Result<()> {
        let writer = publication.region_writer(&self.path(index), self.sizes[index])?;
        for (number, piece) in self.bytes(index).chunks(3_000_000).enumerate() {
            writer.write_at(number as u64 * 3_000_000, piece)?;
        }
        publication.keep(writer, self.note(index))
    }

    pub(crate) fn put_small(&self, publication: &Publication) -> tributary_store::Result<()> {
        publication.put("README.md", &b"small"[..])?;
        publication.put("config.json", &b"{}"[..])
    }

    /// The artifact, made by one process without a key.
    pub(crate) fn made_by_one(&self, store: &Store) -> Artifact {
        let publication = Publication::begin(store);
        for index in 0..self.sizes.len() {
            publication.put(&self.path(index), self.bytes(index)).unwrap();
        }
        self.put_small(&publication).unwrap();
        publication.commit(draft()).unwrap()
    }
}
