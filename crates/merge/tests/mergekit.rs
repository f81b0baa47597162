//! The same document given to mergekit (a process; nothing of it is copied here): float32 outputs agree. Needs
//! `TRIBUTARY_PYTHON`, a Python that has mergekit; says so and passes without it.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use support::mergekit::{llamas, merge, python, run};
use support::{Bench, read};

/// Documents in which the word after `OURS:` is ours alone, for a family of a base and three fine-tunes.
fn documents([base, a, b, c]: [&str; 4]) -> Vec<String> {
    let weight =
        |model: &str, weight: &str| format!("- {{model: {model}, parameters: {{weight: {weight}}}}}\n");
    let with =
        |model: &str, parameters: &str| format!("- {{model: {model}, parameters: {{{parameters}}}}}\n");
    let gradient = "[{filter: mlp, value: 0.4}, {value: [0.0, 0.5, 1.0]}]";
    let plain = |model: &str| format!("- {{model: {model}}}\n");
    let document = |method: &str, base: Option<&str>, models: &[String], parameters: &str| {
        let base = base
            .map(|base| format!("base_model: {base}\n"))
            .unwrap_or_default();
        format!(
            "merge_method: {method}\n{base}dtype: float32\nparameters: {{{parameters}}}\nmodels:\n{}",
            models.concat()
        )
    };
    let three = [weight(a, "0.3"), weight(b, "0.7"), weight(c, "-0.2")];
    let positive = [weight(a, "0.3"), weight(b, "0.7"), weight(c, "0.4")];
    let dense = [
        with(a, "weight: 0.3, density: 0.5"),
        with(b, "weight: 0.7, density: [0.2, 0.9]"),
        with(c, "weight: 0.4, density: 0.33"),
    ];
    let crumbs = [
        with(a, "weight: 0.3, density: 0.5, gamma: 0.1"),
        with(b, "weight: 0.7, density: 0.8, gamma: 0.15"),
    ];
    let voted = "OURS:vote: weighted";
    vec![
        document("linear", None, &[weight(a, "0.3"), weight(b, "0.9")], ""),
        document("linear", None, &[weight(a, gradient), weight(b, "0.25")], ""),
        document(
            "linear",
            None,
            &[weight(a, "-0.5"), weight(b, "1.5")],
            "normalize: false",
        ),
        document("task_arithmetic", Some(base), &three, ""),
        document(
            "task_arithmetic",
            Some(base),
            &[plain(base), weight(a, gradient), weight(b, "0.7")],
            "lambda: 0.6, normalize: true",
        ),
        document("ties", Some(base), &dense, voted),
        document(
            "ties",
            Some(base),
            &dense,
            &format!("lambda: 0.7, normalize: false, {voted}"),
        ),
        document("ties", Some(base), &positive, &format!("density: 1.0, {voted}")),
        document("breadcrumbs", Some(base), &crumbs, "lambda: 1.3"),
        document("breadcrumbs_ties", Some(base), &crumbs, voted),
        document("sce", Some(base), &[plain(a), plain(b), plain(c)], ""),
        document(
            "sce",
            Some(base),
            &[plain(a), plain(b), plain(c)],
            "select_topk: 0.3",
        ),
        document(
            "ram",
            Some(base),
            &[plain(a), plain(b), plain(c)],
            "epsilon: 0.02",
        ),
        document(
            "ramplus_tl",
            Some(base),
            &[plain(a), plain(b), plain(c)],
            "epsilon: 0.02",
        ),
        document("model_stock", Some(base), &[plain(a), plain(b), plain(c)], ""),
        document(
            "model_stock",
            Some(base),
            &[plain(a), plain(b), plain(c)],
            "filter_wise: true",
        ),
        document("slerp", Some(base), &[plain(base), plain(c)], "t: 0.3"),
        document(
            "slerp",
            Some(base),
            &[plain(c), plain(base)],
            "t: [{filter: self_attn, value: [0, 0.5, 0.3, 0.7, 1]}, {value: 0.5}]",
        ),
        document("nuslerp", None, &[weight(a, "0.3"), weight(c, "0.9")], ""),
        document("nuslerp", Some(base), &[weight(a, "0.3"), weight(c, "0.9")], ""),
        document(
            "nuslerp",
            None,
            &[weight(a, "0.3"), weight(c, "0.9")],
            "nuslerp_flatten: false",
        ),
        document(
            "nuslerp",
            Some(base),
            &[weight(a, "0.3"), weight(c, "0.9")],
            "nuslerp_flatten: false, nuslerp_row_wise: true",
        ),
        document("multislerp", None, &positive, ""),
        document("multislerp", Some(base), &positive, ""),
        document("karcher", None, &[plain(a), plain(b), plain(c)], ""),
        document("nearswap", Some(base), &[plain(c)], "t: 0.01"),
        document("arcee_fusion", Some(base), &[plain(c)], ""),
        document("passthrough", None, &[with(a, "scale: 0.5")], ""),
        format!(
            "merge_method: passthrough\ndtype: float32\nslices:\n- sources: [{{model: {a}, layer_range: [0, 2]}}]\n- sources: \
             [{{model: {b}, layer_range: [1, 3], parameters: {{scale: [{{filter: o_proj, value: 0}}, {{value: 1}}]}}}}]\n- \
             sources: [{{model: {c}, layer_range: [1, 3]}}]\n"
        ),
        format!(
            "merge_method: linear\ndtype: float32\nparameters: {{weight: 0.5}}\nslices:\n- sources: [{{model: {a}, \
             layer_range: [0, 2], parameters: {{weight: [0.1, 0.8]}}}}, {{model: {b}, layer_range: [1, 3]}}]\n- sources: \
             [{{model: {c}, layer_range: [2, 3]}}, {{model: {base}, layer_range: [0, 1], parameters: {{weight: 0.2}}}}]\n  \
             parameters: {{weight: 0.9}}\n"
        ),
        format!(
            "merge_method: ties\nbase_model: {base}\ndtype: float32\ncompat: mergekit\nparameters: {{weight: [0.2, 0.6], \
             density: 0.6}}\nslices:\n- sources: [{{model: {base}, layer_range: [0, 2]}}, {{model: {a}, layer_range: [0, 2]}}, \
             {{model: {b}, layer_range: [1, 3], parameters: {{density: 0.9}}}}]\n  parameters: {{lambda: 0.7}}\n- sources: \
             [{{model: {c}, layer_range: [2, 3]}}, {{model: {base}, layer_range: [2, 3]}}]\n"
        ),
        format!(
            "merge_method: slerp\nbase_model: {base}\ndtype: float32\nslices:\n- sources: [{{model: {a}, layer_range: [0, \
             3]}}, {{model: {base}, layer_range: [0, 3]}}]\nparameters: {{t: [{{filter: self_attn, value: [0, 0.5, 1]}}, \
             {{filter: mlp, value: [1, 0.5, 0]}}, {{value: 0.5}}]}}\n"
        ),
        format!(
            "merge_method: task_arithmetic\nbase_model: {base}\ndtype: float32\nmodules:\n  default:\n    models: [{{model: \
             {a}, parameters: {{weight: 0.5}}}}, {{model: {b}}}]\n    parameters: {{weight: 0.25}}\nparameters: {{weight: 9, \
             lambda: 0.8}}\n"
        ),
        document(
            "della",
            Some(base),
            &dense,
            "epsilon: 0.0, density: 1.0, compat: 1",
        )
        .replace(", compat: 1}", "}\ncompat: mergekit")
        .replace("density: 0.5", "density: 1.0")
        .replace("density: [0.2, 0.9]", "density: 1.0")
        .replace("density: 0.33", "density: 1.0"),
    ]
}

