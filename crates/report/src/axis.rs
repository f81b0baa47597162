//! Axes: from values to places in a drawing, with ticks at round numbers.

use serde::Serialize;

use crate::number::{fixed, number, scientific};

/// A tick of an axis.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Tick {
    /// Place along the axis.
    pub(crate) at: f64,
    /// Its number.
    pub(crate) label: String,
}

/// A map from values to places.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Axis {
    low: f64,
    high: f64,
    start: f64,
    end: f64,
    is_log: bool,
    ticks: Vec<f64>,
    step: f64,
}

/// A tenth of a pixel is finer than anyone sees.
pub(crate) fn pixel(place: f64) -> f64 {
    (place * 10.0).round() / 10.0
}

/// The smallest and the largest of the finite values.
pub(crate) fn bounds(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values
        .filter(|value| value.is_finite())
        .fold(None, |bounds, value| match bounds {
            None => Some((value, value)),
            Some((low, high)) => Some((f64::min(low, value), f64::max(high, value))),
        })
}

/// A round number (1, 2 or 5 times a power of ten) near a span divided by a number of parts.
fn round_step(span: f64, parts: usize) -> f64 {
    let rough = span / parts.max(1) as f64;
    let power = 10f64.powf(rough.log10().floor());
    let factor = match rough / power {
        r if r < 1.5 => 1.0,
        r if r < 3.5 => 2.0,
        r if r < 7.5 => 5.0,
        _ => 10.0,
    };
    factor * power
}

impl Axis {
    /// An axis for values from `low` to `high`, drawn from `start` to `end`, with about so many ticks. With
    /// `is_padded` it begins and ends at ticks, otherwise at the values.
    pub(crate) fn linear(
        (low, high): (f64, f64),
        (start, end): (f64, f64),
        parts: usize,
        is_padded: bool,
    ) -> Self {
        // A span the numbers cannot resolve is widened, and an endless one is halved.
        let least = (low.abs().max(high.abs()) * 1e-9).max(1e-300);
        let (mut low, mut high) = match high - low {
            span if !span.is_finite() => (low / 4.0, high / 4.0),
            span if span < least => {
                let pad = if low.abs() < 1e-290 { 0.5 } else { low.abs() * 0.1 };
                (low - pad, high + pad)
            }
            _ => (low, high),
        };
        let step = round_step(high - low, parts);
        if is_padded {
            low = (low / step).floor() * step;
            high = (high / step).ceil() * step;
        }
        let first = (low / step - 1e-9).ceil();
        let ticks = (0..=2 * parts.max(1) + 2)
            .map(|index| (first + index as f64) * step)
            .take_while(|tick| *tick <= high + step * 1e-9)
            .collect();
        Axis {
            low,
            high,
            start,
            end,
            is_log: false,
            ticks,
            step,
        }
    }

    /// An axis of logarithms for positive values that lie powers of ten apart.
    pub(crate) fn logarithmic((low, high): (f64, f64), (start, end): (f64, f64)) -> Self {
        let (low, high) = (low.log10().floor(), high.log10().ceil());
        let stride = ((high - low) / 6.0).ceil().max(1.0);
        let ticks = (0..=8).map(|index| low + stride * f64::from(index));
        Axis {
            low,
            high,
            start,
            end,
            is_log: true,
            ticks: ticks.take_while(|tick| *tick <= high).collect(),
            step: stride,
        }
    }

    /// The place of a value; not finite if it has none.
    pub(crate) fn place(&self, value: f64) -> f64 {
        let value = if self.is_log { value.log10() } else { value };
        let part = (value - self.low) / (self.high - self.low);
        pixel(self.start + part * (self.end - self.start))
    }

    /// Is this an axis of logarithms?
    pub(crate) fn is_log(&self) -> bool {
        self.is_log
    }

    /// The ticks.
    pub(crate) fn ticks(&self) -> Vec<Tick> {
        let decimals = (-self.step.log10().floor()).clamp(0.0, 12.0) as usize;
        let largest = self.low.abs().max(self.high.abs());
        let label = |tick: f64| match largest {
            _ if !self.is_log && (tick / self.step).round() == 0.0 && largest >= 1e4 => "0".to_owned(),
            _ if self.is_log => number(10f64.powf(tick)),
            l if !(1e-2..1e9).contains(&l) => scientific((tick / self.step).round() * self.step),
            l if l >= 1e6 => format!("{}M", number(tick / 1e6)),
            l if l >= 1e4 => format!("{}k", number(tick / 1e3)),
            _ => fixed(tick, decimals),
        };
        let place = |tick: f64| {
            pixel(self.start + (tick - self.low) / (self.high - self.low) * (self.end - self.start))
        };
        self.ticks
            .iter()
            .map(|tick| Tick {
                at: place(*tick),
                label: label(*tick),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<String> {
        axis.ticks().into_iter().map(|tick| tick.label).collect()
    }

    #[test]
    fn ticks_are_round_and_inside() {
        let axis = Axis::linear((0.83, 4.16), (200.0, 0.0), 4, true);
        assert_eq!(labels(&axis), ["0", "1", "2", "3", "4", "5"]);
        assert_eq!((axis.place(0.0), axis.place(5.0)), (200.0, 0.0));
        let axis = Axis::linear((0.0, 300.0), (0.0, 100.0), 6, false);
        assert_eq!(labels(&axis), ["0", "50", "100", "150", "200", "250", "300"]);
        let axis = Axis::linear((-0.31, 0.29), (0.0, 100.0), 3, false);
        assert_eq!(labels(&axis), ["−0.2", "0.0", "0.2"]);
        let axis = Axis::linear((0.0, 60_000.0), (0.0, 100.0), 6, false);
        assert_eq!(labels(&axis)[1], "10k");
        let axis = Axis::linear((0.0, 3e-4), (0.0, 100.0), 3, true);
        assert_eq!(labels(&axis), ["0", "1e−4", "2e−4", "3e−4"]);
        let axis = Axis::logarithmic((8.0, 31_000.0), (0.0, 1.0));
        assert_eq!(labels(&axis), ["1", "10", "100", "1000", "10,000", "100,000"]);
    }

    #[test]
    fn no_values_break_an_axis() {
        let extremes = [
            (0.0, 0.0),
            (5.0, 5.0),
            (-1e308, 1e308),
            (1.0, 1.0 + 1e-16),
            (5e-324, 5e-324),
            (1e15, 1e15 + 1.0),
        ];
        for (low, high) in extremes {
            let axis = Axis::linear((low, high), (0.0, 100.0), 5, true);
            let ticks = axis.ticks();
            assert!(ticks.len() <= 13, "{low} to {high}: {ticks:?}");
            assert!(ticks.iter().all(|tick| tick.at.is_finite()), "{low} to {high}");
            if (high - low).is_finite() {
                assert!(axis.place(low).is_finite() && axis.place(high).is_finite());
            }
        }
        assert_eq!(bounds([f64::NAN, f64::INFINITY].into_iter()), None);
    }
}
