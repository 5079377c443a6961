//! All that generated code may name. Not part of the public API.

use std::borrow::Borrow;
use std::fmt::Display;

// The names of the standard library that generated code needs, whatever they mean where it stands.
pub use std::borrow::ToOwned;
pub use std::boxed::Box;
pub use std::clone::Clone;
pub use std::convert::Into;
pub use std::option::Option::{self, None, Some};
pub use std::process::ExitCode;
pub use std::result::Result;
pub use std::string::String;
pub use std::time::Duration;
pub use std::{concat, env, file, format, line};

pub use inventory;
pub use serde;

#[cfg(feature = "cli")]
pub use crate::cli::main;
pub use crate::context::Context;
pub use crate::fields::{filled as filled_field, read as read_fields, write as write_fields};
pub use crate::job::{OnConflict, Replace, Until};
pub use crate::policy::Backoff;
pub use crate::registry::Registration;
pub use crate::task::{
    Definition, Execution, LimitRule, Options, Parameter, RateRule, Run, StateNeed, Task, TaskArg, TaskError,
    TaskFuture, TaskReturn, TaskState, TransactionNeed, UniqueRule,
};
use crate::transaction::Lent;

/// What a task's function returned, judged.
pub fn finish<R: TaskReturn>(returned: R) -> Result<R::Output, TaskError> {
    returned.into_result().map_err(R::task_error)
}

/// As [`finish`], where only errors that `retry_if` accepts are worth another attempt.
pub fn finish_if<R: TaskReturn>(returned: R, retry_if: impl FnOnce(&R::Error) -> bool) -> Result<R::Output, TaskError> {
    returned.into_result().map_err(|error| {
        let retry = retry_if(&error);
        let error = R::task_error(error);
        if retry { error } else { error.into_discard() }
    })
}

/// The state that a parameter asks for. A worker checks before it starts that all state is there.
pub fn state<'a, T: TaskState>(ctx: &'a Context, parameter: &str) -> Result<&'a T, TaskError> {
    ctx.state::<T>().ok_or_else(|| {
        TaskError::new(format!(
            "no state of type {} for parameter `{parameter}`; give it with `app.state(..)`",
            std::any::type_name::<T>()
        ))
    })
}

/// The state that a parameter takes by value.
pub fn state_clone<T: TaskState + Clone>(ctx: &Context, parameter: &str) -> Result<T, TaskError> {
    state::<T>(ctx, parameter).cloned()
}

/// Begins the transaction that a task's writes share with its completion.
pub async fn begin(ctx: &Context) -> Result<Lent<'_>, TaskError> {
    ctx.transaction().begin().await.map_err(TaskError::new)
}

/// The transaction that a parameter asks for. A worker checks before it starts that the backend has one of this type.
pub fn transaction<'a, T: 'static>(lent: &'a mut Lent<'_>, parameter: &str) -> Result<&'a mut T, TaskError> {
    lent.transaction::<T>().ok_or_else(|| {
        let wanted = std::any::type_name::<T>();
        TaskError::new(format!("the backend's transaction is not the {wanted} that parameter `{parameter}` asks for"))
    })
}

/// What a function borrows from its payload.
pub fn lend<T: ToOwned + ?Sized>(owned: &T::Owned) -> &T {
    owned.borrow()
}

/// A parameter as a part of a key.
pub fn key_part<T: KeyPart + ?Sized>(value: &T) -> &T {
    value
}

/// A parameter that a key such as `unique = "receipt-{order}"` can name.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be a part of a key",
    label = "is named in a key and has no `Display`",
    note = "a parameter that a key names in braces implements `Display`"
)]
pub trait KeyPart: Display {}

impl<T: Display + ?Sized> KeyPart for T {}

/// The key of tasks of this name that have these values: the same text for the same values, whatever the order of maps.
pub fn key_by(task: &str, values: &[&dyn erased_serde::Serialize]) -> String {
    // What JSON can't say, such as a map by tuples, is told apart by its MessagePack.
    let part = |value: &&dyn erased_serde::Serialize| match serde_json::to_value(value) {
        Ok(json) => json.to_string(),
        Err(_) => format!("{:02x?}", rmp_serde::to_vec(value).unwrap_or_default()),
    };
    format!("{task}({})", values.iter().map(part).collect::<Vec<_>>().join(","))
}

/// Runs a plain function on the worker's thread pool.
pub fn blocking<T: Send + 'static>(
    ctx: Context,
    work: impl FnOnce(&Context) -> Result<T, TaskError> + Send + 'static,
) -> TaskFuture<T> {
    crate::worker::blocking::run(ctx, Box::new(work))
}

/// Runs a task that is written as a struct, with its hooks.
pub fn run_hooked<T: Run + 'static>(task: T, ctx: Context) -> TaskFuture<T::Output> {
    Box::pin(async move {
        let result = async {
            task.before(&ctx).await?;
            task.run(&ctx).await
        };
        match result.await.map_err(TaskError::from_boxed) {
            Ok(output) => {
                task.after(&ctx, &output).await;
                Ok(output)
            }
            Err(error) => {
                task.failed(&ctx, &error).await;
                Err(error)
            }
        }
    })
}

/// The definition of a task whose attribute is wrong; nothing is ever registered with it.
pub const BROKEN: Definition = Definition {
    name: "",
    aliases: &[],
    options: Options::NONE,
    parameters: &[],
    state: &[],
    transaction: None,
    execution: Execution::Async,
    docs: "",
    file: "",
    line: 0,
};

/// What the program is called, from its own manifest.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// `CARGO_PKG_NAME`.
    pub name: &'static str,
    /// `CARGO_PKG_VERSION`.
    pub version: &'static str,
}
