//! Why an adapter cannot be used.

/// What is wrong with an adapter; [`crate::MergeError::Adapter`] names it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AdapterFault {
    /// There is no adapter.
    #[error(
        "there is no adapter_config.json at {place}; an adapter is a directory with adapter_config.json and adapter_model.safetensors, as PEFT saves it"
    )]
    Absent {
        /// Where it was looked for.
        place: String,
    },
    /// The weights are a pickle.
    #[error(
        "its weights are in adapter_model.bin, which runs code when it is read; convert them to adapter_model.safetensors (load the adapter with PEFT and save it again)"
    )]
    Pickle,
    /// There are no weights.
    #[error("it has no adapter_model.safetensors")]
    NoWeights,
    /// The configuration cannot be read.
    #[error("adapter_config.json: {reason}")]
    Configuration {
        /// Why not.
        reason: String,
    },
    /// Not LoRA.
    #[error("its peft_type is {found}; only LORA is W + s·(B·A)")]
    Kind {
        /// What it is.
        found: String,
    },
    /// A setting that makes it something else than W + s·(B·A).
    #[error(
        "adapter_config.json sets {field}: {why}; merge it with PEFT (merge_and_unload) and use the result"
    )]
    Feature {
        /// The setting.
        field: &'static str,
        /// What it does.
        why: &'static str,
    },
    /// A tensor whose name says nothing.
    #[error("tensor {tensor}: its name is none that a LoRA adapter has")]
    Unknown {
        /// The tensor.
        tensor: String,
    },
    /// The base has not what the tensor changes.
    #[error("tensor {tensor}: the base has no tensor {target}; is it an adapter of another model?")]
    Target {
        /// The adapter's tensor.
        tensor: String,
        /// What it would change.
        target: String,
    },
    /// One of two factors is missing.
    #[error("tensor {tensor}: its counterpart {missing} is not there")]
    Factor {
        /// The factor that is there.
        tensor: String,
        /// The one that is not.
        missing: String,
    },
    /// Shapes do not fit.
    #[error("tensor {tensor}: shape {shape:?} does not fit {target} of shape {expected:?}")]
    Shape {
        /// The adapter's tensor.
        tensor: String,
        /// Its shape.
        shape: Vec<usize>,
        /// What it does not fit: the base's tensor, or the other factor.
        target: String,
        /// The shape of that.
        expected: Vec<usize>,
    },
    /// The rank is not what the configuration says.
    #[error("tensor {tensor}: its rank is {found}, adapter_config.json says {expected}")]
    Rank {
        /// The factor A.
        tensor: String,
        /// Its rank.
        found: usize,
        /// The rank that the configuration gives its module.
        expected: usize,
    },
    /// A type that is not computed with.
    #[error("tensor {tensor}: type {dtype} cannot be computed with")]
    Type {
        /// The tensor.
        tensor: String,
        /// Its type.
        dtype: &'static str,
    },
    /// Head and embedding are one tensor.
    #[error(
        "tensor {tensor}: it changes the head or the embedding alone of a base that keeps both in one tensor (tie_word_embeddings); save the base with separate tensors first"
    )]
    Tied {
        /// The adapter's tensor.
        tensor: String,
    },
}
