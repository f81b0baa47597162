//! Ctrl-C of verbs that can stop half-way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::exit::Failure;
use crate::output::say;

/// A flag that an interrupt sets, saying `stopping`. A second one ends the process at once.
pub(crate) fn interrupt_flag(stopping: &'static str) -> Result<Arc<AtomicBool>, Failure> {
    let cancel = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&cancel);
    let listening = ctrlc::set_handler(move || {
        // Whoever asks twice wants out now; what is left behind is swept by the next attempt at the same place.
        if flag.swap(true, Ordering::SeqCst) {
            std::process::exit(75);
        }
        say(stopping);
    });
    listening.map_err(|error| Failure::bug(format!("interrupts cannot be caught: {error}")))?;
    Ok(cancel)
}
