//! Where a test plays: a folder with a store in it, and someone who listens.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use tributary_pipeline::*;
use tributary_store::Store;

use super::jobs::Toys;

/// Two texts and what they are together.
pub const CHAIN: &str = "
steps:
  - {id: a, job: write, with: {text: hello}}
  - {id: b, job: write, with: {text: world}}
  - id: both
    job: concat
    with:
      parts: [\"${a.text}\", \"${b.text}\"]
      separator: ' '
";

/// A machine that is the same everywhere.
pub fn machine() -> Machine {
    Machine {
        cpus: 4,
        memory: 8 << 30,
        gpus: 0,
        device: "cpu".into(),
        system: "toy".into(),
    }
}

/// A folder with a store in it.
pub struct Playground {
    /// Removed when the test ends; `None` if somebody else's.
    pub folder: Option<tempfile::TempDir>,
    pub place: PathBuf,
    pub toys: Toys,
}

impl Playground {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().to_owned();
        Playground {
            folder: Some(folder),
            ..Self::at(&place)
        }
    }

    /// In a folder that stays.
    pub fn at(place: &Path) -> Self {
        Playground {
            folder: None,
            place: place.to_owned(),
            toys: Toys::default(),
        }
    }

    pub fn path(&self) -> &Path {
        &self.place
    }

    pub fn store_path(&self) -> PathBuf {
        self.path().join("ckpt")
    }

    pub fn store(&self) -> Store {
        Store::open(self.store_path().to_str().unwrap()).unwrap()
    }

    /// A document with this playground's store.
    pub fn source(&self, steps: &str) -> Source {
        let text = format!(
            "name: toy\nstore: {}\nseed: 1\n{steps}",
            self.store_path().display()
        );
        let mut source = Source::from_text("toy.yaml", text);
        source.base = self.path().to_owned();
        source
    }

    pub fn plan(&self, steps: &str) -> Planned {
        match plan(self.source(steps), &self.toys.registry(), &machine()) {
            Ok(planned) => planned,
            Err(PipelineError::Document(found)) => panic!("{}", found.render(100, false)),
            Err(error) => panic!("{error}"),
        }
    }

    pub fn run(&self, steps: &str) -> RunReport {
        self.run_with(steps, RunOptions::new(&NoObserver))
    }

    pub fn run_with(&self, steps: &str, mut options: RunOptions<'_>) -> RunReport {
        options.first_pause = Duration::from_millis(1);
        let report = run(&self.plan(steps), options).unwrap();
        // Shown by a test that fails.
        for record in report.steps.iter().filter(|record| record.error.is_some()) {
            eprintln!("{}: {:?}", record.step, record.error);
        }
        report
    }

    /// What a step wrote.
    pub fn text(&self, report: &RunReport, step: &str) -> String {
        let record = report.steps.iter().find(|record| record.step == step).unwrap();
        let path = format!("{}/out.txt", record.artifact.as_ref().unwrap());
        String::from_utf8(self.store().get(&path).unwrap().to_vec()).unwrap()
    }

    /// Every file of the store below a folder, with its content.
    pub fn files(&self, below: &str) -> Vec<(String, Vec<u8>)> {
        let store = self.store();
        let objects = store.list(below).unwrap();
        objects
            .into_iter()
            .map(|meta| (meta.key.clone(), store.get(&meta.key).unwrap().to_vec()))
            .collect()
    }
}

/// The status of every step, in execution order.
pub fn statuses(report: &RunReport) -> Vec<(&str, StepStatus)> {
    report
        .steps
        .iter()
        .map(|record| (record.step.as_str(), record.status))
        .collect()
}

/// Keeps every event.
#[derive(Default)]
pub struct Keeper(pub Mutex<Vec<Event>>);

impl Observer for Keeper {
    fn event(&self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}
