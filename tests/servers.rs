//! Real servers for tests: private, thrown away, and gone when their test process is.
//!
//! They are started from the programs on the machine, on free ports of the loopback and in folders of their own, so that
//! a test may kill them.
//! What nobody kills may be shared: `TASKWRIGHT_TEST_<NAME>_URL` names a server for all tests that only use one, which
//! `cargo xtask test` starts once for every test process.

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::{Context, Result, bail};

/// A kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// PostgreSQL, with a database `taskwright`.
    Postgres,
    /// MariaDB or MySQL, with a database `taskwright`.
    MySql,
    /// Redis or Valkey, with a password and an append-only file.
    Redis,
    /// RabbitMQ, with a virtual host `/`.
    RabbitMq,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Postgres, Self::MySql, Self::Redis, Self::RabbitMq];

    /// What the variable that names a given one has in the middle: `POSTGRES`.
    fn word(self) -> &'static str {
        match self {
            Self::Postgres => "POSTGRES",
            Self::MySql => "MYSQL",
            Self::Redis => "REDIS",
            Self::RabbitMq => "RABBITMQ",
        }
    }

    /// The variable that names one for tests to share.
    #[must_use]
    pub fn variable(self) -> String {
        format!("TASKWRIGHT_TEST_{}_URL", self.word())
    }

    /// Debian's package of it.
    #[must_use]
    pub fn package(self) -> &'static str {
        match self {
            Self::Postgres => "postgresql",
            Self::MySql => "mariadb-server",
            Self::Redis => "redis-server",
            Self::RabbitMq => "rabbitmq-server",
        }
    }

    /// The folders that hold all of its programs, the best first.
    fn programs(self) -> Option<PathBuf> {
        let path: Vec<_> = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
        let sbin = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
        let (own, needed): (Vec<_>, &[&str]) = match self {
            Self::Postgres => (versions("/usr/lib/postgresql", "bin"), &["initdb", "pg_ctl", "postgres"]),
            Self::MySql => (sbin.into(), &["mariadbd"]),
            Self::Redis => (Vec::new(), &["redis-server"]),
            // Not Debian's wrapper, which changes the user.
            Self::RabbitMq => (versions("/usr/lib/rabbitmq/lib", "sbin"), &["rabbitmq-server"]),
        };
        let complete = |folder: &PathBuf| needed.iter().all(|name| folder.join(name).is_file());
        own.into_iter().chain(path).find(complete)
    }

    fn url(self, port: u16) -> String {
        let who = "taskwright:taskwright@127.0.0.1";
        match self {
            Self::Postgres => format!("postgres://{who}:{port}/taskwright"),
            Self::MySql => format!("mysql://{who}:{port}/taskwright"),
            Self::Redis => format!("redis://default:taskwright@127.0.0.1:{port}/0"),
            Self::RabbitMq => format!("amqp://{who}:{port}/%2f"),
        }
    }

    fn script(self) -> &'static str {
        match self {
            Self::Postgres => POSTGRES,
            Self::MySql => MYSQL,
            Self::Redis => REDIS,
            Self::RabbitMq => RABBITMQ,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Postgres => "PostgreSQL",
            Self::MySql => "MariaDB",
            Self::Redis => "Redis",
            Self::RabbitMq => "RabbitMQ",
        })
    }
}

/// `base/VERSION/folder` of each version that is installed, the newest first.
fn versions(base: &str, folder: &str) -> Vec<PathBuf> {
    let installed = std::fs::read_dir(base).into_iter().flatten().flatten();
    let mut versions: Vec<_> = installed.map(|entry| entry.path()).collect();
    let number = |path: &PathBuf| -> Vec<u32> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.split(|letter: char| !letter.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
    };
    versions.sort_by_key(|path| std::cmp::Reverse(number(path)));
    versions.into_iter().map(|path| path.join(folder)).collect()
}

/// Why there is no server to test with.
#[derive(Debug, thiserror::Error)]
pub enum NoServer {
    /// Its programs are not on this machine.
    #[error(
        "no {0} server on this machine; install it (Debian: `apt-get install {package}`), or name one in {variable}",
        package = .0.package(), variable = .0.variable()
    )]
    Missing(Kind),
    /// They are, and don't work.
    #[error("the {0} server for tests does not start: {1:#}")]
    Broken(Kind, anyhow::Error),
}

/// A server that tests may do anything to.
#[derive(Debug)]
pub struct Server {
    kind: Kind,
    url: String,
    /// Keeps a server that was started here running; `None` for a given one. Held while the server is told something.
    guardian: Option<Mutex<Guardian>>,
}

