//! Where settings come from, read in order of strength.

use std::fs;
use std::path::{Path, PathBuf};

use config::{File, FileFormat, Source, Value, ValueKind};

use super::{SETTINGS, Settings, did_you_mean};
use crate::error::{Error, Result};
use crate::worker::isolation::SUMMONS;

/// What the program was started with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    /// Where `taskwright.toml`, `taskwright.yaml` and `.env` are looked for, and what relative paths start from.
    pub(crate) directory: PathBuf,
    /// The environment.
    pub(crate) environment: Vec<(String, String)>,
    /// The file named by `--config`.
    pub(crate) file: Option<PathBuf>,
    /// Values of flags: key, value, and the flag as it was written.
    pub(crate) flags: Vec<(String, String, String)>,
}

/// One value from somewhere.
struct Given {
    key: String,
    value: String,
    origin: String,
}

const PREFIX: &str = "TASKWRIGHT_";
/// Names the settings file, and so can't stand in it.
const FILE_VARIABLE: &str = "TASKWRIGHT_CONFIG";
/// Variables that name servers for tests share the prefix and mean nothing here.
const TEST_PREFIX: &str = "TASKWRIGHT_TEST_";
const FILE_NAMES: [&str; 3] = ["taskwright.toml", "taskwright.yaml", "taskwright.yml"];

impl Sources {
    /// The settings in force.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a file that can't be read, an unknown key, or a value
    /// that can't be used.
    pub(crate) fn load(&self) -> Result<Settings> {
        let dotenv = self.dotenv()?;
        let mut settings = Settings::default();
        let layers =
            [self.file(&dotenv)?, variables(&dotenv, ".env: ")?, variables(&self.environment, "")?, self.flags()];
        for given in layers.into_iter().flatten() {
            settings.set(&given.key, &given.value, given.origin)?;
        }
        Ok(settings)
    }

    fn flags(&self) -> Vec<Given> {
        let given = |(key, value, flag): &(String, String, String)| Given {
            key: key.clone(),
            value: value.clone(),
            origin: flag.clone(),
        };
        self.flags.iter().map(given).collect()
    }

    /// The lines of `.env`; the process's environment is not changed by them.
    fn dotenv(&self) -> Result<Vec<(String, String)>> {
        let path = self.directory.join(".env");
        let refuse = |error: dotenvy::Error| {
            Error::invalid(format!("`{}` can't be read; each line is NAME=value", path.display())).because(error)
        };
        match dotenvy::from_path_iter(&path) {
            Ok(lines) => lines.collect::<Result<_, _>>().map_err(refuse),
            Err(error) if error.not_found() => Ok(Vec::new()),
            Err(error) => Err(refuse(error)),
        }
    }

    fn file(&self, dotenv: &[(String, String)]) -> Result<Vec<Given>> {
        match self.file_path(dotenv)? {
            Some(path) => read_file(&path),
            None => Ok(Vec::new()),
        }
    }

    fn file_path(&self, dotenv: &[(String, String)]) -> Result<Option<PathBuf>> {
        let variable = |variables: &[(String, String)]| {
            variables.iter().find(|(name, _)| name == FILE_VARIABLE).map(|(_, value)| PathBuf::from(value))
        };
        let named = self.file.clone().or_else(|| variable(&self.environment)).or_else(|| variable(dotenv));
        if let Some(named) = named {
            return Ok(Some(self.directory.join(named)));
        }
        let mut found = FILE_NAMES.map(|name| self.directory.join(name)).into_iter().filter(|path| path.exists());
        match (found.next(), found.next()) {
            (Some(first), Some(second)) => Err(Error::invalid(format!(
                "`{}` and `{}` are both there; keep one, or name one with --config",
                first.display(),
                second.display(),
            ))),
            (first, _) => Ok(first),
        }
    }
}

