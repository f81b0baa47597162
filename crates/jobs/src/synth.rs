//! `synth`: corpora of the little world (`data/README.md`), made up from a seed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tributary_data::{Corpus, write_corpus};
use tributary_pipeline::{
    Estimate, InputDeclaration, JobContext, JobError, Outcome, OutputDeclaration, PlanContext, Problem,
    TypedJob,
};

use crate::data_set::DATA_SET_KIND;

/// Settings of `synth`: how many records of each kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SynthSettings {
    /// Short stories (`text`), 459 bytes a record.
    pub stories: u32,
    /// Questions about people and places (`prompt`, `completion`); 1,232 different ones, then they come again.
    pub facts: u32,
    /// Sums and differences up to twenty (`prompt`, `completion`).
    pub arithmetic: u32,
    /// Small tasks with words (`messages`).
    pub instructions: u32,
    /// Seed of the world; the pipeline's seed unless given.
    pub seed: Option<u64>,
}

impl SynthSettings {
    fn corpora(&self) -> impl Iterator<Item = (Corpus, usize)> {
        let counts = [
            (Corpus::Stories, self.stories),
            (Corpus::Facts, self.facts),
            (Corpus::Arithmetic, self.arithmetic),
            (Corpus::Instructions, self.instructions),
        ];
        counts
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(corpus, count)| (corpus, count as usize))
    }
}

/// The job kind `synth`.
#[derive(Clone, Copy, Debug)]
pub struct Synth;

impl TypedJob for Synth {
    type Settings = SynthSettings;
    const KIND: &'static str = "synth";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str =
        "Makes up small corpora about a little world: stories, facts, arithmetic, instructions.";
    const EXAMPLE: &'static str =
        "- id: corpora\n  job: synth\n  with: {stories: 4000, facts: 1232, arithmetic: 4000}\n";

    fn is_seeded(&self, settings: &SynthSettings) -> bool {
        settings.seed.is_none()
    }

    fn inputs(&self, _: &SynthSettings) -> Vec<InputDeclaration> {
        Vec::new()
    }

    fn outputs(&self, settings: &SynthSettings) -> Vec<OutputDeclaration> {
        let output = |corpus: Corpus| {
            OutputDeclaration::new(corpus.name(), DATA_SET_KIND, format!("{}.jsonl", corpus.name()))
        };
        settings.corpora().map(|(corpus, _)| output(corpus)).collect()
    }

    fn check(&self, settings: &SynthSettings, _: &PlanContext<'_>) -> Vec<Problem> {
        if settings.corpora().next().is_none() {
            return vec![
                Problem::new("", "nothing is to be made")
                    .help("ask for records, for instance `stories: 4000`"),
            ];
        }
        Vec::new()
    }

    fn estimate(&self, settings: &SynthSettings, _: &PlanContext<'_>) -> Option<Estimate> {
        let records: usize = settings.corpora().map(|(_, count)| count).sum();
        Some(Estimate {
            bytes_written: Some(records as u64 * 300),
            note: Some(format!("{records} records")),
            ..Estimate::default()
        })
    }

    fn run(&self, settings: &SynthSettings, context: &mut JobContext) -> Result<Outcome, JobError> {
        let seed = settings.seed.unwrap_or(context.seed);
        let mut outcome = Outcome::default();
        for (corpus, count) in settings.corpora() {
            context.cancellation.check()?;
            context.progress.begin(
                &format!("writing {}", corpus.name()),
                Some(count as u64),
                "records",
            );
            let bytes = write_corpus(corpus, count, seed);
            context
                .publication
                .put(&format!("{}.jsonl", corpus.name()), bytes)?;
            context.progress.advance(count as u64);
            outcome = outcome.fact(corpus.name(), count);
        }
        Ok(outcome)
    }
}
