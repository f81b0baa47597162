//! Doing a plan: the passes, the small files, the publication.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use serde_json::{Map, Value, json};
use tributary_store::{Artifact, Lineage, ManifestDraft, OutputEntry, Producer, Publication, Store};

use crate::card::{CARD_FILE, CARD_MARK, model_card};
use crate::engine::{Made, Output, Pass, Sizing, Work};
use crate::error::{MergeError, Result};
use crate::method::{FirstPass, Measure, Of, OnlyMeasure, Rule, Statistics};
use crate::plan::MergePlan;
use crate::portion::Portion;
use crate::record::{Execution, MergeRecord, MergeReport, RECORD_FILE};
use crate::source::Source;
use crate::statistics::GramTable;
use crate::vocabulary::{TOKENIZER_FILES, is_another_form, is_hidden_by_template};

/// Version of what merging does with the same document and models; part of cache keys.
pub const MERGE_VERSION: u32 = 2;

/// Largest model card that is looked into.
const MAX_CARD: u64 = 1 << 20;

/// How far a merge is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub phase: Phase,
    /// Bytes of input done in this phase.
    pub done: u64,
    /// Bytes of input of this phase.
    pub total: u64,
}

/// A part of a merge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Measuring the task vectors.
    Statistics,
    /// Combining and writing.
    Merge,
}

/// How the caller follows and stops a merge.
pub struct Watch<'a> {
    /// Called after every block, from any thread.
    pub progress: &'a (dyn Fn(Progress) + Sync),
    /// Looked at before every block: true ends the merge with [`MergeError::Cancelled`].
    pub cancel: &'a AtomicBool,
}

/// What became of a merge.
#[derive(Debug)]
pub enum Published {
    /// It is published; here or, in several processes, by another one.
    Whole(Artifact, Box<MergeReport>),
    /// The files of this process are finished; those of others are not.
    Waiting(Progressed),
}

/// How far a merge is whose files are not all finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Progressed {
    /// Files of tensors that are finished.
    pub finished: usize,
    /// All files of tensors.
    pub files: usize,
    /// Bytes of tensors that this run read.
    #[serde(skip)]
    pub bytes_read: u64,
}

/// What was written of a merge that somebody else publishes.
#[derive(Debug)]
pub enum Written {
    /// All of it.
    Whole(Box<MergeReport>),
    /// The files of this process.
    Portion(Progressed),
}

impl MergePlan {
    /// Merges and publishes the result as an artifact at the root of `out`: tensors, configuration, tokenizer, model
    /// card, record, and last the manifest. The very same artifact that is there already is success. What an earlier run of
    /// this merge that was killed had finished is taken as it is.
    ///
    /// # Errors
    /// [`MergeError::Occupied`] if `out` holds something else; [`MergeError::Cancelled`]; what reading and writing
    /// give. Nothing is visible as an artifact then.
    pub fn publish(&self, out: &Store, watch: &Watch<'_>) -> Result<Published> {
        if let Some(artifact) = self.inspect(out)?.filter(|_| self.options.portion.of > 1) {
            // The others were faster, and there is nothing left to make.
            let record = self.record_of(&artifact, out)?;
            let execution = Execution::default();
            return Ok(Published::Whole(
                artifact,
                Box::new(MergeReport { record, execution }),
            ));
        }
        // Beside an artifact nothing can be kept: a merge of models that are known by their headers only is made again and
        // compared with what is there.
        let publication = match Artifact::try_open(out)? {
            Some(_) => Publication::begin(out),
            None => Publication::resume(out, &self.key())?,
        };
        let mut report = match self.write(&publication, watch)? {
            Written::Whole(report) => report,
            Written::Portion(progressed) => return Ok(Published::Waiting(progressed)),
        };
        let start = Instant::now();
        let artifact = publication
            .commit(self.manifest(&report.record))
            .map_err(|error| match error {
                // Models without manifests are known by their headers: only the result shows that they changed.
                error if error.is_conflict() => {
                    occupied(out, "another artifact, of the same settings and other models")
                }
                error => error.into(),
            })?;
        report.execution.seconds_finish += start.elapsed().as_secs_f64();
        Ok(Published::Whole(artifact, report))
    }

