//! Tensors: the same names and shapes in every model, apart from buffers and a stored copy of a tied head.

use std::collections::BTreeMap;

use tributary_tensorfile::{DType, TensorInfo};

use super::Incompatibility;

const HEAD: &str = "lm_head.weight";
/// Parts of the names of tensors that have a row for each token.
const TOKEN_PARTS: &[&str] = &[
    "embed_tokens",
    "lm_head",
    "wte",
    "word_embeddings",
    "embed_out",
    "embed_in",
    "tok_embeddings",
    "embed",
    "output",
    "output_layer",
];
/// Floating-point tensors that are no weights: recomputed by whoever loads the model.
const BUFFERS: &[&str] = &[
    "rotary_emb.inv_freq",
    "rotary_emb.cos_cached",
    "rotary_emb.sin_cached",
    "masked_bias",
];

/// A tensor of one model under the name it has in the result.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TensorView {
    pub(crate) name: String,
    /// Where it is in its own model.
    pub(crate) info: TensorInfo,
    /// The type it is stored in; what is read may be wider.
    pub(crate) stored: DType,
}

/// What becomes of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Every model has it: it is merged.
    Merge,
    /// Not a weight: taken from the first model that has it as it is.
    Copy,
}

/// One tensor of the result.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Matched {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    /// Type in the first model that has it.
    pub(crate) dtype: DType,
    pub(crate) role: Role,
    /// The tensor in each model that is read: number of the model, and where it is there.
    pub(crate) inputs: Vec<(usize, TensorInfo)>,
    /// Are its rows tokens, to be found by a map?
    pub(crate) is_aligned: bool,
}

/// Matches the tensors of all models by name; the first model is the one that buffers come from. `tied` says that the
/// head is the embedding: a stored copy of it is left out and counts once. `rows` is the number of rows that tensors
/// with a row a token get, where tokenizers are aligned. Returns the tensors sorted by name, what does not fit, and what
/// a user should know.
pub(crate) fn match_tensors(
    models: &[(&str, Vec<TensorView>)],
    tied: bool,
    rows: Option<usize>,
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
        let mut found = Matched {
            name: name.to_string(),
            shape: first.info.shape.clone(),
            dtype: first.stored,
            role: Role::Copy,
            inputs: vec![(owner, as_stored(first))],
            is_aligned: false,
        };
        let is_buffer = |tensor: &TensorView| {
            is_whole_number(tensor.stored) || BUFFERS.iter().any(|buffer| tensor.name.ends_with(buffer))
        };
        if is_buffer(first) {
            matched.push(found);
            continue;
        }
        let all_but_rows = |tensor: &TensorView| {
            tensor.info.shape.len() == first.info.shape.len()
                && tensor.info.shape.get(1..) == first.info.shape.get(1..)
        };
        let has_tokens = has_a_row_a_token(name, &first.info.shape)
            && row.iter().flatten().all(|tensor| all_but_rows(tensor));
        let subject = format!("tensor {name}");
        if row.iter().flatten().any(|tensor| !tensor.stored.is_float()) {
            let found = of(|tensor| tensor.stored.name().to_string());
            refusals.push(Incompatibility::new(subject, "this type cannot be merged", found));
        } else if row.iter().any(Option::is_none) {
            let found = of(|tensor| format!("{:?}", tensor.info.shape));
            refusals.push(Incompatibility::new(subject, "is not in every model", found));
        } else if let Some(rows) = rows.filter(|_| has_tokens) {
            found.role = Role::Merge;
            found.shape[0] = rows;
            found.is_aligned = true;
            found.inputs = infos(&row);
            matched.push(found);
        } else if row
            .iter()
            .flatten()
            .any(|tensor| tensor.info.shape != first.info.shape)
        {
            let message = if has_tokens {
                "the vocabularies differ in size (tokenizer_source: union or base matches rows by token)"
            } else {
                "shapes differ"
            };
            let found = of(|tensor| format!("{:?}", tensor.info.shape));
            refusals.push(Incompatibility::new(subject, message, found));
        } else {
            found.role = Role::Merge;
            found.inputs = infos(&row);
            matched.push(found);
        }
    }
    (matched, refusals, notes)
}

fn infos(row: &[Option<&TensorView>]) -> Vec<(usize, TensorInfo)> {
    let tensors = row.iter().enumerate();
    tensors
        .filter_map(|(model, tensor)| Some((model, tensor.as_ref()?.info.clone())))
        .collect()
}

/// The tensor as it lies in its file.
fn as_stored(tensor: &TensorView) -> TensorInfo {
    let mut info = tensor.info.clone();
    info.dtype = tensor.stored;
    info.bytes = (info.shape.iter().product::<usize>() * tensor.stored.size()) as u64;
    info
}

/// Is it the weight or bias of an embedding of tokens, or of a head that gives one number a token?
fn has_a_row_a_token(name: &str, shape: &[usize]) -> bool {
    let Some((module, "weight" | "bias")) = name.rsplit_once('.') else {
        return false;
    };
    let last = module.rsplit('.').next().unwrap_or(module);
    TOKEN_PARTS.contains(&last) && crate::method::layer_of(name).is_none() && !shape.is_empty()
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
            info: TensorInfo {
                name: name.to_string(),
                dtype,
                shape: shape.to_vec(),
                bytes: 0,
                shard: 0,
                offset: 0,
            },
            stored: dtype,
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
        let (matched, refusals, notes) = match_tensors(&[("base", base), ("x", tuned)], false, None);
        assert!(refusals.is_empty() && notes.is_empty());
        let roles: Vec<_> = matched
            .iter()
            .map(|tensor| (tensor.name.as_str(), tensor.role))
            .collect();
        assert_eq!(
            roles,
            [
                ("a.rotary_emb.inv_freq", Role::Copy),
                ("b.weight", Role::Merge),
                ("extra_ids", Role::Copy),
                ("position_ids", Role::Copy)
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
        let (matched, refusals, notes) =
            match_tensors(&[("a", with.clone()), ("b", without.clone())], true, None);
        assert_eq!((matched.len(), refusals.len(), notes.len()), (1, 0, 1));
        let (_, refusals, _) = match_tensors(&[("a", with), ("b", without)], false, None);
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
        let (_, refusals, _) = match_tensors(&[("a", a.clone()), ("b", b), ("c", a)], false, None);
        let texts: Vec<String> = refusals.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "tensor embed.weight: the vocabularies differ in size (tokenizer_source: union or base matches rows by token): [10, 2] in a, c; [11, 2] in b",
                "tensor x: shapes differ: [2, 2] in a, c; [2, 3] in b",
                "tensor y: is not in every model: [1] in a, c; nothing in b",
                "tensor z: this type cannot be merged: F8_E4M3 in a, b, c"
            ]
        );
    }
}
