//! Curves: [`Figure::Series`](tributary_pipeline::Figure::Series) as a line chart.
//!
//! Values that are not finite are gaps in a line and are counted in the caption. A line of more points than the
//! drawing has columns keeps, of every column, its first, lowest, highest and last point, so no spike is lost.

use serde::Serialize;
use tributary_pipeline::{Drawn, Line};

use crate::axis::{Axis, Tick, bounds, pixel};
use crate::lettering::cells;
use crate::number::{number, plural};

const WIDTH: f64 = 500.0;
const HEIGHT: f64 = 270.0;
/// Least room for the numbers of the y axis.
const LEFT: f64 = 40.0;
/// Room for a digit.
const DIGIT: f64 = 7.4;
const RIGHT: f64 = 488.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 228.0;
/// Colours of the style sheet.
const COLOURS: usize = 8;
/// Lines of at most so many points show them.
const MOST_DOTS: usize = 24;
/// Positive values whose largest is so many times their median are drawn on an axis of logarithms.
const WIDE: f64 = 50.0;

/// A chart, ready to draw.
#[derive(Debug, Serialize)]
pub(crate) struct Chart {
    pub(crate) step: String,
    pub(crate) title: String,
    x_label: String,
    y_label: String,
    width: f64,
    height: f64,
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    x_ticks: Vec<Tick>,
    y_ticks: Vec<Tick>,
    curves: Vec<Curve>,
    remarks: Vec<String>,
    description: String,
}

#[derive(Debug, Serialize)]
struct Curve {
    name: String,
    colour: usize,
    dash: usize,
    /// Class of the style sheet.
    drawn: &'static str,
    path: String,
    dots: Vec<(f64, f64)>,
    last: String,
    range: String,
}

/// Draws curves.
pub(crate) fn draw(step: &str, title: &str, x_label: &str, y_label: &str, lines: &[Line]) -> Chart {
    let points =
        |line: &Line| -> Vec<(f64, f64)> { line.x.iter().copied().zip(line.y.iter().copied()).collect() };
    let all: Vec<Vec<(f64, f64)>> = lines.iter().map(points).collect();
    let seen = |point: &&(f64, f64)| point.0.is_finite() && point.1.is_finite();
    let finite = || all.iter().flatten().filter(seen);
    let x_bounds = bounds(finite().map(|point| point.0));
    let y_bounds = bounds(finite().map(|point| point.1));
    let axes = x_bounds.zip(y_bounds).map(|(x, y)| {
        let mut heights: Vec<f64> = finite().map(|point| point.1).collect();
        heights.sort_by(f64::total_cmp);
        let median = heights.get(heights.len() / 2).copied().unwrap_or(y.1);
        let is_wide = y.0 > 0.0 && y.1 / median > WIDE;
        let y_axis = if is_wide {
            Axis::logarithmic(y, (BOTTOM, TOP))
        } else {
            Axis::linear(y, (BOTTOM, TOP), 5, true)
        };
        let longest = y_axis
            .ticks()
            .iter()
            .map(|tick| cells(&tick.label))
            .max()
            .unwrap_or(0);
        let left = LEFT.max(14.0 + longest as f64 * DIGIT);
        (Axis::linear(x, (left, RIGHT), 6, false), y_axis, left)
    });
    let left = axes.as_ref().map_or(LEFT, |axes| axes.2);
    // The edges of a band have the colour of the curve before them.
    let own = lines.iter().map(|line| usize::from(line.drawn != Drawn::Edge));
    let colours = own.scan(0, |seen, own| {
        *seen += own;
        Some(seen.saturating_sub(1))
    });
    let curves: Vec<Curve> = colours
        .zip(lines.iter().zip(&all))
        .map(|(colour, (line, points))| curve(colour, line, points, axes.as_ref().map(|(x, y, _)| (x, y))))
        .collect();
    let mut remarks = Vec::new();
    let missing = all.iter().flatten().count() - finite().count();
    if missing > 0 {
        let are = if missing == 1 { "is" } else { "are" };
        remarks.push(format!(
            "{} {are} not finite and left out.",
            plural(missing, "value")
        ));
    }
    if axes.as_ref().is_some_and(|(_, y, _)| y.is_log()) {
        remarks.push("Logarithmic scale.".to_owned());
    }
    let said: Vec<String> = curves
        .iter()
        .map(|curve| format!("{} ends at {}, range {}", curve.name, curve.last, curve.range))
        .collect();
    Chart {
        step: step.to_owned(),
        description: format!(
            "{title} of {step}: {y_label} over {x_label}. {}.",
            said.join("; ")
        ),
        title: title.to_owned(),
        x_label: x_label.to_owned(),
        y_label: y_label.to_owned(),
        width: WIDTH,
        height: HEIGHT,
        left: pixel(left),
        right: RIGHT,
        top: TOP,
        bottom: BOTTOM,
        x_ticks: axes.as_ref().map(|axes| axes.0.ticks()).unwrap_or_default(),
        y_ticks: axes.as_ref().map(|axes| axes.1.ticks()).unwrap_or_default(),
        curves,
        remarks,
    }
}

