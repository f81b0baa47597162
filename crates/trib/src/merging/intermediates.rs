//! The results of the named documents of a merge file, made before the one that reads them.

use tributary_merge::{MergeConfig, MergeOptions, MergePlan, Published, Source, plan};
use tributary_store::Store;

use super::models::{located, open};
use super::publish::{Interrupt, check_disk, publish};
use crate::exit::Failure;
use crate::output::say;
use crate::screen::harmless;

/// The results of named documents.
pub(crate) struct Intermediates {
    /// `None`: there are none.
    place: Option<Store>,
    is_kept: bool,
    names: Vec<String>,
}

impl Intermediates {
    pub(crate) fn new(
        out: &str,
        kept_at: Option<&str>,
        documents: &[MergeConfig],
    ) -> Result<Intermediates, Failure> {
        let beside = || format!("{}.intermediate", out.trim_end_matches('/'));
        let place = kept_at.map_or_else(beside, str::to_owned);
        Ok(Intermediates {
            place: (!documents.is_empty()).then(|| Store::open(&place)).transpose()?,
            is_kept: kept_at.is_some(),
            names: documents
                .iter()
                .filter_map(|config| config.spec.name.clone())
                .collect(),
        })
    }

    fn store(&self, name: &str) -> Result<Store, Failure> {
        let place = self.place.as_ref();
        let place = place.ok_or_else(|| Failure::configuration(format!("{name} has no place")))?;
        // A name may hold what a path may not.
        let folder: String = name
            .chars()
            .map(|c| {
                if c.is_alphanumeric() || "-_.".contains(c) {
                    c
                } else {
                    '-'
                }
            })
            .collect();
        Ok(place.child(&folder)?)
    }

    /// Every result that is there.
    fn sources(&self, up_to: usize) -> Result<Vec<Source>, Failure> {
        let open = |name: &String| Ok(Source::open(name, &self.store(name)?)?);
        self.names.iter().take(up_to).map(open).collect()
    }

    pub(crate) fn make(
        &self,
        documents: &[MergeConfig],
        settings: &MergeOptions,
        interrupt: &Interrupt,
    ) -> Result<(), Failure> {
        for (number, (config, name)) in documents.iter().zip(&self.names).enumerate() {
            let sources = open(config, &self.sources(number)?)?;
            let fail = |error| located(config, error, Vec::new());
            let plan = plan(&config.spec, &sources, settings).map_err(fail)?;
            let store = self.store(name)?;
            if plan.find(&store)?.is_none() {
                check_disk(&plan, &store)?;
                if let Published::Waiting(_) = publish(&plan, &store, interrupt).map_err(fail)? {
                    return Err(Failure::configuration(format!("{name} is not whole")));
                }
            }
            say(format!(
                "{} is made ({} of {})",
                harmless(name),
                number + 1,
                documents.len() + 1
            ));
        }
        Ok(())
    }

    pub(crate) fn plan(&self, config: &MergeConfig, settings: &MergeOptions) -> Result<MergePlan, Failure> {
        let sources = open(config, &self.sources(self.names.len())?)?;
        plan(&config.spec, &sources, settings).map_err(|error| located(config, error, Vec::new()))
    }

    pub(crate) fn remove(&self) -> Result<(), Failure> {
        if self.is_kept {
            return Ok(());
        }
        for name in &self.names {
            self.store(name)?.delete_all()?;
        }
        // What else lies there is not ours; an empty folder goes.
        if let Some(folder) = self.place.as_ref().and_then(Store::local_path) {
            let _ = std::fs::remove_dir(folder);
        }
        Ok(())
    }
}
