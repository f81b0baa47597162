//! The graph of a run: a box for every step and every thing from outside, and the arrows between them.
//!
//! From records to coordinates; [`crate::layers`] decides on places, the template draws.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use tributary_pipeline::{RunHistory, StepStatus};

use crate::axis::pixel;
use crate::layers::{Layout, Link, depths, lay_out};
use crate::lettering::{CELL, cells, shorten};
use crate::{number, status};

const BOX_HEIGHT: f64 = 46.0;
const OUTSIDE_HEIGHT: f64 = 26.0;
const COLUMN_GAP: f64 = 44.0;
/// Columns get narrower before a graph gets wider than this.
const WIDE: f64 = 1340.0;
const MARGIN: f64 = 8.0;
/// Size of names.
const NAME_SIZE: f64 = 12.5;
/// Size of what stands below them.
const SMALL_SIZE: f64 = 11.0;
/// Width of a letter of a proportional font as a part of its size, on average and with some room.
const SMALL_CELL: f64 = 0.56;
/// With more things from outside than this, the graph shows the steps alone.
const MOST_OUTSIDE: usize = 10;

/// The graph, ready to draw.
#[derive(Debug, Serialize)]
pub(crate) struct Graph {
    width: f64,
    height: f64,
    boxes: Vec<StepBox>,
    outside: Vec<OutsideBox>,
    lines: Vec<Line>,
    /// Statuses that occur, for the legend: class, mark.
    legend: Vec<(&'static str, &'static str)>,
    has_order_lines: bool,
    description: String,
}

#[derive(Debug, Serialize)]
struct StepBox {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
    id: String,
    name: String,
    job: String,
    time: String,
    status: &'static str,
    mark: &'static str,
    title: String,
}

#[derive(Debug, Serialize)]
struct OutsideBox {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
    name: String,
    title: String,
}

#[derive(Debug, Serialize)]
struct Line {
    path: String,
    is_order: bool,
    has_head: bool,
}

/// Steps and things from outside as one list of boxes, steps first.
struct Net {
    outside: Vec<String>,
    layers: Vec<usize>,
    links: Vec<Link>,
}

impl Net {
    fn of(history: &RunHistory) -> Self {
        let steps = &history.run.steps;
        let place: BTreeMap<&str, usize> = steps
            .iter()
            .enumerate()
            .map(|(index, step)| (step.id.as_str(), index))
            .collect();
        let mut data = BTreeSet::new();
        let mut order = BTreeSet::new();
        let mut outside: Vec<String> = Vec::new();
        let mut reads = BTreeSet::new();
        for (index, step) in steps.iter().enumerate() {
            for input in &step.inputs {
                match &input.step {
                    Some(id) => data.extend(place.get(id.as_str()).map(|from| (*from, index))),
                    None => {
                        let known = outside.iter().position(|known| *known == input.reference);
                        let thing = known.unwrap_or_else(|| {
                            outside.push(input.reference.clone());
                            outside.len() - 1
                        });
                        reads.insert((thing, index));
                    }
                }
            }
            order.extend(
                step.after
                    .iter()
                    .filter_map(|id| Some((*place.get(id.as_str())?, index))),
            );
        }
        if outside.len() > MOST_OUTSIDE {
            outside.clear();
            reads.clear();
        }
        // Steps come in topological order; what does not is no record of ours, and is left out.
        let link = |class: bool| {
            move |(from, to): &(usize, usize)| {
                (from < to).then_some(Link {
                    from: *from,
                    to: *to,
                    class,
                })
            }
        };
        let mut links: Vec<Link> = data.iter().filter_map(link(false)).collect();
        links.extend(order.difference(&data).filter_map(link(true)));
        let mut layers = depths(steps.len(), &links);
        if !reads.is_empty() {
            // Whatever reads from outside stands behind the first column.
            let readers: BTreeSet<usize> = reads.iter().map(|(_, step)| *step).collect();
            links.sort_unstable();
            layers = vec![0; steps.len()];
            for step in 0..steps.len() {
                let before = links.iter().filter(|link| link.to == step);
                let least = before.map(|link| layers[link.from] + 1).max().unwrap_or(0);
                layers[step] = least.max(usize::from(readers.contains(&step)));
            }
        }
        for (thing, _) in outside.iter().enumerate() {
            let readers = reads.iter().filter(|(of, _)| *of == thing);
            let first = readers.clone().map(|(_, step)| layers[*step]).min().unwrap_or(1);
            layers.push(first - 1);
            links.extend(readers.map(|(_, step)| Link {
                from: steps.len() + thing,
                to: *step,
                class: false,
            }));
        }
        Net {
            outside,
            layers,
            links,
        }
    }
}