impl Server {
    /// A server that nobody else has.
    ///
    /// # Errors
    ///
    /// When its programs are missing or don't work.
    pub fn start(kind: Kind) -> Result<Self, NoServer> {
        Self::start_with(kind, "forgetful")
    }

    /// One that writes to disk as its kind does unless configured otherwise, Redis with its append-only file: to measure.
    ///
    /// # Errors
    ///
    /// When its programs are missing or don't work.
    pub fn start_durable(kind: Kind) -> Result<Self, NoServer> {
        Self::start_with(kind, "durable")
    }

    fn start_with(kind: Kind, disk: &str) -> Result<Self, NoServer> {
        let programs = kind.programs().ok_or(NoServer::Missing(kind))?;
        let start = || {
            let port = free_port()?;
            Ok((kind.url(port), Guardian::start(kind, &programs, port, disk)?))
        };
        // Once more, since somebody else may have taken the port, or the machine's room, in between.
        let (url, guardian) = start().or_else(|_| start()).map_err(|error| NoServer::Broken(kind, error))?;
        Ok(Self { kind, url, guardian: Some(Mutex::new(guardian)) })
    }

    /// The server that tests share and nobody kills: the one that the environment names, or else one for this process.
    ///
    /// Where there is none, says so on standard error and answers `None`; see [`is_required`].
    ///
    /// # Panics
    ///
    /// When it must be there, or is there and does not start.
    #[must_use]
    pub fn shared(kind: Kind) -> Option<&'static Self> {
        static SERVERS: [OnceLock<Option<Server>>; Kind::ALL.len()] = [const { OnceLock::new() }; Kind::ALL.len()];
        let given = || std::env::var(kind.variable()).ok().map(|url| Self { kind, url, guardian: None });
        SERVERS[kind as usize].get_or_init(|| given().or_else(|| Self::private(kind))).as_ref()
    }

    /// Whether there is one to share, without starting it; under the same terms as [`shared`](Self::shared).
    ///
    /// # Panics
    ///
    /// When it must be there and is not.
    #[must_use]
    pub fn exists(kind: Kind) -> bool {
        let exists = std::env::var_os(kind.variable()).is_some() || kind.programs().is_some();
        let missing = NoServer::Missing(kind);
        assert!(exists || !is_required(), "{missing}");
        if !exists {
            eprintln!("SKIPPED: {missing}");
        }
        exists
    }

    /// A server of its own for a test that kills it, under the same terms as [`shared`](Self::shared).
    ///
    /// # Panics
    ///
    /// When it must be there, or is there and does not start.
    #[must_use]
    pub fn private(kind: Kind) -> Option<Self> {
        match Self::start(kind) {
            Ok(server) => Some(server),
            Err(missing @ NoServer::Missing(_)) if !is_required() => {
                eprintln!("SKIPPED: {missing}");
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Where it is, with user and database.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Which kind it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Kills it as a crash would. What it had written stays.
    ///
    /// # Errors
    ///
    /// When it is a given one.
    pub fn kill(&self) -> Result<()> {
        self.tell("kill")
    }

    /// Starts it again after [`kill`](Self::kill), on the same port and data.
    ///
    /// # Errors
    ///
    /// When it is a given one, or does not start.
    pub fn start_again(&self) -> Result<()> {
        self.tell("start")
    }

    /// Gives it a command of its own, in words without blanks: `rabbitmqctl`'s, for RabbitMQ.
    ///
    /// # Errors
    ///
    /// When it is a given one, has no such commands, or refuses this one.
    pub fn act(&self, command: &str) -> Result<()> {
        self.tell(command)
    }

    fn tell(&self, command: &str) -> Result<()> {
        let Some(guardian) = &self.guardian else { bail!("a {} that was given is not ours to {command}", self.kind) };
        guardian.lock().unwrap_or_else(PoisonError::into_inner).tell(command)
    }
}

/// Whether a missing server is a failure: in CI, where nobody reads what was skipped.
#[must_use]
pub fn is_required() -> bool {
    std::env::var("CI").is_ok_and(|value| !matches!(&*value, "" | "0" | "false"))
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Starts a server, does what it is told, and ends the server when its input ends: when the test process does, however
/// it does. `$1` is the folder with the programs, `$2` one for data, `$3` the port, `$4` and `$5` others that are free.
///
/// Nothing has to outlive the machine, so nothing waits for the disk, unless `$6` is `durable`.
const GUARD: &str = r#"
trap '' HUP INT TERM
cd "$2" || exit 1
await() {
    tries=0
    until probe > probe.log 2>&1; do
        tries=$((tries + 1))
        [ $tries -lt 1200 ] && alive || { cat probe.log >> log; return 1; }
        sleep 0.05
    done
}
finish() { true; }
act() { false; }
alive() { kill -0 $pid 2> /dev/null; }
# Its processes share a session, and are gone when none has a thread left.
crash() {
    kill -KILL -$pid
    wait $pid
    while ps -o stat= -g $pid | grep -q '^[^Z]\|l'; do sleep 0.02; done
} 2> /dev/null
prepare "$@" > log 2>&1 && launch "$@" && await && echo ready || exit 1
while read -r command; do
    case $command in
        kill) crash; echo done ;;
        start) launch "$@" && await && echo done || echo failed ;;
        *) set -f; act $command > act.log 2>&1 && echo done || { cat act.log >> log; echo failed; } ;;
    esac
