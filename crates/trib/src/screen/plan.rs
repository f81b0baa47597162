//! The screen of `trib plan`.

use std::fmt::Write;

use tributary_pipeline::{Estimate, Machine, Plan, PlanState, PlanStep, Resources};

use super::{bytes, harmless, plural, table};
use crate::disk::{DiskSpace, bytes_to_write};

/// References of one step that are shown before the rest is only counted.
const SHOWN_INPUTS: usize = 6;

/// A plan as a table with its totals.
pub(crate) fn plan_page(plan: &Plan, disk: Option<&DiskSpace>, width: Option<u16>) -> String {
    let mut page = format!(
        "{} ({}), seed {}\n",
        plan.pipeline,
        harmless(&plan.file),
        plan.seed
    );
    let _ = writeln!(
        page,
        "artifacts in {}, made on {}\n",
        plan.store,
        machine(&plan.machine)
    );
    let header = ["step", "job", "state", "inputs", "estimate", "resources"];
    page.push_str(&table(&header, plan.steps.iter().map(row).collect(), width));
    page.push('\n');
    page.push_str(&totals(plan));
    if let Some(disk) = disk {
        let _ = writeln!(
            page,
            "{} free on the disk of {}",
            bytes(disk.free),
            disk.at.display()
        );
    }
    page
}

fn machine(machine: &Machine) -> String {
    let mut parts = vec![plural(machine.cpus as usize, "processor")];
    if machine.memory < u64::MAX {
        parts.push(format!("{} of memory", bytes(machine.memory)));
    }
    if machine.gpus > 0 {
        parts.push(plural(machine.gpus as usize, "GPU"));
    }
    format!("{} ({})", machine.device, parts.join(", "))
}

fn row(step: &PlanStep) -> Vec<String> {
    vec![
        step.id.clone(),
        step.job.clone(),
        state(step.state).to_owned(),
        inputs(step),
        step.estimate.as_ref().map_or_else(String::new, estimate),
        resources(&step.resources),
    ]
}

fn state(state: PlanState) -> &'static str {
    match state {
        PlanState::Cached => "cached",
        PlanState::Run => "will run",
        PlanState::Unknown => "unknown",
    }
}

/// `base.model`, `corpus.txt`, … each once.
fn inputs(step: &PlanStep) -> String {
    let mut names: Vec<String> = Vec::new();
    for input in &step.inputs {
        let name = match (&input.step, &input.output) {
            (Some(step), Some(output)) => format!("{step}.{output}"),
            _ => harmless(&input.reference),
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.extend(step.after.iter().map(|id| format!("after {id}")));
    if names.len() > SHOWN_INPUTS + 1 {
        let more = names.len() - SHOWN_INPUTS;
        names.truncate(SHOWN_INPUTS);
        names.push(format!("and {more} more"));
    }
    names.join(", ")
}

fn estimate(estimate: &Estimate) -> String {
    let part = |amount: Option<u64>, words: &str| amount.map(|amount| words.replace('#', &bytes(amount)));
    let parts: Vec<String> = [
        part(estimate.bytes_written, "writes #"),
        part(estimate.bytes_read, "reads #"),
        part(estimate.memory, "# of memory"),
    ]
    .into_iter()
    .flatten()
    .collect();
    let note = estimate.note.as_deref().map(harmless);
    [Some(parts.join(", ")).filter(|text| !text.is_empty()), note]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join("\n")
}

fn resources(resources: &Resources) -> String {
    let mut parts = vec![plural(resources.cpus as usize, "cpu")];
    if resources.memory.0 > 0 {
        parts.push(resources.memory.to_string());
    }
    if resources.gpus > 0 {
        parts.push(plural(resources.gpus as usize, "gpu"));
    }
    parts.join(", ")
}

fn totals(plan: &Plan) -> String {
    let [cached, run, unknown] =
        [PlanState::Cached, PlanState::Run, PlanState::Unknown].map(|state| plan.count(state));
    let parts = [
        (cached, "there already"),
        (run, "will run"),
        (
            unknown,
            "unknown until their inputs exist (they run, unless those turn out as before)",
        ),
    ];
    let parts: Vec<String> = parts
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, words)| format!("{number} {words}"))
        .collect();
    let mut text = format!("{}: {}\n", plural(plan.steps.len(), "step"), parts.join(", "));
    if plan.is_complete() {
        text.push_str("nothing to do\n");
        return text;
    }
    let open = || plan.steps.iter().filter(|step| step.state != PlanState::Cached);
    let silent = open()
        .filter(|step| {
            step.estimate
                .as_ref()
                .is_none_or(|known| known.bytes_written.is_none())
        })
        .count();
    let _ = match (bytes_to_write(plan), silent) {
        (0, _) => Ok(()),
        (known, 0) => writeln!(text, "writes about {}", bytes(known)),
        (known, silent) => writeln!(
            text,
            "writes {} and what {} cannot tell yet",
            bytes(known),
            plural(silent, "step")
        ),
    };
    let memory = |step: &PlanStep| step.estimate.as_ref().and_then(|known| known.memory);
    if let Some(step) = open().max_by_key(|step| memory(step))
        && let Some(most) = memory(step)
    {
        let machine = plan.machine.memory;
        let _ = write!(text, "needs up to {} of memory (step {})", bytes(most), step.id);
        let _ = if most > machine {
            writeln!(text, ": more than the {} of this machine", bytes(machine))
        } else {
            writeln!(text)
        };
    }
    text
}
