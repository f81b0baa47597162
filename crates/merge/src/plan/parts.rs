//! Which models are merged with each other where: the groups of a document over the models that were opened.

use super::names::Listed;
use crate::config::{Group, Parameters};
use crate::method::{BaseUse, Method};

/// Models that are merged with each other at some of the result's tensors.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Part {
    /// The models; the base first if it is part of the formula.
    pub(crate) members: Vec<PartMember>,
    /// Is the first member the base as part of the formula, and not merged?
    pub(crate) has_base: bool,
    /// Place of the base among the members, whatever it is to the method.
    pub(crate) base: Option<usize>,
    /// Parameters of all members, the nearest first.
    pub(crate) levels: Vec<Parameters>,
}

/// A model of a part.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PartMember {
    /// Number of the input.
    pub(crate) input: usize,
    /// The layers that are taken, first and one past the last; `None`: all.
    pub(crate) layers: Option<(usize, usize)>,
    /// Where it stands in the document.
    pub(crate) path: String,
    pub(crate) own: Parameters,
}

impl Part {
    /// The members that are merged: all but the base.
    pub(crate) fn merged(&self) -> &[PartMember] {
        self.members.get(usize::from(self.has_base)..).unwrap_or_default()
    }

    /// The part of a group, its members numbered as `listed`; `true` if its base is listed among the models and not
    /// merged.
    pub(super) fn new(group: &Group<'_>, listed: &[Listed<'_>], method: &dyn Method) -> (Part, bool) {
        let base = group.base.as_ref().map(|(base, _)| *base);
        let reads_base = method.base().reads_base(base.is_some());
        let number = |reference: &str, occurrence: usize| {
            let is_it =
                |listed: &Listed<'_>| listed.reference == reference && listed.occurrence == occurrence;
            listed.iter().position(is_it).unwrap_or_default()
        };
        let mut merged: Vec<PartMember> = Vec::new();
        let mut of_base: Option<PartMember> = None;
        for (index, member) in group.members.iter().enumerate() {
            let before = &group.members[..index];
            let occurrence = before.iter().filter(|other| other.model == member.model).count();
            let found = PartMember {
                input: number(member.model, occurrence),
                layers: member.layers,
                path: member.path.clone(),
                own: member.parameters.clone(),
            };
            let is_base = base == Some(member.model);
            if is_base && (reads_base || method.base() == BaseUse::First) && of_base.is_none() {
                of_base = Some(found);
            } else if !(is_base && reads_base) {
                merged.push(found);
            }
        }
        let is_passed_over = reads_base && of_base.is_some() && !group.is_slice();
        if let Some(base) =
            base.filter(|_| of_base.is_none() && (reads_base || method.base() == BaseUse::First))
        {
            of_base = Some(PartMember {
                input: number(base, 0),
                layers: None,
                path: group
                    .base
                    .as_ref()
                    .map(|(_, path)| path.clone())
                    .unwrap_or_default(),
                own: Parameters::new(),
            });
        }
        let members: Vec<PartMember> = of_base.into_iter().chain(merged).collect();
        let base = base.map(|base| number(base, 0));
        let part = Part {
            base: base.and_then(|base| members.iter().position(|member| member.input == base)),
            members,
            has_base: reads_base,
            levels: group.parameters.iter().map(|level| (*level).clone()).collect(),
        };
        (part, is_passed_over)
    }
}
