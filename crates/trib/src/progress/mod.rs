//! A run as it goes on, for three kinds of readers: a terminal ([`LiveProgress`]), a log ([`PlainProgress`]), a
//! program ([`JsonProgress`]).
//!
//! Stands between [`tributary_pipeline::run`], which says what happens, and the streams. Invariants: nothing here
//! stops a run, whoever has stopped listening; a log has one line for each start, end, failure and message, and one a minute
//! for each step that goes on.

mod json;
mod live;
mod pace;
mod plain;
mod sentence;
mod work;

pub(crate) use json::JsonProgress;
pub(crate) use live::LiveProgress;
pub(crate) use plain::PlainProgress;
pub(crate) use sentence::ending;

use tributary_pipeline::Observer;

/// Hears a run, and can be told more than events.
pub(crate) trait Progress: Observer {
    /// Says a sentence that is no event of the run.
    fn say(&self, sentence: &str);
}
