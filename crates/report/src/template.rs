//! The page as HTML. Every value passes through the escaping of [`minijinja`]; nothing is marked as safe.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde::Serialize;

use crate::error::ReportError;
use crate::page::Page;
use crate::sheet::SheetPage;

const TEMPLATES: [(&str, &str); 6] = [
    ("page", include_str!("../templates/page.html")),
    ("graph", include_str!("../templates/graph.html")),
    ("plots", include_str!("../templates/plots.html")),
    ("step", include_str!("../templates/step.html")),
    ("sheet", include_str!("../templates/sheet.html")),
    ("style", include_str!("../templates/style.css")),
];

/// Writes a page as HTML.
pub(crate) fn html(page: &Page) -> Result<String, ReportError> {
    fill("page", page)
}

/// Writes a sheet as HTML.
pub(crate) fn sheet(page: &SheetPage<'_>) -> Result<String, ReportError> {
    fill("sheet", page)
}

fn fill(template: &str, page: &impl Serialize) -> Result<String, ReportError> {
    let mut environment = Environment::new();
    // By default the escaping follows file names; here it is never off.
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_syntax(
        SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()?,
    );
    for (name, text) in TEMPLATES {
        environment.add_template(name, text)?;
    }
    Ok(environment.get_template(template)?.render(Serde(page))?)
}
