//! What a URL says: where the broker is, and under which names the queues lie there.

use std::time::Duration;

use lapin::uri::{AMQPScheme, AMQPUri};

use crate::backend::location::masked;
use crate::error::{Error, ErrorKind, Result};
use crate::job::Name;
use crate::time::parse_duration;

/// What a URL asks for.
#[derive(Clone)]
pub(super) struct Address {
    /// With the password; never shown.
    pub(super) uri: AMQPUri,
    /// For people: without secrets.
    pub(super) location: String,
    /// What the names of all queues and exchanges begin with.
    pub(super) prefix: Name,
    pub(super) queues: Queues,
    /// How long the broker lets a message be unacknowledged.
    pub(super) consumer_timeout: Duration,
}

/// How the broker keeps queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queues {
    /// On one node, with priorities.
    Classic,
    /// On a majority of the nodes, without priorities.
    Quorum,
}

/// The longest prefix, so that the longest queue's name still fits into AMQP's 255 bytes.
const LONGEST_PREFIX: usize = 64;

/// What the broker's `consumer_timeout` is unless configured.
const CONSUMER_TIMEOUT: Duration = Duration::from_mins(30);

/// Seconds without a sign of life after which a peer is asked for one; twice of it, and the peer counts as gone.
const HEARTBEAT: u16 = 10;

/// Milliseconds in which the broker has to answer to a new connection.
const CONNECT_TIMEOUT: u64 = 10_000;

impl Address {
    /// Reads `amqp://user:password@host:port/vhost?prefix=..&queues=..`; the scheme may also be `rabbitmq`.
    pub(super) fn parse(url: &str) -> Result<Self> {
        let location = masked(url);
        let wrong = |what: &str| {
            Error::invalid(format!(
                "`{location}` {what}; write `amqp://user:password@host:5672/vhost?prefix=taskwright`"
            ))
        };
        let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("is not a RabbitMQ URL"))?;
        let scheme = match scheme {
            "amqp" | "rabbitmq" => "amqp",
            "amqps" | "rabbitmqs" => "amqps",
            _ => return Err(wrong("is not a RabbitMQ URL")),
        };
        let (place, options) = rest.split_once('?').unwrap_or((rest, ""));
        let mut address = Self {
            uri: AMQPUri::default(),
            location: location.clone(),
            prefix: Name::new("taskwright")?,
            queues: Queues::Classic,
            consumer_timeout: CONSUMER_TIMEOUT,
        };
        let mut of_driver = Vec::new();
        for option in options.split('&').filter(|option| !option.is_empty()) {
            let (key, value) = option.split_once('=').unwrap_or((option, ""));
            match key {
                "prefix" => address.prefix = prefix(value)?,
                "queues" => address.queues = queues(value)?,
                "consumer_timeout" => address.consumer_timeout = consumer_timeout(value)?,
                "heartbeat" | "connection_timeout" | "frame_max" | "channel_max" | "auth_mechanism" => {
                    of_driver.push(option);
                }
                _ => {
                    let known = "prefix, queues, consumer_timeout, heartbeat, connection_timeout, frame_max, channel_max, \
                                 auth_mechanism";
                    return Err(wrong(&format!("has the option {key}, which is not known; the options are {known}")));
                }
            }
        }
        // The driver's own messages may show the password, so they are not passed on.
        let uri = format!("{scheme}://{place}?{}", of_driver.join("&"));
        address.uri = uri.parse().map_err(|_| {
            wrong("can't be read: escape what is special in user, password and virtual host with %, and give numbers")
        })?;
        address.uri.query.heartbeat.get_or_insert(HEARTBEAT);
        address.uri.query.connection_timeout.get_or_insert(CONNECT_TIMEOUT);
        if address.uri.scheme == AMQPScheme::AMQPS && !cfg!(feature = "tls") {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "this program was built without TLS; enable the feature `tls` of taskwright in Cargo.toml",
            ));
        }
        Ok(address)
    }
}

fn prefix(value: &str) -> Result<Name> {
    let refused = || {
        Error::invalid(format!(
            "prefix={value} is not a prefix of queues; it is 1 to {LONGEST_PREFIX} characters of [A-Za-z0-9._:-]"
        ))
    };
    Name::new(value).ok().filter(|prefix| prefix.as_str().len() <= LONGEST_PREFIX).ok_or_else(refused)
}

fn queues(value: &str) -> Result<Queues> {
    match value {
        "classic" => Ok(Queues::Classic),
        "quorum" => Ok(Queues::Quorum),
        _ => Err(Error::invalid(format!("queues={value} is not known; it is classic or quorum"))),
    }
}

fn consumer_timeout(value: &str) -> Result<Duration> {
    parse_duration(value).ok().filter(|timeout| !timeout.is_zero()).ok_or_else(|| {
        Error::invalid(format!(
            "consumer_timeout={value} is no duration; it is as in the broker's configuration, such as 2h"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_is_read_with_its_options() {
        let address = Address::parse(
            "rabbitmq://ada:pass%2Fword@broker:5673/jobs?prefix=app-1&queues=quorum&consumer_timeout=2h",
        )
        .unwrap();
        assert_eq!(address.consumer_timeout, Duration::from_hours(2));
        let authority = &address.uri.authority;
        assert_eq!((authority.host.as_str(), authority.port, address.uri.vhost.as_str()), ("broker", 5673, "jobs"));
        assert_eq!(authority.userinfo.password, "pass/word");
        assert_eq!((address.prefix.as_str(), address.queues), ("app-1", Queues::Quorum));
        assert!(!address.location.contains("word"), "{}", address.location);
    }

    #[test]
    fn plain_url_is_that_of_a_broker_on_this_machine() {
        let address = Address::parse("amqp://localhost").unwrap();
        assert_eq!((address.uri.vhost.as_str(), address.uri.authority.port), ("/", 5672));
        assert_eq!((address.prefix.as_str(), address.queues), ("taskwright", Queues::Classic));
        assert_eq!(address.consumer_timeout, CONSUMER_TIMEOUT);
        assert_eq!(address.uri.query.heartbeat, Some(HEARTBEAT));
    }

    #[test]
    fn wrong_url_says_what_is_wrong_and_keeps_its_password() {
        for (url, told) in [
            ("amqp:localhost", "is not a RabbitMQ URL"),
            ("http://ada:hunter2@host/", "is not a RabbitMQ URL"),
            ("amqp://ada:hunter2@host/?queues=fast", "it is classic or quorum"),
            ("amqp://ada:hunter2@host/?prefix=a/b", "is not a prefix of queues"),
            ("amqp://ada:hunter2@host/?prefix=", "is not a prefix of queues"),
            ("amqp://ada:hunter2@host/?consumer_timeout=long", "consumer_timeout=long is no duration"),
            ("amqp://ada:hunter2@host/?quorum=yes", "option quorum"),
            ("amqp://ada:hunter2@host:many/", "can't be read"),
            ("amqp://ada:hunter2@host/?heartbeat=often", "can't be read"),
        ] {
            let error = Address::parse(url).err().unwrap_or_else(|| panic!("{url} is taken"));
            assert_eq!(error.kind(), ErrorKind::Invalid, "{url}");
            assert!(error.to_string().contains(told), "{url}: {error}");
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
    }
}
