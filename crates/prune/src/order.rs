//! Which layers go.
//!
//! A metric gives every layer a number, and the lowest go: all at once, or one by one with the rest measured again; or a
//! stretch of consecutive layers is chosen as a whole. The same for the layers' attention alone, or their feed-forward
//! networks.

use serde::{Deserialize, Serialize};
use tributary_data::Document;
use tributary_evaluate::{LikelihoodOptions, Measured, Wanted, measure};
use tributary_model::{Decoder, Part, mix};

use crate::error::{PruneError, Result};

/// What decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// Block Influence: how little a layer turns its input (equation 1).
    BlockInfluence,
    /// How little a layer adds: E ‖f(x)‖/‖x + f(x)‖ (figure 5 of the paper).
    RelativeMagnitude,
    /// How little the likelihood falls without it; a pass for every layer.
    Likelihood,
    /// From the first layer after layer 0 on: a baseline.
    Sequential,
    /// From the last layer on: a baseline.
    Reverse,
    /// By chance: a baseline.
    Random {
        /// Which chance.
        seed: u64,
    },
}

/// How what is measured is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// The lowest, all at once.
    #[default]
    OneShot,
    /// The lowest, then the lowest of what is left, measured again.
    Iterative,
    /// The stretch of consecutive layers that together turn their input least; for [`By::BlockInfluence`].
    Stretch,
}

/// The rule of a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What of a layer goes.
    pub part: Part,
    /// What decides.
    pub by: By,
    /// How it is used.
    pub how: How,
}

/// The calibration text.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    /// Documents; every scored token counts.
    pub documents: &'a [Document],
    /// Window and batch.
    pub options: &'a LikelihoodOptions,
}

/// What was chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Removals {
    /// For 1, 2, … layers that go, or lose the part, which, in ascending order. Nested, but for [`How::Stretch`].
    pub sets: Vec<Vec<usize>>,
    /// What was measured of the whole model, by layer; empty where nothing was.
    pub metric: Vec<f64>,
    /// Of the whole model on the calibration text, nats a token; none where it was not read.
    pub nll: Option<f64>,
}

/// Chooses 1 to `most` layers of `decoder`. `progress` hears of what is measured, tokens done and all of them, and says whether
/// to go on. Equal numbers: the earlier layer goes.
///
/// # Errors
/// [`PruneError::TooMany`]; [`PruneError::Input`] for a stretch of parts, or by anything but Block Influence; what measuring
/// gives.
pub fn removals(
    decoder: &Decoder,
    text: Text<'_>,
    rule: Rule,
    most: usize,
    progress: &mut dyn FnMut(&str, u64, u64) -> bool,
) -> Result<Removals> {
    let candidates = candidates(decoder, rule.part);
    let can_go = match rule.part {
        // One must stay.
        Part::Layer => candidates.len() - 1,
        Part::Attention | Part::FeedForward => candidates.len(),
    };
    if most > can_go {
        return Err(match rule.part {
            Part::Layer => PruneError::TooMany {
                removed: most,
                layers: candidates.len(),
            },
            Part::Attention | Part::FeedForward => {
                PruneError::Input(format!("{most} layers are to lose what only {can_go} have left"))
            }
        });
    }
    match rule.how {
        How::Stretch if rule.by != By::BlockInfluence || rule.part != Part::Layer => {
            let message = "a stretch is of whole layers and chosen by Block Influence".to_owned();
            Err(PruneError::Input(message))
        }
        How::Stretch => stretches(decoder, text, most, progress),
        How::OneShot => {
            let (metric, nll) = metric(decoder, text, rule, &candidates, progress)?;
            let order: Vec<usize> = ascending(&metric).into_iter().map(|at| candidates[at]).collect();
            Ok(Removals {
                sets: (1..=most).map(|count| sorted(&order[..count])).collect(),
                metric: match nll {
                    Some(_) => by_layer(decoder, &candidates, &metric),
                    None => Vec::new(),
                },
                nll,
            })
        }
        How::Iterative => iterative(decoder, text, rule, most, progress),
    }
}

