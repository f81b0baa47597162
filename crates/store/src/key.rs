//! Which paths may name an object.
//!
//! One rule for every backend, so that an artifact can move between them and nothing in a manifest, an index file or
//! a pointer can reach outside the store's root.

use crate::error::{Result, StoreError};

/// Longest path of an object below its store's root, in bytes (S3's limit for a key).
pub const MAX_PATH_BYTES: usize = 1024;
/// Longest single component: leaves room for what a file system (255) or a server puts around it.
const MAX_COMPONENT_BYTES: usize = 240;
/// Names of this crate's own working files; never listed, never accepted from outside.
pub(crate) const OWN_PREFIX: &str = ".tributary-";
const TOO_LONG: &str = "it is longer than 1024 bytes";

/// Accepts `path` if it is a plain relative path: `/`-separated, 1 to [`MAX_PATH_BYTES`] bytes, no empty, `.` or `..`
/// component (plain or percent-encoded), no backslash, no control character, no Windows device name or drive.
pub fn check_path(path: &str) -> Result<()> {
    match fault(path) {
        None => Ok(()),
        Some(reason) => {
            let mut shown: String = path.chars().take(200).collect();
            if shown.len() < path.len() {
                shown.push('…');
            }
            Err(StoreError::UnsafePath { path: shown, reason })
        }
    }
}

/// Is it, or is it below, one of this crate's own working files?
pub(crate) fn is_own(path: &str) -> bool {
    path.split('/').any(|component| component.starts_with(OWN_PREFIX))
}

/// Accepts `path`, made of parts that were checked, if it is no longer than [`MAX_PATH_BYTES`].
pub(crate) fn check_length(path: &str) -> Result<()> {
    if path.len() <= MAX_PATH_BYTES {
        return Ok(());
    }
    Err(StoreError::UnsafePath {
        path: path.chars().take(200).chain(['…']).collect(),
        reason: TOO_LONG,
    })
}

fn fault(path: &str) -> Option<&'static str> {
    if path.is_empty() {
        return Some("it is empty");
    }
    if path.len() > MAX_PATH_BYTES {
        return Some(TOO_LONG);
    }
    if path.starts_with('/') {
        return Some("it is absolute");
    }
    if path.contains('\\') {
        return Some("it contains a backslash");
    }
    if path.chars().any(char::is_control) {
        return Some("it contains a control character");
    }
    path.split('/').find_map(component_fault)
}

fn component_fault(component: &str) -> Option<&'static str> {
    if component.is_empty() {
        return Some("it has an empty component");
    }
    if component.len() > MAX_COMPONENT_BYTES {
        return Some("a component is longer than 240 bytes");
    }
    if component == "." || component == ".." {
        return Some("it has a `.` or `..` component");
    }
    if component.starts_with(OWN_PREFIX) {
        return Some("names beginning with `.tributary-` are reserved");
    }
    let lower = component.to_ascii_lowercase();
    if ["%2e", "%2f", "%5c", "%00"]
        .iter()
        .any(|code| lower.contains(code))
    {
        return Some("it has a percent-encoded dot, slash or NUL");
    }
    if lower.as_bytes().get(1) == Some(&b':') {
        return Some("it has a drive letter");
    }
    let stem = lower.split('.').next().unwrap_or_default();
    let numbered = |name: &str| {
        stem.strip_prefix(name)
            .is_some_and(|digit| matches!(digit.as_bytes(), [b'1'..=b'9']))
    };
    if matches!(stem, "con" | "prn" | "aux" | "nul") || numbered("com") || numbered("lpt") {
        return Some("it has a Windows device name");
    }
    None
}

/// `prefix/path`, or whichever of the two is not empty.
pub(crate) fn join(prefix: &str, path: &str) -> String {
    match (prefix.is_empty(), path.is_empty()) {
        (true, _) => path.to_string(),
        (_, true) => prefix.to_string(),
        _ => format!("{prefix}/{path}"),
    }
}
