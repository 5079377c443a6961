//! Tasks that complete in the Postgres transaction they write in.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgPool;
use sqlx::{Postgres, Transaction};
use taskwright::backend::sql::postgres::Postgres as Store;
use taskwright::backend::{Backend, Claim, LimitSource, QueueClaim, Reap};
use taskwright::context::States;
use taskwright::job::{Allowance, WorkerId};
use taskwright::prelude::*;
use taskwright::registry::Registry;
use taskwright::testing::faulty::{Fault, Operation};
use taskwright::time::Clock;
use taskwright::worker::WorkerOptions;
use taskwright::{Client, Dispatch, ErrorKind, Name, Shutdown, State, Worker};
use taskwright_tests::servers::{Kind, Server};

use crate::site::{Site, eventually, with_option, within};

/// A store in a schema of its own, with a table of the user's in it.
struct Shop {
    site: Site,
    database: PgPool,
    schema: String,
}

impl Shop {
    /// `None` where there is no server, which [`Server::shared`] has said then.
    async fn open() -> Option<Self> {
        let server = Server::shared(Kind::Postgres)?;
        let schema = format!("shop_{}", JobId::new()).replace('-', "_");
        let clock = Clock::system();
        let url = with_option(&with_option(server.url(), "schema", &schema), "transactions", "2");
        let store = Store::connect_with(&url, clock.clone()).await.unwrap();
        let database = PgPool::connect(server.url()).await.unwrap();
        let shop = Self { site: Site::over(Arc::new(store), clock, None), database, schema };
        shop.execute("CREATE TABLE {schema}.ledger (entry text UNIQUE DEFERRABLE INITIALLY DEFERRED)").await;
        Some(shop)
    }

    async fn execute(&self, sql: &str) {
        let sql = sql.replace("{schema}", &self.schema);
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&self.database).await.unwrap();
    }

    /// What is committed.
    async fn ledger(&self) -> Vec<String> {
        let sql = format!("SELECT entry FROM {}.ledger ORDER BY entry", self.schema);
        sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_all(&self.database).await.unwrap()
    }

    fn worker<T: Task>(&self) -> crate::site::Running {
        self.worker_with::<T>(|_| {})
    }

    fn worker_with<T: Task>(&self, states: impl FnOnce(&mut States)) -> crate::site::Running {
        let mut all = States::default();
        all.insert(Schema(self.schema.clone()));
        states(&mut all);
        self.site.worker_with(Registry::new().with::<T>().unwrap(), all, |_| {})
    }
}

/// Where the table is.
struct Schema(String);

async fn write(tx: &mut Transaction<'_, Postgres>, schema: &Schema, entry: &str) -> Result<(), sqlx::Error> {
    let sql = format!("INSERT INTO {}.ledger VALUES ($1)", schema.0);
    sqlx::query(sqlx::AssertSqlSafe(sql)).bind(entry).execute(&mut **tx).await.map(drop)
}

#[task(max_attempts = 3, backoff = fixed("1ms"))]
async fn book(
    entry: String,
    fail_until: u32,
    #[tx] tx: &mut Transaction<'_, Postgres>,
    #[state] schema: &Schema,
    ctx: &Context,
) -> TaskResult<String> {
    write(tx, schema, &format!("{entry} {}", ctx.attempt())).await?;
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
    assert_eq!(shop.ledger().await, ["rent 1"]);
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
    assert_eq!(shop.ledger().await.len(), 20);
}

#[tokio::test]
async fn writes_of_a_failed_attempt_are_undone() {
    let Some(shop) = Shop::open().await else { return };
    let _worker = shop.worker::<Book>();
    within(shop.site.client.dispatch(Book::new("rent", 2)).await.unwrap()).await.unwrap();
    assert_eq!(shop.ledger().await, ["rent 2"]);
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
    assert_eq!(shop.ledger().await, ["rent 1"]);
}

#[task(limit(max = 1, key = "till"))]
fn pay() {}

/// While another transaction counts a limit, a claim answers nothing, and that there may be more at once.
#[tokio::test]
async fn a_drain_waits_for_those_who_count_a_limit() {
    let Some(shop) = Shop::open().await else { return };
    let client = &shop.site.client;
    client.dispatch(Pay::new()).await.unwrap();
    let limiter = client.backend().limiter().unwrap();
    limiter.set_limit("till", LimitSource::RunTime, Allowance::at_once(1)).await.unwrap();
    let mut counting = shop.database.begin().await.unwrap();
    let lock = format!("SELECT id FROM {}.limits FOR UPDATE", shop.schema);
    assert_eq!(sqlx::query(sqlx::AssertSqlSafe(lock)).fetch_all(&mut *counting).await.unwrap().len(), 1);
    let options = WorkerOptions { drain: true, ..WorkerOptions::default() };
    let tasks = Registry::new().with::<Pay>().unwrap();
    let drain = Worker::new(client.clone(), tasks, Arc::default(), options).unwrap();
    let drain = Box::pin(drain.run(Shutdown::new()));
    let claims = shop.site.backend.calls(Operation::Claim);
    let counted = async {
        eventually("it looks again", async || shop.site.backend.calls(Operation::Claim) > claims + 3).await;
        counting.commit().await.unwrap();
    };
    let (summary, ()) = within(async { tokio::join!(drain, counted) }).await;
    assert_eq!(summary.unwrap().completed, 1);
}