/// The layers that have the part.
fn candidates(decoder: &Decoder, part: Part) -> Vec<usize> {
    let layers = decoder.weights.layers.iter().enumerate();
    let has_it = layers.filter(|(_, layer)| match part {
        Part::Layer => true,
        Part::Attention => layer.attends,
        Part::FeedForward => layer.feeds,
    });
    has_it.map(|(number, _)| number).collect()
}

/// The candidates' numbers by layer; 0 for layers without the part.
fn by_layer(decoder: &Decoder, candidates: &[usize], metric: &[f64]) -> Vec<f64> {
    let mut all = vec![0.0; decoder.config().layers];
    for (layer, number) in candidates.iter().zip(metric) {
        all[*layer] = *number;
    }
    all
}

/// Which layers go by a rule that measures nothing, of a model with so many; ascending.
pub fn blind(by: By, layers: usize, count: usize) -> Vec<usize> {
    let numbers: Vec<f64> = (0..layers).map(|layer| number(by, layer, layers)).collect();
    sorted(&ascending(&numbers)[..count.min(layers)])
}

/// A layer's number for a baseline.
fn number(by: By, layer: usize, layers: usize) -> f64 {
    match by {
        // Layer 0 comes last.
        By::Sequential if layer == 0 => layers as f64,
        By::Reverse => -(layer as f64),
        By::Random { seed } => chance(seed, layer),
        _ => layer as f64,
    }
}

fn sorted(layers: &[usize]) -> Vec<usize> {
    let mut layers = layers.to_vec();
    layers.sort_unstable();
    layers
}

fn ascending(metric: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..metric.len()).collect();
    order.sort_by(|a, b| metric[*a].total_cmp(&metric[*b]));
    order
}

fn iterative(
    decoder: &Decoder,
    text: Text<'_>,
    rule: Rule,
    most: usize,
    progress: &mut dyn FnMut(&str, u64, u64) -> bool,
) -> Result<Removals> {
    let mut left = candidates(decoder, rule.part);
    let mut gone: Vec<usize> = Vec::new();
    let mut found = Removals {
        sets: Vec::new(),
        metric: Vec::new(),
        nll: None,
    };
    for round in 0..most {
        // Layers that are gone leave no number behind, layers without a part keep theirs.
        let candidates: Vec<usize> = match rule.part {
            Part::Layer => (0..left.len()).collect(),
            Part::Attention | Part::FeedForward => left.clone(),
        };
        let rest = decoder.without(rule.part, &gone);
        let (metric, nll) = metric(&rest, text, rule, &candidates, progress)?;
        let lowest = ascending(&metric)[0];
        gone.push(left.remove(lowest));
        found.sets.push(sorted(&gone));
        if round == 0 && nll.is_some() {
            (found.metric, found.nll) = (by_layer(decoder, &candidates, &metric), nll);
        }
    }
    Ok(found)
}

/// A number for each of these layers, and the model's likelihood if the text was read.
fn metric(
    decoder: &Decoder,
    text: Text<'_>,
    rule: Rule,
    candidates: &[usize],
    progress: &mut dyn FnMut(&str, u64, u64) -> bool,
) -> Result<(Vec<f64>, Option<f64>)> {
    let layers = decoder.config().layers;
    let of_candidates = |all: Vec<f64>| candidates.iter().map(|layer| all[*layer]).collect();
    match rule.by {
        By::Sequential | By::Reverse | By::Random { .. } => {
            let all = (0..layers).map(|layer| number(rule.by, layer, layers));
            Ok((of_candidates(all.collect()), None))
        }
        By::BlockInfluence => {
            let wanted = Wanted {
                part: rule.part,
                block_influence: true,
                ..Wanted::default()
            };
            let found = read(decoder, text, &wanted, "measuring Block Influence", progress)?;
            let nll = found.scored.total.nll;
            let influence = found.block_influence.map(|influence| influence.layers);
            Ok((of_candidates(influence.unwrap_or_default()), Some(nll)))
        }
        By::RelativeMagnitude => {
            let wanted = Wanted {
                part: rule.part,
                relative_magnitude: true,
                ..Wanted::default()
            };
            let found = read(decoder, text, &wanted, "measuring relative magnitudes", progress)?;
            let nll = found.scored.total.nll;
            Ok((of_candidates(found.relative_magnitude), Some(nll)))
        }
        By::Likelihood => {
            let wanted = Wanted::default();
            let mut nll = |decoder: &Decoder, what: &str| {
                read(decoder, text, &wanted, what, progress).map(|found| found.scored.total.nll)
            };
            let whole = nll(decoder, "measuring the whole model")?;
            let without = candidates.iter().map(|layer| {
                nll(
                    &decoder.without(rule.part, &[*layer]),
                    &format!("measuring without layer {layer}"),
                )
            });
            Ok((without.collect::<Result<_>>()?, Some(whole)))
        }
    }
}

