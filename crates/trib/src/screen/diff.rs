//! Two models beside each other: as text, and as a sheet with a heat map.

use std::collections::BTreeMap;
use std::fmt::Write;

use tributary_merge::{Distance, FileState, GroupDiff, ModelDiff, TensorDiff, TensorEntry, TokenizerDiff};
use tributary_report::{Sheet, SheetHeat, SheetTable};

use super::{count, harmless, plural, significant, table};

/// Tokens shown of a kind; the rest is counted.
const TOKENS_SHOWN: usize = 5;
const COLUMNS: [&str; 7] = [
    "tensor",
    "‖A−B‖/‖A‖",
    "‖A−B‖",
    "cosine",
    "differing",
    "largest",
    "at",
];
const GROUP_COLUMNS: [&str; 6] = ["", "‖A−B‖/‖A‖", "‖A−B‖", "cosine", "differing", "tensors"];

/// What differs: the `top` most distant tensors, sums, and everything outside the tensors.
pub(crate) fn diff_page(diff: &ModelDiff, top: usize, width: Option<u16>) -> String {
    let mut page = format!("A  {}\nB  {}\n{}\n", diff.a.model, diff.b.model, summary(diff));
    let differing: Vec<&TensorDiff> = diff.tensors.iter().filter(|tensor| !tensor.is_equal).collect();
    if !differing.is_empty() {
        let rows = differing
            .iter()
            .take(top)
            .map(|tensor| tensor_row(tensor))
            .collect();
        page.push('\n');
        page.push_str(&table(&COLUMNS, rows, width));
        if differing.len() > top {
            let more = differing.len() - top;
            let _ = writeln!(page, "… and {} closer ones; --all shows them", count(more as u64));
        }
        for (title, groups) in [("by layer", &diff.layers), ("by kind of weight", &diff.kinds)] {
            let _ = write!(
                page,
                "\n{title}\n{}",
                table(&GROUP_COLUMNS, group_rows(groups), width)
            );
        }
    }
    for line in others(diff) {
        page.push_str(&line);
        page.push('\n');
    }
    harmless(&page)
}

/// The same as a page with a heat map.
pub(crate) fn diff_sheet(diff: &ModelDiff) -> Sheet {
    let texts = |columns: &[&str]| {
        columns
            .iter()
            .map(|column| (*column).to_owned())
            .collect::<Vec<_>>()
    };
    let all = diff
        .tensors
        .iter()
        .filter(|tensor| !tensor.is_equal)
        .map(tensor_row);
    let mut tables = vec![
        SheetTable {
            title: "By kind of weight".to_owned(),
            columns: texts(&GROUP_COLUMNS),
            rows: group_rows(&diff.kinds),
        },
        SheetTable {
            title: "By layer".to_owned(),
            columns: texts(&GROUP_COLUMNS),
            rows: group_rows(&diff.layers),
        },
        SheetTable {
            title: "Tensors that differ".to_owned(),
            columns: texts(&COLUMNS),
            rows: all.collect(),
        },
    ];
    let rest = others(diff).into_iter().filter(|line| !line.trim().is_empty());
    let rest: Vec<Vec<String>> = rest.map(|line| vec![line.trim().to_owned()]).collect();
    if !rest.is_empty() {
        tables.push(SheetTable {
            title: "Beside the tensors".to_owned(),
            columns: vec!["difference".to_owned()],
            rows: rest,
        });
    }
    let side = |side: &tributary_merge::Side| format!("{} ({} {})", side.model, side.kind, side.digest);
    Sheet {
        kind: "Tributary model difference".to_owned(),
        title: format!("{} against {}", diff.b.model, diff.a.model),
        lead: summary(diff),
        about: vec![("A".to_owned(), side(&diff.a)), ("B".to_owned(), side(&diff.b))],
        heats: heat(diff).into_iter().collect(),
        tables,
    }
}

/// Relative distances of layers by kinds of weight; several tensors of one kind in one layer as one vector.
fn heat(diff: &ModelDiff) -> Option<SheetHeat> {
    let mut cells: BTreeMap<(usize, &str), (f64, f64)> = BTreeMap::new();
    let mut columns: Vec<&str> = Vec::new();
    let mut tensors: Vec<&TensorDiff> = diff.tensors.iter().collect();
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    for tensor in tensors {
        let (Some(layer), Some(measure)) = (tensor.layer, tensor.measure) else {
            continue;
        };
        if !columns.contains(&tensor.kind.as_str()) {
            columns.push(&tensor.kind);
        }
        let cell = cells.entry((layer, &tensor.kind)).or_default();
        cell.0 += measure.distance * measure.distance;
        cell.1 += measure.norm_a * measure.norm_a;
    }
    let mut layers: Vec<usize> = cells.keys().map(|(layer, _)| *layer).collect();
    layers.dedup();
    let value = |layer: usize, kind: &str| {
        let (distance, norm) = cells.get(&(layer, kind))?;
        match (*distance > 0.0, *norm > 0.0) {
            (false, _) => Some(0.0),
            (true, true) => Some((distance / norm).sqrt()),
            (true, false) => None,
        }
    };
    (!layers.is_empty()).then(|| SheetHeat {
        title: "‖A−B‖/‖A‖ by layer and kind of weight".to_owned(),
        rows: layers.iter().map(|layer| format!("layer {layer}")).collect(),
        values: layers
            .iter()
            .map(|layer| columns.iter().map(|kind| value(*layer, kind)).collect())
            .collect(),
        columns: columns.into_iter().map(str::to_owned).collect(),
    })
}

