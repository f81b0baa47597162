//! Texts that begin alike, read together: what they share is computed once.
//!
//! Trunks and branches of many trees are one long row for everything that looks at tokens one by one (embedding, matrices,
//! norms); only attention knows who belongs to whom: a trunk sees itself, a branch its trunk and itself. There is no padding.

use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};
use rayon::prelude::*;

use crate::decoder::{Decoder, host};
use crate::error::{ModelError, Result};
use crate::kernel::cpu::attention;
use crate::kernel::{self, Geometry, composed};

/// Several texts with one beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// The tokens that all begin with; may be none. Nothing of it is scored.
    pub trunk: Vec<u32>,
    /// How they go on.
    pub branches: Vec<Branch>,
}

/// One continuation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Branch {
    /// Token ids, at least one.
    pub tokens: Vec<u32>,
    /// For each token the one to predict after it; below 0: not scored.
    pub targets: Vec<i64>,
}

impl Tree {
    /// Tokens that are computed.
    pub fn tokens(&self) -> usize {
        self.trunk.len()
            + self
                .branches
                .iter()
                .map(|branch| branch.tokens.len())
                .sum::<usize>()
    }
}

/// A trunk or a branch: consecutive tokens of the row.
struct Stretch {
    start: usize,
    len: usize,
    /// First token and length of the trunk that it sees.
    trunk: (usize, usize),
    geometry: Geometry,
}

impl Decoder {
    /// For each tree and each of its branches Σ negative log-likelihood of the tokens to predict, nats.
    ///
    /// # Errors
    /// [`ModelError::Input`] for a token id outside the vocabulary, an empty branch, or one with another number of targets.
    pub fn tree_nll(&self, trees: &[Tree]) -> Result<Vec<Vec<f64>>> {
        let (mut tokens, mut targets, mut positions) = (Vec::new(), Vec::new(), Vec::new());
        let mut stretches = Vec::new();
        for tree in trees {
            let trunk = (tokens.len(), tree.trunk.len());
            if trunk.1 > 0 {
                stretches.push(self.stretch(trunk.0, trunk.1, (trunk.0, 0)));
            }
            tokens.extend_from_slice(&tree.trunk);
            targets.extend(tree.trunk.iter().map(|_| -1));
            positions.extend(0..trunk.1 as u32);
            for branch in &tree.branches {
                if branch.tokens.is_empty() || branch.tokens.len() != branch.targets.len() {
                    let message = "a branch needs a token, and a target for each token";
                    return Err(ModelError::Input(message.to_owned()));
                }
                stretches.push(self.stretch(tokens.len(), branch.tokens.len(), trunk));
                tokens.extend_from_slice(&branch.tokens);
                targets.extend_from_slice(&branch.targets);
                positions.extend((trunk.1..trunk.1 + branch.tokens.len()).map(|at| at as u32));
            }
        }
        let size = self.config().vocab_size as i64;
        let ids = tokens
            .iter()
            .map(|token| i64::from(*token))
            .chain(targets.iter().copied());
        if let Some(outside) = ids.into_iter().find(|id| *id >= size) {
            return Err(ModelError::Input(format!(
                "token {outside} is outside the model's vocabulary of {size}"
            )));
        }
        if tokens.is_empty() {
            return Ok(trees.iter().map(|_| Vec::new()).collect());
        }
        let (len, targets): (usize, Arc<[i64]>) = (tokens.len(), targets.into());
        let row = self.geometry(1, len, len, vec![0; len], positions);
        let mut hidden = kernel::embedding(self.weights.embedding.clone(), &tokens.into());
        for layer in &self.weights.layers {
            hidden = self.layer(layer, hidden, &mut |q, k, v| attend(q, k, v, &row, &stretches));
        }
        let hidden = kernel::rms_norm(hidden, self.weights.norm.clone(), self.config().norm_epsilon);
        let nll = self.nll_of(hidden, &targets)?;
        let mut sums = branch_sums(&nll, &targets, &stretches, trees).into_iter();
        Ok(trees
            .iter()
            .map(|tree| sums.by_ref().take(tree.branches.len()).collect())
            .collect())
    }

