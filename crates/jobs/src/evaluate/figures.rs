//! What an evaluation shows: the table of scores, reliability diagrams, Block Influence, hidden states, differences.

use tributary_evaluate::{Bin, StateStatistics, paired_difference};
use tributary_pipeline::{Figure, Line, Score};

use super::cell::Cell;
use super::settings::Metric;

pub(super) fn score(metric: Metric, bins: u32, cell: &Cell) -> Option<Score> {
    let (value, stderr) = metric.of(cell)?;
    Some(Score {
        model: cell.model.clone(),
        dataset: cell.data.clone(),
        metric: metric.title(bins),
        value,
        stderr,
        count: cell.total.documents,
        lower_is_better: metric.lower_is_better(),
    })
}

/// The reliability diagram of models on one data set: how often tokens came, against the probability they were given.
pub(super) fn reliability(cells: &[&Cell]) -> Option<Figure> {
    let line = |cell: &&Cell| {
        let bins = &cell.calibration.as_ref()?.full;
        let filled: Vec<&Bin> = bins.iter().filter(|bin| bin.predictions > 0).collect();
        let share = |part: f64, bin: &Bin| part / bin.predictions as f64;
        Some(Line {
            name: cell.model.clone(),
            x: filled.iter().map(|bin| share(bin.mass, bin)).collect(),
            y: filled.iter().map(|bin| share(bin.hits as f64, bin)).collect(),
            ..Line::default()
        })
    };
    let mut lines: Vec<Line> = cells.iter().filter_map(line).collect();
    if lines.is_empty() {
        return None;
    }
    lines.push(Line {
        name: "calibrated".to_owned(),
        x: vec![0.0, 1.0],
        y: vec![0.0, 1.0],
        ..Line::default()
    });
    Some(Figure::Series {
        title: format!("Reliability on {}: all tokens of the vocabulary", cells[0].data),
        x_label: "probability given".to_owned(),
        y_label: "share that came".to_owned(),
        lines,
    })
}

/// Block Influence of models on one data set.
pub(super) fn influences(cells: &[&Cell]) -> Option<Figure> {
    let line = |cell: &&Cell| {
        let layers = &cell.block_influence.as_ref()?.layers;
        Some(Line {
            name: cell.model.clone(),
            x: (0..layers.len()).map(|layer| layer as f64).collect(),
            y: layers.clone(),
            ..Line::default()
        })
    };
    let lines: Vec<Line> = cells.iter().filter_map(line).collect();
    (!lines.is_empty()).then(|| Figure::Series {
        title: format!("Block Influence on {}", cells[0].data),
        x_label: "layer, from 0".to_owned(),
        y_label: "1 − mean cosine of a layer's input and output".to_owned(),
        lines,
    })
}

/// What a figure of hidden states shows: title, label of its ordinates, and the statistic.
type Statistic = (&'static str, &'static str, fn(&StateStatistics) -> f64);

/// Hidden states of models on one data set: a figure for each statistic.
pub(super) fn states(cells: &[&Cell]) -> Vec<Figure> {
    let statistics: [Statistic; 3] = [
        ("Length of hidden states", "mean Euclidean norm", |place| {
            place.norm
        }),
        ("Largest component of a hidden state", "magnitude", |place| {
            place.largest
        }),
        (
            "How alike hidden states are",
            "mean cosine of two tokens drawn at random",
            |place| place.alike,
        ),
    ];
    let figure = |(what, y_label, of): Statistic| {
        let line = |cell: &&Cell| {
            let places = &cell.hidden_states.as_ref()?.places;
            Some(Line {
                name: cell.model.clone(),
                x: (0..places.len()).map(|place| place as f64).collect(),
                y: places.iter().map(of).collect(),
                ..Line::default()
            })
        };
        let lines: Vec<Line> = cells.iter().filter_map(line).collect();
        (!lines.is_empty()).then(|| Figure::Series {
            title: format!("{what} on {}", cells[0].data),
            x_label: "layers passed".to_owned(),
            y_label: y_label.to_owned(),
            lines,
        })
    };
    statistics.into_iter().filter_map(figure).collect()
}

/// How far each model is from the first, paired by document.
pub(super) fn differences(models: &[String], columns: usize, cells: &[Cell]) -> Figure {
    let data = cells.iter().take(columns).map(|cell| cell.data.clone());
    let cell = |model: usize, column: usize| &cells[model * columns + column];
    let row = |model: usize| {
        let differences = (0..columns).map(|column| {
            match paired_difference(&cell(model, column).documents, &cell(0, column).documents) {
                Some(found) => match found.stderr {
                    Some(stderr) => format!("{:+.4} ± {stderr:.4}", found.nll),
                    None => format!("{:+.4}", found.nll),
                },
                None => "other tokens".to_owned(),
            }
        });
        std::iter::once(models[model].clone())
            .chain(differences)
            .collect()
    };
    Figure::Table {
        title: format!(
            "Difference from {} in nats a token, paired by document",
            models[0]
        ),
        columns: std::iter::once("model".to_owned()).chain(data).collect(),
        rows: (1..models.len()).map(row).collect(),
    }
}
