//! Templates with choices and slots.
//!
//! `[one|two|three]` stands for one of its parts, each equally likely (parts may be empty and may hold further choices);
//! `{slot}` for a value, `{Slot}` for the value with a capital letter. Everything else stands for itself.

use std::collections::HashSet;

use super::world::slot;
use crate::random::Draws;
use crate::record::Record;

/// Fills a template. A slot without a value and an unclosed bracket stay as they are; a test holds that ours have none.
pub(super) fn fill(template: &str, slots: &[(&'static str, String)], draws: &mut Draws) -> String {
    let mut out = String::with_capacity(template.len());
    expand(template, slots, draws, &mut out);
    out
}

fn expand(template: &str, slots: &[(&'static str, String)], draws: &mut Draws, out: &mut String) {
    let mut rest = template;
    while let Some(at) = rest.find(['[', '{']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some((parts, after)) = choices(rest) {
            expand(parts[draws.below(parts.len())], slots, draws, out);
            rest = after;
        } else if let Some((value, after)) = rest
            .split_once('}')
            .and_then(|(name, after)| Some((slot(slots, &name[1..])?, after)))
        {
            out.push_str(&value);
            rest = after;
        } else {
            out.push_str(&rest[..1]);
            rest = &rest[1..];
        }
    }
    out.push_str(rest);
}

/// `count` records of which no two are alike: `make(index, attempt)` is asked again, a bounded number of times, for one that
/// was there before.
pub(super) fn distinct(count: usize, make: impl Fn(usize, usize) -> Record) -> Vec<Record> {
    const ATTEMPTS: usize = 64;
    let mut seen = HashSet::new();
    (0..count)
        .map(|index| {
            let mut record = make(index, 0);
            for attempt in 1..ATTEMPTS {
                if seen.insert(record.digest()) {
                    return record;
                }
                record = make(index, attempt);
            }
            record
        })
        .collect()
}

/// The parts of the choice that `text` begins with, and what follows it.
fn choices(text: &str) -> Option<(Vec<&str>, &str)> {
    let inner = text.strip_prefix('[')?;
    let (mut parts, mut begin, mut depth) = (Vec::new(), 0, 0);
    for (at, letter) in inner.char_indices() {
        match letter {
            '[' => depth += 1,
            ']' if depth == 0 => {
                parts.push(&inner[begin..at]);
                return Some((parts, &inner[at + 1..]));
            }
            ']' => depth -= 1,
            '|' if depth == 0 => {
                parts.push(&inner[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_and_slots() {
        let slots = [("name", "Mia".to_owned()), ("he", "she".to_owned())];
        let mut seen = std::collections::BTreeSet::new();
        for index in 0..200 {
            seen.insert(fill(
                "{name} [ran|[sat|lay] down]. {He} [|really ]did.",
                &slots,
                &mut Draws::new(&[index]),
            ));
        }
        let expected = ["lay down", "ran", "sat down"]
            .iter()
            .flat_map(|verb| ["did.", "really did."].map(|end| format!("Mia {verb}. She {end}")))
            .collect();
        assert_eq!(seen, expected);
    }

    #[test]
    fn what_is_no_template_stays() {
        assert_eq!(fill("a {b} [c", &[], &mut Draws::new(&[0])), "a {b} [c");
    }
}
