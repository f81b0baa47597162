//! What a running step is at, in a line.

use tributary_pipeline::Event;

use super::pace::Pace;
use crate::screen::{bytes, count, harmless, rate, rough_duration, significant};

/// What a step is at.
#[derive(Debug, Default)]
pub(super) struct Work {
    what: String,
    unit: String,
    total: Option<u64>,
    done: u64,
    pace: Pace,
    /// The metric shown: `loss` if there is one, else the one reported last.
    metric: Option<(String, f64)>,
}

impl Work {
    /// A step that begins.
    pub(super) fn new(job: &str) -> Self {
        Work {
            what: job.to_owned(),
            ..Work::default()
        }
    }

    /// Units done, and all of them if known.
    pub(super) fn amounts(&self) -> (u64, Option<u64>) {
        (self.done, self.total)
    }

    /// `train 34%, 12,345 tokens/s, 1 min 23 s left, loss 2.345`.
    pub(super) fn text(&self) -> String {
        let mut parts = Vec::new();
        match self.total {
            Some(total) if total > 0 => {
                let share = self.done.min(total) as f64 / total as f64;
                parts.push(format!("{} {:.0}%", self.what, (share * 100.0).floor()));
            }
            _ if self.done > 0 => parts.push(format!("{} {}", self.what, amount(self.done, &self.unit))),
            _ => parts.push(self.what.clone()),
        }
        if let Some(pace) = self.pace.per_second() {
            parts.push(rate(pace, &self.unit));
        }
        if let Some(left) = self.total.and_then(|total| self.pace.left(total)) {
            parts.push(format!("{} left", rough_duration(left)));
        }
        if let Some((name, value)) = &self.metric {
            parts.push(format!("{name} {}", significant(*value)));
        }
        harmless(&parts.join(", ")).replace('\n', " ")
    }

    fn shows(&self, metric: &str) -> bool {
        metric == "loss" || self.metric.as_ref().is_none_or(|(shown, _)| shown != "loss")
    }

    /// Takes note of what is said of the step.
    pub(super) fn hear(&mut self, event: &Event) {
        match event {
            Event::StepWork {
                what, total, unit, ..
            } => {
                let metric = self.metric.take();
                let (what, unit) = (what.clone(), unit.clone());
                *self = Work {
                    what,
                    unit,
                    total: *total,
                    metric,
                    ..Work::default()
                };
                self.pace.note(0.0, 0);
            }
            Event::StepProgress {
                done, total, seconds, ..
            } => {
                (self.done, self.total) = (*done, *total);
                self.pace.note(*seconds, *done);
            }
            Event::StepMetric { name, value, .. } if self.shows(name) => {
                self.metric = Some((name.clone(), *value));
            }
            _ => {}
        }
    }
}

fn amount(done: u64, unit: &str) -> String {
    if unit == "bytes" {
        bytes(done)
    } else {
        format!("{} {unit}", count(done))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_share_pace_rest_and_loss() {
        let step = || "s".to_owned();
        let mut work = Work {
            what: "train.lm".into(),
            ..Work::default()
        };
        assert_eq!(work.text(), "train.lm");
        work.hear(&Event::StepWork {
            step: step(),
            what: "train".into(),
            total: Some(4000),
            unit: "tokens".into(),
        });
        assert_eq!(work.text(), "train 0%");
        let metric = |name: &str, value| Event::StepMetric {
            step: step(),
            name: name.into(),
            value,
        };
        work.hear(&metric("gradient norm", 1.0));
        work.hear(&metric("loss", 2.34567));
        work.hear(&metric("gradient norm", 2.0));
        let progress = |done, seconds| Event::StepProgress {
            step: step(),
            done,
            total: Some(4000),
            unit: "tokens".into(),
            seconds,
        };
        work.hear(&progress(1000, 2.0));
        assert_eq!(work.text(), "train 25%, 500 tokens/s, 6 s left, loss 2.346");
        // The loss stays in sight while something else is done.
        work.hear(&Event::StepWork {
            step: step(),
            what: "save\u{1b}[2J".into(),
            total: None,
            unit: "bytes".into(),
        });
        work.hear(&Event::StepProgress {
            step: step(),
            done: 3 << 20,
            total: None,
            unit: "bytes".into(),
            seconds: 1.0,
        });
        assert_eq!(work.text(), "save\u{FFFD}[2J 3 MiB, 3 MiB/s, loss 2.346");
    }
}
