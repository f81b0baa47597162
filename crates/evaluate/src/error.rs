//! The one error type of this crate.

use tributary_model::ModelError;

/// Result of every fallible function in this crate.
pub type Result<T, E = EvaluateError> = std::result::Result<T, E>;

/// Why an evaluation could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvaluateError {
    /// The model failed.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The documents cannot be cut as asked, or hold nothing to score.
    #[error(transparent)]
    Data(#[from] tributary_data::Error),
    /// No token of the data has a prediction to score.
    #[error("no token to score in {documents} document(s): a document needs two tokens, one of them scored")]
    NothingToScore {
        /// Documents given.
        documents: usize,
    },
    /// The model gives no number for a token: its weights or activations overflow.
    #[error(
        "the likelihood of token {token} of document {document} is not a finite number: the model overflows there"
    )]
    NotFinite {
        /// The document's id.
        document: String,
        /// The token's position in it.
        token: usize,
    },
    /// A choice that cannot be scored.
    #[error(
        "row {row}: the choice {choice:?} has no token of its own after the question: it cannot be told from the others"
    )]
    NoChoice {
        /// Number of the row, from 1.
        row: usize,
        /// The choice.
        choice: String,
    },
    /// The answer alone would fill the model's context.
    #[error(
        "answers of up to {answer} tokens leave no room for a prompt: the model was made for {context}; give the task a smaller \
         `max_gen_toks`"
    )]
    NoRoom {
        /// The model's tokens.
        context: usize,
        /// Those that an answer may have.
        answer: usize,
    },
    /// A chat was asked for, and the model has no words for one.
    #[error("the model has no chat template: its prompts can only be continued as they are")]
    NoChatTemplate,
    /// A chat was asked for where nothing is written.
    #[error("only tasks that are answered in writing (`output_type: generate_until`) can be asked as a chat")]
    NotWritten,
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
}
