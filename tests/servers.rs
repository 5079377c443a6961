//! Real servers for tests: private, thrown away, and gone when their test process is.
//!
//! `TASKWRIGHT_TEST_POSTGRES_URL` names one that runs already; else one is started from the programs on the machine.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result, bail};

/// Why there is no server to test with.
#[derive(Debug, thiserror::Error)]
pub enum NoServer {
    /// Its programs are not on this machine.
    #[error(
        "no PostgreSQL server on this machine; install it (Debian: `apt-get install postgresql`), or name one in {POSTGRES_URL}"
    )]
    Missing,
    /// They are, and don't work.
    #[error("the PostgreSQL server for tests does not start: {0:#}")]
    Broken(#[from] anyhow::Error),
}

/// Names a server that runs already.
pub const POSTGRES_URL: &str = "TASKWRIGHT_TEST_POSTGRES_URL";

/// A PostgreSQL server, and a database in it that tests may do anything to.
#[derive(Debug)]
pub struct Postgres {
    url: String,
    /// Keeps a server that was started here running; `None` for a given one.
    guardian: Option<Guardian>,
}

impl Postgres {
    /// The server that the environment names, or else a new one.
    ///
    /// # Errors
    ///
    /// When there is neither.
    pub fn start() -> Result<Self, NoServer> {
        if let Ok(url) = std::env::var(POSTGRES_URL) {
            return Ok(Self { url, guardian: None });
        }
        let programs = programs().ok_or(NoServer::Missing)?;
        Ok(Self::start_from(&programs).context("started from its programs")?)
    }

    /// Where it is, with user and database.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    fn start_from(programs: &Path) -> Result<Self> {
        let port = free_port()?;
        let guardian = Guardian::start(programs, port)?;
        let url = format!("postgres://taskwright:taskwright@127.0.0.1:{port}/postgres");
        Ok(Self { url, guardian: Some(guardian) })
    }
}

/// The folder with the server's programs: the newest of Debian's, or the one on the search path.
fn programs() -> Option<PathBuf> {
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<_> = installed.map(|entry| entry.path().join("bin")).collect();
    let number = |folder: &PathBuf| -> Option<u32> { folder.parent()?.file_name()?.to_str()?.parse().ok() };
    versions.sort_by_key(|folder| std::cmp::Reverse(number(folder)));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let complete = |folder: &PathBuf| ["initdb", "pg_ctl", "postgres"].iter().all(|name| folder.join(name).is_file());
    versions.into_iter().chain(std::env::split_paths(&path)).find(complete)
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Starts a server, and stops it when the standard input ends: when the test process does, however it does.
///
/// Nothing has to last, so nothing waits for the disk.
const GUARD: &str = r#"
trap '' HUP INT TERM
set -e
cd "$2"
printf taskwright > password
"$1/initdb" -D data -U taskwright -A scram-sha-256 --pwfile password -E UTF8 --locale C --no-sync > log 2>&1
options="-p $3 -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=400"
options="$options -c fsync=off -c full_page_writes=off -c logging_collector=off"
"$1/pg_ctl" -D data -l log -o "$options" -w start > /dev/null 2>&1
echo ready
read line || true
"$1/pg_ctl" -D data -m immediate stop > /dev/null 2>&1 || true
cd / && rm -rf "$2"
"#;

/// The shell that runs [`GUARD`].
#[derive(Debug)]
struct Guardian {
    process: Child,
    /// Closed to end it.
    input: Option<ChildStdin>,
    folder: tempfile::TempDir,
}

impl Guardian {
    fn start(programs: &Path, port: u16) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut process = shell(folder.path())?
            .arg(programs)
            .arg(folder.path())
            .arg(port.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("no shell to start it with")?;
        let input = process.stdin.take();
        let output = process.stdout.take().context("the shell has no output")?;
        let guardian = Self { process, input, folder };
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        if line != "ready\n" {
            let log = std::fs::read_to_string(guardian.folder.path().join("log")).unwrap_or_default();
            bail!("it says: {log}");
        }
        Ok(guardian)
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        self.input.take();
        // It stops the server first, so that the folder may go afterwards.
        let _ = self.process.wait();
    }
}

/// A shell that will run [`GUARD`]; as another user where this one is root, which the server refuses to be.
fn shell(folder: &Path) -> Result<Command> {
    let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(folder)?);
    let mut command = if owner == 0 {
        hand_over(folder)?;
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups", "sh"]);
        command
    } else {
        Command::new("sh")
    };
    command.args(["-c", GUARD, "guard"]);
    Ok(command)
}

fn hand_over(folder: &Path) -> Result<()> {
    let handed = Command::new("chown").arg("postgres:postgres").arg(folder).status().context("chown")?;
    if !handed.success() {
        bail!("there is no user `postgres` to run it as; root may not");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use sqlx::{Connection, PgConnection};

    use super::*;

    /// Passes without a server only where none is asked for.
    #[tokio::test]
    async fn server_answers_and_is_gone_with_its_guardian() {
        let server = match Postgres::start() {
            Ok(server) => server,
            Err(NoServer::Missing) if std::env::var_os("CI").is_none() => return eprintln!("{}", NoServer::Missing),
            Err(error) => panic!("{error}"),
        };
        let url = server.url().to_owned();
        let mut db = PgConnection::connect(&url).await.expect("it accepts connections");
        db.ping().await.expect("it answers");
        let given = server.guardian.is_none();
        drop(server);
        assert_eq!(PgConnection::connect(&url).await.is_ok(), given, "only a given one stays");
    }
}
