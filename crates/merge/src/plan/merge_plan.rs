//! A merge that has been checked and decided: what is read, how it combines, where it goes.

use std::collections::BTreeMap;

use serde_json::Value;
use tributary_tensorfile::ModelLayout;

use super::build::MergeOptions;
use super::summary::PlanSummary;
use crate::config::{MergeSpec, ParameterValue};
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
    pub(crate) warnings: Vec<String>,
    pub(super) bytes_to_read: u64,
}

impl MergePlan {
    /// The plan in figures.
    pub fn summary(&self) -> PlanSummary {
        let sizing = self.sizing(true).ok();
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
            passes: self.footprint.passes as u32
                + u32::from(self.method.first_pass(&self.settings()) == FirstPass::Gram),
            memory: sizing.map_or(0, |sizing| sizing.bytes + sizing.hold),
            workers: sizing.map_or(0, |sizing| sizing.workers),
            block_elements: sizing.map_or(0, |sizing| sizing.block),
            warnings: self.warnings.clone(),
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

    /// The merged models and what reports call them.
    pub(crate) fn models(&self) -> impl Iterator<Item = &(String, Source)> {
        self.inputs.iter().skip(usize::from(self.uses_base()))
    }

    pub(crate) fn uses_base(&self) -> bool {
        self.method.base().reads_base(self.base.is_some())
    }

    pub(crate) fn parameter_count(&self) -> u64 {
        let merged = self.tensors.iter().filter(|tensor| tensor.copied_from.is_none());
        merged.map(|tensor| tensor.spec.elements() as u64).sum()
    }

    pub(crate) fn settings(&self) -> Settings<'_> {
        let models = self.models().map(|(name, _)| name.as_str()).zip(&self.parameters);
        Settings::new(self.method, &self.spec.parameters, models).with_base(self.uses_base())
    }

    /// How every tensor is made, in the order of the tensors; `None` for copied ones.
    pub(crate) fn rules(&self, statistics: &Statistics) -> Result<Vec<Option<Box<dyn Rule>>>> {
        let settings = self.settings();
        let rule = |tensor: &Work| match tensor.copied_from {
            Some(_) => Ok(None),
            None => self
                .method
                .rule(&tensor.place, &settings, statistics)
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

    /// ‖τ‖² of each model as its manifest records it: fact `distance_squared`, `{"from": digest of the base's
    /// manifest, "value": number}`. `None` for a model that records none, or one from another base.
    pub(crate) fn noted_norms(&self) -> Vec<Option<f64>> {
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
            && self.method.first_pass(&self.settings()) == FirstPass::None
    }

    /// Statistics as if all task vectors were of unit length and at right angles: what rules are asked with before
    /// anything was read, so that a parameter without a value shows now.
    pub(super) fn supposed_statistics(&self) -> Result<Statistics> {
        Ok(match self.method.first_pass(&self.settings()) {
            FirstPass::None => Statistics::None,
            FirstPass::RecordedNorms => Statistics::RecordedNorms(self.recorded_norms()?),
            FirstPass::Gram => {
                let models = self.models().count();
                let merged = self.tensors.iter().filter(|tensor| tensor.copied_from.is_none());
                let units = merged.map(|tensor| (tensor.place.clone(), Gram::identity(models)));
                Statistics::Gram(GramTable::new(models, units))
            }
        })
    }

    /// Bytes of all inputs of the tensors that a first pass measures.
    pub(crate) fn bytes_of_first_pass(&self) -> u64 {
        let merged = self.tensors.iter().filter(|tensor| tensor.copied_from.is_none());
        merged.map(Work::bytes).sum()
    }

    /// Bytes of tensors that making them by these rules reads, where nothing can be held between passes over a tensor.
    pub(crate) fn bytes_by(&self, rules: &[Option<Box<dyn Rule>>]) -> u64 {
        let of = |tensor: &Work, rule: &Option<Box<dyn Rule>>| {
            let Some(rule) = rule else {
                return tensor.bytes();
            };
            match rule.next(&[]) {
                Ok(Step::WeightedSum { base, models }) if !self.measures_on_the_way() => {
                    (0..self.inputs.len())
                        .filter(|input| coefficient(base, &models, *input, self.inputs.len()) != 0.0)
                        .filter_map(|input| tensor.inputs.get(input)?.as_ref())
                        .map(|info| info.bytes)
                        .sum()
                }
                _ => tensor.bytes() * rule.passes() as u64,
            }
        };
        self.tensors
            .iter()
            .zip(rules)
            .map(|(tensor, rule)| of(tensor, rule))
            .sum()
    }
}
