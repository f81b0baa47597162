//! Keeping credentials out of every text.
//!
//! [`mask`] blanks the user part of URLs and the values of signed query parameters; [`Secrets`] additionally blanks
//! the values a store was opened with. Everything printed by this crate passes through one of them.

use std::fmt;

const BLANK: &str = "****";
/// Query parameters whose value grants access; compared without case.
const SIGNED: [&str; 9] = [
    "x-amz-",
    "signature=",
    "awsaccesskeyid=",
    "sig=",
    "sv=",
    "token=",
    "access_key",
    "secret",
    "password=",
];

/// `text` with the user part of every URL and the value of every signing query parameter replaced by `****`.
///
/// ```
/// assert_eq!(tributary_store::mask("s3://key:pw@b/x?X-Amz-Signature=ab&n=1"), "s3://****@b/x?X-Amz-Signature=****&n=1");
/// ```
pub fn mask(text: &str) -> String {
    replace(text, |_| BLANK.to_owned())
}

/// As [`mask`], with as many asterisks as there were bytes: every place in the text stays where it was.
///
/// ```
/// assert_eq!(tributary_store::blank("s3://key:pw@b/x"), "s3://******@b/x");
/// ```
pub fn blank(text: &str) -> String {
    replace(text, |secret| "*".repeat(secret.len()))
}

fn replace(text: &str, with: impl Fn(&str) -> String) -> String {
    mask_parameters(&mask_users(text, &with), &with)
}

/// Blanks `user:password@` between `://` and the next end of an authority.
fn mask_users(text: &str, with: &dyn Fn(&str) -> String) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("://") {
        let (head, tail) = rest.split_at(start + 3);
        out.push_str(head);
        let end =
            tail.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '`' | '?' | '#'));
        let authority = &tail[..end.unwrap_or(tail.len())];
        rest = match user_end(authority) {
            Some(at) => {
                out.push_str(&with(&tail[..at]));
                &tail[at..]
            }
            None => tail,
        };
    }
    out.push_str(rest);
    out
}

/// Where the user part ends: at the last `@` before the first `/`. What looks like `user:secret` with a slash in the
/// secret (AWS secrets have them) goes up to the last `@` of the word.
fn user_end(authority: &str) -> Option<usize> {
    let host = authority.split('/').next().unwrap_or_default();
    host.rfind('@').or_else(|| {
        let (_, port) = host.rsplit_once(':')?;
        if port.bytes().all(|byte| byte.is_ascii_digit()) {
            None
        } else {
            authority.rfind('@')
        }
    })
}

/// Blanks the value of each `name=value` after `?` or `&` whose name is in [`SIGNED`].
fn mask_parameters(text: &str, with: &dyn Fn(&str) -> String) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['?', '&']) {
        let (head, tail) = rest.split_at(at + 1);
        out.push_str(head);
        rest = tail;
        let end = tail
            .find(|c: char| c == '&' || c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '`'))
            .unwrap_or(tail.len());
        let pair = &tail[..end];
        if let Some(equals) = pair.find('=') {
            let name = pair[..=equals].to_ascii_lowercase();
            if SIGNED.iter().any(|signed| name.starts_with(signed)) {
                out.push_str(&pair[..=equals]);
                out.push_str(&with(&pair[equals + 1..]));
                rest = &tail[end..];
            }
        }
    }
    out.push_str(rest);
    out
}

/// The credential values of one store, kept only to blank them in texts.
#[derive(Clone, Default)]
pub(crate) struct Secrets(Vec<String>);

impl Secrets {
    /// Remembers `value`; short values are ignored, blanking them would only garble texts.
    pub(crate) fn add(&mut self, value: &str) {
        if value.len() >= 6 {
            self.0.push(value.to_string());
        }
    }

    /// [`mask`], and every remembered value blanked.
    pub(crate) fn mask(&self, text: &str) -> String {
        let mut text = text.to_string();
        for secret in &self.0 {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), BLANK);
            }
        }
        mask(&text)
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({BLANK})")
    }
}
