//! From a document and its opened models to a plan.

use std::collections::BTreeMap;

use serde_json::Value;
use tributary_tensorfile::{DEFAULT_SHARD_BYTES, ModelLayout, TensorSpec};

use super::names::display_names;
use super::output_files;
use super::summary::PlanSummary;
use crate::compatibility::{
    Incompatibilities, Role, TensorView, compare_configurations, compare_tokenizers, is_tied, layer_count,
    match_tensors,
};
use crate::config::{MergeSpec, ParameterValue, Problem, Problems};
use crate::engine::{Footprint, Sizing, Work};
use crate::error::{MergeError, Result};
use crate::method::{self, BaseUse, FirstPass, Method, Recipe, Settings, Statistics, TensorPlace};
use crate::source::Source;
use crate::statistics::{Gram, GramTable};

/// What does not change the result, only how it is made and cut into files.
#[derive(Clone, Debug, PartialEq)]
pub struct MergeOptions {
    /// Bytes that all block buffers together may take, whatever the number and size of the models.
    pub memory: u64,
    /// Threads; by default as many as there are cores.
    pub threads: Option<usize>,
    /// Largest file of tensors written, in bytes.
    pub max_shard_bytes: u64,
    /// Measure the task vectors (norms, cosines) even if the method does not need them, where the models and the base
    /// are read anyway.
    pub diagnostics: bool,
}

impl Default for MergeOptions {
    fn default() -> Self {
        MergeOptions {
            memory: 256 << 20,
            threads: None,
            max_shard_bytes: DEFAULT_SHARD_BYTES,
            diagnostics: true,
        }
    }
}

/// A merge that is known to fit together; [`MergePlan::publish`] does it.
pub struct MergePlan {
    pub(crate) spec: MergeSpec,
    pub(crate) options: MergeOptions,
    pub(crate) method: &'static dyn Method,
    /// The base model and what reports call it, if there is one.
    pub(crate) base: Option<(String, Source)>,
    /// What is read: the base first if the method uses it, then the models.
    pub(crate) inputs: Vec<(String, Source)>,
    /// Own parameters of each model.
    pub(crate) parameters: Vec<BTreeMap<String, ParameterValue>>,
    pub(crate) lead: Source,
    pub(crate) tokenizer: Source,
    pub(crate) tensors: Vec<Work>,
    pub(crate) layout: ModelLayout,
    pub(crate) configuration: Vec<u8>,
    pub(crate) footprint: Footprint,
    pub(crate) sizing: Sizing,
    pub(crate) warnings: Vec<String>,
    bytes_to_read: u64,
}

