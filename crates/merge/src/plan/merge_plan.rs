//! A merge that has been checked and decided: what is read, how it combines, where it goes.

use std::collections::BTreeMap;

use serde_json::Value;
use tributary_tensorfile::ModelLayout;

use super::options::MergeOptions;
use super::parts::Part;
use super::summary::PlanSummary;
use crate::config::MergeSpec;
use crate::engine::{Cut, Ends, Footprint, Sizing, Work, coefficient};
use crate::error::{MergeError, Result};
use crate::method::{FirstPass, Method, Rule, Settings, Statistics, Step};
use crate::source::Source;
use crate::statistics::{Gram, GramTable};

/// A merge that is known to fit together; [`MergePlan::publish`] does it.
pub struct MergePlan {
    pub(crate) spec: MergeSpec,
    pub(crate) options: MergeOptions,
    pub(crate) method: &'static dyn Method,
    /// The base model and what reports call it, if there is one.
    pub(crate) base: Option<(String, Source)>,
    /// What is read.
    pub(crate) inputs: Vec<(String, Source)>,
    /// Which of the inputs are merged with each other; tensors say by which part they are made.
    pub(crate) parts: Vec<Part>,
    /// The model whose tokenizer goes along, and the files of it that are changed.
    pub(crate) tokenizer: Source,
    pub(crate) tokenizer_files: BTreeMap<String, Vec<u8>>,
    /// Digest of every tokenizer that decides which rows are merged; empty where rows are merged by number.
    pub(crate) tokenizers: String,
    pub(crate) tensors: Vec<Work>,
    pub(crate) layout: ModelLayout,
    pub(crate) configuration: Vec<u8>,
    pub(crate) footprint: Footprint,
    pub(crate) warnings: Vec<String>,
    /// As warnings, but about this run and not about the result.
    pub(super) hints: Vec<String>,
    pub(super) bytes_to_read: u64,
}

