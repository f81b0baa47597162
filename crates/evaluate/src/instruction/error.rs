//! Why an instruction cannot be read.

/// Result of reading an instruction.
pub(super) type Result<T, E = InstructionError> = std::result::Result<T, E>;

/// Why an instruction cannot be read.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InstructionError {
    /// No type of instruction has this id.
    #[error("no instruction is called {id:?}; known are {known}")]
    Unknown {
        /// What was asked for.
        id: String,
        /// The ids there are.
        known: String,
    },
    /// An argument is not there, or null.
    #[error("the instruction {id} needs the argument {argument:?}: {expected}")]
    Missing {
        /// The instruction.
        id: &'static str,
        /// Its argument.
        argument: &'static str,
        /// What it must be.
        expected: String,
    },
    /// An argument is not what it must be.
    #[error("the argument {argument:?} of the instruction {id} must be {expected}, not {found}")]
    Invalid {
        /// The instruction.
        id: &'static str,
        /// Its argument.
        argument: &'static str,
        /// What it must be.
        expected: String,
        /// What it is, as JSON.
        found: String,
    },
    /// There is an argument that the instruction does not know.
    #[error("the instruction {id} has no argument {argument:?}; it takes {known}")]
    Surplus {
        /// The instruction.
        id: &'static str,
        /// The argument.
        argument: String,
        /// The arguments there are.
        known: String,
    },
    /// What to look for cannot be compiled: it is too long.
    #[error("the instruction {id} cannot look for its argument {argument:?}: {source}")]
    Pattern {
        /// The instruction.
        id: &'static str,
        /// Its argument.
        argument: &'static str,
        /// The reason.
        source: regex::Error,
    },
}
