//! An extraction from its settings to the published adapter.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use regex::Regex;
use serde_json::{Map, Value, json};
use tributary_store::{Artifact, ManifestDraft, OutputEntry, Producer, Publication, Store};

use super::card::card;
use super::choice::{Choice, Treatment, module_of};
use super::configuration::configuration;
use super::report::{ExtractReport, ExtractedTensor, WholeTensor, groups};
use super::tensor::{Apart, Factors, decompose, info, measure};
use super::weights::Weights;
use crate::compatibility::is_tied;
use crate::diff::{Sums, place};
use crate::error::{MergeError, Result};
use crate::lora::adapter::CONFIGURATION_FILE;
use crate::pieces::{for_each_piece, workers};
use crate::plan::compare;
use crate::run::{Phase, Progress, Watch};
use crate::source::Source;

/// Version of what an extraction does.
const VERSION: u32 = 1;
const RECORD_FILE: &str = "extract.json";
const CARD_FILE: &str = "README.md";
/// Bytes that a matrix in work takes for each of its elements: the difference, and what is made of it.
const BYTES_AN_ELEMENT: u64 = 6;

/// How an adapter is extracted.
#[derive(Clone, Debug)]
pub struct ExtractOptions {
    /// Most columns of B.
    pub rank: usize,
    /// Fewer where this share of ‖Δ‖² is reached earlier.
    pub energy: Option<f64>,
    /// Only tensors whose names match this pattern ...
    pub include: Option<String>,
    /// ... and not this one.
    pub exclude: Option<String>,
    /// Embedding and head, too?
    pub embeddings: bool,
    /// Threads; by default as many as there are cores.
    pub threads: Option<usize>,
    /// Bytes that the matrices in work may take together; one may always be in work.
    pub memory: u64,
}

impl Default for ExtractOptions {
    fn default() -> Self {
        ExtractOptions {
            rank: 32,
            energy: None,
            include: None,
            exclude: None,
            embeddings: false,
            threads: None,
            memory: 4 << 30,
        }
    }
}

/// Is it a pattern that [`ExtractOptions::include`] and `exclude` may be?
///
/// # Errors
/// Why not.
pub fn check_pattern(pattern: &str) -> std::result::Result<(), String> {
    Regex::new(pattern).map(|_| ()).map_err(|error| error.to_string())
}

/// An extraction that is known to fit; [`Self::publish`] does it.
pub struct Extraction {
    model: Source,
    base: Source,
    options: ExtractOptions,
    /// Name, elements and treatment of every tensor that both models have, the largest first.
    tensors: Vec<(String, usize, Treatment)>,
    warnings: Vec<String>,
}

/// What became of a tensor.
enum Done {
    Decomposed(Sums, Option<Factors>),
    Measured(Apart),
}

impl Extraction {
    /// Checks that both models have the same tensors, and decides what becomes of each.
    ///
    /// # Errors
    /// [`MergeError::Incompatible`] with everything that differs; [`MergeError::Model`] for a base that keeps its weights
    /// transposed, or a pattern that is none.
    pub fn new(model: &Source, base: &Source, options: &ExtractOptions) -> Result<Extraction> {
        let refuse = |reason: String| MergeError::Model {
            model: tributary_store::mask(base.reference()),
            reason,
        };
        if base.configuration().get("model_type").and_then(Value::as_str) == Some("gpt2") {
            return Err(refuse(
                "GPT-2 keeps its weights transposed (Conv1D); adapters of it are not made".to_string(),
            ));
        }
        let pattern = |text: &Option<String>| text.as_deref().map(Regex::new).transpose();
        let broken = |error: regex::Error| refuse(error.to_string());
        let choice = Choice {
            include: pattern(&options.include).map_err(broken)?,
            exclude: pattern(&options.exclude).map_err(broken)?,
            embeddings: options.embeddings,
            is_tied: is_tied(&Value::Object(base.configuration().clone())),
        };
        let names = ["base".to_string(), "model".to_string()];
        let [of_base, of_model] = names;
        let warnings = compare(&[(of_base, base.clone()), (of_model, model.clone())])?;
        let all = base.checkpoint().tensors();
        let treatments = choice.treatments(all);
        let mut tensors: Vec<(String, usize, Treatment)> = all
            .iter()
            .filter(|tensor| model.tensor(&tensor.name).is_some())
            .filter_map(|tensor| {
                Some((
                    tensor.name.clone(),
                    tensor.elements(),
                    *treatments.get(&*tensor.name)?,
                ))
            })
            .collect();
        tensors.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        Ok(Extraction {
            model: model.clone(),
            base: base.clone(),
            options: options.clone(),
            tensors,
            warnings,
        })
    }

