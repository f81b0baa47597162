//! A run on a terminal: a line that moves for every step that runs, and lines that stay above them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use console::style;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tributary_pipeline::{Event, Observer};

use super::Progress;
use super::sentence::sentence;
use super::work::Work;

/// How often the moving lines are drawn while nothing happens.
const TICK: Duration = Duration::from_millis(125);
/// Longest name of a step that is shown whole.
const NAME_COLUMNS: usize = 20;

/// Draws bars.
pub(crate) struct LiveProgress {
    bars: MultiProgress,
    /// Columns that the names of the steps take.
    name_columns: usize,
    steps: Mutex<BTreeMap<String, StepLine>>,
}

/// The moving line of a step that runs.
struct StepLine {
    bar: ProgressBar,
    work: Work,
}

impl LiveProgress {
    /// On `target`, for steps of these names.
    pub(crate) fn new<'a>(target: ProgressDrawTarget, steps: impl IntoIterator<Item = &'a str>) -> Self {
        let longest = steps.into_iter().map(|step| step.chars().count()).max();
        LiveProgress {
            bars: MultiProgress::with_draw_target(target),
            name_columns: longest.unwrap_or_default().min(NAME_COLUMNS),
            steps: Mutex::default(),
        }
    }

    /// A line that stays.
    fn line(&self, text: &str) {
        // A terminal that has gone does not stop the work.
        let _ = self.bars.println(text);
    }

    fn begin(&self, step: &str, job: &str) {
        let name = shortened(step, self.name_columns);
        let bar = ProgressBar::no_length()
            .with_style(line_style(None))
            .with_prefix(format!("{name:<width$}", width = self.name_columns));
        let bar = self.bars.add(bar);
        bar.enable_steady_tick(TICK);
        let line = StepLine {
            bar,
            work: Work::new(job),
        };
        line.draw();
        self.steps
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(step.to_owned(), line);
    }

    /// Changes what a step is at, and draws it.
    fn change(&self, step: &str, change: impl FnOnce(&mut Work)) {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = steps.get_mut(step) {
            change(&mut line.work);
            line.draw();
        }
    }

    fn end(&self, step: &str) {
        if let Some(line) = self
            .steps
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(step)
        {
            line.bar.finish_and_clear();
            self.bars.remove(&line.bar);
        }
    }
}

impl StepLine {
    fn draw(&self) {
        let (done, total) = self.work.amounts();
        if let Some(total) = total {
            self.bar.set_length(total.max(done));
            self.bar.set_position(done);
        }
        self.bar.set_style(line_style(total));
        self.bar.set_message(self.work.text());
    }
}

/// A bar if the end is known, else something that moves.
fn line_style(total: Option<u64>) -> ProgressStyle {
    let template = match total {
        Some(_) => "  {prefix:.bold} {bar:20.cyan/dim} {wide_msg}",
        None => "  {prefix:.bold} {spinner:.cyan} {wide_msg}",
    };
    // A template that does not parse would be a bug; the default style is no worse than a panic.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("━━─")
}

fn shortened(name: &str, columns: usize) -> String {
    if name.chars().count() <= columns {
        return name.to_owned();
    }
    let kept: String = name.chars().take(columns - 1).collect();
    format!("{kept}…")
}

impl Observer for LiveProgress {
    fn event(&self, event: &Event) {
        match event {
            Event::StepStarted { step, job, .. } => return self.begin(step, job),
            Event::StepWork { step, .. }
            | Event::StepProgress { step, .. }
            | Event::StepMetric { step, .. } => {
                return self.change(step, |work| work.hear(event));
            }
            Event::StepRetrying { step, .. }
            | Event::StepFinished { step, .. }
            | Event::StepFailed { step, .. }
            | Event::StepCached { step, .. }
            | Event::StepCancelled { step } => self.end(step),
            _ => {}
        }
        let Some(text) = sentence(event) else { return };
        let mark = match event {
            Event::StepFinished { .. } => style("✓").green(),
            Event::StepFailed { .. } => style("✗").red(),
            Event::StepRetrying { .. } => style("↻").yellow(),
            Event::StepCached { .. } => style("=").dim(),
            Event::StepSkipped { .. } | Event::StepCancelled { .. } => style("-").yellow(),
            _ => return self.line(&text),
        };
        self.line(&format!("{} {text}", mark.for_stderr()));
    }
}

impl Progress for LiveProgress {
    fn say(&self, sentence: &str) {
        self.line(sentence);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_short() {
        assert_eq!(shortened("base", 20), "base");
        assert_eq!(shortened("a-very-long-name-of-a-step", 20).chars().count(), 20);
    }
}
