//! When each step ran: a bar a step over the wall time of the run.

use serde::Serialize;
use tributary_pipeline::{RunHistory, StepStatus};

use crate::axis::{Axis, Tick, pixel};
use crate::lettering::{CELL, cells, shorten};
use crate::{moment, number, status};

const WIDTH: f64 = 1080.0;
const NAMES: f64 = 190.0;
/// Room for the label of the last bar.
const RIGHT: f64 = 64.0;
const ROW: f64 = 24.0;
const TOP: f64 = 24.0;
const SIZE: f64 = 12.0;

/// The bars, ready to draw.
#[derive(Debug, Serialize)]
pub(crate) struct Timeline {
    width: f64,
    height: f64,
    left: f64,
    top: f64,
    ticks: Vec<Tick>,
    unit: &'static str,
    rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    y: f64,
    id: String,
    name: String,
    x: f64,
    width: f64,
    status: &'static str,
    label: String,
    label_x: f64,
    /// Does the label end where it is placed (else it begins there)?
    is_before: bool,
    title: String,
}

/// Draws the times of a run; nothing if no step has started.
pub(crate) fn draw(history: &RunHistory) -> Option<Timeline> {
    let origin = moment::read(&history.run.started)?;
    let since = |text: &str| {
        let moment = moment::read(text)?;
        Some(moment::seconds_between(origin, moment).max(0.0))
    };
    // The last thing the records know of; no clock is asked.
    let marks = history
        .steps
        .iter()
        .flat_map(|record| [&record.started, &record.finished]);
    let latest = marks.flatten().filter_map(|text| since(text)).fold(0.0, f64::max);
    let mut spans: Vec<(f64, f64, usize)> = Vec::new();
    for (index, record) in history.steps.iter().enumerate() {
        let Some(start) = record.started.as_deref().and_then(since) else {
            continue;
        };
        let end = match (record.seconds, record.status) {
            (Some(seconds), _) if seconds.is_finite() => start + seconds.max(0.0),
            (_, StepStatus::Running) => latest.max(start),
            _ => record.finished.as_deref().and_then(since).unwrap_or(start),
        };
        spans.push((start, end, index));
    }
    if spans.is_empty() {
        return None;
    }
    spans.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.2.cmp(&b.2)));
    let longest = spans.iter().map(|span| span.1).fold(0.0, f64::max);
    let whole = history.finished.as_ref().map_or(0.0, |finished| finished.seconds);
    let end = if whole.is_finite() {
        longest.max(whole)
    } else {
        longest
    };
    let (unit, scale) = match end {
        seconds if seconds < 240.0 => ("seconds", 1.0),
        seconds if seconds < 4.0 * 3600.0 => ("minutes", 60.0),
        _ => ("hours", 3600.0),
    };
    let room = (NAMES, WIDTH - RIGHT);
    let axis = Axis::linear((0.0, (end / scale).max(1e-3)), room, 8, false);
    let rows = spans.iter().enumerate().map(|(place, (start, end, index))| {
        let record = &history.steps[*index];
        let x = axis.place(start / scale);
        let right = axis.place(end / scale).max(x + 2.0);
        let label = match (record.status, record.seconds) {
            (StepStatus::Done, Some(seconds)) => number::duration(seconds),
            (status, Some(seconds)) => format!("{}, {}", number::duration(seconds), status::name(status)),
            (status, None) => status::name(status).to_owned(),
        };
        let is_before = right + 8.0 + cells(&label) as f64 * SIZE * CELL > WIDTH;
        Row {
            y: TOP + place as f64 * ROW,
            name: shorten(&record.step, ((NAMES - 14.0) / (SIZE * CELL)) as usize),
            x,
            width: pixel(right - x),
            status: status::name(record.status),
            label_x: if is_before { x - 6.0 } else { right + 6.0 },
            is_before,
            title: format!(
                "{}: {} after the start, {label}",
                record.step,
                number::duration(*start)
            ),
            id: record.step.clone(),
            label,
        }
    });
    Some(Timeline {
        rows: rows.collect(),
        width: WIDTH,
        height: TOP + spans.len() as f64 * ROW + 8.0,
        left: NAMES,
        top: TOP,
        ticks: axis.ticks(),
        unit,
    })
}
