//! A few threads that hash leaves of local files while their writer goes on.
//!
//! Own threads and not rayon's: a writer may be called from a rayon task and waits for its hashes at the end, which
//! inside one pool could wait for itself. Jobs hold no bytes, only a file and a range, so the queue needs no bound.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;

use crate::error::{Result, StoreError};

type Job = Box<dyn FnOnce() + Send>;

static QUEUE: OnceLock<Result<Mutex<Sender<Job>>, String>> = OnceLock::new();

fn start() -> Result<Mutex<Sender<Job>>, String> {
    let (sender, receiver) = channel::<Job>();
    let receiver = Arc::new(Mutex::new(receiver));
    let threads = thread::available_parallelism().map_or(2, |count| count.get().clamp(1, 4));
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
        thread::Builder::new()
            .name(format!("tributary-hash-{number}"))
            .spawn(body)
            .map_err(|error| error.to_string())?;
    }
    Ok(Mutex::new(sender))
}

/// Queues `job`; it runs soon, on one of the hashing threads. The job must not panic.
pub(crate) fn submit(job: impl FnOnce() + Send + 'static) -> Result<()> {
    let unavailable = |reason: &str| StoreError::misuse("hashing threads", reason);
    let queue = QUEUE
        .get_or_init(start)
        .as_ref()
        .map_err(|reason| unavailable(reason))?;
    let sender = queue.lock().map_err(|_| unavailable("their queue is broken"))?;
    sender
        .send(Box::new(job))
        .map_err(|_| unavailable("they have ended"))
}
