//! A merge document in a file.

use std::collections::BTreeMap;

use super::decode::decode;
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
    /// Reads and checks a document in mergekit's format. `file` is what messages call it.
    ///
    /// # Errors
    /// [`MergeError::Config`] with every mistake of the document.
    pub fn parse(yaml: &str, file: &str) -> Result<MergeConfig> {
        let fail = |problems| Err(MergeError::Config(Problems::new(file, yaml, problems)));
        let root = match Node::parse(yaml) {
            Ok(root) => root,
            Err(error) => return fail(vec![Problem::value("", error.message).at(error.place)]),
        };
        let decoded = decode(&root);
        let mut problems = decoded.problems;
        let Some(spec) = decoded.spec else {
            return fail(problems);
        };
        let config = MergeConfig {
            spec,
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
        if problems.is_empty() {
            Ok(config)
        } else {
            fail(problems)
        }
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
