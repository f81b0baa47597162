//! What a page is made of besides the run's records: the manifests and figures of its artifacts.
//!
//! Reads the store, and nothing else does. What cannot be read is noted and left out: a page of a run with a damaged
//! artifact is still a page.

use tributary_pipeline::{FIGURES, Figure, RunHistory};
use tributary_store::{Artifact, Manifest, Store};

/// What one step left behind.
#[derive(Debug, Default)]
pub(crate) struct Material {
    /// The manifest of its artifact, if there is one.
    pub(crate) manifest: Option<Manifest>,
    /// What it wants shown.
    pub(crate) figures: Vec<Figure>,
    /// Why something of this is missing.
    pub(crate) fault: Option<String>,
}

/// The material of every step, in the order of [`RunHistory::steps`].
pub(crate) fn gather(history: &RunHistory, store: &Store) -> Vec<Material> {
    history
        .steps
        .iter()
        .map(|record| match history.artifact(store, &record.step) {
            Ok(Some(artifact)) => of_artifact(&artifact),
            Ok(None) if record.digest.is_some() => Material {
                fault: Some("its artifact is no longer in the store".to_owned()),
                ..Material::default()
            },
            Ok(None) => Material::default(),
            Err(error) => Material {
                fault: Some(error.to_string()),
                ..Material::default()
            },
        })
        .collect()
}

fn of_artifact(artifact: &Artifact) -> Material {
    let manifest = artifact.manifest().clone();
    let mut material = Material::default();
    if manifest.object(FIGURES).is_some() {
        let bytes = artifact.read(FIGURES).map_err(|error| error.to_string());
        let figures = bytes.and_then(|bytes| Figure::from_json(&bytes).map_err(|error| error.to_string()));
        match figures {
            Ok(figures) => material.figures = figures,
            Err(error) => material.fault = Some(format!("its figures cannot be read: {error}")),
        }
    }
    material.manifest = Some(manifest);
    material
}
