//! The list of all methods.

use super::Method;
use super::linear::Linear;
use super::metagpt::MetaGpt;
use super::task_arithmetic::TaskArithmetic;

/// Every method, in the order help shows them.
pub const METHODS: &[&dyn Method] = &[&Linear, &TaskArithmetic, &MetaGpt];

/// The method called `name`.
pub fn find(name: &str) -> Option<&'static dyn Method> {
    METHODS.iter().find(|method| method.name() == name).copied()
}
