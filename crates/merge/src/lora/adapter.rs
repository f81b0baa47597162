//! An opened adapter, and which tensors of a base it changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Map;
use tributary_store::{Artifact, Lineage, Store};
use tributary_tensorfile::{Checkpoint, Directory, TensorInfo};

use super::configuration::Configuration;
use super::fault::AdapterFault;
use super::names::{Part, is_embedding, is_head, parse};
use crate::error::{MergeError, Result};
use crate::source::{Identity, header_digest, is_transient, read_small, refusal, version};

pub(crate) const CONFIGURATION_FILE: &str = "adapter_config.json";
pub(crate) const WEIGHTS_FILE: &str = "adapter_model.safetensors";
const PICKLE_FILE: &str = "adapter_model.bin";
/// Kind of an adapter that is known by its headers only.
const DIRECTORY: &str = "directory";

/// An opened adapter; cheap to clone.
#[derive(Clone)]
pub struct Adapter {
    inner: Arc<Inner>,
}

struct Inner {
    reference: String,
    configuration: Configuration,
    checkpoint: Checkpoint,
    identity: Identity,
    is_local: bool,
    version: String,
}

/// What becomes of one tensor of the base.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    /// The adapter's tensor that stands in place of the base's.
    pub(crate) full: Option<TensorInfo>,
    /// What is added to it.
    pub(crate) update: Option<Update>,
}

/// s·(B·A) of one module.
#[derive(Clone, Debug)]
pub(crate) struct Update {
    pub(crate) a: TensorInfo,
    pub(crate) b: TensorInfo,
    /// The weight is (B·A)ᵀ: rows are tokens.
    pub(crate) is_embedding: bool,
    pub(crate) scale: f64,
}

/// The factors of a module, as far as they were found.
#[derive(Default)]
struct Factors {
    a: Option<TensorInfo>,
    b: Option<TensorInfo>,
    is_embedding: bool,
}

impl Adapter {
    /// Opens the adapter in `store`: `adapter_config.json` and the headers of `adapter_model.safetensors`, as PEFT
    /// saves them; `reference` is what messages call it.
    ///
    /// # Errors
    /// [`MergeError::Adapter`] if it is none that is understood; [`MergeError::Model`] if it cannot be read.
    pub fn open(reference: &str, store: &Store) -> Result<Adapter> {
        let fault = |fault| MergeError::Adapter {
            adapter: tributary_store::mask(reference),
            fault,
        };
        let absent = || fault(AdapterFault::Absent { place: store.url() });
        let refuse = |error| refusal(reference, &error, is_transient(&error));
        if store.local_path().is_some_and(|path| !path.exists()) {
            return Err(absent());
        }
        let artifact =
            Artifact::try_open(store).map_err(|error| refusal(reference, &error, error.is_transient()))?;
        let directory = store.directory();
        let text = read_small(&directory, CONFIGURATION_FILE).map_err(refuse)?;
        let text = text.ok_or_else(absent)?;
        let configuration = Configuration::parse(&text).map_err(fault)?;
        let files = directory.list().map_err(refuse)?;
        let has = |name: &str| files.iter().any(|file| file == name);
        if !has(WEIGHTS_FILE) {
            let no_weights = match has(PICKLE_FILE) {
                true => AdapterFault::Pickle,
                false => AdapterFault::NoWeights,
            };
            return Err(fault(no_weights));
        }
        let checkpoint = Checkpoint::open_file(&directory, WEIGHTS_FILE).map_err(refuse)?;
        let identity = match artifact {
            Some(artifact) => Identity {
                kind: artifact.manifest().kind.clone(),
                digest: artifact.manifest().digest(),
                facts: artifact.manifest().facts.clone(),
            },
            None => Identity {
                kind: DIRECTORY.to_string(),
                digest: header_digest(&checkpoint, &text),
                facts: Map::new(),
            },
        };
        let inner = Inner {
            reference: reference.to_string(),
            configuration,
            version: version(reference, store, &checkpoint)?,
            checkpoint,
            identity,
            is_local: store.local_path().is_some(),
        };
        Ok(Adapter {
            inner: Arc::new(inner),
        })
    }

    /// What messages call it.
    pub fn reference(&self) -> &str {
        &self.inner.reference
    }

    /// As of a [`crate::Source`].
    pub(crate) fn version(&self) -> &str {
        &self.inner.version
    }

    /// Digest that names it: as of a [`crate::Source`].
    pub fn digest(&self) -> &str {
        &self.inner.identity.digest
    }

    /// Its entry in the lineage of what is made from it.
    pub fn lineage(&self, name: &str) -> Lineage {
        Lineage {
            name: name.to_string(),
            kind: self.inner.identity.kind.clone(),
            digest: self.inner.identity.digest.clone(),
        }
    }

    pub(crate) fn is_known_by_content(&self) -> bool {
        self.inner.identity.kind != DIRECTORY
    }

    pub(crate) fn is_local(&self) -> bool {
        self.inner.is_local
    }

    pub(crate) fn checkpoint(&self) -> &Checkpoint {
        &self.inner.checkpoint
    }

    /// The changes to a base by the names of its tensors, all checked.
    pub(crate) fn changes(&self, base: &Checkpoint, is_tied: bool) -> Result<BTreeMap<String, Change>> {
        self.try_changes(base, is_tied)
            .map_err(|fault| MergeError::Adapter {
                adapter: tributary_store::mask(self.reference()),
                fault,
            })
    }

