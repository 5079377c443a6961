//! Tasks that complete in the MySQL or MariaDB transaction they write in.

use std::sync::Arc;
use std::time::Duration;

use sqlx::mysql::MySqlPool;
use sqlx::{MySql, Transaction};
use taskwright::backend::sql::mysql::MySql as Store;
use taskwright::backend::{Backend, JobFilter, Reap};
use taskwright::context::States;
use taskwright::prelude::*;
use taskwright::registry::Registry;
use taskwright::testing::faulty::{Fault, Operation};
use taskwright::time::Clock;
use taskwright::worker::WorkerOptions;
use taskwright::{ErrorKind, State, Worker};
use taskwright_tests::servers::{Kind, Server};

use crate::site::{Running, Site, with_option, within};

/// A store with tables of its own, and a table of the user's beside them.
struct Shop {
    site: Site,
    database: MySqlPool,
    ledger: Ledger,
}

impl Shop {
    /// `None` where there is no server, which [`Server::shared`] has said then.
    async fn open() -> Option<Self> {
        let server = Server::shared(Kind::MySql)?;
        let prefix = format!("shop_{}_", JobId::new()).replace('-', "");
        let clock = Clock::system();
        let url = with_option(&with_option(server.url(), "prefix", &prefix), "transactions", "2");
        let store = Store::connect_with(&url, clock.clone()).await.unwrap();
        let database = MySqlPool::connect(server.url()).await.unwrap();
        let ledger = Ledger { table: format!("{prefix}ledger"), database: database.clone() };
        let shop = Self { site: Site::over(Arc::new(store), clock, None), database, ledger };
        shop.execute("CREATE TABLE {} (entry VARCHAR(64) NOT NULL PRIMARY KEY) ENGINE = InnoDB").await;
        Some(shop)
    }

    async fn execute(&self, sql: &str) {
        let sql = sql.replace("{}", &self.ledger.table);
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&self.database).await.unwrap();
    }

    /// What is committed.
    async fn entries(&self) -> Vec<String> {
        let sql = format!("SELECT entry FROM {} ORDER BY entry", self.ledger.table);
        sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_all(&self.database).await.unwrap()
    }

    fn worker<T: Task>(&self) -> Running {
        self.worker_with::<T>(|_| {})
    }

    fn worker_with<T: Task>(&self, states: impl FnOnce(&mut States)) -> Running {
        let mut all = States::default();
        all.insert(self.ledger.clone());
        states(&mut all);
        self.site.worker_with(Registry::new().with::<T>().unwrap(), all, |_| {})
    }
}

/// The user's table, and connections to it that are in no task's transaction.
#[derive(Clone)]
struct Ledger {
    table: String,
    database: MySqlPool,
}

impl Ledger {
    async fn write(&self, tx: &mut Transaction<'_, MySql>, entry: &str) -> Result<(), sqlx::Error> {
        let sql = format!("INSERT INTO {} VALUES (?)", self.table);
        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(entry).execute(&mut **tx).await.map(drop)
    }

    async fn lock(&self, tx: &mut Transaction<'_, MySql>, entry: &str) -> Result<(), sqlx::Error> {
        let sql = format!("SELECT entry FROM {} WHERE entry = ? FOR UPDATE", self.table);
        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(entry).execute(&mut **tx).await.map(drop)
    }
}

#[task(max_attempts = 3, backoff = fixed("1ms"))]
async fn book(
    entry: String,
    fail_until: u32,
    #[tx] tx: &mut Transaction<'_, MySql>,
    #[state] ledger: &Ledger,
    ctx: &Context,
) -> TaskResult<String> {
    ledger.write(tx, &format!("{entry} {}", ctx.attempt())).await?;
    if ctx.attempt() < fail_until {
        return Err("the bank is away".into());
    }
    Ok(entry)
}

#[tokio::test]
async fn writes_and_completion_are_committed_together() {
    let Some(shop) = Shop::open().await else { return };
    let _worker = shop.worker::<Book>();
    let handle = shop.site.client.dispatch(Book::new("rent", 1)).await.unwrap();
    let id = handle.id();
    assert_eq!(within(handle).await.unwrap(), "rent");
    assert_eq!(shop.entries().await, ["rent 1"]);
    assert_eq!(shop.site.job(id).await.unwrap().state, State::Completed);
    assert_eq!(shop.site.backend.calls(Operation::Settle), 0, "nothing else completes it");
}

#[tokio::test]
async fn more_tasks_than_connections_wait_for_one() {
    let Some(shop) = Shop::open().await else { return };
    let _worker = shop.worker::<Book>();
    let books = (0..20).map(|number| Book::new(format!("entry {number:02}"), 1));
    for handle in shop.site.client.dispatch_many(books).await.unwrap() {
        within(handle).await.unwrap();
    }
    assert_eq!(shop.entries().await.len(), 20);
}

#[tokio::test]
async fn writes_of_a_failed_attempt_are_undone() {
    let Some(shop) = Shop::open().await else { return };
    let _worker = shop.worker::<Book>();
    within(shop.site.client.dispatch(Book::new("rent", 2)).await.unwrap()).await.unwrap();
    assert_eq!(shop.entries().await, ["rent 2"]);
}

#[tokio::test]
async fn commit_whose_answer_is_lost_stands_and_is_not_repeated() {
    let Some(shop) = Shop::open().await else { return };
    shop.site.backend.inject(Operation::Complete, Fault::ErrorAfter, 1);
    let worker = shop.worker::<Book>();
    let handle = shop.site.client.dispatch(Book::new("rent", 1)).await.unwrap();
    let id = handle.id();
    assert_eq!(within(handle).await.unwrap(), "rent");
    worker.stop().await;
    assert_eq!(shop.site.job(id).await.unwrap().attempt, 1);
    assert_eq!(shop.entries().await, ["rent 1"]);
}

