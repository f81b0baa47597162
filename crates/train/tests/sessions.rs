//! Sessions: interrupted anywhere and begun again, they end with the bytes of one that was not.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::sync::Arc;

use tributary_data::{Document, Loader, LoaderOptions};
use tributary_model::{Decoder, Device, LlamaSizes, ModelConfig, TokenBatch, load_config};
use tributary_store::{Artifact, Publication, Store};
use tributary_tensorfile::{Checkpoint, DType};
use tributary_train::{
    AdamWSettings, Cadence, Decay, Follower, Provenance, Schedule, Session, Start, StepMetrics, TrainError,
    Trainer, TrainerOptions,
};

const STEPS: u64 = 12;

fn config() -> ModelConfig {
    ModelConfig::llama(LlamaSizes {
        hidden_size: 32,
        intermediate_size: 64,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        vocab_size: 60,
        max_positions: 64,
        rope_theta: 1e4,
        tied_head: true,
        bos: None,
        eos: Some(0),
    })
}

fn documents() -> Arc<Vec<Document>> {
    let document = |index: u32| {
        let len = 5 + index % 17;
        let tokens = (0..len).map(|at| (at * (index % 3 + 1) + index) % 60).collect();
        Document {
            tokens,
            loss: vec![true; len as usize],
            id: index.to_string(),
            part: 0,
        }
    };
    Arc::new((0..40).map(document).collect())
}

fn options(peak: f64) -> TrainerOptions {
    TrainerOptions {
        schedule: Schedule {
            peak,
            minimum_ratio: 0.1,
            warmup_steps: 3,
            decay_ratio: 0.2,
            steps: STEPS,
            decay: Decay::Cosine,
        },
        adamw: AdamWSettings::default(),
        clip: Some(1.0),
        accumulate: 2,
    }
}

fn begin(weights: Option<&Store>, peak: f64) -> Trainer {
    let loader = Loader::new(documents(), LoaderOptions::packed(2, 32, 5)).unwrap();
    let weights = weights.map(|folder| Checkpoint::open(&folder.directory()).unwrap());
    Trainer::new(
        config(),
        Device::Cpu,
        Start::Random { seed: 9 },
        weights,
        loader,
        options(peak),
    )
    .unwrap()
}

/// Asks to stop after some steps; notes what it hears.
#[derive(Default)]
struct Impatient {
    patience: Option<u64>,
    /// Stops while it measures, that many measurements from now.
    measures: Option<u64>,
    heard: Vec<StepMetrics>,
    remarks: Vec<String>,
}

impl Follower for Impatient {
    fn step(&mut self, metrics: &StepMetrics) {
        self.heard.push(metrics.clone());
    }

    fn checkpoint(&mut self, _: u64) {}

    fn remark(&mut self, text: &str) {
        self.remarks.push(text.to_owned());
    }

    fn validate(&mut self, decoder: &Decoder) -> Result<f64, TrainError> {
        if let Some(left) = &mut self.measures {
            if *left == 0 {
                return Err(TrainError::Cancelled { step: 0 });
            }
            *left -= 1;
        }
        let tokens: Vec<u32> = (0..20).collect();
        Ok(decoder
            .nll(&TokenBatch::document(&tokens))?
            .iter()
            .map(|nll| f64::from(*nll))
            .sum())
    }

    fn is_cancelled(&self) -> bool {
        self.patience
            .is_some_and(|patience| self.heard.len() as u64 >= patience)
    }
}

fn session(store: &Store, cadence: Cadence) -> Session {
    Session::new(store.clone(), cadence, Provenance::default())
}

fn cadence() -> Cadence {
    Cadence {
        checkpoint_every: 4,
        keep_last: 2,
        keep_every: None,
        validate_every: Some(5),
        keep_best: false,
        resumed_at: 0,
    }
}

