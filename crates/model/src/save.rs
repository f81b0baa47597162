//! Saving a Hugging Face directory: tensors one at a time, so that no second copy of the model is held.

use std::io::Write;

use tributary_store::{Publication, StoreError};
use tributary_tensorfile::{DType, ModelLayout, TensorSpec, from_f32};

use crate::config::ModelConfig;
use crate::error::Result;
use crate::weights::{ParameterSpec, specs};

/// Elements converted at a time.
const BLOCK: usize = 1 << 20;

/// Writes `config.json` and the safetensors of a model of `config` into `folder` (empty, or ending in `/`) of a
/// publication. `values` gives the tensor of a spec; it is asked in the order of [`specs`], once each.
///
/// # Errors
/// What `values` returns; [`ModelError::Files`] and [`ModelError::Store`] for what cannot be written.
pub fn save(
    publication: &Publication,
    folder: &str,
    config: &ModelConfig,
    dtype: DType,
    max_shard_bytes: u64,
    values: &mut dyn FnMut(&ParameterSpec) -> Result<Vec<f32>>,
) -> Result<()> {
    let parameters = specs(config);
    let tensor = |spec: &ParameterSpec| TensorSpec {
        name: spec.name.clone(),
        dtype,
        shape: spec.shape.clone(),
    };
    let layout = ModelLayout::plan(
        &parameters.iter().map(tensor).collect::<Vec<_>>(),
        max_shard_bytes,
        &[],
    )?;
    publication.put(
        &format!("{folder}config.json"),
        config.to_json(dtype.torch_name().unwrap_or("float32")),
    )?;
    let mut parameters = parameters.iter();
    let mut bytes = Vec::new();
    for shard in &layout.shards {
        let path = format!("{folder}{}", shard.file);
        let fail = |source| StoreError::from_io("write", publication.store().describe(&path), source);
        let mut object = publication.writer(&path)?;
        object.write_all(&shard.header).map_err(fail)?;
        // The layout keeps the order of the specs.
        for spec in parameters.by_ref().take(shard.tensors.len()) {
            for block in values(spec)?.chunks(BLOCK) {
                bytes.resize(block.len() * dtype.size(), 0);
                from_f32(dtype, block, &mut bytes)?;
                object.write_all(&bytes).map_err(fail)?;
            }
        }
        object.finish()?;
    }
    if let Some(index) = layout.index {
        publication.put(&format!("{folder}{}", ModelLayout::INDEX_FILE), index)?;
    }
    Ok(())
}
