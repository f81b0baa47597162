//! From a document and its opened models to a plan.

use tributary_tensorfile::{ModelLayout, TensorSpec};

use super::fit::{Fitted, fit_together};
use super::layers::{check_ranges, set_layers, stretches};
use super::merge_plan::MergePlan;
use super::names::listed_models;
use super::options::MergeOptions;
use super::output_files::{configuration, set_vocabulary};
use super::parts::Part;
use crate::compatibility::Role;
use crate::config::{MergeSpec, Problem, Problems, groups};
use crate::engine::{Footprint, RUN, Work};
use crate::error::{MergeError, Result};
use crate::kernel::CHUNK;
use crate::method::{self, FirstPass, Method, TensorPlace};
use crate::source::Source;
use crate::vocabulary::{Alignment, Vocabulary, set_template};

/// Checks a merge and decides everything about it. `sources` are the opened models, found by
/// [`Source::reference`]; their order does not matter.
///
/// # Errors
/// [`MergeError::Config`], [`MergeError::Incompatible`] with everything that does not fit, [`MergeError::Memory`], ...
pub fn plan(spec: &MergeSpec, sources: &[Source], options: &MergeOptions) -> Result<MergePlan> {
    let problems = spec.check();
    let Some(method) = method::find(&spec.merge_method).filter(|_| problems.is_empty()) else {
        return Err(refusal(problems));
    };
    let mut warnings = Vec::new();
    let Models {
        base,
        inputs,
        parts,
        lead,
    } = Models::new(spec, sources, method, &mut warnings)?;
    let problems = check_ranges(&parts, &inputs);
    if !problems.is_empty() {
        return Err(refusal(problems));
    }
    let owner = match spec.tokenizer_wanted() {
        None | Some("base" | "union") => lead.clone(),
        Some(reference) => (tributary_store::mask(reference), find(sources, reference)?),
    };
    let alignment = match spec.tokenizer_wanted() {
        None => None,
        Some(_) => align(spec, &owner, &inputs, &mut warnings)?,
    };
    let mut tokenizer_files = alignment
        .as_ref()
        .map(|alignment| alignment.files.clone())
        .unwrap_or_default();
    // The base too where it only lends its configuration.
    let is_lender = |base: &&(String, Source)| {
        inputs
            .iter()
            .all(|(_, source)| source.reference() != base.1.reference())
    };
    let all: Vec<(String, Source)> = base.iter().filter(is_lender).chain(&inputs).cloned().collect();
    if let Some(template) = &spec.chat_template {
        set_template(template, &all, &owner.1, &mut tokenizer_files, &mut warnings)?;
    }

    let stretches = stretches(&parts, &lead.1);
    let fitted = fit_together(
        &all,
        &inputs,
        &parts,
        &stretches,
        &lead.1,
        alignment.as_ref(),
        &mut warnings,
    )?;
    let (tensors, layout) = lay_out(spec, options, fitted, |part| stretches[part].layers.clone())?;
    let mut fields = lead.1.configuration().clone();
    if parts
        .iter()
        .any(|part| part.members.iter().any(|member| member.layers.is_some()))
    {
        set_layers(&mut fields, &parts, &inputs, &stretches);
    }
    if spec.tokenizer_wanted().is_some() {
        let rows = alignment.as_ref().map(|alignment| alignment.rows);
        set_vocabulary(&mut fields, rows, owner.1.configuration());
    }
    let configuration = configuration(fields, spec.output_type(), &tensors);
    if tensors.is_empty() {
        return Err(MergeError::Model {
            model: lead.0,
            reason: "it has no tensors that could be merged".to_string(),
        });
    }
    let footprint = footprint(&tensors);
    let mut plan = MergePlan {
        spec: spec.clone(),
        options: options.clone(),
        method,
        base,
        inputs,
        parts,
        tokenizers: alignment
            .as_ref()
            .map(|alignment| alignment.digest.clone())
            .unwrap_or_default(),
        tokenizer: owner.1,
        tokenizer_files,
        tensors,
        layout,
        configuration,
        footprint,
        warnings,
        hints: Vec::new(),
        bytes_to_read: 0,
    };
    if plan.first_pass() != FirstPass::None && !plan.is_uniform() {
        let message = format!(
            "{} weighs whole models: every slice must merge the same ones",
            method.name()
        );
        return Err(refusal(vec![Problem::value("merge_method", message)]));
    }
    let (files, portion) = (plan.layout.shards.len(), options.portion);
    if files < portion.of {
        plan.hints.push(format!(
            "there are {files} file(s) for {} processes: smaller files (--shard-size) give each of them one",
            portion.of
        ));
    }
    let rules = plan.rules(&plan.supposed_statistics()?)?;
    plan.fit(&rules);
    plan.sizing(true)?;
    plan.bytes_to_read = plan.bytes_by(&rules, |file| options.portion.has(file));
    if plan.first_pass() == FirstPass::Gram {
        plan.bytes_to_read += plan.bytes_of_first_pass();
    }
    Ok(plan)
}

fn refusal(problems: Vec<Problem>) -> MergeError {
    MergeError::Config(Problems::new("the merge", "", problems))
}

