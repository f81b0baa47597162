//! `import`: a model from elsewhere as an artifact.
//!
//! A GGUF or llama2.c file is expanded to f32 (or rounded once to 16 bits) under Hugging Face's names; a
//! Hugging Face directory is taken over byte for byte. One tensor, or one block of a file, is held at a time.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tributary_data::Tokenizer;
use tributary_model::{Family, ModelError, check_tensors, load_config};
use tributary_pipeline::{
    DIRECTORY_KIND, Estimate, FILE_KIND, InputDeclaration, InputRef, JobContext, JobError, MODEL_KIND,
    Outcome, OutputDeclaration, PlanContext, Problem, ResolvedInput, TypedJob,
};
use tributary_store::{
    Artifact, Lineage, ManifestDraft, OutputEntry, Producer, Publication, Store, StoreError,
};
use tributary_tensorfile::{
    Checkpoint, DType, Directory, Foreign, LocalDirectory, ModelLayout, TensorFileError, TensorSpec,
    from_f32, to_f32,
};

use crate::blame::Classed;
use crate::trained_on;

pub use tributary_tensorfile::DEFAULT_SHARD_BYTES;

/// Version of this job's behaviour; part of what identifies its artifacts.
const VERSION: u32 = 1;

/// How a model is imported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImportSettings {
    /// "float32", "bfloat16" or "float16"; none keeps a directory's types and expands a file's to f32.
    pub dtype: Option<String>,
    /// Largest shard in bytes.
    pub shard_bytes: u64,
}

impl Default for ImportSettings {
    fn default() -> Self {
        Self {
            dtype: None,
            shard_bytes: DEFAULT_SHARD_BYTES,
        }
    }
}

/// How far an import has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImportProgress {
    /// Bytes written.
    pub bytes: u64,
    /// Bytes to write.
    pub total: u64,
}

/// Outcome of an import.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The artifact.
    pub artifact: Artifact,
    /// Whether it was there already.
    pub cached: bool,
}

