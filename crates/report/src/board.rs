//! The model-by-data-set tables: the scores of all steps joined, one table a metric, the best values marked.
//!
//! A value is *best* if no value of its column is better (and not all are equal), and *near* if it is within one
//! standard error of the best: of the difference, where the two errors are taken as independent (`√(s₁² + s₂²)`; one
//! that is not known counts as zero). Of several scores in one cell the one of the last step is shown, and the table
//! says so.

use std::collections::BTreeMap;

use serde::Serialize;
use tributary_pipeline::Score;

use crate::number;

/// One metric's table, as values.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Board {
    /// The metric.
    pub(crate) metric: String,
    /// Whether the smaller value is the better one; not known if the scores disagree.
    pub(crate) lower_is_better: Option<bool>,
    /// The data sets, in order of appearance.
    pub(crate) datasets: Vec<String>,
    /// The models, in order of appearance.
    pub(crate) models: Vec<String>,
    /// `cells[model][dataset]`; a mean over all data sets comes last if there are several.
    pub(crate) cells: Vec<Vec<Option<Cell>>>,
    /// Is the last column a mean?
    pub(crate) has_mean: bool,
    /// Cells measured more than once with different values.
    pub(crate) contested: usize,
}

/// A value of a table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Cell {
    /// The value.
    pub(crate) value: f64,
    /// Its standard error.
    pub(crate) stderr: Option<f64>,
    /// How many observations.
    pub(crate) count: u64,
    /// How it compares in its column.
    pub(crate) rank: Rank,
}

/// How a value compares in its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Rank {
    /// None is better.
    Best,
    /// Within one standard error of the best.
    Near,
    /// Anything else.
    Other,
}

/// Joins scores into tables, in order of appearance.
pub(crate) fn join<'a>(scores: impl Iterator<Item = &'a Score>) -> Vec<Board> {
    let mut boards: Vec<Board> = Vec::new();
    let mut found: Vec<BTreeMap<(usize, usize), Cell>> = Vec::new();
    for score in scores {
        let at = position(
            &mut boards,
            |board| board.metric == score.metric,
            || Board {
                metric: score.metric.clone(),
                lower_is_better: Some(score.lower_is_better),
                datasets: Vec::new(),
                models: Vec::new(),
                cells: Vec::new(),
                has_mean: false,
                contested: 0,
            },
        );
        if found.len() < boards.len() {
            found.push(BTreeMap::new());
        }
        let board = &mut boards[at];
        if board.lower_is_better != Some(score.lower_is_better) {
            board.lower_is_better = None;
        }
        let model = position(
            &mut board.models,
            |name| *name == score.model,
            || score.model.clone(),
        );
        let dataset = position(
            &mut board.datasets,
            |name| *name == score.dataset,
            || score.dataset.clone(),
        );
        let cell = Cell {
            value: score.value,
            stderr: score.stderr,
            count: score.count,
            rank: Rank::Other,
        };
        let before = found[at].insert((model, dataset), cell);
        let differs = |before: &Cell| before.value.to_bits() != score.value.to_bits();
        board.contested += usize::from(before.as_ref().is_some_and(differs));
    }
    for (board, found) in boards.iter_mut().zip(&mut found) {
        board.cells = (0..board.models.len())
            .map(|model| {
                (0..board.datasets.len())
                    .map(|dataset| found.remove(&(model, dataset)))
                    .collect()
            })
            .collect();
        board.has_mean = board.datasets.len() > 1;
        if board.has_mean {
            for row in &mut board.cells {
                let mean = mean(row);
                row.push(mean);
            }
        }
        if let Some(lower) = board.lower_is_better {
            rank(&mut board.cells, lower);
        }
    }
    boards
}

fn position<T>(items: &mut Vec<T>, is_it: impl Fn(&T) -> bool, new: impl FnOnce() -> T) -> usize {
    items.iter().position(is_it).unwrap_or_else(|| {
        items.push(new());
        items.len() - 1
    })
}

/// The mean over a whole row, every data set with the same weight; errors taken as independent.
fn mean(row: &[Option<Cell>]) -> Option<Cell> {
    let cells: Vec<&Cell> = row.iter().map(Option::as_ref).collect::<Option<_>>()?;
    let n = cells.len() as f64;
    let variances: Option<f64> = cells
        .iter()
        .map(|cell| cell.stderr.map(|error| error * error))
        .sum();
    Some(Cell {
        value: cells.iter().map(|cell| cell.value).sum::<f64>() / n,
        stderr: variances.map(|sum| sum.sqrt() / n),
        count: cells.iter().map(|cell| cell.count).sum(),
        rank: Rank::Other,
    })
}

