//! Models that are merged or compared: a place, or `base+adapter`.

use tributary_merge::{Adapter, MergeError, Source, split_adapter};
use tributary_store::{Artifact, Store};

/// Opens a model, or a base with an adapter in it. Artifacts are what was published: every byte is read of one on this
/// machine, names and sizes are compared of one elsewhere.
pub(crate) fn open_source(reference: &str) -> Result<Source, MergeError> {
    match split_adapter(reference) {
        (_, None) => Source::open(reference, &open_place(reference)?),
        (base, Some(adapter)) => {
            let adapter = open_adapter(adapter)?;
            Source::open(base, &open_place(base)?)?.with_adapter(reference, &adapter)
        }
    }
}

/// Opens an adapter, checked in the same way.
pub(crate) fn open_adapter(reference: &str) -> Result<Adapter, MergeError> {
    Adapter::open(reference, &open_place(reference)?)
}

fn open_place(reference: &str) -> Result<Store, MergeError> {
    let checked = Store::open(reference).and_then(|store| {
        if let Some(artifact) = Artifact::try_open(&store)? {
            artifact.check()?;
        }
        Ok(store)
    });
    checked.map_err(|error| {
        let (model, reason) = (tributary_store::mask(reference), error.to_string());
        match error.is_transient() {
            true => MergeError::Unavailable { model, reason },
            false => MergeError::Model { model, reason },
        }
    })
}
