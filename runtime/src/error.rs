//! The one error type of the public API.

use std::error::Error as StdError;
use std::fmt;

/// The result of anything in Taskwright that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, to what, and what to do about it.
///
/// Callers that decide by it ask [`Error::kind`] and [`Error::is_transient`]; people read its `Display`.
///
/// ```
/// use taskwright::{ErrorKind, Name};
///
/// let error = Name::new("no spaces, please").unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Invalid);
/// assert!(error.to_string().contains("`no spaces, please`"));
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    transient: bool,
    message: String,
    /// What was being done and to what, outermost last: `("backend", "sqlite")`.
    context: Vec<(&'static str, String)>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The questions that a caller may want to answer differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The caller gave something that can't be used: a name, a number, a URL, a setting.
    Invalid,
    /// No client is in scope, none is installed, or configuration lacks a part.
    NotConfigured,
    /// The backend, or this build, does not offer what was asked for.
    Unsupported,
    /// There is no such job, queue or task.
    NotFound,
    /// Another job has the unique key, and the dispatch was told to refuse then.
    Conflict,
    /// The payload or result is larger than the backend takes.
    TooLarge,
    /// Bytes that were stored or given do not decode, or a value does not encode.
    Codec,
    /// The store can't be reached, is busy, full, or broke off: worth another try when transient.
    Unavailable,
    /// The store answered with something that it should not hold: damaged, of a newer version, edited.
    Corrupt,
    /// The program's wiring is wrong: two tasks of one name, state that nobody gave.
    Wiring,
    /// A wait ended before what it waited for.
    Timeout,
    /// The client or worker is shutting down.
    Closed,
    /// The job ended without a result; [`Error::source`](StdError::source) tells the task's own error.
    Job,
}

impl Error {
    /// An error of this kind that another try would not mend.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let message = message.into();
        Self(Box::new(Inner { kind, transient: false, message, context: Vec::new(), source: None }))
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// The store failed in a way that may pass: worth another try.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, message).transient(true)
    }

    /// Says whether another try may succeed.
    #[must_use]
    pub fn transient(mut self, transient: bool) -> Self {
        self.0.transient = transient;
        self
    }

    /// Adds what was being done, or to what.
    #[must_use]
    pub fn context(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.0.context.push((key, value.into()));
        self
    }

    /// Adds the error that caused this one.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Which kind of error this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether the same call may succeed later: the store was away, busy or slow.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.0.transient
    }

    /// The message without context and causes.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The same error again, for each of several callers that shared one failed batch.
    ///
    /// The cause becomes text, since errors of drivers can't be cloned.
    pub(crate) fn share(&self) -> Self {
        let source = self.0.source.as_ref().map(|source| error_chain(source.as_ref()).join(": ").into());
        Self(Box::new(Inner {
            kind: self.0.kind,
            transient: self.0.transient,
            message: self.0.message.clone(),
            context: self.0.context.clone(),
            source,
        }))
    }
}

/// The messages of an error and of its causes, outermost first.
///
/// A cause that its parent's message already ends with is not said twice.
pub(crate) fn error_chain(error: &(dyn StdError + 'static)) -> Vec<String> {
    let mut chain = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !chain.last().is_some_and(|last| last.ends_with(&message)) {
            chain.push(message);
        }
        cause = error.source();
    }
    chain
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        if !self.0.context.is_empty() {
            let pairs: Vec<_> = self.0.context.iter().map(|(key, value)| format!("{key} {value}")).collect();
            write!(f, " ({})", pairs.join(", "))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)?;
        for cause in error_chain(self).iter().skip(1) {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}
