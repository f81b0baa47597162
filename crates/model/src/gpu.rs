//! NVIDIA GPUs, looked for before one is opened: burn panics where the driver, the run-time compiler or the headers are
//! missing.
//!
//! The driver is asked where there is one, so `CUDA_VISIBLE_DEVICES` and whatever a container hides count as they do for
//! every other program. What the system shows by itself ([`shown`]) only makes the messages better.

use std::path::Path;

/// GPUs that can be used, or why none can and what to do.
#[cfg(feature = "cuda")]
pub(crate) fn usable() -> Result<usize, String> {
    static FOUND: std::sync::OnceLock<Result<usize, String>> = std::sync::OnceLock::new();
    FOUND.get_or_init(look).clone()
}

/// Builds without CUDA can use none.
#[cfg(not(feature = "cuda"))]
pub(crate) fn usable() -> Result<usize, String> {
    let here = if is_shown() {
        "there is an NVIDIA GPU for it"
    } else {
        "no NVIDIA GPU is to be seen either"
    };
    Err(format!(
        "this build has no CUDA ({here}); build with `--features cuda`, or use `cpu`"
    ))
}

const PROC: &str = "/proc/driver/nvidia/gpus";
const DEV: &str = "/dev";

#[cfg(feature = "cuda")]
fn look() -> Result<usize, String> {
    use cudarc::{driver, nvrtc};
    let shown = shown(Path::new(PROC), Path::new(DEV));
    // SAFETY: loads a system library and lets it go; its initialisers are NVIDIA's.
    #[expect(unsafe_code)]
    let has_driver = unsafe { driver::sys::is_culib_present() };
    if !has_driver {
        return Err(if shown == 0 {
            format!("no NVIDIA GPU here: there is neither {PROC} nor {DEV}/nvidia0; use `cpu` or `auto`")
        } else {
            format!(
                "the system shows {shown} NVIDIA GPU(s), but the driver's libcuda.so.1 cannot be loaded: start the \
                 container with the driver (`--gpus all`), or put the library's folder into LD_LIBRARY_PATH"
            )
        });
    }
    let asked = driver::result::init().and_then(|()| driver::result::device::get_count());
    let limits = match std::env::var("CUDA_VISIBLE_DEVICES") {
        Ok(value) => format!("CUDA_VISIBLE_DEVICES is `{value}`"),
        Err(_) => "CUDA_VISIBLE_DEVICES is not set".to_owned(),
    };
    let count = match asked {
        Ok(count) => usize::try_from(count).unwrap_or(0),
        Err(error) => {
            return Err(format!(
                "the NVIDIA driver gives no GPU: {error} (the system shows {shown}; {limits})"
            ));
        }
    };
    if count == 0 {
        return Err(format!(
            "the NVIDIA driver gives no GPU (the system shows {shown}; {limits}); use `cpu` or `auto`"
        ));
    }
    // SAFETY: as above.
    #[expect(unsafe_code)]
    let has_compiler = unsafe { nvrtc::sys::is_culib_present() };
    if !has_compiler {
        return Err("CUDA's run-time compiler libnvrtc.so cannot be loaded: install the CUDA toolkit's NVRTC (12.8 or \
                    newer; `pip install nvidia-cuda-nvrtc` will do) and put its folder into LD_LIBRARY_PATH"
            .to_owned());
    }
    let header = cubecl_cuda::install::cuda_path().map(|path| path.join("include").join(HEADER));
    match header {
        Some(header) if header.exists() => Ok(count),
        Some(header) => Err(format!(
            "CUDA's headers are missing: there is no {}; {HEADERS}",
            header.display()
        )),
        None => Err(format!(
            "CUDA's headers are missing: there is no /usr/local/cuda; {HEADERS}"
        )),
    }
}

/// Included by every kernel on bf16 numbers.
#[cfg(feature = "cuda")]
const HEADER: &str = "cuda_bf16.h";
#[cfg(feature = "cuda")]
const HEADERS: &str = "install them (the CUDA toolkit, or its packages cudart-dev and cccl) and set CUDA_PATH to the folder \
                       whose include/ has them";

/// Does the system show a GPU, usable or not?
pub(crate) fn is_shown() -> bool {
    shown(Path::new(PROC), Path::new(DEV)) > 0
}

/// GPUs the system shows: entries of the driver's folder in /proc, else, where a container has none, device files.
fn shown(proc: &Path, dev: &Path) -> usize {
    let listed = std::fs::read_dir(proc).map_or(0, |gpus| gpus.count());
    if listed > 0 {
        return listed;
    }
    let is_gpu = |name: &str| {
        name.strip_prefix("nvidia")
            .is_some_and(|index| index.parse::<u32>().is_ok())
    };
    let entries = std::fs::read_dir(dev).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_str().is_some_and(is_gpu))
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_files_count_where_proc_has_nothing() {
        let root = tempfile::tempdir().unwrap();
        let (proc, dev) = (root.path().join("gpus"), root.path().join("dev"));
        assert_eq!(shown(&proc, &dev), 0);
        std::fs::create_dir_all(&dev).unwrap();
        for name in ["nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "null"] {
            std::fs::write(dev.join(name), "").unwrap();
        }
        assert_eq!(shown(&proc, &dev), 2);
        std::fs::create_dir_all(proc.join("0000:01:00.0")).unwrap();
        assert_eq!(shown(&proc, &dev), 1);
    }
}
