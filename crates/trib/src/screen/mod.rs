//! What a person sees: tables and sentences made of plans, runs and jobs. Nothing here prints.
//!
//! Every screen is a text of plain lines, fit for a snapshot; only [`table`] knows how wide the terminal is.

mod diff;
mod doctor;
mod extract;
mod job;
mod merge;
mod plan;
mod quantity;
mod setting;
mod summary;
#[cfg(test)]
mod tests;

pub(crate) use diff::{diff_page, diff_sheet};
pub(crate) use doctor::doctor_page;
pub(crate) use extract::extract_page;
pub(crate) use job::{job_list, job_page};
pub(crate) use merge::{merge_page, merge_plan_page};
pub(crate) use plan::plan_page;
pub(crate) use quantity::{bytes, count, duration, plural, rate, rough_duration, significant};
pub(crate) use summary::summary;

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};

/// A table without lines, its columns two blanks apart, wrapped to `width` columns if that is given.
fn table(header: &[&str], rows: Vec<Vec<String>>, width: Option<u16>) -> String {
    let mut table = Table::new();
    table
        .load_style(NOTHING)
        .force_no_tty()
        .set_header(header.to_vec());
    match width {
        Some(width) => table
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(width),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
        .lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect()
}

/// Text from outside as a terminal may see it: without control characters, which could move its cursor.
pub(crate) fn harmless(text: &str) -> String {
    let is_harmful = |c: char| c.is_control() && c != '\n' && c != '\t';
    text.chars()
        .map(|c| if is_harmful(c) { '\u{FFFD}' } else { c })
        .collect()
}
