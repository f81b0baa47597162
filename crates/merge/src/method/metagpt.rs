//! MetaGPT (Zhou et al., EMNLP 2024, arXiv 2406.11385): task arithmetic whose coefficients need no data.
//!
//! With τₜ = θₜ − θ₀, equation 15 gives λₜ = ‖τₜ‖² / Σₖ‖τₖ‖², one number a model over all its tensors, and equation 2
//! θ = θ₀ + Σ λₜτₜ. Since Σ λₜ = 1, that is Σ λₜθₜ: a weighted mean with weights ‖τₜ‖², and it goes through the very
//! code of `linear`. (The paper prints (1 − λₖ²) in its bound for the term k = t; only (1 − λₖ)² leads to its
//! equation 15, which is what stands here.)
//!
//! The coefficients are computed in [`super::shares`], where other methods find them as weights (`weight: metagpt`).
//!
//! Deviations and additions: `scope` `layer` and `tensor` take the norms over a layer or a tensor instead of the whole
//! model (not in the paper); `norms: recorded` believes the ‖τₜ‖² that training wrote into the models' manifests
//! instead of reading the models once more. Tensors of integers, buffers and a second copy of a tied head are not part
//! of τ. Where all task vectors are zero the result is θ₀. `cap`, `keep` and `dose` are of the specification: see there.

use super::shares::{Extent, Limits, shares};
use super::{
    BaseUse, Default, FirstPass, Kind, Method, Parameter, Rule, Scope, Settings, Statistics, TensorPlace,
    WeightedSum, effective_number, normalise, sum_in_any_order,
};

pub(crate) struct MetaGpt;

const GLOBAL: &str = "global";
const LAYER: &str = "layer";
const TENSOR: &str = "tensor";
const READ: &str = "read";
const RECORDED: &str = "recorded";
const IGNORED: &str = "ignored";

impl Method for MetaGpt {
    fn name(&self) -> &'static str {
        "metagpt"
    }

    fn formula(&self) -> &'static str {
        "θ = θ₀ + Σ λₜ(θₜ − θ₀), λₜ = ‖θₜ − θ₀‖² / Σₖ ‖θₖ − θ₀‖²"
    }

    fn base(&self) -> BaseUse {
        BaseUse::Required
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[
            Parameter {
                name: "scope",
                scope: Scope::Merge,
                kind: Kind::Word(&[GLOBAL, LAYER, TENSOR]),
                default: Some(Default::Word(GLOBAL)),
                summary: "over what the norms are taken: the model (as in the paper), a layer, or a tensor",
            },
            Parameter {
                name: "norms",
                scope: Scope::Merge,
                kind: Kind::Word(&[READ, RECORDED]),
                default: Some(Default::Word(READ)),
                summary: "where the norms come from: the tensors (one more pass, and cosines), or the manifests",
            },
            Parameter {
                name: "dose",
                scope: Scope::Merge,
                kind: Kind::Word(&[IGNORED, RECORDED]),
                default: Some(Default::Word(IGNORED)),
                summary: "divide each norm by the dose that training recorded, so that long trainings do not dominate",
            },
            Parameter {
                name: "cap",
                scope: Scope::Merge,
                kind: Kind::Number,
                default: Some(Default::Number(1.0)),
                summary: "largest coefficient; the others make up for it as far as their task vectors allow",
            },
            Parameter {
                name: "keep",
                scope: Scope::Merge,
                kind: Kind::Number,
                default: Some(Default::Number(0.0)),
                summary: "how many models may take part (0: all); the best choice by their angles",
            },
        ]
    }

    fn first_pass(&self, settings: &Settings<'_>) -> FirstPass {
        if settings.word("norms") == Some(RECORDED) {
            FirstPass::RecordedNorms
        } else {
            FirstPass::Gram
        }
    }

    fn rule(
        &self,
        tensor: &TensorPlace,
        settings: &Settings<'_>,
        statistics: &Statistics,
    ) -> Result<Box<dyn Rule>, String> {
        let extent = match settings.word("scope") {
            Some(LAYER) => Extent::Layer,
            Some(TENSOR) => Extent::Tensor,
            _ => Extent::Model,
        };
        let lambda = shares(settings, statistics, tensor, extent, limits(settings)?)?;
        Ok(Box::new(match lambda {
            Some(models) => WeightedSum {
                base: rest(&models),
                models,
            },
            None => WeightedSum {
                base: 1.0,
                models: vec![0.0; settings.models()],
            },
        }))
    }

    fn warnings(&self, settings: &Settings<'_>, statistics: &Statistics) -> Vec<String> {
        let Some(squares) = all_squares(statistics) else {
            return Vec::new();
        };
        let whole = TensorPlace::new("", &[], 0..0);
        let lambda =
            limits(settings).and_then(|limits| shares(settings, statistics, &whole, Extent::Model, limits));
        let lambda = lambda.ok().flatten().filter(|_| normalise(&squares).is_some());
        let Some(lambda) = lambda else {
            return vec!["no model differs from the base: the result is the base".to_string()];
        };
        let models = settings.models() as f64;
        let mut warnings = Vec::new();
        let effective = effective_number(&lambda).unwrap_or(0.0);
        if effective < 0.6 * models {
            warnings.push(format!(
                "the merge is dominated by few models: the coefficients carry as much as {effective:.2} equal models of \
                 {models}; metagpt gives the longest training the most weight, whatever its quality",
            ));
        }
        for (index, lambda) in lambda
            .iter()
            .enumerate()
            .filter(|(_, lambda)| **lambda < 1.0 / (4.0 * models))
        {
            warnings.push(format!(
                "{} has almost no weight (λ = {lambda:.4}, equal shares would be {:.4}): its task vector is short",
                settings.name(index),
                1.0 / models,
            ));
        }
        warnings
    }
}

