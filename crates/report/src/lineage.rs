//! Where every artifact comes from: its digest, and the digests of what it was made of.

use std::collections::BTreeMap;

use serde::Serialize;
use tributary_pipeline::{ByteSize, RunHistory};

use crate::material::Material;

/// One artifact.
#[derive(Debug, Serialize)]
pub(crate) struct Descent {
    step: String,
    kind: String,
    path: String,
    digest: String,
    size: String,
    parents: Vec<Parent>,
}

/// One thing an artifact was made of.
#[derive(Debug, Serialize)]
struct Parent {
    /// The step that made it, if one of this run.
    step: Option<String>,
    name: String,
    digest: String,
    title: String,
}

/// Digits of a digest that tell artifacts apart on a page.
pub(crate) fn short(digest: &str) -> String {
    digest.chars().take(12).collect()
}

/// The artifacts of a run, in execution order.
pub(crate) fn trace(history: &RunHistory, materials: &[Material]) -> Vec<Descent> {
    let makers: BTreeMap<&str, &str> = history
        .steps
        .iter()
        .filter_map(|record| Some((record.digest.as_deref()?, record.step.as_str())))
        .collect();
    let artifact = |(record, material): (&tributary_pipeline::StepRecord, &Material)| {
        let manifest = material.manifest.as_ref()?;
        let outline = history.run.steps.iter().find(|outline| outline.id == record.step);
        let reference = |field: &str| {
            let inputs = outline
                .map(|outline| outline.inputs.as_slice())
                .unwrap_or_default();
            inputs
                .iter()
                .find(|input| input.field == field)
                .map(|input| input.reference.clone())
        };
        let parents = manifest.inputs.iter().map(|input| {
            let step = makers.get(input.digest.as_str()).map(|step| (*step).to_owned());
            Parent {
                name: step
                    .clone()
                    .or_else(|| reference(&input.name))
                    .unwrap_or_else(|| input.name.clone()),
                title: format!("{} ({}), digest {}", input.name, input.kind, input.digest),
                digest: short(&input.digest),
                step,
            }
        });
        let mut parents: Vec<Parent> = parents.collect();
        let mut seen = std::collections::BTreeSet::new();
        parents.retain(|parent| seen.insert((parent.name.clone(), parent.digest.clone())));
        Some(Descent {
            step: record.step.clone(),
            kind: manifest.kind.clone(),
            path: record.artifact.clone().unwrap_or_default(),
            digest: record.digest.clone().unwrap_or_default(),
            size: ByteSize(manifest.total_bytes()).to_string(),
            parents,
        })
    };
    history.steps.iter().zip(materials).filter_map(artifact).collect()
}
