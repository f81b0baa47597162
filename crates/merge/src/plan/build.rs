//! From a document and its opened models to a plan.

use std::collections::BTreeMap;

use serde_json::Value;
use tributary_tensorfile::{DEFAULT_SHARD_BYTES, ModelLayout, TensorSpec};

use super::merge_plan::MergePlan;
use super::names::listed_models;
use super::output_files;
use crate::compatibility::{
    Incompatibilities, Role, TensorView, compare_configurations, compare_tokenizers, is_tied, layer_count,
    match_tensors,
};
use crate::config::{MergeSpec, ParameterValue, Problem, Problems};
use crate::engine::{Footprint, RUN, Work};
use crate::error::{MergeError, Result};
use crate::kernel::CHUNK;
use crate::method::{self, BaseUse, FirstPass, TensorPlace};
use crate::source::Source;

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

    let uses_base = method.base().reads_base(spec.base_model.is_some());
    let listed = listed_models(spec, uses_base);
    let mut base = None;
    let (mut inputs, mut parameters) = (Vec::new(), Vec::new());
    for model in &listed {
        let found = (model.name.clone(), find(model.reference)?);
        match model.index.and_then(|index| spec.models.get(index)) {
            Some(written) => {
                inputs.push(found);
                parameters.push(written.parameters.clone());
            }
            None => {
                inputs.extend(uses_base.then(|| found.clone()));
                base = Some(found);
            }
        }
    }
    if method.base() == BaseUse::First {
        put_first(&mut inputs, &mut parameters, base.as_ref());
    }
    let lead = match base.as_ref().or(inputs.first()) {
        Some((_, lead)) => lead.clone(),
        None => return Err(MergeError::Internal("a merge of nothing".to_string())),
    };
    let tokenizer = match spec.tokenizer_source.as_deref() {
        None | Some("base") => lead.clone(),
        Some(reference) => find(reference)?,
    };

    let mut warnings = Vec::new();
    if parameters.len() < spec.models.len() {
        warnings.push(format!(
            "the base model is listed among the models; {} passes it over",
            method.name()
        ));
    }
    let lender = base.as_ref().filter(|_| !uses_base);
    let matched = check_models(lender, &inputs, &lead, &mut warnings)?;
    let (tensors, layout) = lay_out(spec, options, &inputs, &lead, &matched)?;
    let configuration = output_files::configuration(lead.configuration(), spec.output_type(), &tensors);
    let footprint = footprint(&tensors, &inputs);
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
        warnings,
        bytes_to_read: 0,
    };
    let rules = plan.rules(&plan.supposed_statistics()?)?;
    plan.fit(&rules);
    plan.sizing(true)?;
    plan.bytes_to_read = plan.bytes_by(&rules);
    if plan.method.first_pass(&plan.settings()) == FirstPass::Gram {
        plan.bytes_to_read += plan.bytes_of_first_pass();
    }
    Ok(plan)
}

/// Makes the base the first of the merged models: the one that is listed, or without parameters of its own.
fn put_first(
    inputs: &mut Vec<(String, Source)>,
    parameters: &mut Vec<BTreeMap<String, ParameterValue>>,
    base: Option<&(String, Source)>,
) {
    let Some(base) = base else { return };
    let listed = inputs
        .iter()
        .position(|(_, source)| source.reference() == base.1.reference());
    let (first, own) = match listed {
        Some(at) => (inputs.remove(at), parameters.remove(at)),
        None => (base.clone(), BTreeMap::new()),
    };
    inputs.insert(0, first);
    parameters.insert(0, own);
}

/// Do these models (what messages call each, and the model) fit together? For a merge of which only a part is there
/// yet; [`plan()`] asks the same of all. Returns what a user should know.
///
/// # Errors
/// [`MergeError::Incompatible`] with everything that differs.
pub fn compare(models: &[(String, Source)]) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    if let Some((_, lead)) = models.first() {
        check_models(None, models, lead, &mut warnings)?;
    }
    Ok(warnings)
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
            place: TensorPlace::new(&placed.spec.name, &placed.spec.shape, layers),
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

fn footprint(tensors: &[Work], inputs: &[(String, Source)]) -> Footprint {
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
        models: inputs.len(),
        chunk: CHUNK,
        run: RUN,
        counts: 0,
        passes: 1,
    }
}
