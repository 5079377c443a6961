//! Where the jobs of a fault test are: a file, or a server that nobody else uses.

use std::path::Path;
use std::time::Duration;

use taskwright::Client;
use taskwright::backend::JobFilter;
use taskwright::job::Job;
use taskwright_tests::servers::{Kind, Server};
use taskwright_tests::victim::{Version, Victim};
use tempfile::TempDir;

const VICTIM: &str = env!("CARGO_BIN_EXE_victim");
const LEASE: Duration = Duration::from_secs(1);

/// How long anything may take before the test is given up; nothing waits for it when all is well.
const PATIENCE: Duration = Duration::from_mins(4);

/// A kind of place.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    Sqlite,
    Server(Kind),
}

/// One place, gone with its jobs when it is dropped.
pub(crate) struct Site {
    pub(crate) url: String,
    pub(crate) server: Option<Server>,
    _folder: TempDir,
}

impl Site {
    /// A new place; `None` where there is no such server, which is said.
    pub(crate) fn new(place: Place) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let (url, server) = match place {
            Place::Sqlite => (format!("sqlite:{}", folder.path().join("jobs.db").display()), None),
            Place::Server(kind) => {
                let server = Server::private(kind)?;
                (server.url().to_owned(), Some(server))
            }
        };
        Some(Self { url, server, _folder: folder })
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(&self.url).await.unwrap()
    }

    /// A worker process that is ready.
    pub(crate) fn start(&self) -> Victim {
        self.start_version(Version::New)
    }

    /// A worker process of that version of its program.
    pub(crate) fn start_version(&self, version: Version) -> Victim {
        Victim::start(Path::new(VICTIM), &self.url, LEASE, version).unwrap()
    }
}

/// Every job, those that have ended too.
pub(crate) async fn jobs(client: &Client) -> Vec<Job> {
    client.backend().inspect().unwrap().list(&JobFilter::default(), None, 100_000).await.unwrap()
}

/// How many jobs have not ended; `None` while the store does not answer.
async fn unfinished(client: &Client) -> Option<u64> {
    let queues = client.backend().inspect().unwrap().queues().await.ok()?;
    Some(queues.iter().flat_map(|queue| queue.counts.values()).sum())
}

/// Waits until at most `count` jobs are unfinished.
pub(crate) async fn until_left(client: &Client, count: u64) {
    let waiting = async {
        while unfinished(client).await.is_none_or(|left| left > count) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "the backlog does not shrink to {count}");
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
