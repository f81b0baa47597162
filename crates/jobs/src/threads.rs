//! Keeping a job's computation within the processors it was given.

use rayon::ThreadPoolBuilder;
use tributary_pipeline::{JobError, JobErrorKind};

/// Runs `work` on a pool of `threads` threads; whatever uses rayon inside uses that pool.
///
/// # Errors
/// The threads cannot be started.
pub(crate) fn install<R: Send>(threads: usize, work: impl FnOnce() -> R + Send) -> Result<R, JobError> {
    let pool = ThreadPoolBuilder::new().num_threads(threads.max(1)).build();
    let pool = pool.map_err(|error| JobError::caused(JobErrorKind::Io, "starting threads", error))?;
    Ok(pool.install(work))
}
