//! The model-by-data-set tables once more, for the eye: a point and an error bar a model, a panel a data set.

use serde::Serialize;

use crate::axis::{Axis, Tick, bounds, pixel};
use crate::board::{Board, Cell, Rank};
use crate::lettering::{CELL, shorten};
use crate::number;

const WIDTH: f64 = 500.0;
const NAMES: f64 = 156.0;
const RIGHT: f64 = 484.0;
const TOP: f64 = 6.0;
const ROW: f64 = 21.0;
const BELOW: f64 = 26.0;
const SIZE: f64 = 11.5;

/// One data set's panel, ready to draw.
#[derive(Debug, Serialize)]
pub(crate) struct Panel {
    dataset: String,
    metric: String,
    width: f64,
    height: f64,
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    ticks: Vec<Tick>,
    rows: Vec<Row>,
    description: String,
}

#[derive(Debug, Serialize)]
struct Row {
    y: f64,
    name: String,
    title: String,
    at: Option<f64>,
    low: f64,
    high: f64,
    rank: Rank,
}

/// Draws a panel for every data set in which two models or more can be compared.
pub(crate) fn draw(board: &Board) -> Vec<Panel> {
    let columns = board.datasets.iter().enumerate();
    columns
        .filter_map(|(column, dataset)| panel(board, column, dataset))
        .collect()
}

fn panel(board: &Board, column: usize, dataset: &str) -> Option<Panel> {
    let cells = || board.cells.iter().map(|row| row[column].as_ref());
    let known = cells().flatten().filter(|cell| cell.value.is_finite());
    if known.clone().count() < 2 {
        return None;
    }
    let error = |cell: &Cell| cell.stderr.filter(|error| error.is_finite()).unwrap_or(0.0);
    let (low, high) = bounds(known.flat_map(|cell| [cell.value - error(cell), cell.value + error(cell)]))?;
    let pad = (high - low) * 0.04;
    let axis = Axis::linear((low - pad, high + pad), (NAMES, RIGHT), 4, false);
    let row = |(place, (model, cell)): (usize, (&String, Option<&Cell>))| {
        let said = match cell {
            None => "not measured".to_owned(),
            Some(cell) => match cell.stderr {
                Some(error) => format!("{} ± {}", number::number(cell.value), number::number(error)),
                None => number::number(cell.value),
            },
        };
        let seen = cell.filter(|cell| cell.value.is_finite());
        let reach = |sign: f64| seen.map_or(0.0, |cell| axis.place(cell.value + sign * error(cell)));
        Row {
            y: pixel(TOP + (place as f64 + 0.5) * ROW),
            name: shorten(model, ((NAMES - 16.0) / (SIZE * CELL)) as usize),
            title: format!("{model}: {said}"),
            at: seen.map(|cell| axis.place(cell.value)),
            low: reach(-1.0),
            high: reach(1.0),
            rank: cell.map_or(Rank::Other, |cell| cell.rank),
        }
    };
    let rows: Vec<Row> = board.models.iter().zip(cells()).enumerate().map(row).collect();
    let bottom = TOP + rows.len() as f64 * ROW;
    let said: Vec<&str> = rows.iter().map(|row| row.title.as_str()).collect();
    Some(Panel {
        description: format!("{} on {dataset}. {}.", board.metric, said.join("; ")),
        dataset: dataset.to_owned(),
        metric: board.metric.clone(),
        width: WIDTH,
        height: bottom + BELOW,
        left: NAMES,
        right: RIGHT,
        top: TOP,
        bottom,
        ticks: axis.ticks(),
        rows,
    })
}
