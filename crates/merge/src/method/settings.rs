//! The parameters of one merge, looked up the way mergekit does: a model's own, then the document's, then the default.

use std::collections::BTreeMap;

use super::{BaseUse, Kind, Method, TensorPlace};
use crate::config::{ParameterValue, Scalar};

/// What a method asks for its parameters' values. The values have been checked ([`crate::config`]), so an error here
/// means that filters leave a tensor without a value.
#[derive(Clone)]
pub struct Settings<'a> {
    method: &'a dyn Method,
    merge: &'a BTreeMap<String, ParameterValue>,
    models: Vec<&'a BTreeMap<String, ParameterValue>>,
    names: Vec<&'a str>,
    has_base: bool,
}

impl<'a> Settings<'a> {
    /// `models` are the merged models (without the base): display name and own parameters.
    pub fn new(
        method: &'a dyn Method,
        merge: &'a BTreeMap<String, ParameterValue>,
        models: impl IntoIterator<Item = (&'a str, &'a BTreeMap<String, ParameterValue>)>,
    ) -> Settings<'a> {
        let (names, models) = models.into_iter().unzip();
        Settings {
            method,
            merge,
            models,
            names,
            has_base: method.base() == BaseUse::Required,
        }
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
        let found = [own, self.merge.get(name)]
            .into_iter()
            .flatten()
            .find_map(|value| value.at(&tensor.name, tensor.depth));
        match found
            .map(|scalar| scalar.into_owned())
            .or_else(|| self.default(name))
        {
            Some(Scalar::Number(number)) => Ok(number),
            Some(_) => Err(format!("{name:?} is not a number")),
            None => Err(format!(
                "{name:?} of {} has no value here: add a case without a filter",
                self.name(model)
            )),
        }
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
            .merge
            .get(name)
            .and_then(|value| value.at(&tensor.name, tensor.depth));
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

    /// A flag of the whole merge.
    pub fn flag(&self, name: &str) -> Result<bool, String> {
        match self.merge_wide(name) {
            Some(Scalar::Flag(flag)) => Ok(flag),
            _ => Err(format!("{name:?} is neither true nor false")),
        }
    }

    /// A word of the whole merge: the one in the method's list.
    pub fn word(&self, name: &str) -> Option<&'static str> {
        let Some(Scalar::Word(word)) = self.merge_wide(name) else {
            return None;
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

    fn merge_wide(&self, name: &str) -> Option<Scalar> {
        self.merge
            .get(name)
            .and_then(|value| value.uniform().cloned())
            .or_else(|| self.default(name))
    }

    fn default(&self, name: &str) -> Option<Scalar> {
        let parameter = self
            .method
            .parameters()
            .iter()
            .find(|parameter| parameter.name == name)?;
        parameter.default.map(|default| default.to_scalar())
    }
}
