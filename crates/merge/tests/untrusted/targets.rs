//! What merging reads, as targets for the fuzzer.

use serde_json::json;
use tributary_merge::{METHODS, MergeConfig, MergeOptions, ParameterKind, ParameterScope, Source, plan};
use tributary_store::{MANIFEST, ManifestDraft, Publication, Store};
use tributary_testkit::fuzz::{Outcome, Random, Target};

use super::place::{ALONE, BOTH, Place, configuration, model_file, outcome, safetensors};

/// Words of JSON anywhere.
const JSON: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "null",
    "true",
    "false",
    "{}",
    "[]",
    "\"\"",
    "\"a\"",
    "-1",
    "1e400",
    "\"\\ud800\"",
    "\"\\u0000\"",
    "\"\\u001b[2J\"",
    "\"../../x\"",
    "\"/etc/passwd\"",
    "\u{feff}",
    "\u{202e}",
];

fn words(own: &[&str]) -> Vec<Vec<u8>> {
    JSON.iter()
        .chain(own)
        .map(|word| word.as_bytes().to_vec())
        .collect()
}

/// `model.safetensors`.
pub(crate) struct Safetensors(pub(crate) Place);

impl Target for Safetensors {
    fn name(&self) -> &'static str {
        "safetensors"
    }

    fn seeds(&self) -> Vec<Vec<u8>> {
        let tensors = json!({
            "z": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]},
            "empty": {"dtype": "F16", "shape": [3, 0], "data_offsets": [4, 4]},
            "\u{30e2}": {"dtype": "U8", "shape": [1, 1, 1, 3], "data_offsets": [4, 7]},
            "flags": {"dtype": "BOOL", "shape": [1], "data_offsets": [7, 8]},
        });
        vec![
            model_file(),
            safetensors("{}", 0),
            safetensors(r#"{"__metadata__":{}}   "#, 0),
            safetensors(tensors.to_string(), 8),
        ]
    }

    fn dictionary(&self) -> Vec<Vec<u8>> {
        words(&[
            "\"__metadata__\"",
            "\"dtype\":\"F32\"",
            "\"shape\":[1]",
            "\"data_offsets\":[0,4]",
            "\"F8_E4M3\"",
            "\"I64\"",
            "\"C64\"",
            "[4294967296,4294967296]",
            "[0,18446744073709551615]",
            "\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]},",
            "\"lm_head.weight\"",
        ])
    }

    /// The length of the header, which ends with the last brace: the data here are zeros.
    fn repair(&self, input: &mut Vec<u8>, _random: &mut Random) {
        if let Some(last) = input.iter().rposition(|byte| *byte == b'}')
            && let Some(length) = (last + 1).checked_sub(8)
            && let Some(place) = input.first_chunk_mut::<8>()
        {
            *place = (length as u64).to_le_bytes();
        }
    }

    fn read(&mut self, input: &[u8]) -> Outcome {
        self.0.put("model.safetensors", input);
        self.0.merge(&[ALONE])
    }
}

/// `model.safetensors.index.json`, beside two shards.
pub(crate) struct Index(Place);

impl Index {
    pub(crate) fn new() -> Index {
        let place = Place::new();
        place.store("subject").delete("model.safetensors").unwrap();
        let shard = |name: &str| {
            let tensor = format!(r#"{{"{name}":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}}}"#);
            safetensors(tensor, 4)
        };
        place.put("model-1.safetensors", shard("a"));
        place.put("model-2.safetensors", shard("b"));
        Index(place)
    }
}

impl Target for Index {
    fn name(&self) -> &'static str {
        "index"
    }

    fn seeds(&self) -> Vec<Vec<u8>> {
        let map = json!({"a": "model-1.safetensors", "b": "model-2.safetensors"});
        vec![
            json!({"metadata": {"total_size": 8}, "weight_map": map})
                .to_string()
                .into_bytes(),
            format!("{:#}\n", json!({"weight_map": map, "more": [1, {"x": null}]})).into_bytes(),
        ]
    }

    fn dictionary(&self) -> Vec<Vec<u8>> {
        words(&[
            "\"weight_map\"",
            "\"model-1.safetensors\"",
            "\"model-2.safetensors\"",
            "\"model-3.safetensors\"",
            "\"./model-1.safetensors\"",
            "\"C:x\"",
            "\"nul\"",
            "\"config.json\"",
            "\"%2e%2e\"",
            "\"b\":\"model-1.safetensors\",",
        ])
    }

    fn read(&mut self, input: &[u8]) -> Outcome {
        self.0.put("model.safetensors.index.json", input);
        self.0.merge(&[ALONE])
    }
}

/// `config.json`, beside a good model's.
pub(crate) struct Configuration(pub(crate) Place);

