//! What became of a tensor, also as the note of the file that it is in.

use serde_json::{Map, Value, json};

use crate::statistics::Gram;

/// What became of a tensor.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Made {
    /// The inner products that were measured.
    pub(crate) gram: Option<Gram>,
    /// Coefficients of the base and of each model, if it is a weighted sum.
    pub(crate) coefficients: Option<(f64, Vec<f64>)>,
    /// Values of the result that are no finite numbers.
    pub(crate) not_finite: u64,
}

/// What became of these tensors, as JSON. Numbers are the bits of an `f64`, so that they come back as they were.
pub(crate) fn to_note(made: &[(String, Made)]) -> Vec<u8> {
    let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<u64>>();
    let one = |(name, made): &(String, Made)| {
        let gram = made
            .gram
            .as_ref()
            .map(|gram| json!([gram.models(), bits(gram.packed())]));
        let coefficients = made.coefficients.as_ref();
        let coefficients = coefficients.map(|(base, models)| json!([base.to_bits(), bits(models)]));
        (name.clone(), json!([gram, coefficients, made.not_finite]))
    };
    let tensors: Map<String, Value> = made.iter().map(one).collect();
    Value::Object(tensors).to_string().into_bytes()
}

/// What a note of [`to_note`] says; `None` if it is none.
pub(crate) fn from_note(note: &[u8]) -> Option<Vec<(String, Made)>> {
    type Tensor = (Option<(usize, Vec<u64>)>, Option<(u64, Vec<u64>)>, u64);
    let tensors: std::collections::BTreeMap<String, Tensor> = serde_json::from_slice(note).ok()?;
    let numbers = |bits: Vec<u64>| bits.into_iter().map(f64::from_bits).collect::<Vec<f64>>();
    let one = |(name, (gram, coefficients, not_finite)): (String, Tensor)| {
        let made = Made {
            gram: gram.map(|(models, packed)| Gram::from_packed(models, numbers(packed))),
            coefficients: coefficients.map(|(base, models)| (f64::from_bits(base), numbers(models))),
            not_finite,
        };
        (name, made)
    };
    Some(tensors.into_iter().map(one).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_come_back_to_the_last_bit() {
        let made = Made {
            gram: Some(Gram::from_packed(2, vec![0.1, f64::NAN, -1e-300])),
            coefficients: Some((1.0 / 3.0, vec![0.1 + 0.2, -0.0])),
            not_finite: 7,
        };
        let all = vec![("a.b".to_string(), made), ("c".to_string(), Made::default())];
        let back = from_note(&to_note(&all)).unwrap();
        // NaN is not equal to itself: the notes are compared.
        assert_eq!(to_note(&back), to_note(&all));
        assert!(from_note(b"[]").is_none());
    }
}