    /// The result of this very merge if `out` holds it already. That can be told only of models that are artifacts:
    /// with others [`Self::publish`] merges again and compares.
    ///
    /// # Errors
    /// [`MergeError::Occupied`] if `out` holds something else.
    pub fn find(&self, out: &Store) -> Result<Option<(Artifact, MergeRecord)>> {
        let is_known = self
            .inputs
            .iter()
            .chain(&self.base)
            .all(|(_, source)| source.is_known_by_content())
            && self.tokenizer.is_known_by_content();
        let Some(artifact) = self.inspect(out)?.filter(|_| is_known) else {
            return Ok(None);
        };
        let record = self.record_of(&artifact, out)?;
        Ok(Some((artifact, record)))
    }

    fn record_of(&self, artifact: &Artifact, out: &Store) -> Result<MergeRecord> {
        let text = artifact.read(RECORD_FILE)?;
        serde_json::from_slice(&text).map_err(|error| {
            let what = format!("an artifact with a broken {RECORD_FILE} ({error})");
            occupied(out, &what)
        })
    }

    /// Bytes of files of tensors that this process has yet to make at `out`.
    ///
    /// # Errors
    /// What looking at the place gives.
    pub fn bytes_to_make(&self, out: &Store) -> Result<u64> {
        let finished = self.finished(&Publication::resume(out, &self.key())?)?;
        let files = self.layout.shards.iter().zip(&finished).enumerate();
        let mine =
            files.filter(|(file, (_, finished))| self.options.portion.has(*file) && finished.is_none());
        Ok(mine.map(|(_, (shard, _))| shard.len).sum())
    }

    /// The artifact at `out` if it claims to be of this merge, nothing if there is no artifact.
    fn inspect(&self, out: &Store) -> Result<Option<Artifact>> {
        let Some(artifact) = Artifact::try_open(out)? else {
            return self.check_files(out).map(|()| None);
        };
        let (there, ours) = (artifact.manifest(), self.lineage());
        if there.producer != producer() || there.inputs != ours || there.settings != self.spec_as_value() {
            let what = format!("another artifact ({} {})", there.producer.job, there.kind);
            return Err(occupied(out, &what));
        }
        Ok(Some(artifact))
    }

    /// Refuses a folder with the files of a model that is no artifact: they would be replaced. What a commit of ours
    /// left that was killed half-way is another matter; it begins with the card.
    fn check_files(&self, out: &Store) -> Result<()> {
        let shards = self.layout.shards.iter().map(|shard| shard.file.as_str());
        for name in std::iter::once("config.json").chain(shards) {
            if out.head(name)?.is_none() {
                continue;
            }
            let card = out.head(CARD_FILE)?.filter(|card| card.size <= MAX_CARD);
            if card.is_some() && String::from_utf8_lossy(&out.get(CARD_FILE)?).contains(CARD_MARK) {
                break;
            }
            return Err(occupied(out, &format!("a model without a manifest ({name})")));
        }
        Ok(())
    }

