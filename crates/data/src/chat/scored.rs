//! Finding the assistant's turns in a rendered conversation.
//!
//! A template is a program, so the only honest way to know which text a turn became is to render the conversation turn by
//! turn: what the assistant says at turn `i` is the text of the first `i + 1` messages without the text of the first `i`
//! messages with the generation prompt, exactly what a model would have to produce. This holds only if earlier text stays as
//! it is when a turn is added; that is checked for every turn, and a template that rewrites history is an error.

use std::ops::Range;

use super::template::ChatTemplate;
use crate::error::{Error, Result};
use crate::record::Message;

/// A rendered conversation with the parts to score.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScoredText {
    /// The whole conversation.
    pub text: String,
    /// Byte ranges of the assistant's turns, ascending, each with what ends the turn (`<|im_end|>` and the like).
    pub scored: Vec<Range<usize>>,
}

impl ChatTemplate {
    /// Renders a conversation and finds the assistant's turns.
    ///
    /// # Errors
    /// [`Error::NotPrefixStable`] if the template changes earlier text when a turn is added; else as [`ChatTemplate::render`].
    pub fn render_scored(&self, messages: &[Message]) -> Result<ScoredText> {
        let text = self.render(messages, false)?;
        let mut scored = Vec::new();
        for (turn, message) in messages.iter().enumerate() {
            if message.role != "assistant" {
                continue;
            }
            let begin = self.prefix_of(&text, &messages[..turn], true)?;
            let end = if turn + 1 == messages.len() {
                text.len()
            } else {
                self.prefix_of(&text, &messages[..=turn], false)?
            };
            scored.push(begin..end.max(begin));
        }
        Ok(ScoredText { text, scored })
    }

    /// Length of the rendering of `messages`, which must be a prefix of `text`.
    fn prefix_of(&self, text: &str, messages: &[Message], add_generation_prompt: bool) -> Result<usize> {
        let part = self.render(messages, add_generation_prompt)?;
        if text.starts_with(&part) {
            return Ok(part.len());
        }
        let byte = part
            .bytes()
            .zip(text.bytes())
            .take_while(|(left, right)| left == right)
            .count();
        let begin = (0..=byte.saturating_sub(20))
            .rev()
            .find(|&at| part.is_char_boundary(at))
            .unwrap_or(0);
        let near = part[begin..].chars().take(40).collect();
        Err(Error::NotPrefixStable {
            turns: messages.len(),
            byte,
            near,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::CHATML;

    fn conversation() -> Vec<Message> {
        [
            ("system", "Be kind."),
            ("user", "Hi"),
            ("assistant", "Hello!"),
            ("user", "And?"),
            ("assistant", "Böh."),
        ]
        .map(|(role, content)| Message::new(role, content))
        .to_vec()
    }

    #[test]
    fn the_assistants_turns_are_found_with_their_ends() {
        let scored = ChatTemplate::new(CHATML, &[])
            .unwrap()
            .render_scored(&conversation())
            .unwrap();
        let parts: Vec<&str> = scored
            .scored
            .iter()
            .map(|range| &scored.text[range.clone()])
            .collect();
        assert_eq!(parts, ["Hello!<|im_end|>\n", "Böh.<|im_end|>\n"]);
    }

    #[test]
    fn a_template_that_rewrites_history_is_refused() {
        // Keeps only the last answer, as templates of reasoning models do with earlier thoughts.
        let source = "{% for m in messages %}{% if loop.last or m.role != 'assistant' %}<{{ m.role }}>{{ m.content }}\
                      {% endif %}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}";
        let error = ChatTemplate::new(source, &[])
            .unwrap()
            .render_scored(&conversation())
            .unwrap_err();
        assert!(
            matches!(error, Error::NotPrefixStable { turns: 3 | 2, .. }),
            "{error}"
        );
        assert!(error.to_string().contains("only appends"), "{error}");
    }

    #[test]
    fn a_generation_prompt_of_its_own_is_refused() {
        let source = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}\
                      {% if add_generation_prompt %}<assistant><think>{% endif %}";
        let error = ChatTemplate::new(source, &[])
            .unwrap()
            .render_scored(&conversation())
            .unwrap_err();
        assert!(
            matches!(error, Error::NotPrefixStable { turns: 2, .. }),
            "{error}"
        );
    }
}