done
crash
finish
cd / && rm -rf "$2"
"#;

const POSTGRES: &str = r#"
prepare() {
    printf taskwright > password
    "$1/initdb" -D data -U taskwright -A scram-sha-256 --pwfile password -E UTF8 --locale C --no-sync &&
    "$1/pg_ctl" -D data -l log -o "-c listen_addresses= -c unix_socket_directories=$2" -w start &&
    PGPASSWORD=taskwright "$1/createdb" -h "$2" -U taskwright taskwright &&
    "$1/pg_ctl" -D data -m fast stop
}
launch() {
    options="-p $3 -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=400"
    options="$options -c logging_collector=off"
    [ "$6" = durable ] || options="$options -c fsync=off -c full_page_writes=off -c autovacuum_naptime=5s"
    programs=$1
    "$1/pg_ctl" -D data -l log -o "$options" -w -t 60 start > start.log 2>&1
}
probe() { true; }
# Its processes are in groups of their own, and all end at this.
crash() { "$programs/pg_ctl" -D data -m immediate -w stop > /dev/null 2>&1; }
"#;

const MYSQL: &str = r#"
prepare() {
    cat > init.sql <<SQL
CREATE DATABASE IF NOT EXISTS taskwright;
CREATE USER IF NOT EXISTS taskwright@'%' IDENTIFIED BY 'taskwright';
GRANT ALL ON *.* TO taskwright@'%' WITH GRANT OPTION;
SQL
    user=$(id -un)
    # A server that starts removes temporary tables from the folder for them, also those of one that runs.
    mkdir tmp && export TMPDIR="$2/tmp"
    mariadb-install-db --no-defaults --user="$user" --datadir="$2/data" --skip-test-db \
        --auth-root-authentication-method=normal --innodb-flush-log-at-trx-commit=0
}
launch() {
    port=$3
    flush=2
    [ "$6" = durable ] && flush=1
    setsid "$1/mariadbd" --no-defaults --user="$user" --datadir="$2/data" --socket="$2/socket" --pid-file="$2/pid" \
        --bind-address=127.0.0.1 --port="$3" --max-connections=400 --init-file="$2/init.sql" \
        --innodb-flush-log-at-trx-commit=$flush --skip-name-resolve >> log 2>&1 &
    pid=$!
}
probe() { mariadb-admin --no-defaults -h 127.0.0.1 -P "$port" -u taskwright -ptaskwright ping; }
"#;

// With `appendfsync no` every write is in the system's hands before it is answered, which `everysec` does not promise.
const REDIS: &str = r#"
prepare() { true; }
launch() {
    port=$3
    fsync=no
    [ "$6" = durable ] && fsync=everysec
    setsid "$1/redis-server" --bind 127.0.0.1 --port "$3" --dir "$2" --requirepass taskwright --save '' \
        --appendonly yes --appendfsync $fsync --maxmemory-policy noeviction >> log 2>&1 &
    pid=$!
}
probe() { REDISCLI_AUTH=taskwright redis-cli -h 127.0.0.1 -p "$port" ping | grep -q PONG; }
"#;

