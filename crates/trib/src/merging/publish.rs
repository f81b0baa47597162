//! Merging under a bar, with room on the disk, until an interrupt.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tributary_merge::{MergeError, MergePlan, Phase, Published, Watch};
use tributary_store::Store;

use crate::disk::DiskSpace;
use crate::exit::Failure;
use crate::output::{bar, say};

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
}

/// Merges under a bar.
pub(crate) fn publish(plan: &MergePlan, out: &Store, interrupt: &Interrupt) -> Result<Published, MergeError> {
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
