//! The typed merge document.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, Serializer};
use tributary_tensorfile::DType;

use super::decode::{decode, decode_parameter, float_type};
use super::parameter::ParameterValue;
use super::problem::Problem;
use super::tree::Node;

/// A merge, in mergekit's words. Fields that are not given are left out when written.
#[derive(Clone, Debug, PartialEq, serde::Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct MergeSpec {
    /// The method: one of mergekit's, or `metagpt`.
    pub merge_method: String,
    /// The model the others were fine-tuned from: path or address of a model directory or artifact.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_model: Option<String>,
    /// The models to merge.
    pub models: Vec<ModelSpec>,
    /// Parameters of the merge, and defaults for the models' own.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(default)]
    pub parameters: BTreeMap<String, ParameterValue>,
    /// In mergekit the type everything is computed in; here it only decides the output type if `out_dtype` is not
    /// given, because arithmetic is always done in at least `float32`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dtype: Option<FloatType>,
    /// Type of the tensors written; without it (and without `dtype`) each tensor keeps the type it has in the base
    /// model, or in the first model if there is no base.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub out_dtype: Option<FloatType>,
    /// Whose tokenizer goes with the result: `base` (the default: the base model's, else the first model's) or one of
    /// the models.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizer_source: Option<String>,
}

/// One model of a merge.
#[derive(Clone, Debug, PartialEq, serde::Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct ModelSpec {
    /// Path or address of a model directory or artifact.
    pub model: String,
    /// What reports call it; without it the last part of the path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its own parameters, which go before those of the merge.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(default)]
    pub parameters: BTreeMap<String, ParameterValue>,
}

/// A type of floating-point numbers in a model file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub enum FloatType {
    /// IEEE single precision.
    Float32,
    /// IEEE half precision.
    Float16,
    /// The upper half of a `float32`.
    Bfloat16,
}

impl FloatType {
    pub(crate) const ALL: [FloatType; 3] = [FloatType::Float32, FloatType::Float16, FloatType::Bfloat16];

    /// As configuration files and `torch_dtype` spell it.
    pub fn name(self) -> &'static str {
        match self {
            FloatType::Float32 => "float32",
            FloatType::Float16 => "float16",
            FloatType::Bfloat16 => "bfloat16",
        }
    }

    /// The type of that name, with or without `torch.` before it.
    pub fn from_name(name: &str) -> Option<FloatType> {
        let name = name.strip_prefix("torch.").unwrap_or(name);
        FloatType::ALL.into_iter().find(|known| known.name() == name)
    }

    /// The type in a tensor file.
    pub fn dtype(self) -> DType {
        match self {
            FloatType::Float32 => DType::F32,
            FloatType::Float16 => DType::F16,
            FloatType::Bfloat16 => DType::BF16,
        }
    }
}

impl Serialize for FloatType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// Reads the name of a type, as a document spells it.
impl<'de> Deserialize<'de> for FloatType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<FloatType, D::Error> {
        float_type(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// Reads one parameter out of any format of serde; all its mistakes are in the one error.
impl<'de> Deserialize<'de> for ParameterValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ParameterValue, D::Error> {
        let node = Node::from(serde_json::Value::deserialize(deserializer)?);
        decode_parameter(&node).map_err(|problems| D::Error::custom(one_line(&problems)))
    }
}

fn one_line(problems: &[Problem]) -> String {
    let problems: Vec<String> = problems.iter().map(Problem::to_string).collect();
    problems.join("; ")
}

impl MergeSpec {
    /// The type of every written tensor, if the document decides it.
    pub fn output_type(&self) -> Option<FloatType> {
        self.out_dtype.or(self.dtype)
    }

    /// Every mistake that shows without looking at the models: method, parameters, roles.
    pub fn check(&self) -> Vec<Problem> {
        super::check::check(self)
    }
}

/// Reads the document out of any format of serde; all its mistakes are in the one error.
impl<'de> Deserialize<'de> for MergeSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<MergeSpec, D::Error> {
        let decoded = decode(&Node::from(serde_json::Value::deserialize(deserializer)?));
        match decoded.spec {
            Some(spec) if decoded.problems.is_empty() => Ok(spec),
            _ => Err(D::Error::custom(one_line(&decoded.problems))),
        }
    }
}
