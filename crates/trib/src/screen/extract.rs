//! An extracted adapter: what it keeps, and what it leaves.

use tributary_merge::{ExtractReport, ExtractedGroup, WholeTensor};

use super::{count, harmless, plural, significant, table};

/// Whole tensors shown of a kind; the rest is counted.
const SHOWN: usize = 12;

/// Ranks and errors by kind of weight, then what is saved whole and what is not covered.
pub(crate) fn extract_page(report: &ExtractReport, width: Option<u16>) -> String {
    let mut page = format!(
        "{} in {} decomposed, {} saved whole, {} not covered, {} equal\n‖Δ‖ {}, {} of ‖Δ‖² kept\n\n",
        plural(report.parameters as usize, "parameter"),
        match report.decomposed.len() {
            1 => "1 matrix".to_owned(),
            matrices => format!("{} matrices", count(matrices as u64)),
        },
        report.saved.len(),
        report.not_covered.len(),
        report.equal,
        significant(report.distance),
        percent(report.energy_kept),
    );
    let row = |group: &ExtractedGroup| {
        let (least, most) = group.ranks;
        let ranks = if least == most {
            most.to_string()
        } else {
            format!("{least}–{most}")
        };
        vec![
            group.kind.clone(),
            count(group.tensors as u64),
            ranks,
            significant(group.distance),
            percent(group.energy_kept),
            significant(group.relative_error),
        ]
    };
    let header = ["weights", "tensors", "rank", "‖Δ‖", "‖Δ‖² kept", "‖Δ−BA‖/‖Δ‖"];
    page.push_str(&table(&header, report.groups.iter().map(row).collect(), width));
    for (title, tensors) in [
        ("saved whole", &report.saved),
        ("not covered", &report.not_covered),
    ] {
        if !tensors.is_empty() {
            let rows = tensors.iter().take(SHOWN).map(whole_row).collect();
            let header = [title, "‖Δ‖", "‖Δ‖/‖W‖", ""];
            page.push_str(&format!("\n{}", table(&header, rows, width)));
        }
        if tensors.len() > SHOWN {
            let more = count((tensors.len() - SHOWN) as u64);
            page.push_str(&format!("… and {more} more; extract.json has them all\n"));
        }
    }
    harmless(&page)
}

fn whole_row(tensor: &WholeTensor) -> Vec<String> {
    let figure = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), significant);
    vec![
        tensor.name.clone(),
        figure(tensor.distance),
        figure(tensor.relative),
        tensor.reason.to_owned(),
    ]
}

fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}
