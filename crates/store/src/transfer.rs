//! Moving whole files between this machine and a store, in bounded memory.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::error::{Result, StoreError};
use crate::local::{Durability, LocalFiles};
use crate::store::Store;
use crate::writer::Written;

/// Read and written at once; a remote read of this size is several GETs in parallel.
const BLOCK_BYTES: usize = 64 << 20;
const UPLOAD_BLOCK_BYTES: usize = 4 << 20;

impl Store {
    /// Copies the object `key` to the file `to`, which appears when it is complete. Returns its size.
    pub fn download(&self, key: &str, to: &Path) -> Result<u64> {
        let reader = self.reader(key)?;
        let to = std::path::absolute(to).map_err(|source| StoreError::io("name", to.display(), source))?;
        let fail = |source| StoreError::io("write", to.display(), source);
        let files = LocalFiles::new(crate::local::parent(&to).to_path_buf(), Durability::Process);
        let temporary = files.temporary_beside(&to)?;
        let mut buffer = vec![0; BLOCK_BYTES.min(usize::try_from(reader.len()).unwrap_or(BLOCK_BYTES))];
        let mut done = 0;
        while done < reader.len() {
            let take = usize::try_from(reader.len() - done)
                .unwrap_or(BLOCK_BYTES)
                .min(buffer.len());
            let block = &mut buffer[..take];
            reader
                .read_at(done, block)
                .map_err(|source| StoreError::io("read", self.describe(key), source))?;
            temporary.file().write_all_at(block, done).map_err(fail)?;
            done += take as u64;
        }
        temporary.rename(&to).map_err(fail)?;
        Ok(done)
    }

    /// Copies the file `from` to the object `key`, which appears when it is complete.
    pub fn upload_file(&self, from: &Path, key: &str) -> Result<Written> {
        let fail = |source| StoreError::io("read", from.display(), source);
        let mut file = File::open(from).map_err(fail)?;
        let mut writer = self.writer(key)?;
        let mut buffer = vec![0; UPLOAD_BLOCK_BYTES];
        loop {
            let read = file.read(&mut buffer).map_err(fail)?;
            if read == 0 {
                return writer.finish();
            }
            writer
                .write_all(&buffer[..read])
                .map_err(|source| StoreError::io("write", self.describe(key), source))?;
        }
    }
}
