//! The builder behind `.dispatch()`.

use std::marker::PhantomData;

use crate::task::Task;

/// A task on its way, with what this dispatch asks for beyond the task's own options.
#[derive(Debug)]
pub struct Dispatch<T: Task>(PhantomData<T>);

/// The calls that start a dispatch, on every task.
pub trait TaskExt: Task {}

impl<T: Task> TaskExt for T {}
