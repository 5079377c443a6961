//! Configuration in layers: which settings there are, what is in force, and where each value came from.
//!
//! Weakest first:
//!
//! 1. the defaults below;
//! 2. `taskwright.toml` or `taskwright.yaml` in the working directory, or the file that `--config` or
//!    `TASKWRIGHT_CONFIG` names;
//! 3. `TASKWRIGHT_*` lines of a file `.env` in the working directory (the process's own environment is left as it is);
//! 4. `TASKWRIGHT_*` environment variables;
//! 5. command-line flags;
//! 6. code: [`App::options`](crate::App::options) and [`App::url`](crate::App::url).
//!
//! Options in a task's attribute belong to that task and stand beside these.
//! An unknown key or a value that can't be used is refused, with its name, its origin and the valid choices.
//!
#![doc = include_str!("../../docs/settings.md")]

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use crate::app::App;
use crate::backend::connect::{Places, masked};
use crate::codec::Codec;
use crate::dispatch::JobOptions;
use crate::error::{Error, Result};
use crate::worker::WorkerOptions;

mod definitions;
mod nearest;
mod sources;

pub(crate) use definitions::codec_name;
pub use definitions::{SETTINGS, Setting};
pub(crate) use nearest::{did_you_mean, nearest};
pub(crate) use sources::Sources;

/// Everything that the generated program can be told from outside.
///
/// ```
/// use taskwright::settings::Settings;
///
/// let mut settings = Settings::default();
/// settings.set("concurrency", "8", "an example")?;
/// assert_eq!(settings.worker.concurrency, 8);
/// assert_eq!(settings.origin("concurrency"), "an example");
/// assert!(settings.set("concurrency", "many", "an example").is_err());
/// # Ok::<(), taskwright::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the jobs are.
    pub url: String,
    /// Where the record of jobs is that the broker at `url` only carries.
    pub store_url: Option<String>,
    /// Where results are, when they are apart from the jobs.
    pub results_url: Option<String>,
    /// Where hints go through, when that is not where the jobs are.
    pub events_url: Option<String>,
    /// How payloads of dispatched jobs are written.
    pub codec: Codec,
    /// How this program's worker works.
    pub worker: WorkerOptions,
    /// Where the worker answers `/healthz` and `/readyz`; nowhere when `None`.
    pub health_addr: Option<SocketAddr>,
    /// How logs look.
    pub log_format: LogFormat,
    /// Which logs are written: a level, or directives such as `info,my_crate=debug`.
    pub log_level: String,
    /// Whether argument values may be logged and listed.
    pub show_arguments: bool,
    /// Where the values that are not defaults came from, by key.
    origins: BTreeMap<&'static str, String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: crate::app::DEFAULT_URL.to_owned(),
            store_url: None,
            results_url: None,
            events_url: None,
            codec: Codec::default(),
            worker: WorkerOptions::default(),
            health_addr: None,
            log_format: LogFormat::Human,
            log_level: "info".to_owned(),
            show_arguments: false,
            origins: BTreeMap::new(),
        }
    }
}

impl Settings {
    /// What a value that nobody gave comes from.
    pub const DEFAULT_ORIGIN: &'static str = "default";

    /// Gives the setting `key` a value, and remembers that it came from `origin`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) when there is no such setting, or it takes no such value.
    pub fn set(&mut self, key: &str, value: &str, origin: impl Into<String>) -> Result<()> {
        let origin = origin.into();
        let setting = definitions::find(key).ok_or_else(|| unknown_key(key, &origin))?;
        (setting.write)(self, value.trim()).map_err(|error| {
            // A URL may hold a password, which has no place in an error.
            let shown = if setting.secret { masked(value) } else { value.to_owned() };
            Error::invalid(format!("setting `{key}` can't be `{shown}`; it takes {}", setting.takes))
                .context("from", &origin)
                .because(error)
        })?;
        self.origins.insert(setting.key, origin);
        Ok(())
    }

