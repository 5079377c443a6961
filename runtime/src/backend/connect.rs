//! From a URL to a backend; the only file that lists them.

use std::fmt;
use std::sync::Arc;

use crate::backend::memory::Memory;
use crate::backend::{Backend, EventsApart, Keeper, ResultsApart};
use crate::error::{Error, ErrorKind, Result};
use crate::job::Name;

pub use super::location::masked;

/// A kind of backend that a URL can name.
struct Scheme {
    name: &'static str,
    /// How else it may be written.
    aliases: &'static [&'static str],
    /// What its URLs look like, for messages.
    form: &'static str,
    /// The cargo feature that compiles it in; `None` when it always is.
    feature: Option<&'static str>,
}

static SCHEMES: [Scheme; 6] = [
    Scheme { name: "memory", aliases: &[], form: "`memory:` or `memory:NAME`", feature: None },
    Scheme { name: "sqlite", aliases: &[], form: "`sqlite:PATH/TO/FILE`", feature: Some("sqlite") },
    Scheme {
        name: "mysql",
        aliases: &["mariadb"],
        form: "`mysql://USER:PASSWORD@HOST/DATABASE`",
        feature: Some("mysql"),
    },
    Scheme {
        name: "postgres",
        aliases: &["postgresql"],
        form: "`postgres://USER:PASSWORD@HOST/DATABASE`",
        feature: Some("postgres"),
    },
    Scheme {
        name: "redis",
        aliases: &["rediss", "valkey", "valkeys"],
        form: "`redis://USER:PASSWORD@HOST:PORT/DATABASE`",
        feature: Some("redis"),
    },
    Scheme {
        name: "amqp",
        aliases: &["amqps", "rabbitmq", "rabbitmqs"],
        form: "`amqp://USER:PASSWORD@HOST/VHOST`",
        feature: Some("rabbitmq"),
    },
];

/// Connects to the backend that `url` names.
///
/// - `memory:` is a new store in this process; `memory:NAME` is the one of that name, shared within the process.
/// - `sqlite:PATH` is a file, made when it is not there; [its options](super::sql::sqlite#urls) follow a question mark.
/// - `mysql://USER:PASSWORD@HOST/DATABASE` is a set of tables in a database of a server, also of MariaDB;
///   [its options](super::sql::mysql#urls) follow a question mark.
/// - `postgres://USER:PASSWORD@HOST/DATABASE` is a schema in a database of a server;
///   [its options](super::sql::postgres#urls) follow a question mark.
/// - `redis://USER:PASSWORD@HOST:PORT/DATABASE` is a server, or `rediss://` with TLS, or the same with `valkey`;
///   [its option](super::redis#urls) is a prefix of keys.
/// - `amqp://USER:PASSWORD@HOST/VHOST` is a RabbitMQ broker, or `amqps://` with TLS, or the same with `rabbitmq`;
///   [its options](super::rabbitmq#urls) follow a question mark.
///
/// # Errors
///
/// [`ErrorKind::Invalid`] when no backend has such URLs, [`ErrorKind::Unsupported`] when this build lacks the one that
/// has, and whatever connecting to it meets. No message shows a password.
///
/// ```
/// # async fn example() -> taskwright::Result<()> {
/// let backend = taskwright::backend::connect::connect("memory:tests").await?;
/// assert_eq!(backend.info().name, "memory");
/// # Ok(())
/// # }
/// ```
pub async fn connect(url: &str) -> Result<Arc<dyn Backend>> {
    let known = scheme_of(url)?;
    match known.name {
        "memory" => Ok(Arc::new(memory(url, url.split_once(':').map_or("", |(_, name)| name))?)),
        #[cfg(feature = "sqlite")]
        "sqlite" => Ok(Arc::new(crate::backend::sql::sqlite::Sqlite::connect(url).await?)),
        #[cfg(feature = "mysql")]
        "mysql" => Ok(Arc::new(crate::backend::sql::mysql::MySql::connect(url).await?)),
        #[cfg(feature = "postgres")]
        "postgres" => Ok(Arc::new(crate::backend::sql::postgres::Postgres::connect(url).await?)),
        #[cfg(feature = "redis")]
        "redis" => Ok(Arc::new(crate::backend::redis::Redis::connect(url).await?)),
        #[cfg(feature = "rabbitmq")]
        "amqp" => Ok(Arc::new(crate::backend::rabbitmq::RabbitMq::connect(url).await?)),
        _ => Err(not_compiled(known)),
    }
}