impl Target for Configuration {
    fn name(&self) -> &'static str {
        "config"
    }

    fn seeds(&self) -> Vec<Vec<u8>> {
        let mut new = configuration();
        let scaling = new["rope_scaling"].take();
        new["rope_parameters"] = scaling;
        new["rope_parameters"]["rope_theta"] = json!(10_000);
        vec![
            configuration().to_string().into_bytes(),
            format!("{new:#}").into_bytes(),
        ]
    }

    fn dictionary(&self) -> Vec<Vec<u8>> {
        words(&[
            "\"num_hidden_layers\":",
            "\"tie_word_embeddings\":",
            "\"quantization_config\":{},",
            "\"rope_scaling\":",
            "\"rope_theta\":",
            "\"head_dim\":null,",
            "\"num_attention_heads\":0,",
            "18446744073709551615",
        ])
    }

    fn read(&mut self, input: &[u8]) -> Outcome {
        self.0.put("config.json", input);
        self.0.merge(&[ALONE, BOTH])
    }
}

/// `tokenizer.json`, beside a good model's. It is compared if it can be.
pub(crate) struct Tokenizer(Place);

impl Tokenizer {
    pub(crate) fn new() -> Tokenizer {
        let mut place = Place::new();
        place
            .store("base")
            .put("tokenizer.json", tokenizer().to_string())
            .unwrap();
        place.reopen_base();
        Tokenizer(place)
    }
}

fn tokenizer() -> serde_json::Value {
    let added = json!({"id": 3, "content": "<s>", "single_word": false, "special": true});
    json!({
        "version": "1.0", "added_tokens": [added], "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]},
    })
}

impl Target for Tokenizer {
    fn name(&self) -> &'static str {
        "tokenizer"
    }

    fn seeds(&self) -> Vec<Vec<u8>> {
        let mut unigram = tokenizer();
        unigram["model"] = json!({"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["a", -1.5]]});
        vec![
            tokenizer().to_string().into_bytes(),
            format!("{unigram:#}").into_bytes(),
            json!({"model": {"type": "BPE", "vocab": {"b": 0}, "merges": ["a b"]}})
                .to_string()
                .into_bytes(),
        ]
    }

    fn dictionary(&self) -> Vec<Vec<u8>> {
        words(&[
            "\"vocab\":",
            "\"added_tokens\":",
            "\"content\":",
            "\"id\":",
            "\"model\":",
            "[\"x\", 0.5],",
        ])
    }

    fn read(&mut self, input: &[u8]) -> Outcome {
        self.0.put("tokenizer.json", input);
        self.0.merge(&[BOTH])
    }
}

/// `tributary.json` of an artifact, whose facts a merge believes.
pub(crate) struct Manifest(Place);

const RECORDED: &str =
    "merge_method: metagpt\nbase_model: base\nparameters: {norms: recorded}\nmodels: [{model: subject}]\n";

impl Manifest {
    pub(crate) fn new() -> Manifest {
        let mut place = Place::new();
        publish(&place.store("base"), json!({}));
        place.reopen_base();
        Manifest(place)
    }
}

fn publish(store: &Store, facts: serde_json::Value) {
    let publication = Publication::begin(store);
    for name in ["model.safetensors", "config.json"] {
        publication.put(name, store.get(name).unwrap()).unwrap();
    }
    let draft = ManifestDraft {
        kind: "model".to_string(),
        settings: json!({"method": "x", "steps": [1, 2.5, null]}),
        facts: facts.as_object().unwrap().clone(),
        ..ManifestDraft::default()
    };
    publication.commit(draft).unwrap();
}

impl Target for Manifest {
    fn name(&self) -> &'static str {
        "manifest"
    }

    fn seeds(&self) -> Vec<Vec<u8>> {
        let base = self.0.base().digest();
        publish(
            &self.0.store("subject"),
            json!({"distance_squared": {"from": base, "value": 1.5}}),
        );
        vec![self.0.store("subject").get(MANIFEST).unwrap().to_vec()]
    }

    fn dictionary(&self) -> Vec<Vec<u8>> {
        words(&[
            "\"objects\":",
            "\"path\": \"a/../b\",",
            "\"size\":",
            "\"chunks\": [\"00\"],",
            "\"blake3\":",
            "\"tributary.json\"",
            "\"format\": 2,",
            "\"outputs\":",
            "\"distance_squared\":",
        ])
    }

    /// The checksum, and the form that is checked with it.
    fn repair(&self, input: &mut Vec<u8>, _random: &mut Random) {
        let Ok(serde_json::Value::Object(mut fields)) = serde_json::from_slice(input) else {
            return;
        };
        fields.shift_remove("checksum");
        let text = |fields: &serde_json::Map<_, _>| {
            let mut text = serde_json::to_vec_pretty(fields).unwrap();
            text.push(b'\n');
            text
        };
        let checksum = blake3::hash(&text(&fields)).to_hex().to_string();
        fields.insert("checksum".to_string(), checksum.into());
        *input = text(&fields);
    }

    fn read(&mut self, input: &[u8]) -> Outcome {
        self.0.put(MANIFEST, input);
        self.0.merge(&[RECORDED])
    }
}

