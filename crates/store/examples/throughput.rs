//! How fast objects are written, hashed, verified and moved: `throughput DIR [MEBIBYTES]`.
//!
//! Local files with and without syncing, in order and by position from two threads, beside the plain writes of the
//! operating system; then up to and down from an S3 server on loopback in this process.

#![expect(clippy::print_stdout)]

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use tributary_store::{
    Artifact, Depth, Durability, ManifestDraft, PositionedWriter, Publication, Result, Store,
};
use tributary_testkit::s3::{BUCKET, S3Server};

const BLOCK: usize = 4 << 20;

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("usage: throughput DIR [MEBIBYTES]")?;
    let size = arguments.next().map_or(Ok(2048), |text| text.parse::<u64>())? << 20;
    let folder = Path::new(&folder);
    std::fs::create_dir_all(folder)?;
    let block: Vec<u8> = (0..BLOCK)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    println!(
        "{} MiB, {} cores",
        size >> 20,
        std::thread::available_parallelism()?
    );

    measure("plain write, no hash", size, || {
        let mut file = std::fs::File::create(folder.join("plain"))?;
        (0..size / BLOCK as u64).try_for_each(|_| file.write_all(&block))
    })?;
    std::fs::remove_file(folder.join("plain"))?;
    measure("BLAKE3 alone, one thread", size, || {
        let mut hasher = blake3::Hasher::new();
        for _ in 0..size / BLOCK as u64 {
            hasher.update(&block);
        }
        std::hint::black_box(hasher.finalize());
        Ok(())
    })?;

    let root = folder.to_str().ok_or("a path that is not text")?;
    let fast = Store::open(root)?.with_durability(Durability::Process);
    local("local, not synced", &fast, size, &block)?;
    local(
        "local, synced",
        &Store::open(root)?.with_durability(Durability::Device),
        size,
        &block,
    )?;

    let data = folder.join("s3");
    let server = S3Server::start_in(&data, 0, tributary_testkit::faults::FaultPlan::all(0, 0))?;
    let environment = server
        .environment()
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    let remote = Store::open_with(&format!("s3://{BUCKET}/x"), environment)?;
    measure("S3 loopback, in order, up", size, || {
        in_order(&remote, size, &block)
    })?;
    let reader = remote.reader("object")?;
    let mut buffer = vec![0; 64 << 20];
    measure("S3 loopback, down", size, || {
        let mut at = 0;
        while at < size {
            let take = buffer.len().min((size - at) as usize);
            reader.read_at(at, &mut buffer[..take])?;
            at += take as u64;
        }
        Ok(())
    })?;
    remote.delete("object")?;
    measure("S3 loopback, by position from 2 threads, up", size, || {
        by_position(&remote, size, &block).map(drop)
    })?;
    remote.delete_all()?;
    drop(server);
    std::fs::remove_dir_all(data)?;
    if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
        status
            .lines()
            .filter(|line| line.starts_with("VmHWM"))
            .for_each(|line| println!("peak memory {line}"));
    }
    Ok(())
}

fn local(
    name: &str,
    store: &Store,
    size: u64,
    block: &[u8],
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    measure(&format!("{name}: in order, written and hashed"), size, || {
        in_order(store, size, block)
    })?;
    store.delete("object")?;
    let place = store.child("artifact")?;
    measure(
        &format!("{name}: artifact by position from 2 threads"),
        size,
        || by_position(&place, size, block).map(drop),
    )?;
    let artifact = Artifact::open(&place)?;
    measure(&format!("{name}: verified"), size, || {
        let report = artifact.verify(Depth::Full, &|_| {})?;
        if report.is_whole() {
            Ok(())
        } else {
            Err(std::io::Error::other("damaged"))
        }
    })?;
    Ok(artifact.remove()?)
}

fn in_order(store: &Store, size: u64, block: &[u8]) -> std::io::Result<()> {
    let mut writer = store.writer("object")?;
    (0..size / BLOCK as u64).try_for_each(|_| writer.write_all(block))?;
    writer.finish()?;
    Ok(())
}

fn by_position(store: &Store, size: u64, block: &[u8]) -> std::io::Result<Artifact> {
    let publication = Publication::begin(store);
    let region = publication.region_writer("object", size)?;
    let write = |first: u64| -> Result<()> {
        (first..size / BLOCK as u64)
            .step_by(2)
            .try_for_each(|at| region.write_at(at * BLOCK as u64, block))
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| write(1));
        write(0)?;
        other
            .join()
            .map_err(|_| std::io::Error::other("a thread died"))??;
        Ok::<(), std::io::Error>(())
    })?;
    publication.add(region)?;
    Ok(publication.commit(ManifestDraft {
        kind: "test".into(),
        ..ManifestDraft::default()
    })?)
}

/// Prints wall time, rate, and the processor time of all threads, which says more on a busy machine.
fn measure(name: &str, bytes: u64, work: impl FnOnce() -> std::io::Result<()>) -> std::io::Result<()> {
    let (start, before) = (Instant::now(), processor_seconds());
    work()?;
    let (seconds, used) = (start.elapsed().as_secs_f64(), processor_seconds() - before);
    println!(
        "{name:<55} {seconds:6.2} s  {:6.2} GB/s  {used:6.2} s of processor",
        bytes as f64 / seconds / 1e9
    );
    Ok(())
}

/// User and system time of this process so far, from Linux's process table (hundredths of a second).
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse::<f64>().ok())
        .sum::<f64>()
        / 100.0
}