    /// The value of the setting `key` as text that [`Settings::set`] reads, secrets masked; `None` when there is none.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<String> {
        let setting = definitions::find(key)?;
        let value = (setting.read)(self);
        Some(if setting.secret { masked(&value) } else { value })
    }

    /// Where the setting `key` got its value.
    #[must_use]
    pub fn origin(&self, key: &str) -> &str {
        self.origins.get(key).map_or(Self::DEFAULT_ORIGIN, String::as_str)
    }

    /// An application that is wired as these settings say, before its own code.
    pub(crate) fn app(&self) -> App {
        let jobs = JobOptions { codec: Some(self.codec), ..JobOptions::default() };
        let places = Places {
            url: self.url.clone(),
            store_url: self.store_url.clone(),
            results_url: self.results_url.clone(),
            events_url: self.events_url.clone(),
        };
        App::configured(places, jobs, self.worker.clone())
    }

    /// Takes over what code has decided, and remembers which settings it changed.
    pub(crate) fn adopt(&mut self, places: Places, worker: &WorkerOptions) {
        let before = self.clone();
        Places {
            url: self.url,
            store_url: self.store_url,
            results_url: self.results_url,
            events_url: self.events_url,
        } = places;
        self.worker = worker.clone();
        for setting in SETTINGS {
            if (setting.read)(&before) != (setting.read)(self) {
                self.origins.insert(setting.key, "code".to_owned());
            }
        }
    }

    /// Every setting as a table in Markdown: its key, its variable, what it takes, its default, what it does.
    #[must_use]
    pub fn markdown() -> String {
        let row = |setting: &Setting| {
            let quoted = |text: &str| if text.is_empty() { String::new() } else { format!("`{text}`") };
            let default = match setting.default {
                Some(words) => words.to_owned(),
                None => quoted(&setting.default_text()),
            };
            let Setting { key, takes, about, .. } = setting;
            let (variable, flag) = (setting.variable(), quoted(setting.flag.unwrap_or_default()));
            format!("| `{key}` | `{variable}` | {flag} | {takes} | {default} | {about} |\n")
        };
        let rows: Vec<String> = SETTINGS.iter().map(row).collect();
        let head = "| setting | variable | flag | takes | default | what it does |\n|---|---|---|---|---|---|\n";
        format!("{head}{}", rows.concat())
    }
}

fn unknown_key(key: &str, origin: &str) -> Error {
    let keys = SETTINGS.iter().map(|setting| setting.key);
    let hint = match nearest(key, keys.clone()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("the settings are {}", keys.collect::<Vec<_>>().join(", ")),
    };
    Error::invalid(format!("there is no setting `{key}`; {hint}")).context("from", origin)
}

/// How logs look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
    /// None: the application sets up its own.
    None,
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Human => "human",
            Self::Json => "json",
            Self::None => "none",
        })
    }
}

impl FromStr for LogFormat {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            "none" => Ok(Self::None),
            _ => Err(Error::invalid(format!("`{text}` is not a log format; write `human`, `json` or `none`"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_reads_back_what_it_shows() {
        let defaults = Settings::default();
        for setting in SETTINGS {
            let shown = (setting.read)(&defaults);
            let mut settings = Settings::default();
            settings.set(setting.key, &shown, "a test").unwrap();
            assert_eq!((setting.read)(&settings), shown, "{}", setting.key);
            assert_eq!(settings.origin(setting.key), "a test");
        }
    }

    #[test]
    fn every_setting_refuses_nonsense_by_name_origin_and_choices() {
        for setting in SETTINGS.iter().filter(|setting| setting.key != "url") {
            let error = Settings::default().set(setting.key, "?!", "a test").unwrap_err().to_string();
            assert!(error.contains(setting.key) && error.contains("a test"), "{error}");
            assert!(error.contains(setting.takes), "{error}");
        }
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest() {
        let error = Settings::default().set("concurency", "1", "taskwright.toml").unwrap_err().to_string();
        assert_eq!(error, "there is no setting `concurency`; did you mean `concurrency`? (from taskwright.toml)");
    }

    #[test]
    fn code_overrides_are_remembered_as_such() {
        let mut settings = Settings::default();
        let worker = WorkerOptions { concurrency: 3, ..WorkerOptions::default() };
        settings.adopt(Places { url: "sqlite:taskwright.db".to_owned(), ..Places::default() }, &worker);
        assert_eq!(settings.origin("concurrency"), "code");
        assert_eq!(settings.origin("lease"), "default");
    }

    #[test]
    fn a_refused_url_keeps_its_password_to_itself() {
        let error = Settings::default().set("url", "pg//u:hunter2@h", "--url").unwrap_err();
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }

    #[test]
    fn the_documented_table_is_the_real_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/settings.md");
        let written = std::fs::read_to_string(path).unwrap();
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(path, format!("# Settings\n\n{}", Settings::markdown())).unwrap();
            return;
        }
        assert!(written.ends_with(&Settings::markdown()), "run with UPDATE_EXPECT=1 to write {path}");
    }
}
