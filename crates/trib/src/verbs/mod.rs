//! One file a verb: its options and what it does.

pub(crate) mod evaluate;
pub(crate) mod generate;
pub(crate) mod import;
pub(crate) mod inspect;
pub(crate) mod report;
pub(crate) mod verify;
