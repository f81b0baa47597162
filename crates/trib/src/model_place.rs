//! Models that verbs read: whoever names an artifact gets it checked first.

use tributary_store::{Artifact, Store};

use crate::exit::Failure;

/// Opens the place of a model. An artifact there is what was published, or the verb ends here: every byte is read of one on
/// this machine, names and sizes are compared of one elsewhere.
pub(crate) fn open_model(address: &str) -> Result<Store, Failure> {
    let store = Store::open(address)?;
    if let Some(artifact) = Artifact::try_open(&store)? {
        artifact.check()?;
    }
    Ok(store)
}
