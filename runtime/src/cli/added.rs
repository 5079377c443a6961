//! Commands that the application adds.

use std::fmt;
use std::future::Future;

use futures_util::future::LocalBoxFuture;

use super::trouble::{Exit, Trouble};
use crate::client::Client;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Handler = Box<dyn FnOnce(Client, clap::ArgMatches) -> LocalBoxFuture<'static, Result<(), BoxError>> + Send>;

/// A command with what it does.
pub(crate) struct AddedCommand {
    command: clap::Command,
    handler: Handler,
}

impl AddedCommand {
    pub(crate) fn new<F, R, E>(command: clap::Command, handler: F) -> Self
    where
        F: FnOnce(Client, clap::ArgMatches) -> R + Send + 'static,
        R: Future<Output = Result<(), E>> + 'static,
        E: Into<BoxError>,
    {
        let handler = |client, matches| -> LocalBoxFuture<'static, Result<(), BoxError>> {
            let work = handler(client, matches);
            Box::pin(async { work.await.map_err(Into::into) })
        };
        Self { command, handler: Box::new(handler) }
    }

    pub(crate) fn clap(&self) -> clap::Command {
        self.command.clone()
    }

    pub(crate) fn name(&self) -> &str {
        self.command.get_name()
    }

    pub(crate) async fn run(self, client: Client, matches: clap::ArgMatches) -> Result<Exit, Trouble> {
        let name = self.name().to_owned();
        match (self.handler)(client, matches).await {
            Ok(()) => Ok(Exit::Ok),
            Err(error) => Err(Trouble::foreign(&format!("the command `{name}` failed"), &*error)),
        }
    }
}

impl fmt::Debug for AddedCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AddedCommand({})", self.name())
    }
}
