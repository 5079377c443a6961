//! Where a case takes place: a store, a client of it, and workers.

use std::sync::Arc;
use std::time::Duration;

use taskwright::backend::memory::Memory;
use taskwright::backend::rabbitmq::Carried;
use taskwright::backend::redis::Redis;
use taskwright::backend::sql::mysql::MySql;
use taskwright::backend::sql::postgres::Postgres;
use taskwright::backend::sql::sqlite::Sqlite;
use taskwright::backend::{Backend, JobFilter};
use taskwright::context::States;
use taskwright::job::Job;
use taskwright::registry::Registry;
use taskwright::testing::faulty::Faulty;
use taskwright::time::Clock;
use taskwright::worker::{Health, Summary, WorkerOptions};
use taskwright::{Client, JobId, Shutdown, State, Worker};
use taskwright_tests::servers::{Kind, Server};
use tokio::task::JoinHandle;

/// How long anything may take before a case is given up; nothing here waits for it when all is well.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A store with faults on request, and a client of it.
pub(crate) struct Site {
    pub(crate) backend: Arc<Faulty>,
    pub(crate) client: Client,
    pub(crate) clock: Clock,
    /// Removed with the site.
    _folder: Option<tempfile::TempDir>,
}

impl Site {
    pub(crate) async fn memory() -> Self {
        let clock = Clock::system();
        Self::over(Arc::new(Memory::with_clock(clock.clone())), clock, None)
    }

    pub(crate) async fn sqlite() -> Self {
        let clock = Clock::system();
        let (sqlite, folder) = file(&clock).await;
        Self::over(Arc::new(sqlite), clock, Some(folder))
    }

    /// A place of its own on the server that all tests share; a broker has the record of its jobs in a file.
    ///
    /// `None` where there is no such server, which [`Server::shared`] has said then.
    pub(crate) async fn on(kind: Kind) -> Option<Self> {
        let server = Server::shared(kind)?;
        let clock = Clock::system();
        let name = format!("b{}", JobId::new()).replace('-', "");
        let option = if kind == Kind::Postgres { "schema" } else { "prefix" };
        let url = with_option(server.url(), option, &name);
        let store: Arc<dyn Backend> = match kind {
            Kind::Postgres => Arc::new(Postgres::connect_with(&url, clock.clone()).await.unwrap()),
            Kind::MySql => Arc::new(MySql::connect_with(&url, clock.clone()).await.unwrap()),
            Kind::Redis => Arc::new(Redis::connect_with(&url, clock.clone()).await.unwrap()),
            Kind::RabbitMq => {
                let (record, folder) = file(&clock).await;
                let carried = Carried::connect(&url, Arc::new(record)).await.unwrap();
                return Some(Self::over(Arc::new(carried), clock, Some(folder)));
            }
        };
        Some(Self::over(store, clock, None))
    }

    pub(crate) fn over(store: Arc<dyn Backend>, clock: Clock, folder: Option<tempfile::TempDir>) -> Self {
        let backend = Arc::new(Faulty::new(store, 0));
        let client = Client::new(Arc::clone(&backend) as Arc<dyn Backend>);
        Self { backend, client, clock, _folder: folder }
    }

    /// Starts a worker for the tasks of `registry`.
    pub(crate) fn worker(&self, registry: Registry, change: impl FnOnce(&mut WorkerOptions)) -> Running {
        self.worker_with(registry, States::default(), change)
    }

    /// As [`Site::worker`], with state.
    pub(crate) fn worker_with(
        &self,
        registry: Registry,
        states: States,
        change: impl FnOnce(&mut WorkerOptions),
    ) -> Running {
        let mut options = WorkerOptions { concurrency: 4, ..WorkerOptions::default() };
        change(&mut options);
        Running::start(Worker::new(self.client.clone(), registry, Arc::new(states), options).unwrap())
    }

    /// Every job of the store that is still kept.
    pub(crate) async fn jobs(&self, filter: JobFilter) -> Vec<Job> {
        self.backend.inspect().unwrap().list(&filter, None, 100_000).await.unwrap()
    }

    /// One job as the store has it.
    pub(crate) async fn job(&self, id: JobId) -> Option<Job> {
        self.jobs(JobFilter { ids: vec![id], ..JobFilter::default() }).await.pop()
    }

    /// One job, once it is as `wanted`.
    pub(crate) async fn job_when(&self, id: JobId, wanted: impl Fn(&Job) -> bool) -> Job {
        let mut last = None;
        eventually("the job is as wanted", async || {
            last = self.job(id).await;
            last.as_ref().is_some_and(&wanted)
        })
        .await;
        last.unwrap()
    }

    /// One job, once it is in `state`.
    pub(crate) async fn job_in(&self, id: JobId, state: State) -> Job {
        self.job_when(id, |job| job.state == state).await
    }
}

/// A store in a file, and the folder that it goes with.
async fn file(clock: &Clock) -> (Sqlite, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("jobs.db").display());
    (Sqlite::connect_with(&url, clock.clone()).await.unwrap(), folder)
}

/// The URL with one more option.
pub(crate) fn with_option(url: &str, key: &str, value: &str) -> String {
    let mark = if url.contains('?') { '&' } else { '?' };
    format!("{url}{mark}{key}={value}")
}

/// A worker at work; dropping it is like a crash.
pub(crate) struct Running {
    pub(crate) shutdown: Shutdown,
    pub(crate) health: Health,
    task: JoinHandle<taskwright::Result<Summary>>,
}

impl Running {
    pub(crate) fn start(worker: Worker) -> Self {
        let shutdown = Shutdown::new();
        let health = worker.health();
        Self { task: tokio::spawn(worker.run(shutdown.clone())), shutdown, health }
    }

    /// Stops the worker and tells what it did.
    pub(crate) async fn stop(mut self) -> Summary {
        self.shutdown.stop();
        self.ended().await
    }

    /// Waits until the worker ends by itself.
    pub(crate) async fn ended(&mut self) -> Summary {
        within(&mut self.task).await.unwrap().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The future's output, or a failed test instead of one that hangs.
pub(crate) async fn within<F: IntoFuture>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future.into_future()).await.expect("it takes far too long")
}

/// Asks again and again until it is so, as an observer from outside has to.
pub(crate) async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let asking = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, asking).await.is_ok(), "never: {what}");
}

/// Makes one test for each backend of each case, a function from a [`Site`].
#[macro_export]
macro_rules! on_every_backend {
    ($($case:ident),+ $(,)?) => {
        mod on_memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(&$crate::site::Site::memory().await).await;
            })+
        }

        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(&$crate::site::Site::sqlite().await).await;
            })+
        }
    };
}

/// Makes one test for each server of each case; where the machine has no such server, it says so and is skipped.
#[macro_export]
macro_rules! on_every_server {
    ($($case:ident),+ $(,)?) => {
        $crate::on_server!(on_mysql: MySql => $($case),+);
        $crate::on_server!(on_postgres: Postgres => $($case),+);
        $crate::on_server!(on_rabbitmq_with_sqlite: RabbitMq => $($case),+);
        $crate::on_server!(on_redis: Redis => $($case),+);
    };
}

/// Makes one test of each case for one kind of server.
#[macro_export]
macro_rules! on_server {
    ($module:ident: $kind:ident => $($case:ident),+) => {
        mod $module {
            use taskwright_tests::servers::Kind;

            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                if let Some(site) = $crate::site::Site::on(Kind::$kind).await {
                    super::$case(&site).await;
                }
            })+
        }
    };
}
