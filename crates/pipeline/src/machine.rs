//! The machine that steps share: processors, memory, accelerators.

use std::fs;
use std::thread;

use crate::record::Machine;

impl Machine {
    /// This machine. Memory is what the system or the control group allows; accelerators are the NVIDIA devices
    /// that are visible (and not hidden by an empty `CUDA_VISIBLE_DEVICES`).
    pub fn detect(device: impl Into<String>) -> Self {
        Machine {
            cpus: thread::available_parallelism().map_or(1, |count| count.get() as u32),
            memory: memory(),
            gpus: gpus(),
            device: device.into(),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        }
    }
}

/// Bytes; without limit where the system does not say.
fn memory() -> u64 {
    let total = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:"))?
            .trim();
        line.strip_suffix("kB")?.trim().parse::<u64>().ok()
    });
    let system = total.map_or(u64::MAX, |kibibytes| kibibytes << 10);
    let group = fs::read_to_string("/sys/fs/cgroup/memory.max")
        .ok()
        .and_then(|text| text.trim().parse().ok());
    group.map_or(system, |limit: u64| limit.min(system))
}

fn gpus() -> u32 {
    if let Ok(visible) = std::env::var("CUDA_VISIBLE_DEVICES") {
        return visible
            .split(',')
            .filter(|device| !matches!(device.trim(), "" | "-1"))
            .count() as u32;
    }
    let is_gpu = |name: &str| {
        name.strip_prefix("nvidia")
            .is_some_and(|rest| rest.parse::<u32>().is_ok())
    };
    let devices = fs::read_dir("/dev").into_iter().flatten().flatten();
    devices
        .filter(|entry| entry.file_name().to_str().is_some_and(is_gpu))
        .count() as u32
}