/// Checks a merge and decides everything about it. `sources` are the opened models, found by
/// [`Source::reference`]; their order does not matter.
///
/// # Errors
/// [`MergeError::Config`], [`MergeError::Incompatible`] with everything that does not fit, [`MergeError::Memory`], ...
pub fn plan(spec: &MergeSpec, sources: &[Source], options: &MergeOptions) -> Result<MergePlan> {
    let problems = spec.check();
    let refuse = |problems: Vec<Problem>| Err(MergeError::Config(Problems::new("the merge", "", problems)));
    let Some(method) = method::find(&spec.merge_method).filter(|_| problems.is_empty()) else {
        return refuse(problems);
    };
    let find = |reference: &str| -> Result<Source> {
        let found = sources.iter().find(|source| source.reference() == reference);
        found.cloned().ok_or_else(|| MergeError::Model {
            model: tributary_store::mask(reference),
            reason: "it was not opened".to_string(),
        })
    };

    let uses_base = method.base() == BaseUse::Required;
    let base = spec.base_model.as_deref().map(find).transpose()?;
    let merged: Vec<_> = spec
        .models
        .iter()
        .filter(|model| !uses_base || spec.base_model.as_ref() != Some(&model.model))
        .collect();
    let listed = spec.base_model.as_deref().map(|reference| (reference, None));
    let all_names = display_names(
        listed.into_iter().chain(
            merged
                .iter()
                .map(|model| (model.model.as_str(), model.name.as_deref())),
        ),
    );
    let (base_names, names) = all_names.split_at(usize::from(base.is_some()));
    let base = base_names.first().cloned().zip(base);
    let mut inputs: Vec<(String, Source)> = base.iter().filter(|_| uses_base).cloned().collect();
    for (model, name) in merged.iter().zip(names) {
        inputs.push((name.clone(), find(&model.model)?));
    }
    let parameters = merged.iter().map(|model| model.parameters.clone()).collect();
    let lead = match base.as_ref().or(inputs.first()) {
        Some((_, lead)) => lead.clone(),
        None => return Err(MergeError::Internal("a merge of nothing".to_string())),
    };
    let tokenizer = match spec.tokenizer_source.as_deref() {
        None | Some("base") => lead.clone(),
        Some(reference) => find(reference)?,
    };

    let mut warnings = Vec::new();
    if merged.len() < spec.models.len() {
        warnings.push(format!(
            "the base model is listed among the models; {} passes it over",
            method.name()
        ));
    }
    let matched = check_models(
        base.as_ref().filter(|_| !uses_base),
        &inputs,
        &lead,
        &mut warnings,
    )?;
    let (tensors, layout) = lay_out(spec, options, &inputs, &lead, &matched)?;
    let configuration = output_files::configuration(lead.configuration(), spec.output_type(), &tensors);
    let footprint = footprint(&tensors, &inputs, uses_base);
    let is_local = inputs.iter().all(|(_, source)| source.is_local());
    let threads = options
        .threads
        .or_else(|| std::thread::available_parallelism().ok().map(usize::from))
        .unwrap_or(1);
    let sizing = Sizing::new(&footprint, options.memory, threads, is_local)?;
    let mut plan = MergePlan {
        spec: spec.clone(),
        options: options.clone(),
        method,
        base,
        inputs,
        parameters,
        lead,
        tokenizer,
        tensors,
        layout,
        configuration,
        footprint,
        sizing,
        warnings,
        bytes_to_read: 0,
    };
    plan.bytes_to_read = plan.count_bytes()?;
    Ok(plan)
}

/// Refuses models that do not fit; `other` is a base that only lends its configuration.
fn check_models(
    other: Option<&(String, Source)>,
    inputs: &[(String, Source)],
    lead: &Source,
    warnings: &mut Vec<String>,
) -> Result<Vec<crate::compatibility::Matched>> {
    let all: Vec<&(String, Source)> = other.into_iter().chain(inputs).collect();
    let configurations: Vec<(&str, Value)> = all
        .iter()
        .map(|(name, source)| (name.as_str(), Value::Object(source.configuration().clone())))
        .collect();
    let views: Vec<(&str, &Value)> = configurations
        .iter()
        .map(|(name, value)| (*name, value))
        .collect();
    let (mut refusals, different) = compare_configurations(&views);
    warnings.extend(different);
    let tensors: Vec<(&str, Vec<TensorView>)> = inputs
        .iter()
        .map(|(name, source)| {
            let view = |tensor: &tributary_tensorfile::TensorInfo| TensorView {
                name: tensor.name.clone(),
                dtype: tensor.dtype,
                shape: tensor.shape.clone(),
            };
            (
                name.as_str(),
                source.checkpoint().tensors().iter().map(view).collect(),
            )
        })
        .collect();
    let (matched, differences, notes) =
        match_tensors(&tensors, is_tied(&Value::Object(lead.configuration().clone())));
    refusals.extend(differences);
    if !refusals.is_empty() {
        return Err(MergeError::Incompatible(Incompatibilities(refusals)));
    }
    warnings.extend(notes);
    let mut tokenizers = Vec::with_capacity(all.len());
    for (name, source) in &all {
        tokenizers.push((name.as_str(), source.tokenizer()?));
    }
    warnings.extend(compare_tokenizers(&tokenizers));
    Ok(matched)
}

