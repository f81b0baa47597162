//! The job kinds a program knows.
//!
//! The crate `jobs` fills one; the planner looks kinds up in it; `trib jobs` and `trib schema` print it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::job::{Job, Typed, TypedJob};

/// Job kinds by name.
#[derive(Clone, Default)]
pub struct Registry {
    jobs: BTreeMap<&'static str, Arc<dyn Job>>,
}

impl Registry {
    /// No kinds yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a kind; one of the same name is replaced.
    #[must_use]
    pub fn with<T: TypedJob>(mut self, job: T) -> Self {
        self.jobs.insert(T::KIND, Arc::new(Typed(job)));
        self
    }

    /// The job of a kind.
    pub fn get(&self, kind: &str) -> Option<&Arc<dyn Job>> {
        self.jobs.get(kind)
    }

    /// All jobs, sorted by kind.
    pub fn jobs(&self) -> impl Iterator<Item = &Arc<dyn Job>> {
        self.jobs.values()
    }

    /// All kinds, sorted.
    pub fn kinds(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.jobs.keys().copied()
    }
}
