//! Calibration errors as by their definitions in numpy, and Block Influence as under transformers with hooks.

use std::ffi::OsStr;
use std::path::Path;

use serde_json::{Value, json};
use tributary_data::{Document, Tokenizer};
use tributary_evaluate::{CalibrationWanted, HiddenStates, LikelihoodOptions, Measured, Wanted, measure};
use tributary_model::{Decoder, Device, TokenBatch};
use tributary_store::Store;
use tributary_tensorfile::LocalDirectory;

use crate::python::Python;
use crate::shared;
use crate::smollm2::{gguf, import};

const BINS: [usize; 4] = [10, 15, 20, 100];
/// Positions whose logits numpy is given: 100 MB.
const POSITIONS: usize = 512;
/// Tokens of a window, and windows, of Block Influence.
const WINDOW: usize = 256;
const WINDOWS: usize = 8;

/// SmolLM2 and so many tokens of real text.
fn subject(folder: &Path, tokens: usize) -> Option<(String, Decoder, Vec<u32>)> {
    let (gguf, corpus) = (gguf()?, shared("data/wikitext2/valid.txt")?);
    let artifact = import(&gguf, folder);
    let decoder = Decoder::load(&LocalDirectory::new(&artifact), Device::Cpu).unwrap();
    let tokenizer = Tokenizer::load(&Store::open(&artifact).unwrap()).unwrap();
    let text: String = std::fs::read_to_string(corpus)
        .unwrap()
        .chars()
        .take(tokens * 8)
        .collect();
    let mut ids = tokenizer.encode_plain(&text).unwrap();
    ids.truncate(tokens);
    assert_eq!(ids.len(), tokens);
    Some((artifact, decoder, ids))
}

fn measured(decoder: &Decoder, windows: &[&[u32]], wanted: &Wanted) -> Measured {
    let document = |(number, tokens): (usize, &&[u32])| Document {
        tokens: tokens.to_vec(),
        loss: vec![true; tokens.len()],
        id: number.to_string(),
        part: 0,
    };
    let documents: Vec<Document> = windows.iter().enumerate().map(document).collect();
    measure(
        decoder,
        &documents,
        &LikelihoodOptions::default(),
        wanted,
        &mut |_, _| true,
    )
    .unwrap()
}

#[test]
fn calibration_errors_are_those_of_the_definitions() {
    let Some(python) = Python::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let Some((_, decoder, ids)) = subject(folder.path(), POSITIONS + 1) else {
        return;
    };

    let input = TokenBatch::document(&ids[..POSITIONS]);
    let logits: Vec<u8> = decoder
        .logits(&input)
        .unwrap()
        .iter()
        .flat_map(|logit| logit.to_le_bytes())
        .collect();
    let [raw, targets] = ["logits.f32", "targets.json"].map(|name| folder.path().join(name));
    std::fs::write(&raw, logits).unwrap();
    std::fs::write(&targets, json!(ids[1..]).to_string()).unwrap();
    let vocabulary = decoder.config().vocab_size.to_string();
    let bins = BINS.map(|bins| bins.to_string());
    let mut arguments: Vec<&OsStr> = vec![raw.as_ref(), vocabulary.as_ref(), targets.as_ref()];
    arguments.extend(bins.iter().map(OsStr::new));
    let theirs = python.ask("calibration.py", &arguments);

    for (bins, theirs) in BINS.iter().zip(theirs.as_array().unwrap()) {
        let wanted = Wanted {
            calibration: Some(CalibrationWanted {
                bins: *bins,
                logarithmic: false,
                class_wise: true,
            }),
            ..Wanted::default()
        };
        let ours = measured(&decoder, &[&ids], &wanted).calibration.unwrap();
        let pairs = [
            ("ece", ours.ece),
            ("class_wise_ece", ours.class_wise_ece.unwrap()),
            ("full_ece", ours.full_ece),
        ];
        for (name, ours) in pairs {
            let theirs = theirs[name].as_f64().unwrap();
            eprintln!(
                "{name}, {bins} bins: {ours:.9}, {:.1e} from its definition",
                (ours - theirs).abs()
            );
            assert!(
                (ours - theirs).abs() < 1e-6,
                "{name}, {bins} bins: {ours} but {theirs}"
            );
        }
    }
}

