//! Where the jobs of a fault test are: a place that nobody else uses.

use std::path::Path;
use std::time::Duration;

use taskwright::backend::{Claim, JobFilter, QueueClaim};
use taskwright::job::{Job, Lease, WorkerId};
use taskwright::{Client, Name, Result};
use taskwright_tests::servers::{Kind, Server};
use taskwright_tests::victim::{self, Version, Victim};
use tempfile::TempDir;

pub(crate) const VICTIM: &str = env!("CARGO_BIN_EXE_victim");
pub(crate) const LEASE: Duration = Duration::from_secs(1);

/// How long anything may take before the test is given up; nothing waits for it when all is well.
pub(crate) const PATIENCE: Duration = Duration::from_mins(4);

/// A kind of place.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    Sqlite,
    /// A server of its own, which may be killed too.
    Server(Kind),
    /// A broker of its own that nothing but the results are kept beside, in a file.
    BrokerAlone,
}

/// One place, gone with its jobs when it is dropped.
pub(crate) struct Site {
    /// As [`victim::client`] reads it.
    pub(crate) url: String,
    server: Option<Server>,
    _folder: TempDir,
}

impl Site {
    /// A new place; `None` where this machine has no such server.
    pub(crate) fn new(place: Place) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let server = match place {
            Place::Sqlite => None,
            Place::Server(kind) => Some(Server::private(kind)?),
            Place::BrokerAlone => Some(Server::private(Kind::RabbitMq)?),
        };
        let file = || format!("sqlite:{}", folder.path().join("jobs.db").display());
        let url = match (place, &server) {
            // It carries what a file keeps the record of.
            (Place::Server(Kind::RabbitMq), Some(server)) => format!("{} {}", server.url(), file()),
            (Place::BrokerAlone, Some(server)) => format!("{} - {}", server.url(), file()),
            (_, Some(server)) => server.url().to_owned(),
            (_, None) => file(),
        };
        Some(Self { url, server, _folder: folder })
    }

    /// Kills the server as a crash would, and starts it again.
    pub(crate) fn crash_and_restart(&self) {
        let server = self.server.as_ref().unwrap();
        server.kill().unwrap();
        server.start_again().unwrap();
    }

    pub(crate) async fn client(&self) -> Client {
        victim::client(&self.url).await.unwrap()
    }

    /// A worker process that is ready.
    pub(crate) fn start(&self) -> Victim {
        self.start_version(Version::New)
    }

    /// A worker process of that version of its program.
    pub(crate) fn start_version(&self, version: Version) -> Victim {
        Victim::start(Path::new(VICTIM), &self.url, LEASE, version).unwrap()
    }

    /// A worker process whose leases outlast all that a busy machine keeps it from.
    pub(crate) fn start_patient(&self) -> Victim {
        Victim::start(Path::new(VICTIM), &self.url, 5 * LEASE, Version::New).unwrap()
    }
}

/// Every job, those that have ended too.
pub(crate) async fn jobs(client: &Client) -> Vec<Job> {
    client.backend().inspect().unwrap().list(&JobFilter::default(), None, 200_000).await.unwrap()
}

pub(crate) async fn unfinished(client: &Client) -> Result<u64> {
    let queues = client.backend().inspect().unwrap().queues().await?;
    Ok(queues.iter().flat_map(|queue| queue.counts.values()).sum())
}

/// Waits until at most `count` jobs are unfinished. A server that starts at this moment may refuse to say.
pub(crate) async fn until_left(client: &Client, count: u64) {
    let waiting = async {
        while !unfinished(client).await.is_ok_and(|left| left <= count) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "the backlog does not shrink to {count}");
}

pub(crate) async fn soon<T>(what: &str, happens: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, happens).await.unwrap_or_else(|_| panic!("{what} does not happen"))
}

/// Claims a job as a worker does that is never heard of again.
pub(crate) async fn claim_and_vanish(client: &Client, queue: &str, ttl: Duration) -> (Lease, Job) {
    let queue = QueueClaim { queue: Name::new(queue).unwrap(), limit: 1 };
    let claim = Claim {
        worker: WorkerId::new(),
        queues: vec![queue],
        limit: 1,
        unknown: Vec::new(),
        ttl,
        max_crashes: 1_000,
        aging: None,
    };
    let claimed = async {
        loop {
            if let Some(claimed) = client.backend().claim(&claim).await.unwrap().jobs.pop() {
                return claimed;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    soon("a claim that gets the job", claimed).await
}

/// Each test of this folder once for each place: `sqlite::a_test`.
macro_rules! on_every_site {
    ($($module:ident: $place:expr => [$($test:path as $name:ident),+ $(,)?]),+ $(,)?) => {$(
        mod $module {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    if let Some(site) = $crate::sites::Site::new($place) {
                        $test(&site).await;
                    }
                }
            )+
        }
    )+};
}
pub(crate) use on_every_site;