    fn stretch(&self, start: usize, len: usize, trunk: (usize, usize)) -> Stretch {
        let positions = (trunk.1..trunk.1 + len).map(|at| at as u32).collect();
        Stretch {
            start,
            len,
            trunk,
            geometry: self.geometry(1, len, trunk.1 + len, vec![0; len], positions),
        }
    }
}

/// Σ over the scored tokens of every branch, in order.
fn branch_sums(nll: &[f32], targets: &[i64], stretches: &[Stretch], trees: &[Tree]) -> Vec<f64> {
    let mut stretches = stretches.iter();
    let mut sums = Vec::new();
    for tree in trees {
        let skipped = usize::from(!tree.trunk.is_empty());
        for stretch in stretches.by_ref().skip(skipped).take(tree.branches.len()) {
            let places = stretch.start..stretch.start + stretch.len;
            let scored = places.filter(|at| targets[*at] >= 0);
            sums.push(scored.map(|at| f64::from(nll[at])).sum());
        }
    }
    sums
}

/// Attention of unrotated `q` `[tokens, heads·d]` over `k` and `v` `[tokens, kv_heads·d]`, stretch by stretch.
fn attend(q: Tensor<2>, k: Tensor<2>, v: Tensor<2>, row: &Geometry, stretches: &[Stretch]) -> Tensor<2> {
    if kernel::is_cpu(&q.device()) {
        return attend_in_memory(q, k, v, row, stretches);
    }
    let (heads, kv_heads, d) = (row.heads, row.kv_heads, row.head_dim);
    let (q, k) = (
        composed::rotated(q, heads, row),
        composed::rotated(k, kv_heads, row),
    );
    let v = v.reshape([1, row.len, kv_heads, d]).swap_dims(1, 2);
    let attended = stretches.iter().map(|stretch| {
        let own = stretch.start..stretch.start + stretch.len;
        let (trunk, len) = stretch.trunk;
        let seen = |x: &Tensor<4>| {
            let here = x.clone().slice([0..1, 0..kv_heads, own.clone(), 0..d]);
            match len {
                0 => here,
                _ => Tensor::cat(
                    vec![
                        x.clone().slice([0..1, 0..kv_heads, trunk..trunk + len, 0..d]),
                        here,
                    ],
                    2,
                ),
            }
        };
        let q = q.clone().slice([0..1, 0..heads, own.clone(), 0..d]);
        composed::attend(q, seen(&k), seen(&v), &stretch.geometry)
    });
    Tensor::cat(attended.collect(), 0)
}