/// Runs until the end or until patience is over; gives the trainer and what was heard.
fn run(
    store: &Store,
    cadence: Cadence,
    patience: Option<u64>,
) -> (Trainer, Impatient, Result<(), TrainError>) {
    let session = session(store, cadence);
    let mut follower = Impatient {
        patience,
        ..Impatient::default()
    };
    let mut trainer = session
        .trainer(&mut follower, &mut |place| Ok(begin(place, 1e-2)))
        .unwrap();
    let outcome = session.run(&mut trainer, &mut follower);
    (trainer, follower, outcome)
}

/// Every byte that a finished training would publish.
fn published(trainer: &Trainer, name: &str) -> Vec<(String, Vec<u8>)> {
    let place = Store::open(&format!("memory:///train/{name}")).unwrap();
    let publication = Publication::begin(&place);
    trainer.save_state(&publication, "").unwrap();
    publication.commit(Default::default()).unwrap();
    place
        .list("")
        .unwrap()
        .into_iter()
        .map(|meta| (meta.key.clone(), place.get(&meta.key).unwrap().to_vec()))
        .collect()
}

#[test]
fn stopping_anywhere_changes_no_byte() {
    let whole = Store::open("memory:///train/whole").unwrap();
    let (trainer, follower, outcome) = run(&whole, cadence(), None);
    outcome.unwrap();
    let expected = published(&trainer, "whole-published");
    assert_eq!(follower.heard.len() as u64, STEPS);
    assert!(follower.heard[11].loss < follower.heard[0].loss, "it learns");
    assert!(follower.heard[4].validation_loss.is_some() && follower.heard[11].validation_loss.is_some());

    let parts = Store::open("memory:///train/parts").unwrap();
    for patience in [3, 1, 5] {
        let (_, follower, outcome) = run(&parts, cadence(), Some(patience));
        assert!(
            matches!(outcome, Err(TrainError::Cancelled { .. })),
            "{outcome:?}"
        );
        assert_eq!(follower.heard.len() as u64, patience);
    }
    let (trainer, follower, outcome) = run(&parts, cadence(), None);
    outcome.unwrap();
    assert_eq!(follower.remarks, ["goes on after step 9"]);
    assert!(
        published(&trainer, "parts-published") == expected,
        "other bytes after three interruptions"
    );
}

#[test]
fn stopping_while_measuring_loses_neither_the_step_nor_the_measurement() {
    let (trainer, _, outcome) = run(&Store::open("memory:///train/measured").unwrap(), cadence(), None);
    outcome.unwrap();
    let expected = published(&trainer, "measured-published");
    let store = Store::open("memory:///train/stopped-measuring").unwrap();
    // At step 5, and then at step 10.
    for step in [5, 10] {
        let session = session(&store, cadence());
        let mut follower = Impatient {
            measures: Some(step / 5 - 1),
            ..Impatient::default()
        };
        let mut trainer = session
            .trainer(&mut follower, &mut |place| Ok(begin(place, 1e-2)))
            .unwrap();
        let outcome = session.run(&mut trainer, &mut follower);
        assert!(
            matches!(outcome, Err(TrainError::Cancelled { step: stopped }) if stopped == step),
            "{outcome:?}"
        );
    }
    let (trainer, follower, outcome) = run(&store, cadence(), None);
    outcome.unwrap();
    assert_eq!(follower.remarks, ["goes on after step 10"]);
    assert!(published(&trainer, "stopped-measuring-published") == expected);
}

