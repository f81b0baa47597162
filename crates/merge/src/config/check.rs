//! Mistakes of a merge that show without looking at the models.

use std::collections::BTreeMap;

use super::parameter::{ParameterValue, Scalar};
use super::problem::Problem;
use super::spec::MergeSpec;
use super::suggest::nearest;
use crate::method::{self, BaseUse, Kind, METHODS, Method, Parameter, Scope};

/// Parameters that change nothing here: mergekit's old files carry them, and masks are never kept in memory.
const WITHOUT_EFFECT: &[&str] = &["int8_mask"];

pub(crate) fn check(spec: &MergeSpec) -> Vec<Problem> {
    let mut problems = Vec::new();
    check_models(spec, &mut problems);
    check_tokenizer(spec, &mut problems);
    match method::find(&spec.merge_method) {
        Some(method) => check_method(spec, method, &mut problems),
        // An empty name has been reported where it was read.
        None if spec.merge_method.is_empty() => {}
        None => problems.push(unknown_method(&spec.merge_method)),
    }
    problems
}

fn unknown_method(name: &str) -> Problem {
    let known: Vec<&str> = METHODS.iter().map(|method| method.name()).collect();
    Problem::value("merge_method", format!("unknown merge method {name:?}"))
        .suggest(nearest(name, known.iter().copied()), &known)
}

fn check_models(spec: &MergeSpec, problems: &mut Vec<Problem>) {
    if spec.models.is_empty() {
        problems.push(Problem::value("models", "at least one model is needed"));
    }
    for (index, model) in spec.models.iter().enumerate() {
        let same = |other: &super::spec::ModelSpec| model.name.is_some() && other.name == model.name;
        if spec.models.iter().take(index).any(same) {
            let name = model.name.as_deref().unwrap_or_default();
            problems.push(Problem::value(
                format!("models[{index}].name"),
                format!("two models are called {name:?}"),
            ));
        }
    }
}

fn check_tokenizer(spec: &MergeSpec, problems: &mut Vec<Problem>) {
    let Some(source) = spec.tokenizer_source.as_deref() else {
        return;
    };
    let models: Vec<&str> = spec
        .base_model
        .iter()
        .chain(spec.models.iter().map(|model| &model.model))
        .map(String::as_str)
        .collect();
    if source == "union" {
        let problem = Problem::value(
            "tokenizer_source",
            "\"union\" is mergekit's, but not in this version yet",
        );
        problems.push(problem.help("\"base\" takes the base model's tokenizer"));
    } else if source != "base" && !models.contains(&source) {
        let known: Vec<&str> = std::iter::once("base").chain(models.iter().copied()).collect();
        let problem = Problem::value("tokenizer_source", format!("{source:?} is none of the models"));
        problems.push(problem.suggest(nearest(source, known.iter().copied()), &known));
    }
}

fn check_method(spec: &MergeSpec, method: &dyn Method, problems: &mut Vec<Problem>) {
    let reads_base = method.base().reads_base(spec.base_model.is_some());
    if method.base().is_needed() {
        match spec.base_model.as_deref() {
            None => problems.push(
                Problem::value("merge_method", format!("{} needs \"base_model\"", method.name()))
                    .help("name the model that the others were fine-tuned from"),
            ),
            Some(base)
                if reads_base
                    && !spec.models.is_empty()
                    && spec.models.iter().all(|model| model.model == base) =>
            {
                problems.push(Problem::value(
                    "models",
                    "there is nothing to merge but the base model",
                ));
            }
            Some(_) => {}
        }
    }
    check_count(spec, method, reads_base, problems);
    check_parameters(method, &spec.parameters, "parameters", Scope::Merge, problems);
    for parameter in method.parameters() {
        let is_missing = parameter.scope != Scope::Model
            && parameter.default.is_none()
            && !spec.parameters.contains_key(parameter.name);
        if is_missing {
            let message = format!("{} needs parameter {:?}", method.name(), parameter.name);
            let help = format!(
                "write \"parameters: {{{}: ...}}\" in the document",
                parameter.name
            );
            problems.push(Problem::value("merge_method", message).help(help));
        }
    }
    for (index, model) in spec.models.iter().enumerate() {
        let path = format!("models[{index}].parameters");
        check_parameters(method, &model.parameters, &path, Scope::Model, problems);
        let is_base = reads_base && spec.base_model.as_ref() == Some(&model.model);
        for parameter in method.parameters() {
            let missing = parameter.scope == Scope::Model
                && parameter.default.is_none()
                && !model.parameters.contains_key(parameter.name)
                && !spec.parameters.contains_key(parameter.name);
            if missing && !is_base {
                let message = format!(
                    "{} needs parameter {:?} of every model",
                    method.name(),
                    parameter.name
                );
                let help = format!(
                    "write \"parameters: {{{}: ...}}\" here or once for all models",
                    parameter.name
                );
                problems.push(Problem::value(format!("models[{index}]"), message).help(help));
            }
        }
    }
}