    /// Elements of all tensors: the unit of the progress that [`Self::publish`] tells.
    pub fn elements(&self) -> u64 {
        self.tensors.iter().map(|(_, elements, _)| *elements as u64).sum()
    }

    /// What the user should know of the two models.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Extracts the adapter and publishes it as an artifact at the root of `out`.
    ///
    /// # Errors
    /// [`MergeError::Occupied`] if `out` holds something else; [`MergeError::Equal`] if no matrix differs;
    /// [`MergeError::NotFinite`]; [`MergeError::Cancelled`]; what reading and writing give. Nothing is visible as an
    /// artifact then.
    pub fn publish(&self, out: &Store, watch: &Watch<'_>) -> Result<(Artifact, ExtractReport)> {
        if Artifact::try_open(out)?.is_none() && out.head(CONFIGURATION_FILE)?.is_some() {
            return Err(occupied(out, "an adapter without a manifest"));
        }
        let done = self.work(watch)?;
        let report = self.report(&done);
        if report.decomposed.is_empty() {
            return Err(MergeError::Equal {
                model: tributary_store::mask(self.model.reference()),
                base: tributary_store::mask(self.base.reference()),
            });
        }
        let publication = Publication::begin(out);
        let parameters = self.write(&publication, &done)?;
        let report = ExtractReport { parameters, ..report };
        publication.put(RECORD_FILE, json_file(&report)?)?;
        let (model, base) = (
            last_part(self.model.reference()),
            last_part(self.base.reference()),
        );
        publication.put(CARD_FILE, card(&model, &base, &report).into_bytes())?;
        let artifact = publication.commit(self.manifest(&report));
        let artifact = artifact.map_err(|error| match error.is_conflict() {
            true => occupied(out, "another artifact"),
            false => error.into(),
        })?;
        Ok((artifact, report))
    }

    fn work(&self, watch: &Watch<'_>) -> Result<Vec<Done>> {
        let (counted, total) = (AtomicU64::new(0), self.elements());
        let done: Vec<OnceLock<Done>> = self.tensors.iter().map(|_| OnceLock::new()).collect();
        let largest = self
            .tensors
            .first()
            .map_or(0, |(_, elements, _)| *elements as u64);
        let fit = self.options.memory / (largest * BYTES_AN_ELEMENT).max(1);
        let workers =
            workers(self.options.threads, true).min(usize::try_from(fit).unwrap_or(usize::MAX).max(1));
        for_each_piece(
            self.tensors.len(),
            workers,
            watch.cancel,
            || (),
            |(), piece| {
                let (name, elements, treatment) = &self.tensors[piece];
                let (model, base) = (&self.model, &self.base);
                let found = match treatment {
                    Treatment::Decompose { .. } => {
                        let (sums, factors) =
                            decompose(model, base, name, self.options.rank, self.options.energy)?;
                        Done::Decomposed(sums, factors)
                    }
                    Treatment::Save | Treatment::Leave(_) => Done::Measured(measure(model, base, name)?),
                };
                let _ = done[piece].set(found);
                let elements = *elements as u64;
                (watch.progress)(Progress {
                    phase: Phase::Statistics,
                    done: counted.fetch_add(elements, Ordering::Relaxed) + elements,
                    total,
                });
                Ok(())
            },
        )?;
        let missing = || MergeError::Internal("a tensor was passed over".to_string());
        done.into_iter()
            .map(|done| done.into_inner().ok_or_else(missing))
            .collect()
    }

    /// Names and treatments beside what became of each tensor, by name.
    fn outcomes<'a>(&'a self, done: &'a [Done]) -> BTreeMap<&'a str, (Treatment, &'a Done)> {
        let tensors = self.tensors.iter().zip(done);
        tensors
            .map(|((name, _, treatment), done)| (name.as_str(), (*treatment, done)))
            .collect()
    }

