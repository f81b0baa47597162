//! The threads behind a local file that is being written: some hash its complete leaves, one syncs it meanwhile.
//!
//! Own threads and not rayon's: a writer may be called from a rayon task and waits for its hashes at the end, which
//! inside one pool could wait for itself. Syncing early lets the device work while the rest is computed; left alone, the
//! system would begin only when a tenth of the memory waits. Jobs hold no bytes, only a file and a range, so the queues
//! need no bound.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;

use crate::error::{Result, StoreError};

type Job = Box<dyn FnOnce() + Send>;

/// Some threads and the queue of their jobs; started when first used.
struct Workers {
    name: &'static str,
    queue: OnceLock<Result<Mutex<Sender<Job>>, String>>,
}

static HASHERS: Workers = Workers {
    name: "tributary-hash",
    queue: OnceLock::new(),
};
static SYNCER: Workers = Workers {
    name: "tributary-sync",
    queue: OnceLock::new(),
};

impl Workers {
    fn start(&self, threads: usize) -> Result<Mutex<Sender<Job>>, String> {
        let (sender, receiver) = channel::<Job>();
        let receiver = Arc::new(Mutex::new(receiver));
        for number in 0..threads {
            let receiver = Arc::clone(&receiver);
            let body = move || {
                loop {
                    let job = match receiver.lock() {
                        Ok(receiver) => receiver.recv(),
                        Err(_) => return,
                    };
                    match job {
                        Ok(job) => job(),
                        Err(_) => return,
                    }
                }
            };
            let started = thread::Builder::new()
                .name(format!("{}-{number}", self.name))
                .spawn(body);
            started.map_err(|error| error.to_string())?;
        }
        Ok(Mutex::new(sender))
    }

    fn submit(&self, threads: usize, job: Job) -> Result<()> {
        let unavailable = |reason: &str| StoreError::misuse(format!("{} threads", self.name), reason);
        let queue = self
            .queue
            .get_or_init(|| self.start(threads))
            .as_ref()
            .map_err(|reason| unavailable(reason))?;
        let sender = queue.lock().map_err(|_| unavailable("their queue is broken"))?;
        sender.send(job).map_err(|_| unavailable("they have ended"))
    }
}

/// Queues `job`; it runs soon, on one of the hashing threads. The job must not panic.
pub(crate) fn submit(job: impl FnOnce() + Send + 'static) -> Result<()> {
    let threads = thread::available_parallelism().map_or(2, |count| count.get().clamp(1, 4));
    HASHERS.submit(threads, Box::new(job))
}

/// Queues `job` behind the syncs that wait already; for what only hastens, never for what must be done.
pub(crate) fn submit_sync(job: impl FnOnce() + Send + 'static) -> Result<()> {
    SYNCER.submit(1, Box::new(job))
}
