//! Ends the program when reading an input does not end, or took so much memory that it was stopped.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use crate::allocation;

/// How long one input may take before the run is ended; what is only slow is found by the run itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is being read.
type Current = Mutex<Option<(Instant, Vec<u8>)>>;

/// Watches over one run until it is dropped.
pub(super) struct Watchdog(Arc<Current>);

impl Watchdog {
    /// `report` is told what happened and the input, and gives the words to die with.
    pub(super) fn start(report: impl Fn(&str, &[u8]) -> String + Send + 'static) -> Self {
        let current = Arc::new(Current::default());
        let watched = Arc::downgrade(&current);
        thread::spawn(move || watch(&watched, &report));
        Self(current)
    }

    pub(super) fn begins(&self, input: &[u8]) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), input.to_vec()));
    }

    pub(super) fn ended(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn watch(current: &Weak<Current>, report: &dyn Fn(&str, &[u8]) -> String) {
    while let Some(current) = current.upgrade() {
        if let Some((since, input)) = &*current.lock().unwrap_or_else(PoisonError::into_inner) {
            let what = if allocation::is_stopped() {
                Some(format!(
                    "took more than {} bytes of memory",
                    allocation::MOST_BYTES
                ))
            } else if since.elapsed() > PATIENCE {
                Some(format!("took longer than {PATIENCE:?}"))
            } else {
                None
            };
            if let Some(what) = what {
                #[expect(clippy::print_stderr, reason = "the last words of a test")]
                {
                    eprintln!("{}", report(&what, input));
                }
                std::process::exit(101);
            }
        }
        drop(current);
        thread::sleep(Duration::from_millis(500));
    }
}
