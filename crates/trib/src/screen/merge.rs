//! A merge: what it will do, and what came out.

use tributary_merge::{MergeRecord, ModelRecord, PlanSummary};

use super::{bytes, count, harmless, plural, table};

/// What a merge will read and write.
pub(crate) fn merge_plan_page(summary: &PlanSummary, is_there: bool) -> String {
    let base = summary
        .base
        .as_ref()
        .map_or(String::new(), |base| format!(" on {base}"));
    let mut page = format!(
        "{} of {}{base}\n{} parameters in {}, {} copied\nreads {} in {}, writes {} in {}\n{}, {} of buffers\n",
        summary.method,
        summary.models.join(", "),
        count(summary.parameters),
        plural(summary.tensors_merged, "tensor"),
        summary.tensors_copied,
        bytes(summary.bytes_to_read),
        if summary.passes == 1 {
            "1 pass".to_owned()
        } else {
            format!("{} passes", summary.passes)
        },
        bytes(summary.bytes_to_write),
        plural(summary.shards, "file"),
        plural(summary.workers, "thread"),
        bytes(summary.memory),
    );
    if is_there {
        page.push_str("the result is there already: nothing to do\n");
    }
    harmless(&page)
}

/// Coefficients, cosines, and how many models count.
pub(crate) fn merge_page(record: &MergeRecord, width: Option<u16>) -> String {
    let mut page = format!("{}: {}\n", record.method, record.formula);
    page.push_str(&table(
        &["model", "λ", "‖τ‖", "share of Σ|λ|"],
        coefficients(record),
        width,
    ));
    if let Some(cosines) = record.cosines.as_ref().filter(|cosines| cosines.len() > 1) {
        page.push_str("\ncosines of the task vectors\n");
        let names: Vec<&str> = record.models.iter().map(|model| model.name.as_str()).collect();
        let cell =
            |cosine: &Option<f64>| cosine.map_or_else(|| "–".to_owned(), |cosine| format!("{cosine:.4}"));
        let row = |(name, row): (&&str, &Vec<Option<f64>>)| {
            std::iter::once((*name).to_owned())
                .chain(row.iter().map(cell))
                .collect()
        };
        let rows = names.iter().zip(cosines).map(row).collect();
        let header: Vec<&str> = std::iter::once("").chain(names.iter().copied()).collect();
        page.push_str(&table(&header, rows, width));
    }
    if let Some(effective) = record.effective_models {
        page.push_str(&format!(
            "\nn_eff {effective:.2} of {}\n",
            plural(record.models.len(), "model")
        ));
    }
    harmless(&page)
}

fn coefficients(record: &MergeRecord) -> Vec<Vec<String>> {
    let weight: f64 = record.models.iter().map(|model| model.coefficient.abs()).sum();
    let row = |name: String, model: &ModelRecord, share: Option<f64>| {
        let norm = model
            .norm
            .map_or_else(|| "–".to_owned(), |norm| format!("{norm:.4}"));
        let share = share.map_or_else(|| "–".to_owned(), |share| format!("{:.1} %", 100.0 * share));
        vec![name, format!("{:.6}", model.coefficient), norm, share]
    };
    let base = record
        .base
        .iter()
        .map(|base| row(format!("{} (base)", base.name), base, None));
    let share = |model: &ModelRecord| (weight > 0.0).then(|| model.coefficient.abs() / weight);
    let models = record
        .models
        .iter()
        .map(|model| row(model.name.clone(), model, share(model)));
    base.chain(models).collect()
}
