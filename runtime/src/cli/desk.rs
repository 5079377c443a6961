//! What every command works with: the settings, the wired program, the streams, and a client that connects when first
//! needed.

use std::time::Duration;

use super::output::Output;
use super::trouble::Trouble;
use crate::app::App;
use crate::backend::Inspect;
use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::registry::Registry;
use crate::settings::Settings;

pub(crate) struct Desk<'a> {
    pub(crate) settings: Settings,
    pub(crate) app: App,
    pub(crate) registry: Registry,
    pub(crate) output: Output<'a>,
    client: Option<Client>,
}

impl<'a> Desk<'a> {
    pub(crate) fn new(settings: Settings, app: App, output: Output<'a>) -> Result<Self, Trouble> {
        let registry = app.tasks()?;
        Ok(Self { settings, app, registry, output, client: None })
    }

    /// The client; the first call connects.
    pub(crate) async fn client(&mut self) -> Result<Client, Trouble> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        let client = self.app.client().await?;
        self.client = Some(client.clone());
        Ok(client)
    }

    /// Closes the client, so that a file is left whole and a server is told goodbye. What does not answer ends with the
    /// process.
    pub(crate) async fn close(&mut self) {
        let Some(client) = self.client.take() else { return };
        match tokio::time::timeout(CLOSING, client.close()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the backend did not close"),
            Err(_) => tracing::debug!("the backend did not close in time"),
        }
    }
}

/// How long a backend may take to close.
const CLOSING: Duration = Duration::from_secs(2);

/// The facet that looks at jobs, queues and workers.
pub(crate) fn inspect(client: &Client) -> Result<&dyn Inspect, Trouble> {
    let backend = client.backend();
    backend.inspect().ok_or_else(|| {
        let message = format!("{} can't list its jobs, queues and workers", backend.info().name);
        Error::new(ErrorKind::Unsupported, message).into()
    })
}
