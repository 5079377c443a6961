//! Where commands write, and in which form.

use std::io::{self, Read, Write};

use serde::Serialize;

use super::trouble::Trouble;

/// The streams of one run of the program.
pub(crate) struct Output<'a> {
    pub(crate) stdin: &'a mut dyn Read,
    pub(crate) stdout: &'a mut dyn Write,
    pub(crate) stderr: &'a mut dyn Write,
    /// Whether answers are JSON.
    pub(crate) json: bool,
    /// Whether a person watches, so that long work shows how far it is.
    pub(crate) terminal: bool,
}

impl Output<'_> {
    /// The same streams, lent for a while.
    pub(crate) fn lend(&mut self) -> Output<'_> {
        let Self { json, terminal, .. } = *self;
        Output { stdin: self.stdin, stdout: self.stdout, stderr: self.stderr, json, terminal }
    }

    /// Writes an answer as JSON: on one line, or with `terminal` for eyes.
    pub(crate) fn json<T: Serialize + ?Sized>(&mut self, answer: &T) -> Result<(), Trouble> {
        let text = if self.terminal { serde_json::to_string_pretty(answer) } else { serde_json::to_string(answer) };
        self.line(text?)
    }

    /// Writes a line of an answer.
    pub(crate) fn line(&mut self, text: impl AsRef<str>) -> Result<(), Trouble> {
        writeln!(self.stdout, "{}", text.as_ref())?;
        Ok(())
    }

    /// Says something beside the answer, to people.
    pub(crate) fn note(&mut self, text: impl AsRef<str>) {
        // A note that can't be written is not worth failing for.
        let _: io::Result<()> = writeln!(self.stderr, "{}", text.as_ref());
    }
}