/// A slot that is about to be free is none that a lane waits a minute for.
#[tokio::test]
async fn a_claim_that_meets_the_end_of_a_job_looks_again_at_once() {
    let Some(shop) = Shop::open().await else { return };
    let claim = async |queue: &str| {
        let queues = vec![QueueClaim { queue: Name::new(queue).unwrap(), limit: 1 }];
        let (worker, ttl) = (WorkerId::new(), Duration::from_mins(1));
        let claim = Claim { worker, queues, limit: 1, unknown: Vec::new(), ttl, max_crashes: 3, aging: None };
        let claimed = shop.site.backend.claim(&claim).await.unwrap();
        (claimed.jobs.len(), claimed.next_due)
    };
    shop.site.client.dispatch(Dispatch::new(Pay::new()).queue("door")).await.unwrap();
    assert_eq!(claim("door").await.0, 1);
    shop.site.client.dispatch(Pay::new()).await.unwrap();
    let mut ending = shop.database.begin().await.unwrap();
    let free = format!("DELETE FROM {}.holds", shop.schema);
    assert_eq!(sqlx::query(sqlx::AssertSqlSafe(free)).execute(&mut *ending).await.unwrap().rows_affected(), 1);
    assert_eq!(claim("default").await, (0, Some(Duration::ZERO)));
    ending.commit().await.unwrap();
    assert_eq!(claim("default").await.0, 1);
}

/// Passes over a statement that failed, and says that all is well.
#[task(max_attempts = 2, backoff = fixed("1ms"), keep_result = "1h")]
async fn book_twice(#[tx] tx: &mut Transaction<'_, Postgres>, #[state] schema: &Schema, ctx: &Context) {
    let _ = write(tx, schema, "once").await;
    if ctx.attempt() == 1 {
        assert!(sqlx::query("SELECT nonsense").execute(&mut **tx).await.is_err());
    }
}

#[tokio::test]
async fn transaction_that_the_server_gave_up_completes_nothing() {
    let Some(shop) = Shop::open().await else { return };
    let _worker = shop.worker::<BookTwice>();
    let handle = shop.site.client.dispatch(BookTwice::new()).await.unwrap();
    let id = handle.id();
    within(handle).await.unwrap();
    assert_eq!(shop.ledger().await, ["once"]);
    assert_eq!(shop.site.job(id).await.unwrap().attempt, 2);
}

#[tokio::test]
async fn constraint_that_is_checked_at_the_commit_completes_nothing() {
    let Some(shop) = Shop::open().await else { return };
    shop.execute("INSERT INTO {schema}.ledger VALUES ('rent 1')").await;
    let _worker = shop.worker::<Book>();
    let handle = shop.site.client.dispatch(Book::new("rent", 1)).await.unwrap();
    let id = handle.id();
    within(handle).await.unwrap();
    assert_eq!(shop.ledger().await, ["rent 1", "rent 2"]);
    assert_eq!(shop.site.job(id).await.unwrap().attempt, 2);
}

/// Loses its lease in the first attempt, as a process does that was stopped for a while.
#[task(max_attempts = 3)]
async fn lose_the_lease(
    #[tx] tx: &mut Transaction<'_, Postgres>,
    #[state] schema: &Schema,
    #[state] thief: &Thief,
    ctx: &Context,
) -> TaskResult {
    write(tx, schema, &format!("attempt {}", ctx.attempt())).await?;
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
    assert_eq!(shop.ledger().await, ["attempt 2"]);
}

/// Dispatches the next task in its own transaction, and fails the first time.
#[task(max_attempts = 2, backoff = fixed("1ms"))]
async fn begin_chain(#[tx] tx: &mut Transaction<'_, Postgres>, ctx: &Context) -> TaskResult<JobId> {
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
    let jobs = shop.site.jobs(taskwright::backend::JobFilter::default()).await;
    let children: Vec<_> = jobs.iter().filter(|job| job.spec.task.as_str().ends_with("book")).collect();
    assert_eq!(children.iter().map(|job| job.id()).collect::<Vec<_>>(), [next]);
}

#[task]
async fn write_in_sqlite(#[tx] tx: &mut Transaction<'_, sqlx::Sqlite>) {
    let _ = tx;
}

#[tokio::test]
async fn worker_does_not_start_with_a_transaction_of_another_database() {
    let Some(shop) = Shop::open().await else { return };
    let client: Client = shop.site.client.clone();
    let registry = Registry::new().with::<WriteInSqlite>().unwrap();
    let error = Worker::new(client, registry, Arc::default(), WorkerOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Wiring);
    let message = error.to_string();
    assert!(message.contains("Sqlite") && message.contains("postgres lends"), "{message}");
}
