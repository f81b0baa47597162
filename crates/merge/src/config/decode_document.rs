//! From a tree to a [`MergeSpec`]; never stops at the first mistake.

use std::collections::BTreeMap;

use super::decode::{Decoder, join};
use super::problem::Problem;
use super::spec::{
    Compat, MergeSpec, ModelSpec, ModuleSpec, SliceSpec, SourceSpec, TokenName, TokenSource, TokenSpec,
    TokenizerSpec,
};
use super::suggest::nearest;
use super::tree::{Node, Place, Value};

const DOCUMENT_KEYS: &[&str] = &[
    "merge_method",
    "base_model",
    "models",
    "slices",
    "modules",
    "parameters",
    "dtype",
    "out_dtype",
    "tokenizer_source",
    "tokenizer",
    "chat_template",
    "name",
    "compat",
];
const MODEL_KEYS: &[&str] = &["model", "adapter", "name", "parameters"];
const SLICE_KEYS: &[&str] = &["sources", "base_model", "parameters", "residual_weight"];
const SOURCE_KEYS: &[&str] = &["model", "adapter", "layer_range", "parameters"];
const MODULE_KEYS: &[&str] = &["models", "slices", "parameters"];
const TOKENIZER_KEYS: &[&str] = &["source", "tokens", "pad_to_multiple_of"];
const TOKEN_KEYS: &[&str] = &["source", "force"];
const TOKEN_SOURCE_KEYS: &[&str] = &["kind", "model", "token", "token_id"];

/// What a tree says, as far as it could be understood.
pub(crate) struct Decoded {
    /// `None` if something necessary is missing.
    pub(crate) spec: Option<MergeSpec>,
    pub(crate) problems: Vec<Problem>,
    /// Places of keys and of values by path.
    pub(crate) places: BTreeMap<String, (Option<Place>, Option<Place>)>,
}

/// Reads the document.
pub(crate) fn decode(root: &Node) -> Decoded {
    let mut decoder = Decoder::default();
    let spec = decoder.document(root);
    Decoded {
        spec,
        problems: decoder.problems,
        places: decoder.places,
    }
}

/// Reads where a token's rows come from.
///
/// # Errors
/// Every mistake in it.
pub(crate) fn decode_token_source(node: &Node) -> Result<TokenSource, Vec<Problem>> {
    let mut decoder = Decoder::default();
    match decoder.token_source(node, "") {
        Some(source) if decoder.problems.is_empty() => Ok(source),
        _ => Err(decoder.problems),
    }
}

impl Decoder {
    fn document(&mut self, root: &Node) -> Option<MergeSpec> {
        if matches!(root.value, Value::Null) {
            self.problems
                .push(Problem::value("", "the document is empty").at(root.place));
            return None;
        }
        let entries = self.map(root, "", DOCUMENT_KEYS)?;
        let mut spec = MergeSpec::default();
        for (path, key, node) in entries {
            match key {
                "merge_method" => spec.merge_method = self.text(node, &path).unwrap_or_default(),
                "base_model" => spec.base_model = self.optional_text(node, &path),
                "models" => spec.models = self.models(node, &path),
                "slices" => spec.slices = self.slices(node, &path),
                "modules" => spec.modules = self.modules(node, &path),
                "parameters" => spec.parameters = self.parameters(node, &path),
                "dtype" => spec.dtype = self.float_type(node, &path),
                "out_dtype" => spec.out_dtype = self.float_type(node, &path),
                "tokenizer_source" => spec.tokenizer_source = self.optional_text(node, &path),
                "tokenizer" => spec.tokenizer = self.tokenizer(node, &path),
                "chat_template" => spec.chat_template = self.template(node, &path),
                "name" => spec.name = self.optional_text(node, &path),
                _ => spec.compat = self.compat(node, &path),
            }
        }
        self.require(root, "", "merge_method");
        if ["models", "slices", "modules"]
            .iter()
            .all(|key| self.is_missing(key))
        {
            self.problems
                .push(Problem::value("", "\"models\" is missing").at(root.place));
        }
        Some(spec)
    }

