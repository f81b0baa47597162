//! What a merge leaves behind: the record (the same bytes for the same merge, object `merge.json`) and, apart from it,
//! how this one run went.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::engine::{Made, Work};
use crate::method::{Default, Parameter, Statistics, effective_number, sum_in_any_order};
use crate::plan::{MergePlan, Part};
use crate::source::Source;

/// Name of the record's object.
pub const RECORD_FILE: &str = "merge.json";

/// The outcome of a merge, without anything that depends on the machine or the hour.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MergeRecord {
    /// The method.
    pub method: String,
    /// Its formula.
    pub formula: String,
    /// Every parameter of the merge that has one value, defaults included.
    pub parameters: BTreeMap<String, serde_json::Value>,
    /// The base model.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub base: Option<ModelRecord>,
    /// The merged models, in the order of the document.
    pub models: Vec<ModelRecord>,
    /// Where the norms of `models` come from.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub norms: Option<Norms>,
    /// Coefficients by layer or tensor, where they are not the same everywhere.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub parts: Vec<PartRecord>,
    /// cos(τₜ, τᵤ), rows and columns in the order of `models`; null where a task vector is zero.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cosines: Option<Vec<Vec<Option<f64>>>>,
    /// n_eff = (Σ|λ|)²/Σλ²: how many equally weighted models carry as much.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub effective_models: Option<f64>,
    /// Elements of all merged tensors.
    pub merged_parameters: u64,
    /// Number of merged tensors.
    pub tensors_merged: usize,
    /// Tensors copied as they are: buffers and whole numbers.
    pub tensors_copied: Vec<String>,
    /// Bytes of the tensor files.
    pub bytes_written: u64,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// Where ‖τ‖ comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Norms {
    /// The tensors were read.
    Measured,
    /// The models' manifests record it (fact `distance_squared`, written by their training).
    Recorded,
}

/// Largest relative difference between a measured and a recorded ‖τ‖² that is rounding.
const NORM_TOLERANCE: f64 = 1e-6;

/// One model in the record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelRecord {
    /// What reports call it.
    pub name: String,
    /// Kind of its artifact, or `directory`.
    pub kind: String,
    /// Digest of its manifest; of a `directory`, of headers and configuration.
    pub digest: String,
    /// λ: its factor in the result; the mean over all elements where it is not the same everywhere. For the base, what
    /// is left for it.
    pub coefficient: f64,
    /// ‖τ‖, the distance from the base, if it was measured or recorded.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub norm: Option<f64>,
    /// ‖τ‖².
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub norm_squared: Option<f64>,
}

/// Coefficients of a part of the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartRecord {
    /// A layer (`model.layers.3`) or a tensor.
    pub part: String,
    /// Its elements.
    pub elements: u64,
    /// Coefficient of the base.
    pub base: f64,
    /// Coefficient of each model.
    pub models: Vec<f64>,
}

/// How one run went; not part of the artifact.
#[derive(Clone, Copy, Debug, std::default::Default, PartialEq, Serialize)]
pub struct Execution {
    /// Threads that moved blocks.
    pub workers: usize,
    /// Elements of a block.
    pub block_elements: usize,
    /// Most bytes that block buffers took at one time.
    pub peak_buffer_bytes: u64,
    /// Bytes of tensors read.
    pub bytes_read: u64,
    /// Bytes of tensor files written.
    pub bytes_written: u64,
    /// Bytes of tensor files that were finished already, by an earlier run or another process.
    pub bytes_found: u64,
    /// Seconds of the pass that gathers statistics.
    pub seconds_statistics: f64,
    /// Seconds of the pass that combines and writes.
    pub seconds_merge: f64,
    /// Seconds until the result was durable and published, after the last block.
    pub seconds_finish: f64,
}

/// Record and run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MergeReport {
    /// What is also in the artifact.
    pub record: MergeRecord,
    /// What is not.
    pub execution: Execution,
}

