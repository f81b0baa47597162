//! Documents to batches of fixed shape.
//!
//! * `shape` — the [`Batch`], what a model sees.
//! * `plan` — which piece of which document goes where in one epoch, a function of the documents, the options and the epoch.
//! * `loader` — the endless, exactly resumable stream of training batches, sharded over data-parallel ranks.
//! * `evaluation` — every document once, each token scored exactly once.
//!
//! Attention never crosses documents: [`Batch::segments`] numbers them inside a row, positions restart with each. A target is
//! the next token *of the same document*, so the last token of a document predicts nothing, and cutting a long document into
//! pieces loses no target: the last position of a piece predicts the first token of the next.

mod evaluation;
mod loader;
mod plan;
mod shape;

pub use evaluation::{EvaluationBatches, EvaluationOptions};
pub use loader::{Cursor, Loader, LoaderOptions, Padding};
pub use shape::{Batch, IGNORED, PADDING, Piece, ScoredToken};