/// The head of a row of docs/mergekit.md: method, and the forms in which its parameters are given.
fn row(yaml: &str, tied: bool) -> String {
    let method = yaml
        .split_whitespace()
        .skip_while(|word| *word != "merge_method:")
        .nth(1)
        .unwrap();
    let forms = [
        ("modules:", "module"),
        ("slices:", "slices"),
        ("base_model:", "base"),
        ("filter:", "filters"),
        (": [0", "gradient"),
        ("lambda:", "lambda"),
        ("normalize: false", "normalize: false"),
        ("normalize: true", "normalize: true"),
        ("density:", "density"),
        ("gamma:", "gamma"),
        ("epsilon:", "epsilon"),
        ("select_topk:", "select_topk"),
        ("filter_wise: true", "filter_wise"),
        ("nuslerp_flatten: false", "by column"),
        ("nuslerp_row_wise: true", "by row"),
        ("vote: weighted", "vote: weighted"),
        ("compat: mergekit", "compat: mergekit"),
        ("scale:", "scale"),
        (" t: ", "t"),
    ];
    let given: Vec<&str> = forms
        .iter()
        .filter(|(mark, _)| yaml.contains(mark))
        .map(|(_, form)| *form)
        .collect();
    let head = if tied { "tied" } else { "own" };
    format!("| `{method}` | {} | {head} |", given.join(", "))
}

#[test]
fn outputs_agree_with_mergekit() {
    let Some(python) = python() else {
        eprintln!("skipped: TRIBUTARY_PYTHON names no Python that has mergekit");
        return;
    };
    let mut apart = Vec::new();
    for tied in [false, true] {
        let (models, configuration) = llamas(tied);
        let bench = Bench::with(&models, &configuration, u64::MAX);
        let names = [0, 1, 2, 3].map(|index| bench.path(&Bench::name(index)).display().to_string());
        let documents = documents(names.each_ref().map(String::as_str));
        let written = documents.iter().enumerate().map(|(number, yaml)| {
            let file = bench.path(&format!("{number}.yml"));
            std::fs::write(
                &file,
                yaml.replace("OURS:vote: weighted", "")
                    .replace("compat: mergekit\n", ""),
            )
            .unwrap();
            (file, bench.path(&format!("theirs-{number}")))
        });
        run(&python, written);
        for (number, yaml) in documents.iter().enumerate() {
            let ours = bench.path(&format!("ours-{number}"));
            merge(&yaml.replace("OURS:", ""), &ours);
            let (ours, theirs) = (read(&ours), read(&bench.path(&format!("theirs-{number}"))));
            assert_eq!(
                ours.keys().collect::<Vec<_>>(),
                theirs.keys().collect::<Vec<_>>(),
                "{yaml}"
            );
            let pairs = ours
                .iter()
                .flat_map(|(name, tensor)| tensor.values().into_iter().zip(theirs[name].values()));
            let worst = pairs
                .map(|(ours, theirs)| (ours - theirs).abs())
                .fold(0.0, f32::max);
            eprintln!("{} {worst:.1e} |", row(yaml, tied));
            // Both round to f32, mergekit after every operation: a few units in the last place of values near 1.
            let is_number = ours
                .values()
                .all(|tensor| tensor.values().iter().all(|x| x.is_finite()));
            if worst > 2e-6 || !is_number {
                apart.push(format!("tied {tied}, document {number}: {worst} apart:\n{yaml}"));
            }
        }
    }
    assert!(apart.is_empty(), "{}", apart.join("\n"));
}