impl MergePlan {
    pub(crate) fn record(&self, made: &[Made], statistics: &Statistics) -> MergeRecord {
        let (base_coefficient, coefficients, parts) = self.coefficients(made, statistics);
        let (squares, norms) = match statistics {
            Statistics::Gram(gram) => (Some(gram.all().squared_norms()), Some(Norms::Measured)),
            Statistics::RecordedNorms(squares) => (Some(squares.clone()), Some(Norms::Recorded)),
            Statistics::None => (None, None),
        };
        let models: Vec<ModelRecord> = self
            .models()
            .enumerate()
            .map(|(index, (name, source))| {
                let square = squares.as_ref().and_then(|squares| squares.get(index).copied());
                let lineage = source.lineage(name);
                ModelRecord {
                    name: name.clone(),
                    kind: lineage.kind,
                    digest: lineage.digest,
                    coefficient: coefficients.get(index).copied().unwrap_or(0.0),
                    norm: square.map(f64::sqrt),
                    norm_squared: square,
                }
            })
            .collect();
        let base = self.base.as_ref().map(|(name, source)| {
            let lineage = source.lineage(name);
            ModelRecord {
                name: name.clone(),
                kind: lineage.kind,
                digest: lineage.digest,
                coefficient: base_coefficient,
                norm: None,
                norm_squared: None,
            }
        });
        let parameters = self.method.parameters().iter().filter_map(|parameter| {
            let value = self.spec.parameters.get(parameter.name).cloned();
            let value = value.or_else(|| {
                self.default_of(parameter)
                    .map(|default| default.to_scalar().into())
            })?;
            Some((parameter.name.to_string(), serde_json::to_value(value).ok()?))
        });
        let mut warnings = self.warnings.clone();
        if let Some(part) = self.parts.first() {
            warnings.extend(self.method.warnings(&self.settings(part), statistics));
        }
        warnings.extend(self.overflow(made));
        warnings.extend(squares.iter().flat_map(|squares| self.wrong_notes(squares)));
        let copied: Vec<String> = self
            .tensors
            .iter()
            .filter(|tensor| tensor.is_copied)
            .map(|tensor| tensor.spec.name.clone())
            .collect();
        MergeRecord {
            method: self.method.name().to_string(),
            formula: self.method.formula().to_string(),
            parameters: parameters.collect(),
            base,
            effective_models: effective_number(&coefficients),
            models,
            norms,
            parts,
            cosines: match statistics {
                Statistics::Gram(gram) => Some(gram.all().cosines()),
                _ => None,
            },
            merged_parameters: self.parameter_count(),
            tensors_merged: self.tensors.len() - copied.len(),
            tensors_copied: copied,
            bytes_written: self.layout.total_bytes(),
            warnings,
        }
    }

    /// Says that the result holds values that are no finite numbers, if it does.
    fn overflow(&self, made: &[Made]) -> Option<String> {
        let tensors = self
            .tensors
            .iter()
            .zip(made)
            .filter(|(_, made)| made.not_finite > 0);
        let count: u64 = tensors.clone().map(|(_, made)| made.not_finite).sum();
        let (first, _) = tensors.clone().next()?;
        Some(format!(
            "{count} values of the result are infinite or no numbers, in {} tensor(s), the first of them {}: an input holds \
             such values, or the sum is too large for {}; the model is of no use",
            tensors.count(),
            first.spec.name,
            first.spec.dtype
        ))
    }

    /// Models whose manifests record another distance from the base than was found.
    fn wrong_notes(&self, squares: &[f64]) -> Vec<String> {
        let noted = self.models().zip(self.noted_norms()).zip(squares);
        let wrong = |(((name, _), noted), found): ((&(String, Source), Option<f64>), &f64)| {
            let noted = noted.filter(|noted| (noted - found).abs() > NORM_TOLERANCE * found.max(*noted))?;
            Some(format!(
                "the manifest of {name} records a squared distance of {noted:e} from the base, but it is {found:e}: its \
                 tensors are not those that were recorded"
            ))
        };
        noted.filter_map(wrong).collect()
    }

