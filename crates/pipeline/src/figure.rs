//! The vocabulary between jobs and the report: what a step wants shown, without saying how it looks.
//!
//! A job returns figures with its [`crate::Outcome`]; the runner stores them as [`FIGURES`] in the step's
//! artifact; the report draws them. Invariants: deterministic (no clock in it; times live in run records), and
//! every number survives the JSON: a value that is not finite is written as `null` and read back as NaN.

use serde::{Deserialize, Serialize};

/// Name of the object in an artifact that holds its figures, a JSON array.
pub const FIGURES: &str = "figures.json";

/// One thing to show.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "figure", rename_all = "snake_case", deny_unknown_fields)]
pub enum Figure {
    /// Curves over a shared x axis, for instance a loss over steps.
    Series {
        /// Heading.
        title: String,
        /// What x counts, with its unit.
        x_label: String,
        /// What y measures, with its unit.
        y_label: String,
        /// The curves.
        lines: Vec<Line>,
    },
    /// Cells of the model-by-data-set table. The report joins the scores of all steps into one table.
    Scores {
        /// The cells.
        scores: Vec<Score>,
    },
    /// A grid of numbers with named rows and columns, for instance cosines between task vectors.
    Matrix {
        /// Heading.
        title: String,
        /// Row names.
        rows: Vec<String>,
        /// Column names.
        columns: Vec<String>,
        /// `values[row][column]`.
        #[serde(with = "number_rows")]
        values: Vec<Vec<f64>>,
    },
    /// A grid of text.
    Table {
        /// Heading.
        title: String,
        /// Column names.
        columns: Vec<String>,
        /// `rows[row][column]`.
        rows: Vec<Vec<String>>,
    },
    /// Remarks, for instance the warnings of a merge.
    Notes {
        /// The remarks, in order.
        notes: Vec<Note>,
    },
}

/// One curve of [`Figure::Series`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Name in the legend.
    pub name: String,
    /// Abscissas, as many as `y`.
    #[serde(with = "numbers")]
    pub x: Vec<f64>,
    /// Ordinates.
    #[serde(with = "numbers")]
    pub y: Vec<f64>,
    /// How it is drawn.
    #[serde(default, skip_serializing_if = "Drawn::is_curve")]
    pub drawn: Drawn,
}

/// How a [`Line`] is drawn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Drawn {
    /// Joined.
    #[default]
    Curve,
    /// Joined by a thin line: the edge of a band.
    Edge,
    /// Every point on its own.
    Points,
}

impl Drawn {
    fn is_curve(&self) -> bool {
        *self == Drawn::Curve
    }
}

/// One measured value of one model on one data set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Score {
    /// Row of the table: the model's display name.
    pub model: String,
    /// Column: the data set's display name.
    pub dataset: String,
    /// For instance `nll` (nats a token) or `perplexity`.
    pub metric: String,
    /// The value.
    #[serde(with = "number")]
    pub value: f64,
    /// Its standard error in the same unit, if known.
    pub stderr: Option<f64>,
    /// How many observations the value stands on (documents, tokens or questions; the metric says which).
    pub count: u64,
    /// Whether the smaller of two values is the better one.
    pub lower_is_better: bool,
}

/// How much a reader should care.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Worth knowing.
    Info,
    /// Worth acting on.
    Warning,
}

/// One remark of [`Figure::Notes`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Note {
    /// How much a reader should care.
    pub level: Level,
    /// A sentence.
    pub text: String,
}

impl Note {
    /// A remark worth knowing.
    pub fn info(text: impl Into<String>) -> Self {
        Note {
            level: Level::Info,
            text: text.into(),
        }
    }

    /// A remark worth acting on.
    pub fn warning(text: impl Into<String>) -> Self {
        Note {
            level: Level::Warning,
            text: text.into(),
        }
    }
}

impl Figure {
    /// The content of [`FIGURES`]: pretty-printed JSON, the same bytes for the same figures.
    ///
    /// # Errors
    /// Only if serde_json fails, which no figure makes it do.
    pub fn to_json(figures: &[Figure]) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec_pretty(figures)
    }

    /// Reads the content of [`FIGURES`].
    ///
    /// # Errors
    /// The bytes are not a JSON array of figures this version knows.
    pub fn from_json(bytes: &[u8]) -> Result<Vec<Figure>, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

/// A number, with `null` for one that is not finite (JSON has no NaN).
mod number {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        value.is_finite().then_some(*value).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        Ok(Option::<f64>::deserialize(deserializer)?.unwrap_or(f64::NAN))
    }
}

/// A list of [`number`]s.
mod numbers {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(values: &[f64], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().map(|value| value.is_finite().then_some(*value)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
        let values = Vec::<Option<f64>>::deserialize(deserializer)?;
        Ok(values
            .into_iter()
            .map(|value| value.unwrap_or(f64::NAN))
            .collect())
    }
}

/// A grid of [`number`]s.
mod number_rows {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(rows: &[Vec<f64>], serializer: S) -> Result<S::Ok, S::Error> {
        let finite = |row: &Vec<f64>| -> Vec<Option<f64>> {
            row.iter()
                .map(|value| value.is_finite().then_some(*value))
                .collect()
        };
        serializer.collect_seq(rows.iter().map(finite))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Vec<f64>>, D::Error> {
        let rows = Vec::<Vec<Option<f64>>>::deserialize(deserializer)?;
        Ok(rows
            .into_iter()
            .map(|row| row.into_iter().map(|v| v.unwrap_or(f64::NAN)).collect())
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_survives_its_json_and_not_a_number_is_null() {
        let figures = vec![
            Figure::Series {
                title: "loss".into(),
                x_label: "step".into(),
                y_label: "nats a token".into(),
                lines: vec![Line {
                    name: "train".into(),
                    x: vec![0.0, 1.0],
                    y: vec![2.5, 0.1],
                    ..Line::default()
                }],
            },
            Figure::Scores {
                scores: vec![Score {
                    model: "base".into(),
                    dataset: "facts".into(),
                    metric: "nll".into(),
                    value: 1.25,
                    stderr: Some(0.01),
                    count: 40,
                    lower_is_better: true,
                }],
            },
            Figure::Table {
                title: "t".into(),
                columns: vec!["a".into()],
                rows: vec![vec!["b".into()]],
            },
            Figure::Notes {
                notes: vec![Note::info("fine"), Note::warning("not fine")],
            },
        ];
        let bytes = Figure::to_json(&figures).unwrap();
        assert_eq!(Figure::from_json(&bytes).unwrap(), figures);
        assert!(
            String::from_utf8(bytes)
                .unwrap()
                .contains("\"figure\": \"series\"")
        );

        let matrix = Figure::Matrix {
            title: "cosines".into(),
            rows: vec!["a".into()],
            columns: vec!["a".into(), "b".into()],
            values: vec![vec![1.0, f64::NAN]],
        };
        let bytes = Figure::to_json(std::slice::from_ref(&matrix)).unwrap();
        let Figure::Matrix { values, .. } = &Figure::from_json(&bytes).unwrap()[0] else {
            panic!("a matrix stays a matrix");
        };
        assert!(values[0][0] == 1.0 && values[0][1].is_nan());
    }
}
