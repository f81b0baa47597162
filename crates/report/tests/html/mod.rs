//! Reads HTML strictly enough to find out what a browser would be told.

use std::collections::BTreeSet;

/// An element's opening tag.
#[derive(Debug)]
pub struct Tag {
    pub name: String,
    pub attributes: Vec<(String, String)>,
}

/// A page, taken apart.
#[derive(Debug, Default)]
pub struct Html {
    pub tags: Vec<Tag>,
    /// The text between tags, a line each.
    pub text: Vec<String>,
}

const VOID: [&str; 3] = ["meta", "link", "br"];

impl Html {
    /// Takes a page apart; fails if a tag is not closed, an attribute not quoted or the text has a bare `<`.
    pub fn parse(page: &str) -> Self {
        let mut html = Html::default();
        let mut open: Vec<String> = Vec::new();
        let mut rest = page;
        while let Some(start) = rest.find('<') {
            let is_style = open.last().is_some_and(|name| name == "style");
            let text = rest[..start].trim();
            if !text.is_empty() && !is_style {
                html.text.extend(text.lines().map(|line| unescaped(line.trim())));
            }
            rest = &rest[start + 1..];
            let end = end_of_tag(rest);
            let inside = &rest[..end];
            rest = &rest[end + 1..];
            if inside.starts_with('!') {
                continue;
            }
            if let Some(name) = inside.strip_prefix('/') {
                assert_eq!(
                    open.pop().as_deref(),
                    Some(name),
                    "a tag is closed that is not open"
                );
                continue;
            }
            let tag = tag(inside.trim_end_matches('/'));
            if !inside.ends_with('/') && !VOID.contains(&tag.name.as_str()) {
                open.push(tag.name.clone());
            }
            html.tags.push(tag);
        }
        assert!(open.is_empty(), "not closed: {open:?}");
        html
    }

    /// Every value of an attribute.
    pub fn values(&self, attribute: &str) -> Vec<&str> {
        let all = self.tags.iter().flat_map(|tag| &tag.attributes);
        all.filter(|(name, _)| name == attribute)
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// The names of all elements and of all their attributes.
    pub fn names(&self) -> BTreeSet<&str> {
        self.tags
            .iter()
            .flat_map(|tag| {
                std::iter::once(tag.name.as_str()).chain(tag.attributes.iter().map(|(name, _)| name.as_str()))
            })
            .collect()
    }

    /// Does a line of the text have this in it?
    pub fn says(&self, text: &str) -> bool {
        self.text.iter().any(|line| line.contains(text))
    }
}

/// The place of the `>` that ends a tag; one inside quotes does not.
fn end_of_tag(text: &str) -> usize {
    let mut quoted = false;
    for (place, character) in text.char_indices() {
        match character {
            '"' => quoted = !quoted,
            '>' if !quoted => return place,
            '<' => panic!("a bare < in a tag: {}", &text[..place]),
            _ => {}
        }
    }
    panic!("a tag without end: {text}");
}

fn tag(inside: &str) -> Tag {
    let (name, mut rest) = inside.split_once(char::is_whitespace).unwrap_or((inside, ""));
    let is_name = |text: &str| {
        !text.is_empty()
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-:".contains(c))
    };
    assert!(
        is_name(name),
        "not the name of an element: {name:?} in {inside:?}"
    );
    let mut attributes = Vec::new();
    while !rest.trim().is_empty() {
        rest = rest.trim_start();
        let end = rest
            .find(|c: char| c == '=' || c.is_whitespace())
            .unwrap_or(rest.len());
        let attribute = &rest[..end];
        assert!(
            is_name(attribute),
            "not the name of an attribute: {attribute:?} in {inside:?}"
        );
        rest = &rest[end..];
        let mut value = String::new();
        if let Some(after) = rest.strip_prefix("=\"") {
            let close = after
                .find('"')
                .unwrap_or_else(|| panic!("a quote without end in {inside:?}"));
            value = unescaped(&after[..close]);
            rest = &after[close + 1..];
        } else {
            assert!(!rest.starts_with('='), "a value without quotes in {inside:?}");
        }
        attributes.push((attribute.to_owned(), value));
    }
    Tag {
        name: name.to_owned(),
        attributes,
    }
}

fn unescaped(text: &str) -> String {
    let marks = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#x27;", "'"),
        ("&#x2f;", "/"),
        ("&amp;", "&"),
    ];
    marks
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}
