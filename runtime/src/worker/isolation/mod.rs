//! Tasks in processes of their own: a crash, an abort, a leak or a hang there costs one attempt and nothing else.
//!
//! ```text
//!  worker ── pool ──▶ child 1   the same program, started again with [`SUMMONS`] in its environment
//!               │       ▲
//!               │       │ socket (the child's standard input): Run, Cancel ─▶   ◀─ Ready, Progress, Ended
//!               └──▶ child 2 ..                          standard error: passed on, its last lines kept
//! ```
//!
//! A child runs one job at a time, with its own state and its own client, both made by the same wiring.
//! Everything around the attempt stays with the worker: its lease, its layers, its timeout, its settlement.
//! Who stops waiting for a child kills it, so a timeout ends also a task that never yields.
//! A child that finds its socket closed kills itself, so none outlives its worker, however that ended.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, ErrorKind, Result};
use crate::task::{Definition, Execution};

#[cfg(unix)]
mod child;
#[cfg(unix)]
mod frame;
#[cfg(not(unix))]
#[path = "elsewhere.rs"]
mod pool;
#[cfg(unix)]
mod pool;

#[cfg(unix)]
pub(crate) use child::{serve, summoned};
pub(crate) use pool::Processes;

/// The variable that makes a program a child: the process that started it, and how many bytes it may use.
pub(crate) const SUMMONS: &str = "TASKWRIGHT_ISOLATED";

/// Whether this program's start heeds a summons, so that it can be started again as a child.
static HEEDS: AtomicBool = AtomicBool::new(false);

/// This program, when started again, serves its parent instead of starting another worker.
pub(crate) fn heeds() {
    HEEDS.store(true, Ordering::Relaxed);
}

/// Refuses an isolated task that this program could not start a process for.
pub(crate) fn check(task: &Definition) -> Result<()> {
    if task.execution != Execution::Process {
        return Ok(());
    }
    let unsupported = |why: &str| {
        Err(Error::new(ErrorKind::Unsupported, format!("task {} asks for `isolate = \"process\"`: {why}", task.name)))
    };
    if task.transaction.is_some() {
        return unsupported("a process of its own can't write in a transaction of its worker; drop one of the two");
    }
    if !cfg!(unix) {
        return unsupported("this system lacks what that needs; remove it");
    }
    if !HEEDS.load(Ordering::Relaxed) {
        return unsupported(
            "this program can't be started again for it; run it with `#[taskwright::main]`, or call `App::isolated` \
             before its worker",
        );
    }
    Ok(())
}

/// What a child was told when it was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Summons {
    /// The process that started it.
    parent: u32,
    /// How many bytes it may use for data; `None` for as many as there are.
    memory: Option<u64>,
}

impl Summons {
    /// What this process was told, if it was started by a worker.
    ///
    /// What a child starts itself inherits the variable, and is not meant: another process started it.
    #[cfg(unix)]
    pub(crate) fn here() -> Option<Self> {
        static HERE: OnceLock<Option<Summons>> = OnceLock::new();
        *HERE.get_or_init(|| {
            let summons = Self::read(&std::env::var(SUMMONS).ok()?)?;
            (summons.parent == std::os::unix::process::parent_id()).then_some(summons)
        })
    }

    fn read(text: &str) -> Option<Self> {
        let (parent, memory) = text.split_once(':')?;
        let memory = if memory.is_empty() { None } else { Some(memory.parse().ok()?) };
        Some(Self { parent: parent.parse().ok()?, memory })
    }
}

/// As [`SUMMONS`] carries it.
impl fmt::Display for Summons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.parent)?;
        self.memory.map_or(Ok(()), |bytes| bytes.fmt(f))
    }
}

/// An error of a task, as another process tells it.
#[derive(Debug)]
struct Told {
    message: String,
    cause: Option<Box<Self>>,
}

impl Told {
    /// The error with these messages, outermost first.
    fn chain(messages: impl DoubleEndedIterator<Item = String>) -> Option<Box<Self>> {
        messages.rev().fold(None, |cause, message| Some(Box::new(Self { message, cause })))
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Told {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as &(dyn std::error::Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summons_is_read_as_it_was_written() {
        for summons in [Summons { parent: 7, memory: None }, Summons { parent: 7, memory: Some(1 << 40) }] {
            assert_eq!(Summons::read(&summons.to_string()), Some(summons));
        }
        for text in ["", "7", ":", "x:", "7:x", "7:-1", "99999999999:"] {
            assert_eq!(Summons::read(text), None, "{text}");
        }
    }

    #[test]
    fn an_error_keeps_its_causes_on_the_way() {
        let told = Told::chain(["outer", "middle", "inner"].map(str::to_owned).into_iter()).unwrap();
        assert_eq!(crate::error::error_chain(&*told), ["outer", "middle", "inner"]);
    }
}
