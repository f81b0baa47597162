//! The list of all methods.

use super::Method;
use super::arcee_fusion::ArceeFusion;
use super::breadcrumbs::Breadcrumbs;
use super::dare::Dare;
use super::della::Della;
use super::karcher::Karcher;
use super::linear::Linear;
use super::metagpt::MetaGpt;
use super::model_stock::ModelStock;
use super::multislerp::MultiSlerp;
use super::nearswap::NearSwap;
use super::nuslerp::NuSlerp;
use super::passthrough::Passthrough;
use super::ram::Ram;
use super::sce::Sce;
use super::slerp::Slerp;
use super::task_arithmetic::TaskArithmetic;
use super::ties::Ties;

/// Every method, in the order help shows them.
pub const METHODS: &[&dyn Method] = &[
    &Linear,
    &TaskArithmetic,
    &MetaGpt,
    &Ties,
    &Dare { elects: false },
    &Dare { elects: true },
    &Della { elects: false },
    &Della { elects: true },
    &Breadcrumbs { elects: false },
    &Breadcrumbs { elects: true },
    &Sce,
    &Ram { compensates: false },
    &Ram { compensates: true },
    &ModelStock,
    &Slerp,
    &NuSlerp,
    &MultiSlerp,
    &Karcher,
    &NearSwap,
    &ArceeFusion,
    &Passthrough,
];

/// The method called `name`.
pub fn find(name: &str) -> Option<&'static dyn Method> {
    METHODS.iter().find(|method| method.name() == name).copied()
}
