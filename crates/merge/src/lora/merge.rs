//! `trib lora merge`: a base with an adapter in it, published as a model of its own.

use std::fmt::Write;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use serde_json::{Map, Value, json};
use tributary_store::{
    Artifact, ManifestDraft, OutputEntry, PositionedWriter, Producer, Publication, RegionWriter, Store,
};
use tributary_tensorfile::{
    DEFAULT_SHARD_BYTES, ModelLayout, PlacedTensor, TensorFileError, TensorSpec, from_f32, to_f32,
};

use super::adapter::Adapter;
use crate::config::FloatType;
use crate::error::{MergeError, Result};
use crate::pieces::{blocks, for_each_piece, workers};
use crate::run::{Phase, Progress, Watch};
use crate::source::{Source, SourceTensor};
use crate::vocabulary::TOKENIZER_FILES;

/// Version of what merging an adapter does.
const VERSION: u32 = 1;
/// Elements of a block.
const BLOCK: usize = 1 << 18;
const CARD_FILE: &str = "README.md";
const CONFIGURATION_FILE: &str = "config.json";

/// How an adapter is merged.
#[derive(Clone, Debug)]
pub struct LoraMergeOptions {
    /// Type of the result's floating-point tensors; by default each keeps its own.
    pub dtype: Option<FloatType>,
    /// Threads; by default as many as there are cores.
    pub threads: Option<usize>,
    /// Largest file of tensors written, in bytes.
    pub max_shard_bytes: u64,
}

impl Default for LoraMergeOptions {
    fn default() -> Self {
        LoraMergeOptions {
            dtype: None,
            threads: None,
            max_shard_bytes: DEFAULT_SHARD_BYTES,
        }
    }
}

/// What was merged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LoraMergeReport {
    /// Elements of all floating-point tensors.
    pub parameters: u64,
    /// Tensors of the result.
    pub tensors: usize,
    /// Tensors that the adapter changes.
    pub tensors_changed: usize,
    /// Bytes of the tensor files.
    pub bytes_written: u64,
}

/// A base with an adapter, checked: what [`Self::publish`] will write.
pub struct LoraMerge {
    base: Source,
    adapter: Adapter,
    source: Source,
    options: LoraMergeOptions,
    layout: ModelLayout,
}

impl LoraMerge {
    /// Checks that the adapter fits the base and lays out the result.
    ///
    /// # Errors
    /// [`MergeError::Adapter`].
    pub fn new(base: &Source, adapter: &Adapter, options: &LoraMergeOptions) -> Result<LoraMerge> {
        let reference = format!("{}+{}", base.reference(), adapter.reference());
        let source = base.with_adapter(&reference, adapter)?;
        let specs: Vec<TensorSpec> = source
            .tensors()
            .map(|tensor| TensorSpec {
                dtype: match options.dtype {
                    Some(float) if is_weight(&tensor) => float.dtype(),
                    _ => tensor.nominal,
                },
                name: tensor.info.name,
                shape: tensor.info.shape,
            })
            .collect();
        let layout = ModelLayout::plan(&specs, options.max_shard_bytes, &[]).map_err(internal)?;
        Ok(LoraMerge {
            base: base.clone(),
            adapter: adapter.clone(),
            source,
            options: options.clone(),
            layout,
        })
    }

    /// Bytes of the tensor files that will be written.
    pub fn bytes_to_write(&self) -> u64 {
        self.layout.total_bytes()
    }

    /// Elements of the result: the unit of the progress that [`Self::publish`] tells.
    pub fn elements(&self) -> u64 {
        self.placed()
            .map(|(_, tensor)| tensor.spec.elements() as u64)
            .sum()
    }

