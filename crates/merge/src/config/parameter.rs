//! A method's parameter as mergekit's users write it: a scalar, a gradient over the layers, or a list of filters.
//!
//! Neighbours: [`super::decode`] reads it, a method asks for its value at one tensor through [`crate::method`]. All
//! three forms are one list of cases, the first that matches a tensor's name wins.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

/// One plain value of a parameter.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    /// `true` or `false`.
    Flag(bool),
    /// A finite number.
    Number(f64),
    /// A word out of a method's list.
    Word(String),
}

/// A value that may change with depth.
#[derive(Clone, Debug, PartialEq)]
pub enum Setting {
    /// The same for every layer.
    Scalar(Scalar),
    /// Interpolated linearly from the first layer (first number) to the last (last number); never empty. Tensors
    /// outside the layers (embeddings, final norm, head) take the first number, as in mergekit.
    Gradient(Vec<f64>),
}

/// A setting for the tensors whose name contains `filter`; all tensors if it is absent or `*`.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// Part of a tensor's name.
    pub filter: Option<String>,
    /// What holds for those tensors.
    pub setting: Setting,
}

/// All that is written for one parameter in one place.
#[derive(Clone, Debug, PartialEq)]
pub struct ParameterValue {
    /// In order of precedence.
    pub cases: Vec<Case>,
}

impl From<Scalar> for ParameterValue {
    fn from(scalar: Scalar) -> Self {
        ParameterValue {
            cases: vec![Case {
                filter: None,
                setting: Setting::Scalar(scalar),
            }],
        }
    }
}

impl From<f64> for ParameterValue {
    fn from(number: f64) -> Self {
        Scalar::Number(number).into()
    }
}

impl From<bool> for ParameterValue {
    fn from(flag: bool) -> Self {
        Scalar::Flag(flag).into()
    }
}

impl From<&str> for ParameterValue {
    fn from(word: &str) -> Self {
        Scalar::Word(word.to_string()).into()
    }
}

impl ParameterValue {
    /// The value for a tensor at `depth` (0 first layer, 1 last layer), `None` if no filter matches its name.
    pub fn at(&self, tensor: &str, depth: f64) -> Option<Cow<'_, Scalar>> {
        let case = self.cases.iter().find(|case| match case.filter.as_deref() {
            None | Some("*") => true,
            Some(part) => tensor.contains(part),
        })?;
        Some(match &case.setting {
            Setting::Scalar(scalar) => Cow::Borrowed(scalar),
            Setting::Gradient(points) => Cow::Owned(Scalar::Number(interpolate(points, depth))),
        })
    }

    /// The value that holds whatever the tensor, if there is one.
    pub fn uniform(&self) -> Option<&Scalar> {
        match self.cases.first() {
            Some(Case {
                filter: None,
                setting: Setting::Scalar(scalar),
            }) => Some(scalar),
            Some(Case {
                filter: Some(filter),
                setting: Setting::Scalar(scalar),
            }) if filter == "*" => Some(scalar),
            _ => None,
        }
    }

    /// Every plain value that may come out.
    pub(crate) fn scalars(&self) -> Vec<Scalar> {
        let mut scalars = Vec::new();
        for case in &self.cases {
            match &case.setting {
                Setting::Scalar(scalar) => scalars.push(scalar.clone()),
                Setting::Gradient(points) => {
                    scalars.extend(points.iter().map(|point| Scalar::Number(*point)))
                }
            }
        }
        scalars
    }
}

/// Linear interpolation over equally spaced points; `depth` in [0, 1].
fn interpolate(points: &[f64], depth: f64) -> f64 {
    let Some(last) = points.len().checked_sub(1) else {
        return 0.0;
    };
    let at = depth.clamp(0.0, 1.0) * last as f64;
    let left = (at.floor() as usize).min(last);
    let right = (left + 1).min(last);
    let share = at - left as f64;
    if share == 0.0 {
        points[left]
    } else {
        points[left] * (1.0 - share) + points[right] * share
    }
}

