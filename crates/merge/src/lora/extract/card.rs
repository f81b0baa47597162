//! `README.md` of an extracted adapter.

use std::fmt::Write;

use super::report::ExtractReport;

/// The card; the same bytes for the same extraction. `model` and `base` are what it calls the two.
pub(super) fn card(model: &str, base: &str, report: &ExtractReport) -> String {
    let mut card = String::new();
    // Writing to a string cannot fail.
    let _ = write_card(&mut card, model, base, report);
    card
}

fn write_card(card: &mut String, model: &str, base: &str, report: &ExtractReport) -> std::fmt::Result {
    writeln!(card, "---\nlibrary_name: peft\ntags:\n- lora\n- tributary\n---\n")?;
    writeln!(card, "# LoRA adapter of {model}\n")?;
    writeln!(
        card,
        "Extracted with Tributary: the difference of {model} from {base}, with {:.4} % of its energy. `extract.json` has the \
         figures of every tensor.\n",
        100.0 * report.energy_kept,
    )?;
    writeln!(
        card,
        "| weights | tensors | ranks | energy kept | relative error |"
    )?;
    writeln!(card, "| --- | ---: | ---: | ---: | ---: |")?;
    for group in &report.groups {
        writeln!(
            card,
            "| {} | {} | {}–{} | {:.4} % | {:.3e} |",
            group.kind,
            group.tensors,
            group.ranks.0,
            group.ranks.1,
            100.0 * group.energy_kept,
            group.relative_error
        )?;
    }
    if !report.not_covered.is_empty() {
        writeln!(card, "\nNot covered:\n")?;
    }
    for tensor in &report.not_covered {
        writeln!(card, "- `{}`: {}", tensor.name, tensor.reason)?;
    }
    Ok(())
}
