//! The stores that are measured, each fresh.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail};
use taskwright::context::States;
use taskwright::registry::Registry;
use taskwright::worker::WorkerOptions;
use taskwright::{Client, JobId, Worker};
use taskwright_tests::servers::{self, NoServer, Server};
use tempfile::TempDir;

/// A kind of store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// This process and no other.
    Memory,
    /// SQLite with an fsync at each commit.
    SqliteFull,
    /// SQLite with an fsync at each checkpoint.
    SqliteNormal,
    Postgres,
    MySql,
    Redis,
    /// A broker, without a store beside it.
    RabbitMq,
}

impl Kind {
    pub(crate) const ALL: [Self; 7] =
        [Self::Memory, Self::SqliteFull, Self::SqliteNormal, Self::Postgres, Self::MySql, Self::Redis, Self::RabbitMq];

    /// Those that keep limits, SQLite once.
    pub(crate) const LIMITED: [Self; 5] = [Self::Memory, Self::SqliteNormal, Self::Postgres, Self::MySql, Self::Redis];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::SqliteFull => "sqlite-full",
            Self::SqliteNormal => "sqlite-normal",
            Self::Postgres => "postgres",
            Self::MySql => "mysql",
            Self::Redis => "redis",
            Self::RabbitMq => "rabbitmq",
        }
    }

    /// The one at a URL.
    fn of(url: &str) -> Option<Self> {
        match url.split_once(':')?.0 {
            "postgres" | "postgresql" => Some(Self::Postgres),
            "mysql" | "mariadb" => Some(Self::MySql),
            "redis" | "rediss" => Some(Self::Redis),
            "amqp" | "amqps" => Some(Self::RabbitMq),
            _ => None,
        }
    }

    /// The server that it needs.
    fn server(self) -> Option<servers::Kind> {
        match self {
            Self::Memory | Self::SqliteFull | Self::SqliteNormal => None,
            Self::Postgres => Some(servers::Kind::Postgres),
            Self::MySql => Some(servers::Kind::MySql),
            Self::Redis => Some(servers::Kind::Redis),
            Self::RabbitMq => Some(servers::Kind::RabbitMq),
        }
    }

    /// How SQLite is to write, where it is SQLite.
    pub(crate) fn synchronous(self) -> Option<&'static str> {
        match self {
            Self::SqliteFull => Some("full"),
            Self::SqliteNormal => Some("normal"),
            _ => None,
        }
    }

    /// How many jobs of bulk work it does where memory does so many, so that all take some seconds.
    pub(crate) fn jobs(self, most: usize) -> usize {
        let part = match self {
            Self::Memory | Self::SqliteFull | Self::SqliteNormal => 1,
            Self::Postgres | Self::Redis => 2,
            Self::MySql | Self::RabbitMq => 4,
        };
        (most / part).max(1)
    }

    /// Whether it keeps what became of a job.
    pub(crate) fn keeps_results(self) -> bool {
        self != Self::RabbitMq
    }
}

/// A store to measure; its server, if it was started here, ends with it.
pub(crate) struct Store {
    pub(crate) kind: Kind,
    /// Where its server is.
    server: Option<String>,
    _started: Option<Server>,
    sites: AtomicU32,
}

impl Store {
    /// The store of this kind, whose server is started; or the one at a URL, in which `sites` come and stay.
    ///
    /// `None`, and a word about it, where its server is not on this machine.
    pub(crate) fn open(text: &str) -> Result<Option<Self>> {
        let store = |kind, server, started| Some(Self { kind, server, _started: started, sites: AtomicU32::new(0) });
        let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.name() == text) else {
            let names = Kind::ALL.map(Kind::name).join(", ");
            let Some(kind) = Kind::of(text) else { bail!("`{text}` is no store; choose from {names}, or give a URL") };
            return Ok(store(kind, Some(text.to_owned()), None));
        };
        let Some(server) = kind.server() else { return Ok(store(kind, None, None)) };
        match Server::start_durable(server) {
            Ok(server) => Ok(store(kind, Some(server.url().to_owned()), Some(server))),
            Err(missing @ NoServer::Missing(_)) => {
                eprintln!("SKIPPED: {missing}");
                Ok(None)
            }
            Err(error) => bail!(error),
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.kind.name()
    }

    /// The server's own URL.
    pub(crate) fn server(&self) -> Result<&str> {
        self.server.as_deref().context("it has no server")
    }

    /// The port of its server.
    pub(crate) fn port(&self) -> Option<u16> {
        let usual = match self.kind {
            Kind::Postgres => 5432,
            Kind::MySql => 3306,
            Kind::Redis => 6379,
            Kind::RabbitMq => 5672,
            Kind::Memory | Kind::SqliteFull | Kind::SqliteNormal => return None,
        };
        let (_, rest) = self.server.as_deref()?.split_once("://")?;
        let authority = rest.split(['/', '?']).next()?;
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        Some(host.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(usual))
    }

    /// An empty place in it.
    pub(crate) fn site(&self) -> Result<Site> {
        let folder = tempfile::tempdir()?;
        let number = self.sites.fetch_add(1, Ordering::Relaxed);
        // A given server may have the places of an earlier run.
        let name = format!("b{}_{number}_", &JobId::new().to_string()[28..]);
        let file = folder.path().join("jobs.db");
        let on_server = |option: &str| -> Result<String> {
            let url = self.server()?;
            let mark = if url.contains('?') { '&' } else { '?' };
            Ok(format!("{url}{mark}{option}={name}"))
        };
        let url = match (self.kind, self.kind.synchronous()) {
            (_, Some(synchronous)) => format!("sqlite:{}?synchronous={synchronous}", file.display()),
            (Kind::Postgres, _) => on_server("schema")?,
            (Kind::MySql | Kind::Redis | Kind::RabbitMq, _) => on_server("prefix")?,
            _ => "memory:".to_owned(),
        };
        Ok(Site { url, folder })
    }
}

/// An empty place in a store; its files go when it does.
pub(crate) struct Site {
    pub(crate) url: String,
    pub(crate) folder: TempDir,
}

impl Site {
    pub(crate) async fn client(&self) -> Result<Client> {
        Ok(Client::connect(&self.url).await?)
    }
}

/// A worker of these tasks alone, with this state.
pub(crate) fn worker(client: &Client, tasks: Registry, states: States, options: WorkerOptions) -> Result<Worker> {
    Ok(Worker::new(client.clone(), tasks, Arc::new(states), options)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(url: &str) -> Option<u16> {
        Store::open(url).unwrap().unwrap().port()
    }

    #[test]
    fn a_url_names_its_port_or_has_the_usual_one() {
        assert_eq!(port("postgres://ada:se:cret@db.example:5433/jobs?sslmode=require"), Some(5433));
        assert_eq!(port("mysql://db.example/jobs"), Some(3306));
    }

    #[test]
    fn what_is_no_store_is_refused_with_those_that_are() {
        let error = Store::open("oracle").err().unwrap().to_string();
        assert!(error.contains("memory, sqlite-full"), "{error}");
    }
}
