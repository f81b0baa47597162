//! Which row of which model belongs to each token of the result.
//!
//! As in mergekit: a model's own row for a token that it has; for one that it lacks the base's row, else the row of the
//! only model that has it, else the mean of all that have it; zeros if nobody has it. A document may say otherwise for
//! single tokens, also for models that have a row (`force`).

use std::collections::BTreeMap;

use super::rows::{RowMap, Rows};
use super::tokenizer::Tokenizer;
use super::tokens::Tokens;
use crate::config::{Compat, MergeSpec, Problem, TokenName, TokenSource};
use crate::error::Result;
use crate::source::Source;

/// A model whose embeddings are read, as its tokenizer numbers them.
pub(crate) struct Vocabulary<'a> {
    pub(crate) name: &'a str,
    pub(crate) source: &'a Source,
}

/// The tokens of the result and every model's row for each of them.
#[derive(Clone, Debug)]
pub(crate) struct Alignment {
    /// Rows of the result's embeddings.
    pub(crate) rows: usize,
    /// Digest of the tokenizers that it is of.
    pub(crate) digest: String,
    /// Files of the tokenizer that differ from those of the model it is from.
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// The token of each number, where there is one.
    texts: Vec<Option<String>>,
    inputs: Vec<Input>,
    wanted: BTreeMap<String, (Option<TokenSource>, bool)>,
}

#[derive(Clone, Debug)]
struct Input {
    reference: String,
    tokens: Tokens,
    /// Rows of its embedding.
    rows: usize,
}

impl Input {
    /// The row of a token.
    fn row(&self, token: &str) -> Option<usize> {
        self.tokens.number(token).filter(|row| *row < self.rows)
    }
}