/// The document, with models to plan over.
pub(crate) struct Document {
    sources: Vec<Source>,
}

impl Document {
    pub(crate) fn new() -> Document {
        let place = Place::new();
        let names = ["base", "a", "b"].iter();
        let sources = names
            .map(|name| Source::open(name, &place.store("base")).unwrap())
            .collect();
        Document { sources }
    }

    /// A document for every method: two models, and a number for what must be given.
    fn of_methods() -> impl Iterator<Item = String> {
        METHODS.iter().map(|method| {
            let needed = |scope: ParameterScope| {
                let parameters = method.parameters().iter().filter(|one| one.scope == scope);
                let given = parameters.map(|one| match one.kind {
                    ParameterKind::Number => format!("{}: 0.5", one.name),
                    ParameterKind::Flag => format!("{}: true", one.name),
                    ParameterKind::Word(words) => format!("{}: {}", one.name, words[0]),
                });
                given.collect::<Vec<_>>().join(", ")
            };
            let base = if method.base().is_needed() { "base_model: base\n" } else { "" };
            let own = needed(ParameterScope::Model);
            format!(
                "merge_method: {}\n{base}models:\n  - {{model: a, parameters: {{{own}}}}}\n  - model: b\n    parameters: {{{own}}}\nparameters: {{{}}}\n",
                method.name(),
                needed(ParameterScope::Merge)
            )
        })
    }

    fn plan(&self, text: &str) -> Outcome {
        let planned = MergeConfig::parse(text, "merge.yml")
            .and_then(|config| plan(&config.spec, &self.sources, &MergeOptions::default()))
            .map(|plan| plan.summary().warnings);
        outcome(planned)
    }
}

impl Target for Document {
    fn name(&self) -> &'static str {
        "document"
    }

    fn seeds(&self) -> Vec<Vec<u8>> {
        let mut seeds: Vec<String> = Document::of_methods()
            .filter(|text| matches!(self.plan(text), Outcome::Read(_)))
            .collect();
        assert!(seeds.len() >= 5, "{seeds:?}");
        seeds.push(
            "# all that a document can have\nmerge_method: task_arithmetic\nbase_model: \"base\"\nmodels:\n\
             - model: &m a\n  name: first\n  parameters:\n    weight: [0, 0.5, 1e0]\n- model: 'b'\n  parameters:\n\
             \x20   weight:\n      - {filter: mlp, value: 0.25}\n      - value: 1\n\
             parameters: {normalize: false, lambda: 0.5}\ndtype: float32\nout_dtype: bfloat16\ntokenizer_source: base\n"
                .to_string(),
        );
        seeds.push(
            "{\"merge_method\": \"linear\", \"models\": [{\"model\": \"a\", \"parameters\": {\"weight\": 1}}]}"
                .to_string(),
        );
        seeds.into_iter().map(String::into_bytes).collect()
    }

    fn dictionary(&self) -> Vec<Vec<u8>> {
        let own = [
            "merge_method: ",
            "base_model: ",
            "models:\n",
            "- model: a\n",
            "parameters: ",
            "weight: ",
            "filter: ",
            "value: ",
            "dtype: float16\n",
            "tokenizer_source: ",
            "slices:\n",
            "&x ",
            "*x",
            "*m",
            "<<: *x\n",
            "---\n",
            "...\n",
            "!!binary ",
            "!!int ",
            "!x ",
            "|\n",
            ">-\n",
            "? ",
            "%YAML 1.2\n",
            ".nan",
            ".inf",
            "0x10",
            "0o17",
            "1_000",
            "~",
            "yes",
            "2020-01-01",
            "\r\n",
            "\t",
            "#",
            "'",
            "\"\\x1b[2J\"",
            "\u{85}",
            "\u{2028}",
        ];
        let mut words = words(&own);
        for method in METHODS {
            words.push(method.name().as_bytes().to_vec());
            words.extend(
                method
                    .parameters()
                    .iter()
                    .map(|one| format!("{}: ", one.name).into_bytes()),
            );
        }
        words
    }

    fn read(&mut self, input: &[u8]) -> Outcome {
        self.plan(&String::from_utf8_lossy(input))
    }
}