/// Why an import failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The source is missing, malformed or not supported.
    #[error(transparent)]
    Source(#[from] TensorFileError),
    /// The artifact could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something else is where the artifact should go.
    #[error("{at} already holds another artifact ({digest}); choose another place, or remove that one first")]
    Occupied {
        /// The place.
        at: String,
        /// Digest of the manifest there.
        digest: String,
    },
    /// A directory is no model that could be used.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Its tokenizer cannot be used.
    #[error(transparent)]
    Tokenizer(#[from] tributary_data::Error),
    /// A setting cannot work.
    #[error("{0}")]
    Settings(String),
}

/// Imports `source` into an artifact at the root of `out`. An equal import that is there already is success.
///
/// # Errors
/// [`ImportError`]; nothing is visible at `out` then.
pub fn import(
    source: &Path,
    out: &Store,
    settings: &ImportSettings,
    progress: &dyn Fn(ImportProgress),
) -> Result<Imported, ImportError> {
    let dtype = settings.dtype.as_deref().map(parse_dtype).transpose()?;
    if settings.shard_bytes == 0 {
        return Err(ImportError::Settings("shards of 0 bytes hold nothing".to_owned()));
    }
    let model = Model::open(source, None)?;
    let draft = model.draft(source, settings, dtype)?;
    if let Some(artifact) = Artifact::try_open(out)? {
        let manifest = artifact.manifest();
        if manifest.inputs == draft.inputs
            && manifest.settings == draft.settings
            && manifest.producer == draft.producer
        {
            return Ok(Imported {
                artifact,
                cached: true,
            });
        }
        return Err(ImportError::Occupied {
            at: out.url(),
            digest: manifest.digest(),
        });
    }
    let publication = Publication::begin(out);
    write(&model, dtype, settings.shard_bytes, &publication, progress)?;
    Ok(Imported {
        artifact: publication.commit(draft)?,
        cached: false,
    })
}

/// Writes everything of a model but the manifest.
fn write(
    model: &Model,
    dtype: Option<DType>,
    shard_bytes: u64,
    publication: &Publication,
    progress: &dyn Fn(ImportProgress),
) -> Result<(), ImportError> {
    let layout = ModelLayout::plan(&model.specs(dtype), shard_bytes, &[])?;
    for (name, bytes) in model.files(dtype)? {
        publication.put(&name, bytes)?;
    }
    let mut position = ImportProgress {
        bytes: 0,
        total: layout.total_bytes(),
    };
    for shard in &layout.shards {
        let mut object = publication.writer(&shard.file)?;
        let fail = |source| TensorFileError::Write {
            file: publication.store().describe(&shard.file),
            source,
        };
        object.write_all(&shard.header).map_err(fail)?;
        for placed in &shard.tensors {
            model
                .write(&placed.spec, &mut object)
                .map_err(|error| match error {
                    WriteError::Source(error) => error,
                    WriteError::Sink(source) => fail(source),
                })?;
            position.bytes += placed.spec.bytes();
            progress(position);
        }
        object.finish()?;
    }
    if let Some(index) = layout.index {
        publication.put(ModelLayout::INDEX_FILE, index)?;
    }
    Ok(())
}

fn parse_dtype(name: &str) -> Result<DType, ImportError> {
    let floats = [DType::F32, DType::BF16, DType::F16];
    let names = |dtype: &DType| dtype.torch_name() == Some(name) || dtype.name().eq_ignore_ascii_case(name);
    floats.into_iter().find(|dtype| names(dtype)).ok_or_else(|| {
        ImportError::Settings(format!("dtype {name:?} is not one of float32, bfloat16, float16"))
    })
}

/// Refuses a directory that nothing could use: damaged since it was published, without tensors or a configuration, and of
/// the architectures known here one whose tensors or tokenizer do not fit.
fn check_directory(
    source: &Path,
    directory: &LocalDirectory,
    checkpoint: &Checkpoint,
) -> Result<(), ImportError> {
    let store = Store::open(&source.to_string_lossy())?;
    if let Some(artifact) = Artifact::try_open(&store)? {
        artifact.check()?;
    }
    let wrong = |reason: String| ModelError::Config {
        place: format!("{}/config.json", source.display()),
        reason,
    };
    let text = directory
        .read_small("config.json", MAX_TEXT_BYTES)?
        .ok_or_else(|| wrong("it is not there".to_owned()))?;
    let config: Map<String, Value> =
        serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
    if checkpoint.tensors().is_empty() {
        let (place, faults) = (source.display().to_string(), vec!["there is none".to_owned()]);
        return Err(ModelError::Tensors { place, faults }.into());
    }
    let family = config
        .get("model_type")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if Family::ALL.iter().any(|known| known.model_type() == family) {
        let config = load_config(directory)?;
        check_tensors(&config, checkpoint, &source.display().to_string())?;
        // A model may come without one; but not with a broken one.
        if store.head("tokenizer.json")?.is_some() {
            Tokenizer::load(&store)?;
        }
    }
    Ok(())
}

/// An opened source.
enum Model {
    Foreign(Foreign),
    Directory(LocalDirectory, Checkpoint),
}

enum WriteError {
    Source(TensorFileError),
    Sink(std::io::Error),
}

impl From<TensorFileError> for WriteError {
    fn from(error: TensorFileError) -> Self {
        Self::Source(error)
    }
}

/// Longest text file taken over from a directory, in bytes.
const MAX_TEXT_BYTES: u64 = 256 << 20;

impl Model {
    /// Opens a source; a llama2.c file with its tokenizer, or with the one that lies beside it.
    fn open(source: &Path, tokenizer: Option<&Path>) -> Result<Self, ImportError> {
        if source.is_dir() {
            let directory = LocalDirectory::new(source);
            let checkpoint = Checkpoint::open(&directory)?;
            check_directory(source, &directory, &checkpoint)?;
            return Ok(Self::Directory(directory, checkpoint));
        }
        Ok(Self::Foreign(match tokenizer {
            Some(tokenizer) => Foreign::open_with_tokenizer(source, tokenizer)?,
            None => Foreign::open(source)?,
        }))
    }

    /// Does its tokenizer come from another file?
    fn borrows_tokenizer(&self) -> bool {
        matches!(self, Self::Foreign(foreign) if foreign.format == "llama2.c")
    }

    fn specs(&self, dtype: Option<DType>) -> Vec<TensorSpec> {
        match self {
            Self::Foreign(foreign) => {
                let cast = |spec: &TensorSpec| TensorSpec {
                    dtype: dtype.unwrap_or(DType::F32),
                    ..spec.clone()
                };
                foreign.tensors.iter().map(cast).collect()
            }
            Self::Directory(_, checkpoint) => checkpoint
                .tensors()
                .iter()
                .map(|tensor| TensorSpec {
                    name: tensor.name.clone(),
                    dtype: if tensor.dtype.is_float() {
                        dtype.unwrap_or(tensor.dtype)
                    } else {
                        tensor.dtype
                    },
                    shape: tensor.shape.clone(),
                })
                .collect(),
        }
    }

    /// Everything beside the tensors.
    fn files(&self, dtype: Option<DType>) -> Result<Vec<(String, Vec<u8>)>, ImportError> {
        let named = |config: &mut Value, dtype: DType| {
            let key = if config.get("dtype").is_some() {
                "dtype"
            } else {
                "torch_dtype"
            };
            config[key] = json!(dtype.torch_name());
        };
        let pretty = |config: &Value| {
            let mut bytes = serde_json::to_vec_pretty(config).unwrap_or_default();
            bytes.push(b'\n');
            bytes
        };
        match self {
            Self::Foreign(foreign) => {
                let mut config = foreign.config.clone();
                named(&mut config, dtype.unwrap_or(DType::F32));
                let mut files = foreign.files.clone();
                files.push(("config.json".into(), pretty(&config)));
                Ok(files)
            }
            Self::Directory(directory, _) => {
                let mut files = Vec::new();
                for name in directory.list()? {
                    let text = [".json", ".txt", ".model", ".jinja", ".md"]
                        .iter()
                        .any(|ending| name.ends_with(ending));
                    if !text || name == ModelLayout::INDEX_FILE || name == tributary_store::MANIFEST {
                        continue;
                    }
                    let mut bytes = directory.read_small(&name, MAX_TEXT_BYTES)?.unwrap_or_default();
                    if let (Some(dtype), "config.json") = (dtype, name.as_str()) {
                        let mut config: Value = serde_json::from_slice(&bytes).map_err(|error| {
                            ImportError::Settings(format!("{}/config.json: {error}", directory.describe()))
                        })?;
                        named(&mut config, dtype);
                        bytes = pretty(&config);
                    }
                    files.push((name, bytes));
                }
                Ok(files)
            }
        }
    }

    fn write(&self, spec: &TensorSpec, sink: &mut dyn Write) -> Result<(), WriteError> {
        match self {
            Self::Foreign(foreign) => {
                let index = foreign
                    .tensors
                    .iter()
                    .position(|tensor| tensor.name == spec.name)
                    .unwrap_or(usize::MAX);
                let values = foreign.read_f32(index)?;
                write_values(&values, spec.dtype, sink)
            }
            Self::Directory(_, checkpoint) => {
                let Some(tensor) = checkpoint.get(&spec.name) else {
                    return Ok(());
                };
                /// Bytes moved at a time.
                const BLOCK: u64 = 16 << 20;
                let mut at = 0;
                while at < tensor.bytes {
                    let mut block = vec![0; (tensor.bytes - at).min(BLOCK) as usize];
                    checkpoint.read_range(tensor, at, &mut block)?;
                    at += block.len() as u64;
                    if tensor.dtype == spec.dtype {
                        sink.write_all(&block).map_err(WriteError::Sink)?;
                    } else {
                        let mut values = vec![0.0; block.len() / tensor.dtype.size()];
                        to_f32(tensor.dtype, &block, &mut values)?;
                        write_values(&values, spec.dtype, sink)?;
                    }
                }
                Ok(())
            }
        }
    }

    fn facts(&self, dtype: Option<DType>) -> Map<String, Value> {
        let specs = self.specs(dtype);
        let format = match self {
            Self::Foreign(foreign) => foreign.format,
            Self::Directory(..) => "Hugging Face directory",
        };
        let parameters: u64 = specs
            .iter()
            .filter(|spec| spec.dtype.is_float())
            .map(|spec| spec.elements() as u64)
            .sum();
        let facts = json!({"format": format, "parameters": parameters, "tensors": specs.len()});
        facts.as_object().cloned().unwrap_or_default()
    }

    fn draft(
        &self,
        source: &Path,
        settings: &ImportSettings,
        dtype: Option<DType>,
    ) -> Result<ManifestDraft, ImportError> {
        let digest = match self {
            Self::Foreign(_) => digest_file(source)?,
            Self::Directory(directory, _) => {
                let mut all = blake3::Hasher::new();
                for name in directory.list()? {
                    all.update(name.as_bytes());
                    all.update(digest_file(&directory.path().join(&name))?.as_bytes());
                }
                all.finalize().to_hex().to_string()
            }
        };
        let output = OutputEntry {
            kind: "model".into(),
            path: String::new(),
        };
        let file = |name: &str, digest: String| Lineage {
            name: name.into(),
            kind: "file".into(),
            digest,
        };
        let tokenizer = match self {
            Self::Foreign(foreign) if self.borrows_tokenizer() => {
                let mut all = blake3::Hasher::new();
                for (name, bytes) in &foreign.files {
                    all.update(name.as_bytes()).update(blake3::hash(bytes).as_bytes());
                }
                Some(file("tokenizer", all.finalize().to_hex().to_string()))
            }
            _ => None,
        };
        Ok(ManifestDraft {
            kind: "model".into(),
            inputs: std::iter::once(file("source", digest)).chain(tokenizer).collect(),
            settings: serde_json::to_value(settings).unwrap_or_default(),
            outputs: BTreeMap::from([("model".to_owned(), output)]),
            facts: self.facts(dtype),
            producer: Producer {
                name: "tributary".into(),
                version: env!("CARGO_PKG_VERSION").into(),
                job: "import".into(),
                job_version: VERSION,
            },
        })
    }
}

fn write_values(values: &[f32], dtype: DType, sink: &mut dyn Write) -> Result<(), WriteError> {
    /// Elements converted at a time.
    const BLOCK: usize = 1 << 20;
    let mut bytes = vec![0; values.len().min(BLOCK) * dtype.size()];
    for block in values.chunks(BLOCK) {
        let bytes = &mut bytes[..block.len() * dtype.size()];
        from_f32(dtype, block, bytes)?;
        sink.write_all(bytes).map_err(WriteError::Sink)?;
    }
    Ok(())
}

fn digest_file(path: &Path) -> Result<String, ImportError> {
    let fail = |source| TensorFileError::Read {
        file: path.display().to_string(),
        source,
    };
    let mut file = std::fs::File::open(path).map_err(fail)?;
    let mut hasher = blake3::Hasher::new();
    let mut block = vec![0; 8 << 20];
    loop {
        match file.read(&mut block).map_err(fail)? {
            0 => return Ok(hasher.finalize().to_hex().to_string()),
            count => hasher.update_rayon(&block[..count]),
        };
    }
}

/// Settings of the step `import`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportStepSettings {
    /// A .gguf file, a llama2.c .bin file or a Hugging Face directory, on this machine.
    pub source: InputRef,
    /// The tokenizer of a llama2.c file, a tok*.bin; other sources bring their own.
    #[serde(default)]
    pub tokenizer: Option<InputRef>,
    /// float32, bfloat16 or float16; a directory keeps its types and a file is expanded to float32 unless given.
    #[serde(default)]
    pub dtype: Option<String>,
    /// Largest shard in bytes.
    #[serde(default = "default_shard_bytes")]
    pub shard_bytes: u64,
}

