//! The files of a model, as targets for the fuzzer.

use serde_json::json;
use tributary_store::{MANIFEST, ManifestDraft, Publication, Store};
use tributary_testkit::fuzz::{Outcome, Random, Target};

use super::place::{ALONE, BOTH, Place, configuration, model_file, safetensors};

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

pub(crate) fn words(own: &[&str]) -> Vec<Vec<u8>> {
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
        vec![model_file(), safetensors(tensors.to_string(), 8)]
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
