//! Structured logs on standard error: lines for people, or one JSON object a line.
//!
//! The fields of the spans around an event (the job's id, task, queue and attempt) are part of it in both forms.

use std::io::{self, IsTerminal};
use std::panic::PanicHookInfo;

use tracing::Level;
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::error::{Error, ErrorKind, Result};
use crate::settings::{LogFormat, Settings};

/// Starts writing logs, unless they are switched off or somebody has set up others.
pub(crate) fn install(settings: &Settings, quiet: bool) -> Result<()> {
    let given = settings.origin("log.level") != Settings::DEFAULT_ORIGIN;
    let level = if quiet && !given { "warn" } else { &settings.log_level };
    let events = EnvFilter::try_new(level)
        .map_err(|error| Error::new(ErrorKind::Invalid, format!("`{level}` is not a log level")).because(error))?;
    // A span says which job an event belongs to, also where only warnings are written.
    let spans = filter_fn(|metadata| {
        metadata.is_span() && *metadata.level() <= Level::INFO && metadata.target().starts_with("taskwright")
    });
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match settings.log_format {
        LogFormat::None => return Ok(()),
        LogFormat::Human => Box::new(lines),
        LogFormat::Json => Box::new(lines.json().flatten_event(true).with_span_list(false)),
    };
    // An error means that a subscriber is there already, set up by whoever runs this inside another program.
    let _: std::result::Result<(), _> =
        tracing_subscriber::registry().with(lines.with_filter(events.or(spans))).try_init();
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
