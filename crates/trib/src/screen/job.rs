//! The screens of `trib jobs`.

use std::fmt::Write;

use tributary_pipeline::{Job, Registry};

use super::setting::settings;
use super::table;

/// Every kind with its one line.
pub(crate) fn job_list(registry: &Registry, width: Option<u16>) -> String {
    let row = |job: &dyn Job| vec![job.kind().to_owned(), job.summary().to_owned()];
    let mut page = table(
        &["job", "what it does"],
        registry.jobs().map(|job| row(job.as_ref())).collect(),
        width,
    );
    page.push_str("\n`trib jobs KIND` shows the settings of one, with an example\n");
    page
}

/// One kind: its settings, and a step as an example.
pub(crate) fn job_page(job: &dyn Job, width: Option<u16>) -> String {
    let mut page = format!("{}: {}\n\n", job.kind(), job.summary());
    let rows: Vec<Vec<String>> = settings(&job.schema())
        .into_iter()
        .map(|setting| vec![setting.name, setting.kind, setting.default, setting.description])
        .collect();
    if rows.is_empty() {
        page.push_str("it has no settings\n");
    } else {
        page.push_str(&table(
            &["setting", "type", "default", "what it does"],
            rows,
            width,
        ));
    }
    page.push_str("\nexample, an item of `steps:`\n");
    for line in job.example().trim_end().lines() {
        let _ = writeln!(page, "{}", format!("  {line}").trim_end());
    }
    page
}
