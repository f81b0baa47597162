//! What a user may write to name a store: a path, `file://`, `s3://bucket/prefix`, `memory:///name`.

use std::path::{Path, PathBuf};

use crate::error::{Result, StoreError};
use crate::key::{check_path, join};
use crate::secrets::mask;

/// A parsed address.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// An absolute directory.
    Local(PathBuf),
    /// A bucket and a prefix within it.
    S3 { bucket: String, prefix: String },
    /// A named store of this process and a prefix within it.
    Memory { name: String, prefix: String },
}

impl Address {
    /// Reads `text`; relative paths are taken from the current directory.
    pub(crate) fn parse(text: &str) -> Result<Address> {
        let fail = |reason: String| StoreError::Address {
            address: shown(text),
            reason,
        };
        if text.is_empty() {
            return Err(fail("it is empty".to_string()));
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return local(Path::new(text)).map_err(fail);
        };
        match scheme.to_ascii_lowercase().as_str() {
            "file" => {
                let path = rest.strip_prefix("localhost").unwrap_or(rest);
                if !path.starts_with('/') {
                    return Err(fail(
                        "write file:///absolute/path, with three slashes".to_string(),
                    ));
                }
                local(&PathBuf::from(percent_decoded(path).map_err(fail)?)).map_err(fail)
            }
            "s3" | "s3a" => {
                let (bucket, prefix) = parts(rest).map_err(fail)?;
                check_bucket(&bucket).map_err(fail)?;
                Ok(Address::S3 { bucket, prefix })
            }
            "memory" => {
                let (name, prefix) = parts(rest.trim_start_matches('/')).map_err(fail)?;
                Ok(Address::Memory { name, prefix })
            }
            "gs" | "gcs" | "az" | "azure" | "abfs" | "abfss" | "adl" => Err(fail(format!(
                "{scheme}:// is not built into this program; use s3:// (also for compatible servers), file:// or a path"
            ))),
            _ => Err(fail(format!(
                "{scheme}:// is unknown; use s3://bucket/prefix, file:///path or a plain path"
            ))),
        }
    }
}

/// `text` as an error may show it. Nothing after a `?` belongs into an address, so it may be anything.
fn shown(text: &str) -> String {
    match text.split_once('?') {
        Some((address, _)) => format!("{}?****", mask(address)),
        None => mask(text),
    }
}

fn local(path: &Path) -> Result<Address, String> {
    if path.to_str().is_none_or(|text| text.contains('\0')) {
        return Err("the path is not plain text".to_string());
    }
    // Also removes `.` and doubled slashes, but resolves no links and no `..`.
    let absolute = std::path::absolute(path).map_err(|error| error.to_string())?;
    Ok(Address::Local(absolute))
}

/// Bucket and prefix of what follows the scheme.
fn parts(rest: &str) -> Result<(String, String), String> {
    if rest.contains('@')
        && rest
            .split('/')
            .next()
            .is_some_and(|host| host.contains(['@', ':']))
    {
        return Err(
            "credentials do not belong into an address; put them into the environment (AWS_ACCESS_KEY_ID, \
                    AWS_SECRET_ACCESS_KEY) or ~/.aws/credentials"
                .to_string(),
        );
    }
    if rest.contains(['?', '#']) {
        return Err("an address has no `?` or `#` part".to_string());
    }
    let (first, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let prefix = prefix.trim_matches('/');
    if first.is_empty() {
        return Err("the name after `://` is missing".to_string());
    }
    if !prefix.is_empty() {
        check_path(prefix).map_err(|error| error.to_string())?;
    }
    Ok((first.to_string(), join("", prefix)))
}

fn check_bucket(bucket: &str) -> Result<(), String> {
    let plain = bucket
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
    if plain && (3..=255).contains(&bucket.len()) && !bucket.starts_with(['.', '-']) && !bucket.contains("..")
    {
        Ok(())
    } else {
        Err("the bucket name is not valid (3 or more letters, digits, `.`, `-`)".to_string())
    }
}

fn percent_decoded(path: &str) -> Result<String, String> {
    if !path.contains('%') {
        return Ok(path.to_string());
    }
    let url = url::Url::parse(&format!("file://{path}")).map_err(|error| error.to_string())?;
    let path = url
        .to_file_path()
        .map_err(|()| "it is no path of this machine".to_string())?;
    path.into_os_string()
        .into_string()
        .map_err(|_| "the path is not plain text".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s3(bucket: &str, prefix: &str) -> Address {
        Address::S3 {
            bucket: bucket.into(),
            prefix: prefix.into(),
        }
    }

    #[test]
    fn addresses_are_understood() {
        assert_eq!(Address::parse("s3://bucket").unwrap(), s3("bucket", ""));
        assert_eq!(Address::parse("s3://bucket/a/b/").unwrap(), s3("bucket", "a/b"));
        assert_eq!(Address::parse("/x/./y").unwrap(), Address::Local("/x/y".into()));
        assert_eq!(
            Address::parse("file:///x/y%20z").unwrap(),
            Address::Local("/x/y z".into())
        );
        assert_eq!(
            Address::parse("ckpt").unwrap(),
            Address::Local(std::env::current_dir().unwrap().join("ckpt"))
        );
        assert_eq!(
            Address::parse("memory:///one/two").unwrap(),
            Address::Memory {
                name: "one".into(),
                prefix: "two".into()
            }
        );
    }

    #[test]
    fn bad_addresses_say_why_and_hide_secrets() {
        for (text, word) in [
            ("", "empty"),
            ("gs://bucket/x", "not built into"),
            ("az://bucket", "not built into"),
            ("http://host/x", "unknown"),
            ("s3://", "missing"),
            ("s3://bucket/a/../b", "`..`"),
            ("s3://b%ck/a", "bucket name"),
            ("file://host/x", "three slashes"),
            ("s3://AKIACANARY:canarysecret@bucket/x", "environment"),
            ("s3://AKIACANARY:canary/secret@bucket/x", "environment"),
            ("s3://bucket/x?X-Amz-Signature=canarysecret", "`?`"),
        ] {
            let error = Address::parse(text).unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(shown.contains(word), "{shown}");
            assert!(!shown.to_lowercase().contains("canary"), "{shown}");
        }
    }
}
