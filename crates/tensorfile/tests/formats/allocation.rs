//! How much memory and time a call takes at most: this test program's allocator counts.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::{Duration, Instant};

/// Counts what this thread has allocated; opening a file is the work of one thread.
struct Counting;

thread_local! {
    static NOW: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

#[expect(unsafe_code)]
// SAFETY: every call goes on to the system's allocator unchanged; the counters allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as promised by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as promised by the caller.
        unsafe { System.dealloc(pointer, layout) }
    }
}

fn count(change: isize) {
    let now = NOW.get().saturating_add_signed(change);
    NOW.set(now);
    PEAK.set(PEAK.get().max(now));
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The result of `open`, and what it took at most.
pub(crate) fn watched<T>(open: impl FnOnce() -> T) -> (T, usize, Duration) {
    let before = NOW.get();
    PEAK.set(before);
    let start = Instant::now();
    let result = open();
    (result, PEAK.get() - before, start.elapsed())
}