    fn try_changes(
        &self,
        base: &Checkpoint,
        is_tied: bool,
    ) -> std::result::Result<BTreeMap<String, Change>, AdapterFault> {
        let mut modules: BTreeMap<&str, Factors> = BTreeMap::new();
        let mut changes: BTreeMap<String, Change> = BTreeMap::new();
        for tensor in self.inner.checkpoint.tensors() {
            match parse(&tensor.name) {
                None => {
                    return Err(AdapterFault::Unknown {
                        tensor: tensor.name.clone(),
                    });
                }
                Some(Part::Factor {
                    module,
                    is_a,
                    is_embedding,
                }) => {
                    let factors = modules.entry(module).or_default();
                    factors.is_embedding = is_embedding;
                    let slot = if is_a { &mut factors.a } else { &mut factors.b };
                    *slot = Some(tensor.clone());
                }
                Some(Part::Full { target, is_base }) => {
                    // Beside an update the base's own weight may be saved, too.
                    let breaks_tie = is_tied && !is_base && self.breaks_tie(&target);
                    if breaks_tie {
                        return Err(AdapterFault::Tied {
                            tensor: tensor.name.clone(),
                        });
                    }
                    check_full(tensor, &target, base)?;
                    let change = Change {
                        full: Some(tensor.clone()),
                        update: None,
                    };
                    changes.insert(target, change);
                }
            }
        }
        for (module, factors) in modules {
            let target = format!("{module}.weight");
            let update = self.update(module, &target, factors, base, is_tied)?;
            let change = changes.entry(target).or_insert(Change {
                full: None,
                update: None,
            });
            change.update = Some(update);
        }
        Ok(changes)
    }

    /// Would replacing this tensor part head and embedding? PEFT replaces modules one by one.
    fn breaks_tie(&self, target: &str) -> bool {
        let module = target.strip_suffix(".weight").unwrap_or(target);
        is_head(module) || (is_embedding(module) && !self.inner.configuration.keeps_tie)
    }

    fn update(
        &self,
        module: &str,
        target: &str,
        factors: Factors,
        base: &Checkpoint,
        is_tied: bool,
    ) -> std::result::Result<Update, AdapterFault> {
        let is_embedding = factors.is_embedding;
        let (a, b) = match (factors.a, factors.b) {
            (Some(a), Some(b)) => (a, b),
            (a, b) => {
                let there = a.or(b).map(|tensor| tensor.name).unwrap_or_default();
                return Err(AdapterFault::Factor {
                    missing: counterpart(&there),
                    tensor: there,
                });
            }
        };
        if is_tied && is_head(module) {
            return Err(AdapterFault::Tied { tensor: a.name });
        }
        let Some(weight) = base.get(target) else {
            return Err(AdapterFault::Target {
                tensor: a.name,
                target: target.to_string(),
            });
        };
        for tensor in [&a, &b, weight] {
            if !tensor.dtype.is_float() {
                return Err(wrong_type(tensor));
            }
        }
        // A is [r, in] and B [out, r]; a weight is [out, in], but [in, out] of an embedding.
        let misfit = |tensor: &TensorInfo, other: &TensorInfo| AdapterFault::Shape {
            tensor: tensor.name.clone(),
            shape: tensor.shape.clone(),
            target: other.name.clone(),
            expected: other.shape.clone(),
        };
        let (&[rows, columns], &[rank, inner]) = (&weight.shape[..], &a.shape[..]) else {
            return Err(misfit(&a, weight));
        };
        let (outputs, inputs) = if is_embedding {
            (columns, rows)
        } else {
            (rows, columns)
        };
        if inner != inputs {
            return Err(misfit(&a, weight));
        }
        match b.shape[..] {
            [out, _] if out != outputs => return Err(misfit(&b, weight)),
            [_, of_b] if of_b != rank => return Err(misfit(&b, &a)),
            [_, _] => {}
            _ => return Err(misfit(&b, weight)),
        }
        let expected = self.inner.configuration.rank(module);
        if rank != expected {
            return Err(AdapterFault::Rank {
                tensor: a.name,
                found: rank,
                expected,
            });
        }
        Ok(Update {
            a,
            b,
            is_embedding,
            scale: self.inner.configuration.scale(module),
        })
    }
}

/// May the tensor stand in place of the base's?
fn check_full(tensor: &TensorInfo, target: &str, base: &Checkpoint) -> std::result::Result<(), AdapterFault> {
    let Some(there) = base.get(target) else {
        return Err(AdapterFault::Target {
            tensor: tensor.name.clone(),
            target: target.to_string(),
        });
    };
    if there.shape != tensor.shape {
        return Err(AdapterFault::Shape {
            tensor: tensor.name.clone(),
            shape: tensor.shape.clone(),
            target: target.to_string(),
            expected: there.shape.clone(),
        });
    }
    let are_floats = there.dtype.is_float() && tensor.dtype.is_float();
    if !are_floats && there.dtype != tensor.dtype {
        return Err(wrong_type(tensor));
    }
    Ok(())
}

fn wrong_type(tensor: &TensorInfo) -> AdapterFault {
    AdapterFault::Type {
        tensor: tensor.name.clone(),
        dtype: tensor.dtype.name(),
    }
}

/// The name of the other factor.
fn counterpart(name: &str) -> String {
    let pairs = [("lora_A", "lora_B"), ("lora_embedding_A", "lora_embedding_B")];
    for (a, b) in pairs {
        for (this, other) in [(a, b), (b, a)] {
            if name.contains(this) {
                return name.replace(this, other);
            }
        }
    }
    name.to_string()
}
