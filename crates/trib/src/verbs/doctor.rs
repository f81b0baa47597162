//! `trib doctor`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use tributary_store::Store;

use crate::disk::DiskSpace;
use crate::exit::Failure;
use crate::machine::{Finding, Grade, examine};
use crate::output::{pretty, say, text};
use crate::screen::{bytes, doctor_page};

/// Where artifacts go unless a pipeline says otherwise.
const DEFAULT_STORE: &str = "ckpt";
/// Less room than this is worth a word.
const LITTLE_DISK: u64 = 5 << 30;

#[derive(Args)]
#[command(
    after_long_help = "Credentials are looked for where AWS tools look, and never printed.\n\n\
    Examples:\n  trib doctor\n  trib doctor --store s3://bucket/experiments --json"
)]
pub(crate) struct Options {
    /// Also write, read and delete a small object in this store: a path, file:// or s3://
    #[arg(long, value_name = "ADDRESS")]
    store: Option<String>,
}

pub(crate) fn run(options: &Options, json: bool) -> Result<(), Failure> {
    let mut findings = examine();
    findings.push(credentials());
    match &options.store {
        None => findings.push(disk(&Store::open(DEFAULT_STORE)?)),
        Some(address) => match Store::open(address) {
            Ok(store) => {
                if store.local_path().is_some() {
                    findings.push(disk(&store));
                }
                say(format!("probing {} with a small object", store.url()));
                findings.push(probe(&store));
            }
            Err(error) => findings.push(Finding::fail(
                "store",
                error.to_string(),
                "correct the address or the environment",
            )),
        },
    }
    if json {
        pretty(&json!({"findings": findings}))?;
    } else {
        text(&doctor_page(&findings))?;
    }
    let failed: Vec<&str> = findings
        .iter()
        .filter(|finding| finding.grade == Grade::Fail)
        .map(|finding| finding.name)
        .collect();
    if failed.is_empty() {
        Ok(())
    } else {
        Err(Failure::unavailable(format!("not usable: {}", failed.join(", "))))
    }
}

fn disk(store: &Store) -> Finding {
    const NAME: &str = "disk";
    let Some(disk) = DiskSpace::of(store) else {
        return Finding::warn(NAME, "the system does not say how much is free", "look with df");
    };
    let found = format!("{} free below {}", bytes(disk.free), disk.at.display());
    if disk.free < LITTLE_DISK {
        return Finding::warn(NAME, found, "free some, or put artifacts elsewhere with --store");
    }
    Finding::ok(NAME, found)
}

/// Which of the usual places has credentials for S3; their values are nobody's business.
fn credentials() -> Finding {
    const NAME: &str = "credentials";
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if is_set("AWS_ACCESS_KEY_ID") && is_set("AWS_SECRET_ACCESS_KEY") {
        return Finding::ok(NAME, "for S3, in the environment");
    }
    if is_set("AWS_ACCESS_KEY_ID") != is_set("AWS_SECRET_ACCESS_KEY") {
        let advice = "set both AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";
        return Finding::warn(NAME, "for S3, half of them in the environment", advice);
    }
    let file = std::env::var_os("AWS_SHARED_CREDENTIALS_FILE").map(PathBuf::from);
    let file = file.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".aws/credentials")));
    match file.filter(|file| file.is_file()) {
        Some(file) => Finding::ok(NAME, format!("for S3, in {}", file.display())),
        None => Finding::ok(NAME, "none for S3; local stores need none"),
    }
}

/// Writes, reads and deletes an object.
fn probe(store: &Store) -> Finding {
    const NAME: &str = "store";
    // Another doctor at the same place at the same time has another process id, or another machine's clock.
    let time = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    let key = format!("trib-doctor-{}-{}", std::process::id(), time.as_nanos());
    let content = key.clone().into_bytes();
    let all = || {
        store.put(&key, content.clone())?;
        let read = store.get(&key)?;
        let is_gone = store.delete(&key)?;
        Ok::<_, tributary_store::StoreError>(read == content && is_gone)
    };
    match all() {
        Ok(true) => Finding::ok(
            NAME,
            format!("{}: an object was written, read and deleted", store.url()),
        ),
        Ok(false) => {
            let found = format!("{}: what was read is not what was written", store.url());
            Finding::fail(NAME, found, "use a store that keeps what it is given")
        }
        Err(error) => {
            // Best effort: it may have been written.
            let _ = store.delete(&key);
            let mut found = error.to_string();
            if let Some(source) = std::error::Error::source(&error) {
                found.push_str(&format!(": {source}"));
            }
            Finding::fail(
                NAME,
                found,
                "check the address, the credentials (AWS_*), their rights and the network",
            )
        }
    }
}
