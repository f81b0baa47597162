//! The decoder family in burn: configuration, forward pass, key-value cache, sampling, load and save.

pub mod kernel;
