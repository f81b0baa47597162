//! The page as HTML. Every value passes through the escaping of [`minijinja`]; nothing is marked as safe.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};

use crate::error::ReportError;
use crate::page::Page;

const TEMPLATES: [(&str, &str); 5] = [
    ("page", include_str!("../templates/page.html")),
    ("graph", include_str!("../templates/graph.html")),
    ("plots", include_str!("../templates/plots.html")),
    ("step", include_str!("../templates/step.html")),
    ("style", include_str!("../templates/style.css")),
];

/// Writes a page as HTML.
pub(crate) fn html(page: &Page) -> Result<String, ReportError> {
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
    Ok(environment.get_template("page")?.render(Serde(page))?)
}
