//! The stores that are measured, each fresh.

use std::sync::Arc;

use anyhow::Result;
use taskwright::context::States;
use taskwright::registry::Registry;
use taskwright::worker::WorkerOptions;
use taskwright::{Client, Worker};
use tempfile::TempDir;

/// A kind of store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// This process and no other.
    Memory,
    /// With an fsync at each commit.
    SqliteFull,
    /// With an fsync at each checkpoint.
    SqliteNormal,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::SqliteFull => "sqlite full",
            Self::SqliteNormal => "sqlite normal",
        }
    }

    /// How SQLite is to write, where it is SQLite.
    pub(crate) fn synchronous(self) -> Option<&'static str> {
        match self {
            Self::Memory => None,
            Self::SqliteFull => Some("full"),
            Self::SqliteNormal => Some("normal"),
        }
    }
}

/// An empty store of a kind; its files go when it does.
pub(crate) struct Site {
    pub(crate) url: String,
    pub(crate) folder: TempDir,
}

impl Site {
    pub(crate) fn new(kind: Kind) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let url = match kind.synchronous() {
            None => "memory:".to_owned(),
            Some(synchronous) => {
                format!("sqlite:{}?synchronous={synchronous}", folder.path().join("jobs.db").display())
            }
        };
        Ok(Self { url, folder })
    }

    pub(crate) async fn client(&self) -> Result<Client> {
        Ok(Client::connect(&self.url).await?)
    }
}

/// A worker of these tasks alone, with this state.
pub(crate) fn worker(client: &Client, tasks: Registry, states: States, options: WorkerOptions) -> Result<Worker> {
    Ok(Worker::new(client.clone(), tasks, Arc::new(states), options)?)
}
