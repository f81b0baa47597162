//! `README.md` of the result: what it is, of what, and how to make it again.

use std::fmt::Write;

use crate::plan::MergePlan;
use crate::record::MergeRecord;

/// Name of the card's object.
pub(crate) const CARD_FILE: &str = "README.md";
/// What every card of ours says.
pub(crate) const CARD_MARK: &str = "Merged with Tributary";

/// The model card; the same bytes for the same merge.
pub(crate) fn model_card(plan: &MergePlan, record: &MergeRecord) -> String {
    let mut card = String::new();
    // Writing to a string cannot fail.
    let _ = write_card(&mut card, plan, record);
    card
}

fn write_card(card: &mut String, plan: &MergePlan, record: &MergeRecord) -> std::fmt::Result {
    writeln!(
        card,
        "---\nlibrary_name: transformers\ntags:\n- merge\n- tributary\n---\n"
    )?;
    let title = record
        .models
        .iter()
        .map(|model| model.name.as_str())
        .collect::<Vec<_>>()
        .join(" + ");
    writeln!(card, "# {title}\n")?;
    writeln!(
        card,
        "{CARD_MARK}: method `{}`, {}.\n",
        record.method, record.formula
    )?;
    let has_norms = record.models.iter().any(|model| model.norm.is_some());
    writeln!(
        card,
        "| model | coefficient |{} digest |",
        if has_norms {
            " distance from the base |"
        } else {
            ""
        }
    )?;
    writeln!(
        card,
        "| --- | ---: |{} --- |",
        if has_norms { " ---: |" } else { "" }
    )?;
    for (model, is_base) in record
        .base
        .iter()
        .map(|base| (base, true))
        .chain(record.models.iter().map(|m| (m, false)))
    {
        let digest: String = model.digest.chars().take(16).collect();
        let role = if is_base { " (base)" } else { "" };
        write!(
            card,
            "| {}{role} | {:.6} |",
            model.name.replace('|', "\\|"),
            model.coefficient
        )?;
        if has_norms {
            write!(
                card,
                " {} |",
                model.norm.map_or_else(String::new, |norm| format!("{norm:.6}"))
            )?;
        }
        writeln!(card, " `{}:{digest}` |", model.kind)?;
    }
    if record.parts.is_empty() {
        writeln!(card)?;
    } else {
        writeln!(
            card,
            "\nCoefficients differ by part of the model; these are means (see `merge.json`).\n"
        )?;
    }
    if let Some(effective) = record.effective_models {
        writeln!(
            card,
            "Effective number of models: {effective:.3} of {}.\n",
            record.models.len()
        )?;
    }
    if let Some(cosines) = record.cosines.as_ref().filter(|cosines| cosines.len() > 1) {
        writeln!(
            card,
            "Cosines of the task vectors:\n\n| | {} |",
            record
                .models
                .iter()
                .map(|m| m.name.as_str())
                .collect::<Vec<_>>()
                .join(" | ")
        )?;
        writeln!(card, "| --- |{}", " ---: |".repeat(cosines.len()))?;
        for (model, row) in record.models.iter().zip(cosines) {
            let cells: Vec<String> = row
                .iter()
                .map(|value| value.map_or_else(|| "–".to_string(), |value| format!("{value:.4}")))
                .collect();
            writeln!(card, "| {} | {} |", model.name, cells.join(" | "))?;
        }
        writeln!(card)?;
    }
    if !record.warnings.is_empty() {
        writeln!(card, "## To be known\n")?;
        for warning in &record.warnings {
            writeln!(card, "- {warning}")?;
        }
        writeln!(card)?;
    }
    let yaml = serde_saphyr::to_string(&plan.spec).unwrap_or_default();
    writeln!(
        card,
        "## Configuration\n\n```yaml\n{}\n```\n",
        tributary_store::mask(yaml.trim_end())
    )?;
    writeln!(
        card,
        "{} parameters merged in {} tensors, {} tensors copied. `merge.json` has all figures, `tributary.json` the digest of \
         every file.",
        record.merged_parameters,
        record.tensors_merged,
        record.tensors_copied.len()
    )
}
