//! What this machine has, for `trib doctor`: every answer with what to do about it.
//!
//! Only looks: opens no device, needs no rights, writes nothing.

use std::fs;
use std::path::Path;

use serde::Serialize;
use tributary_pipeline::Machine;

use crate::screen::{bytes, harmless, plural};

/// Least memory that the quickstart runs in without swapping.
const LITTLE_MEMORY: u64 = 2 << 30;

/// How good an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Grade {
    /// As it should be.
    Ok,
    /// Works, but slower or not everything.
    Warn,
    /// Does not work.
    Fail,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// What was looked at.
    pub(crate) name: &'static str,
    /// How good it is.
    pub(crate) grade: Grade,
    /// What was found.
    pub(crate) found: String,
    /// What to do, unless all is well.
    pub(crate) advice: Option<String>,
}

impl Finding {
    pub(crate) fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Finding {
            name,
            grade: Grade::Ok,
            found: found.into(),
            advice: None,
        }
    }

    pub(crate) fn warn(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Finding {
            name,
            grade: Grade::Warn,
            found: found.into(),
            advice: Some(advice.into()),
        }
    }

    pub(crate) fn fail(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Finding {
            name,
            grade: Grade::Fail,
            found: found.into(),
            advice: Some(advice.into()),
        }
    }
}

/// Processor, memory, GPU.
pub(crate) fn examine() -> Vec<Finding> {
    let machine = Machine::detect("auto");
    vec![
        processor(&machine),
        instructions(),
        memory(&machine),
        gpu(),
        Finding::ok("python", "not needed"),
    ]
}

fn processor(machine: &Machine) -> Finding {
    let model = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(format!(", {}", line.split_once(':')?.1.trim()))
    });
    let cores = plural(machine.cpus as usize, "logical processor");
    Finding::ok(
        "processor",
        format!(
            "{cores}{}, {}",
            harmless(&model.unwrap_or_default()),
            machine.system
        ),
    )
}

/// The vector instructions that the kernels choose from at run time.
fn instructions() -> Finding {
    const NAME: &str = "instructions";
    #[cfg(target_arch = "x86_64")]
    {
        let has_512 = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
        let has_256 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        match (has_512, has_256) {
            (true, _) => Finding::ok(NAME, "AVX-512"),
            (false, true) => Finding::ok(NAME, "AVX2 and FMA (no AVX-512)"),
            (false, false) => Finding::warn(
                NAME,
                "neither AVX-512 nor AVX2",
                "everything works, several times slower; use a processor of 2013 or later",
            ),
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    Finding::ok(NAME, format!("those of {}", std::env::consts::ARCH))
}

fn memory(machine: &Machine) -> Finding {
    const NAME: &str = "memory";
    if machine.memory == u64::MAX {
        return Finding::warn(NAME, "unknown", "steps that reserve memory are not held back");
    }
    let available = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    });
    let now = available
        .map(|kibibytes| kibibytes << 10)
        .unwrap_or(machine.memory)
        .min(machine.memory);
    let found = format!("{}, {} of it free now", bytes(machine.memory), bytes(now));
    if now < LITTLE_MEMORY {
        return Finding::warn(NAME, found, "close other programs, or keep to small models");
    }
    Finding::ok(NAME, found)
}

fn gpu() -> Finding {
    const NAME: &str = "gpu";
    let is_built = cfg!(feature = "cuda");
    let build = if is_built {
        "this build has CUDA"
    } else {
        "this build has no CUDA"
    };
    let names = gpu_names(Path::new("/proc/driver/nvidia/gpus"));
    if names.is_empty() {
        // A device that a container shows without its driver is not usable, but worth a word.
        let is_visible = Path::new("/dev/nvidia0").exists();
        return match (is_visible, is_built) {
            (true, _) => Finding::warn(
                NAME,
                format!("/dev/nvidia0 is there but no driver; {build}"),
                "install the NVIDIA driver, or give the container its libraries",
            ),
            (false, true) => Finding::warn(
                NAME,
                format!("none; {build}"),
                "use --device cpu, or a machine with an NVIDIA GPU",
            ),
            (false, false) => Finding::ok(NAME, format!("none; {build}; the processor is used")),
        };
    }
    let driver = fs::read_to_string("/sys/module/nvidia/version").unwrap_or_else(|_| "unknown".to_owned());
    let found = harmless(&format!(
        "{}, driver {}; {build}",
        names.join(", "),
        driver.trim()
    ));
    if is_built {
        Finding::ok(NAME, found)
    } else {
        Finding::warn(
            NAME,
            found,
            "build with `cargo build --release --features cuda` to use it",
        )
    }
}

/// Names of the GPUs that the driver shows.
fn gpu_names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    let name = |path: &Path| {
        let text = fs::read_to_string(path.join("information")).unwrap_or_default();
        let model = text.lines().find_map(|line| line.strip_prefix("Model:"));
        model.map_or_else(|| "NVIDIA GPU".to_owned(), |model| model.trim().to_owned())
    };
    paths.iter().map(|path| name(path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_are_named_as_the_driver_names_them() {
        let folder = tempfile::tempdir().unwrap();
        assert!(gpu_names(folder.path()).is_empty());
        for (slot, text) in [("0000:02", "Model: \t\t NVIDIA H100\nIRQ: 1\n"), ("0000:01", "")] {
            fs::create_dir(folder.path().join(slot)).unwrap();
            fs::write(folder.path().join(slot).join("information"), text).unwrap();
        }
        assert_eq!(gpu_names(folder.path()), ["NVIDIA GPU", "NVIDIA H100"]);
    }
}
