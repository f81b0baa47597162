//! The page as plain values: all its sections, from a run's records and what its steps left behind.

use serde::Serialize;
use tributary_pipeline::{ByteSize, Figure, Level, Profile, RunHistory, StepStatus};

use crate::board::{self, BoardView};
use crate::chart::{self, Chart};
use crate::forest::{self, Panel};
use crate::graph::{self, Graph};
use crate::grid::{self, Heat, Table};
use crate::lineage::{self, Descent};
use crate::material::Material;
use crate::step::{self, Step};
use crate::timeline::{self, Timeline};
use crate::{moment, number, status};

/// Everything the template shows.
#[derive(Debug, Serialize)]
pub(crate) struct Page {
    pipeline: String,
    run: String,
    status: &'static str,
    status_text: &'static str,
    lead: String,
    tiles: Vec<(&'static str, String, String)>,
    about: Vec<(&'static str, String)>,
    alarms: Vec<Remark>,
    warnings: Vec<Remark>,
    graph: Graph,
    timeline: Option<Timeline>,
    boards: Vec<(BoardView, Vec<Panel>)>,
    /// Charts of the same title together: the first group is what a reader wants.
    charts: Vec<(String, Vec<Chart>)>,
    grids: Vec<Grids>,
    notes: Vec<Remark>,
    lineage: Vec<Descent>,
    steps: Vec<Step>,
    document: String,
    file: String,
    profiles: Vec<Profile>,
    overrides: Vec<String>,
}

/// A remark of a step.
#[derive(Debug, Serialize)]
struct Remark {
    step: String,
    text: String,
}

/// The matrices and tables of a step.
#[derive(Debug, Serialize)]
struct Grids {
    step: String,
    job: String,
    heats: Vec<Heat>,
    tables: Vec<Table>,
    /// Matrices that an earlier step shows already: title, that step.
    repeated: Vec<(String, String)>,
}

impl Page {
    /// The page of a run; `materials` belong to the steps in their order.
    pub(crate) fn of(history: &RunHistory, materials: &[Material]) -> Self {
        let run = &history.run;
        let (status, status_text) = status::of_run(history);
        let steps = || history.steps.iter().zip(materials);
        let figures = || {
            steps().flat_map(|(record, material)| material.figures.iter().map(move |figure| (record, figure)))
        };
        let scores = figures().filter_map(|(_, figure)| match figure {
            Figure::Scores { scores } => Some(scores),
            _ => None,
        });
        let boards = board::join(scores.flatten());
        let mut charts: Vec<(String, Vec<Chart>)> = Vec::new();
        for (record, figure) in figures() {
            let Figure::Series {
                title,
                x_label,
                y_label,
                lines,
            } = figure
            else {
                continue;
            };
            let chart = chart::draw(&record.step, title, x_label, y_label, lines);
            match charts.iter_mut().find(|(group, _)| group == title) {
                Some((_, group)) => group.push(chart),
                None => charts.push((title.clone(), vec![chart])),
            }
        }
        let remarks = |level: Level| -> Vec<Remark> {
            let of_step = |(record, material): (&tributary_pipeline::StepRecord, _)| {
                let step = record.step.clone();
                let notes = step::notes(material).filter(move |note| note.level == level);
                notes.map(move |note| Remark {
                    step: step.clone(),
                    text: note.text.clone(),
                })
            };
            steps().flat_map(of_step).collect()
        };
        Page {
            pipeline: run.pipeline.clone(),
            run: run.id.clone(),
            status,
            status_text,
            lead: lead(history),
            tiles: tiles(history, materials),
            about: about(history),
            alarms: alarms(history, materials),
            warnings: remarks(Level::Warning),
            graph: graph::draw(history),
            timeline: timeline::draw(history),
            boards: boards
                .iter()
                .map(|board| (board::view(board), forest::draw(board)))
                .collect(),
            charts,
            grids: grids(history, materials),
            notes: remarks(Level::Info),
            lineage: lineage::trace(history, materials),
            steps: run
                .steps
                .iter()
                .zip(steps())
                .map(|(outline, (record, material))| step::describe(history, outline, record, material))
                .collect(),
            document: run.document.clone(),
            file: run.file.clone(),
            profiles: run.profiles.clone(),
            overrides: run.overrides.clone(),
        }
    }
}

/// The matrices and tables, by step. Merges of the same models have the same cosines, which are shown once.
fn grids(history: &RunHistory, materials: &[Material]) -> Vec<Grids> {
    let mut all: Vec<Grids> = Vec::new();
    for (record, material) in history.steps.iter().zip(materials) {
        let mut grids = Grids {
            step: record.step.clone(),
            job: record.job.clone(),
            heats: Vec::new(),
            tables: Vec::new(),
            repeated: Vec::new(),
        };
        for figure in &material.figures {
            match figure {
                Figure::Matrix {
                    title,
                    rows,
                    columns,
                    values,
                } => {
                    let heat = grid::heat(title, rows, columns, values);
                    match all.iter().find(|before| before.heats.contains(&heat)) {
                        Some(before) => grids.repeated.push((heat.title, before.step.clone())),
                        None => grids.heats.push(heat),
                    }
                }
                Figure::Table { title, columns, rows } => {
                    grids.tables.push(grid::table(title, columns, rows))
                }
                _ => {}
            }
        }
        if grids.heats.len() + grids.tables.len() + grids.repeated.len() > 0 {
            all.push(grids);
        }
    }
    all
}

fn count(history: &RunHistory, status: StepStatus) -> usize {
    history
        .steps
        .iter()
        .filter(|record| record.status == status)
        .count()
}

/// What happened, in a sentence.
fn lead(history: &RunHistory) -> String {
    let steps = number::plural(history.steps.len(), "step");
    let parts: Vec<String> = status::ALL
        .into_iter()
        .map(|status| (status, count(history, status)))
        .filter(|(_, count)| *count > 0)
        .map(|(status, count)| format!("{count} {}", status::name(status)))
        .collect();
    let time = match &history.finished {
        Some(finished) => format!(" in {}", number::duration(finished.seconds)),
        None => ", no end recorded".to_owned(),
    };
    format!("{steps}{time}: {}.", parts.join(", "))
}

fn tiles(history: &RunHistory, materials: &[Material]) -> Vec<(&'static str, String, String)> {
    let mut tiles = Vec::new();
    let wall = history
        .finished
        .as_ref()
        .map(|finished| number::duration(finished.seconds));
    let busy: f64 = history.steps.iter().filter_map(|record| record.seconds).sum();
    tiles.push((
        "Wall time",
        wall.unwrap_or_else(|| "–".to_owned()),
        format!("{} of step time", number::duration(busy)),
    ));
    let cached = match count(history, StepStatus::Cached) {
        0 => "none from earlier runs".to_owned(),
        cached => format!("{cached} from earlier runs"),
    };
    let whole = count(history, StepStatus::Done) + count(history, StepStatus::Cached);
    tiles.push(("Steps", format!("{whole} of {}", history.steps.len()), cached));
    let work = |unit: &str| {
        let made = history.steps.iter().flat_map(|record| &record.throughput);
        made.filter(|made| made.unit == unit)
            .fold((0u64, 0.0), |sum, made| {
                (sum.0.saturating_add(made.amount), sum.1 + made.seconds)
            })
    };
    let (tokens, seconds) = work("tokens");
    if tokens > 0 && seconds > 0.0 {
        let rate = number::count((tokens as f64 / seconds).round() as u64);
        tiles.push(("Tokens", number::count(tokens), format!("mean {rate} a second")));
    }
    let manifests = || materials.iter().filter_map(|material| material.manifest.as_ref());
    let bytes = manifests()
        .map(|manifest| manifest.total_bytes())
        .fold(0u64, u64::saturating_add);
    tiles.push((
        "Artifacts",
        ByteSize(bytes).to_string(),
        number::plural(manifests().count(), "artifact"),
    ));
    tiles
}

fn about(history: &RunHistory) -> Vec<(&'static str, String)> {
    let run = &history.run;
    let machine = &run.machine;
    let versions: Vec<String> = run
        .versions
        .iter()
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    let gpus = match machine.gpus {
        0 => String::new(),
        gpus => format!(", {}", number::plural(gpus as usize, "GPU")),
    };
    let mut about = vec![
        ("Run", run.id.clone()),
        ("Document", run.file.clone()),
        ("Store", run.store.clone()),
        ("Started", moment::show(&run.started)),
    ];
    about.extend(
        history
            .finished
            .as_ref()
            .map(|finished| ("Finished", moment::show(&finished.finished))),
    );
    about.push((
        "Machine",
        format!(
            "{}, {}, {}{gpus}, device {}",
            machine.system,
            number::plural(machine.cpus as usize, "CPU"),
            ByteSize(machine.memory),
            machine.device
        ),
    ));
    about.push(("Versions", versions.join(", ")));
    about.push(("Seed", run.seed.to_string()));
    about
}

/// What went wrong: failed steps, and artifacts that cannot be read.
fn alarms(history: &RunHistory, materials: &[Material]) -> Vec<Remark> {
    let mut alarms = Vec::new();
    for (record, material) in history.steps.iter().zip(materials) {
        let failed = record
            .error
            .as_ref()
            .filter(|_| record.status == StepStatus::Failed);
        alarms.extend(failed.map(|error| Remark {
            step: record.step.clone(),
            text: error.message.clone(),
        }));
        alarms.extend(material.fault.as_ref().map(|fault| Remark {
            step: record.step.clone(),
            text: fault.clone(),
        }));
    }
    alarms
}