fn rank(cells: &mut [Vec<Option<Cell>>], lower_is_better: bool) {
    let columns = cells.first().map_or(0, Vec::len);
    // One row alone is not the best of anything.
    if cells.len() < 2 {
        return;
    }
    for column in 0..columns {
        let finite = cells
            .iter()
            .filter_map(|row| row[column].as_ref())
            .filter(|cell| cell.value.is_finite());
        let sign = if lower_is_better { 1.0 } else { -1.0 };
        let Some(best) = finite
            .min_by(|a, b| (sign * a.value).total_cmp(&(sign * b.value)))
            .cloned()
        else {
            continue;
        };
        // Where all are alike none stands out.
        let others = cells.iter().filter_map(|row| row[column].as_ref());
        if others.clone().count() > 1 && others.clone().all(|cell| cell.value == best.value) {
            continue;
        }
        for cell in cells.iter_mut().filter_map(|row| row[column].as_mut()) {
            let (a, b) = (cell.stderr.unwrap_or(0.0), best.stderr.unwrap_or(0.0));
            cell.rank = if cell.value == best.value {
                Rank::Best
            } else if (cell.value - best.value).abs() <= a.hypot(b) {
                Rank::Near
            } else {
                Rank::Other
            };
        }
    }
}

/// A table, ready to draw.
#[derive(Debug, Serialize)]
pub(crate) struct BoardView {
    metric: String,
    direction: Option<&'static str>,
    columns: Vec<String>,
    has_mean: bool,
    rows: Vec<(String, Vec<Option<CellView>>)>,
    has_near: bool,
    has_best: bool,
    has_errors: bool,
    remarks: Vec<String>,
}

#[derive(Debug, Serialize)]
struct CellView {
    value: String,
    stderr: Option<String>,
    rank: Rank,
    title: String,
}

/// Turns a table into text.
pub(crate) fn view(board: &Board) -> BoardView {
    let decimals = decimals(board);
    let cell = |cell: &Option<Cell>| {
        let cell = cell.as_ref()?;
        let observations = format!("{} observations", number::count(cell.count));
        let is_known = |error: &f64| error.is_finite();
        Some(CellView {
            value: number::fixed(cell.value, decimals),
            stderr: cell
                .stderr
                .filter(is_known)
                .map(|error| number::fixed(error, decimals)),
            rank: cell.rank,
            title: format!("{} from {observations}", number::number(cell.value)),
        })
    };
    let has = |rank: Rank| {
        board
            .cells
            .iter()
            .flatten()
            .flatten()
            .any(|cell| cell.rank == rank)
    };
    let mut remarks = Vec::new();
    if board.contested > 0 {
        let times = number::plural(board.contested, "cell");
        remarks.push(format!(
            "{times} measured more than once with different values; the last step's is shown."
        ));
    }
    if board.lower_is_better.is_none() {
        remarks.push("The steps disagree on whether lower is better, so nothing is marked.".to_owned());
    }
    BoardView {
        metric: board.metric.clone(),
        direction: board.lower_is_better.map(|lower| {
            if lower {
                "lower is better"
            } else {
                "higher is better"
            }
        }),
        columns: board.datasets.clone(),
        has_mean: board.has_mean,
        rows: board
            .models
            .iter()
            .zip(&board.cells)
            .map(|(model, row)| (model.clone(), row.iter().map(cell).collect()))
            .collect(),
        has_near: has(Rank::Near),
        has_best: has(Rank::Best),
        has_errors: board
            .cells
            .iter()
            .flatten()
            .flatten()
            .any(|cell| cell.stderr.is_some()),
        remarks,
    }
}