/// Passes over the end of its transaction in the first attempt: a deadlock, or a statement that commits.
#[task(max_attempts = 2, backoff = fixed("1ms"), keep_result = "1h")]
async fn pass_over(deadlocks: bool, #[tx] tx: &mut Transaction<'_, MySql>, #[state] ledger: &Ledger, ctx: &Context) {
    if ctx.attempt() == 1 {
        if deadlocks {
            run_into_a_deadlock(tx, ledger).await;
        } else {
            let sql = format!("CREATE TABLE {}_more (entry INT)", ledger.table);
            sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut **tx).await.unwrap();
        }
    }
    ledger.write(tx, &format!("attempt {}", ctx.attempt())).await.unwrap();
}

/// Two transactions wait for each other's row, and the server gives up the one that has written less: this one.
async fn run_into_a_deadlock(tx: &mut Transaction<'_, MySql>, ledger: &Ledger) {
    let mut other = ledger.database.begin().await.unwrap();
    for number in 0..100 {
        ledger.write(&mut other, &format!("other {number}")).await.unwrap();
    }
    ledger.lock(tx, "a").await.unwrap();
    ledger.lock(&mut other, "b").await.unwrap();
    let (ours, theirs) = tokio::join!(ledger.lock(tx, "b"), ledger.lock(&mut other, "a"));
    theirs.unwrap();
    let deadlock = ours.unwrap_err();
    assert_eq!(deadlock.as_database_error().unwrap().code().unwrap(), "40001", "{deadlock}");
    other.rollback().await.unwrap();
}

#[tokio::test]
async fn task_that_passes_over_a_deadlock_completes_nothing() {
    let Some(shop) = Shop::open().await else { return };
    shop.execute("INSERT INTO {} VALUES ('a'), ('b')").await;
    let _worker = shop.worker::<PassOver>();
    let handle = shop.site.client.dispatch(PassOver::new(true)).await.unwrap();
    let id = handle.id();
    within(handle).await.unwrap();
    let job = shop.site.job(id).await.unwrap();
    assert_eq!(job.attempt, 2);
    let failure = job.history[0].failure.as_ref().unwrap().to_string();
    assert!(failure.contains("had ended before the task did"), "{failure}");
    assert!(shop.entries().await.contains(&"attempt 2".to_owned()));
}

#[tokio::test]
async fn task_that_commits_by_a_statement_has_failed() {
    let Some(shop) = Shop::open().await else { return };
    let _worker = shop.worker::<PassOver>();
    let handle = shop.site.client.dispatch(PassOver::new(false)).await.unwrap();
    let id = handle.id();
    within(handle).await.unwrap();
    assert_eq!(shop.site.job(id).await.unwrap().attempt, 2);
}

/// Loses its lease in the first attempt, as a process does that was stopped for a while.
#[task(max_attempts = 3)]
async fn lose_the_lease(
    #[tx] tx: &mut Transaction<'_, MySql>,
    #[state] ledger: &Ledger,
    #[state] thief: &Thief,
    ctx: &Context,
) -> TaskResult {
    ledger.write(tx, &format!("attempt {}", ctx.attempt())).await?;
    if ctx.attempt() == 1 {
        thief.clock.advance(Duration::from_hours(1));
        thief.backend.reap(&Reap { limit: 10, max_crashes: 3 }).await?;
    }
    Ok(())
}

struct Thief {
    backend: Arc<dyn Backend>,
    clock: Clock,
}

#[tokio::test]
async fn lost_lease_undoes_what_was_written() {
    let Some(shop) = Shop::open().await else { return };
    let site = &shop.site;
    let thief = Thief { backend: Arc::clone(&site.backend) as Arc<dyn Backend>, clock: site.clock.clone() };
    let _worker = shop.worker_with::<LoseTheLease>(|states| states.insert(thief));
    within(site.client.dispatch(LoseTheLease::new()).await.unwrap()).await.unwrap();
    assert_eq!(shop.entries().await, ["attempt 2"]);
}

/// Dispatches the next task in its own transaction, and fails the first time.
#[task(max_attempts = 2, backoff = fixed("1ms"))]
async fn begin_chain(#[tx] tx: &mut Transaction<'_, MySql>, ctx: &Context) -> TaskResult<JobId> {
    let next = Book::new("next", 1).dispatch_in(tx).await?;
    if ctx.attempt() == 1 {
        return Err("not yet".into());
    }
    Ok(next.id())
}

#[tokio::test]
async fn child_that_a_task_dispatches_in_its_transaction_exists_only_when_it_completes() {
    let Some(shop) = Shop::open().await else { return };
    let _worker = shop.worker::<BeginChain>();
    let next = within(shop.site.client.dispatch(BeginChain::new()).await.unwrap()).await.unwrap();
    let jobs = shop.site.jobs(JobFilter::default()).await;
    let children: Vec<_> = jobs.iter().filter(|job| job.spec.task.as_str().ends_with("book")).collect();
    assert_eq!(children.iter().map(|job| job.id()).collect::<Vec<_>>(), [next]);
}

#[task]
async fn write_in_postgres(#[tx] tx: &mut Transaction<'_, sqlx::Postgres>) {
    let _ = tx;
}

#[tokio::test]
async fn worker_does_not_start_with_a_transaction_of_another_database() {
    let Some(shop) = Shop::open().await else { return };
    let client = shop.site.client.clone();
    let registry = Registry::new().with::<WriteInPostgres>().unwrap();
    let error = Worker::new(client, registry, Arc::default(), WorkerOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Wiring);
    let message = error.to_string();
    assert!(message.contains("Postgres") && message.contains("mysql lends"), "{message}");
}