fn lay_out(
    spec: &MergeSpec,
    options: &MergeOptions,
    inputs: &[(String, Source)],
    lead: &Source,
    matched: &[crate::compatibility::Matched],
) -> Result<(Vec<Work>, ModelLayout)> {
    let specs: Vec<TensorSpec> = matched
        .iter()
        .map(|tensor| TensorSpec {
            name: tensor.name.clone(),
            dtype: match tensor.role {
                Role::Merge => spec.output_type().map_or(tensor.dtype, |float| float.dtype()),
                Role::Copy(_) => tensor.dtype,
            },
            shape: tensor.shape.clone(),
        })
        .collect();
    let layout = ModelLayout::plan(&specs, options.max_shard_bytes, &[])
        .map_err(|error| MergeError::Internal(error.to_string()))?;
    let layers = layer_count(
        &Value::Object(lead.configuration().clone()),
        matched.iter().map(|tensor| tensor.name.as_str()),
    );
    let placed = layout
        .shards
        .iter()
        .enumerate()
        .flat_map(|(shard, file)| file.tensors.iter().map(move |t| (shard, t)));
    let tensors = placed
        .zip(matched)
        .map(|((shard, placed), matched)| Work {
            spec: placed.spec.clone(),
            place: TensorPlace::new(&placed.spec.name, layers),
            copied_from: match matched.role {
                Role::Copy(input) => Some(input),
                Role::Merge => None,
            },
            inputs: inputs
                .iter()
                .map(|(_, source)| source.checkpoint().get(&placed.spec.name).cloned())
                .collect(),
            shard,
            offset: placed.offset,
        })
        .collect();
    Ok((tensors, layout))
}

fn footprint(tensors: &[Work], inputs: &[(String, Source)], uses_base: bool) -> Footprint {
    let merged = || tensors.iter().filter(|tensor| tensor.copied_from.is_none());
    let of_input = |input: usize| {
        let widths =
            merged().filter_map(|tensor| tensor.inputs.get(input)?.as_ref().map(|info| info.dtype.size()));
        widths.max().unwrap_or(0)
    };
    Footprint {
        inputs: (0..inputs.len()).map(of_input).collect(),
        // Copied tensors move through this buffer in pieces, so it must not be empty.
        output: merged().map(|tensor| tensor.spec.dtype.size()).max().unwrap_or(1),
        models: if uses_base { inputs.len() - 1 } else { 0 },
    }
}

impl MergePlan {
    /// The plan in figures.
    pub fn summary(&self) -> PlanSummary {
        let copied = self
            .tensors
            .iter()
            .filter(|tensor| tensor.copied_from.is_some())
            .count();
        PlanSummary {
            method: self.method.name(),
            base: self.base.as_ref().map(|(name, _)| name.clone()),
            models: self.models().map(|(name, _)| name.clone()).collect(),
            parameters: self.parameter_count(),
            tensors_merged: self.tensors.len() - copied,
            tensors_copied: copied,
            shards: self.layout.shards.len(),
            bytes_to_read: self.bytes_to_read,
            bytes_to_write: self.layout.total_bytes(),
            passes: if self.method.first_pass(&self.settings()) == FirstPass::Gram {
                2
            } else {
                1
            },
            memory: self.sizing.bytes,
            workers: self.sizing.workers,
            block_elements: self.sizing.block,
            warnings: self.warnings.clone(),
        }
    }

    /// The merged models and what reports call them.
    pub(crate) fn models(&self) -> impl Iterator<Item = &(String, Source)> {
        self.inputs.iter().skip(usize::from(self.uses_base()))
    }

    pub(crate) fn uses_base(&self) -> bool {
        self.method.base() == BaseUse::Required
    }

    pub(crate) fn parameter_count(&self) -> u64 {
        let merged = self.tensors.iter().filter(|tensor| tensor.copied_from.is_none());
        merged.map(|tensor| tensor.spec.elements() as u64).sum()
    }

