//! One self-contained HTML page from a run's records.
//!
//! Stands between [`tributary_pipeline::RunHistory`] with the artifacts it names and a person with a browser. The way
//! of a page: [`material`] reads, [`page`] and its neighbours turn that into plain values (text, coordinates),
//! [`template`] writes them as HTML. Invariants:
//!
//! * The page needs nothing from outside and runs no script; its content security policy forbids both.
//! * Every text of a record passes through the template's escaping; coordinates are numbers made here.
//! * The same records give the same bytes: no clock, no randomness, no order of a hash.
//! * A broken or missing artifact costs its figures, never the page.

mod axis;
mod board;
mod chart;
mod error;
mod forest;
mod graph;
mod grid;
mod layers;
mod lettering;
mod lineage;
mod material;
mod moment;
mod number;
mod page;
mod sheet;
mod status;
mod step;
mod template;
mod timeline;
mod write;

pub use error::ReportError;
pub use sheet::{Sheet, SheetHeat, SheetTable, render_sheet};
pub use write::{page_key, render, write};
