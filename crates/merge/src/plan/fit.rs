//! Do the models fit together, and which of their tensors make which tensor of the result?

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use tributary_tensorfile::DType;

use super::layers::{Stretch, stretches, views};
use super::parts::{Part, PartMember};
use crate::compatibility::{
    Incompatibilities, Incompatibility, Matched, Role, TensorView, compare_configurations, is_tied,
    match_tensors,
};
use crate::config::{Parameters, Problems};
use crate::engine::WorkInput;
use crate::error::{MergeError, Result};
use crate::source::Source;
use crate::vocabulary::{Alignment, RowMap, Rows, compare_tokenizers};

/// A tensor of the result and the tensors that it is made of.
pub(super) struct Fitted {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    pub(super) dtype: DType,
    pub(super) role: Role,
    pub(super) part: usize,
    pub(super) has_base: bool,
    pub(super) inputs: Vec<WorkInput>,
}

/// Do these models (what messages call each, and the model) fit together as wholes? For a merge of which only a part is
/// there yet; [`super::plan()`] asks the same of all. Returns what a user should know.
///
/// # Errors
/// [`MergeError::Incompatible`] with everything that differs.
pub fn compare(models: &[(String, Source)]) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    if let Some((_, lead)) = models.first() {
        let member = |input: usize| PartMember {
            input,
            layers: None,
            path: String::new(),
            own: Parameters::new(),
        };
        let parts = [Part {
            members: (0..models.len()).map(member).collect(),
            has_base: false,
            base: None,
            levels: Vec::new(),
        }];
        let stretches = stretches(&parts, lead);
        fit_together(models, models, &parts, &stretches, lead, None, &mut warnings)?;
    }
    Ok(warnings)
}

/// Refuses models that do not fit; gives every tensor of the result in the order of names. `all` are the inputs and a
/// base that only lends its configuration.
pub(super) fn fit_together(
    all: &[(String, Source)],
    inputs: &[(String, Source)],
    parts: &[Part],
    stretches: &[Stretch],
    lead: &Source,
    alignment: Option<&Alignment>,
    warnings: &mut Vec<String>,
) -> Result<Vec<Fitted>> {
    let configurations: Vec<(&str, Value)> = distinct(all)
        .map(|(name, source)| (name.as_str(), Value::Object(source.configuration().clone())))
        .collect();
    let compared: Vec<(&str, &Value)> = configurations
        .iter()
        .map(|(name, value)| (*name, value))
        .collect();
    let some_layers = parts
        .iter()
        .any(|part| part.members.iter().any(|member| member.layers.is_some()));
    let (mut refusals, different) = compare_configurations(&compared, some_layers);
    warnings.extend(different);

    let tied = is_tied(&Value::Object(lead.configuration().clone()));
    let rows = alignment.map(|alignment| alignment.rows);
    let mut matched: Vec<(usize, Matched)> = Vec::new();
    for (number, (part, stretch)) in parts.iter().zip(stretches).enumerate() {
        let members = part
            .members
            .iter()
            .filter_map(|member| Some((member, inputs.get(member.input)?)));
        let tensors: Vec<(&str, Vec<TensorView>)> = members
            .map(|(member, (name, source))| (name.as_str(), views(source, member.layers, stretch)))
            .collect();
        let (found, differences, notes) = match_tensors(&tensors, tied, rows);
        matched.extend(found.into_iter().map(|tensor| (number, tensor)));
        refusals.extend(differences);
        warnings.extend(notes);
    }
    if !refusals.is_empty() {
        return Err(MergeError::Incompatible(Incompatibilities(refusals)));
    }
    if alignment.is_none() {
        let mut tokenizers = Vec::new();
        for (name, source) in distinct(all) {
            tokenizers.push((name.as_str(), source.tokenizer()?));
        }
        warnings.extend(compare_tokenizers(&tokenizers));
    }
    matched.sort_by(|(_, a), (_, b)| a.name.cmp(&b.name));
    let maps = match alignment {
        Some(alignment) => maps(alignment, parts)?,
        None => BTreeMap::new(),
    };
    let lacking: Vec<Incompatibility> = matched
        .iter()
        .filter_map(|(number, tensor)| lacks_rows(tensor, *number, &maps))
        .collect();
    if !lacking.is_empty() {
        return Err(MergeError::Incompatible(Incompatibilities(lacking)));
    }
    let fitted = |(number, tensor): (usize, Matched)| Fitted {
        inputs: inputs_of(&tensor, &parts[number], number, &maps, rows.unwrap_or(0)),
        name: tensor.name,
        shape: tensor.shape,
        dtype: tensor.dtype,
        has_base: parts[number].has_base && tensor.role == Role::Merge,
        role: tensor.role,
        part: number,
    };
    Ok(matched.into_iter().map(fitted).collect())
}

