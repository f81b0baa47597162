//! Conversations to text: the model's Jinja chat template, rendered as transformers renders it.
//!
//! `template` compiles and renders, `python` supplies what templates expect of Python, `scored` finds the assistant's turns
//! in the rendered text so that training can be on them alone.

mod python;
mod scored;
mod template;

pub use scored::ScoredText;
pub use template::{CHATML, ChatTemplate};
