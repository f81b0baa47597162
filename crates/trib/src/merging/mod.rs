//! What a merge on the command line needs beside its plan: models opened, named results made, progress shown.

mod intermediates;
mod models;
mod publish;

pub(crate) use intermediates::Intermediates;
pub(crate) use models::{located, open};
pub(crate) use publish::{Interrupt, check_disk, publish};
