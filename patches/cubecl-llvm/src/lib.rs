//! What `cubecl-cuda` names of `cubecl-llvm`, without LLVM.
//!
//! `cubecl-cuda` compiles both its backends in, whichever it runs. We run CUDA C++ through NVRTC, so of the LLVM backend
//! only the names have to exist. A compiled module cannot: [`NvptxModule`] has no values, and the one way to ask for
//! one, [`PlironCompiler::compile`](Compiler::compile), is an error that says what happened. See the README beside this.

use core::convert::Infallible;
use core::ffi::c_char;
use core::fmt;

use cubecl_core::ir::nvidia::SmArch;
use cubecl_core::prelude::KernelDefinition;
use cubecl_environment::backtrace::BackTrace;
use cubecl_runtime::compiler::{CompilationError, Compiler};
use cubecl_runtime::kernel::BufferIOAttr;

/// The NVIDIA target.
pub mod nvptx {
    /// PTX versions.
    pub mod ptx_version {
        use core::fmt;

        /// A PTX version. None is ever chosen: NVRTC writes its own.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub struct PtxVersion(core::convert::Infallible);

        impl PtxVersion {
            /// The version for a driver: none.
            pub fn for_driver(_driver: i32) -> Option<Self> {
                None
            }
        }

        impl fmt::Display for PtxVersion {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(formatter)
            }
        }
    }
}

/// What the targets have in common.
pub mod shared {
    /// What a device may be asked for.
    pub mod lowered_features {
        use cubecl_core::ir::DeviceProperties;

        /// A GPU target.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum GpuTarget {
            /// NVIDIA's.
            Nvptx,
        }

        /// Would take away what the LLVM backend cannot do, which is everything; called for that backend only, whose
        /// compiler is an error.
        pub fn restrict_features(_properties: &mut DeviceProperties, _target: GpuTarget) {}
    }
}

/// A target of the compiler.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LlvmTarget {
    /// NVIDIA GPUs.
    #[default]
    Nvptx,
}

/// A compiler that refuses.
#[derive(Clone, Debug, Default)]
pub struct PlironCompiler {
    /// What it would compile for.
    pub target: LlvmTarget,
}

/// Options of the compiler.
#[derive(Clone, Debug, Default)]
pub struct PlironOptions {
    /// AMD architecture: none.
    pub arch: Option<Infallible>,
    /// NVIDIA architecture.
    pub sm_arch: Option<SmArch>,
    /// PTX version.
    pub ptx_version: Option<nvptx::ptx_version::PtxVersion>,
    /// Are scalars passed in the parameter block?
    pub grid_constants: bool,
    /// As the original, it has fields that are not named.
    pub unnamed: (),
}

/// A compiled module, of which there are none.
#[derive(Clone, Debug)]
pub struct NvptxModule {
    /// PTX.
    pub ptx: Vec<c_char>,
    /// Its entry.
    pub entrypoint: String,
    /// Its source.
    pub ir: String,
    /// Bytes of shared memory.
    pub shared_memory_size: usize,
    /// Access to buffers.
    pub io: Vec<BufferIOAttr>,
    /// Why there are none.
    pub absent: Infallible,
}

/// What the compiler would give.
#[derive(Clone, Debug)]
pub enum PlironArtifact {
    /// A module for NVIDIA GPUs.
    NvptxCode(NvptxModule),
}

impl fmt::Display for PlironArtifact {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::NvptxCode(module) = self;
        module.absent.fmt(formatter)
    }
}

impl Compiler for PlironCompiler {
    type Representation = PlironArtifact;
    type CompilationOptions = PlironOptions;

    fn compile(&mut self, _kernel: KernelDefinition, _options: &PlironOptions) -> Result<PlironArtifact, CompilationError> {
        Err(CompilationError::Generic {
            reason: "this program was built without LLVM (patches/cubecl-llvm); it compiles kernels as CUDA C++, for \
                     which cubecl-cuda's feature `cpp` has to be on"
                .to_owned(),
            backtrace: BackTrace::capture(),
        })
    }

    fn extension(&self) -> &'static str {
        "ll"
    }

    fn lang_tag(&self) -> &'static str {
        "llvm"
    }
}
