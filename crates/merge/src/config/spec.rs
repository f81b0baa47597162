//! The typed merge document.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, SerializeMap, Serializer};
use tributary_tensorfile::DType;

use super::decode::{decode_parameter, float_type};
use super::decode_document::decode_token_source;
use super::parameter::ParameterValue;
use super::problem::Problem;
use super::tree::Node;

/// A merge, in mergekit's words. Fields that are not given are left out when written. Exactly one of `models`, `slices`
/// and `modules` is given.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MergeSpec {
    /// What other documents of the same file call the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The method: one of mergekit's, or `metagpt`.
    pub merge_method: String,
    /// The model the others were fine-tuned from: path or address of a model directory or artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_model: Option<String>,
    /// The models to merge, whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<ModelSpec>,
    /// The layers of the result, stretch by stretch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slices: Vec<SliceSpec>,
    /// Parts of the model by name; here there is one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub modules: BTreeMap<String, ModuleSpec>,
    /// Parameters of the merge, and defaults for the models' own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: Parameters,
    /// In mergekit the type everything is computed in; here it only decides the output type if `out_dtype` is not
    /// given, because arithmetic is always done in at least `float32`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtype: Option<FloatType>,
    /// Type of the tensors written; without it (and without `dtype`) each tensor keeps the type it has in the base
    /// model, or in the first model if there is no base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_dtype: Option<FloatType>,
    /// Whose tokenizer goes with the result: `base` (the base model's, else the first model's), `union` (the base's and
    /// every other token of the models) or one of the models. Rows of embeddings are matched by token. Without it the
    /// tokenizer is the base's and rows are matched by number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer_source: Option<String>,
    /// As `tokenizer_source`, with the source of single tokens and the number of rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<TokenizerSpec>,
    /// The chat template of the result: `auto` (the one most models have), a known name, or the template itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat_template: Option<String>,
    /// `mergekit`: where mergekit differs from the papers' formulas, do as mergekit does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compat: Option<Compat>,
}

/// What is written for the parameters of a method in one place.
pub type Parameters = BTreeMap<String, ParameterValue>;

/// One model of a merge.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// Path or address of a model directory or artifact; in a merge file also `MODEL+ADAPTER`.
    pub model: String,
    /// A PEFT adapter that is put into the model; a merge file may say `MODEL+ADAPTER` instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<String>,
    /// What reports call it; without it the last part of the path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its own parameters, which go before those of the merge.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: Parameters,
}

/// A stretch of the result's layers.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SliceSpec {
    /// The layers it is made of: as many of each model.
    pub sources: Vec<SourceSpec>,
    /// The base of this slice, in place of the document's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_model: Option<String>,
    /// Parameters that go before the module's and the document's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: Parameters,
}

/// Some layers of a model.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceSpec {
    /// Path or address of a model directory or artifact; in a merge file also `MODEL+ADAPTER`.
    pub model: String,
    /// A PEFT adapter that is put into the model; a merge file may say `MODEL+ADAPTER` instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<String>,
    /// The first layer, from 0, and the one after the last.
    pub layer_range: (usize, usize),
    /// Its own parameters, which go before those of the slice.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: Parameters,
}

/// A named part of a model: either `models` or `slices`.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModuleSpec {
    /// The models to merge, whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<ModelSpec>,
    /// The layers of the result, stretch by stretch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slices: Vec<SliceSpec>,
    /// Parameters that go before the document's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: Parameters,
}

/// The tokenizer of the result and the rows of its embeddings.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenizerSpec {
    /// `union` (the default), `base`, or one of the models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Tokens whose rows come from elsewhere; those the tokenizer has not are added to it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tokens: BTreeMap<String, TokenSpec>,
    /// The number of rows is rounded up to a multiple of this; rows of no token are the mean of the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pad_to_multiple_of: Option<usize>,
}

/// Where the rows of one token come from.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenSpec {
    /// Without it: the base's row, else the only owner's, else the mean of the owners.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<TokenSource>,
    /// Also for models that have a row of their own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
}

/// A row of an embedding.
#[derive(Clone, Debug, PartialEq)]
pub enum TokenSource {
    /// Of this token, in a model.
    Model(String),
    /// Zeros.
    Zero,
    /// Of another token of a model.
    Token {
        /// The model.
        model: String,
        /// The token.
        token: TokenName,
    },
}

/// A token of a tokenizer.
#[derive(Clone, Debug, PartialEq)]
pub enum TokenName {
    /// By its text.
    Text(String),
    /// By its number.
    Number(usize),
}

impl Serialize for TokenSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = match self {
            TokenSource::Model(model) => return serializer.serialize_str(model),
            _ => serializer.serialize_map(None)?,
        };
        match self {
            TokenSource::Token { model, token } => {
                map.serialize_entry("kind", "model_token")?;
                map.serialize_entry("model", model)?;
                match token {
                    TokenName::Text(text) => map.serialize_entry("token", text)?,
                    TokenName::Number(number) => map.serialize_entry("token_id", number)?,
                }
            }
            TokenSource::Zero | TokenSource::Model(_) => map.serialize_entry("kind", "zero")?,
        }
        map.end()
    }
}

impl JsonSchema for TokenSource {
    fn schema_name() -> Cow<'static, str> {
        "TokenSource".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "a model, {kind: zero}, or {kind: model_token, model, token | token_id}",
            "anyOf": [
                {"type": "string"},
                {"type": "object", "required": ["kind"], "additionalProperties": false, "properties": {
                    "kind": {"enum": ["zero", "model_token"]},
                    "model": {"type": "string"},
                    "token": {"type": "string"},
                    "token_id": {"type": "integer", "minimum": 0}
                }}
            ]
        })
    }
}

/// Whose behaviour is wanted where ours differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compat {
    /// mergekit's.
    Mergekit,
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

    /// Whose tokenizer is asked for, if the document says so.
    pub fn tokenizer_wanted(&self) -> Option<&str> {
        let said = self
            .tokenizer
            .as_ref()
            .map(|tokenizer| tokenizer.source.as_deref());
        said.map(|source| source.unwrap_or("union"))
            .or(self.tokenizer_source.as_deref())
    }

    /// Every place that names a model, and what it names.
    pub fn references(&self) -> Vec<(String, &str)> {
        super::groups::references(self)
    }

    /// The same document with every model called by what `call` makes of its reference.
    #[must_use]
    pub fn renamed(&self, call: impl Fn(&str) -> String) -> MergeSpec {
        super::groups::renamed(self, &call)
    }

    /// The same document with every model and its adapter as one reference, `MODEL+ADAPTER`.
    #[must_use]
    pub fn joined(&self) -> MergeSpec {
        super::groups::joined(self)
    }

    /// Every mistake that shows without looking at the models: method, parameters, roles.
    pub fn check(&self) -> Vec<Problem> {
        super::check::check(self)
    }
}

/// Reads a row's source out of any format of serde; all its mistakes are in the one error.
impl<'de> Deserialize<'de> for TokenSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<TokenSource, D::Error> {
        let node = Node::from(serde_json::Value::deserialize(deserializer)?);
        decode_token_source(&node).map_err(|problems| D::Error::custom(one_line(&problems)))
    }
}

impl std::fmt::Display for TokenName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TokenName::Text(text) => write!(f, "the token {text:?}"),
            TokenName::Number(number) => write!(f, "token number {number}"),
        }
    }
}
