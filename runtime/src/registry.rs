//! Which tasks this program can run.

use std::any::TypeId;
use std::collections::HashMap;
use std::fmt;

use futures_util::future::BoxFuture;
use serde::Serialize;

use crate::codec::{Codec, Payload};
use crate::context::{Context, States};
use crate::error::{Error, ErrorKind, Result};
use crate::task::{Definition, Task, TaskFuture};

/// One task, ready to be run from bytes.
#[derive(Clone, Copy, Debug)]
pub struct Registration {
    /// What is known at compile time.
    pub definition: &'static Definition,
    /// What tells tasks apart: definitions may be equal, and the address of one differs from crate to crate.
    type_id: TypeId,
    pub(crate) run: RunFn,
    #[cfg(feature = "cli")]
    pub(crate) read: crate::dispatch::ReadFn,
    #[cfg(feature = "cli")]
    pub(crate) output: crate::dispatch::OutputFn,
}

/// Decodes the payload of a context, runs the task, and encodes its result.
///
/// An error is the task's own, or a [`RunError`].
pub(crate) type RunFn = fn(Context) -> BoxFuture<'static, Result<Option<Payload>, BoxError>>;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a task could not be run, or its result not be kept.
#[derive(Debug)]
pub(crate) enum RunError {
    /// The payload is not this task's.
    Payload(Error),
    /// The task succeeded, and its result does not encode.
    Result(Error),
    /// It panicked in a process of its own.
    Panic(Error),
    /// Its own process was gone before it ended.
    Crash(Error),
    /// No process could be started for it.
    NoProcess(Error),
}

impl RunError {
    fn error(&self) -> &Error {
        match self {
            Self::Payload(error)
            | Self::Result(error)
            | Self::Panic(error)
            | Self::Crash(error)
            | Self::NoProcess(error) => error,
        }
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error().fmt(f)
    }
}

impl std::error::Error for RunError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(self.error())
    }
}

inventory::collect!(Registration);

impl Registration {
    /// The registration of `T`.
    #[must_use]
    pub const fn of<T: Task>() -> Self {
        Self {
            definition: T::DEFINITION,
            type_id: TypeId::of::<T>(),
            run: run::<T>,
            #[cfg(feature = "cli")]
            read: crate::dispatch::read::<T>,
            #[cfg(feature = "cli")]
            output: crate::dispatch::output::<T::Output>,
        }
    }
}

fn run<T: Task>(ctx: Context) -> BoxFuture<'static, Result<Option<Payload>, BoxError>> {
    match ctx.spec().payload.decode::<T>() {
        Ok(task) => {
            let kept_as = kept_as(&ctx);
            encoded(task.run(ctx), kept_as)
        }
        Err(error) => undecoded(error),
    }
}

/// How the result is written, if it is kept.
fn kept_as(ctx: &Context) -> Option<Codec> {
    ctx.spec().keep_result.map(|_| ctx.spec().payload.codec)
}

fn undecoded(error: Error) -> BoxFuture<'static, Result<Option<Payload>, BoxError>> {
    Box::pin(std::future::ready(Err(RunError::Payload(error).into())))
}

/// What the task returns, as bytes where it is kept: compiled for each type of result, and not for each task.
fn encoded<T: Serialize + Send + 'static>(
    running: TaskFuture<T>,
    kept_as: Option<Codec>,
) -> BoxFuture<'static, Result<Option<Payload>, BoxError>> {
    Box::pin(async move {
        let output = running.await?;
        let encode = |codec| Payload::encode(codec, &output).map_err(RunError::Result);
        Ok(kept_as.map(encode).transpose()?)
    })
}

/// The tasks of a program by name and alias.
#[derive(Clone, Default)]
pub struct Registry {
    tasks: Vec<Registration>,
    /// Every name and alias, to a place in `tasks`.
    names: HashMap<&'static str, usize>,
}

impl Registry {
    /// No tasks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Every task that is linked into this program, by name.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Wiring`] when two tasks have one name, or a name is not a [`Name`](crate::Name).
    pub fn linked() -> Result<Self> {
        let mut tasks: Vec<_> = inventory::iter::<Registration>.into_iter().copied().collect();
        tasks.sort_by_key(|task| (task.definition.name, task.definition.file, task.definition.line));
        tasks.into_iter().try_fold(Self::new(), Self::add)
    }

    /// Adds `T`, for programs that list their tasks.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Wiring`] when its name is taken by another task.
    pub fn with<T: Task>(self) -> Result<Self> {
        self.add(Registration::of::<T>())
    }

    fn add(mut self, task: Registration) -> Result<Self> {
        if self.tasks.iter().any(|known| known.type_id == task.type_id) {
            return Ok(self);
        }
        let (definition, index) = (task.definition, self.tasks.len());
        self.tasks.push(task);
        for name in std::iter::once(&definition.name).chain(definition.aliases) {
            crate::job::Name::new(name).map_err(|error| {
                Error::new(ErrorKind::Wiring, "a task's name can't be used")
                    .context("at", place(definition))
                    .because(error)
            })?;
            let owner = *self.names.entry(name).or_insert(index);
            if owner != index {
                return Err(clash(name, self.tasks[owner].definition, definition));
            }
        }
        Ok(self)
    }

    /// The task of this name or alias.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Registration> {
        self.names.get(name).map(|&index| &self.tasks[index])
    }

    /// Every task, in the order added; by name when linked.
    pub fn iter(&self) -> impl Iterator<Item = &Registration> {
        self.tasks.iter()
    }

    /// Whether a worker could start with these tasks and this state.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Wiring`] when there is no task, or one needs state that nobody gave.
    pub(crate) fn check(&self, states: &States) -> Result<()> {
        if self.tasks.is_empty() {
            return Err(Error::new(
                ErrorKind::Wiring,
                "no task is registered; a crate that is never named in code is not linked: write `use my_tasks as _;`",
            ));
        }
        let missing: Vec<String> = self.iter().flat_map(|task| missing_state(task.definition, states)).collect();
        if !missing.is_empty() {
            return Err(Error::new(
                ErrorKind::Wiring,
                format!("state is missing; give it with `app.state(..)`: {}", missing.join("; ")),
            ));
        }
        Ok(())
    }
}

fn missing_state<'a>(definition: &'a Definition, states: &'a States) -> impl Iterator<Item = String> + 'a {
    let missing = definition.state.iter().filter(|need| !states.contains((need.type_id)()));
    missing.map(|need| {
        format!("`{}: {}` of task {} ({})", need.parameter, (need.type_name)(), definition.name, place(definition))
    })
}

fn clash(name: &str, first: &Definition, second: &Definition) -> Error {
    let (first, second) = (place(first), place(second));
    let message = if first == second {
        format!(
            "two tasks are called `{name}`, both made at {first}; is that file a module of both the library and the \
             program? then let the program use the library's"
        )
    } else {
        format!("two tasks are called `{name}`: {first} and {second}; give one of them #[task(name = \"..\")]")
    };
    Error::new(ErrorKind::Wiring, message)
}

fn place(definition: &Definition) -> String {
    format!("{}:{}", definition.file, definition.line)
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.tasks.iter().map(|task| task.definition.name)).finish()
    }
}