    pub(crate) fn settings(&self) -> Settings<'_> {
        let models = self.models().map(|(name, _)| name.as_str()).zip(&self.parameters);
        Settings::new(self.method, &self.spec.parameters, models)
    }

    /// How every tensor is made, in the order of the tensors; `None` for copied ones.
    pub(crate) fn recipes(&self, statistics: &Statistics) -> Result<Vec<Option<Recipe>>> {
        let settings = self.settings();
        let recipe = |tensor: &Work| match tensor.copied_from {
            Some(_) => Ok(None),
            None => self
                .method
                .recipe(&tensor.place, &settings, statistics)
                .map(Some)
                .map_err(|reason| MergeError::Parameter {
                    method: self.method.name(),
                    tensor: tensor.spec.name.clone(),
                    reason,
                }),
        };
        self.tensors.iter().map(recipe).collect()
    }

    /// ‖τ‖² of each model as its manifest records it: fact `distance_squared`, `{"from": digest of the base's
    /// manifest, "value": number}`.
    pub(crate) fn recorded_norms(&self) -> Result<Vec<f64>> {
        let base = self
            .base
            .as_ref()
            .map(|(_, source)| source.digest())
            .unwrap_or_default();
        let recorded = |(name, source): &(String, Source)| {
            let fact = source.facts().get("distance_squared");
            let from = fact.and_then(|fact| fact.get("from")).and_then(Value::as_str);
            let value = fact.and_then(|fact| fact.get("value")).and_then(Value::as_f64);
            value
                .filter(|value| from == Some(base) && value.is_finite() && *value >= 0.0)
                .ok_or_else(|| {
                    let reason =
                        "its manifest records no distance from this base; use norms: read".to_string();
                    MergeError::Model {
                        model: name.clone(),
                        reason,
                    }
                })
        };
        self.models().map(recorded).collect()
    }

    /// Does the combining pass measure the task vectors although the method does not ask for it?
    pub(crate) fn measures_on_the_way(&self) -> bool {
        self.options.diagnostics
            && self.uses_base()
            && self.method.first_pass(&self.settings()) == FirstPass::None
    }

    /// Bytes of tensors that all passes together read. Asks for every recipe, as if all task vectors were of unit
    /// length, so that a parameter without a value shows now.
    fn count_bytes(&self) -> Result<u64> {
        let first_pass = self.method.first_pass(&self.settings());
        let models = self.models().count();
        let statistics = match first_pass {
            FirstPass::None => Statistics::None,
            FirstPass::RecordedNorms => Statistics::RecordedNorms(self.recorded_norms()?),
            FirstPass::Gram => {
                let unit = || {
                    Gram::from_packed(
                        models,
                        (0..models)
                            .flat_map(|t| (0..=t).map(move |u| f64::from(u8::from(t == u))))
                            .collect(),
                    )
                };
                let merged = self.tensors.iter().filter(|tensor| tensor.copied_from.is_none());
                Statistics::Gram(GramTable::new(
                    models,
                    merged.map(|tensor| (tensor.place.clone(), unit())),
                ))
            }
        };
        let mut bytes = 0;
        for (tensor, recipe) in self.tensors.iter().zip(self.recipes(&statistics)?) {
            let of = |input: usize| {
                tensor
                    .inputs
                    .get(input)
                    .and_then(Option::as_ref)
                    .map_or(0, |info| info.bytes)
            };
            let all: u64 = (0..self.inputs.len()).map(of).sum();
            match (tensor.copied_from, recipe) {
                (Some(input), _) => bytes += of(input),
                (None, Some(recipe)) => {
                    if first_pass == FirstPass::Gram {
                        bytes += all;
                    }
                    let used = (0..self.inputs.len()).filter(|input| {
                        self.measures_on_the_way() || recipe.coefficient(*input, self.inputs.len()) != 0.0
                    });
                    bytes += used.map(of).sum::<u64>();
                }
                (None, None) => {}
            }
        }
        Ok(bytes)
    }
}