/// What is left for the base: nothing, up to rounding, unless the coefficients are limited.
fn rest(models: &[f64]) -> f64 {
    let rest = 1.0 - sum_in_any_order(models);
    if rest.abs() <= 4.0 * f64::EPSILON * models.len() as f64 {
        0.0
    } else {
        rest
    }
}

/// What `cap` and `keep` say, if they limit anything.
fn limits(settings: &Settings<'_>) -> Result<Option<Limits>, String> {
    let (cap, keep) = (settings.number("cap")?, settings.number("keep")?);
    if !(cap > 0.0 && cap <= 1.0) {
        return Err(format!("\"cap\" is {cap}, not above 0 and at most 1"));
    }
    if keep < 0.0 || keep.fract() != 0.0 {
        return Err(format!("\"keep\" is {keep}, not a number of models"));
    }
    let keep = if keep == 0.0 {
        settings.models()
    } else {
        keep as usize
    };
    let is_free = cap == 1.0 && keep >= settings.models();
    Ok((!is_free).then_some(Limits { cap, keep }))
}

/// ‖τₜ‖² over all tensors.
fn all_squares(statistics: &Statistics) -> Option<Vec<f64>> {
    match statistics {
        Statistics::Gram(gram) => Some(gram.all().squared_norms()),
        Statistics::RecordedNorms(squares) => Some(squares.clone()),
        Statistics::None => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::method::Step;
    use crate::statistics::{Gram, GramTable};

    fn models_of(rule: Box<dyn Rule>) -> Vec<f64> {
        let Ok(Step::WeightedSum { base, models }) = rule.next(&[]) else {
            panic!("no weighted sum");
        };
        assert_eq!(base, 0.0);
        models
    }

    fn with<R>(scope: &str, models: usize, body: impl FnOnce(&Settings<'_>) -> R) -> R {
        let merge = BTreeMap::from([("scope".to_string(), scope.into())]);
        let own = BTreeMap::new();
        body(&Settings::new(
            &MetaGpt,
            [&merge],
            (0..models).map(|_| ("m", &own)),
        ))
    }

    /// Spec 1f, T3: the golden cases.
    #[test]
    fn golden_coefficients() {
        let place = TensorPlace::new("x", &[2], 0..1);
        let orthogonal = Gram::from_packed(2, vec![9.0, 0.0, 16.0]);
        let correlated = Gram::from_packed(2, vec![9.0, 9.0, 25.0]);
        for (gram, expected) in [
            (orthogonal, [0.36, 0.64]),
            (correlated, [9.0 / 34.0, 25.0 / 34.0]),
        ] {
            let statistics = Statistics::Gram(GramTable::new(2, [(place.clone(), gram)]));
            let rule = with("global", 2, |settings| {
                MetaGpt.rule(&place, settings, &statistics)
            })
            .unwrap();
            assert_eq!(models_of(rule), expected);
        }
    }

    #[test]
    fn scopes_take_their_own_norms() {
        let places = ["model.layers.0.a", "model.layers.0.b", "model.layers.1.a"]
            .map(|name| TensorPlace::new(name, &[2], 0..2));
        let grams = [[1.0, 0.0, 3.0], [1.0, 0.0, 1.0], [6.0, 0.0, 4.0]]
            .map(|packed| Gram::from_packed(2, packed.into()));
        let statistics = Statistics::Gram(GramTable::new(2, places.clone().into_iter().zip(grams)));
        for (scope, expected) in [
            ("global", [[0.5, 0.5]; 3]),
            (
                "layer",
                [[2.0 / 6.0, 4.0 / 6.0], [2.0 / 6.0, 4.0 / 6.0], [0.6, 0.4]],
            ),
            ("tensor", [[0.25, 0.75], [0.5, 0.5], [0.6, 0.4]]),
        ] {
            for (place, expected) in places.iter().zip(expected) {
                let rule = with(scope, 2, |settings| MetaGpt.rule(place, settings, &statistics)).unwrap();
                assert_eq!(models_of(rule), expected, "{scope}");
            }
        }
    }

    #[test]
    fn identical_models_give_the_base() {
        let place = TensorPlace::new("x", &[2], 0..1);
        let statistics = Statistics::Gram(GramTable::new(2, [(place.clone(), Gram::zero(2))]));
        with("global", 2, |settings| {
            let rule = MetaGpt.rule(&place, settings, &statistics).unwrap();
            assert_eq!(
                rule.next(&[]),
                Ok(Step::WeightedSum {
                    base: 1.0,
                    models: vec![0.0, 0.0]
                })
            );
            assert_eq!(MetaGpt.warnings(settings, &statistics).len(), 1);
        });
    }

    #[test]
    fn lopsided_doses_are_warned_about() {
        let warnings = |squares: &[f64]| {
            let statistics = Statistics::RecordedNorms(squares.to_vec());
            with("global", squares.len(), |settings| {
                MetaGpt.warnings(settings, &statistics)
            })
        };
        assert!(warnings(&[1.0, 1.2, 0.9]).is_empty());
        // 1/16 of the whole is below 1/(4·3), and the effective number falls under 0.6·3.
        let found = warnings(&[1.0, 1.0, 14.0]);
        assert_eq!(found.len(), 3, "{found:?}");
    }

    /// Spec 1f, T5: λ minimises Σ ‖τₜ‖²‖τ − τₜ‖² over all τ.
    #[test]
    fn coefficients_minimise_the_bound() {
        let mut state = 7u64;
        let mut random = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1u64 << 53) as f64 - 0.5
        };
        let (models, size) = (3, 40);
        let tau: Vec<Vec<f64>> = (0..models)
            .map(|t| (0..size).map(|_| random() * (t + 1) as f64).collect())
            .collect();
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let squares: Vec<f64> = tau.iter().map(|tau| dot(tau, tau)).collect();
        // Gradient descent over c with τ = Σ cₖτₖ, knowing nothing of the closed form.
        let mut c = vec![0.0; models];
        let total: f64 = squares.iter().sum();
        for _ in 0..20_000 {
            let sum: Vec<f64> = (0..size)
                .map(|i| (0..models).map(|k| c[k] * tau[k][i]).sum())
                .collect();
            let gradient: Vec<f64> = (0..models)
                .map(|k| {
                    (0..models)
                        .map(|t| {
                            let apart: Vec<f64> =
                                sum.iter().zip(&tau[t]).map(|(sum, tau)| sum - tau).collect();
                            2.0 * squares[t] * dot(&apart, &tau[k])
                        })
                        .sum()
                })
                .collect();
            for k in 0..models {
                c[k] -= gradient[k] / (4.0 * total * total);
            }
        }
        let lambda = normalise(&squares).unwrap();
        for k in 0..models {
            assert!((c[k] - lambda[k]).abs() < 1e-6, "{c:?} {lambda:?}");
        }
    }
}