    /// Merges and writes the files of this process, and if all files are finished then every other object of the result; leaves
    /// the manifest to the caller, who may add objects. In a publication that can be resumed, finished files are not made
    /// again, and what is finished now is kept.
    ///
    /// # Errors
    /// As [`Self::publish`].
    pub fn write(&self, publication: &Publication, watch: &Watch<'_>) -> Result<Written> {
        let sizing = self.sizing(publication.store().local_path().is_some())?;
        let mut execution = Execution {
            workers: sizing.workers,
            block_elements: sizing.block,
            ..Execution::default()
        };
        let finished = self.finished(publication)?;
        let is_made_here = |shard: usize| {
            self.options.portion.has(shard) && finished.get(shard).is_some_and(|finished| finished.is_none())
        };
        let mut statistics = self.statistics(publication, watch, sizing, &mut execution)?;
        let rules = self.rules(&statistics)?;

        let start = Instant::now();
        let output = Output::begin(publication, &self.layout.shards, &self.tensors, is_made_here)?;
        let total = self.bytes_by(&rules, is_made_here);
        let mut made = self.pass(
            watch,
            Phase::Merge,
            sizing,
            &rules,
            Some(&output),
            total,
            &mut execution,
        )?;
        execution.seconds_merge = start.elapsed().as_secs_f64();

        let start = Instant::now();
        output.finish()?;
        let lengths = self
            .layout
            .shards
            .iter()
            .enumerate()
            .map(|(shard, file)| (shard, file.len));
        let (new, found): (Vec<_>, Vec<_>) = lengths.partition(|(shard, _)| is_made_here(*shard));
        execution.bytes_written = new.iter().map(|(_, bytes)| bytes).sum();
        let finished = self.finished(publication)?;
        if publication.is_resumable() {
            let missing = finished.iter().filter(|finished| finished.is_none()).count();
            if missing > 0 && self.options.portion.of == 1 {
                // What was kept is gone: another merge was published here meanwhile.
                return Err(occupied(
                    publication.store(),
                    "another artifact, published while this one was being made",
                ));
            }
            if missing > 0 {
                return Ok(Written::Portion(Progressed {
                    finished: finished.len() - missing,
                    files: finished.len(),
                    bytes_read: execution.bytes_read,
                }));
            }
            execution.bytes_found = found.iter().map(|(_, bytes)| bytes).sum();
            for file in finished.into_iter().flatten() {
                self.put_by_name(file, &mut made);
            }
        }
        if self.measures_on_the_way() {
            statistics = Statistics::Gram(self.table(&made));
        }
        if let Some(index) = &self.layout.index {
            publication.put(tributary_tensorfile::INDEX_FILE, index.clone())?;
        }
        self.copy_small_files(publication)?;
        let record = self.record(&made, &statistics);
        publication.put(CARD_FILE, model_card(self, &record).into_bytes())?;
        let mut text =
            serde_json::to_vec_pretty(&record).map_err(|error| MergeError::Internal(error.to_string()))?;
        text.push(b'\n');
        publication.put(RECORD_FILE, text)?;
        execution.seconds_finish = start.elapsed().as_secs_f64();
        Ok(Written::Whole(Box::new(MergeReport { record, execution })))
    }

    /// The manifest of a merge that is an artifact of its own: lineage, settings, output `model`.
    pub fn manifest(&self, record: &MergeRecord) -> ManifestDraft {
        ManifestDraft {
            kind: "model".to_string(),
            inputs: self.lineage(),
            settings: self.spec_as_value(),
            outputs: [(
                "model".to_string(),
                OutputEntry {
                    kind: "model".to_string(),
                    path: String::new(),
                },
            )]
            .into(),
            facts: Map::from_iter([("parameters".to_string(), json!(record.merged_parameters))]),
            producer: producer(),
        }
    }

    pub(crate) fn lineage(&self) -> Vec<Lineage> {
        let base = self.base.iter().map(|(_, source)| source.lineage("base"));
        let is_base = |source: &Source| {
            let base = self.base.as_ref();
            base.is_some_and(|(_, base)| base.reference() == source.reference())
        };
        let merged: Vec<usize> = self.merged().collect();
        let models = self.inputs.iter().enumerate();
        let models = models.filter(|(input, (_, source))| merged.contains(input) || !is_base(source));
        let models = models.map(|(_, (name, source))| source.lineage(&format!("models.{name}")));
        let is_lender = |source: &&Source| {
            !is_base(source)
                && self
                    .inputs
                    .iter()
                    .all(|(_, input)| input.reference() != source.reference())
        };
        let lender = Some(&self.tokenizer).filter(is_lender);
        let lender = lender.map(|source| source.lineage("tokenizer"));
        base.chain(models).chain(lender).collect()
    }

    fn spec_as_value(&self) -> Value {
        serde_json::to_value(&self.spec).unwrap_or(Value::Null)
    }

    /// What must be known of all tensors before the first can be made.
    fn statistics(
        &self,
        publication: &Publication,
        watch: &Watch<'_>,
        sizing: Sizing,
        execution: &mut Execution,
    ) -> Result<Statistics> {
        let start = Instant::now();
        let statistics = match self.first_pass() {
            FirstPass::None => Statistics::None,
            FirstPass::RecordedNorms => Statistics::RecordedNorms(self.recorded_norms()?),
            FirstPass::Gram => {
                let measure = |process| self.measure(process, watch, sizing, execution);
                let table = self.table(&self.measured_by_all(publication, watch, measure)?);
                if let Some((tensor, model)) = table.first_not_finite() {
                    let model = self.merged_names().get(model).cloned().unwrap_or_default();
                    return Err(MergeError::NotFinite {
                        model,
                        tensor: tensor.to_string(),
                    });
                }
                Statistics::Gram(table)
            }
        };
        execution.seconds_statistics = start.elapsed().as_secs_f64();
        Ok(statistics)
    }