fn default_shard_bytes() -> u64 {
    DEFAULT_SHARD_BYTES
}

/// The job kind `import`.
#[derive(Clone, Copy, Debug)]
pub struct Import;

fn local_path(input: &ResolvedInput) -> Result<PathBuf, JobError> {
    input.local_path().ok_or_else(|| {
        let message = format!(
            "{} is not on this machine; copy it here first, or name it as a model where one is read",
            input.reference
        );
        JobError::config(message)
    })
}

impl Import {
    fn open(
        settings: &ImportStepSettings,
        input: &ResolvedInput,
        tokenizer: Option<&ResolvedInput>,
    ) -> Result<(Model, Option<DType>), JobError> {
        let path = local_path(input)?;
        let tokenizer = tokenizer.map(local_path).transpose()?;
        let opened = Model::open(&path, tokenizer.as_deref())
            .and_then(|model| Ok((model, settings.dtype.as_deref().map(parse_dtype).transpose()?)));
        opened
            .map_err(|error| JobError::caused(error.class(), format!("importing {}", input.reference), error))
    }
}

impl TypedJob for Import {
    type Settings = ImportStepSettings;
    const KIND: &'static str = "import";
    const VERSION: u32 = VERSION;
    const SUMMARY: &'static str =
        "Takes over a model from a GGUF file, a llama2.c checkpoint or a Hugging Face directory.";
    const EXAMPLE: &'static str =
        "- id: base\n  job: import\n  with: {source: models/SmolLM2-135M-Instruct.Q4_1.gguf}\n";

