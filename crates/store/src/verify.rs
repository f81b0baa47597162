//! Re-reading what was published: every object, every chunk, named by object and byte range where it is wrong.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;

use tributary_tensorfile::ReadAt;

use crate::artifact::Artifact;
use crate::digest::{CHUNK_BYTES, Digest, PieceHasher, from_chunks};
use crate::error::{Result, StoreError};
use crate::manifest::{MANIFEST, ObjectEntry};
use crate::verify_report::{Depth, Problem, ProblemKind, VerifyProgress, VerifyReport};

/// Chunks read and hashed at once.
const THREADS: usize = 4;
/// A mapped chunk is hashed in pieces of this size, so that a file cut short meanwhile is met early.
const PIECE_BYTES: usize = 1 << 20;

/// One chunk to be read.
struct Task {
    object: usize,
    chunk: usize,
    start: u64,
    end: u64,
    expected: Digest,
}

pub(crate) fn verify(
    artifact: &Artifact,
    depth: Depth,
    progress: &dyn Fn(VerifyProgress),
) -> Result<VerifyReport> {
    let objects = &artifact.manifest().objects;
    let mut report = VerifyReport {
        objects: objects.len() as u64,
        ..VerifyReport::default()
    };
    report.strays = strays(artifact)?;
    report.unfinished = artifact.store().unfinished()?;
    let mut readers: Vec<Option<Arc<dyn ReadAt>>> = Vec::with_capacity(objects.len());
    let mut tasks = Vec::new();
    for (index, entry) in objects.iter().enumerate() {
        let reader = open(artifact, entry, depth, &mut report.problems)?;
        if reader.is_some() {
            tasks.extend(chunk_tasks(index, entry, depth));
        }
        readers.push(reader);
    }
    // Only bytes that are there can be read; the rest is reported as truncated.
    tasks.retain(|task| {
        readers[task.object]
            .as_ref()
            .is_some_and(|reader| task.end <= reader.len())
    });
    report.bytes = run(artifact, &tasks, &readers, &mut report.problems, progress);
    report
        .problems
        .sort_by(|a, b| (&a.path, a.start()).cmp(&(&b.path, b.start())));
    Ok(report)
}

fn strays(artifact: &Artifact) -> Result<Vec<String>> {
    let listed: BTreeSet<&str> = artifact
        .manifest()
        .objects
        .iter()
        .map(|entry| entry.path.as_str())
        .collect();
    let there = artifact.store().list("")?;
    let keys = there.into_iter().map(|meta| meta.key);
    Ok(keys
        .filter(|key| key != MANIFEST && !listed.contains(key.as_str()))
        .collect())
}

/// Looks at one object's size; opens it if its bytes are wanted.
fn open(
    artifact: &Artifact,
    entry: &ObjectEntry,
    depth: Depth,
    problems: &mut Vec<Problem>,
) -> Result<Option<Arc<dyn ReadAt>>> {
    let mut problem = |kind| {
        problems.push(Problem {
            path: entry.path.clone(),
            kind,
        })
    };
    let (expected, found, reader) = if depth == Depth::Sizes {
        match artifact.store().head(&entry.path)? {
            None => {
                problem(ProblemKind::Missing);
                return Ok(None);
            }
            Some(meta) => (entry.size, meta.size, None),
        }
    } else {
        match artifact.store().reader(&entry.path) {
            Err(error) if error.is_not_found() => {
                problem(ProblemKind::Missing);
                return Ok(None);
            }
            Err(error) => return Err(error),
            Ok(reader) => (entry.size, reader.len(), Some(reader)),
        }
    };
    if expected != found {
        problem(ProblemKind::Size { expected, found });
    }
    Ok(reader)
}

fn chunk_tasks(object: usize, entry: &ObjectEntry, depth: Depth) -> Vec<Task> {
    let wanted = |chunk: usize| match depth {
        Depth::Sizes => false,
        Depth::Full => true,
        Depth::Sample { per_mille, seed } => {
            let key = format!("{seed}/{}/{chunk}", entry.path);
            let draw = Digest::of(key.as_bytes()).0;
            (u32::from_le_bytes([draw[0], draw[1], draw[2], draw[3]]) % 1000) < per_mille
        }
    };
    let expected = entry.digests().map(|(_, chunks)| chunks).unwrap_or_default();
    let task = |(chunk, expected): (usize, Digest)| {
        let start = chunk as u64 * CHUNK_BYTES;
        Task {
            object,
            chunk,
            start,
            end: entry.size.min(start + CHUNK_BYTES),
            expected,
        }
    };
    expected
        .into_iter()
        .enumerate()
        .filter(|(chunk, _)| wanted(*chunk))
        .map(task)
        .collect()
}