    /// Writes and publishes the result as an artifact at the root of `out`. The very same artifact that is there already
    /// is success.
    ///
    /// # Errors
    /// [`MergeError::Occupied`] if `out` holds something else; [`MergeError::Cancelled`]; what reading and writing give.
    /// Nothing is visible as an artifact then.
    pub fn publish(&self, out: &Store, watch: &Watch<'_>) -> Result<(Artifact, LoraMergeReport)> {
        self.check_place(out)?;
        let publication = Publication::begin(out);
        self.write_tensors(&publication, watch)?;
        if let Some(index) = &self.layout.index {
            publication.put(ModelLayout::INDEX_FILE, index.clone())?;
        }
        publication.put(CONFIGURATION_FILE, self.configuration()?)?;
        for name in std::iter::once(&"generation_config.json").chain(TOKENIZER_FILES) {
            if let Some(bytes) = self.base.small_file(name)? {
                publication.put(name, bytes)?;
            }
        }
        let report = self.report();
        publication.put(CARD_FILE, self.card(&report).into_bytes())?;
        let artifact = publication.commit(self.manifest(&report));
        let artifact = artifact.map_err(|error| match error.is_conflict() {
            true => occupied(out, "another artifact"),
            false => error.into(),
        })?;
        Ok((artifact, report))
    }

    /// Refuses a place with another artifact, or with a model that is none.
    fn check_place(&self, out: &Store) -> Result<()> {
        let Some(there) = Artifact::try_open(out)? else {
            return match out.head(CONFIGURATION_FILE)? {
                Some(_) => Err(occupied(out, "a model without a manifest")),
                None => Ok(()),
            };
        };
        let (there, ours) = (there.manifest(), self.manifest(&self.report()));
        if there.producer == ours.producer && there.inputs == ours.inputs && there.settings == ours.settings {
            return Ok(());
        }
        let what = format!("another artifact ({} {})", there.producer.job, there.kind);
        Err(occupied(out, &what))
    }

    fn write_tensors(&self, publication: &Publication, watch: &Watch<'_>) -> Result<()> {
        let shards = self.layout.shards.iter().map(|shard| {
            let writer = publication.region_writer(&shard.file, shard.len)?;
            writer.write_at(0, &shard.header)?;
            Ok(writer)
        });
        let shards = shards.collect::<Result<Vec<RegionWriter>>>()?;
        let pieces: Vec<(usize, &PlacedTensor, Range<usize>)> = self
            .placed()
            .flat_map(|(shard, tensor)| {
                blocks(tensor.spec.elements(), BLOCK).map(move |range| (shard, tensor, range))
            })
            .collect();
        let (done, total) = (AtomicU64::new(0), self.elements());
        let workers = workers(self.options.threads, self.source.is_local());
        for_each_piece(pieces.len(), workers, watch.cancel, Vec::new, |values, piece| {
            let (shard, tensor, range) = &pieces[piece];
            let bytes = self.block(tensor, range.clone(), values)?;
            let offset = tensor.offset + (range.start * tensor.spec.dtype.size()) as u64;
            shards[*shard].write_at(offset, &bytes)?;
            let len = range.len() as u64;
            let done = done.fetch_add(len, Ordering::Relaxed) + len;
            (watch.progress)(Progress {
                phase: Phase::Merge,
                done,
                total,
            });
            Ok(())
        })?;
        for writer in shards {
            publication.add(writer)?;
        }
        Ok(())
    }

    /// Bytes of some elements of the result.
    fn block(&self, tensor: &PlacedTensor, range: Range<usize>, values: &mut Vec<f32>) -> Result<Vec<u8>> {
        let spec = &tensor.spec;
        let found = self.source.tensor(&spec.name);
        let info = found
            .ok_or_else(|| MergeError::Internal(format!("no tensor {}", spec.name)))?
            .info;
        let mut bytes = vec![0; range.len() * info.dtype.size()];
        let start = (range.start * info.dtype.size()) as u64;
        self.source.read(
            &tributary_store::mask(self.base.reference()),
            &info,
            start,
            &mut bytes,
        )?;
        if info.dtype == spec.dtype {
            return Ok(bytes);
        }
        values.resize(range.len(), 0.0);
        to_f32(info.dtype, &bytes, values).map_err(internal)?;
        bytes.resize(range.len() * spec.dtype.size(), 0);
        from_f32(spec.dtype, values, &mut bytes).map_err(internal)?;
        Ok(bytes)
    }

