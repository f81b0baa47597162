//! A merge document in a file.

use std::collections::BTreeMap;

use super::decode_document::decode;
use super::problem::{Problem, Problems};
use super::spec::MergeSpec;
use super::tree::{Node, Place};
use crate::error::{MergeError, Result};

/// A checked merge document that remembers where its parts stand.
#[derive(Clone, Debug)]
pub struct MergeConfig {
    /// What the document says.
    pub spec: MergeSpec,
    file: String,
    text: String,
    places: BTreeMap<String, (Option<Place>, Option<Place>)>,
}

impl MergeConfig {
    /// Reads and checks a file of one document in mergekit's format. `file` is what messages call it.
    ///
    /// # Errors
    /// [`MergeError::Config`] with every mistake of the document.
    pub fn parse(yaml: &str, file: &str) -> Result<MergeConfig> {
        let mut documents = MergeConfig::parse_all(yaml, file)?;
        match (documents.pop(), documents.is_empty()) {
            (Some(config), true) => Ok(config),
            _ => Err(fail(
                yaml,
                file,
                vec![Problem::value("", "one document expected")],
            )),
        }
    }

    /// Reads and checks a file of one or several documents in mergekit's format. The result of a document with a `name` can
    /// be a model of others; one document has no name and makes the file's result. Every document comes after those that
    /// it needs, the result last.
    ///
    /// # Errors
    /// [`MergeError::Config`] with every mistake of all documents.
    pub fn parse_all(yaml: &str, file: &str) -> Result<Vec<MergeConfig>> {
        let refuse = |problems| Err(fail(yaml, file, problems));
        let roots = match Node::parse_all(yaml) {
            Ok(roots) if roots.is_empty() => vec![Node::empty()],
            Ok(roots) => roots,
            Err(error) => return refuse(vec![Problem::value("", error.message).at(error.place)]),
        };
        let (mut documents, mut problems) = (Vec::new(), Vec::new());
        for root in &roots {
            let (config, mistakes) = MergeConfig::read(root, yaml, file);
            documents.extend(config);
            problems.extend(mistakes);
        }
        if problems.is_empty() {
            problems = check_names(&documents);
        }
        if !problems.is_empty() {
            return refuse(problems);
        }
        in_order(documents).map_err(|problems| fail(yaml, file, problems))
    }

    /// What one document says, as far as it could be understood, and what is wrong with it.
    fn read(root: &Node, yaml: &str, file: &str) -> (Option<MergeConfig>, Vec<Problem>) {
        let decoded = decode(root);
        let mut problems = decoded.problems;
        let Some(spec) = decoded.spec else {
            return (None, problems);
        };
        let config = MergeConfig {
            spec: spec.joined(),
            file: file.to_string(),
            text: yaml.to_string(),
            places: decoded.places,
        };
        for problem in config.spec.check() {
            let place = config.place(&problem.path, problem.at_key);
            // A part that is missing or could not be read has been reported; what follows from that is noise.
            let is_known = match place {
                Some(_) => problems
                    .iter()
                    .any(|other| other.place == place && !problem.at_key),
                None => !problems.is_empty(),
            };
            if !is_known {
                problems.push(problem.at(place));
            }
        }
        (Some(config), problems)
    }

    /// Where the value (or the key) of a path such as `models[0].model` stands; of the nearest part above it that has
    /// a place if it has none itself.
    pub fn place(&self, path: &str, key: bool) -> Option<Place> {
        let mut path = path;
        while !path.is_empty() {
            if let Some((of_key, of_value)) = self.places.get(path) {
                return if key { *of_key } else { *of_value };
            }
            path = path.rfind(['.', '[']).map_or("", |at| &path[..at]);
        }
        None
    }

    /// Mistakes of this document found later, for instance a model that does not exist, at their places.
    pub(crate) fn place_all(&self, problems: Vec<Problem>) -> Problems {
        let placed = |problem: Problem| {
            let place = problem
                .place
                .or_else(|| self.place(&problem.path, problem.at_key));
            problem.at(place)
        };
        Problems::new(&self.file, &self.text, problems.into_iter().map(placed).collect())
    }
}

fn fail(yaml: &str, file: &str, problems: Vec<Problem>) -> MergeError {
    MergeError::Config(Problems::new(file, yaml, problems))
}

/// Of several documents all but one have names, no two the same one.
fn check_names(documents: &[MergeConfig]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, document) in documents.iter().enumerate() {
        let name = document.spec.name.as_ref();
        let is_taken = documents[..index]
            .iter()
            .any(|other| name.is_some() && other.spec.name.as_ref() == name);
        if let Some(name) = name.filter(|_| is_taken) {
            let problem = Problem::value("name", format!("two documents are called {name:?}"));
            problems.push(problem.at(document.place("name", false)));
        }
    }
    let results = documents
        .iter()
        .filter(|document| document.spec.name.is_none())
        .count();
    if documents.len() > 1 && results != 1 {
        let message =
            format!("one of several documents makes the result and has no \"name\"; here are {results}");
        problems.push(Problem::value("", message));
    }
    problems
}

/// Every document after those whose results it reads, the file's result last. Documents that nobody reads are made too.
fn in_order(documents: Vec<MergeConfig>) -> Result<Vec<MergeConfig>, Vec<Problem>> {
    let (results, mut waiting): (Vec<_>, Vec<_>) = documents
        .into_iter()
        .partition(|document| document.spec.name.is_none());
    if waiting.len() <= 1 && results.is_empty() {
        return Ok(waiting);
    }
    let mut ordered: Vec<MergeConfig> = Vec::new();
    while !waiting.is_empty() {
        let is_waiting = |name: &str, waiting: &[MergeConfig]| {
            // Of a model with an adapter, the model.
            let model = name.split_once('+').map_or(name, |(model, _)| model);
            waiting
                .iter()
                .any(|document| [Some(name), Some(model)].contains(&document.spec.name.as_deref()))
        };
        let ready = waiting.iter().position(|document| {
            let mut references = document.spec.references().into_iter();
            references.all(|(_, reference)| !is_waiting(reference, &waiting))
        });
        let Some(ready) = ready else {
            let circle = waiting.iter().map(|document| {
                let name = document.spec.name.as_deref().unwrap_or_default();
                let problem = Problem::value(
                    "name",
                    format!("{name:?} needs itself, by way of what it is made of"),
                );
                problem.at(document.place("name", false))
            });
            return Err(circle.collect());
        };
        ordered.push(waiting.remove(ready));
    }
    Ok(ordered.into_iter().chain(results).collect())
}