#[test]
fn a_checkpoint_to_be_published_that_is_gone_is_made_again() {
    let best = Cadence {
        keep_best: true,
        ..cadence()
    };
    let (trainer, _, outcome) = run(&Store::open("memory:///train/best").unwrap(), best.clone(), None);
    outcome.unwrap();
    let expected = published(&trainer, "best-published");
    let measured = trainer
        .log()
        .iter()
        .filter_map(|line| Some((line.validation_loss?, line.step)));
    let step = measured.min_by(|a, b| a.0.total_cmp(&b.0)).unwrap().1;

    let store = Store::open("memory:///train/best-gone").unwrap();
    run(&store, best.clone(), None).2.unwrap();
    store
        .child(&format!("step-{step:08}"))
        .unwrap()
        .delete_all()
        .unwrap();
    let (trainer, follower, outcome) = run(&store, best.clone(), None);
    outcome.unwrap();
    let is_said = follower
        .remarks
        .iter()
        .any(|remark| remark.contains("training again from before it"));
    // The last step is the best where the loss falls to the end: then it is simply trained again.
    assert!(is_said || step == STEPS, "{:?}", follower.remarks);
    assert!(published(&trainer, "best-gone-published") == expected);
    let session = session(&store, best);
    let found = session
        .best_checkpoint(&trainer, &mut Impatient::default())
        .unwrap()
        .unwrap();
    assert!(
        found.url().ends_with(&format!("step-{step:08}")),
        "{}",
        found.url()
    );
}

#[test]
fn the_best_of_a_resumed_training_is_one_of_its_own_steps() {
    let store = Store::open("memory:///train/resumed-best").unwrap();
    let cadence = Cadence {
        keep_best: true,
        resumed_at: 10,
        ..cadence()
    };
    let session = session(&store, cadence);
    let mut follower = Impatient::default();
    // The log holds a measurement better than any to come, of a step that is not here.
    let mut trainer = begin(None, 1e-2);
    for _ in 0..10 {
        trainer.step().unwrap();
    }
    trainer.note_validation(0.0);
    session.run(&mut trainer, &mut follower).unwrap();
    let best = session.best_checkpoint(&trainer, &mut follower).unwrap().unwrap();
    assert!(best.url().ends_with("step-00000012"), "{}", best.url());
}

#[test]
fn the_number_of_threads_changes_no_byte() {
    let train = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            let mut trainer = begin(None, 1e-2);
            for _ in 0..4 {
                trainer.step().unwrap();
            }
            published(&trainer, &format!("threads-{threads}"))
        })
    };
    let one = train(1);
    assert!(
        one == train(2) && one == train(5),
        "another number of threads, another model"
    );
}

#[test]
fn a_damaged_checkpoint_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().to_str().unwrap()).unwrap();
    let (_, _, outcome) = run(&store, cadence(), Some(9));
    assert!(matches!(outcome, Err(TrainError::Cancelled { step: 9 })));
    let names: Vec<String> = store.children("").unwrap();
    assert!(
        names.contains(&"step-00000008/".to_owned()) && names.contains(&"step-00000009/".to_owned()),
        "{names:?}"
    );
    assert!(
        !names.contains(&"step-00000004/".to_owned()),
        "only the last two are kept: {names:?}"
    );
    let newest = folder.path().join("step-00000009/optimizer.safetensors");
    let mut bytes = std::fs::read(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&newest, bytes).unwrap();
    let (trainer, follower, outcome) = run(&store, cadence(), None);
    outcome.unwrap();
    assert!(
        follower.remarks[0].contains("step-00000009 is damaged"),
        "{:?}",
        follower.remarks
    );
    assert_eq!(follower.remarks[1], "goes on after step 8");
    let whole = Store::open("memory:///train/undamaged").unwrap();
    let (undamaged, _, _) = run(&whole, cadence(), None);
    assert!(published(&trainer, "damaged-published") == published(&undamaged, "undamaged-published"));
}

