//! From a URL to settings of a connection.

use std::fmt;

use redis::io::tcp::TcpSettings;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};

use crate::error::{Error, ErrorKind, Result};
use crate::job::Name;

/// What keys begin with, unless the URL says otherwise.
const PREFIX: &str = "taskwright";

/// What a URL asks for.
pub(super) struct Settings {
    info: ConnectionInfo,
    prefix: Name,
}

impl Settings {
    /// Reads `redis://user:password@host:port/database?prefix=name`.
    pub(super) fn parse(url: &str) -> Result<Self> {
        let (address, options) = url.split_once('?').unwrap_or((url, ""));
        let is_tls = address.starts_with("rediss:") || address.starts_with("valkeys:");
        if is_tls && !cfg!(feature = "tls") {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "this program was built without TLS; enable the feature `tls` of taskwright in Cargo.toml",
            ));
        }
        if is_tls {
            trust();
        }
        // The driver's own words don't repeat the URL, which holds the password.
        let info = address.into_connection_info().map_err(|error| {
            Error::invalid("the redis URL can't be read; write `redis://user:password@host:6379/0`").because(error)
        })?;
        // Small commands go at once, and don't wait for the answer to the one before.
        let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        let mut settings = Self { info, prefix: Name::new(PREFIX)? };
        for option in options.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            settings.set(name, value)?;
        }
        Ok(settings)
    }

    fn set(&mut self, option: &str, value: &str) -> Result<()> {
        match option {
            "prefix" => {
                self.prefix = Name::new(value).map_err(|error| {
                    let message = format!(
                        "`{}` can't be the prefix of keys; use 1 to 128 characters of A-Z a-z 0-9 . _ : -",
                        value.escape_debug()
                    );
                    Error::invalid(message).because(error)
                })?;
                Ok(())
            }
            other => {
                Err(Error::invalid(format!("`{other}` is not an option of a redis URL; the only option is prefix")))
            }
        }
    }

    pub(super) fn info(&self) -> ConnectionInfo {
        self.info.clone()
    }

    /// What every key begins with. The braces make it the part by which a cluster finds a key's slot.
    pub(super) fn base(&self) -> String {
        format!("{{{}}}:", self.prefix)
    }
}

/// Says which implementation of TLS to use, where the program has not.
fn trust() {
    #[cfg(feature = "tls")]
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Another thread may have been faster, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}

/// Where it is, without secrets.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.info.addr() {
            ConnectionAddr::TcpTls { .. } => "rediss",
            _ => "redis",
        };
        write!(f, "{scheme}://{}/{}", self.info.addr(), self.info.redis_settings().db())?;
        if self.prefix.as_str() == PREFIX { Ok(()) } else { write!(f, "?prefix={}", self.prefix) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str) -> Error {
        match Settings::parse(url) {
            Ok(settings) => panic!("{url} was read as {settings}"),
            Err(error) => error,
        }
    }

    #[test]
    fn a_url_tells_place_and_prefix_and_shows_no_password() {
        let cases = [
            ("redis://host", "redis://host:6379/0", "{taskwright}:"),
            ("valkey://ada:hunter2@host:7000/3?prefix=mail.v2", "redis://host:7000/3?prefix=mail.v2", "{mail.v2}:"),
        ];
        for (url, shown, base) in cases {
            let settings = Settings::parse(url).unwrap();
            assert_eq!((settings.to_string().as_str(), settings.base().as_str()), (shown, base));
        }
    }

    #[test]
    fn a_url_with_tls_is_read_or_says_which_feature_it_needs() {
        let read = Settings::parse("rediss://ada:hunter2@host").map(|settings| settings.to_string());
        if cfg!(feature = "tls") {
            assert_eq!(read.unwrap(), "rediss://host:6379/0");
        } else {
            let error = read.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.to_string().contains("enable the feature `tls` of taskwright"), "{error}");
        }
    }

    #[test]
    fn a_url_that_cant_be_meant_is_told_what_to_write() {
        for url in ["redis://", "redis://:hunter2@host:notaport", "redis://ada:hunter2@host/db"] {
            let error = refused(url);
            assert_eq!(error.kind(), ErrorKind::Invalid, "{url}");
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
        let long = "p".repeat(10_000);
        for prefix in ["", "{curly}", "a b", "quote'", &long] {
            let error = refused(&format!("redis://host?prefix={prefix}"));
            assert!(error.to_string().contains("can't be the prefix of keys"), "{error}");
        }
        assert!(refused("redis://host?timeout=5").to_string().contains("the only option is prefix"));
    }
}
