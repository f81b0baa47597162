//! Merging under a bar, with room on the disk, until an interrupt.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tributary_jobs::Classed;
use tributary_merge::{MergeError, MergePlan, Phase, Published, Watch};
use tributary_pipeline::JobErrorKind;
use tributary_store::Store;

use crate::disk::DiskSpace;
use crate::exit::{Failure, chain};
use crate::output::{bar, say};

/// Seconds before a merge goes on whose store stopped answering, time after time: half an hour in all.
const PAUSES: [u64; 10] = [10, 20, 40, 80, 160, 300, 300, 300, 300, 300];

pub(crate) fn check_disk(plan: &MergePlan, out: &Store) -> Result<(), Failure> {
    let Some(disk) = DiskSpace::of(out) else {
        return Ok(());
    };
    disk.check_bytes(plan.bytes_to_make(out)?, "the merge is", "choose another place")
}

/// The first interrupt ends a merge with nothing published.
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    pub(crate) fn listen() -> Result<Interrupt, Failure> {
        let cancel = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&cancel);
        let listening = ctrlc::set_handler(move || {
            // Whoever asks twice wants out now; files that were finished are there for the next run of the same merge.
            if flag.swap(true, Ordering::SeqCst) {
                std::process::exit(75);
            }
            say("stopping; nothing will be published");
        });
        listening.map_err(|error| MergeError::Internal(format!("interrupts cannot be caught: {error}")))?;
        Ok(Interrupt(cancel))
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Waits, but not beyond an interrupt.
    fn wait(&self, pause: Duration) -> Result<(), MergeError> {
        let begin = Instant::now();
        while begin.elapsed() < pause {
            if self.is_set() {
                return Err(MergeError::Cancelled);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }
}

/// Merges under a bar. An outage of a store is waited out; what was finished before it is not made again.
pub(crate) fn publish(plan: &MergePlan, out: &Store, interrupt: &Interrupt) -> Result<Published, MergeError> {
    for pause in PAUSES {
        match publish_once(plan, out, interrupt) {
            // No other failure may be gone the next time: what changed meanwhile stays changed.
            Err(error) if error.class() == JobErrorKind::Unavailable && !interrupt.is_set() => {
                say(format!(
                    "{}; trying again in {pause} s, finished files are kept",
                    chain(&error)
                ));
                interrupt.wait(Duration::from_secs(pause))?;
            }
            other => return other,
        }
    }
    publish_once(plan, out, interrupt)
}

fn publish_once(plan: &MergePlan, out: &Store, interrupt: &Interrupt) -> Result<Published, MergeError> {
    let bar = bar(plan.summary().bytes_to_read, "B");
    // Bytes of the pass before this one.
    let before = AtomicU64::new(0);
    let progress = |progress: tributary_merge::Progress| {
        let before = match progress.phase {
            Phase::Statistics => {
                before.store(progress.total, Ordering::Relaxed);
                0
            }
            Phase::Merge => before.load(Ordering::Relaxed),
        };
        bar.set_position(before + progress.done);
    };
    let result = plan.publish(
        out,
        &Watch {
            progress: &progress,
            cancel: &interrupt.0,
        },
    );
    bar.finish_and_clear();
    result
}