    fn is_seeded(&self, _: &ImportStepSettings) -> bool {
        false
    }

    fn inputs(&self, settings: &ImportStepSettings) -> Vec<InputDeclaration> {
        let source = InputDeclaration::new(
            "source",
            &[FILE_KIND, DIRECTORY_KIND, MODEL_KIND],
            &settings.source,
        );
        let tokenizer = settings.tokenizer.as_ref();
        let tokenizer = tokenizer.map(|file| InputDeclaration::new("tokenizer", &[FILE_KIND], file));
        std::iter::once(source).chain(tokenizer).collect()
    }

    fn outputs(&self, _: &ImportStepSettings) -> Vec<OutputDeclaration> {
        vec![OutputDeclaration::new("model", MODEL_KIND, "")]
    }

    fn check(&self, settings: &ImportStepSettings, plan: &PlanContext<'_>) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Some(dtype) = &settings.dtype
            && let Err(error) = parse_dtype(dtype)
        {
            problems.push(Problem::new("dtype", error.to_string()));
        } else if let Some(input) = plan.input("source") {
            match Self::open(settings, input, plan.input("tokenizer")) {
                Ok((model, _)) if model.borrows_tokenizer() && settings.tokenizer.is_none() => {
                    let message = "a llama2.c file has no tokenizer of its own";
                    problems.push(
                        Problem::new("source", message)
                            .help("add `tokenizer:`, the tok*.bin that belongs to it"),
                    );
                }
                Ok(_) => {}
                Err(error) => problems.push(Problem::new("source", error.describe())),
            }
        }
        if settings.shard_bytes == 0 {
            problems.push(Problem::new("shard_bytes", "must not be 0"));
        }
        problems
    }