const RABBITMQ: &str = r#"
prepare() {
    cat > rabbitmq.conf <<CONF
listeners.tcp.1 = 127.0.0.1:$3
default_user = taskwright
default_pass = taskwright
log.console.level = warning
CONF
    echo '[].' > enabled_plugins
}
launch() {
    : > started
    names=$4
    programs=$1
    node=taskwright$3@localhost
    # A name server of its own, so that no other broker is ever met.
    setsid env HOME="$2" ERL_EPMD_PORT=$4 ERL_EPMD_ADDRESS=127.0.0.1 RABBITMQ_NODENAME="$node" \
        RABBITMQ_DIST_PORT=$5 RABBITMQ_CONFIG_FILE="$2/rabbitmq" RABBITMQ_MNESIA_BASE="$2/data" \
        RABBITMQ_LOG_BASE="$2/logs" RABBITMQ_ENABLED_PLUGINS_FILE="$2/enabled_plugins" RABBITMQ_PID_FILE="$2/pid" \
        RABBITMQ_CONF_ENV_FILE="$2/none" RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='+sbwt none -kernel inet_dist_use_interface {127,0,0,1}' \
        "$1/rabbitmq-server" > started 2>&1 &
    pid=$!
}
probe() { grep -q 'completed with' started || { cat started; false; }; }
# A command of its own: `add_user ada secret`.
act() { HOME="$PWD" ERL_EPMD_PORT=$names "$programs/rabbitmqctl" -q -n "$node" "$@"; }
# Other than the rest, the name server leaves the session.
finish() { epmd -port "$names" -kill > /dev/null 2>&1; }
"#;

/// The shell that keeps a server.
#[derive(Debug)]
struct Guardian {
    process: Child,
    /// Closed to end it.
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    folder: tempfile::TempDir,
}

impl Guardian {
    fn start(kind: Kind, programs: &Path, port: u16, disk: &str) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("taskwright-server").tempdir()?;
        // The common part first, so that a kind may replace what is special with it.
        let (functions, rest) = GUARD.split_once("prepare \"$@\"").context("the script has a beginning")?;
        let script = format!("{functions}{}prepare \"$@\"{rest}", kind.script());
        let mut process = shell(kind, folder.path(), &script)?
            .arg(programs)
            .arg(folder.path())
            .args([port, free_port()?, free_port()?].map(|port| port.to_string()))
            .arg(disk)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("no shell to start it with")?;
        let input = process.stdin.take();
        let output = BufReader::new(process.stdout.take().context("the shell has no output")?);
        let mut guardian = Self { process, input, output, folder };
        guardian.expect("ready")?;
        Ok(guardian)
    }

    fn tell(&mut self, command: &str) -> Result<()> {
        writeln!(self.input.as_mut().context("it has ended")?, "{command}")?;
        self.expect("done")
    }

    fn expect(&mut self, word: &str) -> Result<()> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        if line.trim() == word {
            return Ok(());
        }
        let log = |name| std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        bail!("it says: {}{}", log("log"), log("start.log"));
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        self.input.take();
        // It stops the server first, so that the folder may go afterwards.
        let _ = self.process.wait();
    }
}

/// A shell that will run `script`; as another user where this one is root, which PostgreSQL refuses to be.
fn shell(kind: Kind, folder: &Path, script: &str) -> Result<Command> {
    let is_root = std::fs::metadata(folder)?.uid() == 0;
    let mut command = if is_root && kind == Kind::Postgres {
        let handed = Command::new("chown").arg("postgres:postgres").arg(folder).status().context("chown")?;
        if !handed.success() {
            bail!("there is no user `postgres` to run it as; root may not");
        }
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups", "sh"]);
        command
    } else {
        Command::new("sh")
    };
    command.args(["-c", script, "guard"]);
    Ok(command)
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    fn accepts(server: &Server) -> bool {
        let place = server.url().rsplit_once('@').unwrap().1;
        TcpStream::connect(place.split('/').next().unwrap()).is_ok()
    }

    fn lives_and_dies(kind: Kind) {
        let Some(server) = Server::private(kind) else { return };
        assert!(accepts(&server), "{kind} accepts connections");
        server.kill().unwrap();
        assert!(!accepts(&server), "{kind} was killed");
        server.start_again().unwrap();
        assert!(accepts(&server), "{kind} is back");
        let folder = server.guardian.as_ref().unwrap().lock().unwrap().folder.path().to_owned();
        let place = server.url().to_owned();
        drop(server);
        assert!(!folder.exists(), "nothing is left of {place}");
    }

    #[test]
    fn postgres_lives_and_dies_with_its_test() {
        lives_and_dies(Kind::Postgres);
    }

    #[test]
    fn mysql_lives_and_dies_with_its_test() {
        lives_and_dies(Kind::MySql);
    }

    #[test]
    fn redis_lives_and_dies_with_its_test() {
        lives_and_dies(Kind::Redis);
    }

    #[test]
    fn rabbitmq_lives_and_dies_with_its_test() {
        lives_and_dies(Kind::RabbitMq);
    }
}
