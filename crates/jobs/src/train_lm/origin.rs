//! Where a training's weights, configuration and tokenizer come from.

use tributary_data::Tokenizer;
use tributary_model::{Family, LlamaSizes, ModelConfig, ModelError, check_tensors, load_config};
use tributary_pipeline::{
    InputDeclaration, JobContext, JobError, MODEL_KIND, PlanContext, Problem, ResolvedInput,
};
use tributary_store::Store;
use tributary_tensorfile::Checkpoint;
use tributary_train::{STATE_KIND, Start, TrainerState};

use super::settings::{NewModel, StartSettings};
use crate::blame::Blame;
use crate::tokenizer::TOKENIZER_KIND;

/// File beside a model that says how to generate with it.
const GENERATION_FILE: &str = "generation_config.json";

/// What a training starts from, opened.
pub(super) struct Origin {
    pub(super) config: ModelConfig,
    pub(super) tokenizer: Tokenizer,
    pub(super) start: Start,
    /// Digest of the manifest of the model it starts from, if the model is an artifact's root.
    pub(super) digest: Option<String>,
    /// The training state to go on from.
    pub(super) resumes: Option<Store>,
    /// Steps that it has done; 0 without one.
    pub(super) resumed_at: u64,
    /// Seed of the data's order.
    pub(super) seed: u64,
    /// Files that go with the model: tokenizer, chat template, generation defaults.
    pub(super) files: Vec<(String, Vec<u8>)>,
}

/// The one input of `start`.
pub(super) fn declare(start: &StartSettings) -> InputDeclaration {
    match start {
        StartSettings::New(model) => InputDeclaration::new(
            "start.new.tokenizer",
            &[TOKENIZER_KIND, MODEL_KIND, "directory"],
            &model.tokenizer,
        ),
        StartSettings::WarmStart(model) => {
            InputDeclaration::new("start.warm_start", &[MODEL_KIND, STATE_KIND], model)
        }
        StartSettings::Resume(state) => InputDeclaration::new("start.resume", &[STATE_KIND], state),
    }
}

impl Origin {
    /// Opens what `start` names.
    pub(super) fn open(start: &StartSettings, context: &JobContext) -> Result<Self, JobError> {
        let field = declare(start).field;
        let input = context.input(&field)?;
        let folder = input.folder()?;
        let doing = || format!("opening {}", input.reference);
        let tokenizer = Tokenizer::load(&folder).blame(doing())?;
        let mut files = tokenizer.to_files();
        if folder.head(GENERATION_FILE)?.is_some() && !files.iter().any(|(name, _)| name == GENERATION_FILE) {
            files.push((GENERATION_FILE.to_owned(), folder.get(GENERATION_FILE)?.to_vec()));
        }
        if let StartSettings::New(sizes) = start {
            let config = new_config(sizes, &tokenizer);
            let start = Start::Random { seed: context.seed };
            return Ok(Self {
                config,
                tokenizer,
                start,
                digest: None,
                resumes: None,
                resumed_at: 0,
                seed: context.seed,
                files,
            });
        }
        let directory = folder.directory();
        let config = load_config(&directory).blame(doing())?;
        let checkpoint = Checkpoint::open(&directory)
            .map_err(ModelError::from)
            .blame(doing())?;
        check_tensors(&config, &checkpoint, &folder.url()).blame(doing())?;
        check_family(&config)?;
        let digest = input
            .artifact
            .as_ref()
            .filter(|_| input.path.is_empty())
            .map(|artifact| artifact.digest());
        let resumes = matches!(start, StartSettings::Resume(_)).then_some(folder);
        let (seed, resumed_at) = match &resumes {
            Some(state) => {
                let state = TrainerState::read(state).blame(doing())?;
                (state.seed, state.step)
            }
            None => (context.seed, 0),
        };
        let start = Start::Model(checkpoint);
        Ok(Self {
            config,
            tokenizer,
            start,
            digest,
            resumes,
            resumed_at,
            seed,
            files,
        })
    }
}

/// Can models of this family be trained as they are stored?
fn check_family(config: &ModelConfig) -> Result<(), JobError> {
    match config.family {
        Family::Baichuan2 => Err(JobError::bad_input(
            "Baichuan2 can be read but not trained: its head is normalised, and here heads are not",
        )),
        _ => Ok(()),
    }
}

