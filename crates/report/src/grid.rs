//! Grids: matrices of numbers with a shade for every value, and tables of text.

use serde::Serialize;

use crate::number::{decimals_of_value, fixed, number};

/// A matrix, ready to draw.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Heat {
    pub(crate) title: String,
    columns: Vec<String>,
    rows: Vec<(String, Vec<Shade>)>,
    caption: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Shade {
    text: String,
    /// `positive`, `negative`, `diagonal` or `none`.
    class: &'static str,
    /// Strength of the colour in percent.
    percent: u32,
}

impl Heat {
    /// The same matrix with nothing written where there is no number.
    pub(crate) fn without_gaps(mut self) -> Heat {
        let shades = self.rows.iter_mut().flat_map(|(_, shades)| shades);
        shades
            .filter(|shade| shade.text == "NaN")
            .for_each(|shade| shade.text.clear());
        self
    }
}

/// A table of text, ready to draw.
#[derive(Debug, Serialize)]
pub(crate) struct Table {
    title: String,
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

#[derive(Debug, Serialize)]
struct Column {
    name: String,
    is_numeric: bool,
}

/// Strongest colour, in percent: text on it stays legible.
const STRONGEST: f64 = 72.0;

/// Draws a matrix. What a thing has in common with itself (the ones on the diagonal) takes no part in the shades.
pub(crate) fn heat(title: &str, row_names: &[String], columns: &[String], values: &[Vec<f64>]) -> Heat {
    let is_self = |row: usize, column: usize, value: f64| {
        row_names
            .get(row)
            .is_some_and(|name| Some(name) == columns.get(column))
            && (value - 1.0).abs() < 1e-3
    };
    let mut most: f64 = 0.0;
    let mut has_self = false;
    for (row, line) in values.iter().enumerate() {
        for (column, value) in line.iter().enumerate().filter(|(_, value)| value.is_finite()) {
            if is_self(row, column, *value) {
                has_self = true;
            } else {
                most = most.max(value.abs());
            }
        }
    }
    let decimals = decimals_of_value(most).saturating_sub(1).clamp(2, 6);
    let shade = |row: usize, column: usize| {
        let value = values.get(row).and_then(|line| line.get(column)).copied();
        let part = value
            .filter(|value| value.is_finite() && most > 0.0)
            .map_or(0.0, |v| v.abs() / most);
        let class = match value {
            Some(value) if is_self(row, column, value) => "diagonal",
            Some(value) if value > 0.0 => "positive",
            Some(value) if value < 0.0 => "negative",
            _ => "none",
        };
        Shade {
            text: value.map_or(String::new(), |value| {
                if most >= 1e4 {
                    number(value)
                } else {
                    fixed(value, decimals)
                }
            }),
            percent: if class == "diagonal" {
                0
            } else {
                (part * STRONGEST).round() as u32
            },
            class,
        }
    };
    let rest = if has_self {
        "; the diagonal takes no part"
    } else {
        ""
    };
    Heat {
        title: title.to_owned(),
        columns: columns.to_vec(),
        rows: row_names
            .iter()
            .enumerate()
            .map(|(row, name)| {
                (
                    name.clone(),
                    (0..columns.len()).map(|column| shade(row, column)).collect(),
                )
            })
            .collect(),
        caption: if most > 0.0 {
            format!("Full shade at ±{}{rest}.", number(most))
        } else {
            String::new()
        },
    }
}

/// Draws a table; columns of numbers are aligned on the right.
pub(crate) fn table(title: &str, columns: &[String], rows: &[Vec<String>]) -> Table {
    let width = rows
        .iter()
        .map(Vec::len)
        .chain([columns.len()])
        .max()
        .unwrap_or(0);
    let is_number = |text: &str| {
        // Numbers as people write them: `−1,234.5`, `12%`, `0.31 ± 0.02`, or a dash for none.
        text.split('±').all(|part| {
            let part = part.trim().trim_end_matches('%').trim_end();
            let part = part.replace(',', "").replace('−', "-");
            matches!(part.as_str(), "" | "-" | "–" | "—") || part.parse::<f64>().is_ok()
        })
    };
    let column = |index: usize| Column {
        name: columns.get(index).cloned().unwrap_or_default(),
        is_numeric: rows
            .iter()
            .all(|row| row.get(index).is_none_or(|text| is_number(text)))
            && rows
                .iter()
                .any(|row| row.get(index).is_some_and(|text| !text.trim().is_empty())),
    };
    let padded = |row: &Vec<String>| {
        let mut row = row.clone();
        row.resize(width, String::new());
        row
    };
    Table {
        title: title.to_owned(),
        columns: (0..width).map(column).collect(),
        rows: rows.iter().map(padded).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shades_leave_out_the_diagonal_and_survive_bad_values() {
        let names = ["a".to_owned(), "b".to_owned()];
        let heat = heat("cosines", &names, &names, &[vec![1.0, -0.2], vec![f64::NAN]]);
        let cells: Vec<Vec<(&str, &str, u32)>> = heat
            .rows
            .iter()
            .map(|(_, row)| {
                row.iter()
                    .map(|cell| (cell.text.as_str(), cell.class, cell.percent))
                    .collect()
            })
            .collect();
        assert_eq!(cells[0], [("1.000", "diagonal", 0), ("−0.200", "negative", 72)]);
        assert_eq!(cells[1], [("NaN", "none", 0), ("", "none", 0)]);
        assert_eq!(heat.caption, "Full shade at ±0.2; the diagonal takes no part.");
    }

    #[test]
    fn columns_of_numbers_are_found() {
        let rows = [
            vec!["a".to_owned(), "−1.5".to_owned()],
            vec!["b".to_owned()],
            vec!["12".to_owned(), "0.31 ± 0.02".to_owned(), "25.6 %".to_owned()],
        ];
        let table = table("t", &["name".to_owned()], &rows);
        let numeric: Vec<bool> = table.columns.iter().map(|column| column.is_numeric).collect();
        assert_eq!(numeric, [false, true, true]);
        assert_eq!(table.rows[1], ["b", "", ""]);
    }
}