    fn placed(&self) -> impl Iterator<Item = (usize, &PlacedTensor)> {
        let shards = self.layout.shards.iter().enumerate();
        shards.flat_map(|(shard, file)| file.tensors.iter().map(move |tensor| (shard, tensor)))
    }

    /// `config.json` of the base, with the type of the result if that was asked for.
    fn configuration(&self) -> Result<Vec<u8>> {
        let mut fields = self.base.configuration().clone();
        fields.shift_remove("_name_or_path");
        if let Some(dtype) = self.options.dtype {
            let key = if fields.contains_key("dtype") {
                "dtype"
            } else {
                "torch_dtype"
            };
            fields.insert(key.to_string(), Value::from(dtype.name()));
            if fields.contains_key("torch_dtype") {
                fields.insert("torch_dtype".to_string(), Value::from(dtype.name()));
            }
        }
        let text = serde_json::to_vec_pretty(&fields);
        let mut text = text.map_err(|error| MergeError::Internal(error.to_string()))?;
        text.push(b'\n');
        Ok(text)
    }

    fn report(&self) -> LoraMergeReport {
        let weights = self.placed().filter(|(_, tensor)| tensor.spec.dtype.is_float());
        LoraMergeReport {
            parameters: weights.map(|(_, tensor)| tensor.spec.elements() as u64).sum(),
            tensors: self.placed().count(),
            tensors_changed: self.source.tensors_changed(),
            bytes_written: self.layout.total_bytes(),
        }
    }

    /// The model card; the same bytes for the same merge.
    fn card(&self, report: &LoraMergeReport) -> String {
        let mut card =
            "---\nlibrary_name: transformers\ntags:\n- merge\n- lora\n- tributary\n---\n\n".to_string();
        let (base, adapter) = (self.base.lineage("base"), self.adapter.lineage("adapter"));
        let short = |digest: &str| digest.chars().take(16).collect::<String>();
        // Writing to a string cannot fail.
        let _ = write!(
            card,
            "# {} + {}\n\nMerged with Tributary: W + s·(B·A), {} of {} tensors changed.\n\n| | model | digest |\n| --- | --- \
             | --- |\n| base | {} | `{}:{}` |\n| adapter | {} | `{}:{}` |\n",
            last_part(self.base.reference()),
            last_part(self.adapter.reference()),
            report.tensors_changed,
            report.tensors,
            last_part(self.base.reference()),
            base.kind,
            short(&base.digest),
            last_part(self.adapter.reference()),
            adapter.kind,
            short(&adapter.digest),
        );
        card
    }

    fn manifest(&self, report: &LoraMergeReport) -> ManifestDraft {
        let output = OutputEntry {
            kind: "model".to_string(),
            path: String::new(),
        };
        ManifestDraft {
            kind: "model".to_string(),
            inputs: vec![self.base.lineage("base"), self.adapter.lineage("adapter")],
            settings: json!({"dtype": self.options.dtype.map(FloatType::name)}),
            outputs: [("model".to_string(), output)].into(),
            facts: Map::from_iter([("parameters".to_string(), json!(report.parameters))]),
            producer: Producer {
                name: "tributary".to_string(),
                version: env!("CARGO_PKG_VERSION").to_string(),
                job: "lora_merge".to_string(),
                job_version: VERSION,
            },
        }
    }
}

/// Is it a tensor whose type the caller decides? Buffers such as rotary frequencies stay as they are.
fn is_weight(tensor: &SourceTensor) -> bool {
    tensor.nominal.is_float() && !tensor.info.name.ends_with("inv_freq")
}

fn last_part(reference: &str) -> String {
    let last = reference.trim_end_matches('/').rsplit('/').next();
    tributary_store::mask(last.unwrap_or(reference))
}

fn occupied(out: &Store, what: &str) -> MergeError {
    MergeError::Occupied {
        at: out.url(),
        what: what.to_string(),
    }
}

fn internal(error: TensorFileError) -> MergeError {
    MergeError::Internal(error.to_string())
}
