//! `adapter_model.safetensors` of an extracted adapter.

use std::collections::BTreeMap;
use std::io::Write;

use tributary_store::Publication;
use tributary_tensorfile::{DType, ModelLayout, TensorFileError, TensorInfo, TensorSpec, from_f32};

use super::tensor::{Factors, read};
use crate::error::{MergeError, Result};
use crate::lora::adapter::WEIGHTS_FILE;
use crate::lora::names::PREFIX;
use crate::source::Source;

/// The tensors of an adapter, by name.
#[derive(Default)]
pub(super) struct Weights<'a> {
    parts: BTreeMap<String, (DType, Vec<usize>, Part<'a>)>,
}

/// Where the bytes of a tensor come from.
enum Part<'a> {
    /// These numbers.
    Rows(&'a [f32]),
    /// The transpose of a matrix with rows of so many numbers.
    Columns(&'a [f32], usize),
    /// A tensor of the model.
    Stored(TensorInfo),
}

impl<'a> Weights<'a> {
    /// Adds the factors of a module.
    pub(super) fn add_factors(&mut self, module: &str, is_embedding: bool, factors: &'a Factors) {
        let rank = factors.rank;
        let (rows, columns) = (factors.b.len() / rank, factors.a.len() / rank);
        // The weight of an embedding is (B·A)ᵀ: what was on the left is A.
        let (a, b) = match is_embedding {
            false => (
                ("lora_A.weight", vec![rank, columns], Part::Rows(&factors.a)),
                ("lora_B.weight", vec![rows, rank], Part::Rows(&factors.b)),
            ),
            true => (
                (
                    "lora_embedding_A",
                    vec![rank, rows],
                    Part::Columns(&factors.b, rank),
                ),
                (
                    "lora_embedding_B",
                    vec![columns, rank],
                    Part::Columns(&factors.a, columns),
                ),
            ),
        };
        for (ending, shape, part) in [a, b] {
            self.parts
                .insert(format!("{PREFIX}{module}.{ending}"), (DType::F32, shape, part));
        }
    }

    /// Adds a tensor as the model has it.
    pub(super) fn add_stored(&mut self, info: TensorInfo) {
        let name = format!("{PREFIX}{}", info.name);
        self.parts
            .insert(name, (info.dtype, info.shape.clone(), Part::Stored(info)));
    }

    /// Writes the file; gives the number of elements.
    pub(super) fn write(&self, publication: &Publication, model: &Source) -> Result<u64> {
        let specs: Vec<TensorSpec> = self
            .parts
            .iter()
            .map(|(name, (dtype, shape, _))| TensorSpec {
                name: name.clone(),
                dtype: *dtype,
                shape: shape.clone(),
            })
            .collect();
        let layout = ModelLayout::plan(&specs, u64::MAX, &[]).map_err(internal)?;
        let mut file = publication.writer(WEIGHTS_FILE)?;
        let mut write = |bytes: &[u8]| {
            file.write_all(bytes).map_err(|source| MergeError::Write {
                path: WEIGHTS_FILE.to_string(),
                source,
            })
        };
        for shard in &layout.shards {
            write(&shard.header)?;
        }
        for (_, _, part) in self.parts.values() {
            write(&bytes(part, model)?)?;
        }
        file.finish()?;
        Ok(specs.iter().map(|spec| spec.elements() as u64).sum())
    }
}

fn bytes(part: &Part<'_>, model: &Source) -> Result<Vec<u8>> {
    let turned;
    let values = match part {
        Part::Stored(info) => return read(model, info),
        Part::Rows(values) => *values,
        Part::Columns(values, columns) => {
            turned = transposed(values, *columns);
            &turned
        }
    };
    let mut bytes = vec![0; values.len() * DType::F32.size()];
    from_f32(DType::F32, values, &mut bytes).map_err(internal)?;
    Ok(bytes)
}

fn transposed(values: &[f32], columns: usize) -> Vec<f32> {
    let rows = values.len() / columns.max(1);
    let element = |index: usize| values[index % rows * columns + index / rows];
    (0..values.len()).map(element).collect()
}

fn internal(error: TensorFileError) -> MergeError {
    MergeError::Internal(error.to_string())
}
