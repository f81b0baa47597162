//! Healed matrices as an adapter in PEFT's form, so that the merge engine writes them like any other.

use serde_json::json;
use tributary_merge::{Adapter, Source};
use tributary_pipeline::{JobContext, JobError};
use tributary_prune::Healed;
use tributary_tensorfile::{DType, ModelLayout, TensorSpec, from_f32};

use crate::blame::Blame;

/// Folder in the step's checkpoints.
const FOLDER: &str = "healing";

/// `source` with these matrices in place of its own, called `reference`.
pub(super) fn healed(
    source: &Source,
    reference: &str,
    matrices: &[Healed],
    width: usize,
    context: &JobContext,
) -> Result<Source, JobError> {
    let name = |healed: &Healed| {
        format!(
            "base_model.model.model.layers.{}.mlp.down_proj.weight",
            healed.layer
        )
    };
    let spec = |healed: &Healed| TensorSpec {
        name: name(healed),
        dtype: DType::F32,
        shape: vec![width, healed.down.len() / width],
    };
    let specs: Vec<TensorSpec> = matrices.iter().map(spec).collect();
    let layout = ModelLayout::plan(&specs, u64::MAX, &[]).blame("laying out healed matrices")?;
    let mut file = Vec::new();
    for shard in &layout.shards {
        file.extend_from_slice(&shard.header);
    }
    for healed in matrices {
        let start = file.len();
        file.resize(start + healed.down.len() * DType::F32.size(), 0);
        from_f32(DType::F32, &healed.down, &mut file[start..]).blame("writing healed matrices")?;
    }
    let configuration = json!({"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": []});
    let folder = context.checkpoints.child(FOLDER)?;
    folder.put("adapter_config.json", configuration.to_string().into_bytes())?;
    folder.put("adapter_model.safetensors", file)?;
    let adapter = Adapter::open("healing", &folder).blame("opening healed matrices")?;
    source
        .with_adapter(reference, &adapter)
        .blame("putting healed matrices in place")
}
