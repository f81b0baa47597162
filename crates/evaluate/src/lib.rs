//! Likelihood of held-out text, with standard errors over documents.
