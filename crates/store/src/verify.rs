//! Reading an artifact again and naming what is wrong, object and byte range.

use rayon::prelude::*;

use crate::artifact::Artifact;
use crate::digest::{CHUNK_BYTES, Digest, PieceHasher, pieces};
use crate::error::Result;
use crate::manifest::ObjectEntry;

/// How much is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Presence and size of every object.
    Sizes,
    /// Every byte.
    Full,
}

/// How far a verification has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifyProgress {
    /// Bytes read.
    pub bytes: u64,
    /// Bytes to read.
    pub total: u64,
}

/// What is wrong with an object.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case", tag = "problem")]
pub enum ProblemKind {
    /// It is not there.
    Missing,
    /// It has another length.
    Size {
        /// Length in the manifest.
        expected: u64,
        /// Length found.
        found: u64,
    },
    /// Its bytes differ.
    Bytes {
        /// First byte of the wrong range.
        start: u64,
        /// One past its last byte.
        end: u64,
        /// Digest in the manifest.
        expected: String,
        /// Digest of the stored bytes.
        found: String,
    },
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// Path of the object below the artifact's root.
    pub path: String,
    /// The fault.
    #[serde(flatten)]
    pub kind: ProblemKind,
}

/// Result of a verification.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct VerifyReport {
    /// Objects looked at.
    pub objects: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Faults, in order of path and position; none if the artifact is whole.
    pub problems: Vec<Problem>,
}

impl VerifyReport {
    /// Whether no fault was found.
    pub fn is_whole(&self) -> bool {
        self.problems.is_empty()
    }
}

pub(crate) fn verify(artifact: &Artifact, depth: Depth, progress: &dyn Fn(VerifyProgress)) -> Result<VerifyReport> {
    let objects = &artifact.manifest().objects;
    let total = if depth == Depth::Full { artifact.manifest().total_bytes() } else { 0 };
    let mut report = VerifyReport { objects: objects.len() as u64, bytes: 0, problems: Vec::new() };
    for object in objects {
        let mut fault = |kind| report.problems.push(Problem { path: object.path.clone(), kind });
        let found = artifact.store().head(&object.path)?;
        match found {
            None => fault(ProblemKind::Missing),
            Some(meta) if meta.size != object.size => {
                fault(ProblemKind::Size { expected: object.size, found: meta.size });
            }
            Some(_) if depth == Depth::Sizes => {}
            Some(_) => {
                let mut done = report.bytes;
                let problems = read_again(artifact, object, &mut |bytes| {
                    done += bytes;
                    progress(VerifyProgress { bytes: done, total });
                })?;
                report.problems.extend(problems);
                report.bytes += object.size;
            }
        }
    }
    Ok(report)
}

fn read_again(artifact: &Artifact, object: &ObjectEntry, advance: &mut dyn FnMut(u64)) -> Result<Vec<Problem>> {
    let expected = object.digests().map(|(_, chunks)| chunks).unwrap_or_default();
    let reader = artifact.store().reader(&object.path)?;
    let mut problems = Vec::new();
    let chunks: Vec<u64> = (0..pieces(object.size, CHUNK_BYTES)).collect();
    // A few chunks side by side keep both cores or the network busy; memory stays at their number.
    for wave in chunks.chunks(rayon::current_num_threads().max(4)) {
        let found: Vec<Result<Digest>> = wave
            .par_iter()
            .map(|&chunk| {
                let start = chunk * CHUNK_BYTES;
                let len = (object.size - start).min(CHUNK_BYTES) as usize;
                let mut bytes = vec![0; len];
                reader
                    .read_at(start, &mut bytes)
                    .map_err(|source| crate::StoreError::io("read", artifact.store().describe(&object.path), source))?;
                let digest = PieceHasher::of(start, &bytes);
                Ok(if chunks.len() == 1 { digest.alone } else { digest.inner })
            })
            .collect();
        for (&chunk, found) in wave.iter().zip(found) {
            let found = found?;
            let start = chunk * CHUNK_BYTES;
            let end = (start + CHUNK_BYTES).min(object.size);
            advance(end - start);
            if expected.get(chunk as usize) != Some(&found) {
                let expected = expected.get(chunk as usize).map(|digest| digest.to_hex()).unwrap_or_default();
                let kind = ProblemKind::Bytes { start, end, expected, found: found.to_hex() };
                problems.push(Problem { path: object.path.clone(), kind });
            }
        }
    }
    Ok(problems)
}
