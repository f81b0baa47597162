//! The parameters of one merge, looked up the way mergekit does: a model's own, then the document's, then the default.

use super::shares::{Extent, shares};
use super::{BaseUse, Kind, Method, Statistics, TensorPlace};
use crate::config::{Compat, ParameterValue, Parameters, Scalar};

/// What a method asks for its parameters' values. The values have been checked ([`crate::config`]), so an error here
/// means that filters leave a tensor without a value.
#[derive(Clone)]
pub struct Settings<'a> {
    method: &'a dyn Method,
    /// For all models, the nearest first: slice, module, document.
    levels: Vec<&'a Parameters>,
    models: Vec<&'a Parameters>,
    names: Vec<&'a str>,
    has_base: bool,
    compat: Option<Compat>,
    doses: Vec<Option<f64>>,
}

impl<'a> Settings<'a> {
    /// `levels` are parameters for all models, the nearest first; `models` are the merged models (without the base):
    /// display name and own parameters, which go before the levels.
    pub fn new(
        method: &'a dyn Method,
        levels: impl IntoIterator<Item = &'a Parameters>,
        models: impl IntoIterator<Item = (&'a str, &'a Parameters)>,
    ) -> Settings<'a> {
        let (names, models) = models.into_iter().unzip();
        Settings {
            method,
            levels: levels.into_iter().collect(),
            models,
            names,
            has_base: method.base() == BaseUse::Required,
            compat: None,
            doses: Vec::new(),
        }
    }

    /// As it is, with the defaults of another program where they differ from ours.
    #[must_use]
    pub fn with_compat(mut self, compat: Option<Compat>) -> Settings<'a> {
        self.compat = compat;
        self
    }

    /// As it is, of a merge with or without a base that is read.
    #[must_use]
    pub fn with_base(mut self, has_base: bool) -> Settings<'a> {
        self.has_base = has_base;
        self
    }

    /// Is a base read?
    pub fn has_base(&self) -> bool {
        self.has_base
    }

    /// How many models are merged.
    pub fn models(&self) -> usize {
        self.models.len()
    }

    /// Display name of a model.
    pub fn name(&self, model: usize) -> &str {
        self.names.get(model).copied().unwrap_or("a model")
    }

    /// A number of each model at one tensor.
    pub fn model_numbers(&self, name: &str, tensor: &TensorPlace) -> Result<Vec<f64>, String> {
        (0..self.models.len())
            .map(|model| self.model_number(name, model, tensor))
            .collect()
    }

    fn model_number(&self, name: &str, model: usize, tensor: &TensorPlace) -> Result<f64, String> {
        let own = self.models.get(model).and_then(|parameters| parameters.get(name));
        let found = own
            .into_iter()
            .chain(self.written(name))
            .find_map(|value| value.at(&tensor.name, tensor.depth));
        // A weight that is written for some tensors is meant for these: no default takes its place elsewhere.
        let is_partial = name == "weight" && (own.is_some() || self.written(name).next().is_some());
        let default = || self.default(name).filter(|_| !is_partial);
        match found.map(|scalar| scalar.into_owned()).or_else(default) {
            Some(Scalar::Number(number)) => Ok(number),
            Some(_) => Err(format!("{name:?} is not a number")),
            None => Err(format!(
                "{name:?} of {} has no value here: add a case without a filter",
                self.name(model)
            )),
        }
    }

    /// The word that stands for all weights, if one is written: see [`super::shares`].
    pub fn measured_weights(&self) -> Option<&'static str> {
        let parameter = self
            .method
            .parameters()
            .iter()
            .find(|parameter| parameter.name == "weight")?;
        let Kind::NumberOr(words) = parameter.kind else {
            return None;
        };
        let written = self.levels.iter().find_map(|level| level.get("weight"))?;
        match written.uniform() {
            Some(Scalar::Word(word)) => words.iter().find(|known| *known == word).copied(),
            _ => None,
        }
    }

    /// The `weight` of each model at one tensor: as written, or as `statistics` give it.
    pub fn weights(&self, tensor: &TensorPlace, statistics: &Statistics) -> Result<Vec<f64>, String> {
        let Some(word) = self.measured_weights() else {
            return self.model_numbers("weight", tensor);
        };
        let found = shares(self, statistics, tensor, Extent::from_word(word), None)?;
        // Where no model differs from the base, any weights do.
        Ok(found.unwrap_or_else(|| vec![1.0 / self.models().max(1) as f64; self.models()]))
    }

    /// As it is, of models whose trainings recorded these doses.
    #[must_use]
    pub fn with_doses(mut self, doses: Vec<Option<f64>>) -> Settings<'a> {
        self.doses = doses;
        self
    }

    /// The dose of each model's training, if the document asks for them.
    pub fn doses(&self) -> Result<Option<Vec<f64>>, String> {
        if self.word("dose") != Some("recorded") {
            return Ok(None);
        }
        let dose = |model: usize| {
            let dose = self.doses.get(model).copied().flatten();
            dose.ok_or_else(|| {
                format!(
                    "the manifest of {} records no dose; leave \"dose\" out",
                    self.name(model)
                )
            })
        };
        (0..self.models()).map(dose).collect::<Result<_, _>>().map(Some)
    }

    /// As [`Self::model_numbers`], of numbers that must be in 0..=1.
    pub fn model_shares(&self, name: &str, tensor: &TensorPlace) -> Result<Vec<f64>, String> {
        let numbers = self.model_numbers(name, tensor)?;
        match numbers.iter().position(|number| !(0.0..=1.0).contains(number)) {
            None => Ok(numbers),
            Some(model) => Err(format!(
                "{name:?} of {} is {}, not in 0..=1",
                self.name(model),
                numbers[model]
            )),
        }
    }

    /// A number of the whole merge at one tensor.
    pub fn tensor_number(&self, name: &str, tensor: &TensorPlace) -> Result<f64, String> {
        let written = self
            .written(name)
            .find_map(|value| value.at(&tensor.name, tensor.depth));
        match written
            .map(|scalar| scalar.into_owned())
            .or_else(|| self.default(name))
        {
            Some(Scalar::Number(number)) => Ok(number),
            Some(_) => Err(format!("{name:?} is not a number")),
            None => Err(format!("{name:?} has no value here: add a case without a filter")),
        }
    }

    /// A number of the whole merge.
    pub fn number(&self, name: &str) -> Result<f64, String> {
        match self.merge_wide(name) {
            Some(Scalar::Number(number)) => Ok(number),
            _ => Err(format!("{name:?} is not a number")),
        }
    }

    /// A whole number of the whole merge, from 0.
    pub fn count(&self, name: &str) -> Result<u64, String> {
        let number = self.number(name)?;
        if number.fract() != 0.0 || !(0.0..=9_007_199_254_740_992.0).contains(&number) {
            return Err(format!("{name:?} is {number}, not a whole number from 0"));
        }
        Ok(number as u64)
    }

    /// A flag of the whole merge.
    pub fn flag(&self, name: &str) -> Result<bool, String> {
        match self.merge_wide(name) {
            Some(Scalar::Flag(flag)) => Ok(flag),
            _ => Err(format!("{name:?} is neither true nor false")),
        }
    }

    /// A word of the whole merge: the one in the method's list.
    pub fn word(&self, name: &str) -> Option<&'static str> {
        let word = match self.merge_wide(name)? {
            Scalar::Word(word) => word,
            // `rescale: false` is mergekit's; true is the default.
            Scalar::Flag(false) => "none".to_string(),
            Scalar::Flag(true) => match self.default(name)? {
                Scalar::Word(word) => word,
                _ => return None,
            },
            Scalar::Number(_) => return None,
        };
        let parameter = self
            .method
            .parameters()
            .iter()
            .find(|parameter| parameter.name == name)?;
        let Kind::Word(words) = parameter.kind else {
            return None;
        };
        words.iter().find(|known| **known == word).copied()
    }

    /// The value of a parameter that has one for the whole merge, a default included.
    pub(crate) fn merge_wide(&self, name: &str) -> Option<Scalar> {
        self.written(name)
            .find_map(|value| value.uniform().cloned())
            .or_else(|| self.default(name))
    }

    /// What is written for all models, the nearest first.
    fn written(&self, name: &str) -> impl Iterator<Item = &'a ParameterValue> {
        self.levels
            .iter()
            .filter_map(move |level| level.get(name))
            .collect::<Vec<_>>()
            .into_iter()
    }

    fn default(&self, name: &str) -> Option<Scalar> {
        let parameter = self
            .method
            .parameters()
            .iter()
            .find(|parameter| parameter.name == name)?;
        let theirs = self.compat.and_then(|compat| parameter.default_in(compat));
        theirs.or(parameter.default).map(|default| default.to_scalar())
    }
}
