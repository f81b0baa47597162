//! A weighted sum whose coefficients follow from the tensor's inner products.

use super::{Measure, Measured, Of, Rule, Step};
use crate::statistics::Gram;

/// Measures inner products, then asks `coefficients` for the base's and each model's.
pub(super) struct MeasuredSum<F> {
    pub(super) of: Of,
    pub(super) coefficients: F,
}

impl<F> Rule for MeasuredSum<F>
where
    F: Fn(&Gram) -> Result<(f64, Vec<f64>), String> + Send + Sync,
{
    fn next(&self, found: &[Measured]) -> Result<Step, String> {
        match found {
            [Measured::Gram(gram)] => {
                let (base, models) = (self.coefficients)(gram)?;
                Ok(Step::WeightedSum { base, models })
            }
            _ => Ok(Step::Measure(Measure::Gram(self.of))),
        }
    }

    fn passes(&self) -> usize {
        2
    }
}
