//! One compiled chat template.
//!
//! The environment is set as transformers sets its own (`trim_blocks`, `lstrip_blocks`, loop controls, `raise_exception`,
//! `strftime_now`, a `tojson` that escapes nothing), so that templates written for it give the same text; goldens in
//! `goldens/chat.json`, computed by transformers, hold this. `{% generation %}` marks of transformers are read as plain blocks.
//!
//! Templates come with downloaded models and are not trusted: they see nothing but the messages, have no loader, and run on
//! a budget of instructions.
//!
//! One deliberate difference: `strftime_now` does not read the clock, because the same data must give the same tokens on any
//! day. It gives a fixed date, 26 July 2024 (the one Llama 3's own template falls back to), unless
//! [`ChatTemplate::at`] sets another.

use jiff::civil::DateTime;
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Value};
use regex::Regex;

use super::python;
use crate::error::{Error, Result};
use crate::record::Message;

/// The ChatML template, which tokenizers trained here carry.
pub const CHATML: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + \
                          '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

const NAME: &str = "chat_template";
/// Instructions (and 64-byte blocks of output) a rendering may use: far beyond any honest conversation.
const FUEL: u64 = 100_000_000;

/// A model's chat template, compiled.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    source: String,
    environment: Environment<'static>,
    specials: Vec<(String, String)>,
    now: DateTime,
}

impl ChatTemplate {
    /// Compiles `source`. `specials` are variables the template sees besides the messages: `bos_token`, `eos_token`, …
    pub fn new(source: &str, specials: &[(String, String)]) -> Result<Self> {
        let mut environment = python::environment();
        environment.set_fuel(Some(FUEL));
        environment.set_syntax(
            SyntaxConfig::builder()
                .trim_blocks(true)
                .lstrip_blocks(true)
                .build()
                .map_err(|err| failed(&err))?,
        );
        environment
            .add_template_owned(NAME, without_generation_marks(source)?)
            .map_err(|err| failed(&err))?;
        Ok(Self {
            source: source.to_owned(),
            environment,
            specials: specials.to_vec(),
            now: DateTime::constant(2024, 7, 26, 0, 0, 0, 0),
        })
    }

    /// The same template with another date for `strftime_now`.
    pub fn at(&self, now: DateTime) -> Self {
        Self { now, ..self.clone() }
    }

    /// The template as it was given.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The conversation as text; with `add_generation_prompt` it ends where the assistant is to begin.
    ///
    /// # Errors
    /// What the template raises (`raise_exception`), and faults of the template itself, with its line.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        let messages: Vec<Value> = messages
            .iter()
            .map(|message| {
                Value::from_pairs([
                    ("role", message.role.as_str()),
                    ("content", message.content.as_str()),
                ])
            })
            .collect();
        let mut context: Vec<(&str, Value)> = vec![
            ("messages", Value::from(messages)),
            ("add_generation_prompt", Value::from(add_generation_prompt)),
            ("tools", Value::from(())),
            ("documents", Value::from(())),
            ("strftime_now", python::strftime_now(self.now)),
        ];
        context.extend(
            self.specials
                .iter()
                .map(|(name, text)| (name.as_str(), Value::from(text.as_str()))),
        );
        let template = self.environment.get_template(NAME).map_err(|err| failed(&err))?;
        template
            .render(Value::from_pairs(context))
            .map_err(|err| failed(&err))
    }
}

/// `{% generation %}…{% endgeneration %}`, with which transformers marks the assistant's text, as a block that is always there.
fn without_generation_marks(source: &str) -> Result<String> {
    let mark = |name: &str| {
        Regex::new(&format!(r"\{{%([-+]?)\s*{name}\s*([-+]?)%\}}")).map_err(|err| Error::ChatTemplate {
            problem: err.to_string(),
        })
    };
    let opened = mark("generation")?.replace_all(source, "{%${1} if true ${2}%}");
    Ok(mark("endgeneration")?
        .replace_all(&opened, "{%${1} endif ${2}%}")
        .into_owned())
}

/// The engine's words with the template's line, or what the template itself raised.
fn failed(error: &minijinja::Error) -> Error {
    let what = match error.detail() {
        Some(detail) if python::is_raised(error) => format!("it refuses these messages: {detail}"),
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    };
    let problem = match error.line() {
        Some(line) => format!("{what} (template line {line})"),
        None => what,
    };
    Error::ChatTemplate { problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask() -> Vec<Message> {
        vec![Message::new("user", "Hi"), Message::new("assistant", "Hello!")]
    }

    fn template(source: &str) -> ChatTemplate {
        ChatTemplate::new(source, &[("eos_token".to_owned(), "</s>".to_owned())]).unwrap()
    }

    #[test]
    fn chatml() {
        let text = template(CHATML).render(&ask()[..1], true).unwrap();
        assert_eq!(text, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
    }

    #[test]
    fn what_a_template_raises_is_told() {
        let source = "{% if messages[0].role != 'system' %}\n{{ raise_exception('system message first, please') }}{% endif %}";
        let error = template(source).render(&ask(), false).unwrap_err().to_string();
        assert_eq!(
            error,
            "chat template: it refuses these messages: system message first, please (template line 2)"
        );
    }

    #[test]
    fn a_template_that_does_not_compile_is_an_error_with_its_line() {
        let error = ChatTemplate::new("ok\n{% for %}", &[]).unwrap_err().to_string();
        assert!(error.contains("template line 2"), "{error}");
    }

    #[test]
    fn a_template_that_never_ends_is_stopped() {
        let source = "{% for a in range(100000) %}{% for b in range(100000) %}{% set c = a * b %}{% endfor %}{% endfor %}";
        let error = template(source).render(&ask(), false).unwrap_err().to_string();
        assert!(error.contains("fuel"), "{error}");
    }

    #[test]
    fn generation_marks_are_plain_blocks() {
        let source =
            "{% for m in messages %}{%- generation -%} [{{ m.content }}] {%- endgeneration %}{% endfor %}";
        assert_eq!(template(source).render(&ask(), false).unwrap(), "[Hi][Hello!]");
    }

    #[test]
    fn the_date_is_fixed_unless_given() {
        let dated = template("{{ strftime_now('%d %b %Y') }}");
        assert_eq!(dated.render(&[], false).unwrap(), "26 Jul 2024");
        let later = dated.at(DateTime::constant(2025, 1, 2, 3, 4, 5, 0));
        assert_eq!(later.render(&[], false).unwrap(), "02 Jan 2025");
    }
}
