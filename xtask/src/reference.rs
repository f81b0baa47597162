//! Something the tests compare with: its variable, and where it comes from.

use std::env;
use std::fs::{self, File};
use std::path::PathBuf;

/// What a reference is, or why there is none.
pub(crate) type Found = Result<PathBuf, String>;

/// A reference that is set up in a folder of its own, outside the clone.
pub(crate) struct Reference {
    /// The variable by which tests find it; if it is set already, nothing is set up.
    pub(crate) variable: &'static str,
    /// What it is, in a few words.
    pub(crate) what: &'static str,
    /// The folder's name.
    pub(crate) folder: String,
    /// The reference, if it is whole in the folder.
    pub(crate) look: fn(&std::path::Path) -> Option<PathBuf>,
    /// Puts it there.
    pub(crate) make: fn(&std::path::Path) -> Found,
    /// What making it takes.
    pub(crate) cost: &'static str,
}

impl Reference {
    /// What there is, made if it has to be and may be.
    pub(crate) fn find(&self, may_download: bool) -> Found {
        if let Some(named) = env::var_os(self.variable) {
            return Ok(named.into());
        }
        let folder = cache()?.join(&self.folder);
        let describe = |error| format!("{}: {error}", folder.display());
        fs::create_dir_all(&folder).map_err(describe)?;
        // Two of us at once: the second waits, and finds what the first has made.
        let lock = File::create(folder.with_extension("lock")).map_err(describe)?;
        lock.lock().map_err(describe)?;
        if let Some(found) = (self.look)(&folder) {
            return Ok(found);
        }
        if !may_download {
            return Err("nothing may be downloaded (--no-downloads)".to_owned());
        }
        println!("setting up {} in {} ({})", self.what, folder.display(), self.cost);
        (self.make)(&folder)
    }
}

/// Where things are kept between runs and clones.
fn cache() -> Result<PathBuf, String> {
    let set = |name| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let cache = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
    Ok(cache
        .ok_or("neither XDG_CACHE_HOME nor HOME is set")?
        .join("tributary"))
}