    fn estimate(&self, settings: &ImportStepSettings, plan: &PlanContext<'_>) -> Option<Estimate> {
        let (model, dtype) = Self::open(settings, plan.input("source")?, plan.input("tokenizer")).ok()?;
        let bytes = model.specs(dtype).iter().map(TensorSpec::bytes).sum();
        Some(Estimate {
            bytes_written: Some(bytes),
            ..Estimate::default()
        })
    }

    fn run(&self, settings: &ImportStepSettings, context: &mut JobContext) -> Result<Outcome, JobError> {
        let (model, dtype) = Self::open(
            settings,
            context.input("source")?,
            context.input("tokenizer").ok(),
        )?;
        let total = model.specs(dtype).iter().map(TensorSpec::bytes).sum();
        context.progress.begin("importing", Some(total), "bytes");
        let before = std::cell::Cell::new(0);
        let progress = |position: ImportProgress| {
            context
                .progress
                .advance(position.bytes.saturating_sub(before.replace(position.bytes)));
        };
        write(
            &model,
            dtype,
            settings.shard_bytes,
            &context.publication,
            &progress,
        )
        .map_err(|error| JobError::caused(error.class(), format!("importing {}", settings.source), error))?;
        let outcome = Outcome {
            facts: model.facts(dtype),
            ..Outcome::default()
        };
        trained_on::tell(outcome, [context.input("source")?], &[], context)
    }
}

#[cfg(test)]
mod tests {
    use tributary_testkit::tiny_model::TinyModel;

    use super::*;

