//! What is left of a model after layers are gone: as it is, healed, or with small networks in their place; and the matrices that
//! this changes as an adapter in PEFT's form, so that the merge engine writes them like any other.

use std::io::Write;

use serde_json::{Value, json};
use tributary_merge::{Adapter, Source};
use tributary_model::{Decoder, Part};
use tributary_pipeline::{JobContext, JobError, JobErrorKind};
use tributary_prune::{Text, heal, replace};
use tributary_tensorfile::{DType, ModelLayout, TensorSpec, from_f32};

use super::settings::{ChosenPart, PruneSettings};
use crate::blame::Blame;

/// Folder in the step's checkpoints.
const FOLDER: &str = "mending";
/// Elements written at a time.
const BLOCK: usize = 1 << 20;

/// How a model is mended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mending {
    Not,
    Heal,
    /// By networks of so many units.
    Replace(usize),
}

impl Mending {
    pub(super) fn of(settings: &PruneSettings) -> Self {
        match &settings.replace {
            Some(replace) => Self::Replace(replace.units as usize),
            None if settings.heal => Self::Heal,
            None => Self::Not,
        }
    }

    /// What tables call the result.
    pub(super) fn name(self) -> Option<&'static str> {
        match self {
            Self::Not => None,
            Self::Heal => Some("healed"),
            Self::Replace(_) => Some("replaced"),
        }
    }

    /// What of the removed layers is gone in the result.
    pub(super) fn removed(self, part: ChosenPart) -> ChosenPart {
        match self {
            Self::Not | Self::Heal => part,
            Self::Replace(_) => ChosenPart::Attention,
        }
    }

    /// The model without this part of these layers, mended.
    pub(super) fn apply(
        self,
        whole: &Decoder,
        part: Part,
        removed: &[usize],
        text: Text<'_>,
        progress: &mut dyn FnMut(&str, u64, u64) -> bool,
    ) -> Result<Mended, JobError> {
        match self {
            Self::Not => Ok(Mended {
                decoder: whole.without(part, removed),
                matrices: Vec::new(),
                facts: Vec::new(),
                in_vain: Vec::new(),
            }),
            Self::Heal => {
                let healed = heal(whole, part, removed, text, &mut |done, all| {
                    progress("healing", done, all)
                });
                let (decoder, healed) = healed.blame("healing")?;
                let fact = |of: &tributary_prune::Healed| {
                    json!({
                        "layer": of.layer, "matrix": of.name, "ridge": of.ridge, "missing": of.missing,
                    })
                };
                let was_healed = |layer: &usize| match part {
                    // The layer before a stretch stands in for it.
                    Part::Layer => healed.iter().any(|of| {
                        of.layer < *layer && (of.layer + 1..*layer).all(|between| removed.contains(&between))
                    }),
                    _ => healed.iter().any(|of| of.layer == *layer),
                };
                Ok(Mended {
                    decoder,
                    in_vain: removed
                        .iter()
                        .copied()
                        .filter(|layer| !was_healed(layer))
                        .collect(),
                    facts: healed.iter().map(fact).collect(),
                    matrices: healed
                        .into_iter()
                        .map(|of| Matrix::new(of.layer, of.name, of.values))
                        .collect(),
                })
            }
            Self::Replace(units) => {
                let replaced = replace(whole, removed, units, text, &mut |done, all| {
                    progress("replacing layers", done, all)
                });
                let (decoder, replaced) = replaced.blame("replacing layers")?;
                let fact = |of: &tributary_prune::Replaced| json!({"layer": of.layer, "units": units, "ridge": of.ridge, "missing": of.missing});
                let in_vain = replaced.iter().filter(|of| of.ridge.is_none());
                Ok(Mended {
                    decoder,
                    in_vain: in_vain.map(|of| of.layer).collect(),
                    facts: replaced.iter().map(fact).collect(),
                    matrices: replaced
                        .into_iter()
                        .flat_map(|of| {
                            [
                                Matrix::new(of.layer, "mlp.gate_proj", of.gate),
                                Matrix::new(of.layer, "mlp.up_proj", of.up),
                                Matrix::new(of.layer, "mlp.down_proj", of.down),
                            ]
                        })
                        .collect(),
                })
            }
        }
    }
}

/// A model without some layers.
pub(super) struct Mended {
    pub(super) decoder: Decoder,
    /// Those that are not the whole model's.
    pub(super) matrices: Vec<Matrix>,
    /// Of each layer that was mended what is to be recorded.
    pub(super) facts: Vec<Value>,
    /// Layers that could not be.
    pub(super) in_vain: Vec<usize>,
}

/// A matrix of the whole model with other values.
pub(super) struct Matrix {
    name: String,
    /// Row by row.
    values: Vec<f32>,
}

impl Matrix {
    fn new(layer: usize, name: &str, values: Vec<f32>) -> Self {
        Self {
            name: format!("base_model.model.model.layers.{layer}.{name}.weight"),
            values,
        }
    }

    /// Of a model of this width: only the matrices back into the residual stream have so many rows.
    fn shape(&self, width: usize) -> Vec<usize> {
        let other = self.values.len() / width.max(1);
        match self.name.contains("down_proj") || self.name.contains("o_proj") {
            true => vec![width, other],
            false => vec![other, width],
        }
    }
}

/// `source` with these matrices in place of its own, called `reference`.
pub(super) fn in_place(
    source: &Source,
    reference: &str,
    matrices: &[Matrix],
    width: usize,
    context: &JobContext,
) -> Result<Source, JobError> {
    let spec = |matrix: &Matrix| TensorSpec {
        name: matrix.name.clone(),
        dtype: DType::F32,
        shape: matrix.shape(width),
    };
    let specs: Vec<TensorSpec> = matrices.iter().map(spec).collect();
    let layout = ModelLayout::plan(&specs, u64::MAX, &[]).blame("laying out mended matrices")?;
    let configuration = json!({"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": []});
    let folder = context.checkpoints.child(FOLDER)?;
    folder.put("adapter_config.json", configuration.to_string().into_bytes())?;
    let mut file = folder.writer("adapter_model.safetensors")?;
    let fail = |error: std::io::Error| JobError::caused(JobErrorKind::Io, "keeping mended matrices", error);
    for shard in &layout.shards {
        file.write_all(&shard.header).map_err(fail)?;
    }
    let mut bytes = Vec::new();
    for block in matrices.iter().flat_map(|matrix| matrix.values.chunks(BLOCK)) {
        bytes.resize(block.len() * DType::F32.size(), 0);
        from_f32(DType::F32, block, &mut bytes).blame("writing mended matrices")?;
        file.write_all(&bytes).map_err(fail)?;
    }
    file.finish()?;
    let adapter = Adapter::open("mending", &folder).blame("opening mended matrices")?;
    source
        .with_adapter(reference, &adapter)
        .blame("putting mended matrices in place")
}
