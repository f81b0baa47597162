//! The Gram matrix of task vectors, and what follows from it: norms and cosines.

/// Symmetric matrix of inner products ⟨τₜ, τᵤ⟩ in `f64`.
#[derive(Clone, Debug, PartialEq)]
pub struct Gram {
    models: usize,
    /// Lower triangle by rows: (0,0), (1,0), (1,1), (2,0), …
    packed: Vec<f64>,
}

impl Gram {
    /// All zero, for `models` task vectors.
    pub fn zero(models: usize) -> Gram {
        Gram {
            models,
            packed: vec![0.0; models * (models + 1) / 2],
        }
    }

    /// Of vectors of unit length at right angles.
    pub(crate) fn identity(models: usize) -> Gram {
        let row = |t: usize| (0..=t).map(move |u| f64::from(u8::from(t == u)));
        Gram {
            models,
            packed: (0..models).flat_map(row).collect(),
        }
    }

    pub(crate) fn from_packed(models: usize, packed: Vec<f64>) -> Gram {
        Gram { models, packed }
    }

    /// The lower triangle by rows.
    pub(crate) fn packed(&self) -> &[f64] {
        &self.packed
    }

    /// Number of task vectors.
    pub fn models(&self) -> usize {
        self.models
    }

    /// ⟨τₜ, τᵤ⟩.
    pub fn get(&self, t: usize, u: usize) -> f64 {
        let (row, column) = (t.max(u), t.min(u));
        self.packed
            .get(row * (row + 1) / 2 + column)
            .copied()
            .unwrap_or(f64::NAN)
    }

    /// Adds the products of further elements.
    pub fn add(&mut self, other: &Gram) {
        for (sum, value) in self.packed.iter_mut().zip(&other.packed) {
            *sum += value;
        }
    }

    /// ‖τₜ‖² of every model.
    pub fn squared_norms(&self) -> Vec<f64> {
        (0..self.models).map(|t| self.get(t, t)).collect()
    }

    /// cos(τₜ, τᵤ) by rows, within [−1, 1]; `None` where a task vector is zero (its direction is undefined).
    pub fn cosines(&self) -> Vec<Vec<Option<f64>>> {
        let cosine = |t: usize, u: usize| {
            let norms = self.get(t, t).sqrt() * self.get(u, u).sqrt();
            if t == u && norms > 0.0 {
                Some(1.0)
            } else {
                (norms > 0.0).then(|| (self.get(t, u) / norms).clamp(-1.0, 1.0))
            }
        };
        (0..self.models)
            .map(|t| (0..self.models).map(|u| cosine(t, u)).collect())
            .collect()
    }

    /// The first model with a product that is not a finite number.
    pub fn first_not_finite(&self) -> Option<usize> {
        (0..self.models).find(|t| !self.get(*t, *t).is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn norms_and_cosines() {
        // τ₁ = (3, 0), τ₂ = (3, 4), τ₃ = 0.
        let gram = Gram::from_packed(3, vec![9.0, 9.0, 25.0, 0.0, 0.0, 0.0]);
        assert_eq!(gram.squared_norms(), [9.0, 25.0, 0.0]);
        let cosines = gram.cosines();
        assert_eq!(cosines[0][1], Some(0.6));
        assert_eq!(cosines[1][0], Some(0.6));
        assert_eq!(cosines[1][1], Some(1.0));
        assert_eq!(cosines[2], [None, None, None]);
        assert_eq!(gram.first_not_finite(), None);
    }
}
