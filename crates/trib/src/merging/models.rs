//! The models of a merge file, opened, and errors about them told at their places in the file.

use tributary_merge::{MergeConfig, MergeError, Source};

use crate::exit::Failure;
use crate::source_place::{open_adapter, open_source};

/// Opens every model of the document that is not `made`, the result of another one; all that cannot be opened are in the
/// one failure.
pub(crate) fn open(config: &MergeConfig, made: &[Source]) -> Result<Vec<Source>, Failure> {
    let named = config.spec.references().into_iter();
    let mut references: Vec<&str> = named.map(|(_, reference)| reference).collect();
    references.sort();
    references.dedup();
    let (mut sources, mut errors) = (Vec::new(), Vec::new());
    for reference in references {
        if let Some(source) = made.iter().find(|source| source.reference() == reference) {
            sources.push(source.clone());
            continue;
        }
        let (base, adapter) = reference.rsplit_once('+').unwrap_or((reference, ""));
        let opened = match made
            .iter()
            .find(|source| source.reference() == base && !adapter.is_empty())
        {
            Some(source) => {
                open_adapter(adapter).and_then(|adapter| source.with_adapter(reference, &adapter))
            }
            None => open_source(reference),
        };
        match opened {
            Ok(source) => sources.push(source),
            Err(error) => errors.push(error),
        }
    }
    let mut errors = errors.into_iter();
    match errors.next() {
        None => Ok(sources),
        Some(first) => Err(located(config, first, errors.collect())),
    }
}

/// The failure of the first of these errors, told at the places of the document where they are about it: not where a store failed,
/// which is no mistake in a document.
pub(crate) fn located(config: &MergeConfig, first: MergeError, others: Vec<MergeError>) -> Failure {
    let mut errors = others;
    errors.insert(0, first);
    let problems = config.locate(&errors);
    let mut failure = Failure::from(errors.swap_remove(0));
    if failure.is_passing() {
        failure.add("; run the same command again to go on where it was");
        return failure;
    }
    match problems {
        Some(problems) => failure.says(problems.to_string()),
        None => failure,
    }
}