/// Draws the graph of a run.
pub(crate) fn draw(history: &RunHistory) -> Graph {
    let steps = &history.run.steps;
    let net = Net::of(history);
    let heights: Vec<f64> = (0..net.layers.len())
        .map(|index| {
            if index < steps.len() {
                BOX_HEIGHT
            } else {
                OUTSIDE_HEIGHT
            }
        })
        .collect();
    let layout = lay_out(&heights, &net.layers, &net.links);
    let columns = net.layers.iter().map(|layer| layer + 1).max().unwrap_or(0);
    let fitting = (WIDE - 2.0 * MARGIN + COLUMN_GAP) / columns.max(1) as f64 - COLUMN_GAP;
    let natural = history
        .steps
        .iter()
        .map(|record| {
            let below = cells(&record.job) + cells(&time(record.status, record.seconds));
            let name = cells(&record.step) as f64 * NAME_SIZE * CELL + 32.0;
            name.max(below as f64 * SMALL_SIZE * SMALL_CELL + 56.0)
        })
        .fold(0.0, f64::max);
    let width = natural.min(fitting).clamp(128.0, 212.0).floor();
    let left = |layer: usize| MARGIN + layer as f64 * (width + COLUMN_GAP);
    let boxes: Vec<StepBox> = history
        .steps
        .iter()
        .zip(&layout.spots)
        .map(|(record, spot)| {
            let time = time(record.status, record.seconds);
            let room = ((width - 48.0) / (SMALL_SIZE * SMALL_CELL)) as usize;
            let word = status::name(record.status);
            StepBox {
                x: left(spot.layer),
                y: pixel(MARGIN + spot.middle - BOX_HEIGHT / 2.0),
                width,
                height: BOX_HEIGHT,
                name: shorten(&record.step, ((width - 24.0) / (NAME_SIZE * CELL)) as usize),
                job: shorten(&record.job, room.saturating_sub(cells(&time)).max(4)),
                title: match record.seconds {
                    Some(seconds) => format!(
                        "{}: {}, {word}, {}",
                        record.step,
                        record.job,
                        number::duration(seconds)
                    ),
                    None => format!("{}: {}, {word}", record.step, record.job),
                },
                id: record.step.clone(),
                time,
                status: word,
                mark: status::mark(record.status),
            }
        })
        .collect();
    let outside = net
        .outside
        .iter()
        .zip(&layout.spots[steps.len()..])
        .map(|(reference, spot)| OutsideBox {
            x: left(spot.layer),
            y: pixel(MARGIN + spot.middle - OUTSIDE_HEIGHT / 2.0),
            width,
            height: OUTSIDE_HEIGHT,
            name: shorten(
                reference
                    .trim_end_matches('/')
                    .rsplit('/')
                    .next()
                    .unwrap_or(reference),
                ((width - 20.0) / (SMALL_SIZE * CELL)) as usize,
            ),
            title: format!("from outside: {reference}"),
        })
        .collect();
    let occurs = |status: &StepStatus| history.steps.iter().any(|record| record.status == *status);
    let legend = status::ALL.into_iter().filter(occurs);
    Graph {
        width: left(columns) - COLUMN_GAP + MARGIN,
        height: pixel(layout.height + 2.0 * MARGIN),
        boxes,
        outside,
        lines: lines(&layout, &|spot| left(layout.spots[spot].layer), width),
        legend: legend.map(|s| (status::name(s), status::mark(s))).collect(),
        has_order_lines: net.links.iter().any(|link| link.class),
        description: describe(history),
    }
}

fn time(status: StepStatus, seconds: Option<f64>) -> String {
    match (status, seconds) {
        (StepStatus::Done | StepStatus::Failed | StepStatus::Cancelled, Some(seconds)) => {
            number::duration(seconds)
        }
        _ => status::name(status).to_owned(),
    }
}

fn lines(layout: &Layout, left: &dyn Fn(usize) -> f64, width: f64) -> Vec<Line> {
    let path = |from: usize, to: usize| {
        let (a, b) = (&layout.spots[from], &layout.spots[to]);
        let head = if b.is_bend { 0.0 } else { 5.0 };
        let (x1, x2) = (left(from) + width, left(to) - head);
        let (y1, y2) = (pixel(MARGIN + a.middle), pixel(MARGIN + b.middle));
        let half = pixel((x2 - x1) / 2.0);
        // Through the column of a bend the line goes straight on.
        let through = if b.is_bend {
            format!("H{}", pixel(x2 + width))
        } else {
            String::new()
        };
        format!(
            "M{x1} {y1}C{} {y1} {} {y2} {x2} {y2}{through}",
            x1 + half,
            x2 - half
        )
    };
    layout
        .segments
        .iter()
        .map(|segment| Line {
            path: path(segment.from, segment.to),
            is_order: segment.class,
            has_head: !layout.spots[segment.to].is_bend,
        })
        .collect()
}

/// The graph in words, for those who do not see it.
fn describe(history: &RunHistory) -> String {
    let sentence = |step: &tributary_pipeline::StepOutline| {
        let sources: BTreeSet<&str> = step
            .inputs
            .iter()
            .map(|input| input.step.as_deref().unwrap_or(&input.reference))
            .collect();
        if sources.is_empty() {
            format!("{} reads nothing", step.id)
        } else {
            let sources: Vec<&str> = sources.into_iter().collect();
            format!("{} reads {}", step.id, sources.join(", "))
        }
    };
    let sentences: Vec<String> = history.run.steps.iter().map(sentence).collect();
    format!("{}.", sentences.join("; "))
}
