//! The step loop: optimiser, schedules, checkpoints with exact resume.
