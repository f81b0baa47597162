//! Tensors: the same names and shapes in every model, apart from buffers and a stored copy of a tied head.

use std::collections::BTreeMap;

use tributary_tensorfile::DType;

use super::Incompatibility;

const HEAD: &str = "lm_head.weight";
/// Floating-point tensors that are no weights: recomputed by whoever loads the model.
const BUFFERS: &[&str] = &[
    "rotary_emb.inv_freq",
    "rotary_emb.cos_cached",
    "rotary_emb.sin_cached",
    "masked_bias",
];

/// What a header says of one tensor.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TensorView {
    pub(crate) name: String,
    pub(crate) dtype: DType,
    pub(crate) shape: Vec<usize>,
}

/// What becomes of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Every model has it: it is merged.
    Merge,
    /// Not a weight: taken from the model of this number as it is.
    Copy(usize),
}

/// One tensor of the result.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Matched {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    /// Type in the first model that has it.
    pub(crate) dtype: DType,
    pub(crate) role: Role,
}

/// Matches the tensors of all models by name; the first model is the one that buffers come from. `tied` says that the
/// head is the embedding: a stored copy of it is left out and counts once. Returns the tensors sorted by name, what
/// does not fit, and what a user should know.
pub(crate) fn match_tensors(
    models: &[(&str, Vec<TensorView>)],
    tied: bool,
) -> (Vec<Matched>, Vec<Incompatibility>, Vec<String>) {
    let mut by_name: BTreeMap<&str, Vec<Option<&TensorView>>> = BTreeMap::new();
    for (index, (_, tensors)) in models.iter().enumerate() {
        for tensor in tensors {
            let row = by_name
                .entry(&tensor.name)
                .or_insert_with(|| vec![None; models.len()]);
            row[index] = Some(tensor);
        }
    }
    let (mut matched, mut refusals, mut notes) = (Vec::new(), Vec::new(), Vec::new());
    for (name, row) in by_name {
        let Some((owner, first)) = row
            .iter()
            .enumerate()
            .find_map(|(i, tensor)| tensor.map(|tensor| (i, tensor)))
        else {
            continue;
        };
        let of = |what: fn(&TensorView) -> String| {
            let named = row.iter().zip(models).map(move |(tensor, (model, _))| {
                (
                    model.to_string(),
                    tensor.map_or_else(|| "nothing".to_string(), what),
                )
            });
            named.collect::<Vec<_>>()
        };
        if tied && name == HEAD {
            notes.push(format!(
                "{name} is tied to the embedding: stored copies are left out and count once"
            ));
            continue;
        }
        let is_buffer = |tensor: &TensorView| {
            is_whole_number(tensor.dtype) || BUFFERS.iter().any(|buffer| tensor.name.ends_with(buffer))
        };
        if is_buffer(first) {
            matched.push(Matched {
                name: name.to_string(),
                shape: first.shape.clone(),
                dtype: first.dtype,
                role: Role::Copy(owner),
            });
            continue;
        }
        let subject = format!("tensor {name}");
        if row.iter().flatten().any(|tensor| !tensor.dtype.is_float()) {
            let found = of(|tensor| tensor.dtype.name().to_string());
            refusals.push(Incompatibility::new(subject, "this type cannot be merged", found));
        } else if row.iter().any(Option::is_none) {
            let found = of(|tensor| format!("{:?}", tensor.shape));
            refusals.push(Incompatibility::new(subject, "is not in every model", found));
        } else if row.iter().flatten().any(|tensor| tensor.shape != first.shape) {
            let rows_only = |tensor: &TensorView| {
                tensor.shape.len() == first.shape.len() && tensor.shape.get(1..) == first.shape.get(1..)
            };
            let vocabulary = (name.contains("embed") || name == HEAD)
                && row.iter().flatten().all(|tensor| rows_only(tensor));
            let message = if vocabulary {
                "the vocabularies differ in size; merging them is not in this version yet"
            } else {
                "shapes differ"
            };
            refusals.push(Incompatibility::new(
                subject,
                message,
                of(|tensor| format!("{:?}", tensor.shape)),
            ));
        } else {
            matched.push(Matched {
                name: name.to_string(),
                shape: first.shape.clone(),
                dtype: first.dtype,
                role: Role::Merge,
            });
        }
    }
    (matched, refusals, notes)
}

fn is_whole_number(dtype: DType) -> bool {
    matches!(
        dtype,
        DType::I64
            | DType::I32
            | DType::I16
            | DType::I8
            | DType::U64
            | DType::U32
            | DType::U16
            | DType::U8
            | DType::Bool
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(name: &str, dtype: DType, shape: &[usize]) -> TensorView {
        TensorView {
            name: name.to_string(),
            dtype,
            shape: shape.to_vec(),
        }
    }

    #[test]
    fn weights_are_merged_and_buffers_are_copied() {
        let base = vec![
            view("b.weight", DType::BF16, &[2, 3]),
            view("a.rotary_emb.inv_freq", DType::F32, &[4]),
            view("position_ids", DType::I64, &[8]),
        ];
        let tuned = vec![
            view("b.weight", DType::F32, &[2, 3]),
            view("extra_ids", DType::I32, &[1]),
        ];
        let (matched, refusals, notes) = match_tensors(&[("base", base), ("x", tuned)], false);
        assert!(refusals.is_empty() && notes.is_empty());
        let roles: Vec<_> = matched
            .iter()
            .map(|tensor| (tensor.name.as_str(), tensor.role))
            .collect();
        assert_eq!(
            roles,
            [
                ("a.rotary_emb.inv_freq", Role::Copy(0)),
                ("b.weight", Role::Merge),
                ("extra_ids", Role::Copy(1)),
                ("position_ids", Role::Copy(0))
            ]
        );
        assert_eq!(matched[1].dtype, DType::BF16);
    }

    #[test]
    fn a_tied_head_counts_once() {
        let with = vec![
            view("lm_head.weight", DType::F32, &[4, 2]),
            view("model.embed_tokens.weight", DType::F32, &[4, 2]),
        ];
        let without = vec![view("model.embed_tokens.weight", DType::F32, &[4, 2])];
        let (matched, refusals, notes) = match_tensors(&[("a", with.clone()), ("b", without.clone())], true);
        assert_eq!((matched.len(), refusals.len(), notes.len()), (1, 0, 1));
        let (_, refusals, _) = match_tensors(&[("a", with), ("b", without)], false);
        assert_eq!(
            refusals[0].to_string(),
            "tensor lm_head.weight: is not in every model: [4, 2] in a; nothing in b"
        );
    }

    #[test]
    fn every_difference_is_reported() {
        let a = vec![
            view("embed.weight", DType::F32, &[10, 2]),
            view("x", DType::F32, &[2, 2]),
            view("y", DType::F32, &[1]),
            view("z", DType::F8E4M3, &[1]),
        ];
        let b = vec![
            view("embed.weight", DType::F32, &[11, 2]),
            view("x", DType::F32, &[2, 3]),
            view("z", DType::F8E4M3, &[1]),
        ];
        let (_, refusals, _) = match_tensors(&[("a", a.clone()), ("b", b), ("c", a)], false);
        let texts: Vec<String> = refusals.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "tensor embed.weight: the vocabularies differ in size; merging them is not in this version yet: [10, 2] in a, c; [11, 2] in b",
                "tensor x: shapes differ: [2, 2] in a, c; [2, 3] in b",
                "tensor y: is not in every model: [1] in a, c; nothing in b",
                "tensor z: this type cannot be merged: F8_E4M3 in a, b, c"
            ]
        );
    }
}
