//! Where the jobs are while everything goes wrong, and the network that leads there.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sqlx::{Connection, MySqlConnection, PgConnection};
use tempfile::TempDir;

use super::proxy::{Proxy, Weather};
use super::schedule::{Means, Record};
use crate::servers::{Kind, Server};

/// A store for workers to lose and find again.
#[derive(Debug)]
pub struct Place {
    /// Its name in a report.
    pub name: String,
    /// As [`victim::client`](crate::victim::client) reads it, past the bad network.
    pub direct: String,
    /// The same through the bad network, where there is one.
    pub through: String,
    server: Option<Server>,
    proxy: Option<Proxy>,
    _folder: TempDir,
}

impl Place {
    /// The place of this name, `sqlite`, `postgres`, `mysql`, `redis` or `rabbitmq`, with a server of its own; or the one
    /// at a URL, whose server is not ours to kill.
    ///
    /// # Errors
    ///
    /// When there is no such server, or it does not start.
    pub async fn open(backend: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let file = format!("sqlite:{}", folder.path().join("jobs.db").display());
        let server = match backend {
            "postgres" => Some(Server::start(Kind::Postgres)?),
            "mysql" => Some(Server::start(Kind::MySql)?),
            "redis" => Some(Server::start(Kind::Redis)?),
            "rabbitmq" => Some(Server::start(Kind::RabbitMq)?),
            "sqlite" => None,
            url if url.contains(':') => None,
            other => bail!("`{other}` is no place; choose sqlite, postgres, mysql, redis or rabbitmq, or give a URL"),
        };
        let url = match (&server, backend) {
            (Some(server), _) => server.url().to_owned(),
            (None, "sqlite") => file.clone(),
            (None, url) => url.to_owned(),
        };
        let (proxy, through) = match detour(&url).await? {
            Some((proxy, through)) => (Some(proxy), through),
            None => (None, url.clone()),
        };
        // A broker alone has no record of its jobs.
        let with_record = |url: String| if url.starts_with("amqp") { format!("{url} {file}") } else { url };
        let name = if backend.contains(':') { url.split(':').next().unwrap_or(backend) } else { backend };
        Ok(Self {
            name: name.to_owned(),
            direct: with_record(url),
            through: with_record(through),
            server,
            proxy,
            _folder: folder,
        })
    }

    /// What can go wrong here.
    #[must_use]
    pub fn means(&self) -> Means {
        let connections = matches!(self.server.as_ref().map(Server::kind), Some(Kind::Postgres | Kind::MySql));
        let record = if self.direct.contains("sqlite:") { Record::InFile } else { Record::OnServer };
        Means { server: self.server.is_some(), network: self.proxy.is_some(), connections, record }
    }

    /// Kills the server as a crash would, and starts it again.
    ///
    /// # Errors
    ///
    /// When it does not come back.
    pub fn crash(&self) -> Result<()> {
        let server = self.server.as_ref().context("there is no server of ours here")?;
        server.kill()?;
        server.start_again()
    }

    /// Changes the weather on the network for a while.
    pub async fn weather(&self, weather: Weather, time: Duration) {
        if let Some(proxy) = &self.proxy {
            proxy.change(weather);
            tokio::time::sleep(time).await;
            proxy.change(Weather::Clear);
        }
    }

    /// Resets every connection through the network.
    pub fn reset(&self) {
        if let Some(proxy) = &self.proxy {
            proxy.reset();
        }
    }

    /// The network that leads there, if there is one.
    #[must_use]
    pub fn network(&self) -> Option<&Proxy> {
        self.proxy.as_ref()
    }

    /// Takes every connection that the server has left, and gives them back after a while.
    pub async fn exhaust(&self, time: Duration) {
        /// More than a server of ours allows.
        const ENOUGH: usize = 500;
        let until = tokio::time::Instant::now() + time;
        let url = &self.direct;
        let (mut postgres, mut mysql) = (Vec::new(), Vec::new());
        for _ in 0..ENOUGH {
            let taken = match self.server.as_ref().map(Server::kind) {
                Some(Kind::Postgres) => PgConnection::connect(url).await.map(|connection| postgres.push(connection)),
                Some(Kind::MySql) => MySqlConnection::connect(url).await.map(|connection| mysql.push(connection)),
                _ => return,
            };
            if taken.is_err() || tokio::time::Instant::now() > until {
                break;
            }
        }
        tokio::time::sleep_until(until).await;
    }
}

/// A network of its own that leads to a URL's server, and the URL that goes through it; nothing for a file.
///
/// # Errors
///
/// When no port can be opened.
pub async fn detour(url: &str) -> Result<Option<(Proxy, String)>> {
    let Some((_, target)) = address(url) else { return Ok(None) };
    let proxy = Proxy::start(target).await?;
    let through = redirected(url, proxy.address());
    Ok(Some((proxy, through)))
}

/// The host and port in a URL, as written and as an address.
fn address(url: &str) -> Option<(&str, SocketAddr)> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    Some((host, host.to_socket_addrs().ok()?.next()?))
}

/// The URL with another host and port.
fn redirected(url: &str, to: SocketAddr) -> String {
    address(url).map_or_else(|| url.to_owned(), |(host, _)| url.replacen(host, &to.to_string(), 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_led_through_another_port() {
        let to: SocketAddr = "127.0.0.1:7".parse().unwrap();
        let redirected = |url| redirected(url, to);
        assert_eq!(redirected("postgres://a:b@127.0.0.1:5432/jobs"), "postgres://a:b@127.0.0.1:7/jobs");
        assert_eq!(redirected("redis://127.0.0.1:6379/0?prefix=x"), "redis://127.0.0.1:7/0?prefix=x");
        assert_eq!(redirected("sqlite:jobs.db"), "sqlite:jobs.db");
    }

    #[tokio::test]
    async fn a_place_that_is_none_is_refused_with_those_that_are() {
        let error = Place::open("oracle").await.unwrap_err().to_string();
        assert!(error.contains("sqlite, postgres"), "{error}");
    }

    #[tokio::test]
    async fn a_file_has_neither_server_nor_network() {
        let means = Place::open("sqlite").await.unwrap().means();
        assert!(!means.server && !means.network && !means.connections);
        assert_eq!(means.record, Record::InFile);
    }
}