    /// The items of a list, each with its path; null is no list.
    fn items<'a>(&mut self, node: &'a Node, path: &str, what: &str) -> Vec<(String, &'a Node)> {
        if matches!(node.value, Value::Null) {
            return Vec::new();
        }
        let items = self.list(node, path, what).unwrap_or_default();
        let mut found = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let path = format!("{path}[{index}]");
            self.places.insert(path.clone(), (item.place, item.place));
            found.push((path, item));
        }
        found
    }

    fn models(&mut self, node: &Node, path: &str) -> Vec<ModelSpec> {
        let mut models = Vec::new();
        for (path, item) in self.items(node, path, "models") {
            let Some(entries) = self.map(item, &path, MODEL_KEYS) else {
                continue;
            };
            let mut model = ModelSpec::default();
            for (path, key, node) in entries {
                match key {
                    "model" => model.model = self.text(node, &path).unwrap_or_default(),
                    "adapter" => model.adapter = self.optional_text(node, &path),
                    "name" => model.name = self.optional_text(node, &path),
                    _ => model.parameters = self.parameters(node, &path),
                }
            }
            self.require(item, &path, "model");
            models.push(model);
        }
        models
    }

    fn slices(&mut self, node: &Node, path: &str) -> Vec<SliceSpec> {
        let mut slices = Vec::new();
        for (path, item) in self.items(node, path, "slices") {
            let Some(entries) = self.map(item, &path, SLICE_KEYS) else {
                continue;
            };
            let mut slice = SliceSpec::default();
            for (path, key, node) in entries {
                match key {
                    "sources" => slice.sources = self.sources(node, &path),
                    "base_model" => slice.base_model = self.optional_text(node, &path),
                    "parameters" => slice.parameters = self.parameters(node, &path),
                    _ if matches!(node.value, Value::Null) => {}
                    // mergekit reads it and does nothing with it.
                    _ => self.problems.push(
                        Problem::key(path, "\"residual_weight\" changes nothing, in mergekit neither")
                            .at(node.place)
                            .help("leave it out"),
                    ),
                }
            }
            self.require(item, &path, "sources");
            slices.push(slice);
        }
        slices
    }

    fn sources(&mut self, node: &Node, path: &str) -> Vec<SourceSpec> {
        let mut sources = Vec::new();
        for (path, item) in self.items(node, path, "sources") {
            let Some(entries) = self.map(item, &path, SOURCE_KEYS) else {
                continue;
            };
            let mut source = SourceSpec::default();
            for (path, key, node) in entries {
                match key {
                    "model" => source.model = self.text(node, &path).unwrap_or_default(),
                    "adapter" => source.adapter = self.optional_text(node, &path),
                    "layer_range" => source.layer_range = self.layer_range(node, &path).unwrap_or_default(),
                    _ => source.parameters = self.parameters(node, &path),
                }
            }
            self.require(item, &path, "model");
            self.require(item, &path, "layer_range");
            sources.push(source);
        }
        sources
    }

    /// `[first, one past the last]`.
    fn layer_range(&mut self, node: &Node, path: &str) -> Option<(usize, usize)> {
        let Value::List(items) = &node.value else {
            self.expected("[first layer, layer after the last]", node, path);
            return None;
        };
        let [first, end] = items.as_slice() else {
            self.expected(
                "two numbers, the first layer and the one after the last",
                node,
                path,
            );
            return None;
        };
        let (first, end) = (self.count(first, path)?, self.count(end, path)?);
        Some((first, end))
    }

    fn modules(&mut self, node: &Node, path: &str) -> BTreeMap<String, ModuleSpec> {
        let mut modules = BTreeMap::new();
        for (path, name, node) in self.named(node, path) {
            let Some(entries) = self.map(node, &path, MODULE_KEYS) else {
                continue;
            };
            let mut module = ModuleSpec::default();
            for (path, key, node) in entries {
                match key {
                    "models" => module.models = self.models(node, &path),
                    "slices" => module.slices = self.slices(node, &path),
                    _ => module.parameters = self.parameters(node, &path),
                }
            }
            modules.insert(name.to_string(), module);
        }
        modules
    }

    fn tokenizer(&mut self, node: &Node, path: &str) -> Option<TokenizerSpec> {
        if matches!(node.value, Value::Null) {
            return None;
        }
        let mut tokenizer = TokenizerSpec::default();
        for (path, key, node) in self.map(node, path, TOKENIZER_KEYS)? {
            match key {
                "source" => tokenizer.source = self.optional_text(node, &path),
                "tokens" => tokenizer.tokens = self.tokens(node, &path),
                _ if matches!(node.value, Value::Null) => {}
                _ => tokenizer.pad_to_multiple_of = self.count(node, &path),
            }
        }
        Some(tokenizer)
    }

    fn tokens(&mut self, node: &Node, path: &str) -> BTreeMap<String, TokenSpec> {
        let mut tokens = BTreeMap::new();
        for (path, token, node) in self.named(node, path) {
            let Some(entries) = self.map(node, &path, TOKEN_KEYS) else {
                continue;
            };
            let mut spec = TokenSpec::default();
            for (path, key, node) in entries {
                match (key, &node.value) {
                    ("source", Value::Null) => {}
                    ("source", _) => spec.source = self.token_source(node, &path),
                    _ => spec.force = self.flag(node, &path),
                }
            }
            tokens.insert(token.to_string(), spec);
        }
        tokens
    }

    fn token_source(&mut self, node: &Node, path: &str) -> Option<TokenSource> {
        if matches!(node.value, Value::Text(_)) {
            return self.text(node, path).map(TokenSource::Model);
        }
        let (mut kind, mut model, mut text, mut number) = (None, None, None, None);
        for (path, key, node) in self.map(node, path, TOKEN_SOURCE_KEYS)? {
            match key {
                "kind" => kind = self.text(node, &path),
                "model" => model = self.optional_text(node, &path),
                "token" => text = self.optional_text(node, &path),
                _ if matches!(node.value, Value::Null) => {}
                _ => number = self.count(node, &path),
            }
        }
        let mut refuse = |message: &str| {
            self.problems.push(Problem::value(path, message).at(node.place));
            None
        };
        let token = match (kind.as_deref(), text, number) {
            (Some("zero"), None, None) if model.is_none() => return Some(TokenSource::Zero),
            (Some("zero"), ..) => return refuse("a row of zeros has neither model nor token"),
            (Some("model_token"), Some(text), None) => TokenName::Text(text),
            (Some("model_token"), None, Some(number)) => TokenName::Number(number),
            (Some("model_token"), ..) => return refuse("either \"token\" or \"token_id\" is needed"),
            (Some(kind), ..) => {
                let known = ["zero", "model_token"];
                let problem = Problem::value(join(path, "kind"), format!("unknown kind {kind:?}"));
                let place = self.places.get(&join(path, "kind")).and_then(|places| places.1);
                self.problems
                    .push(problem.at(place).suggest(nearest(kind, known), &known));
                return None;
            }
            (None, ..) => return refuse("\"kind\" is missing: zero or model_token"),
        };
        match model {
            Some(model) => Some(TokenSource::Token { model, token }),
            None => refuse("\"model\" is missing"),
        }
    }

    /// A template or the name of one: a text that may have several lines.
    fn template(&mut self, node: &Node, path: &str) -> Option<String> {
        match &node.value {
            Value::Text(text) if text.contains('{') => Some(text.clone()),
            _ => self.optional_text(node, path),
        }
    }

    fn compat(&mut self, node: &Node, path: &str) -> Option<Compat> {
        let word = self.optional_text(node, path)?;
        if word == "mergekit" {
            return Some(Compat::Mergekit);
        }
        let problem = Problem::value(path, format!("unknown program {word:?}")).at(node.place);
        self.problems
            .push(problem.suggest(nearest(&word, ["mergekit"]), &["mergekit"]));
        None
    }
}
