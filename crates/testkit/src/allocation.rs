//! How much memory a call takes: an allocator for test programs that counts what each thread allocates.
//!
//! A test program makes it its own with `#[global_allocator] static ALLOCATOR: Counting = Counting;`. What is counted
//! is the work of the thread that calls; opening and planning are the work of one thread.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A watched call may have this much at once. Beyond it the thread stops for good, because an allocator can neither
/// panic nor give an error that anybody reads; a watchdog ([`is_stopped`]) ends the program and says why.
pub const MOST_BYTES: usize = 1 << 30;

/// The system's allocator, counting.
#[derive(Debug)]
pub struct Counting;

thread_local! {
    static NOW: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
    static LIMIT: Cell<usize> = const { Cell::new(usize::MAX) };
}

static STOPPED: AtomicBool = AtomicBool::new(false);

#[expect(unsafe_code)]
// SAFETY: every call goes on to the system's allocator unchanged; the counters allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: as promised by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: as promised by the caller.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.set(NOW.get().saturating_sub(layout.size()));
        // SAFETY: as promised by the caller.
        unsafe { System.dealloc(pointer, layout) }
    }
}

fn add(bytes: usize) {
    let now = NOW.get().saturating_add(bytes);
    while now > LIMIT.get() {
        STOPPED.store(true, Ordering::Relaxed);
        std::thread::sleep(Duration::from_secs(1));
    }
    NOW.set(now);
    PEAK.set(PEAK.get().max(now));
}

/// Has a watched call asked for more than [`MOST_BYTES`], and its thread been stopped for it?
pub fn is_stopped() -> bool {
    STOPPED.load(Ordering::Relaxed)
}

/// What a call took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Taken {
    /// Bytes allocated at once, at most, beyond what was there before.
    pub bytes: usize,
    /// Time.
    pub time: Duration,
}

/// The result of `call`, and what it took.
pub fn watched<T>(call: impl FnOnce() -> T) -> (T, Taken) {
    let before = NOW.get();
    PEAK.set(before);
    LIMIT.set(before.saturating_add(MOST_BYTES));
    let start = Instant::now();
    let result = call();
    let time = start.elapsed();
    LIMIT.set(usize::MAX);
    let bytes = PEAK.get().saturating_sub(before);
    (result, Taken { bytes, time })
}
