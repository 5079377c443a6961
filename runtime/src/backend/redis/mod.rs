//! Jobs in Redis 6.2 and later, or Valkey.
//!
//! ```no_run
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> taskwright::Result<()> {
//! use taskwright::backend::{Backend, redis::Redis};
//!
//! let redis = Redis::connect("redis://127.0.0.1:6379/0").await?;
//! assert_eq!(redis.info().name, "redis");
//! redis.close().await
//! # }
//! ```
//!
//! # URLs
//!
//! `redis://user:password@host:port/database`, with `rediss` for TLS (feature `tls`), and `valkey` and `valkeys` for the
//! same.
//! What all keys begin with is `{taskwright}:`, or `{name}:` with the option `?prefix=name`; stores of different
//! prefixes share a server and nothing else.
//!
//! # What it asks of the server
//!
//! `maxmemory-policy noeviction` and `appendonly yes`; `taskwright doctor` warns where it is otherwise.
//! With `appendfsync everysec`, the usual setting, a crash of the server may take what was acknowledged in the latest
//! second or two; with `always` it takes nothing.
//! A server that has used all of its memory refuses new jobs; those that it holds still run and end.
//! An ACL user needs `~{taskwright}:* &{taskwright}:* +@all -@admin`.
//!
//! # How it is built
//!
//! Each transition is one Lua script (`lua/`), bounded, and atomic as scripts are; all keys have one hash tag, so that
//! they lie in one slot of a cluster.
//! What becomes of a job is decided here, by [`policy::state`](crate::policy::state), and the script writes it if the
//! lease, or the record that was read, is still the same.
//! It decides without knowing what time it is: `present` says how.
//! What limits leave room for is decided in the script (`lua/limits.lua`), as [`policy::limits`](crate::policy::limits)
//! has it: what was read could be taken by another before it is written.
//!
//! One connection carries all commands, another listens for hints; each is made anew when it broke.
//! In a cluster any node may be named: the connection follows the keys to the node that has them.

use std::fmt;

use async_trait::async_trait;

use self::connect::Settings;
use self::link::Link;
use self::wake::Ear;
use crate::backend::{
    Backend, Cancel, Cancelled, Claim, Claimed, Extend, Extended, Info, Inspect, Leader, Ledger, Limiter, Limits, Push,
    Pushed, Reap, Reaped, Results, Settled, Settlement, Transaction, Wake,
};
use crate::error::Result;
use crate::job::{Unique, Until};
use crate::time::Clock;

mod answer;
mod cancel;
mod change;
mod claim;
mod connect;
mod error;
mod extend;
mod inspect;
mod leader;
mod limits;
mod link;
mod moves;
mod present;
mod push;
mod reap;
mod record;
mod results;
mod scripts;
mod server;
mod settle;
mod wake;

/// How many jobs one script works on at most: some milliseconds, in which the server does nothing else.
const MOST_TOGETHER: usize = 1_000;
/// How many bytes of records one answer holds before it stops, apart from what a claim asks for.
const MOST_BYTES: usize = 4 << 20;

/// A store of jobs in Redis.
pub struct Redis {
    info: Info,
    link: Link,
    ear: Ear,
}

impl Redis {
    /// Connects to the server that `url` names, and looks at its settings.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a URL that can't be meant, or a wrong password,
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) for a server that is too old,
    /// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) for keys of a newer version,
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) when it can't be reached, is loading, or is a replica.
    pub async fn connect(url: &str) -> Result<Self> {
        Self::connect_with(url, Clock::system()).await
    }

    /// As [`Redis::connect`], with the server's time moved by `clock`'s [offset](Clock::offset).
    ///
    /// # Errors
    ///
    /// Those of [`Redis::connect`].
    pub async fn connect_with(url: &str, clock: Clock) -> Result<Self> {
        let settings = Settings::parse(url)?;
        let location = settings.to_string();
        let link = Link::new(settings.info(), settings.base(), clock);
        let server = server::look_at(&link).await.map_err(|error| error.context("server", location.clone()))?;
        let info = Info {
            name: "redis",
            location,
            durability: server.durability,
            warnings: server.warnings,
            schema: Some(server.schema),
            atomic_push: true,
            passes_over: true,
            ages: true,
            limits: LIMITS,
        };
        Ok(Self { info, link, ear: Ear::default() })
    }
}

const LIMITS: Limits = Limits {
    max_payload: 64 << 20,
    max_delay: None,
    max_push: MOST_TOGETHER,
    max_claim: MOST_TOGETHER,
    max_lease: None,
    time_precision: std::time::Duration::from_micros(1),
};

/// A unique key as scripts take it: after how long it is taken, so that no key is told from an empty one.
fn key(unique: Option<&Unique>) -> Vec<u8> {
    let Some(Unique { key, until, .. }) = unique else { return Vec::new() };
    let until = match until {
        Until::Done => b"d".to_vec(),
        Until::Started => b"s".to_vec(),
        Until::Elapsed(window) => {
            // As `policy::unique::ends` has it.
            let micros = i64::try_from(window.as_micros()).unwrap_or(i64::MAX).max(1);
            [&b"t"[..], &micros.to_be_bytes()].concat()
        }
    };
    [&until, key.as_bytes()].concat()
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("location", &self.info.location)
            .field("durability", &self.info.durability)
            .field("closed", &self.link.is_closed())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Backend for Redis {
    fn info(&self) -> &Info {
        &self.info
    }

    async fn push(&self, push: &Push) -> Result<Vec<Pushed>> {
        if push.jobs.is_empty() {
            return Ok(Vec::new());
        }
        self.push_jobs(push).await
    }

    async fn claim(&self, claim: &Claim) -> Result<Claimed> {
        self.claim_jobs(claim).await
    }

    async fn extend(&self, extend: &Extend) -> Result<Extended> {
        self.extend_leases(extend).await
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        self.settle_jobs(settlements).await
    }

    async fn cancel(&self, cancel: &Cancel) -> Result<Vec<Cancelled>> {
        self.cancel_jobs(cancel).await
    }

    async fn reap(&self, reap: &Reap) -> Result<Reaped> {
        self.reap_jobs(*reap).await
    }

    async fn close(&self) -> Result<()> {
        self.link.close().await;
        self.ear.stop.cancel();
        Ok(())
    }

    fn results(&self) -> Option<&dyn Results> {
        Some(self)
    }

    fn wake(&self) -> Option<&dyn Wake> {
        Some(self)
    }

    fn leader(&self) -> Option<&dyn Leader> {
        Some(self)
    }

    fn inspect(&self) -> Option<&dyn Inspect> {
        Some(self)
    }

    fn limiter(&self) -> Option<&dyn Limiter> {
        Some(self)
    }

    fn ledger(&self) -> Option<&dyn Ledger> {
        Some(self)
    }

    /// `None`: no transaction spans what the caller does and what a script does.
    fn transaction(&self) -> Option<&dyn Transaction> {
        None
    }
}