impl Alignment {
    /// Aligns the inputs of a merge whose document asks for it. `owner` is the model whose tokenizer is taken, or
    /// enlarged. `None`: every model numbers every token as the result does, and nothing is to be done.
    pub(crate) fn new(
        spec: &MergeSpec,
        owner: &Vocabulary<'_>,
        inputs: &[Vocabulary<'_>],
        warnings: &mut Vec<String>,
    ) -> Result<Option<Alignment>> {
        let text = owner.source.tokenizer()?;
        let mut digest = blake3::Hasher::new();
        digest.update(text.as_deref().unwrap_or_default());
        if text.is_none() && spec.tokenizer.is_none() && spec.tokenizer_wanted() == Some("base") {
            warnings.push(format!(
                "{} has no tokenizer.json: rows of the embedding are merged by number",
                owner.name
            ));
            return Ok(None);
        }
        let mut tokenizer = Tokenizer::of(owner.name, owner.source)?;
        let mut others = Vec::new();
        let mut known: Vec<Option<Tokens>> = Vec::new();
        for input in inputs {
            let own = input.source.tokenizer()?;
            digest.update(own.as_deref().unwrap_or_default());
            if own == text {
                known.push(Some(tokenizer.tokens().clone()));
            } else if own.is_none() {
                warnings.push(format!(
                    "{} has no tokenizer.json: its tokens are taken to be those of {}",
                    input.name, owner.name
                ));
                known.push(None);
            } else {
                let other = Tokenizer::of(input.name, input.source)?;
                known.push(Some(other.tokens().clone()));
                // Only a union needs more of it than its tokens.
                others.extend((spec.tokenizer_wanted() == Some("union")).then_some(other));
            }
        }
        let own = tokenizer.tokens().clone();
        if spec.tokenizer_wanted() == Some("union") {
            tokenizer.unite(&others, spec.compat);
        }
        let tokens = spec.tokenizer.iter().flat_map(|tokenizer| &tokenizer.tokens);
        let mut wanted = BTreeMap::new();
        for (token, of) in tokens {
            tokenizer.add(token);
            wanted.insert(token.clone(), (of.source.clone(), of.force));
        }
        let mut texts = vec![None; tokenizer.tokens().rows()];
        for (token, number) in tokenizer.tokens().iter() {
            if let Some(text) = texts.get_mut(number) {
                *text = Some(token.to_string());
            }
        }
        let inputs: Vec<Input> = inputs
            .iter()
            .zip(known)
            .map(|(input, tokens)| {
                let tokens = tokens.unwrap_or_else(|| own.clone());
                Input {
                    reference: input.source.reference().to_string(),
                    rows: vocabulary_size(input.source).unwrap_or_else(|| tokens.rows()),
                    tokens,
                }
            })
            .collect();
        let multiple = spec
            .tokenizer
            .as_ref()
            .and_then(|tokenizer| tokenizer.pad_to_multiple_of);
        let alignment = Alignment {
            rows: texts.len().next_multiple_of(multiple.unwrap_or(1)),
            digest: digest.finalize().to_hex().to_string(),
            files: tokenizer.changed_files(),
            texts,
            inputs,
            wanted,
        };
        alignment.warn(warnings);
        let is_free = multiple.is_none() && spec.compat != Some(Compat::Mergekit);
        Ok((!(is_free && alignment.changes_nothing())).then_some(alignment))
    }

    /// Does every model number every token as the result does, with as many rows?
    fn changes_nothing(&self) -> bool {
        let is_same = |input: &Input| {
            let mut numbered = self.texts.iter().enumerate();
            numbered.all(|(number, text)| text.as_deref().is_none_or(|text| input.row(text) == Some(number)))
        };
        let rows = self.inputs.first().map(|input| input.rows);
        self.wanted.is_empty()
            && self
                .inputs
                .iter()
                .all(|input| is_same(input) && Some(input.rows) == rows)
    }

    fn warn(&self, warnings: &mut Vec<String>) {
        let is_orphan = |text: &&String| {
            !self.wanted.contains_key(*text) && self.inputs.iter().all(|input| input.row(text).is_none())
        };
        let orphans: Vec<&String> = self.texts.iter().flatten().filter(is_orphan).collect();
        if let Some(first) = orphans.first() {
            warnings.push(format!(
                "{} token(s) of the result have a row in no model, the first of them {first:?}: their rows are zero",
                orphans.len()
            ));
        }
    }

    /// The rows of one member's embeddings in a part whose members are these inputs; `base` is the place of the base
    /// among them.
    ///
    /// # Errors
    /// A row that the document asks for and nobody has.
    pub(crate) fn map(
        &self,
        members: &[usize],
        own: usize,
        base: Option<usize>,
    ) -> std::result::Result<RowMap, Problem> {
        let inputs: Vec<&Input> = members
            .iter()
            .filter_map(|input| self.inputs.get(*input))
            .collect();
        let mut rows = Vec::with_capacity(self.rows);
        for text in &self.texts {
            rows.push(match text {
                Some(token) => self.row(token, &inputs, own, base)?,
                None => Rows::Zero,
            });
        }
        rows.resize(self.rows, Rows::Padding);
        Ok(RowMap::new(rows))
    }

    fn row(
        &self,
        token: &str,
        inputs: &[&Input],
        own: usize,
        base: Option<usize>,
    ) -> std::result::Result<Rows, Problem> {
        let of = |member: usize| {
            let row = inputs.get(member)?.row(token)?;
            Some(Rows::Of { member, first: row })
        };
        let (source, force) = self
            .wanted
            .get(token)
            .map_or((None, false), |(source, force)| (source.as_ref(), *force));
        if let Some(row) = of(own).filter(|_| !force) {
            return Ok(row);
        }
        let path = format!("tokenizer.tokens.{token}.source");
        let refuse = |message: String| Problem::value(path.clone(), message);
        let member = |model: &str| {
            let model = tributary_store::mask(model);
            let found = inputs
                .iter()
                .position(|input| tributary_store::mask(&input.reference) == model);
            found.ok_or_else(|| {
                refuse(format!(
                    "{model} is not merged where the token {token:?} needs its row"
                ))
            })
        };
        match source {
            Some(TokenSource::Zero) => Ok(Rows::Zero),
            Some(TokenSource::Model(model)) => of(member(model)?).ok_or_else(|| {
                refuse(format!(
                    "{} has no row for the token {token:?}",
                    tributary_store::mask(model)
                ))
            }),
            Some(TokenSource::Token { model, token: other }) => {
                let member = member(model)?;
                let input = inputs[member];
                let row = match other {
                    TokenName::Text(text) => input.row(text),
                    TokenName::Number(row) => Some(*row).filter(|row| *row < input.rows),
                };
                let first = row.ok_or_else(|| {
                    refuse(format!("{} has no row for {other}", tributary_store::mask(model)))
                })?;
                Ok(Rows::Of { member, first })
            }
            None => {
                let owners: Vec<usize> = (0..inputs.len()).filter(|member| of(*member).is_some()).collect();
                let single = base.filter(|base| owners.contains(base) && owners.len() > 1);
                Ok(match (owners.as_slice(), single) {
                    ([], _) => Rows::Zero,
                    (_, Some(member)) | (&[member], None) => of(member).unwrap_or(Rows::Zero),
                    (several, None) => {
                        let row = |member: &usize| Some((*member, inputs.get(*member)?.row(token)?));
                        Rows::Mean(several.iter().filter_map(row).collect())
                    }
                })
            }
        }
    }
}

/// Rows of a model's embedding, as its configuration says.
fn vocabulary_size(source: &Source) -> Option<usize> {
    let size = source.configuration().get("vocab_size")?.as_u64()?;
    usize::try_from(size).ok()
}
