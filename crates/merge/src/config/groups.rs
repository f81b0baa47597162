//! The three ways to list models (`models`, `slices`, `modules`) as one: groups of models, each with the layers it makes.

use super::spec::{MergeSpec, ModelSpec, Parameters, SliceSpec, SourceSpec, TokenSource};

/// Models that are merged with each other: all layers of the result, or one stretch of them.
#[derive(Clone, Debug)]
pub(crate) struct Group<'a> {
    /// Where its models are listed: `models`, `slices[1].sources`.
    pub(crate) path: String,
    pub(crate) members: Vec<Member<'a>>,
    /// The base of these models and where it is named.
    pub(crate) base: Option<(&'a str, String)>,
    /// Parameters for all of them, the nearest first.
    pub(crate) parameters: Vec<&'a Parameters>,
}

/// A model of a group.
#[derive(Clone, Debug)]
pub(crate) struct Member<'a> {
    /// Where it stands: `models[1]`.
    pub(crate) path: String,
    pub(crate) model: &'a str,
    /// An adapter that is named beside the model, in a document that is not [`joined`].
    adapter: Option<&'a str>,
    pub(crate) name: Option<&'a str>,
    /// The layers that are taken: first and one past the last; `None`: all.
    pub(crate) layers: Option<(usize, usize)>,
    pub(crate) parameters: &'a Parameters,
}

impl Group<'_> {
    /// Is it a stretch of layers?
    pub(crate) fn is_slice(&self) -> bool {
        self.members.iter().any(|member| member.layers.is_some())
    }
}

/// Every group of the document, in the order of the result's layers.
pub(crate) fn groups(spec: &MergeSpec) -> Vec<Group<'_>> {
    let whole = &spec.parameters;
    let mut groups = listed(spec, "", &spec.models, &spec.slices, vec![whole]);
    for (name, module) in &spec.modules {
        let path = format!("modules.{name}.");
        let parameters = vec![&module.parameters, whole];
        groups.extend(listed(spec, &path, &module.models, &module.slices, parameters));
    }
    groups
}

fn listed<'a>(
    spec: &'a MergeSpec,
    at: &str,
    models: &'a [ModelSpec],
    slices: &'a [SliceSpec],
    parameters: Vec<&'a Parameters>,
) -> Vec<Group<'a>> {
    let base = || {
        spec.base_model
            .as_deref()
            .map(|base| (base, "base_model".to_string()))
    };
    let mut groups = Vec::new();
    if !models.is_empty() {
        let path = format!("{at}models");
        let member = |(index, model): (usize, &'a ModelSpec)| Member {
            path: format!("{path}[{index}]"),
            model: &model.model,
            adapter: model.adapter.as_deref(),
            name: model.name.as_deref(),
            layers: None,
            parameters: &model.parameters,
        };
        groups.push(Group {
            members: models.iter().enumerate().map(member).collect(),
            base: base(),
            parameters: parameters.clone(),
            path,
        });
    }
    for (number, slice) in slices.iter().enumerate() {
        let path = format!("{at}slices[{number}].sources");
        let member = |(index, source): (usize, &'a SourceSpec)| Member {
            path: format!("{path}[{index}]"),
            model: &source.model,
            adapter: source.adapter.as_deref(),
            name: None,
            layers: Some(source.layer_range),
            parameters: &source.parameters,
        };
        let own = slice.base_model.as_deref();
        let own = own.map(|base| (base, format!("{at}slices[{number}].base_model")));
        groups.push(Group {
            members: slice.sources.iter().enumerate().map(member).collect(),
            base: own.or_else(base),
            parameters: std::iter::once(&slice.parameters)
                .chain(parameters.iter().copied())
                .collect(),
            path,
        });
    }
    groups
}

/// Every place that names a model, and what it names.
pub(super) fn references(spec: &MergeSpec) -> Vec<(String, &str)> {
    let mut all: Vec<(String, &str)> = Vec::new();
    let mut add = |path: String, reference| all.push((path, reference));
    if let Some(base) = &spec.base_model {
        add("base_model".to_string(), base);
    }
    for group in groups(spec) {
        for member in &group.members {
            add(format!("{}.model", member.path), member.model);
            if let Some(adapter) = member.adapter {
                add(format!("{}.adapter", member.path), adapter);
            }
        }
        if let Some((base, path)) = group.base.filter(|(_, path)| path != "base_model") {
            add(path, base);
        }
    }
    let is_model = |source: &&str| !matches!(*source, "base" | "union");
    if let Some(source) = spec.tokenizer_source.as_deref().filter(is_model) {
        add("tokenizer_source".to_string(), source);
    }
    if let Some(tokenizer) = &spec.tokenizer {
        if let Some(source) = tokenizer.source.as_deref().filter(is_model) {
            add("tokenizer.source".to_string(), source);
        }
        for (token, of) in &tokenizer.tokens {
            match &of.source {
                Some(TokenSource::Model(model)) => add(format!("tokenizer.tokens.{token}.source"), model),
                Some(TokenSource::Token { model, .. }) => {
                    add(format!("tokenizer.tokens.{token}.source.model"), model);
                }
                Some(TokenSource::Zero) | None => {}
            }
        }
    }
    all
}

/// Every model that is listed, and its adapter.
fn listed_mut(spec: &mut MergeSpec) -> impl Iterator<Item = (&mut String, &mut Option<String>)> {
    let (models, slices): (Vec<_>, Vec<_>) = spec
        .modules
        .values_mut()
        .map(|module| (&mut module.models, &mut module.slices))
        .unzip();
    let models = models.into_iter().chain([&mut spec.models]).flatten();
    let slices = slices.into_iter().chain([&mut spec.slices]).flatten();
    let sources = slices.flat_map(|slice| &mut slice.sources);
    let models = models.map(|model| (&mut model.model, &mut model.adapter));
    models.chain(sources.map(|source| (&mut source.model, &mut source.adapter)))
}

/// The same document with every model and its adapter as one reference.
pub(super) fn joined(spec: &MergeSpec) -> MergeSpec {
    let mut spec = spec.clone();
    for (model, adapter) in listed_mut(&mut spec) {
        if let Some(adapter) = adapter.take() {
            *model = format!("{model}+{adapter}");
        }
    }
    spec
}

/// The same document with other references.
pub(super) fn renamed(spec: &MergeSpec, call: &dyn Fn(&str) -> String) -> MergeSpec {
    let mut spec = spec.clone();
    let rename = |reference: &mut String| *reference = call(reference);
    for (model, adapter) in listed_mut(&mut spec) {
        rename(model);
        adapter.iter_mut().for_each(rename);
    }
    spec.base_model.iter_mut().for_each(rename);
    let slices = spec
        .modules
        .values_mut()
        .map(|module| &mut module.slices)
        .chain([&mut spec.slices]);
    for slice in slices.flatten() {
        slice.base_model.iter_mut().for_each(rename);
    }
    let source = |source: &mut String| {
        if !matches!(source.as_str(), "base" | "union") {
            rename(source);
        }
    };
    spec.tokenizer_source.iter_mut().for_each(source);
    if let Some(tokenizer) = &mut spec.tokenizer {
        tokenizer.source.iter_mut().for_each(source);
        for of in tokenizer.tokens.values_mut() {
            match &mut of.source {
                Some(TokenSource::Model(model) | TokenSource::Token { model, .. }) => rename(model),
                Some(TokenSource::Zero) | None => {}
            }
        }
    }
    spec
}