    /// Measures the task vectors in the files that one process makes.
    fn measure(
        &self,
        process: usize,
        watch: &Watch<'_>,
        sizing: Sizing,
        execution: &mut Execution,
    ) -> Result<Vec<Made>> {
        let portion = Portion {
            index: process,
            ..self.options.portion
        };
        let is_measured = |tensor: &Work| !tensor.is_copied && portion.has(tensor.shard);
        let measure = || Box::new(OnlyMeasure(Measure::Gram(Of::TaskVectors))) as Box<dyn Rule>;
        let rules: Vec<Option<Box<dyn Rule>>> = self
            .tensors
            .iter()
            .map(|tensor| is_measured(tensor).then(measure))
            .collect();
        let measured = self.tensors.iter().filter(|tensor| is_measured(tensor));
        let total = measured.map(Work::bytes).sum();
        self.pass(watch, Phase::Statistics, sizing, &rules, None, total, execution)
    }

    /// The inner products of the task vectors, of every tensor that was measured.
    fn table(&self, made: &[Made]) -> GramTable {
        let measured = self.tensors.iter().zip(made);
        let measured = measured.filter_map(|(tensor, made)| Some((tensor.place.clone(), made.gram.clone()?)));
        GramTable::new(self.merged_names().len(), measured)
    }

    #[expect(clippy::too_many_arguments, reason = "one call of a pass, from two places")]
    fn pass(
        &self,
        watch: &Watch<'_>,
        phase: Phase,
        sizing: Sizing,
        rules: &[Option<Box<dyn Rule>>],
        output: Option<&Output>,
        total: u64,
        execution: &mut Execution,
    ) -> Result<Vec<Made>> {
        let progress = |done, total| (watch.progress)(Progress { phase, done, total });
        let pass = Pass {
            inputs: &self.inputs,
            tensors: &self.tensors,
            rules,
            footprint: &self.footprint,
            sizing,
            output,
            on_the_way: self
                .measures_on_the_way()
                .then_some(Measure::Gram(Of::TaskVectors)),
            cancel: watch.cancel,
            total,
            progress: &progress,
        };
        let moved = pass.run()?;
        execution.bytes_read += moved.read;
        execution.peak_buffer_bytes = execution.peak_buffer_bytes.max(moved.peak_buffers);
        Ok(moved.made)
    }

    fn copy_small_files(&self, publication: &Publication) -> Result<()> {
        publication.put("config.json", self.configuration.clone())?;
        // The lead's settings for generation may name tokens that only its own tokenizer has.
        if let Some(bytes) = self.tokenizer.small_file("generation_config.json")? {
            publication.put("generation_config.json", bytes)?;
        }
        for name in TOKENIZER_FILES {
            let changed = self.tokenizer_files.get(*name).cloned();
            let is_hidden = self.spec.chat_template.is_some() && is_hidden_by_template(name);
            // Other forms of the tokenizer lack the tokens that were added.
            let is_outdated = self.tokenizer_files.contains_key(TOKENIZER_FILES[0]) && is_another_form(name);
            let own = || {
                if is_hidden || is_outdated {
                    Ok(None)
                } else {
                    self.tokenizer.small_file(name)
                }
            };
            if let Some(bytes) = changed.map_or_else(own, |bytes| Ok(Some(bytes)))? {
                publication.put(name, bytes)?;
            }
        }
        Ok(())
    }
}

fn producer() -> Producer {
    Producer {
        name: "tributary".to_string(),
        version: env!("CARGO_PKG_VERSION").to_string(),
        job: "merge".to_string(),
        job_version: MERGE_VERSION,
    }
}

fn occupied(out: &Store, what: &str) -> MergeError {
    MergeError::Occupied {
        at: out.url(),
        what: what.to_string(),
    }
}
