//! The one connection for commands: made when it is needed, shared by all calls, made anew when it broke.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, RedisError, Script, ServerErrorKind, Value};
use tokio::sync::Mutex;

use super::error::{closed, fault, is_broken};
use crate::error::Result;
use crate::time::Clock;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer may take. Scripts are bounded to milliseconds; a server that saves or is overloaded is slower.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// The way to the server.
pub(super) struct Link {
    client: Client,
    /// What every key begins with: `{taskwright}:`.
    base: String,
    clock: Clock,
    /// The connection and its number; held while one is made, so that the calls of that moment share it.
    current: Mutex<Option<(u64, MultiplexedConnection)>>,
    closed: AtomicBool,
}

impl Link {
    pub(super) fn new(client: Client, base: String, clock: Clock) -> Self {
        Self { client, base, clock, current: Mutex::default(), closed: AtomicBool::new(false) }
    }

    /// A script's call, with what every script is given.
    pub(super) fn call(&self, script: &'static Script) -> Call {
        let mut command = redis::cmd("EVALSHA");
        command.arg(script.get_hash()).arg(1).arg(&self.base).arg(self.clock.offset());
        Call { script, command }
    }

    /// Runs a script, and hands it to the server first where that does not have it.
    pub(super) async fn run(&self, call: &Call) -> Result<Value> {
        self.with_connection(async |connection| match call.command.query_async(connection).await {
            Err(error) if error.kind() == ServerErrorKind::NoScript.into() => {
                call.script.load_async(connection).await?;
                call.command.query_async(connection).await
            }
            answer => answer,
        })
        .await
    }

    /// Runs one command.
    pub(super) async fn command(&self, command: &Cmd) -> Result<Value> {
        self.with_connection(async |connection| command.query_async(connection).await).await
    }

    /// A name under the prefix.
    pub(super) fn key(&self, name: &str) -> String {
        format!("{}{name}", self.base)
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(super) async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.current.lock().await.take();
    }

    async fn with_connection(
        &self,
        work: impl AsyncFnOnce(&mut MultiplexedConnection) -> Result<Value, RedisError>,
    ) -> Result<Value> {
        let (number, mut connection) = self.connection().await?;
        let answer = work(&mut connection).await;
        if answer.as_ref().is_err_and(is_broken) {
            let mut current = self.current.lock().await;
            current.take_if(|(other, _)| *other == number);
        }
        answer.map_err(fault)
    }

    async fn connection(&self) -> Result<(u64, MultiplexedConnection)> {
        let mut current = self.current.lock().await;
        if self.is_closed() {
            return Err(closed());
        }
        if let Some(live) = &*current {
            return Ok(live.clone());
        }
        let connection = self.client.get_multiplexed_async_connection_with_config(&config()).await.map_err(fault)?;
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        *current = Some((number, connection.clone()));
        Ok((number, connection))
    }
}

/// Tells connections apart.
static NUMBERS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

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