fn summary(diff: &ModelDiff) -> String {
    if diff.is_equal {
        return format!(
            "equal: {}, {} parameters, configuration and tokenizer",
            plural(diff.tensors.len(), "tensor"),
            count(diff.total.elements)
        );
    }
    let differing = diff.tensors.iter().filter(|tensor| !tensor.is_equal).count();
    if differing == 0 {
        return format!(
            "{} in both, all equal; other things differ",
            plural(diff.tensors.len(), "tensor")
        );
    }
    let measure = &diff.total.measure;
    format!(
        "{} of {} differ: ‖A−B‖ {}, ‖A−B‖/‖A‖ {}, cosine {}, {} of the elements",
        count(differing as u64),
        plural(diff.tensors.len(), "tensor"),
        significant(measure.distance),
        relative(measure),
        cosine(measure),
        percent(diff.total.differing_share),
    )
}

fn tensor_row(tensor: &TensorDiff) -> Vec<String> {
    let nothing = || "–".to_owned();
    let of = |say: fn(&Distance) -> String| tensor.measure.as_ref().map_or_else(nothing, say);
    let (a, b) = tensor.dtypes;
    let types = if a == b {
        String::new()
    } else {
        format!(" ({a} → {b})")
    };
    let broken = match tensor.not_finite {
        0 => String::new(),
        broken => format!(" ({} not finite)", count(broken)),
    };
    vec![
        format!("{}{types}{broken}", tensor.name),
        of(relative),
        of(|measure| significant(measure.distance)),
        of(cosine),
        percent(tensor.differing_share),
        tensor
            .largest
            .as_ref()
            .map_or_else(nothing, |largest| significant(largest.difference)),
        tensor
            .largest
            .as_ref()
            .map_or_else(nothing, |largest| format!("{:?}", largest.at)),
    ]
}

fn group_rows(groups: &[GroupDiff]) -> Vec<Vec<String>> {
    let row = |group: &GroupDiff| {
        vec![
            group.name.clone(),
            relative(&group.measure),
            significant(group.measure.distance),
            cosine(&group.measure),
            percent(group.differing_share),
            group.tensors.to_string(),
        ]
    };
    groups.iter().map(row).collect()
}

fn relative(measure: &Distance) -> String {
    measure.relative.map_or_else(|| "∞".to_owned(), significant)
}

fn cosine(measure: &Distance) -> String {
    measure
        .cosine
        .map_or_else(|| "–".to_owned(), |cosine| format!("{cosine:.6}"))
}

fn percent(share: f64) -> String {
    match 100.0 * share {
        0.0 => "0 %".to_owned(),
        percent if percent < 0.01 => "< 0.01 %".to_owned(),
        percent => format!("{percent:.2} %"),
    }
}

/// What differs besides values: paragraphs of lines, each begun by an empty one.
fn others(diff: &ModelDiff) -> Vec<String> {
    let mut lines = Vec::new();
    let mut say = |title: &str, entries: Vec<String>| {
        if !entries.is_empty() {
            lines.push(String::new());
            lines.push(title.to_owned());
            lines.extend(entries.into_iter().map(|entry| format!("  {entry}")));
        }
    };
    let entry = |tensor: &TensorEntry| format!("{}  {} {:?}", tensor.name, tensor.dtype, tensor.shape);
    say("tensors only in A", diff.only_in_a.iter().map(entry).collect());
    say("tensors only in B", diff.only_in_b.iter().map(entry).collect());
    let misfit = |(a, b): &(TensorEntry, TensorEntry)| format!("{}  {:?} → {:?}", a.name, a.shape, b.shape);
    say("shapes that differ", diff.shapes.iter().map(misfit).collect());
    let value =
        |value: &Option<serde_json::Value>| value.as_ref().map_or("nothing".to_owned(), ToString::to_string);
    let field = |field: &tributary_merge::FieldDiff| {
        format!("{}: {} → {}", field.field, value(&field.a), value(&field.b))
    };
    say("config.json", diff.configuration.iter().map(field).collect());
    say("tokenizer", tokenizer(&diff.tokenizer));
    lines
}

fn tokenizer(diff: &TokenizerDiff) -> Vec<String> {
    let file = |file: &tributary_merge::FileDiff| {
        let state = match file.state {
            FileState::Differs => "differs",
            FileState::OnlyInA => "only in A",
            FileState::OnlyInB => "only in B",
        };
        format!("{} {state}", file.name)
    };
    let mut lines: Vec<String> = diff.files.iter().map(file).collect();
    let some = |tokens: Vec<String>, total: usize, what: &str| {
        let more = if total > tokens.len() { ", …" } else { "" };
        format!("{} {what}: {}{more}", plural(total, "token"), tokens.join(", "))
    };
    for (tokens, what) in [(&diff.only_in_a, "only in A"), (&diff.only_in_b, "only in B")] {
        if !tokens.is_empty() {
            let shown = tokens.iter().take(TOKENS_SHOWN).map(|token| format!("{token:?}"));
            lines.push(some(shown.collect(), tokens.len(), what));
        }
    }
    if !diff.renumbered.is_empty() {
        let shown = diff.renumbered.iter().take(TOKENS_SHOWN);
        let shown = shown.map(|(token, a, b)| format!("{token:?} {a} → {b}"));
        lines.push(some(
            shown.collect(),
            diff.renumbered.len(),
            "with another number",
        ));
    }
    lines
}