fn read_file(path: &Path) -> Result<Vec<Given>> {
    let shown = path.display();
    let format = match path.extension().and_then(|extension| extension.to_str()) {
        Some("toml") => FileFormat::Toml,
        Some("yaml" | "yml") => FileFormat::Yaml,
        _ => {
            return Err(Error::invalid(format!(
                "settings file `{shown}` is of no known kind; its name ends in .toml, .yaml or .yml"
            )));
        }
    };
    let text = fs::read_to_string(path)
        .map_err(|error| Error::invalid(format!("settings file `{shown}` can't be read")).because(error))?;
    let table = File::from_str(&text, format)
        .collect()
        .map_err(|error| Error::invalid(format!("settings file `{shown}` is not {format:?}")).because(error))?;
    let mut given = Vec::new();
    // Sorted, so that of several mistakes always the same one is reported.
    let mut entries: Vec<_> = table.into_iter().collect();
    entries.sort_by(|(left, _), (right, _)| left.cmp(right));
    for (key, value) in entries {
        flatten(&key, value, &shown.to_string(), &mut given)?;
    }
    Ok(given)
}

/// Turns nested tables into keys with dots, and lists into text with commas.
fn flatten(key: &str, value: Value, origin: &str, into: &mut Vec<Given>) -> Result<()> {
    let text = match value.kind {
        ValueKind::Table(table) => {
            let mut entries: Vec<_> = table.into_iter().collect();
            entries.sort_by(|(left, _), (right, _)| left.cmp(right));
            return entries
                .into_iter()
                .try_for_each(|(inner, value)| flatten(&format!("{key}.{inner}"), value, origin, into));
        }
        ValueKind::Array(parts) => {
            let parts: Vec<String> = parts.into_iter().map(|part| part.kind.to_string()).collect();
            parts.join(",")
        }
        ValueKind::Nil => {
            return Err(Error::invalid(format!("setting `{key}` has no value; give it one, or remove it"))
                .context("from", origin));
        }
        kind => kind.to_string(),
    };
    into.push(Given { key: key.to_owned(), value: text, origin: origin.to_owned() });
    Ok(())
}

/// Whether a variable is meant for the settings.
fn is_setting(name: &str) -> bool {
    name.starts_with(PREFIX) && !name.starts_with(TEST_PREFIX) && ![FILE_VARIABLE, SUMMONS].contains(&name)
}

fn variables(variables: &[(String, String)], place: &str) -> Result<Vec<Given>> {
    let ours = variables.iter().filter(|(name, _)| is_setting(name));
    ours.map(|(name, value)| {
        let setting =
            SETTINGS.iter().find(|setting| setting.variable() == *name).ok_or_else(|| unknown(name, place))?;
        Ok(Given { key: setting.key.to_owned(), value: value.clone(), origin: format!("{place}{name}") })
    })
    .collect()
}