impl Serialize for Scalar {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Scalar::Flag(flag) => serializer.serialize_bool(*flag),
            // `weight: 1` stays `1`, so that a card shows what the user wrote.
            Scalar::Number(number) if number.fract() == 0.0 && number.abs() < 1e15 => {
                serializer.serialize_i64(*number as i64)
            }
            Scalar::Number(number) => serializer.serialize_f64(*number),
            Scalar::Word(word) => serializer.serialize_str(word),
        }
    }
}

impl Serialize for Setting {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Setting::Scalar(scalar) => scalar.serialize(serializer),
            Setting::Gradient(points) => {
                let mut list = serializer.serialize_seq(Some(points.len()))?;
                for point in points {
                    list.serialize_element(&Scalar::Number(*point))?;
                }
                list.end()
            }
        }
    }
}

impl Serialize for Case {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(filter) = &self.filter {
            map.serialize_entry("filter", filter)?;
        }
        map.serialize_entry("value", &self.setting)?;
        map.end()
    }
}

impl Serialize for ParameterValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.cases.as_slice() {
            [
                Case {
                    filter: None,
                    setting,
                },
            ] => setting.serialize(serializer),
            cases => cases.serialize(serializer),
        }
    }
}

impl JsonSchema for ParameterValue {
    fn schema_name() -> Cow<'static, str> {
        "ParameterValue".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "a scalar, a gradient over the layers, or a list of {filter, value}",
            "anyOf": [
                {"type": ["number", "boolean", "string"]},
                {"type": "array", "items": {"type": "number"}, "minItems": 1},
                {"type": "array", "minItems": 1, "items": {
                    "type": "object",
                    "required": ["value"],
                    "additionalProperties": false,
                    "properties": {
                        "filter": {"type": ["string", "null"]},
                        "value": {"anyOf": [
                            {"type": ["number", "boolean", "string"]},
                            {"type": "array", "items": {"type": "number"}, "minItems": 1}
                        ]}
                    }
                }}
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(value: Option<Cow<'_, Scalar>>) -> f64 {
        match value.map(Cow::into_owned) {
            Some(Scalar::Number(number)) => number,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn gradients_interpolate_between_their_points() {
        let points = [0.0, 1.0, 0.5];
        for (depth, expected) in [
            (0.0, 0.0),
            (0.25, 0.5),
            (0.5, 1.0),
            (0.75, 0.75),
            (1.0, 0.5),
            (7.0, 0.5),
        ] {
            assert_eq!(interpolate(&points, depth), expected, "{depth}");
        }
        assert_eq!(interpolate(&[0.3], 0.9), 0.3);
    }

    #[test]
    fn the_first_matching_filter_wins() {
        let case = |filter: Option<&str>, setting| Case {
            filter: filter.map(str::to_string),
            setting,
        };
        let value = ParameterValue {
            cases: vec![
                case(Some("self_attn"), Setting::Gradient(vec![0.0, 1.0])),
                case(Some("mlp"), Setting::Scalar(Scalar::Number(0.25))),
                case(None, Setting::Scalar(Scalar::Number(0.5))),
            ],
        };
        assert_eq!(
            number(value.at("model.layers.3.self_attn.q_proj.weight", 0.75)),
            0.75
        );
        assert_eq!(number(value.at("model.layers.3.mlp.up_proj.weight", 0.75)), 0.25);
        assert_eq!(number(value.at("lm_head.weight", 0.0)), 0.5);
        assert!(value.uniform().is_none());
        assert_eq!(
            serde_json::to_string(&value).unwrap(),
            r#"[{"filter":"self_attn","value":[0,1]},{"filter":"mlp","value":0.25},{"value":0.5}]"#
        );
        assert_eq!(serde_json::to_string(&ParameterValue::from(1.0)).unwrap(), "1");
    }
}