fn attend_in_memory(
    q: Tensor<2>,
    k: Tensor<2>,
    v: Tensor<2>,
    row: &Geometry,
    stretches: &[Stretch],
) -> Tensor<2> {
    let (device, shape) = (q.device(), q.dims());
    // Reading back f32 from the CPU backend cannot fail; an empty vector would fail the kernels' checks.
    let values = |tensor: Tensor<2>| host(tensor).unwrap_or_default();
    let (mut q, mut k, v) = (values(q), values(k), values(v));
    attention::rotate(&mut q, row.heads, row, false);
    attention::rotate(&mut k, row.kv_heads, row, false);
    let (width, kv_width) = (row.heads * row.head_dim, row.kv_heads * row.head_dim);
    let mut out = vec![0.0; q.len()];
    let mut parts = Vec::with_capacity(stretches.len());
    let mut rest = out.as_mut_slice();
    for stretch in stretches {
        let (part, after) = rest.split_at_mut(stretch.len * width);
        parts.push((stretch, part));
        rest = after;
    }
    parts.into_par_iter().for_each(|(stretch, out)| {
        let own = stretch.start..stretch.start + stretch.len;
        let trunk = stretch.trunk.0..stretch.trunk.0 + stretch.trunk.1;
        let seen = |x: &[f32]| {
            let [trunk, own] = [&trunk, &own].map(|range| &x[range.start * kv_width..range.end * kv_width]);
            [trunk, own].concat()
        };
        let q = &q[own.start * width..own.end * width];
        let mut lse = vec![0.0; stretch.len * row.heads];
        attention::forward(out, &mut lse, q, &seen(&k), &seen(&v), &stretch.geometry);
    });
    Tensor::from_data(TensorData::new(out, shape), &device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::TokenBatch;
    use crate::config::{LlamaSizes, ModelConfig};
    use crate::device::Device;

    fn decoder(window: Option<usize>) -> Decoder {
        let config = ModelConfig::llama(LlamaSizes {
            hidden_size: 32,
            intermediate_size: 48,
            layers: 3,
            heads: 4,
            kv_heads: 2,
            vocab_size: 50,
            max_positions: 128,
            rope_theta: 1e4,
            tied_head: true,
            bos: None,
            eos: None,
        });
        let config = ModelConfig {
            sliding_window: window,
            ..config
        };
        Decoder::init(config, Device::Cpu, 3).unwrap()
    }

    fn text(len: usize, seed: u32) -> Vec<u32> {
        (0..len as u32)
            .map(|at| (at * at * 7 + seed * 13 + at) % 50)
            .collect()
    }

    /// The branch's sum, reading the whole text alone.
    fn alone(decoder: &Decoder, tree: &Tree, branch: &Branch) -> f64 {
        let tokens = [tree.trunk.as_slice(), &branch.tokens].concat();
        let targets = tree
            .trunk
            .iter()
            .map(|_| -1)
            .chain(branch.targets.iter().copied());
        let batch = TokenBatch {
            targets: targets.collect::<Vec<i64>>().into(),
            ..TokenBatch::document(&tokens)
        };
        decoder
            .nll(&batch)
            .unwrap()
            .iter()
            .map(|nll| f64::from(*nll))
            .sum()
    }

    #[test]
    fn branches_score_as_if_they_were_read_alone() {
        for window in [None, Some(6)] {
            let decoder = decoder(window);
            let tree = |trunk: usize, branches: &[usize], seed: u32| Tree {
                trunk: text(trunk, seed),
                branches: (0..)
                    .zip(branches)
                    .map(|(number, len)| {
                        let tokens = text(*len, seed + 7 + number);
                        let targets = (0..*len as i64)
                            .map(|at| if at % 3 == 1 { -1 } else { (at * 11) % 50 })
                            .collect();
                        Branch { tokens, targets }
                    })
                    .collect(),
            };
            let trees = [
                tree(9, &[3, 1, 5], 1),
                tree(0, &[4, 2], 2),
                tree(70, &[1, 30], 3),
                tree(5, &[], 4),
            ];
            let found = decoder.tree_nll(&trees).unwrap();
            for (tree, found) in trees.iter().zip(&found) {
                assert_eq!(found.len(), tree.branches.len());
                for (branch, found) in tree.branches.iter().zip(found) {
                    let expected = alone(&decoder, tree, branch);
                    assert!((found - expected).abs() < 1e-4, "{found} {expected}");
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        let decoder = decoder(None);
        let branch = |tokens: Vec<u32>, targets: Vec<i64>| Tree {
            trunk: vec![1],
            branches: vec![Branch { tokens, targets }],
        };
        for tree in [
            branch(Vec::new(), Vec::new()),
            branch(vec![1], Vec::new()),
            branch(vec![50], vec![1]),
            branch(vec![1], vec![50]),
        ] {
            assert!(decoder.tree_nll(&[tree]).is_err());
        }
        assert_eq!(decoder.tree_nll(&[]).unwrap(), Vec::<Vec<f64>>::new());
    }
}
