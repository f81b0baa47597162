//! A page of its own for something that is no run: a title, heat maps and tables, in the look of the report.

use serde::Serialize;

use crate::error::ReportError;
use crate::grid::{self, Heat, Table};
use crate::template;

/// What a sheet shows, from top to bottom.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sheet {
    /// Above the title, in small letters: what kind of page it is.
    pub kind: String,
    /// The title.
    pub title: String,
    /// A sentence below it.
    pub lead: String,
    /// Facts: name, value.
    pub about: Vec<(String, String)>,
    /// Matrices, drawn as shades.
    pub heats: Vec<SheetHeat>,
    /// Tables of text.
    pub tables: Vec<SheetTable>,
}

/// A matrix of a sheet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SheetHeat {
    /// What it shows.
    pub title: String,
    /// Names of the rows.
    pub rows: Vec<String>,
    /// Names of the columns.
    pub columns: Vec<String>,
    /// Row by row; `None` where there is nothing.
    pub values: Vec<Vec<Option<f64>>>,
}

/// A table of a sheet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SheetTable {
    /// What it shows.
    pub title: String,
    /// Names of the columns.
    pub columns: Vec<String>,
    /// Its rows.
    pub rows: Vec<Vec<String>>,
}

/// The sheet as plain values.
#[derive(Debug, Serialize)]
pub(crate) struct SheetPage<'a> {
    kind: &'a str,
    title: &'a str,
    lead: &'a str,
    about: &'a [(String, String)],
    heats: Vec<Heat>,
    tables: Vec<Table>,
}

/// Writes a sheet as one HTML page that needs nothing from outside.
///
/// # Errors
/// [`ReportError::Template`], a bug.
pub fn render_sheet(sheet: &Sheet) -> Result<String, ReportError> {
    let heat = |heat: &SheetHeat| {
        let number = |value: &Option<f64>| value.unwrap_or(f64::NAN);
        let values: Vec<Vec<f64>> = heat
            .values
            .iter()
            .map(|row| row.iter().map(number).collect())
            .collect();
        grid::heat(&heat.title, &heat.rows, &heat.columns, &values).without_gaps()
    };
    let table = |table: &SheetTable| grid::table(&table.title, &table.columns, &table.rows);
    template::sheet(&SheetPage {
        kind: &sheet.kind,
        title: &sheet.title,
        lead: &sheet.lead,
        about: &sheet.about,
        heats: sheet.heats.iter().map(heat).collect(),
        tables: sheet.tables.iter().map(table).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sheet_is_one_page_and_escapes_what_it_is_given() {
        let sheet = Sheet {
            title: "<b>".to_owned(),
            heats: vec![SheetHeat {
                title: "distances".to_owned(),
                rows: vec!["0".to_owned()],
                columns: vec!["q".to_owned(), "k".to_owned()],
                values: vec![vec![Some(0.25), None]],
            }],
            ..Sheet::default()
        };
        let page = render_sheet(&sheet).unwrap();
        assert!(page.contains("&lt;b&gt;") && !page.contains("<b>"), "{page}");
        assert!(page.contains("--strength:72%\">0.250<"), "{page}");
        assert!(!page.contains("NaN") && !page.contains("://"), "{page}");
    }
}