/// The statements that [`connect`] runs on an empty database to create what it keeps there, as a script for those who let
/// no program create tables; `None` for a backend that has none. Nothing is connected.
///
/// # Errors
///
/// [`ErrorKind::Invalid`] when the URL can't be meant, [`ErrorKind::Unsupported`] when this build lacks its backend.
pub fn schema_script(url: &str) -> Result<Option<String>> {
    let known = scheme_of(url)?;
    match known.name {
        "memory" => Ok(None),
        #[cfg(feature = "sqlite")]
        "sqlite" => Ok(Some(crate::backend::sql::sqlite::Sqlite::schema_script())),
        #[cfg(feature = "mysql")]
        "mysql" => crate::backend::sql::mysql::MySql::schema_script(url).map(Some),
        #[cfg(feature = "postgres")]
        "postgres" => crate::backend::sql::postgres::Postgres::schema_script(url).map(Some),
        #[cfg(feature = "redis")]
        "redis" => Ok(None),
        #[cfg(feature = "rabbitmq")]
        "amqp" => Ok(None),
        _ => Err(not_compiled(known)),
    }
}

/// Where everything is, each as a URL that [`connect`] takes.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// The jobs.
    pub url: String,
    /// The record of the jobs, where `url` names a broker that only carries them.
    pub store_url: Option<String>,
    /// The results, where they are apart from the jobs.
    pub results_url: Option<String>,
    /// The hints that something happened, where they go another way than the jobs.
    pub events_url: Option<String>,
}

impl fmt::Debug for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Places")
            .field("url", &masked(&self.url))
            .field("store_url", &self.store_url.as_deref().map(masked))
            .field("results_url", &self.results_url.as_deref().map(masked))
            .field("events_url", &self.events_url.as_deref().map(masked))
            .finish()
    }
}

/// Connects to all backends that are named, and makes one of them.
///
/// Results and hints that are where the jobs or their record are anyway are not apart.
///
/// ```
/// # async fn example() -> taskwright::Result<()> {
/// use taskwright::backend::connect::{Places, connect_all};
///
/// let results_url = Some("memory:results".to_owned());
/// let backend = connect_all(&Places { url: "memory:jobs".to_owned(), results_url, ..Places::default() }).await?;
/// assert_eq!(backend.info().location, "memory:jobs with results in memory:results");
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`ErrorKind::Unsupported`] when what is to keep results or bring hints does not, and else those of [`connect`] and [`connect_with_store`];
/// each names the setting that it is about.
pub async fn connect_all(places: &Places) -> Result<Arc<dyn Backend>> {
    let jobs = connect_with_results(places).await?;
    let Some(events_url) = places.apart(places.events_url.as_ref()) else { return Ok(jobs) };
    let of_events = |error: Error| error.context("setting", "events_url");
    let events = connect(events_url).await.map_err(of_events)?;
    Ok(Arc::new(EventsApart::new(jobs, events).map_err(of_events)?))
}

impl Places {
    /// A URL, unless it names the place of the jobs or of their record.
    fn apart<'a>(&self, url: Option<&'a String>) -> Option<&'a String> {
        url.filter(|url| **url != self.url && Some(*url) != self.store_url.as_ref())
    }
}

async fn connect_with_results(places: &Places) -> Result<Arc<dyn Backend>> {
    let Places { url, store_url, .. } = places;
    let Some(results_url) = places.apart(places.results_url.as_ref()) else {
        return match store_url {
            None => connect(url).await,
            Some(store_url) => connect_with_store(url, store_url).await,
        };
    };
    let of_results = |error: Error| error.context("setting", "results_url");
    let keeper = Keeper::new(connect(results_url).await.map_err(of_results)?).map_err(of_results)?;
    let jobs = match store_url {
        Some(store_url) => connect_with_store(url, store_url).await?,
        #[cfg(feature = "rabbitmq")]
        None if scheme_of(url)?.name == "amqp" => {
            let broker = crate::backend::rabbitmq::RabbitMq::connect(url).await.map_err(of_jobs)?;
            return Ok(Arc::new(ResultsApart::of_carrier(Arc::new(broker.keeping(keeper.clone())), keeper)));
        }
        None => connect(url).await.map_err(of_jobs)?,
    };
    Ok(Arc::new(ResultsApart::of_store(jobs, keeper)))
}

