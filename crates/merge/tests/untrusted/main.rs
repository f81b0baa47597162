//! What merging reads and did not write: model directories, manifests, documents. Whatever is in them, it ends with a
//! model, or with an error that says what is wrong, soon and in little memory.
//!
//! [`files`] and [`documents`] are inputs made by hand, [`fuzz`] makes them by changing good ones.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod changed;
mod document_target;
mod documents;
mod files;
mod fuzz;
mod place;
mod targets;

#[global_allocator]
static ALLOCATOR: tributary_testkit::allocation::Counting = tributary_testkit::allocation::Counting;
