//! A folder of the store as the tensor readers want it.

use std::sync::Arc;

use tributary_tensorfile::{Directory, ReadAt, TensorFileError, check_file_name};

use crate::store::Store;

/// The files directly at a store's root.
#[derive(Clone, Debug)]
pub struct StoreDirectory {
    store: Store,
}

impl StoreDirectory {
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }

    fn fail(&self, name: &str, error: crate::StoreError) -> TensorFileError {
        TensorFileError::Read {
            file: self.store.describe(name),
            source: error.into(),
        }
    }
}

impl Directory for StoreDirectory {
    fn open(&self, name: &str) -> tributary_tensorfile::Result<Arc<dyn ReadAt>> {
        check_file_name(name)
            .map_err(|reason| self.fail(name, crate::StoreError::misuse(self.store.url(), reason)))?;
        self.store.reader(name).map_err(|error| self.fail(name, error))
    }

    fn list(&self) -> tributary_tensorfile::Result<Vec<String>> {
        let names = self.store.children("").map_err(|error| self.fail("", error))?;
        Ok(names.into_iter().filter(|name| !name.ends_with('/')).collect())
    }

    fn describe(&self) -> String {
        self.store.url()
    }
}
