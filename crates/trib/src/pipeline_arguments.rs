//! What `trib run` and `trib plan` are told, and the plan that follows from it.

use std::path::{Path, PathBuf};

use clap::Args;
use tributary_model::Device;
use tributary_pipeline::{Machine, PipelineError, Planned, Registry, Source, plan, plan_in, suggestion};
use tributary_store::Store;

use crate::exit::Failure;

#[derive(Args)]
pub(crate) struct PipelineArguments {
    /// The pipeline, a YAML document
    pub(crate) file: PathBuf,
    /// Lay a profile over the document: store, defaults, resources of a place or machine (see configs/); may be given
    /// more than once
    #[arg(long = "profile", value_name = "FILE")]
    profiles: Vec<PathBuf>,
    /// Replace a value of the document, for instance steps.base.with.steps=10; may be given more than once
    #[arg(long = "set", value_name = "PATH=VALUE")]
    overrides: Vec<String>,
    /// Where the artifacts go instead of the document's `store`: a path, file:// or s3://
    #[arg(long, value_name = "ADDRESS")]
    store: Option<String>,
    /// cpu, cuda:N or auto
    #[arg(long, default_value = "auto", value_parser = device_name)]
    device: String,
}

/// Refuses what can be no device on any machine; whether this machine has it is seen later.
pub(crate) fn device_name(text: &str) -> Result<String, String> {
    let index = text.strip_prefix("cuda").and_then(|rest| match rest {
        "" => Some("0"),
        rest => rest.strip_prefix(':'),
    });
    let is_known =
        matches!(text, "cpu" | "auto") || index.is_some_and(|index| index.parse::<usize>().is_ok());
    if is_known {
        Ok(text.to_owned())
    } else {
        Err("use `cpu`, `cuda:0` or `auto`".to_owned())
    }
}

impl PipelineArguments {
    /// Reads, checks and plans the pipeline for this machine.
    pub(crate) fn plan(&self, registry: &Registry) -> Result<Planned, Failure> {
        let device: Device = self.device.parse()?;
        let mut machine = Machine::detect(device.to_string());
        if device == Device::Cpu {
            // A step that reserves a GPU which no job would use waits for nothing.
            machine.gpus = 0;
        }
        let mut source =
            Source::read(&self.file, &self.overrides).map_err(|error| unreadable(&self.file, error))?;
        for path in &self.profiles {
            source = source
                .with_profile(path)
                .map_err(|error| unreadable(path, error))?;
        }
        let planned = match &self.store {
            Some(address) => plan_in(source, registry, &machine, Store::open(address)?),
            None => plan(source, registry, &machine),
        };
        Ok(planned?)
    }
}

/// Adds the pipelines that are there to the news that this one is not.
fn unreadable(path: &Path, error: PipelineError) -> Failure {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let is_missing = matches!(&error, PipelineError::Unreadable { source, .. }
        if source.kind() == std::io::ErrorKind::NotFound);
    let is_document = |path: &PathBuf| {
        path.extension()
            .is_some_and(|ending| ending == "yaml" || ending == "yml")
    };
    let entries = is_missing.then(|| std::fs::read_dir(folder).into_iter().flatten().flatten());
    let mut there: Vec<PathBuf> = entries
        .into_iter()
        .flatten()
        .map(|entry| entry.path())
        .filter(is_document)
        .collect();
    there.sort();
    let mut failure = Failure::from(error);
    if is_missing {
        let names: Vec<String> = there.iter().map(|path| path.display().to_string()).collect();
        let there = format!("{} has", folder.display());
        let advice = suggestion(
            &path.display().to_string(),
            &there,
            names.iter().map(String::as_str),
        );
        failure.add("; ");
        failure.add(&advice.unwrap_or_else(|| "give the path of a pipeline (a YAML document)".to_owned()));
    }
    failure
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_told_from_other_words() {
        for good in ["cpu", "auto", "cuda", "cuda:0", "cuda:12"] {
            assert_eq!(device_name(good).as_deref(), Ok(good));
        }
        for bad in ["gpu", "cuda:", "cuda:x", "cudax", ""] {
            assert!(device_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_missing_pipeline_is_answered_with_the_nearest_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("quikstart.yaml");
        let said = |path: &Path| {
            let error = Source::read(path, &[]).unwrap_err();
            unreadable(path, error).to_string()
        };
        assert!(
            said(&path).contains("give the path of a pipeline"),
            "{}",
            said(&path)
        );
        std::fs::write(folder.path().join("quickstart.yaml"), "").unwrap();
        std::fs::write(folder.path().join("other.yaml"), "").unwrap();
        assert!(said(&path).ends_with("quickstart.yaml`?"), "{}", said(&path));
    }
}