    #[test]
    fn a_directory_is_taken_over_and_found_again() {
        let folder = tempfile::tempdir().unwrap();
        TinyModel {
            shard_bytes: 40_000,
            ..TinyModel::default()
        }
        .write(&folder.path().join("in"), 1)
        .unwrap();
        let out = Store::open(folder.path().join("out").to_str().unwrap()).unwrap();
        let settings = ImportSettings::default();
        let source = folder.path().join("in");
        let first = import(&source, &out, &settings, &|_| {}).unwrap();
        assert!(!first.cached);
        let before = Checkpoint::open(&LocalDirectory::new(&source)).unwrap();
        let after = Checkpoint::open(&out.directory()).unwrap();
        for tensor in before.tensors() {
            assert_eq!(
                before.read(tensor).unwrap(),
                after.read(after.get(&tensor.name).unwrap()).unwrap()
            );
        }
        assert!(import(&source, &out, &settings, &|_| {}).unwrap().cached);
        let half = ImportSettings {
            dtype: Some("bfloat16".into()),
            ..settings
        };
        assert!(matches!(
            import(&source, &out, &half, &|_| {}),
            Err(ImportError::Occupied { .. })
        ));
        let out = Store::open("memory:///jobs-import/half").unwrap();
        import(&source, &out, &half, &|_| {}).unwrap();
        let halved = Checkpoint::open(&out.directory()).unwrap();
        assert!(halved.tensors().iter().all(|tensor| tensor.dtype == DType::BF16));
        let config: Value = serde_json::from_slice(&out.get("config.json").unwrap()).unwrap();
        assert_eq!(config["torch_dtype"], "bfloat16");
    }

    #[test]
    fn what_cannot_be_imported_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let out = Store::open("memory:///jobs-import/bad").unwrap();
        let fail = |source: &Path, settings: &ImportSettings| {
            import(source, &out, settings, &|_| {}).unwrap_err().to_string()
        };
        let settings = ImportSettings::default();
        assert!(fail(&folder.path().join("none.gguf"), &settings).contains("none.gguf"));
        assert!(fail(folder.path(), &settings).contains("holds neither model.safetensors"));
        std::fs::write(folder.path().join("x.txt"), "text").unwrap();
        assert!(fail(&folder.path().join("x.txt"), &settings).contains("neither GGUF"));
        let wrong = ImportSettings {
            dtype: Some("int4".into()),
            ..settings
        };
        assert!(fail(folder.path(), &wrong).contains("float32, bfloat16, float16"));
    }

    #[test]
    fn a_directory_that_nothing_could_use_is_refused() {
        type Damage = fn(&Path);
        let damages: [(&str, Damage, &str); 5] = [
            (
                "no configuration",
                |model| std::fs::remove_file(model.join("config.json")).unwrap(),
                "config.json: it is not there",
            ),
            (
                "broken configuration",
                |model| std::fs::write(model.join("config.json"), "{").unwrap(),
                "config.json: EOF",
            ),
            (
                "other sizes",
                |model| {
                    let text = std::fs::read_to_string(model.join("config.json")).unwrap();
                    let mut config: Value = serde_json::from_str(&text).unwrap();
                    config["num_hidden_layers"] = json!(7);
                    std::fs::write(model.join("config.json"), config.to_string()).unwrap();
                },
                "do not fit its config.json",
            ),
            (
                "broken tokenizer",
                |model| std::fs::write(model.join("tokenizer.json"), "{}").unwrap(),
                "tokenizer.json",
            ),
            (
                "damaged artifact",
                |model| {
                    let store = Store::open(model.to_str().unwrap()).unwrap();
                    let publication = Publication::begin(&store);
                    publication.put("notes.txt", "as published").unwrap();
                    publication.commit(ManifestDraft::default()).unwrap();
                    std::fs::write(model.join("notes.txt"), "as corrupted").unwrap();
                },
                "notes.txt: bytes 0..12 changed",
            ),
        ];
        for (what, damage, words) in damages {
            let folder = tempfile::tempdir().unwrap();
            let model = folder.path().join("model");
            TinyModel::default().write(&model, 1).unwrap();
            damage(&model);
            let out = Store::open(folder.path().join("out").to_str().unwrap()).unwrap();
            let error = import(&model, &out, &ImportSettings::default(), &|_| {}).unwrap_err();
            assert!(error.to_string().contains(words), "{what}: {error}");
            assert_eq!(error.class().exit_code(), 65, "{what}");
            assert_eq!(out.list("").unwrap(), Vec::new(), "{what}");
        }
    }
}