fn read(
    decoder: &Decoder,
    text: Text<'_>,
    wanted: &Wanted,
    what: &str,
    progress: &mut dyn FnMut(&str, u64, u64) -> bool,
) -> Result<Measured> {
    Ok(measure(
        decoder,
        text.documents,
        text.options,
        wanted,
        &mut |done, all| progress(what, done, all),
    )?)
}

fn stretches(
    decoder: &Decoder,
    text: Text<'_>,
    most: usize,
    progress: &mut dyn FnMut(&str, u64, u64) -> bool,
) -> Result<Removals> {
    let wanted = Wanted {
        block_influence: true,
        stretches: (1..=most).collect(),
        ..Wanted::default()
    };
    let found = read(decoder, text, &wanted, "measuring stretches of layers", progress)?;
    let chosen = |(length, influences): (usize, &Vec<f64>)| {
        let first = ascending(influences)[0];
        (first..first + length).collect()
    };
    Ok(Removals {
        sets: (1..).zip(&found.stretches).map(chosen).collect(),
        metric: found
            .block_influence
            .map(|influence| influence.layers)
            .unwrap_or_default(),
        nll: Some(found.scored.total.nll),
    })
}

/// A number in [0, 1) for a layer.
fn chance(seed: u64, layer: usize) -> f64 {
    (mix(mix(seed) ^ layer as u64) >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
pub(crate) mod tests {
    use tributary_model::{Device, LlamaSizes, ModelConfig};

    use super::*;

    pub(crate) fn decoder() -> Decoder {
        let config = ModelConfig::llama(LlamaSizes {
            hidden_size: 32,
            intermediate_size: 48,
            layers: 6,
            heads: 4,
            kv_heads: 2,
            vocab_size: 50,
            max_positions: 64,
            rope_theta: 1e4,
            tied_head: true,
            bos: None,
            eos: None,
        });
        Decoder::init(config, Device::Cpu, 3).unwrap()
    }

    pub(crate) fn documents() -> Vec<Document> {
        let document = |index: u32| {
            let tokens: Vec<u32> = (0..20 + index)
                .map(|at| (at * at * 7 + index * 13 + at) % 50)
                .collect();
            Document {
                loss: vec![true; tokens.len()],
                tokens,
                id: index.to_string(),
                part: 0,
            }
        };
        (0..8).map(document).collect()
    }

    fn choose_part(decoder: &Decoder, part: Part, by: By, how: How, most: usize) -> Result<Removals> {
        let (documents, options) = (documents(), LikelihoodOptions::default());
        let text = Text {
            documents: &documents,
            options: &options,
        };
        let rule = Rule { part, by, how };
        removals(decoder, text, rule, most, &mut |_, _, _| true)
    }

    fn choose(decoder: &Decoder, by: By, how: How, most: usize) -> Result<Removals> {
        choose_part(decoder, Part::Layer, by, how, most)
    }

    #[test]
    fn a_layer_that_does_nothing_goes_first() {
        let mut decoder = decoder();
        let layer = &mut decoder.weights.layers[2];
        layer.o = layer.o.clone().mul_scalar(0.0);
        layer.down = layer.down.clone().mul_scalar(0.0);
        for by in [By::BlockInfluence, By::RelativeMagnitude] {
            for how in [How::OneShot, How::Iterative] {
                let found = choose(&decoder, by, how, 3).unwrap();
                assert_eq!(found.sets[0], [2], "{by:?} {how:?}");
                assert_eq!(found.metric[2], 0.0);
                assert_eq!(found.sets[2].len(), 3);
                assert!(found.sets[2].contains(&2));
            }
        }
        let stretch = choose(&decoder, By::BlockInfluence, How::Stretch, 3).unwrap();
        assert_eq!(stretch.sets[0], [2]);
        assert!(stretch.sets[2].windows(2).all(|pair| pair[1] == pair[0] + 1));
    }

    #[test]
    fn a_part_that_does_nothing_goes_first_and_once() {
        let mut decoder = decoder();
        decoder.weights.layers[2].o = decoder.weights.layers[2].o.clone().mul_scalar(0.0);
        decoder.weights.layers[4].down = decoder.weights.layers[4].down.clone().mul_scalar(0.0);
        for (part, layer) in [(Part::Attention, 2), (Part::FeedForward, 4)] {
            for by in [By::BlockInfluence, By::RelativeMagnitude, By::Likelihood] {
                for how in [How::OneShot, How::Iterative] {
                    let found = choose_part(&decoder, part, by, how, 6).unwrap();
                    if by != By::Likelihood {
                        assert_eq!(found.sets[0], [layer], "{part:?} {by:?} {how:?}");
                        assert_eq!(found.metric[layer], 0.0);
                    }
                    assert_eq!(found.sets[5], [0, 1, 2, 3, 4, 5], "{part:?} {by:?} {how:?}");
                }
            }
        }
        assert!(choose_part(&decoder, Part::Attention, By::BlockInfluence, How::Stretch, 2).is_err());
        // What is gone already cannot go again.
        let again = decoder.without(Part::Attention, &[1, 2]);
        for by in [By::BlockInfluence, By::Reverse] {
            let found = choose_part(&again, Part::Attention, by, How::OneShot, 4).unwrap();
            assert_eq!(found.sets[3], [0, 3, 4, 5], "{by:?}");
            assert!(choose_part(&again, Part::Attention, by, How::Iterative, 5).is_err());
        }
    }

    #[test]
    fn baselines_need_no_text() {
        let decoder = decoder();
        let sets = |by| choose(&decoder, by, How::OneShot, 5).unwrap();
        assert_eq!(sets(By::Sequential).sets[1], [1, 2]);
        assert_eq!(sets(By::Sequential).sets[4], [1, 2, 3, 4, 5]);
        assert_eq!(sets(By::Reverse).sets[1], [4, 5]);
        let random: Vec<Vec<usize>> = (0..20)
            .map(|seed| sets(By::Random { seed }).sets[0].clone())
            .collect();
        assert!(random.iter().any(|set| *set != random[0]));
        assert_eq!(sets(By::Random { seed: 7 }), sets(By::Random { seed: 7 }));
        assert_eq!(sets(By::Reverse).nll, None);
    }

    #[test]
    fn what_the_likelihood_chooses_loses_least() {
        let decoder = decoder();
        let found = choose(&decoder, By::Likelihood, How::Iterative, 2).unwrap();
        let least = found.metric.iter().copied().fold(f64::INFINITY, f64::min);
        assert_eq!(found.metric[found.sets[0][0]], least);
        assert!(found.sets[1].contains(&found.sets[0][0]));
    }

    #[test]
    fn one_layer_must_stay() {
        let error = choose(&decoder(), By::Reverse, How::OneShot, 6).unwrap_err();
        assert!(matches!(
            error,
            PruneError::TooMany {
                removed: 6,
                layers: 6
            }
        ));
        assert!(choose(&decoder(), By::Reverse, How::Stretch, 2).is_err());
    }
}