/// Reads and hashes all tasks on a few threads; returns the bytes read.
fn run(
    artifact: &Artifact,
    tasks: &[Task],
    readers: &[Option<Arc<dyn ReadAt>>],
    problems: &mut Vec<Problem>,
    progress: &dyn Fn(VerifyProgress),
) -> u64 {
    let total = tasks.iter().map(|task| task.end - task.start).sum();
    let next = AtomicUsize::new(0);
    let done = AtomicU64::new(0);
    let objects = &artifact.manifest().objects;
    let (sender, receiver) = channel();
    thread::scope(|scope| {
        for _ in 0..THREADS.min(tasks.len()) {
            let (sender, next, done) = (sender.clone(), &next, &done);
            scope.spawn(move || {
                while let Some(task) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let Some(reader) = &readers[task.object] else {
                        continue;
                    };
                    let entry = &objects[task.object];
                    let kind = check_chunk(reader.as_ref(), task, entry);
                    let done =
                        done.fetch_add(task.end - task.start, Ordering::Relaxed) + task.end - task.start;
                    if sender.send((task.object, kind, done)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for (object, kind, done) in receiver {
            if let Some(kind) = kind {
                problems.push(Problem {
                    path: objects[object].path.clone(),
                    kind,
                });
            }
            progress(VerifyProgress { bytes: done, total });
        }
    });
    done.into_inner()
}

fn check_chunk(reader: &dyn ReadAt, task: &Task, entry: &ObjectEntry) -> Option<ProblemKind> {
    let (start, end) = (task.start, task.end);
    match hash_chunk(reader, task.chunk, start, end, entry.size <= CHUNK_BYTES) {
        Ok(found) if found == task.expected => None,
        Ok(found) => Some(ProblemKind::Bytes {
            start,
            end,
            expected: task.expected.to_hex(),
            found: found.to_hex(),
        }),
        Err(error) => Some(ProblemKind::Unreadable {
            start,
            end,
            reason: crate::mask(&error.to_string()),
        }),
    }
}

/// The manifest's value for one chunk.
fn hash_chunk(
    reader: &dyn ReadAt,
    chunk: usize,
    start: u64,
    end: u64,
    alone: bool,
) -> std::io::Result<Digest> {
    let mut hasher = PieceHasher::new(chunk as u64 * CHUNK_BYTES);
    let len = usize::try_from(end - start).map_err(std::io::Error::other)?;
    let from = usize::try_from(start).map_err(std::io::Error::other)?;
    match reader.as_slice().and_then(|bytes| bytes.get(from..from + len)) {
        Some(bytes) => bytes.chunks(PIECE_BYTES).for_each(|piece| hasher.update(piece)),
        None => {
            let mut buffer = vec![0; len];
            reader.read_at(start, &mut buffer)?;
            hasher.update(&buffer);
        }
    }
    let digest = hasher.finish();
    Ok(if alone { digest.alone } else { digest.inner })
}

/// The digest of all bytes of `reader`, or `None` if it has not `size` bytes.
pub(crate) fn digest_of(reader: &dyn ReadAt, size: u64) -> std::io::Result<Option<Digest>> {
    if reader.len() != size {
        return Ok(None);
    }
    let count = usize::try_from(size.div_ceil(CHUNK_BYTES)).map_err(std::io::Error::other)?;
    let mut chunks = Vec::with_capacity(count);
    for chunk in 0..count {
        let start = chunk as u64 * CHUNK_BYTES;
        chunks.push(hash_chunk(
            reader,
            chunk,
            start,
            size.min(start + CHUNK_BYTES),
            count == 1,
        )?);
    }
    Ok(Some(from_chunks(&chunks)))
}

/// Opens one object of an artifact after checking all its bytes.
pub(crate) fn open_checked(artifact: &Artifact, path: &str) -> Result<Arc<dyn ReadAt>> {
    let at = artifact.store().describe(path);
    let objects = &artifact.manifest().objects;
    let entry = artifact
        .manifest()
        .object(path)
        .ok_or_else(|| StoreError::misuse(&at, "it is no object of this artifact"))?;
    let reader = artifact.store().reader(path)?;
    if reader.len() != entry.size {
        let (start, end) = (reader.len().min(entry.size), reader.len().max(entry.size));
        let (expected, actual) = (format!("{} bytes", entry.size), format!("{} bytes", reader.len()));
        return Err(StoreError::Damaged {
            at,
            start,
            end,
            expected,
            actual,
        });
    }
    let index = objects.iter().position(|object| object.path == path).unwrap_or(0);
    let tasks = chunk_tasks(index, entry, Depth::Full);
    let mut readers: Vec<Option<Arc<dyn ReadAt>>> = vec![None; index + 1];
    readers[index] = Some(Arc::clone(&reader));
    let mut problems = Vec::new();
    run(artifact, &tasks, &readers, &mut problems, &|_| {});
    problems.sort_by_key(|problem| problem.start());
    match problems.into_iter().next().map(|problem| problem.kind) {
        None => Ok(reader),
        Some(ProblemKind::Bytes {
            start,
            end,
            expected,
            found,
        }) => Err(StoreError::Damaged {
            at,
            start,
            end,
            expected,
            actual: found,
        }),
        Some(kind) => Err(StoreError::Backend {
            action: "read",
            message: Problem {
                path: path.to_string(),
                kind,
            }
            .to_string(),
            at,
            transient: true,
        }),
    }
}
