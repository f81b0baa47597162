//! Inputs from outside: a data file, a model directory or an artifact, by path or address.
//!
//! Used by [`crate::planner`]. Whatever has a manifest is known by the manifest's digest; anything else by the
//! BLAKE3 of its bytes ([`crate::content`]).

use std::path::Path;

use tributary_store::{Artifact, MANIFEST, Store, StoreError, mask};

use crate::content::{self, ContentDigests};
use crate::context::ResolvedInput;
use crate::declaration::{DIRECTORY_KIND, FILE_KIND, InputDeclaration, MODEL_KIND};

/// Why an outside input cannot be used: what is wrong, and what to do.
#[derive(Debug)]
pub(crate) struct Unusable {
    pub(crate) message: String,
    pub(crate) help: Option<String>,
    /// The store that did not answer, if that is why: no fault of the document's.
    pub(crate) unavailable: Option<Box<StoreError>>,
}

fn unusable(message: impl Into<String>) -> Unusable {
    Unusable {
        message: message.into(),
        help: None,
        unavailable: None,
    }
}

impl From<StoreError> for Unusable {
    fn from(error: StoreError) -> Self {
        let help = match &error {
            StoreError::Denied { .. } => {
                Some("check the credentials in the environment and the permissions".into())
            }
            _ => None,
        };
        Unusable {
            message: error.to_string(),
            help,
            unavailable: error.is_transient().then(|| Box::new(error)),
        }
    }
}

/// Finds what a declaration names outside the pipeline.
pub(crate) fn find(
    declaration: &InputDeclaration,
    location: &str,
    output: Option<&str>,
    base: &Path,
    digests: &ContentDigests,
) -> Result<ResolvedInput, Unusable> {
    let found = if location.contains("://") {
        remote(location)?
    } else {
        local(location, base)?
    };
    let (root, path, is_file) = match found {
        Found::File { folder, name } => {
            if output.is_some() {
                return Err(unusable(format!(
                    "`{}` is a file, which has no outputs",
                    mask(location)
                )));
            }
            (folder, name, true)
        }
        Found::Folder(folder) => {
            if let Some(artifact) = Artifact::try_open(&folder)? {
                return part_of_artifact(declaration, artifact, output, location);
            }
            if output.is_some() {
                let message = format!("`{}` is no artifact (it has no {MANIFEST})", mask(location));
                return Err(unusable(message));
            }
            (folder, String::new(), false)
        }
    };
    let kind = if is_file {
        FILE_KIND
    } else if root.head("config.json")?.is_some() {
        MODEL_KIND
    } else {
        DIRECTORY_KIND
    };
    // Before the digest: a change in between shows.
    let mark = content::mark(&root, &path, is_file)?;
    let digest = if is_file {
        digests.file(&root, &path)?
    } else {
        digests.folder(&root)?
    };
    Ok(ResolvedInput {
        reference: declaration.reference.clone(),
        label: label(declaration),
        kind: kind.to_owned(),
        digest,
        artifact: None,
        root,
        path,
        is_file,
        mark: Some(mark),
    })
}

enum Found {
    File { folder: Store, name: String },
    Folder(Store),
}

fn local(location: &str, base: &Path) -> Result<Found, Unusable> {
    let path = base.join(location);
    let shown = path.display();
    let metadata = match std::fs::metadata(&path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Unusable {
                message: format!("{shown} does not exist"),
                help: near_file(&path),
                unavailable: None,
            });
        }
        Err(error) => return Err(unusable(format!("{shown} cannot be read: {error}"))),
    };
    let path = std::path::absolute(&path).map_err(|error| unusable(format!("{shown}: {error}")))?;
    let open = |path: &Path| Store::open(&path.to_string_lossy());
    if metadata.is_dir() {
        return Ok(Found::Folder(open(&path)?));
    }
    match (path.parent(), path.file_name().and_then(|name| name.to_str())) {
        (Some(folder), Some(name)) => Ok(Found::File {
            folder: open(folder)?,
            name: name.to_owned(),
        }),
        _ => Err(unusable(format!("{shown} has no usable name"))),
    }
}

/// `did you mean`, from the names beside a missing file.
fn near_file(path: &Path) -> Option<String> {
    let wanted = path.file_name()?.to_str()?;
    let folder = path.parent()?;
    let listing = std::fs::read_dir(if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    });
    let Ok(listing) = listing else {
        return Some(format!("the folder {} does not exist either", folder.display()));
    };
    let mut names: Vec<String> = listing
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .take(10_000)
        .collect();
    names.sort();
    let near = crate::finding::nearest(wanted, names.iter().map(String::as_str))?;
    Some(format!("did you mean `{}`?", folder.join(near).display()))
}

fn remote(address: &str) -> Result<Found, Unusable> {
    let folder = Store::open(address)?;
    if folder.head(MANIFEST)?.is_some() || !folder.children("")?.is_empty() {
        return Ok(Found::Folder(folder));
    }
    if let Some((parent, name)) = address.trim_end_matches('/').rsplit_once('/')
        && !parent.ends_with('/')
        && !name.is_empty()
    {
        let folder = Store::open(parent)?;
        if folder.head(name)?.is_some() {
            return Ok(Found::File {
                folder,
                name: name.to_owned(),
            });
        }
    }
    Err(unusable(format!("there is nothing at {}", mask(address))))
}

fn part_of_artifact(
    declaration: &InputDeclaration,
    artifact: Artifact,
    output: Option<&str>,
    location: &str,
) -> Result<ResolvedInput, Unusable> {
    let manifest = artifact.manifest();
    let (kind, path) = match output {
        None => (manifest.kind.clone(), String::new()),
        Some(output) => match manifest.outputs.get(output) {
            Some(entry) => (entry.kind.clone(), entry.path.clone()),
            None => {
                let names = manifest.outputs.keys().map(String::as_str);
                let help = crate::finding::suggestion(output, "it has", names);
                return Err(Unusable {
                    message: format!("{} has no output `{output}`", mask(location)),
                    help,
                    unavailable: None,
                });
            }
        },
    };
    Ok(resolved(declaration, artifact, kind, path))
}

/// A part of an artifact as an input.
pub(crate) fn resolved(
    declaration: &InputDeclaration,
    artifact: Artifact,
    kind: String,
    path: String,
) -> ResolvedInput {
    ResolvedInput {
        reference: declaration.reference.clone(),
        label: label(declaration),
        kind,
        digest: artifact.manifest().digest(),
        is_file: artifact.manifest().object(&path).is_some(),
        root: artifact.store().clone(),
        artifact: Some(artifact),
        path,
        mark: None,
    }
}

fn label(declaration: &InputDeclaration) -> String {
    if declaration.is_named {
        declaration.reference.label().to_owned()
    } else {
        declaration.field.clone()
    }
}
