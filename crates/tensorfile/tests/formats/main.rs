//! What the crate promises about its formats, tested from outside: writing and reading back, imports, hostile files, and
//! agreement with the reference implementations in Python.
//!
//! Two things make more tests run; without them they say that they are skipped: `TRIBUTARY_PYTHON` (a Python with
//! torch, transformers, safetensors and gguf) and `TRIBUTARY_SMOLLM2` (SmolLM2-135M-Instruct as GGUF). The real
//! llama2.c model is looked for beside the repository.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod fuzz;
mod gguf;
mod hostile;
mod llama2c;
mod reference;
mod safetensors;
mod support;

#[global_allocator]
static ALLOCATOR: tributary_testkit::allocation::Counting = tributary_testkit::allocation::Counting;