/// As many models as the method merges?
fn check_count(spec: &MergeSpec, method: &dyn Method, reads_base: bool, problems: &mut Vec<Problem>) {
    let base = spec.base_model.as_deref();
    let is_merged = |model: &&super::spec::ModelSpec| !reads_base || base != Some(model.model.as_str());
    let mut count = spec.models.iter().filter(is_merged).count();
    if method.base() == BaseUse::First
        && base.is_some_and(|base| spec.models.iter().all(|model| model.model != base))
    {
        count += 1;
    }
    let allowed = method.models();
    // None at all, or nothing but the base, has been said.
    if count == 0 || allowed.contains(&count) {
        return;
    }
    let beside = if reads_base { " beside the base" } else { "" };
    let wanted = match (*allowed.start(), *allowed.end()) {
        (least, most) if least == most => format!("{least} model(s){beside}"),
        (least, _) => format!("at least {least} models{beside}"),
    };
    let message = format!("{} merges {wanted}, and here are {count}", method.name());
    problems.push(Problem::value("models", message));
}

fn check_parameters(
    method: &dyn Method,
    parameters: &BTreeMap<String, ParameterValue>,
    path: &str,
    written: Scope,
    problems: &mut Vec<Problem>,
) {
    for (name, value) in parameters {
        let path = format!("{path}.{name}");
        let Some(parameter) = method
            .parameters()
            .iter()
            .find(|parameter| parameter.name == name)
        else {
            if !WITHOUT_EFFECT.contains(&name.as_str()) {
                let known: Vec<&str> = method
                    .parameters()
                    .iter()
                    .map(|parameter| parameter.name)
                    .collect();
                let problem = Problem::key(path, format!("{} has no parameter {name:?}", method.name()));
                problems.push(problem.suggest(nearest(name, known.iter().copied()), &known));
            }
            continue;
        };
        if parameter.scope != Scope::Model && written == Scope::Model {
            let problem = Problem::key(path, format!("{name:?} belongs to the merge, not to one model"));
            problems.push(problem.help("write it under the document's \"parameters\""));
            continue;
        }
        if parameter.scope == Scope::Merge && value.uniform().is_none() {
            problems.push(Problem::value(
                path,
                format!("{name:?} is one value for the whole merge"),
            ));
            continue;
        }
        for scalar in value.scalars() {
            if let Some(problem) = check_kind(parameter, &scalar, &path) {
                problems.push(problem);
                break;
            }
        }
    }
}

fn check_kind(parameter: &Parameter, scalar: &Scalar, path: &str) -> Option<Problem> {
    let expected = |what: &str| {
        Some(Problem::value(
            path,
            format!("{what} expected, found {}", describe(scalar)),
        ))
    };
    match (parameter.kind, scalar) {
        (Kind::Number, Scalar::Number(_)) | (Kind::Flag, Scalar::Flag(_)) => None,
        (Kind::Word(words), Scalar::Word(word)) if words.contains(&word.as_str()) => None,
        (Kind::Number, _) => expected("a number"),
        (Kind::Flag, _) => expected("true or false"),
        (Kind::Word(words), Scalar::Word(word)) => {
            let problem = Problem::value(path, format!("unknown {} {word:?}", parameter.name));
            Some(problem.suggest(nearest(word, words.iter().copied()), words))
        }
        (Kind::Word(words), _) => expected(&format!("one of {}", words.join(", "))),
    }
}

fn describe(scalar: &Scalar) -> String {
    match scalar {
        Scalar::Flag(flag) => flag.to_string(),
        Scalar::Number(number) => number.to_string(),
        Scalar::Word(word) => format!("{word:?}"),
    }
}
