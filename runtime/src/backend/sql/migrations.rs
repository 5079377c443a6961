//! Which schema a database has, and which it needs.

use crate::backend::Schema;
use crate::error::{Error, ErrorKind, Result};

/// One step of the schema. Steps only ever add, so that the version before still runs on what this one leaves (P17).
pub(super) struct Migration {
    /// Its number, from 1 without gaps.
    pub(super) version: i64,
    /// What it brings, for people.
    pub(super) name: &'static str,
    /// Statements, each alone.
    pub(super) statements: &'static [&'static str],
}

/// What is told of a database that has been brought up to date, and was at version `before` until then.
pub(super) fn schema(migrations: &[Migration], before: i64) -> Schema {
    let known = migrations.last().map_or(0, |last| last.version);
    Schema { version: known.max(before), known }
}

/// The steps that a database of version `current` lacks.
///
/// # Errors
///
/// [`ErrorKind::Corrupt`] when the database is more than one version ahead of this program.
pub(super) fn missing(migrations: &'static [Migration], current: i64) -> Result<&'static [Migration]> {
    let newest = migrations.last().map_or(0, |last| last.version);
    if current > newest + 1 {
        return Err(Error::new(
            ErrorKind::Corrupt,
            format!(
                "the database has taskwright's schema version {current}, and this program knows {newest}; update this program"
            ),
        ));
    }
    if current > newest {
        tracing::warn!(current, newest, "the database's schema is one version ahead; update this program soon");
    }
    let done = usize::try_from(current).unwrap_or(0).min(migrations.len());
    Ok(&migrations[done..])
}

/// The whole schema as one script for an empty database, for those who let no program create tables.
///
/// `said` is a statement in the dialect's words, `recorded` the one that remembers a step.
pub(super) fn script(
    create: &str,
    migrations: &[Migration],
    said: impl Fn(&str) -> String,
    recorded: impl Fn(&Migration) -> String,
) -> String {
    let mut script = format!("{};\n", said(create));
    for migration in migrations {
        let Migration { version, name, statements } = migration;
        script.extend(["\n-- Version ", &version.to_string(), ": ", name, ".\n\n"]);
        for statement in *statements {
            script.extend([said(statement).trim_end(), ";\n\n"]);
        }
        script.extend([&said(&recorded(migration)), ";\n"]);
    }
    script
}
