//! What a merge shows: its coefficients, the angles between the task vectors, what a reader should know.

use serde_json::json;
use tributary_merge::{MergeRecord, ModelRecord, Norms};
use tributary_pipeline::{Figure, Note, Outcome};

/// Facts and figures of a merge.
pub(crate) fn outcome(record: &MergeRecord) -> Outcome {
    let models = record.models.iter().map(|model| {
        json!({"name": model.name, "coefficient": model.coefficient, "norm_squared": model.norm_squared})
    });
    let mut outcome = Outcome::default()
        .fact("parameters", record.merged_parameters)
        .fact("method", record.method.as_str())
        .fact("models", models.collect::<Vec<_>>())
        .figure(coefficients(record));
    if let Some(effective) = record.effective_models {
        outcome = outcome.fact("effective_models", effective);
    }
    if let Some(norms) = record.norms {
        outcome = outcome.fact("norms", json!(norms));
    }
    if let Some(cosines) = record.cosines.as_ref().filter(|cosines| cosines.len() > 1) {
        let names: Vec<String> = record.models.iter().map(|model| model.name.clone()).collect();
        let number = |row: &Vec<Option<f64>>| row.iter().map(|cosine| cosine.unwrap_or(f64::NAN)).collect();
        outcome = outcome.figure(Figure::Matrix {
            title: "Cosines of the task vectors".to_owned(),
            rows: names.clone(),
            columns: names,
            values: cosines.iter().map(number).collect(),
        });
    }
    outcome.figure(Figure::Notes { notes: notes(record) })
}

/// λ, ‖τ‖ and share of each model; by part of the model too, where λ differs.
fn coefficients(record: &MergeRecord) -> Figure {
    let weight: f64 = record.models.iter().map(|model| model.coefficient.abs()).sum();
    let row = |name: String, model: &ModelRecord, share: String| {
        let norm = model
            .norm
            .map_or_else(|| "–".to_owned(), |norm| format!("{norm:.4}"));
        vec![name, format!("{:.6}", model.coefficient), norm, share]
    };
    let share = |model: &ModelRecord| match weight {
        weight if weight > 0.0 => format!("{:.1} %", 100.0 * model.coefficient.abs() / weight),
        _ => "–".to_owned(),
    };
    let base = record
        .base
        .iter()
        .map(|base| row(format!("{} (base)", base.name), base, "–".to_owned()));
    let models = record
        .models
        .iter()
        .map(|model| row(model.name.clone(), model, share(model)));
    let lambda = if record.parts.is_empty() {
        "λ"
    } else {
        "λ (mean)"
    };
    Figure::Table {
        title: format!("Merge coefficients, {}", record.method),
        columns: ["model", lambda, "‖τ‖", "share of Σ|λ|"]
            .map(str::to_owned)
            .to_vec(),
        rows: base.chain(models).collect(),
    }
}

fn notes(record: &MergeRecord) -> Vec<Note> {
    let mut notes = vec![Note::info(format!("{}: {}", record.method, record.formula))];
    if let Some(effective) = record.effective_models {
        notes.push(Note::info(format!(
            "n_eff = {effective:.2} of {} models",
            record.models.len()
        )));
    }
    if record.norms == Some(Norms::Recorded) {
        notes.push(Note::info(
            "the norms are those that training recorded; the models were not read for them",
        ));
    }
    notes.extend(record.warnings.iter().map(Note::warning));
    notes
}
