//! Room on the disk that a local store is on.

use std::path::{Path, PathBuf};

use tributary_pipeline::{Plan, PlanState};
use tributary_store::Store;

use crate::exit::Failure;
use crate::screen::bytes;

/// Room below a local store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DiskSpace {
    /// The store, or the nearest folder above it that exists.
    pub(crate) at: PathBuf,
    /// Bytes free to this user.
    pub(crate) free: u64,
}

impl DiskSpace {
    /// Room for a store; `None` if it is not on this machine, or the system does not say.
    pub(crate) fn of(store: &Store) -> Option<Self> {
        let path = store.local_path()?;
        let at = path
            .ancestors()
            .find(|folder| folder.is_dir())
            .unwrap_or(Path::new("/"));
        let found = rustix::fs::statvfs(at).ok()?;
        let free = found.f_bavail.saturating_mul(found.f_frsize);
        Some(DiskSpace {
            at: at.to_owned(),
            free,
        })
    }

    /// Fails if a plan is expected to write more than there is room for.
    pub(crate) fn check(&self, plan: &Plan) -> Result<(), Failure> {
        let who = "the steps that will run are";
        self.check_bytes(
            bytes_to_write(plan),
            who,
            "put the artifacts elsewhere with --store ADDRESS",
        )
    }

    /// Fails if there is no room for what somebody (`the merge is`) is expected to write.
    pub(crate) fn check_bytes(&self, needed: u64, who: &str, else_do: &str) -> Result<(), Failure> {
        if needed <= self.free {
            return Ok(());
        }
        Err(Failure::io(format!(
            "the disk of {} has {} free, and {who} expected to write at least {}; free some, or {else_do}",
            self.at.display(),
            bytes(self.free),
            bytes(needed),
        )))
    }
}

/// Bytes that the steps of a plan are known to write; those that cannot tell yet count as none.
pub(crate) fn bytes_to_write(plan: &Plan) -> u64 {
    let open = plan.steps.iter().filter(|step| step.state != PlanState::Cached);
    let written = open.filter_map(|step| step.estimate.as_ref()?.bytes_written);
    written.fold(0, u64::saturating_add)
}
