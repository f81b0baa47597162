//! What a running job says, on its way to the dispatcher.
//!
//! One monitor for each attempt at a step. Stands between the job's [`ProgressSink`] calls and the
//! [`Event`]s of the run: thins them to ten a second, and keeps the totals for the step's record.

use std::collections::BTreeMap;
use std::sync::mpsc::Sender;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::attempt::Message;
use crate::event::Event;
use crate::progress::ProgressSink;
use crate::record::Throughput;

/// Least time between two events of one stretch of work, or of one metric.
const PAUSE: Duration = Duration::from_millis(100);

/// Hears one attempt.
pub(crate) struct Monitor {
    step: String,
    state: Mutex<State>,
}

struct State {
    events: Sender<Message>,
    stretch: Option<Stretch>,
    throughput: Vec<Throughput>,
    metrics: BTreeMap<String, (f64, Instant)>,
}

/// Work under way.
struct Stretch {
    total: Option<u64>,
    unit: String,
    done: u64,
    began: Instant,
    advanced: Instant,
    said: Option<Instant>,
}

impl Monitor {
    pub(crate) fn new(step: &str, events: Sender<Message>) -> Self {
        let state = State {
            events,
            stretch: None,
            throughput: Vec::new(),
            metrics: BTreeMap::new(),
        };
        Monitor {
            step: step.to_owned(),
            state: Mutex::new(state),
        }
    }

    fn with(&self, act: impl FnOnce(&mut State)) {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Work done and last values of metrics, for the record. Ends the current stretch.
    pub(crate) fn totals(&self) -> (Vec<Throughput>, BTreeMap<String, f64>) {
        let mut totals = Default::default();
        self.with(|state| {
            state.end(&self.step);
            let metrics = state
                .metrics
                .iter()
                .map(|(name, (value, _))| (name.clone(), *value));
            totals = (state.throughput.clone(), metrics.collect());
        });
        totals
    }
}

impl State {
    /// Nobody hears us any more only when the run is over; then nothing is lost.
    fn say(&self, event: Event) {
        let _ = self.events.send(Message::Said(event));
    }

    fn say_progress(&mut self, step: &str) {
        let Some(stretch) = &mut self.stretch else { return };
        stretch.said = Some(Instant::now());
        let event = Event::StepProgress {
            step: step.to_owned(),
            done: stretch.done,
            total: stretch.total,
            unit: stretch.unit.clone(),
            seconds: stretch.began.elapsed().as_secs_f64(),
        };
        self.say(event);
    }

    fn end(&mut self, step: &str) {
        if self.stretch.as_ref().is_some_and(|stretch| stretch.done > 0) {
            self.say_progress(step);
        }
        let Some(stretch) = self.stretch.take().filter(|stretch| stretch.done > 0) else {
            return;
        };
        let seconds = (stretch.advanced - stretch.began).as_secs_f64();
        match self
            .throughput
            .iter_mut()
            .find(|known| known.unit == stretch.unit)
        {
            Some(known) => {
                known.amount += stretch.done;
                known.seconds += seconds;
            }
            None => self.throughput.push(Throughput {
                unit: stretch.unit,
                amount: stretch.done,
                seconds,
            }),
        }
    }
}

impl ProgressSink for Monitor {
    fn begin(&self, what: &str, total: Option<u64>, unit: &str) {
        self.with(|state| {
            state.end(&self.step);
            let now = Instant::now();
            let unit = unit.to_owned();
            state.say(Event::StepWork {
                step: self.step.clone(),
                what: what.to_owned(),
                total,
                unit: unit.clone(),
            });
            state.stretch = Some(Stretch {
                total,
                unit,
                done: 0,
                began: now,
                advanced: now,
                said: None,
            });
        });
    }

    fn advance(&self, units: u64) {
        self.with(|state| {
            let Some(stretch) = &mut state.stretch else { return };
            stretch.done += units;
            stretch.advanced = Instant::now();
            if stretch.said.is_none_or(|said| said.elapsed() >= PAUSE) {
                state.say_progress(&self.step);
            }
        });
    }

    fn message(&self, text: &str) {
        self.with(|state| {
            state.say(Event::StepMessage {
                step: self.step.clone(),
                text: text.to_owned(),
            })
        });
    }

    fn metric(&self, name: &str, value: f64) {
        self.with(|state| {
            let now = Instant::now();
            let last = state.metrics.get(name).map(|(_, said)| *said);
            let is_due = last.is_none_or(|said| now - said >= PAUSE);
            let said = if is_due { now } else { last.unwrap_or(now) };
            state.metrics.insert(name.to_owned(), (value, said));
            if is_due {
                state.say(Event::StepMetric {
                    step: self.step.clone(),
                    name: name.to_owned(),
                    value,
                });
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn events_are_thinned_and_totals_are_whole() {
        let (sender, receiver) = mpsc::channel();
        let monitor = Monitor::new("s", sender);
        monitor.begin("train", Some(1000), "tokens");
        for _ in 0..1000 {
            monitor.advance(1);
            monitor.metric("loss", 0.5);
        }
        monitor.metric("loss", 0.25);
        monitor.begin("save", None, "bytes");
        monitor.advance(7);
        monitor.begin("more", None, "tokens");
        monitor.advance(1);
        let (throughput, metrics) = monitor.totals();
        let amounts: Vec<(&str, u64)> = throughput
            .iter()
            .map(|made| (made.unit.as_str(), made.amount))
            .collect();
        assert_eq!(amounts, [("tokens", 1001), ("bytes", 7)]);
        assert_eq!(metrics["loss"], 0.25);
        let said = |message| match message {
            Message::Said(event) => Some(event),
            Message::Ended(..) => None,
        };
        let events: Vec<Event> = receiver.try_iter().filter_map(said).collect();
        assert!(events.len() < 100, "{} events", events.len());
        // The end of every stretch is always said.
        assert!(
            events
                .iter()
                .any(|event| matches!(event, Event::StepProgress { done: 1000, .. }))
        );
    }
}