    fn report(&self, done: &[Done]) -> ExtractReport {
        let (mut all, mut kept) = (0.0, 0.0);
        let mut report = ExtractReport {
            distance: 0.0,
            energy_kept: 1.0,
            parameters: 0,
            decomposed: Vec::new(),
            groups: Vec::new(),
            saved: Vec::new(),
            not_covered: Vec::new(),
            equal: 0,
        };
        for (name, (treatment, done)) in self.outcomes(done) {
            match (treatment, done) {
                (_, Done::Decomposed(sums, Some(factors))) => {
                    all += sums.difference;
                    kept += sums.difference * factors.energy_kept;
                    report.decomposed.push(ExtractedTensor {
                        name: name.to_string(),
                        kind: place(name).1,
                        rank: factors.rank,
                        distance: sums.difference.sqrt(),
                        energy_kept: factors.energy_kept,
                        relative_error: factors.relative_error,
                    });
                }
                (_, Done::Measured(apart)) if !apart.is_equal => {
                    let difference = apart.sums.map(|sums| sums.difference);
                    let reason = match treatment {
                        Treatment::Leave(reason) => reason,
                        _ => "",
                    };
                    all += difference.unwrap_or(0.0);
                    let whole = WholeTensor {
                        name: name.to_string(),
                        distance: difference.map(f64::sqrt),
                        relative: apart
                            .sums
                            .filter(|sums| sums.a > 0.0)
                            .map(|sums| (sums.difference / sums.a).sqrt()),
                        reason,
                    };
                    if reason.is_empty() {
                        kept += difference.unwrap_or(0.0);
                        report.saved.push(whole);
                    } else {
                        report.not_covered.push(whole);
                    }
                }
                _ => report.equal += 1,
            }
        }
        report.distance = all.sqrt();
        report.energy_kept = if all > 0.0 { (kept / all).min(1.0) } else { 1.0 };
        report.groups = groups(&report.decomposed);
        report
    }

    /// Writes configuration and weights; gives the number of elements.
    fn write(&self, publication: &Publication, done: &[Done]) -> Result<u64> {
        let outcomes = self.outcomes(done);
        let mut ranks: BTreeMap<String, usize> = BTreeMap::new();
        let mut saved: BTreeSet<String> = BTreeSet::new();
        let mut weights = Weights::default();
        for (name, (treatment, done)) in &outcomes {
            let module = module_of(name);
            match (treatment, done) {
                (Treatment::Decompose { is_embedding }, Done::Decomposed(_, Some(factors))) => {
                    ranks.insert(module.to_string(), factors.rank);
                    weights.add_factors(module, *is_embedding, factors);
                }
                (Treatment::Save, Done::Measured(apart)) if !apart.is_equal => {
                    saved.insert(module.to_string());
                }
                _ => {}
            }
        }
        // A module that is saved is saved whole.
        for (name, (treatment, _)) in &outcomes {
            if *treatment == Treatment::Save && saved.contains(module_of(name)) {
                weights.add_stored(info(&self.model, name)?);
            }
        }
        let base = tributary_store::mask(self.base.reference());
        let fields = configuration(&base, &ranks, &saved, self.base.checkpoint().tensors());
        publication.put(CONFIGURATION_FILE, json_file(&fields)?)?;
        weights.write(publication, &self.model)
    }

    fn manifest(&self, report: &ExtractReport) -> ManifestDraft {
        let output = OutputEntry {
            kind: "adapter".to_string(),
            path: String::new(),
        };
        let options = &self.options;
        ManifestDraft {
            kind: "adapter".to_string(),
            inputs: vec![self.base.lineage("base"), self.model.lineage("model")],
            settings: json!({
                "rank": options.rank, "energy": options.energy, "include": options.include, "exclude": options.exclude,
                "embeddings": options.embeddings,
            }),
            outputs: [("adapter".to_string(), output)].into(),
            facts: Map::from_iter([
                ("parameters".to_string(), json!(report.parameters)),
                ("energy_kept".to_string(), json!(report.energy_kept)),
            ]),
            producer: Producer {
                name: "tributary".to_string(),
                version: env!("CARGO_PKG_VERSION").to_string(),
                job: "lora_extract".to_string(),
                job_version: VERSION,
            },
        }
    }
}

/// A value as the text of a file.
fn json_file(value: &impl serde::Serialize) -> Result<Vec<u8>> {
    let text = serde_json::to_vec_pretty(value);
    let mut text = text.map_err(|error| MergeError::Internal(error.to_string()))?;
    text.push(b'\n');
    Ok(text)
}

fn last_part(reference: &str) -> String {
    let last = reference.trim_end_matches('/').rsplit('/').next();
    tributary_store::mask(last.unwrap_or(reference))
}

fn occupied(out: &Store, what: &str) -> MergeError {
    MergeError::Occupied {
        at: out.url(),
        what: what.to_string(),
    }
}
