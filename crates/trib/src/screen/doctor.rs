//! The screen of `trib doctor`.

use std::fmt::Write;

use console::style;

use crate::machine::{Finding, Grade};

/// One line an answer, the advice below it.
pub(crate) fn doctor_page(findings: &[Finding]) -> String {
    let mut page = String::new();
    for finding in findings {
        let grade = match finding.grade {
            Grade::Ok => style("ok  ").green(),
            Grade::Warn => style("warn").yellow(),
            Grade::Fail => style("fail").red(),
        };
        let _ = writeln!(page, "{grade}  {:<12}  {}", finding.name, finding.found);
        if let Some(advice) = &finding.advice {
            let _ = writeln!(page, "{:20}{advice}", "");
        }
    }
    page
}
