//! Looking at a server: what it is, what it keeps, what puts jobs at risk.

use redis::Value;

use super::answer::{bytes, list, text};
use super::error::{no_rights, strange};
use super::link::Link;
use super::scripts::PROBE;
use crate::backend::Schema;
use crate::error::{Error, ErrorKind, Result};

/// The newest version of the keys that this program knows, and the oldest: no earlier one was released.
const KNOWN: i64 = 3;
/// The oldest Redis that has what the scripts need.
const OLDEST: (u32, u32) = (6, 2);

/// What a server says of itself.
pub(super) struct Server {
    pub(super) durability: String,
    pub(super) warnings: Vec<String>,
    pub(super) schema: Schema,
}

/// Looks at the server, and refuses one that can't keep jobs.
pub(super) async fn look_at(link: &Link) -> Result<Server> {
    // In a cluster this leads to the node that has the keys, which is the one to look at.
    let schema = schema_found(link).await?;
    let mut warnings = Vec::new();
    let about = match link.command(&redis::cmd("INFO")).await {
        Ok(about) => text(about)?,
        Err(error) if is_forbidden(&error) => {
            warnings.push("the redis user may not use INFO, so neither version nor settings are known".to_owned());
            String::new()
        }
        Err(error) => return Err(error),
    };
    let about = |name: &str| about.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    refuse_too_old(about("redis_version"))?;
    if about("role") == Some("slave") {
        return Err(Error::unavailable(
            "this redis is a replica, which takes no writes; the URL has to name the primary",
        ));
    }
    let schema = bring_up(link, schema).await?;
    probe(link).await?;
    if let Some(policy) = about("maxmemory_policy").filter(|policy| *policy != "noeviction") {
        warnings.push(format!(
            "maxmemory-policy is {policy}: a full redis drops jobs; set it to noeviction, which refuses new ones instead"
        ));
    }
    let durability = match about("aof_enabled") {
        Some("1") => appendfsync(link, &mut warnings).await?,
        Some(_) => snapshots(link, &mut warnings).await?,
        None => "not known: the redis user may not use INFO".to_owned(),
    };
    Ok(Server { durability, warnings, schema })
}

fn refuse_too_old(version: Option<&str>) -> Result<()> {
    let Some(version) = version else { return Ok(()) };
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if found >= OLDEST {
        return Ok(());
    }
    let (major, minor) = OLDEST;
    Err(Error::new(
        ErrorKind::Unsupported,
        format!("this is redis {version}; taskwright needs {major}.{minor} or later, or valkey"),
    ))
}

/// The schema's version as it stands there.
async fn schema_found(link: &Link) -> Result<Option<String>> {
    let found = match link.command(redis::cmd("GET").arg(link.key("schema"))).await? {
        Value::Nil => return Ok(None),
        found => bytes(found)?,
    };
    Ok(Some(String::from_utf8_lossy(&found).into_owned()))
}

/// Writes the schema's version where there is none, and refuses one that this program can't work with.
///
/// Versions only ever add, so that this program still runs on what the next one writes (P17).
async fn bring_up(link: &Link, found: Option<String>) -> Result<Schema> {
    let key = link.key("schema");
    let found = if found.is_some() {
        found
    } else {
        link.command(redis::cmd("SET").arg(&key).arg(KNOWN).arg("NX")).await?;
        // Another program may have been faster.
        schema_found(link).await?
    };
    let found = found.ok_or_else(strange)?;
    let Some(version) = found.parse::<i64>().ok().filter(|version| *version > 0) else {
        let message = format!(
            "{key} is `{}`, which is no version of taskwright's keys; delete it, or choose another prefix",
            found.escape_debug()
        );
        return Err(Error::new(ErrorKind::Corrupt, message));
    };
    if version < KNOWN {
        let message = format!(
            "{key} has taskwright's schema version {version}, which was never released, and this program knows {KNOWN}; \
             let an earlier build finish the jobs, then delete the keys, or choose another prefix"
        );
        return Err(Error::new(ErrorKind::Corrupt, message));
    }
    if version > KNOWN + 1 {
        let message = format!(
            "{key} has taskwright's schema version {version}, and this program knows {KNOWN}; update this program"
        );
        return Err(Error::new(ErrorKind::Corrupt, message));
    }
    Ok(Schema { version, known: KNOWN })
}

/// Finds out at once whether the user lacks a right, and not in the middle of a script.
async fn probe(link: &Link) -> Result<()> {
    let Value::Array(refusal) = link.run(&link.call(&PROBE)).await? else { return Ok(()) };
    let [command, reason] = refusal.try_into().map_err(|_| strange())?;
    let (command, reason) = (text(command)?, text(reason)?);
    Err(no_rights(&format!("{command} was refused: {reason}")))
}

async fn appendfsync(link: &Link, warnings: &mut Vec<String>) -> Result<String> {
    let durability = match configured(link, "appendfsync", warnings).await?.as_deref() {
        Some("always") => "append-only file, fsync at every write (appendfsync always)",
        Some("everysec") => {
            "append-only file, fsync every second: a crash may take the latest second or two (appendfsync everysec)"
        }
        Some("no") => {
            warnings
                .push("appendfsync is no: a loss of power may take what was pushed in the last half minute".to_owned());
            "append-only file, fsync when the system likes (appendfsync no)"
        }
        _ => "append-only file; when it is on disk is not known",
    };
    Ok(durability.to_owned())
}

async fn snapshots(link: &Link, warnings: &mut Vec<String>) -> Result<String> {
    match configured(link, "save", warnings).await? {
        Some(save) if save.is_empty() => {
            warnings.push("redis saves nothing: its restart loses every job; set appendonly to yes".to_owned());
            Ok("nothing survives a restart of the server".to_owned())
        }
        Some(_) => {
            warnings.push(
                "appendonly is no: a crash of redis loses all jobs since its latest snapshot; set it to yes".to_owned(),
            );
            Ok("snapshots: a crash of the server takes what came after the latest".to_owned())
        }
        None => Ok("no append-only file; whether there are snapshots is not known".to_owned()),
    }
}

/// A setting of the server, if the user may see it.
async fn configured(link: &Link, name: &str, warnings: &mut Vec<String>) -> Result<Option<String>> {
    // It fails also where the command was renamed away, as hosted ones do.
    let Ok(answer) = link.command(redis::cmd("CONFIG").arg("GET").arg(name)).await else {
        warnings.push(format!("the redis user may not use CONFIG GET, so {name} is not known"));
        return Ok(None);
    };
    list(answer)?.into_iter().nth(1).map(text).transpose()
}

fn is_forbidden(error: &Error) -> bool {
    error.kind() == ErrorKind::Unavailable && !error.is_transient()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_too_old_is_refused() {
        for (version, accepted) in [("6.0.16", false), ("6.2.0", true), ("7.2.4", true), ("255.255.255", true)] {
            assert_eq!(refuse_too_old(Some(version)).is_ok(), accepted, "{version}");
        }
    }
}
