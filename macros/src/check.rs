//! Is it allowed? One function for each rule, with its message beside it.

use crate::ast::{Derived, Program, Task};
use crate::errors::Errors;

pub(crate) fn task(_task: &Task<'_>, _errors: &Errors) {}

pub(crate) fn derived(_task: &Derived<'_>, _errors: &Errors) {}

pub(crate) fn program(_program: &Program<'_>, _errors: &Errors) {}