/// A row that a token needs and a tensor has not.
fn lacks_rows(
    tensor: &Matched,
    part: usize,
    maps: &BTreeMap<(usize, usize), RowMap>,
) -> Option<Incompatibility> {
    let rows_of = |member: usize| {
        let input = tensor.inputs.iter().find(|(other, _)| *other == member);
        input
            .and_then(|(_, info)| info.shape.first().copied())
            .unwrap_or(0)
    };
    let ends = |run: &crate::vocabulary::Run| match &run.from {
        Rows::Of { member, first } => vec![(*member, first + run.rows.len())],
        Rows::Mean(of) => of.iter().map(|(member, row)| (*member, row + 1)).collect(),
        Rows::Zero | Rows::Padding => Vec::new(),
    };
    let of_tensor = maps
        .iter()
        .filter(|((number, _), _)| tensor.is_aligned && *number == part);
    let runs = of_tensor.flat_map(|(_, map)| map.runs());
    let (member, end) = runs
        .flat_map(ends)
        .find(|(member, end)| *end > rows_of(*member))?;
    let found = [(
        format!("model {}", member + 1),
        format!("{} rows", rows_of(member)),
    )];
    let subject = format!("tensor {}", tensor.name);
    let message = format!(
        "has fewer rows than its tokenizer has tokens (row {} is needed)",
        end - 1
    );
    Some(Incompatibility::new(subject, message, found))
}

/// Each model once, however often it is listed.
fn distinct(models: &[(String, Source)]) -> impl Iterator<Item = &(String, Source)> {
    let is_first = |index: usize, source: &Source| {
        let mut before = models[..index].iter();
        before.all(|(_, other)| other.reference() != source.reference())
    };
    let numbered = models.iter().enumerate();
    numbered
        .filter(move |(index, (_, source))| is_first(*index, source))
        .map(|(_, model)| model)
}

/// The rows of every member of the parts whose tensors have a row a token.
fn maps(alignment: &Alignment, parts: &[Part]) -> Result<BTreeMap<(usize, usize), RowMap>> {
    let mut maps = BTreeMap::new();
    for (number, part) in parts.iter().enumerate() {
        // Embeddings are of the first part, heads of the last.
        if number != 0 && number + 1 != parts.len() {
            continue;
        }
        let members: Vec<usize> = part.members.iter().map(|member| member.input).collect();
        for own in 0..members.len() {
            let map = alignment
                .map(&members, own, part.base)
                .map_err(|problem| MergeError::Config(Problems::new("the merge", "", vec![problem])))?;
            maps.insert((number, own), map);
        }
    }
    Ok(maps)
}

fn inputs_of(
    tensor: &Matched,
    part: &Part,
    number: usize,
    maps: &BTreeMap<(usize, usize), RowMap>,
    rows: usize,
) -> Vec<WorkInput> {
    let input = |(member, info): &(usize, tributary_tensorfile::TensorInfo)| {
        let map = maps.get(&(number, *member)).filter(|_| tensor.is_aligned);
        let own_rows = info.shape.first().copied().unwrap_or(0);
        let map = map.filter(|map| !(own_rows == rows && map.is_plain(*member, rows)));
        WorkInput {
            input: part.members.get(*member).map_or(0, |member| member.input),
            dtype: map.map_or(info.dtype, |map| type_read(map, info.dtype, &tensor.inputs)),
            info: info.clone(),
            map: map.cloned().map(Arc::new),
        }
    };
    tensor.inputs.iter().map(input).collect()
}

/// The type that gathered rows are read as: their own, unless some are computed or stored otherwise.
fn type_read(map: &RowMap, own: DType, all: &[(usize, tributary_tensorfile::TensorInfo)]) -> DType {
    let is_own = |run: &crate::vocabulary::Run| match &run.from {
        Rows::Of { member, .. } => all
            .iter()
            .all(|(other, info)| other != member || info.dtype == own),
        Rows::Mean(_) | Rows::Zero | Rows::Padding => true,
    };
    if map.computes() || !map.runs().iter().all(is_own) {
        DType::F32
    } else {
        own
    }
}