#[test]
fn layers_are_as_influential_as_transformers_says() {
    let Some(python) = Python::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let Some((artifact, decoder, ids)) = subject(folder.path(), WINDOW * WINDOWS) else {
        return;
    };
    let windows: Vec<&[u32]> = ids.chunks(WINDOW).collect();
    let wanted = Wanted {
        block_influence: true,
        hidden_states: true,
        ..Wanted::default()
    };
    // Of a document the last token is predicted and not read: transformers reads as much.
    let read: Vec<&[u32]> = windows.iter().map(|window| &window[..WINDOW - 1]).collect();
    let file = folder.path().join("windows.json");
    std::fs::write(&file, json!(read).to_string()).unwrap();
    let answer = python.ask("block_influence.py", &[artifact.as_ref(), file.as_os_str()]);
    let theirs: Vec<f64> = answer["influence"]
        .as_array()
        .unwrap()
        .iter()
        .map(|value| value.as_f64().unwrap())
        .collect();

    let found = measured(&decoder, &windows, &wanted);
    states_are(&found.hidden_states.unwrap(), &answer["states"]);
    let ours = found.block_influence.unwrap();
    assert_eq!(ours.tokens as usize, (WINDOW - 1) * WINDOWS);
    let worst = ours
        .layers
        .iter()
        .zip(&theirs)
        .map(|(ours, theirs)| (ours - theirs).abs())
        .fold(0.0, f64::max);
    let lowest = |layers: &[f64]| {
        let mut order: Vec<usize> = (0..layers.len()).collect();
        order.sort_by(|a, b| layers[*a].total_cmp(&layers[*b]));
        let mut lowest = order[..10].to_vec();
        lowest.sort_unstable();
        lowest
    };
    eprintln!(
        "Block Influence: at most {worst:.1e} apart; the ten lowest are {:?}",
        lowest(&ours.layers)
    );
    assert!(worst < 1e-3, "{:?} but {theirs:?}", ours.layers);
    assert_eq!(lowest(&ours.layers), lowest(&theirs));
}

/// Statistics of hidden states are those of transformers, to a ten-thousandth of each.
fn states_are(ours: &HiddenStates, theirs: &Value) {
    let theirs = theirs.as_array().unwrap();
    assert_eq!(ours.places.len(), theirs.len());
    let mut worst = 0.0f64;
    for (place, (ours, theirs)) in ours.places.iter().zip(theirs).enumerate() {
        for (at, ours) in [ours.norm, ours.largest, ours.alike].into_iter().enumerate() {
            let theirs = theirs[at].as_f64().unwrap();
            let apart = (ours - theirs).abs() / theirs.abs();
            assert!(apart < 1e-4, "place {place}, statistic {at}: {ours} but {theirs}");
            worst = worst.max(apart);
        }
    }
    eprintln!("hidden states: at most {worst:.1e} apart, of each statistic");
}

#[test]
fn smollm2_is_best_calibrated_near_temperature_one() {
    let folder = tempfile::tempdir().unwrap();
    let Some((_, mut decoder, ids)) = subject(folder.path(), WINDOW * WINDOWS) else {
        return;
    };
    let windows: Vec<&[u32]> = ids.chunks(WINDOW).collect();
    let wanted = Wanted {
        calibration: Some(CalibrationWanted {
            bins: 15,
            logarithmic: false,
            class_wise: false,
        }),
        ..Wanted::default()
    };
    // Logits are linear in what the last normalisation gives, which is linear in its weights.
    let norm = decoder.weights.norm.clone();
    let errors = [0.5, 0.7, 1.0, 1.4, 2.0].map(|temperature: f64| {
        decoder.weights.norm = norm.clone() / temperature;
        let found = measured(&decoder, &windows, &wanted).calibration.unwrap();
        let stderr = found.full_ece_stderr.unwrap();
        eprintln!(
            "temperature {temperature}: Full-ECE {:.4} ± {stderr:.4}",
            found.full_ece
        );
        found.full_ece
    });
    let [cold, cool, one, warm, hot] = errors;
    // Not ever higher with the temperature: a distribution so flat that all of it lies in the first bin has no error.
    assert!(cold > cool && cool > one && warm > one && hot > one, "{errors:?}");
    assert!(one < 0.05 && cold > 3.0 * one && hot > 3.0 * one, "{errors:?}");
}
