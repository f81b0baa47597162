//! The one tokio runtime behind the blocking facade: two workers, started on first use, shared by every store.

use std::future::Future;
use std::sync::OnceLock;

use tokio::runtime::{Builder, Handle, Runtime};

use crate::error::{Result, StoreError};

static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();

fn runtime() -> Result<&'static Runtime> {
    let started = RUNTIME.get_or_init(|| {
        Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("tributary-store")
            .enable_all()
            .build()
            .map_err(|error| error.to_string())
    });
    started.as_ref().map_err(|reason| StoreError::Misuse {
        at: "store runtime".to_string(),
        reason: format!("cannot start its threads: {reason}"),
    })
}

/// Runs `future` to its end on the calling thread. An error, not a panic, inside an async context.
pub(crate) fn block_on<F: Future>(future: F) -> Result<F::Output> {
    if Handle::try_current().is_ok() {
        return Err(StoreError::misuse(
            "store",
            "called inside an async context; call it from a plain thread",
        ));
    }
    Ok(runtime()?.block_on(future))
}

/// Starts `future` on the runtime's workers.
pub(crate) fn spawn<F>(future: F) -> Result<tokio::task::JoinHandle<F::Output>>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    Ok(runtime()?.spawn(future))
}
