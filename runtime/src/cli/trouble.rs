//! What the program says when it can't do what was asked, and the exit code that scripts see.

use std::error::Error as StdError;
use std::io::{self, Write};

use serde::Serialize;

use super::table::clean;
use crate::error::{Error, ErrorKind, error_chain};

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done.
    Ok = 0,
    /// It failed.
    Failed = 1,
    /// The command line or the settings can't be used.
    Usage = 2,
    /// There is no such thing, or nothing matched.
    NotFound = 3,
    /// The backend can't be reached.
    Unavailable = 4,
}

impl Exit {
    pub(crate) const HELP: &str = "Exit codes: 0 done, 1 failed, 2 command line or settings can't be used, \
        3 not found or nothing matched, 4 the backend can't be reached.";
}

/// Why a command ended early: what happened, its causes, what to do.
#[derive(Debug, Serialize)]
pub(crate) struct Trouble {
    #[serde(skip)]
    pub(crate) exit: Exit,
    kind: &'static str,
    message: String,
    causes: Vec<String>,
    help: Option<String>,
}

impl Trouble {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        let kind = match exit {
            Exit::Ok => "none",
            Exit::Failed => "failed",
            Exit::Usage => "invalid",
            Exit::NotFound => "not_found",
            Exit::Unavailable => "unavailable",
        };
        Self { exit, kind, message: message.into(), causes: Vec::new(), help: None }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(Exit::NotFound, message)
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// An error of the application: its wiring, or a command that it added.
    pub(crate) fn foreign(what: &str, error: &(dyn StdError + 'static)) -> Self {
        let mut causes = std::iter::successors(Some(error), |&error| error.source());
        let ours = causes.find_map(|cause| cause.downcast_ref::<Error>());
        let told = ours.map(Self::told);
        let chain = error_chain(error);
        let exit = told.as_ref().map_or(Exit::Failed, |told| told.exit);
        let kind = told.as_ref().map_or("failed", |told| told.kind);
        Self { exit, kind, message: what.to_owned(), causes: chain, help: told.and_then(|told| told.help) }
    }

    fn told(error: &Error) -> Self {
        let mut chain = error_chain(error).into_iter();
        let message = chain.next().unwrap_or_default();
        let (exit, kind, help) = judged(error.kind());
        Self { exit, kind, message, causes: chain.collect(), help: help.map(str::to_owned) }
    }

    /// The message and its causes on one line.
    pub(crate) fn summary(&self) -> String {
        std::iter::once(&self.message).chain(&self.causes).map(String::as_str).collect::<Vec<_>>().join(": ")
    }

    /// Tells people, or with `json` a script.
    ///
    /// Nobody is left to tell when standard error can't be written to.
    pub(crate) fn print(&self, stderr: &mut dyn Write, json: bool) -> io::Result<()> {
        if json {
            serde_json::to_writer(&mut *stderr, &serde_json::json!({ "error": self }))?;
            return writeln!(stderr);
        }
        writeln!(stderr, "error: {}", clean(&self.message))?;
        self.causes.iter().try_for_each(|cause| writeln!(stderr, "  because: {}", clean(cause)))?;
        self.help.iter().try_for_each(|help| writeln!(stderr, "  help: {help}"))
    }
}

fn judged(kind: ErrorKind) -> (Exit, &'static str, Option<&'static str>) {
    match kind {
        ErrorKind::Invalid => (Exit::Usage, "invalid", None),
        ErrorKind::NotConfigured => (Exit::Usage, "not_configured", None),
        ErrorKind::NotFound => (Exit::NotFound, "not_found", None),
        ErrorKind::Unavailable => (
            Exit::Unavailable,
            "unavailable",
            Some("check that the backend is there and may be used: the command `config` shows which one is meant"),
        ),
        ErrorKind::Unsupported => (Exit::Failed, "unsupported", None),
        ErrorKind::Conflict => (Exit::Failed, "conflict", None),
        ErrorKind::TooLarge => (Exit::Failed, "too_large", None),
        ErrorKind::Codec => (Exit::Failed, "codec", None),
        ErrorKind::Corrupt => (
            Exit::Failed,
            "corrupt",
            Some("stop all workers, keep a copy of the store, and restore a backup or use the version that wrote it"),
        ),
        ErrorKind::Wiring => (Exit::Failed, "wiring", None),
        ErrorKind::Timeout => (Exit::Failed, "timeout", None),
        ErrorKind::Closed => (Exit::Failed, "closed", None),
        ErrorKind::Job => (Exit::Failed, "job", None),
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::told(&error)
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        // Whoever read our output has seen enough, as `head` does.
        let exit = if error.kind() == io::ErrorKind::BrokenPipe { Exit::Ok } else { Exit::Failed };
        let mut trouble = Self::new(exit, "the output can't be written");
        trouble.causes.push(error.to_string());
        trouble
    }
}

impl From<serde_json::Error> for Trouble {
    fn from(error: serde_json::Error) -> Self {
        io::Error::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(trouble: &Trouble, json: bool) -> String {
        let mut text = Vec::new();
        trouble.print(&mut text, json).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn what_happened_its_causes_and_what_to_do_are_told() {
        let error = Error::unavailable("`x.db` can't be opened").because("permission denied");
        let trouble = Trouble::from(error);
        assert_eq!(trouble.exit, Exit::Unavailable);
        let text = printed(&trouble, false);
        assert!(text.starts_with("error: `x.db` can't be opened\n  because: permission denied\n  help: "), "{text}");
        let json: serde_json::Value = serde_json::from_str(&printed(&trouble, true)).unwrap();
        assert_eq!(json["error"]["kind"], "unavailable");
        assert_eq!(json["error"]["causes"][0], "permission denied");
    }

    #[test]
    fn our_own_error_decides_also_inside_an_application_s() {
        let error = anyhow::Error::from(Error::unavailable("no store")).context("while wiring");
        let boxed: Box<dyn StdError + Send + Sync> = error.into();
        let trouble = Trouble::foreign("the wiring failed", &*boxed);
        assert_eq!(trouble.exit, Exit::Unavailable);
        assert_eq!(trouble.causes, ["while wiring", "no store"]);
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        assert_eq!(Trouble::from(io::Error::from(io::ErrorKind::BrokenPipe)).exit, Exit::Ok);
    }
}
