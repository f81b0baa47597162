//! The parameters of one merge, looked up the way mergekit does: a model's own, then the document's, then the default.

use std::collections::BTreeMap;

use super::{Kind, Method, TensorPlace};
use crate::config::{ParameterValue, Scalar};

/// What a method asks for its parameters' values. The values have been checked ([`crate::config`]), so an error here
/// means that filters leave a tensor without a value.
#[derive(Clone)]
pub struct Settings<'a> {
    method: &'a dyn Method,
    merge: &'a BTreeMap<String, ParameterValue>,
    models: Vec<&'a BTreeMap<String, ParameterValue>>,
    names: Vec<&'a str>,
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
        }
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
