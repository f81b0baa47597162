//! Every family of decoders beside transformers: logits in one pass, and token by token with a cache.

use std::ffi::OsStr;

use tributary_model::{Decoder, Device, KeyValueCache, TokenBatch, specs};
use tributary_tensorfile::LocalDirectory;

use crate::python::Python;

/// Of every logit, beside the largest: both compute in f32, in different orders.
const TOLERANCE: f32 = 2e-5;

#[test]
fn every_family_computes_what_transformers_does() {
    let Some(python) = Python::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let arguments: [&OsStr; 1] = [folder.path().as_ref()];
    let answers = python.ask("families.py", &arguments);
    let answers = answers.as_object().unwrap();
    assert_eq!(answers.len(), 6);
    for (name, answer) in answers {
        let place = folder.path().join(name);
        let decoder = Decoder::load(&LocalDirectory::new(&place), Device::Cpu).unwrap();
        let tokens: Vec<u32> = serde_json::from_value(answer["tokens"].clone()).unwrap();
        let theirs: Vec<Vec<f32>> = serde_json::from_value(answer["logits"].clone()).unwrap();
        let largest = theirs
            .iter()
            .flatten()
            .fold(0.0f32, |largest, logit| largest.max(logit.abs()));
        let ours = decoder.logits(&TokenBatch::document(&tokens)).unwrap();
        let mut cache = KeyValueCache::new(decoder.config(), Device::Cpu);
        // Three tokens at once, then one by one.
        let mut stepped = vec![decoder.extend(&tokens[..3], &mut cache).unwrap()];
        for token in &tokens[3..] {
            stepped.push(decoder.extend(&[*token], &mut cache).unwrap());
        }
        let mut worst = 0.0f32;
        for (at, theirs) in theirs.iter().enumerate() {
            let row = &ours[at * theirs.len()..][..theirs.len()];
            let cached = at.checked_sub(2).map(|at| stepped[at].as_slice());
            for (place, logit) in theirs.iter().enumerate() {
                worst = worst.max((row[place] - logit).abs());
                worst = worst.max(cached.map_or(0.0, |cached| (cached[place] - logit).abs()));
            }
        }
        eprintln!("{name}: logits within {:.1e} of the largest", worst / largest);
        assert!(worst <= TOLERANCE * largest, "{name}: {worst} of {largest}");
        let elements: usize = specs(decoder.config())
            .iter()
            .map(|spec| spec.shape.iter().product::<usize>())
            .sum();
        assert_eq!(decoder.config().parameters(), elements, "{name}");
    }
}