    /// Where the result is no weighted sum of the models, what stands for a coefficient is the weight in the formula.
    fn weights(&self, tensor: &Work, part: &Part, statistics: &Statistics) -> Option<(f64, Vec<f64>)> {
        let settings = self.settings(part);
        let weights = settings.weights(&tensor.place, statistics).ok();
        weights
            .filter(|_| !tensor.is_copied)
            .map(|weights| (1.0, weights))
    }

    fn default_of(&self, parameter: &Parameter) -> Option<Default> {
        let theirs = self.spec.compat.and_then(|compat| parameter.default_in(compat));
        theirs.or(parameter.default)
    }

    /// Coefficient of the base, of each model, and by part where they differ.
    fn coefficients(&self, made: &[Made], statistics: &Statistics) -> (f64, Vec<f64>, Vec<PartRecord>) {
        let inputs: Vec<usize> = self.merged().collect();
        let base_input = self.base.as_ref().and_then(|(_, base)| {
            let is_base = |(_, source): &(String, Source)| source.reference() == base.reference();
            self.inputs.iter().position(is_base)
        });
        let found: Vec<(&Work, f64, Vec<f64>)> = self
            .tensors
            .iter()
            .zip(made)
            .filter_map(|(tensor, made)| {
                let part = self.parts.get(tensor.part)?;
                let (base, of_part) = made
                    .coefficients
                    .clone()
                    .or_else(|| self.weights(tensor, part, statistics))?;
                let mut of_models = vec![0.0; inputs.len()];
                for (member, coefficient) in part.merged().iter().zip(of_part) {
                    if let Some(place) = inputs.iter().position(|input| *input == member.input) {
                        of_models[place] += coefficient;
                    }
                }
                let is_ours = part.has_base && part.members.first().map(|member| member.input) == base_input;
                Some((tensor, if is_ours { base } else { 0.0 }, of_models))
            })
            .collect();
        let merged: Vec<(&str, &str, u64, f64, &Vec<f64>)> = found
            .iter()
            .map(|(tensor, base, models)| {
                let elements = tensor.spec.elements() as u64;
                (
                    tensor.place.group(),
                    tensor.spec.name.as_str(),
                    elements,
                    *base,
                    models,
                )
            })
            .collect();
        let Some((.., base, models)) = merged.first().copied() else {
            return (0.0, Vec::new(), Vec::new());
        };
        if merged.iter().all(|(.., b, m)| *b == base && *m == models) {
            return (base, models.clone(), Vec::new());
        }
        let total: u64 = merged.iter().map(|(_, _, elements, ..)| elements).sum();
        let mean = |of: &dyn Fn(f64, &[f64]) -> f64| {
            let weighted: Vec<f64> = merged
                .iter()
                .map(|(_, _, elements, base, models)| of(*base, models) * *elements as f64)
                .collect();
            sum_in_any_order(&weighted) / total.max(1) as f64
        };
        let means = (0..models.len())
            .map(|model| mean(&|_, models: &[f64]| models.get(model).copied().unwrap_or(0.0)))
            .collect();
        let mut parts: Vec<PartRecord> = Vec::new();
        let is_uniform = |group: &str| {
            let mut members = merged.iter().filter(|(other, ..)| *other == group);
            members
                .next()
                .is_none_or(|(.., b, m)| members.all(|(.., base, models)| base == b && models == m))
        };
        let mut uniform: BTreeMap<&str, bool> = BTreeMap::new();
        for (group, name, elements, base, models) in &merged {
            let by_group = *uniform.entry(group).or_insert_with(|| is_uniform(group));
            let part = if by_group { group } else { name };
            match parts.iter_mut().find(|other| other.part == *part) {
                Some(other) => other.elements += elements,
                None => parts.push(PartRecord {
                    part: part.to_string(),
                    elements: *elements,
                    base: *base,
                    models: models.to_vec(),
                }),
            }
        }
        (mean(&|base, _| base), means, parts)
    }
}
