//! Structured logs on standard error: lines for people, or one JSON object a line.
//!
//! The fields of the spans around an event (the job's id, task, queue and attempt) are part of it in both forms.

use std::io::{self, IsTerminal};
use std::panic::PanicHookInfo;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::error::{Error, Result};
use crate::settings::{LogFormat, Settings};

/// Starts writing logs, unless the application has set up its own.
pub(crate) fn install(settings: &Settings, quiet: bool) -> Result<()> {
    let given = settings.origin("log.level") != Settings::DEFAULT_ORIGIN;
    let level = if quiet && !given { "warn" } else { &settings.log_level };
    let filter = EnvFilter::try_new(level).map_err(|error| {
        Error::new(crate::ErrorKind::Invalid, format!("`{level}` is not a log level")).because(error)
    })?;
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_span_events(FmtSpan::NONE);
    // An error means that a subscriber is there already; the application knows better where its logs go.
    let _: std::result::Result<(), _> = match settings.log_format {
        LogFormat::Human => logs.try_init(),
        LogFormat::Json => logs.json().flatten_event(true).with_span_list(false).try_init(),
    };
    Ok(())
}

/// Makes a panic a line in the logs, instead of text that breaks their format.
///
/// A task's panic is caught and recorded with its job; this only says where it happened.
pub(crate) fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(panic.message = message(panic), panic.location = place, "a thread panicked");
    }));
}

fn message<'a>(panic: &'a PanicHookInfo<'_>) -> &'a str {
    panic.payload_as_str().unwrap_or("a value that is no text")
}
