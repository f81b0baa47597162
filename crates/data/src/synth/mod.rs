//! A little world, made up from a seed, and four kinds of text about it.
//!
//! The quickstart and many tests need data that are small, free of anyone's rights, pleasant to read and learnable by a tiny
//! model in seconds. [`World`] has people with homes, trades, pets and friends, and places that are known for something; from
//! it come stories, questions about the facts, arithmetic, and instructions to follow ([`Corpus`]). The same seed gives the
//! same world to all four kinds, and the same bytes on any machine. `data/README.md` of the repository shows examples.
//!
//! `words` has the vocabulary, `world` the people and places, `grammar` fills templates, and one module a kind has its texts.

mod arithmetic;
mod corpus;
mod facts;
mod grammar;
mod instructions;
mod stories;
mod words;
mod world;

pub use corpus::{Corpus, write_corpus};
pub use world::World;