fn of_jobs(error: Error) -> Error {
    error.context("setting", "url")
}

/// Connects to the broker that `url` names and to the backend that keeps the record of the jobs which it carries.
///
/// # Errors
///
/// [`ErrorKind::Invalid`] when `url` names a backend that keeps a record of its own, [`ErrorKind::Unsupported`] when the
/// other can't keep one for a broker, and else those of [`connect`] for each of the two.
pub async fn connect_with_store(url: &str, store_url: &str) -> Result<Arc<dyn Backend>> {
    let known = scheme_of(url)?;
    if known.name != "amqp" {
        let (url, form) = (masked(url), "`amqp://USER:PASSWORD@HOST/VHOST`");
        return Err(Error::invalid(format!(
            "`{url}` keeps the record of its jobs itself; take away the setting `store_url`, or name a broker as {form}"
        )));
    }
    let store = connect(store_url).await.map_err(|error| error.context("setting", "store_url"))?;
    match store {
        #[cfg(feature = "rabbitmq")]
        store => Ok(Arc::new(crate::backend::rabbitmq::Carried::connect(url, store).await.map_err(of_jobs)?)),
        #[cfg(not(feature = "rabbitmq"))]
        _ => Err(not_compiled(known)),
    }
}

fn scheme_of(url: &str) -> Result<&'static Scheme> {
    let (scheme, _) = url.split_once(':').ok_or_else(|| unknown(url))?;
    let known = SCHEMES.iter().find(|known| known.name == scheme || known.aliases.contains(&scheme));
    known.ok_or_else(|| unknown(url))
}

fn memory(url: &str, name: &str) -> Result<Memory> {
    if name.is_empty() {
        return Ok(Memory::new());
    }
    // The name's own error shows it unmasked, so it is not passed on.
    let name = Name::new(name).map_err(|_| {
        let shown = masked(url);
        Error::invalid(format!("`{shown}` names no memory store; a name is 1 to 128 characters of [A-Za-z0-9._:-]"))
    })?;
    Ok(Memory::named(&name))
}

fn unknown(url: &str) -> Error {
    let forms = SCHEMES.each_ref().map(|scheme| scheme.form).join(", ");
    Error::invalid(format!("`{}` names no backend; a URL is one of {forms}", masked(url)))
}

fn not_compiled(scheme: &Scheme) -> Error {
    let feature = scheme.feature.unwrap_or(scheme.name);
    Error::new(
        ErrorKind::Unsupported,
        format!(
            "this program was built without the {} backend; enable the feature `{feature}` of taskwright in Cargo.toml",
            scheme.name
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_unnamed_memory_url_is_a_store_of_its_own_and_a_named_one_is_shared() {
        for (url, shared) in [("memory:", false), ("memory:shared-by-name", true)] {
            let (one, two) = (connect(url).await.unwrap(), connect(url).await.unwrap());
            one.inspect().unwrap().pause(&Name::new("mail").unwrap(), true).await.unwrap();
            assert_eq!(two.inspect().unwrap().queues().await.unwrap().len(), usize::from(shared), "{url}");
            assert_eq!(two.info().location, url);
        }
    }

    #[tokio::test]
    async fn an_unknown_url_is_told_the_valid_forms_and_keeps_its_password() {
        for url in ["", "postgress://ada:hunter2@db/jobs", "jobs.db", "memory", "://ada:hunter2@db", "ada:hunter2@db"] {
            let error = connect(url).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{url}");
            assert!(
                error.to_string().contains("`memory:` or `memory:NAME`, `sqlite:PATH/TO/FILE`, `mysql://"),
                "{error}"
            );
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
    }

    #[tokio::test]
    async fn a_memory_store_with_a_bad_name_is_refused() {
        let error = connect("memory:no spaces").await.unwrap_err();
        assert_eq!(
            error.message(),
            "`memory:no spaces` names no memory store; a name is 1 to 128 characters of [A-Za-z0-9._:-]"
        );
        let error = connect("memory://ada:hunter2@db").await.unwrap_err();
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }

    #[test]
    fn a_backend_that_is_not_compiled_in_names_its_feature() {
        let error = not_compiled(&SCHEMES[1]);
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("enable the feature `sqlite`"), "{error}");
    }
}