fn curve(index: usize, line: &Line, points: &[(f64, f64)], axes: Option<(&Axis, &Axis)>) -> Curve {
    let place = |point: &(f64, f64)| match axes {
        Some((x, y)) if point.0.is_finite() && point.1.is_finite() => {
            let place = (x.place(point.0), y.place(point.1));
            (place.0.is_finite() && place.1.is_finite()).then_some(place)
        }
        _ => None,
    };
    let mut pieces: Vec<Vec<(f64, f64)>> = vec![Vec::new()];
    for point in points {
        match (place(point), pieces.last_mut()) {
            (Some(place), Some(piece)) => piece.push(place),
            _ => pieces.push(Vec::new()),
        }
    }
    pieces.retain(|piece| !piece.is_empty());
    let dots = match line.drawn {
        Drawn::Points => pieces.concat(),
        Drawn::Curve if points.len() <= MOST_DOTS => pieces.concat(),
        Drawn::Curve | Drawn::Edge => Vec::new(),
    };
    let (drawn, pieces) = match line.drawn {
        Drawn::Curve => ("", pieces),
        Drawn::Edge => ("edge", pieces),
        Drawn::Points => ("points", Vec::new()),
    };
    let values = bounds(points.iter().map(|point| point.1));
    Curve {
        name: line.name.clone(),
        colour: index % COLOURS,
        dash: index / COLOURS % 3,
        drawn,
        path: pieces.iter().map(|piece| path(&thinned(piece))).collect(),
        dots,
        last: points
            .last()
            .map_or("nothing".to_owned(), |point| number(point.1)),
        range: values.map_or("none".to_owned(), |(low, high)| {
            format!("{} to {}", number(low), number(high))
        }),
    }
}

fn path(points: &[(f64, f64)]) -> String {
    let mut path = String::new();
    for (index, (x, y)) in points.iter().enumerate() {
        let command = if index == 0 { 'M' } else { 'L' };
        path.push_str(&format!("{command}{x} {y}"));
    }
    if points.len() == 1 {
        // A round cap makes a dot of nothing.
        path.push_str("h0");
    }
    path
}

/// Of every column of the drawing the first, lowest, highest and last point, in their order.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut kept = Vec::new();
    let mut start = 0;
    while start < points.len() {
        let column = points[start].0.floor();
        let length = points[start..]
            .iter()
            .take_while(|point| point.0.floor() == column)
            .count();
        let here = &points[start..start + length];
        let by_height = |a: &usize, b: &usize| here[*a].1.total_cmp(&here[*b].1);
        let ends = [
            Some(0),
            (0..length).min_by(by_height),
            (0..length).max_by(by_height),
            Some(length - 1),
        ];
        let mut indices: Vec<usize> = ends.into_iter().flatten().collect();
        indices.sort_unstable();
        indices.dedup();
        kept.extend(indices.into_iter().map(|index| here[index]));
        start += length;
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, y: Vec<f64>) -> Line {
        Line {
            name: name.into(),
            x: (0..y.len()).map(|x| x as f64).collect(),
            y,
            ..Line::default()
        }
    }

    #[test]
    fn gaps_are_gaps_and_are_counted() {
        let chart = draw(
            "s",
            "loss",
            "step",
            "nats",
            &[line("a", vec![1.0, f64::NAN, 2.0, 3.0])],
        );
        assert_eq!(chart.curves[0].path.matches('M').count(), 2);
        assert!(chart.curves[0].path.contains("h0"), "a lone point is a dot");
        assert_eq!(chart.remarks, ["1 value is not finite and left out."]);
        assert_eq!(chart.curves[0].range, "1 to 3");
        let nothing = draw("s", "loss", "step", "nats", &[line("a", vec![f64::NAN])]);
        assert!(nothing.x_ticks.is_empty() && nothing.curves[0].path.is_empty());
        assert_eq!(nothing.curves[0].last, "NaN");
    }

    #[test]
    fn a_long_line_is_thinned_and_keeps_its_spikes() {
        let mut y = vec![1.0; 20_000];
        (y[7_777], y[7_778]) = (9.0, 0.5);
        let chart = draw("s", "loss", "step", "nats", &[line("a", y)]);
        let commands = chart.curves[0].path.matches(['M', 'L']).count();
        assert!(commands <= 4 * 440, "{commands}");
        let axis = Axis::linear((0.5, 9.0), (BOTTOM, TOP), 5, true);
        for spike in [9.0, 0.5] {
            let place = format!(" {}", axis.place(spike));
            assert!(chart.curves[0].path.contains(&place), "{spike}");
        }
    }

    #[test]
    fn points_are_not_joined_and_edges_have_their_curves_colour() {
        let drawn = |drawn: Drawn| Line {
            drawn,
            ..line("a", vec![1.0, 3.0, 2.0])
        };
        let lines = [Drawn::Curve, Drawn::Edge, Drawn::Points].map(drawn);
        let [curve, edge, points] = &draw("s", "x", "y", "", &lines).curves[..] else {
            panic!("three lines are three curves");
        };
        assert_eq!((curve.colour, edge.colour, points.colour), (0, 0, 1));
        assert!(edge.dots.is_empty() && edge.path == curve.path);
        assert!(points.path.is_empty() && points.dots.len() == 3);
    }

    #[test]
    fn values_far_apart_get_logarithms() {
        let chart = draw("s", "ppl", "step", "", &[line("a", vec![30_000.0, 12.0, 11.0])]);
        assert_eq!(chart.remarks, ["Logarithmic scale."]);
        for plain in [vec![30_000.0, 12.0, 0.0], vec![3e-4, 2e-4, 1e-9]] {
            assert!(draw("s", "x", "step", "", &[line("a", plain)]).remarks.is_empty());
        }
    }
}
