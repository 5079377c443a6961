//! The one connection for commands: made when it is needed, shared by all calls, made anew when it broke.
//!
//! In a cluster it follows the keys, which all lie on one node: the node that a URL names, or any other, says where.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, RedisError, Script, ServerErrorKind, Value,
};
use tokio::sync::Mutex;

use super::error::{closed, fault, is_broken};
use crate::error::Result;
use crate::time::Clock;

/// How long a connection may take to be made.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long an answer may take. Scripts are bounded to milliseconds; a server that saves or is overloaded is slower.
///
/// Both together are less than a worker waits for a call, so that a connection which has gone deaf is given up here, and
/// the next call makes another one.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a call follows the keys to another node before it gives up.
const MOST_MOVES: usize = 3;

/// The way to the server.
pub(super) struct Link {
    /// What the URL says.
    info: ConnectionInfo,
    /// What every key begins with: `{taskwright}:`.
    base: String,
    clock: Clock,
    /// Held while a connection is made, so that the calls of that moment share it.
    current: Mutex<Current>,
    closed: AtomicBool,
}

/// What a link has at the moment.
#[derive(Default)]
struct Current {
    connection: Option<MultiplexedConnection>,
    /// Which connection it is, so that a call that finds one broken does not take the next one for it.
    number: u64,
    /// Where a cluster said that the keys are.
    moved_to: Option<ConnectionAddr>,
}

impl Link {
    pub(super) fn new(info: ConnectionInfo, base: String, clock: Clock) -> Self {
        Self { info, base, clock, current: Mutex::default(), closed: AtomicBool::new(false) }
    }

    /// A script's call, with what every script is given.
    pub(super) fn call(&self, script: &'static Script) -> Call {
        let mut command = redis::cmd("EVALSHA");
        command.arg(script.get_hash()).arg(1).arg(&self.base).arg(self.clock.offset());
        Call { script, command }
    }

    /// Runs a script, and hands it to the server first where that does not have it.
    pub(super) async fn run(&self, call: &Call) -> Result<Value> {
        self.ask(&call.command, Some(call.script)).await
    }

    /// Runs one command.
    pub(super) async fn command(&self, command: &Cmd) -> Result<Value> {
        self.ask(command, None).await
    }

    /// A name under the prefix.
    pub(super) fn key(&self, name: &str) -> String {
        format!("{}{name}", self.base)
    }

    /// A client of the node that has the keys, as far as that is known.
    pub(super) async fn client(&self) -> Result<Client> {
        self.client_of(&*self.current.lock().await)
    }

    fn client_of(&self, current: &Current) -> Result<Client> {
        let info = match &current.moved_to {
            Some(node) => self.info.clone().set_addr(node.clone()),
            None => self.info.clone(),
        };
        Client::open(info).map_err(fault)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(super) async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.current.lock().await.connection.take();
    }

    /// Asks on the connection, and once more where a cluster says that another node has the keys: the node that said so
    /// has done nothing.
    async fn ask(&self, command: &Cmd, script: Option<&Script>) -> Result<Value> {
        let mut moves = 0;
        loop {
            let (number, mut connection) = self.connection().await?;
            let error = match ask_once(&mut connection, command, script).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let moved_to = self.moved_to(&error).filter(|_| moves < MOST_MOVES);
            let moves_on = moved_to.is_some();
            if moves_on || is_broken(&error) {
                let mut current = self.current.lock().await;
                if current.number == number {
                    current.connection = None;
                    current.moved_to = moved_to;
                }
            }
            if !moves_on {
                return Err(fault(error));
            }
            moves += 1;
        }
    }

    /// Where the keys are, if that is what the error says.
    fn moved_to(&self, error: &RedisError) -> Option<ConnectionAddr> {
        if error.kind() != ServerErrorKind::Moved.into() {
            return None;
        }
        let (node, _) = error.redirect_node()?;
        let (host, port) = node.rsplit_once(':')?;
        let port = port.parse().ok()?;
        Some(match self.info.addr() {
            // A node that does not know its own name leaves it out.
            ConnectionAddr::Tcp(own, _) => ConnectionAddr::Tcp(some(host, own), port),
            ConnectionAddr::TcpTls { host: own, insecure, tls_params, .. } => ConnectionAddr::TcpTls {
                host: some(host, own),
                port,
                insecure: *insecure,
                tls_params: tls_params.clone(),
            },
            _ => return None,
        })
    }

    async fn connection(&self) -> Result<(u64, MultiplexedConnection)> {
        let mut current = self.current.lock().await;
        if self.is_closed() {
            return Err(closed());
        }
        if let Some(connection) = &current.connection {
            return Ok((current.number, connection.clone()));
        }
        let client = self.client_of(&current)?;
        let made = client.get_multiplexed_async_connection_with_config(&config()).await;
        if made.is_err() {
            // The node may be gone for good; the one of the URL knows who has the keys now.
            current.moved_to = None;
        }
        let connection = made.map_err(fault)?;
        current.number += 1;
        current.connection = Some(connection.clone());
        Ok((current.number, connection))
    }
}

async fn ask_once(
    connection: &mut MultiplexedConnection,
    command: &Cmd,
    script: Option<&Script>,
) -> Result<Value, RedisError> {
    let answer = command.query_async(connection).await;
    match (answer, script) {
        (Err(error), Some(script)) if error.kind() == ServerErrorKind::NoScript.into() => {
            script.load_async(connection).await?;
            command.query_async(connection).await
        }
        (answer, _) => answer,
    }
}

fn some(host: &str, own: &str) -> String {
    if host.is_empty() { own } else { host }.to_owned()
}

fn config() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(ANSWER_TIMEOUT))
        // Batches are some hundred kilobytes; the usual 8 would send them in crumbs.
        .set_write_backpressure_boundary(256 << 10)
}

/// A script and its arguments.
pub(super) struct Call {
    script: &'static Script,
    command: Cmd,
}

impl Call {
    pub(super) fn arg(&mut self, argument: impl redis::ToRedisArgs) -> &mut Self {
        self.command.arg(argument);
        self
    }
}
