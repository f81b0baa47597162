//! One record of a data set, before any tokenizer has seen it.
//!
//! Stands between the readers in [`crate::source`] and [`crate::tokenize()`]. A record's [`Record::digest`] depends on its
//! content alone (not on file, line or key order), so equal content is equal everywhere: the held-out split and the
//! document ids rest on it.

use serde::{Deserialize, Serialize};
use serde_json::json;

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant`, or whatever the chat template knows.
    pub role: String,
    /// What is said.
    pub content: String,
}

impl Message {
    /// A turn of `role` saying `content`.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self {
            role: role.into(),
            content: content.into(),
        }
    }
}

/// One record of a data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// Running text; every token is scored.
    Text(String),
    /// A prompt and what should follow it, joined without anything between; `completion_only` scores the second part.
    Completion {
        /// The given part.
        prompt: String,
        /// The part to learn.
        completion: String,
    },
    /// A conversation for the tokenizer's chat template; `completion_only` scores the assistant's turns.
    Messages(Vec<Message>),
}

impl Record {
    /// BLAKE3 of the canonical content: a tag for the form, then each field with its length before it.
    pub fn digest(&self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        let mut field = |text: &str| {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        };
        match self {
            Self::Text(text) => {
                field("text");
                field(text);
            }
            Self::Completion { prompt, completion } => {
                field("completion");
                field(prompt);
                field(completion);
            }
            Self::Messages(messages) => {
                field("messages");
                for message in messages {
                    field(&message.role);
                    field(&message.content);
                }
            }
        }
        hasher.finalize()
    }

    /// The first 16 bytes of [`Record::digest`] in hexadecimal (32 characters): the id of the documents made from it.
    pub fn id(&self) -> String {
        self.digest().to_hex()[..32].to_owned()
    }

    /// One JSONL line without the line break, in the form the JSONL reader takes without any column mapping.
    pub fn to_json_line(&self) -> String {
        match self {
            Self::Text(text) => json!({ "text": text }),
            Self::Completion { prompt, completion } => json!({ "prompt": prompt, "completion": completion }),
            Self::Messages(messages) => json!({ "messages": messages }),
        }
        .to_string()
    }

    /// Bytes of text in the record, for batching work and reporting rates.
    pub fn text_bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Completion { prompt, completion } => prompt.len() + completion.len(),
            Self::Messages(messages) => messages.iter().map(|message| message.content.len()).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_depends_on_content_and_form_only() {
        let one = Record::Completion {
            prompt: "ab".into(),
            completion: "c".into(),
        };
        let other = Record::Completion {
            prompt: "a".into(),
            completion: "bc".into(),
        };
        assert_ne!(one.digest(), other.digest(), "the boundary is content");
        assert_ne!(Record::Text("abc".into()).digest(), one.digest());
        assert_eq!(one.digest(), one.clone().digest());
        assert_eq!(one.id().len(), 32);
    }

    #[test]
    fn digest_is_pinned() {
        // A changed digest would move documents across every held-out split ever published.
        assert_eq!(
            Record::Text("The sea.".into()).id(),
            "c79fd0de92d2b2f0eb59b882ef1e9da2"
        );
    }
}