/// Decimals of a table: two digits of its middle error (but no more than its values need six for), or four digits of
/// its values.
fn decimals(board: &Board) -> usize {
    let cells = || board.cells.iter().flatten().flatten();
    let known = |error: &f64| error.is_finite() && *error > 0.0;
    let mut errors: Vec<f64> = cells().filter_map(|cell| cell.stderr).filter(known).collect();
    errors.sort_by(f64::total_cmp);
    let by_value = cells()
        .map(|cell| number::decimals_of_value(cell.value))
        .max()
        .unwrap_or(0);
    let middle = errors.get(errors.len().saturating_sub(1) / 2);
    middle.map_or(by_value, |error| {
        number::decimals_of_error(*error).min(by_value + 2)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(model: &str, dataset: &str, value: f64, stderr: Option<f64>) -> Score {
        Score {
            model: model.into(),
            dataset: dataset.into(),
            metric: "nll".into(),
            value,
            stderr,
            count: 10,
            lower_is_better: true,
        }
    }

    fn ranks(board: &Board) -> Vec<Vec<Option<Rank>>> {
        let of = |cell: &Option<Cell>| cell.as_ref().map(|cell| cell.rank);
        board
            .cells
            .iter()
            .map(|row| row.iter().map(of).collect())
            .collect()
    }

    #[test]
    fn scores_of_many_steps_become_one_table_with_its_best_values() {
        let one = [
            score("base", "facts", 2.0, Some(0.03)),
            score("base", "sums", 1.0, Some(0.1)),
        ];
        let two = [
            score("tuned", "facts", 1.96, Some(0.04)),
            score("merged", "sums", f64::NAN, None),
        ];
        let boards = join(one.iter().chain(&two));
        assert_eq!(boards.len(), 1);
        let board = &boards[0];
        assert_eq!(board.models, ["base", "tuned", "merged"]);
        assert_eq!(board.datasets, ["facts", "sums"]);
        use Rank::{Best, Near, Other};
        assert_eq!(
            ranks(board),
            [
                [Some(Near), Some(Best), Some(Best)],
                [Some(Best), None, None],
                [None, Some(Other), None]
            ]
        );
        let mean = board.cells[0][2].as_ref().unwrap();
        assert_eq!(mean.value, 1.5);
        assert!((mean.stderr.unwrap() - 0.0109f64.sqrt() / 2.0).abs() < 1e-12);
    }

    #[test]
    fn near_means_one_error_of_the_difference() {
        let scores = [
            score("a", "d", 1.0, Some(0.3)),
            score("b", "d", 1.5, Some(0.4)),
            score("c", "d", 1.51, Some(0.4)),
            score("e", "d", 1.0, None),
        ];
        use Rank::{Best, Near, Other};
        let expected = [[Some(Best)], [Some(Near)], [Some(Other)], [Some(Best)]];
        assert_eq!(ranks(&join(scores.iter())[0]), expected);
    }

    #[test]
    fn where_all_are_alike_none_is_best() {
        let scores = [score("a", "d", 1.0, None), score("b", "d", 1.0, None)];
        assert_eq!(
            ranks(&join(scores.iter())[0]),
            [[Some(Rank::Other)], [Some(Rank::Other)]]
        );
    }

    #[test]
    fn higher_can_be_better_and_disagreement_is_said() {
        let mut scores = [score("a", "d", 0.5, None), score("b", "d", 0.7, None)];
        for score in &mut scores {
            score.lower_is_better = false;
        }
        assert_eq!(
            ranks(&join(scores.iter())[0]),
            [[Some(Rank::Other)], [Some(Rank::Best)]]
        );
        scores[1].lower_is_better = true;
        let board = &join(scores.iter())[0];
        assert_eq!(board.lower_is_better, None);
        assert_eq!(ranks(board), [[Some(Rank::Other)], [Some(Rank::Other)]]);
        assert_eq!(view(board).remarks.len(), 1);
    }

    #[test]
    fn a_cell_measured_twice_shows_the_last_and_says_so() {
        let scores = [
            score("a", "d", 1.0, None),
            score("a", "d", 1.0, None),
            score("a", "d", 2.0, None),
        ];
        let board = &join(scores.iter())[0];
        assert_eq!(board.cells[0][0].as_ref().unwrap().value, 2.0);
        assert_eq!(board.contested, 1);
    }

    #[test]
    fn a_table_shows_as_many_digits_as_its_errors_deserve() {
        let scores = [
            score("a", "d", 1.234567, Some(0.0123)),
            score("b", "d", 10.5, Some(0.2)),
            score("c", "d", f64::NAN, Some(f64::NAN)),
        ];
        let view = view(&join(scores.iter())[0]);
        let texts: Vec<(&str, Option<&str>)> = view
            .rows
            .iter()
            .map(|(_, cells)| cells[0].as_ref().unwrap())
            .map(|cell| (cell.value.as_str(), cell.stderr.as_deref()))
            .collect();
        assert_eq!(
            texts,
            [("1.235", Some("0.012")), ("10.500", Some("0.200")), ("NaN", None)]
        );
    }
}
