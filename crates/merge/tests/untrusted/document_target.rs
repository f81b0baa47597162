//! The merge document, as a target for the fuzzer.

use tributary_merge::{METHODS, MergeConfig, MergeOptions, ParameterKind, ParameterScope, Source, plan};
use tributary_testkit::fuzz::{Outcome, Target};

use super::place::{Place, outcome};
use super::targets::words;

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
                    ParameterKind::Number | ParameterKind::NumberOr(_) => format!("{}: 0.5", one.name),
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
