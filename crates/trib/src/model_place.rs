//! Models that verbs read: whoever names an artifact gets it checked first.

use std::path::Path;

use tributary_store::{Artifact, Store};

use crate::exit::Failure;

/// Opens the place of a model. An artifact there is what was published, or the verb ends here: every byte is read of one on
/// this machine, names and sizes are compared of one elsewhere.
pub(crate) fn open_model(address: &str) -> Result<Store, Failure> {
    if Path::new(address).is_file() {
        return Err(Failure::usage(format!(
            "{address} is a file, and a model is a directory: `trib import {address} OUT` makes one of a GGUF file or a llama2.c \
             checkpoint"
        )));
    }
    let store = Store::open(address)?;
    if let Some(artifact) = Artifact::try_open(&store)? {
        artifact.check()?;
    }
    Ok(store)
}