fn unknown(name: &str, place: &str) -> Error {
    let names: Vec<String> = SETTINGS.iter().map(super::Setting::variable).collect();
    let near = did_you_mean(name, names.iter().map(String::as_str));
    let error = Error::invalid(format!("variable {name} is no setting{near}; unset it or correct its name"));
    if place.is_empty() { error } else { error.context("from", ".env") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(
        files: &[(&str, &str)],
        environment: &[(&str, &str)],
        flags: &[(&str, &str)],
    ) -> (tempfile::TempDir, Sources) {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(directory.path().join(name), text).unwrap();
        }
        let sources = Sources {
            directory: directory.path().to_owned(),
            environment: environment.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            file: None,
            flags: flags.iter().map(|(key, value)| ((*key).into(), (*value).into(), format!("--{key}"))).collect(),
        };
        (directory, sources)
    }

    #[track_caller]
    fn refusal(files: &[(&str, &str)], environment: &[(&str, &str)]) -> String {
        let (_directory, sources) = sources(files, environment, &[]);
        let error = sources.load().unwrap_err();
        format!("{error:?}")
    }

    #[test]
    fn each_layer_is_stronger_than_the_one_before() {
        let file = ("taskwright.toml", "concurrency = 1\nprefetch = 1\nmax_crashes = 1\nblocking_threads = 1");
        let dotenv =
            (".env", "TASKWRIGHT_PREFETCH=2\nTASKWRIGHT_MAX_CRASHES=2\nTASKWRIGHT_BLOCKING_THREADS=2\nOTHER=x");
        let environment = [("TASKWRIGHT_MAX_CRASHES", "3"), ("TASKWRIGHT_BLOCKING_THREADS", "3")];
        let (_directory, sources) = sources(&[file, dotenv], &environment, &[("blocking_threads", "4")]);
        let settings = sources.load().unwrap();
        let worker = &settings.worker;
        let values = (worker.concurrency, worker.prefetch, worker.max_crashes, worker.blocking_threads);
        assert_eq!(values, (1, 2, 3, 4));
        assert!(settings.origin("concurrency").ends_with("taskwright.toml"));
        assert_eq!(settings.origin("prefetch"), ".env: TASKWRIGHT_PREFETCH");
        assert_eq!(settings.origin("max_crashes"), "TASKWRIGHT_MAX_CRASHES");
        assert_eq!(settings.origin("blocking_threads"), "--blocking_threads");
        assert_eq!(settings.origin("lease"), "default");
    }

    #[test]
    fn tables_and_lists_are_read_from_toml_and_yaml() {
        let toml = "queues = [\"critical\", \"default=4\"]\n[log]\nformat = \"json\"\n[retention]\ndiscarded = \"7d\"";
        let yaml = "queues:\n  - critical\n  - default=4\nlog:\n  format: json\nretention:\n  discarded: 7d\n";
        for file in [("taskwright.toml", toml), ("taskwright.yaml", yaml)] {
            let (_directory, sources) = sources(&[file], &[], &[]);
            let settings = sources.load().unwrap();
            assert_eq!(settings.get("queues").unwrap(), "critical,default=4");
            assert_eq!(settings.get("log.format").unwrap(), "json");
            assert_eq!(settings.get("retention.discarded").unwrap(), "7d");
        }
    }

    #[test]
    fn an_unknown_key_names_its_file() {
        let error = refusal(&[("taskwright.toml", "concurency = 4")], &[]);
        assert!(error.contains("did you mean `concurrency`") && error.contains("taskwright.toml"), "{error}");
    }

    #[test]
    fn a_scalar_where_a_table_belongs_is_refused() {
        let error = refusal(&[("taskwright.toml", "log = \"json\"")], &[]);
        assert!(error.contains("no setting `log`; did you mean `log."), "{error}");
    }

    #[test]
    fn an_unknown_variable_is_refused_and_test_variables_are_not() {
        let error = refusal(&[], &[("TASKWRIGHT_TEST_POSTGRES_URL", "x"), ("TASKWRIGHT_CONCURENCY", "4")]);
        assert!(error.contains("did you mean `TASKWRIGHT_CONCURRENCY`"), "{error}");
    }

    #[test]
    fn broken_files_are_refused_by_name() {
        let error = refusal(&[("taskwright.toml", "concurrency = = 4")], &[]);
        assert!(error.contains("taskwright.toml` is not Toml"), "{error}");
        let error = refusal(&[(".env", "TASKWRIGHT_URL='open")], &[]);
        assert!(error.contains(".env` can't be read"), "{error}");
        let error = refusal(&[("taskwright.yaml", "concurrency:")], &[]);
        assert!(error.contains("`concurrency` has no value"), "{error}");
        let error = refusal(&[], &[("TASKWRIGHT_CONFIG", "nowhere.toml")]);
        assert!(error.contains("nowhere.toml` can't be read"), "{error}");
        let error = refusal(&[], &[("TASKWRIGHT_CONFIG", "settings.ini")]);
        assert!(error.contains("of no known kind"), "{error}");
        let error = refusal(&[("taskwright.toml", ""), ("taskwright.yaml", "")], &[]);
        assert!(error.contains("both there"), "{error}");
    }
}