/// A new Llama that fits a tokenizer.
fn new_config(sizes: &NewModel, tokenizer: &Tokenizer) -> ModelConfig {
    let hidden = sizes.hidden_size as usize;
    let inner = sizes
        .intermediate_size
        .map_or((hidden * 8).div_ceil(3).next_multiple_of(32), |size| {
            size as usize
        });
    ModelConfig::llama(LlamaSizes {
        hidden_size: hidden,
        intermediate_size: inner,
        layers: sizes.layers as usize,
        heads: sizes.heads as usize,
        kv_heads: sizes.kv_heads.unwrap_or(sizes.heads) as usize,
        vocab_size: tokenizer.vocab_size(),
        max_positions: sizes.context as usize,
        rope_theta: sizes.rope_theta,
        tied_head: sizes.tied_head,
        bos: tokenizer.bos(),
        eos: tokenizer.eos(),
    })
}

/// What is wrong with `start`, and the configuration if it is known already.
pub(super) fn check(start: &StartSettings, plan: &PlanContext<'_>) -> (Vec<Problem>, Option<ModelConfig>) {
    let mut problems = Vec::new();
    if let StartSettings::New(sizes) = start {
        check_sizes(sizes, &mut problems);
    }
    let declaration = declare(start);
    let Some(input) = plan.input(&declaration.field) else {
        return (problems, None);
    };
    match open_headers(start, input) {
        Ok(config) => (problems, config),
        Err(error) => {
            problems.push(Problem::new(declaration.field, error.describe()));
            (problems, None)
        }
    }
}

fn open_headers(start: &StartSettings, input: &ResolvedInput) -> Result<Option<ModelConfig>, JobError> {
    let folder = input.folder()?;
    let tokenizer = Tokenizer::load(&folder).blame("it has no usable tokenizer")?;
    if let StartSettings::New(sizes) = start {
        return Ok(Some(new_config(sizes, &tokenizer)));
    }
    let directory = folder.directory();
    let config = load_config(&directory).blame("its configuration cannot be used")?;
    let checkpoint = Checkpoint::open(&directory)
        .map_err(ModelError::from)
        .blame("its tensors cannot be read")?;
    check_tensors(&config, &checkpoint, &folder.url()).blame("its tensors do not fit")?;
    check_family(&config)?;
    if tokenizer.vocab_size() > config.vocab_size {
        let (tokens, rows) = (tokenizer.vocab_size(), config.vocab_size);
        return Err(JobError::bad_input(format!(
            "its tokenizer has {tokens} tokens, its embedding only {rows} rows"
        )));
    }
    Ok(Some(config))
}

fn check_sizes(sizes: &NewModel, problems: &mut Vec<Problem>) {
    let mut wrong = |field: &str, message: String, help: &str| {
        problems.push(Problem::new(format!("start.new.{field}"), message).help(help));
    };
    let named = [
        ("hidden_size", sizes.hidden_size),
        ("layers", sizes.layers),
        ("heads", sizes.heads),
        ("context", sizes.context),
        ("intermediate_size", sizes.intermediate_size.unwrap_or(1)),
    ];
    for (field, size) in named {
        if size == 0 {
            wrong(field, "must not be 0".into(), "at least 1");
        }
    }
    let (hidden, heads) = (sizes.hidden_size, sizes.heads.max(1));
    if hidden % heads != 0 || (hidden / heads) % 2 != 0 {
        let message = format!("{heads} heads do not cut {hidden} into parts of even width");
        wrong(
            "heads",
            message,
            "hidden_size must be a multiple of twice the heads",
        );
    }
    if let Some(kv_heads) = sizes.kv_heads
        && (kv_heads == 0 || heads % kv_heads != 0)
    {
        wrong(
            "kv_heads",
            format!("{kv_heads} key-value heads do not divide {heads} heads"),
            "a divisor of `heads`",
        );
    }
    if !(sizes.rope_theta.is_finite() && sizes.rope_theta > 0.0) {
        wrong(
            "rope_theta",
            format!("{} is not a positive number", sizes.rope_theta),
            "10000 is usual",
        );
    }
}