fn find(sources: &[Source], reference: &str) -> Result<Source> {
    let found = sources.iter().find(|source| source.reference() == reference);
    found.cloned().ok_or_else(|| MergeError::Model {
        model: tributary_store::mask(reference),
        reason: "it was not opened".to_string(),
    })
}

/// The models of a document in their roles.
struct Models {
    base: Option<(String, Source)>,
    /// What is read.
    inputs: Vec<(String, Source)>,
    parts: Vec<Part>,
    /// Whose configuration the result has, and its tokenizer if nothing else is said.
    lead: (String, Source),
}

impl Models {
    fn new(
        spec: &MergeSpec,
        sources: &[Source],
        method: &dyn Method,
        warnings: &mut Vec<String>,
    ) -> Result<Models> {
        let listed = listed_models(spec);
        let mut parts = Vec::new();
        for group in groups(spec) {
            let (part, is_base_passed_over) = Part::new(&group, &listed, method);
            if is_base_passed_over {
                warnings.push(format!(
                    "the base model is listed among the models; {} passes it over",
                    method.name()
                ));
            }
            parts.push(part);
        }
        let is_read = |number: &usize| {
            let mut members = parts.iter().flat_map(|part| &part.members);
            members.any(|member| member.input == *number)
        };
        let read: Vec<usize> = (0..listed.len()).filter(is_read).collect();
        let open = |number: usize| -> Result<(String, Source)> {
            let Some(model) = listed.get(number) else {
                return Err(MergeError::Internal(format!("there is no model {number}")));
            };
            Ok((model.name.clone(), find(sources, model.reference)?))
        };
        let inputs = read
            .iter()
            .map(|number| open(*number))
            .collect::<Result<Vec<_>>>()?;
        for member in parts.iter_mut().flat_map(|part| &mut part.members) {
            member.input = read
                .iter()
                .position(|number| *number == member.input)
                .unwrap_or_default();
        }
        // The base is the first that is listed.
        let base = spec.base_model.as_ref().map(|_| open(0)).transpose()?;
        let lead = base.clone().or_else(|| inputs.first().cloned());
        Ok(Models {
            base,
            inputs,
            parts,
            lead: lead.ok_or_else(|| MergeError::Internal("a merge of nothing".to_string()))?,
        })
    }
}

fn align(
    spec: &MergeSpec,
    owner: &(String, Source),
    inputs: &[(String, Source)],
    warnings: &mut Vec<String>,
) -> Result<Option<Alignment>> {
    fn vocabulary((name, source): &(String, Source)) -> Vocabulary<'_> {
        Vocabulary { name, source }
    }
    let inputs: Vec<Vocabulary<'_>> = inputs.iter().map(vocabulary).collect();
    Alignment::new(spec, &vocabulary(owner), &inputs, warnings)
}

/// Gives every tensor its place in the result.
fn lay_out(
    spec: &MergeSpec,
    options: &MergeOptions,
    fitted: Vec<Fitted>,
    stretch: impl Fn(usize) -> std::ops::Range<usize>,
) -> Result<(Vec<Work>, ModelLayout)> {
    let specs: Vec<TensorSpec> = fitted
        .iter()
        .map(|tensor| TensorSpec {
            name: tensor.name.clone(),
            dtype: match tensor.role {
                Role::Merge => spec.output_type().map_or(tensor.dtype, |float| float.dtype()),
                Role::Copy => tensor.dtype,
            },
            shape: tensor.shape.clone(),
        })
        .collect();
    let layout = ModelLayout::plan(&specs, options.max_shard_bytes, &[])
        .map_err(|error| MergeError::Internal(error.to_string()))?;
    let placed = layout
        .shards
        .iter()
        .enumerate()
        .flat_map(|(shard, file)| file.tensors.iter().map(move |t| (shard, t)));
    let tensors = placed
        .zip(fitted)
        .map(|((shard, placed), fitted)| Work {
            spec: placed.spec.clone(),
            place: TensorPlace::new(&placed.spec.name, &placed.spec.shape, stretch(fitted.part)),
            part: fitted.part,
            is_copied: fitted.role == Role::Copy,
            has_base: fitted.has_base,
            inputs: fitted.inputs,
            shard,
            offset: placed.offset,
        })
        .collect();
    Ok((tensors, layout))
}

fn footprint(tensors: &[Work]) -> Footprint {
    let merged = || tensors.iter().filter(|tensor| !tensor.is_copied);
    let most = merged().map(|tensor| tensor.inputs.len()).max().unwrap_or(0);
    let of_member = |member: usize| {
        let widths = merged().filter_map(|tensor| tensor.inputs.get(member).map(|input| input.dtype.size()));
        widths.max().unwrap_or(0)
    };
    Footprint {
        inputs: (0..most).map(of_member).collect(),
        // Copied tensors move through this buffer in pieces, so it must not be too small for an element.
        output: tensors
            .iter()
            .map(|tensor| tensor.spec.dtype.size())
            .max()
            .unwrap_or(1),
        models: most,
        chunk: CHUNK,
        run: RUN,
        counts: 0,
        passes: 1,
    }
}
