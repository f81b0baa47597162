//! A model of an evaluation, loaded when it is first needed.

use tributary_data::Tokenizer;
use tributary_model::{Decoder, Device, load_config};
use tributary_pipeline::{JobContext, JobError, ResolvedInput};

use super::settings::EvaluateSettings;
use crate::blame::Blame;

pub(super) struct Model<'a> {
    /// What tables call it.
    pub(super) name: &'a str,
    input: &'a ResolvedInput,
    device: Device,
    loaded: Option<(Decoder, Tokenizer)>,
}

impl<'a> Model<'a> {
    /// Model number `index` of the settings.
    pub(super) fn new(
        context: &'a JobContext,
        index: usize,
        name: &'a str,
        device: Device,
    ) -> Result<Self, JobError> {
        Ok(Self {
            name,
            input: context.input(&format!("models.{index}"))?,
            device,
            loaded: None,
        })
    }

    /// Tokens of a window: as set, or what the model was made for, up to 2048.
    pub(super) fn window(&self, settings: &EvaluateSettings) -> Result<usize, JobError> {
        let config = load_config(&self.input.directory()?).blame(format!("reading {}", self.name))?;
        let most = config.max_positions.min(2048);
        Ok(settings.context.map_or(most, |context| context as usize))
    }

    pub(super) fn get(&mut self) -> Result<&(Decoder, Tokenizer), JobError> {
        if self.loaded.is_none() {
            let name = self.name;
            let decoder = Decoder::load(&self.input.directory()?, self.device)
                .blame(format!("loading {name}"))?
                .compact();
            let tokenizer =
                Tokenizer::load(&self.input.folder()?).blame(format!("loading the tokenizer of {name}"))?;
            self.loaded = Some((decoder, tokenizer));
        }
        self.loaded
            .as_ref()
            .ok_or_else(|| JobError::bug("a model that was loaded is not there"))
    }
}

/// What the step's checkpoints hold at `place`, if it can be read.
pub(super) fn kept<T: serde::de::DeserializeOwned>(
    context: &JobContext,
    place: &str,
) -> Result<Option<T>, JobError> {
    match context.checkpoints.get(place) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Keeps it there.
pub(super) fn keep<T: serde::Serialize>(
    context: &JobContext,
    place: &str,
    value: &T,
) -> Result<(), JobError> {
    let bytes = serde_json::to_vec(value).map_err(|error| JobError::bug(error.to_string()))?;
    Ok(context.checkpoints.put(place, bytes)?)
}
