//! Mistakes of a merge that show without looking at the models.

use super::groups::{Group, Member, groups};
use super::parameter::Scalar;
use super::problem::Problem;
use super::spec::{MergeSpec, ModelSpec, Parameters, TokenSource};
use super::suggest::nearest;
use crate::method::{self, BaseUse, Kind, METHODS, Method, Parameter, Scope};
use crate::vocabulary::{AUTO_TEMPLATE, template_names};

/// Parameters that change nothing here: mergekit's old files carry them, and masks are never kept in memory.
const WITHOUT_EFFECT: &[&str] = &["int8_mask"];

/// Largest multiple that rows are padded to.
const MAX_MULTIPLE: usize = 1 << 16;

pub(crate) fn check(spec: &MergeSpec) -> Vec<Problem> {
    let mut problems = Vec::new();
    check_lists(spec, &mut problems);
    check_tokenizer(spec, &mut problems);
    check_template(spec, &mut problems);
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

/// One way to list models, some of them, and no two of one name.
fn check_lists(spec: &MergeSpec, problems: &mut Vec<Problem>) {
    let ways = [
        ("models", !spec.models.is_empty()),
        ("slices", !spec.slices.is_empty()),
        ("modules", !spec.modules.is_empty()),
    ];
    let mut given = ways.iter().filter(|(_, is_given)| *is_given).map(|(key, _)| *key);
    let first = given.next();
    for other in given {
        let message = format!(
            "{:?} and {other:?} are two ways to say the same: one is needed",
            first.unwrap_or_default()
        );
        problems.push(Problem::key(other, message));
    }
    if first.is_none() {
        problems.push(Problem::value("models", "at least one model is needed"));
    }
    if let Some(second) = spec.modules.keys().nth(1) {
        let message = "models of several modules cannot be merged in this version";
        problems.push(Problem::key(format!("modules.{second}"), message));
    }
    for (name, module) in &spec.modules {
        let path = format!("modules.{name}");
        match (module.models.is_empty(), module.slices.is_empty()) {
            (true, true) => problems.push(Problem::value(
                path.clone(),
                "either \"models\" or \"slices\" is needed",
            )),
            (false, false) => {
                let message = "\"models\" and \"slices\" are two ways to say the same: one is needed";
                problems.push(Problem::key(format!("{path}.slices"), message));
            }
            _ => {}
        }
        check_names(&module.models, &format!("{path}.models"), problems);
    }
    check_names(&spec.models, "models", problems);
}

fn check_names(models: &[ModelSpec], path: &str, problems: &mut Vec<Problem>) {
    for (index, model) in models.iter().enumerate() {
        let same = |other: &ModelSpec| model.name.is_some() && other.name == model.name;
        if models.iter().take(index).any(same) {
            let name = model.name.as_deref().unwrap_or_default();
            let message = format!("two models are called {name:?}");
            problems.push(Problem::value(format!("{path}[{index}].name"), message));
        }
    }
}

fn check_tokenizer(spec: &MergeSpec, problems: &mut Vec<Problem>) {
    if spec.tokenizer.is_some() && spec.tokenizer_source.is_some() {
        let message = "\"tokenizer\" and \"tokenizer_source\" are two ways to say the same: one is needed";
        problems.push(Problem::key("tokenizer_source", message));
    }
    let multiple = spec
        .tokenizer
        .as_ref()
        .and_then(|tokenizer| tokenizer.pad_to_multiple_of);
    if multiple.is_some_and(|multiple| !(1..=MAX_MULTIPLE).contains(&multiple)) {
        let message = format!("a number of rows from 1 to {MAX_MULTIPLE} expected");
        problems.push(Problem::value("tokenizer.pad_to_multiple_of", message));
    }
    let groups = groups(spec);
    let members = groups
        .iter()
        .flat_map(|group| group.members.iter().map(|member| member.model));
    let bases = groups.iter().filter_map(|group| Some(group.base.as_ref()?.0));
    let mut models: Vec<&str> = bases.chain(members).collect();
    models.sort_unstable();
    models.dedup();
    let words: Vec<&str> = ["base", "union"]
        .into_iter()
        .chain(models.iter().copied())
        .collect();
    let path = if spec.tokenizer.is_some() {
        "tokenizer.source"
    } else {
        "tokenizer_source"
    };
    if let Some(source) = spec.tokenizer_wanted().filter(|source| !words.contains(source)) {
        // Any model may lend its tokenizer; what looks like a slip of the pen is none.
        let near = nearest(source, words.iter().copied());
        if near.is_some() && !source.contains(['/', '$']) {
            let problem = Problem::value(path, format!("{source:?} is none of the models"));
            problems.push(problem.suggest(near, &words));
        }
    }
    for (token, of) in spec.tokenizer.iter().flat_map(|tokenizer| &tokenizer.tokens) {
        let (model, path) = match &of.source {
            Some(TokenSource::Model(model)) => (model, format!("tokenizer.tokens.{token}.source")),
            Some(TokenSource::Token { model, .. }) => {
                (model, format!("tokenizer.tokens.{token}.source.model"))
            }
            Some(TokenSource::Zero) | None => continue,
        };
        if !models.contains(&model.as_str()) {
            let problem = Problem::value(
                path,
                format!("{model:?} is none of the models, so it has no row to give"),
            );
            problems.push(problem.suggest(nearest(model, models.iter().copied()), &models));
        }
    }
}

fn check_template(spec: &MergeSpec, problems: &mut Vec<Problem>) {
    let Some(template) = spec.chat_template.as_deref() else {
        return;
    };
    let known: Vec<&str> = std::iter::once(AUTO_TEMPLATE).chain(template_names()).collect();
    if !template.contains('{') && !known.contains(&template) {
        let message = format!("{template:?} is neither a template nor the name of one");
        let problem = Problem::value("chat_template", message);
        problems.push(problem.suggest(nearest(template, known.iter().copied()), &known));
    }
}

fn check_method(spec: &MergeSpec, method: &dyn Method, problems: &mut Vec<Problem>) {
    let groups = groups(spec);
    if method.base().is_needed() && groups.iter().any(|group| group.base.is_none()) {
        problems.push(
            Problem::value("merge_method", format!("{} needs \"base_model\"", method.name()))
                .help("name the model that the others were fine-tuned from"),
        );
    }
    for group in &groups {
        check_base(group, method, problems);
        check_lengths(group, problems);
        check_count(group, method, problems);
    }
    for (path, parameters) in levels(spec) {
        check_parameters(method, parameters, &path, Scope::Merge, problems);
    }
    let mut missing = Vec::new();
    for group in &groups {
        for parameter in method.parameters() {
            let is_given = |parameters: &&Parameters| parameters.contains_key(parameter.name);
            let is_missing = parameter.default.is_none() && !group.parameters.iter().any(is_given);
            if is_missing && parameter.scope != Scope::Model && !missing.contains(&parameter.name) {
                missing.push(parameter.name);
                let message = format!("{} needs parameter {:?}", method.name(), parameter.name);
                let help = format!(
                    "write \"parameters: {{{}: ...}}\" in the document",
                    parameter.name
                );
                problems.push(Problem::value("merge_method", message).help(help));
            }
        }
        for member in &group.members {
            let path = format!("{}.parameters", member.path);
            check_parameters(method, member.parameters, &path, Scope::Model, problems);
            check_given(group, member, method, problems);
        }
    }
}

/// Every mapping of parameters that holds for more than one model, with where it stands.
fn levels(spec: &MergeSpec) -> Vec<(String, &Parameters)> {
    let mut levels = vec![("parameters".to_string(), &spec.parameters)];
    let slices = |at: String, slices: &[super::spec::SliceSpec]| {
        let path = move |number: usize| format!("{at}slices[{number}].parameters");
        (0..slices.len()).map(path).collect::<Vec<_>>()
    };
    levels.extend(
        slices(String::new(), &spec.slices)
            .into_iter()
            .zip(spec.slices.iter().map(|slice| &slice.parameters)),
    );
    for (name, module) in &spec.modules {
        levels.push((format!("modules.{name}.parameters"), &module.parameters));
        let paths = slices(format!("modules.{name}."), &module.slices);
        levels.extend(
            paths
                .into_iter()
                .zip(module.slices.iter().map(|slice| &slice.parameters)),
        );
    }
    levels
}

/// Is the base where the method needs it?
fn check_base(group: &Group<'_>, method: &dyn Method, problems: &mut Vec<Problem>) {
    let Some((base, _)) = &group.base else { return };
    let is_read = method.base().reads_base(true);
    let is_base = |member: &Member<'_>| member.model == *base;
    if is_read && !group.members.is_empty() && group.members.iter().all(is_base) {
        let message = "there is nothing to merge but the base model";
        problems.push(Problem::value(group.path.clone(), message));
    }
    let is_part = is_read || method.base() == BaseUse::First;
    if group.is_slice() && is_part && !group.members.iter().any(is_base) {
        let message = format!(
            "{} needs layers of the base model, and it is not among the sources",
            method.name()
        );
        let help =
            format!("add \"- {{model: {base}, layer_range: [...]}}\", or name another \"base_model\" here");
        problems.push(Problem::value(group.path.clone(), message).help(help));
    }
}

/// As many layers of each source?
fn check_lengths(group: &Group<'_>, problems: &mut Vec<Problem>) {
    for member in &group.members {
        if let Some((first, end)) = member.layers.filter(|(first, end)| first >= end) {
            let message =
                format!("there is no layer in [{first}, {end}]: the second is the one after the last");
            problems.push(Problem::value(format!("{}.layer_range", member.path), message));
        }
    }
    let length = |member: &Member<'_>| member.layers.map(|(first, end)| end.saturating_sub(first));
    let Some(first) = group.members.first().and_then(length) else {
        return;
    };
    for member in &group.members {
        // An empty range has been reported where it was read.
        if let Some(found) = length(member).filter(|found| *found != first && *found > 0 && first > 0) {
            let message =
                format!("{found} layers, but {first} of the first source: a slice has as many of each");
            problems.push(Problem::value(format!("{}.layer_range", member.path), message));
        }
    }
}

/// As many models as the method merges?
fn check_count(group: &Group<'_>, method: &dyn Method, problems: &mut Vec<Problem>) {
    let base = group.base.as_ref().map(|(base, _)| *base);
    let reads_base = method.base().reads_base(base.is_some());
    let is_merged = |member: &&Member<'_>| !reads_base || base != Some(member.model);
    let mut count = group.members.iter().filter(is_merged).count();
    let is_first = method.base() == BaseUse::First;
    if is_first && base.is_some_and(|base| group.members.iter().all(|member| member.model != base)) {
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
    problems.push(Problem::value(group.path.clone(), message));
}

/// Has a model every parameter that is its own?
fn check_given(group: &Group<'_>, member: &Member<'_>, method: &dyn Method, problems: &mut Vec<Problem>) {
    let base = group.base.as_ref().map(|(base, _)| *base);
    if method.base().reads_base(base.is_some()) && base == Some(member.model) {
        return;
    }
    for parameter in method.parameters() {
        let mut given = std::iter::once(&member.parameters).chain(&group.parameters);
        let word = group
            .parameters
            .iter()
            .find_map(|level| level.get(parameter.name));
        let is_word = word
            .and_then(|value| value.uniform())
            .is_some_and(|scalar| matches!(scalar, Scalar::Word(_)));
        if matches!(parameter.kind, Kind::NumberOr(_))
            && is_word
            && member.parameters.contains_key(parameter.name)
        {
            let path = format!("{}.parameters.{}", member.path, parameter.name);
            let message = format!(
                "{:?} of all models is measured, so no model has one of its own",
                parameter.name
            );
            problems.push(Problem::key(path, message));
        }
        let is_missing = parameter.scope == Scope::Model
            && parameter.default.is_none()
            && !given.any(|parameters| parameters.contains_key(parameter.name));
        if is_missing {
            let message = format!(
                "{} needs parameter {:?} of every model",
                method.name(),
                parameter.name
            );
            let help = format!(
                "write \"parameters: {{{}: ...}}\" here or once for all models",
                parameter.name
            );
            problems.push(Problem::value(member.path.clone(), message).help(help));
        }
    }
}

fn check_parameters(
    method: &dyn Method,
    parameters: &Parameters,
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
        let for_all = written != Scope::Model && value.uniform().is_some();
        for scalar in value.scalars() {
            if let Some(problem) = check_kind(parameter, &scalar, &path, for_all) {
                problems.push(problem);
                break;
            }
        }
    }
}

fn check_kind(parameter: &Parameter, scalar: &Scalar, path: &str, for_all: bool) -> Option<Problem> {
    let expected = |what: &str| {
        Some(Problem::value(
            path,
            format!("{what} expected, found {}", describe(scalar)),
        ))
    };
    match (parameter.kind, scalar) {
        (Kind::Number | Kind::NumberOr(_), Scalar::Number(_)) | (Kind::Flag, Scalar::Flag(_)) => None,
        // mergekit's way to say it.
        (Kind::Word(_), Scalar::Flag(_)) if parameter.name == Parameter::RESCALE.name => None,
        (Kind::Word(words), Scalar::Word(word)) if words.contains(&word.as_str()) => None,
        (Kind::NumberOr(words), Scalar::Word(word)) if words.contains(&word.as_str()) => {
            let message = format!("{word:?} weighs all models together");
            let problem = Problem::value(path, message);
            (!for_all).then(|| problem.help("write it once, under the document's \"parameters\""))
        }
        (Kind::NumberOr(words), Scalar::Word(word)) => {
            let problem = Problem::value(path, format!("a number expected, found {word:?}"));
            Some(problem.suggest(nearest(word, words.iter().copied()), words))
        }
        (Kind::Number | Kind::NumberOr(_), _) => expected("a number"),
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