impl MergePlan {
    /// The plan in figures.
    pub fn summary(&self) -> PlanSummary {
        let sizing = self.sizing(true).ok();
        let copied = self.tensors.iter().filter(|tensor| tensor.is_copied).count();
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
            passes: self.footprint.passes as u32 + u32::from(self.first_pass() == FirstPass::Gram),
            memory: sizing.map_or(0, |sizing| sizing.bytes + sizing.hold),
            workers: sizing.map_or(0, |sizing| sizing.workers),
            block_elements: sizing.map_or(0, |sizing| sizing.block),
            warnings: self.warnings.iter().chain(&self.hints).cloned().collect(),
        }
    }

    /// Workers and block size for an output on this machine or elsewhere.
    pub(crate) fn sizing(&self, local_output: bool) -> Result<Sizing> {
        let threads = self
            .options
            .threads
            .or_else(|| std::thread::available_parallelism().ok().map(usize::from));
        let local_inputs = self.inputs.iter().all(|(_, source)| source.is_local());
        let ends = Ends {
            local_inputs,
            local_output,
        };
        Sizing::new(&self.footprint, self.options.memory, threads.unwrap_or(1), ends)
    }

    /// Numbers of the inputs that are merged: all but those that are only a base.
    pub(crate) fn merged(&self) -> impl Iterator<Item = usize> {
        let is_merged = |input: &usize| {
            let mut members = self.parts.iter().flat_map(Part::merged);
            members.any(|member| member.input == *input)
        };
        (0..self.inputs.len()).filter(is_merged)
    }

    /// The merged models and what reports call them.
    pub(crate) fn models(&self) -> impl Iterator<Item = &(String, Source)> {
        self.merged().filter_map(|input| self.inputs.get(input))
    }

    /// What reports call the models of a merge whose parts all merge the same ones, in their order.
    pub(crate) fn merged_names(&self) -> Vec<String> {
        let members = self.parts.first().map(Part::merged).unwrap_or_default();
        let named = members.iter().filter_map(|member| self.inputs.get(member.input));
        named.map(|(name, _)| name.clone()).collect()
    }

    /// Is the document's base part of the formula?
    pub(crate) fn uses_base(&self) -> bool {
        self.base.is_some() && self.parts.iter().any(|part| part.has_base)
    }

    /// Are the same models merged everywhere, in the same order?
    pub(crate) fn is_uniform(&self) -> bool {
        let inputs = |part: &Part| part.members.iter().map(|member| member.input).collect::<Vec<_>>();
        let mut parts = self.parts.iter();
        let first = parts.next().map(inputs);
        parts.all(|part| Some(inputs(part)) == first)
    }

    pub(crate) fn first_pass(&self) -> FirstPass {
        let asked = self
            .parts
            .iter()
            .map(|part| self.method.first_pass(&self.settings(part)));
        let mut asked = asked.filter(|pass| *pass != FirstPass::None);
        asked.next().unwrap_or(FirstPass::None)
    }

    pub(crate) fn parameter_count(&self) -> u64 {
        let merged = self.tensors.iter().filter(|tensor| !tensor.is_copied);
        merged.map(|tensor| tensor.spec.elements() as u64).sum()
    }

    /// The parameters of one part.
    pub(crate) fn settings<'a>(&'a self, part: &'a Part) -> Settings<'a> {
        let name = |input: usize| {
            self.inputs
                .get(input)
                .map_or("a model", |(name, _)| name.as_str())
        };
        let models = part
            .merged()
            .iter()
            .map(|member| (name(member.input), &member.own));
        Settings::new(self.method, &part.levels, models)
            .with_base(part.has_base)
            .with_compat(self.spec.compat)
            .with_doses(
                part.merged()
                    .iter()
                    .map(|member| self.dose(member.input))
                    .collect(),
            )
    }

    /// The dose that the training of an input recorded: fact `dose` of its manifest.
    fn dose(&self, input: usize) -> Option<f64> {
        let (_, source) = self.inputs.get(input)?;
        let dose = source.facts().get("dose").and_then(Value::as_f64)?;
        (dose.is_finite() && dose > 0.0).then_some(dose)
    }

    /// How every tensor is made, in the order of the tensors; `None` for copied ones.
    pub(crate) fn rules(&self, statistics: &Statistics) -> Result<Vec<Option<Box<dyn Rule>>>> {
        let settings: Vec<Settings<'_>> = self.parts.iter().map(|part| self.settings(part)).collect();
        let rule = |tensor: &Work| match settings.get(tensor.part).filter(|_| !tensor.is_copied) {
            None => Ok(None),
            Some(settings) => self
                .method
                .rule(&tensor.place, settings, statistics)
                .map(Some)
                .map_err(|reason| MergeError::Parameter {
                    method: self.method.name(),
                    tensor: tensor.spec.name.clone(),
                    reason,
                }),
        };
        self.tensors.iter().map(rule).collect()
    }

    /// Makes room for what these rules need.
    pub(super) fn fit(&mut self, rules: &[Option<Box<dyn Rule>>]) {
        for (tensor, rule) in self.tensors.iter().zip(rules) {
            let Some(rule) = rule else { continue };
            let cut = Cut::new(tensor.spec.elements(), rule.unit(), 1);
            let footprint = &mut self.footprint;
            footprint.chunk = footprint.chunk.max(cut.chunk);
            footprint.run = footprint.run.max(cut.run);
            footprint.counts = footprint.counts.max(rule.counts());
            footprint.passes = footprint.passes.max(rule.passes());
        }
    }

    /// Is every tensor of every model merged with the document's base as it is, so that a distance of whole models says
    /// something?
    fn merges_whole_models(&self) -> bool {
        let is_whole =
            |part: &Part| part.has_base && part.members.iter().all(|member| member.layers.is_none());
        self.tokenizers.is_empty() && self.parts.iter().all(is_whole)
    }

    /// ‖τ‖² of each model as its manifest records it: fact `distance_squared`, `{"from": digest of the base's
    /// manifest, "value": number}`. `None` for a model that records none, or one from another base.
    pub(crate) fn noted_norms(&self) -> Vec<Option<f64>> {
        if !self.merges_whole_models() {
            return vec![None; self.models().count()];
        }
        let base = self.base.as_ref().map(|(_, source)| source.digest());
        let noted = |(_, source): &(String, Source)| {
            let fact = source.facts().get("distance_squared")?;
            let from = fact.get("from").and_then(Value::as_str);
            let value = fact.get("value").and_then(Value::as_f64)?;
            (from.is_some() && from == base && value.is_finite() && value >= 0.0).then_some(value)
        };
        self.models().map(noted).collect()
    }

    /// As [`Self::noted_norms`], of all models.
    ///
    /// # Errors
    /// [`MergeError::Model`] naming one that records none.
    pub(crate) fn recorded_norms(&self) -> Result<Vec<f64>> {
        let noted = self.models().zip(self.noted_norms());
        let recorded = |((name, _), noted): (&(String, Source), Option<f64>)| {
            noted.ok_or_else(|| MergeError::Model {
                model: name.clone(),
                reason: "its manifest records no distance from this base; use norms: read".to_string(),
            })
        };
        noted.map(recorded).collect()
    }

    /// Does the combining pass measure the task vectors although the method does not ask for it?
    pub(crate) fn measures_on_the_way(&self) -> bool {
        self.options.diagnostics
            && self.uses_base()
            && self.is_uniform()
            && self.first_pass() == FirstPass::None
    }

    /// Statistics as if all task vectors were of unit length and at right angles: what rules are asked with before
    /// anything was read, so that a parameter without a value shows now.
    pub(super) fn supposed_statistics(&self) -> Result<Statistics> {
        Ok(match self.first_pass() {
            FirstPass::None => Statistics::None,
            FirstPass::RecordedNorms => Statistics::RecordedNorms(self.recorded_norms()?),
            FirstPass::Gram => {
                let models = self.merged_names().len();
                let merged = self.tensors.iter().filter(|tensor| !tensor.is_copied);
                let units = merged.map(|tensor| (tensor.place.clone(), Gram::identity(models)));
                Statistics::Gram(GramTable::new(models, units))
            }
        })
    }

    /// Bytes of all inputs of the tensors that a first pass measures.
    pub(crate) fn bytes_of_first_pass(&self) -> u64 {
        let merged = self.tensors.iter().filter(|tensor| !tensor.is_copied);
        merged.map(Work::bytes).sum()
    }

    /// Bytes of tensors that making those of some files by these rules reads, where nothing can be held between passes over
    /// a tensor.
    pub(crate) fn bytes_by(&self, rules: &[Option<Box<dyn Rule>>], has_file: impl Fn(usize) -> bool) -> u64 {
        let of = |tensor: &Work, rule: &Option<Box<dyn Rule>>| {
            let Some(rule) = rule else {
                return tensor.bytes();
            };
            match rule.next(&[]) {
                Ok(Step::WeightedSum { base, models }) if !self.measures_on_the_way() => {
                    let inputs = tensor.inputs.iter().enumerate();
                    inputs
                        .filter(|(member, _)| coefficient(base, &models, *member, tensor.inputs.len()) != 0.0)
                        .map(|(_, input)| tensor.bytes_of(input))
                        .sum()
                }
                _ => tensor.bytes() * rule.passes() as u64,
            }
        };
        self.tensors
            .iter()
            .zip(rules)
            .filter(|(tensor, _)| has_file(tensor.shard))
            .map(|(tensor, rule)| of(tensor, rule))
            .sum()
    }
}