#[test]
fn what_is_kept_is_what_was_asked_for() {
    let store = Store::open("memory:///train/kept").unwrap();
    let cadence = Cadence {
        checkpoint_every: 2,
        keep_last: 1,
        keep_every: Some(5),
        validate_every: Some(3),
        keep_best: true,
        resumed_at: 0,
    };
    let (trainer, follower, outcome) = run(&store, cadence.clone(), None);
    outcome.unwrap();
    let measured = follower
        .heard
        .iter()
        .filter_map(|line| Some((line.validation_loss?, line.step)));
    let best = measured.min_by(|a, b| a.0.total_cmp(&b.0)).unwrap().1;
    let session = session(&store, cadence);
    let mut listener = Impatient::default();
    let kept: Vec<u64> = session
        .kept(&trainer, &mut listener)
        .unwrap()
        .into_iter()
        .map(|(step, _)| step)
        .collect();
    assert_eq!(kept, [5, 10]);
    let place = session.best_checkpoint(&trainer, &mut listener).unwrap().unwrap();
    assert!(
        place.url().ends_with(&format!("step-{best:08}")),
        "{}",
        place.url()
    );
    let mut expected = vec![5, 10, 12, best];
    expected.sort_unstable();
    expected.dedup();
    let names: Vec<String> = expected
        .into_iter()
        .map(|step| format!("step-{step:08}/"))
        .collect();
    let mut found = store.children("").unwrap();
    found.retain(|name| name.ends_with('/'));
    assert_eq!(found, names);
    assert_eq!(
        store.pointer("latest").unwrap().read().unwrap().unwrap().target,
        "step-00000012"
    );

    // A checkpoint is a model directory whose manifest tells how far it went.
    let artifact = Artifact::open(&store.child("step-00000012").unwrap()).unwrap();
    let directory = artifact.directory();
    assert_eq!(load_config(&directory).unwrap().layers, 2);
    let recorded = artifact.manifest().facts["distance_squared"]["value"]
        .as_f64()
        .unwrap();
    published(&begin(None, 1e-2), "distance-start");
    let start = Store::open("memory:///train/distance-start").unwrap();
    let (now, then) = (
        Checkpoint::open(&directory).unwrap(),
        Checkpoint::open(&start.directory()).unwrap(),
    );
    let distance: f64 = now
        .tensors()
        .iter()
        .flat_map(|tensor| {
            let then = then.read_f32(then.get(&tensor.name).unwrap()).unwrap();
            now.read_f32(tensor)
                .unwrap()
                .into_iter()
                .zip(then)
                .map(|(a, b)| (f64::from(a) - f64::from(b)).powi(2))
        })
        .sum();
    assert!(
        (recorded - distance).abs() <= 1e-12 * distance,
        "{recorded} != {distance}"
    );
    assert!((trainer.distance_squared(DType::BF16).unwrap() - distance).abs() < 0.05 * distance);
}

#[test]
fn a_loss_that_is_no_number_ends_the_run_before_anything_of_it_is_saved() {
    let store = Store::open("memory:///train/nan").unwrap();
    let session = session(&store, cadence());
    let mut follower = Impatient::default();
    // A rate at which the weights overflow after a few steps.
    let mut trainer = session
        .trainer(&mut follower, &mut |place| Ok(begin(place, 1e30)))
        .unwrap();
    match session.run(&mut trainer, &mut follower) {
        Err(TrainError::NotFinite { step, documents, .. }) => {
            assert!(step > 1 && !documents.is_empty());
            let names = store.children("").unwrap();
            let saved = names
                .iter()
                .filter_map(|name| name.strip_prefix("step-")?.strip_suffix('/')?.parse::<u64>().ok());
            assert!(saved.max().unwrap_or(0) < step, "{names:?}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_state_of_other_data_is_refused() {
    let store = Store::open("memory:///train/other-data").unwrap();
    let publication = Publication::begin(&store);
    let mut trainer = begin(None, 1e-2);
    trainer.step().unwrap();
    trainer.save_state(&publication, "").unwrap();
    publication.commit(Default::default()).unwrap();
    let loader = Loader::new(documents(), LoaderOptions::packed(2, 32, 6)).unwrap();
    let weights = Checkpoint::open(&store.directory()).unwrap();
    let mut other = Trainer::new(
        config(),
        Device::Cpu,
        Start::Model(weights),
        None,
        loader,
        options(1e-2),
    )
    .unwrap();
    let error = other.restore(&store).unwrap_err().to_string();
    assert!(
        error.contains("taken from other data or another order"),
        "{error}"
    );
    let empty = Store::open("memory:///train/nothing").unwrap();
    let error = other.restore(&empty).unwrap_err().to_string();
    assert!(error.contains("warm_start"), "{error}");
}
