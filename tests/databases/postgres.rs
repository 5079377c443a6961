//! What is particular to Postgres.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};
use taskwright::backend::sql::postgres::Postgres;
use taskwright::backend::{Backend, Hint, InTransaction, JobFilter, Push, Pushed, Reap, Schema, Settled, Settlement};
use taskwright::job::{BatchId, Job, JobId, State, Until};
use taskwright::policy::Verdict;
use taskwright::prelude::*;
use taskwright::registry::Registry;
use taskwright::testing::Draft;
use taskwright::time::{Clock, Timestamp};
use taskwright::worker::WorkerOptions;
use taskwright::{Client, Error, ErrorKind, Name, Shutdown, Worker};
use taskwright_tests::servers::{Kind, Server};

use crate::site::{
    claim, claim_some, complete, hear, keep_some, push_all, push_of, push_one, queue, says, tells_how_long_it_is_calm,
    tells_large_tokens_apart, works,
};

/// How many sessions of programs there are beside the one that asks.
const OTHER_CLIENTS: &str = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'
    AND pid <> pg_backend_pid()";

/// A schema of its own on the server that all tests share.
struct Site {
    url: &'static str,
    schema: String,
}

impl Site {
    /// `None` where this machine has no server.
    fn new() -> Option<Self> {
        let schema = format!("t{}", JobId::new()).replace('-', "");
        Some(Self { url: Server::shared(Kind::Postgres)?.url(), schema })
    }

    fn url(&self) -> String {
        format!("{}?schema={}", self.url, self.schema)
    }

    /// The same with another user and password.
    fn url_as(&self, user: &str, password: &str) -> String {
        self.url().replacen("taskwright:taskwright@", &format!("{user}:{password}@"), 1)
    }

    async fn open(&self) -> Postgres {
        Postgres::connect(&self.url()).await.unwrap()
    }

    async fn refused(url: &str) -> Error {
        Postgres::connect(url).await.unwrap_err()
    }

    /// A connection as an application or a person has it.
    async fn by_hand(&self) -> PgConnection {
        PgConnection::connect(self.url).await.unwrap()
    }

    async fn run(&self, sql: &str) {
        let sql = sql.replace("SCHEMA_", &format!("{}.", self.schema)).replace("MEMBER_", &format!("r{}", self.schema));
        self.by_hand().await.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.unwrap();
    }

    async fn count(&self, sql: &str) -> i64 {
        sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_one(&mut self.by_hand().await).await.unwrap().get(0)
    }
}

async fn list(postgres: &Postgres) -> Vec<Job> {
    postgres.inspect().unwrap().list(&JobFilter::default(), None, 100).await.unwrap()
}

#[tokio::test]
async fn a_url_that_can_not_be_meant_says_what_to_write_instead() {
    let cases = [
        ("mysql://ada:secret@db/jobs", "write `postgres://user:password@host/database`"),
        ("postgres://ada:secret@db/jobs?schema=public", "it is for others; name one that only taskwright uses"),
        ("postgres://ada:secret@db/jobs?schema=pg_jobs", "the server keeps names with `pg_` to itself"),
        ("postgres://ada:secret@db/jobs?schema=", "it has no name"),
        ("postgres://ada:secret@db/jobs?schema=a%00b", "it has a zero byte in it"),
        ("postgres://ada:secret@db/jobs?pooler=session", "pooler=session is not known; it is transaction"),
        ("postgres://ada:secret@db/jobs?notify=maybe", "it is on or off"),
        (
            "postgres://ada:secret@db/jobs?shema=jobs",
            "`shema` is not an option of a Postgres URL; the options are schema,",
        ),
        ("postgres://ada:secret@db:port/jobs", "the URL is not one of a Postgres server"),
    ];
    for (url, advice) in cases {
        says(&Site::refused(url).await, ErrorKind::Invalid, advice);
    }
    let long = format!("postgres://db/jobs?schema={}", "s".repeat(64));
    says(&Site::refused(&long).await, ErrorKind::Invalid, "name a shorter one");
}

#[tokio::test]
async fn a_wrong_password_or_database_is_told() {
    let Some(site) = Site::new() else { return };
    let url = site.url_as("taskwright", "secret");
    says(&Site::refused(&url).await, ErrorKind::Unavailable, "refuses this user or password");
    let url = site.url().replacen("/taskwright?", "/nowhere?", 1);
    says(&Site::refused(&url).await, ErrorKind::Unavailable, "no such database on the server; create it");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_at_start() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = Site::refused(&format!("postgres://ada:secret@{address}/jobs")).await;
    says(&error, ErrorKind::Unavailable, "the server can't be reached");
    assert!(error.is_transient());
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[tokio::test]
async fn who_may_not_create_the_schema_is_told_and_may_use_one_that_is_there() {
    let Some(site) = Site::new() else { return };
    site.run("CREATE ROLE MEMBER_ LOGIN PASSWORD 'hush'").await;
    let url = site.url_as(&format!("r{}", site.schema), "hush");
    says(&Site::refused(&url).await, ErrorKind::Unavailable, "grant it CREATE on the database");
    site.open().await.close().await.unwrap();
    says(&Site::refused(&url).await, ErrorKind::Unavailable, "USAGE on the schema");
    let schema = &site.schema;
    site.run(&format!(
        "GRANT USAGE ON SCHEMA {schema} TO MEMBER_; GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO MEMBER_"
    ))
    .await;
    let postgres = Postgres::connect(&url).await.unwrap();
    works(&postgres).await;
    postgres.close().await.unwrap();
}

#[tokio::test]
async fn a_read_only_server_is_told() {
    let Some(site) = Site::new() else { return };
    site.open().await.close().await.unwrap();
    site.run(
        "CREATE ROLE MEMBER_ LOGIN SUPERUSER PASSWORD 'hush'; ALTER ROLE MEMBER_ SET default_transaction_read_only = on",
    )
    .await;
    let url = site.url_as(&format!("r{}", site.schema), "hush");
    says(&Site::refused(&url).await, ErrorKind::Unavailable, "the server is read-only: a replica, or set so");
}

#[tokio::test]
async fn a_server_that_becomes_read_only_is_told_and_used_again_when_it_is_not() {
    let Some(server) = Server::private(Kind::Postgres) else { return };
    let postgres = Postgres::connect(server.url()).await.unwrap();
    works(&postgres).await;
    let mut db = PgConnection::connect(server.url()).await.unwrap();
    for (setting, is_refused) in [("on", true), ("off", false)] {
        db.execute(sqlx::raw_sql(AssertSqlSafe(format!("ALTER SYSTEM SET default_transaction_read_only = {setting}"))))
            .await
            .unwrap();
        db.execute("SELECT pg_reload_conf()").await.unwrap();
        // The sessions hear of it in their own time.
        let told = async { while postgres.push(&push_of(1)).await.is_err() != is_refused {} };
        tokio::time::timeout(Duration::from_secs(30), told).await.unwrap();
    }
    postgres.close().await.unwrap();
}

#[tokio::test]
async fn a_schema_one_version_ahead_is_used_and_a_newer_one_is_refused() {
    let Some(site) = Site::new() else { return };
    let postgres = site.open().await;
    let Schema { version, known } = postgres.info().schema.unwrap();
    assert_eq!(version, known);
    postgres.close().await.unwrap();
    let migrated = |version: i64| format!("INSERT INTO SCHEMA_migrations VALUES ({version}, 'from a later version')");
    site.run(&migrated(known + 1)).await;
    let postgres = site.open().await;
    assert_eq!(postgres.info().schema, Some(Schema { version: known + 1, known }));
    works(&postgres).await;
    postgres.close().await.unwrap();
    site.run(&migrated(known + 2)).await;
    says(&Site::refused(&site.url()).await, ErrorKind::Corrupt, "update this program");
}

#[tokio::test]
async fn a_schema_that_holds_somebody_elses_tables_is_left_alone() {
    let Some(site) = Site::new() else { return };
    let schema = &site.schema;
    site.run(&format!("CREATE SCHEMA {schema}; CREATE TABLE {schema}.jobs (title text)")).await;
    says(&Site::refused(&site.url()).await, ErrorKind::Unavailable, "name another schema with `?schema=NAME`");
    let tables = format!("SELECT count(*) FROM pg_tables WHERE schemaname = '{schema}'");
    assert_eq!(site.count(&tables).await, 1, "nothing was added");
}

#[tokio::test]
async fn a_schema_that_is_dropped_is_told() {
    let Some(site) = Site::new() else { return };
    let postgres = site.open().await;
    site.run(&format!("DROP SCHEMA {} CASCADE", site.schema)).await;
    let error = postgres.push(&push_of(1)).await.unwrap_err();
    says(&error, ErrorKind::Unavailable, "was its schema dropped or changed?");
    works(&site.open().await).await;
}

/// The names of everything in a database that is not in this schema.
async fn others(db: &mut PgConnection, schema: &str) -> BTreeSet<String> {
    const THINGS: &str = "SELECT nspname || '.' || relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace \
        WHERE nspname <> $1 AND nspname !~ '^pg_(toast|temp)' UNION SELECT proname FROM pg_proc JOIN pg_namespace n \
        ON n.oid = pronamespace WHERE nspname <> $1 UNION SELECT extname FROM pg_extension";
    let rows = sqlx::query(THINGS).bind(schema).fetch_all(db).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn everything_lies_in_the_schema_whatever_its_name() {
    let Some(server) = Server::private(Kind::Postgres) else { return };
    let mut db = PgConnection::connect(server.url()).await.unwrap();
    db.execute("CREATE TABLE _sqlx_migrations (version bigint)").await.unwrap();
    for (written, schema) in [
        ("taskwright", "taskwright"),
        ("Jobs%20of%20%22Ada%22", "Jobs of \"Ada\""),
        ("%27;DROP%20TABLE%20_sqlx_migrations;--", "';DROP TABLE _sqlx_migrations;--"),
        ("%7B%7D?%24%241%C3%A9", "{}?$$1é"),
    ] {
        let before = others(&mut db, schema).await;
        let postgres = Postgres::connect(&format!("{}?schema={written}", server.url())).await.unwrap();
        let mut listener = postgres.wake().unwrap().listen().await.unwrap();
        works(&postgres).await;
        hear(&mut *listener, &Hint::Jobs(queue())).await;
        // From the server too, not only within this process.
        sqlx::query("SELECT pg_notify($1, '')").bind(schema).execute(&mut db).await.unwrap();
        hear(&mut *listener, &Hint::Everything).await;
        assert_eq!(others(&mut db, schema).await, before, "{schema}");
        postgres.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_job_edited_into_nonsense_is_set_aside_and_holds_nothing_up() {
    let Some(site) = Site::new() else { return };
    let postgres = site.open().await;
    for spoil in ["extras = '\\xff00ff'", "task = 'not a name'", "codec = 77", "attempt = -5", "crashes = 9000000000"] {
        let bad = push_one(&postgres).await.unwrap();
        site.run(&format!("UPDATE SCHEMA_jobs SET {spoil}")).await;
        let good = push_one(&postgres).await.unwrap();
        list(&postgres).await;
        let claimed = claim(&postgres, 10).await.unwrap();
        assert_eq!(claimed.iter().map(|(_, job)| job.id()).collect::<Vec<_>>(), [good], "{spoil}");
        complete(&postgres, claimed).await.unwrap();
        let dead = list(&postgres).await.into_iter().find(|job| job.id() == bad).unwrap();
        assert_eq!(dead.state, State::Discarded, "{spoil}");
        assert!(!dead.spec.payload.bytes.is_empty(), "the payload is kept");
    }
}

#[tokio::test]
async fn a_lease_edited_into_nonsense_becomes_dead_letters() {
    let Some(site) = Site::new() else { return };
    let clock = Clock::stopped();
    let postgres = Postgres::connect_with(&site.url(), clock.clone()).await.unwrap();
    for spoil in ["jobs = '\\x00'", "settled = ''", "members = '\\x01'", "moments = '\\x0102'"] {
        postgres.push(&push_of(3)).await.unwrap();
        let claimed = claim(&postgres, 3).await.unwrap();
        site.run(&format!("UPDATE SCHEMA_leases SET {spoil}")).await;
        list(&postgres).await;
        clock.advance(Duration::from_secs(30));
        let reaped = postgres.reap(&Reap { limit: 100, max_crashes: 3 }).await.unwrap();
        assert!(reaped.discarded >= 1 && reaped.returned == 0 && !reaped.more, "{spoil}: {reaped:?}");
        assert!(list(&postgres).await.iter().all(|job| job.state == State::Discarded), "{spoil}");
        assert_eq!(complete(&postgres, claimed).await.unwrap(), [Settled::LeaseLost; 3]);
    }
}

#[tokio::test]
async fn a_server_that_goes_away_is_told_and_used_again_when_it_is_back() {
    let Some(server) = Server::private(Kind::Postgres) else { return };
    let postgres = Postgres::connect(server.url()).await.unwrap();
    let mut listener = postgres.wake().unwrap().listen().await.unwrap();
    let id = push_one(&postgres).await.unwrap();
    server.kill().unwrap();
    let error = postgres.push(&push_of(1)).await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    // Whoever listens hears that it is deaf.
    let ends = async { while listener.next().await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(30), ends).await.unwrap();
    assert!(postgres.wake().unwrap().listen().await.is_err_and(|error| error.is_transient()));
    server.start_again().unwrap();
    let mut listener = postgres.wake().unwrap().listen().await.unwrap();
    let claimed = claim(&postgres, 10).await.unwrap();
    assert_eq!(claimed.iter().map(|(_, job)| job.id()).collect::<Vec<_>>(), [id], "what was acknowledged is there");
    push_one(&postgres).await.unwrap();
    hear(&mut *listener, &Hint::Jobs(queue())).await;
    postgres.close().await.unwrap();
}

#[tokio::test]
async fn closing_does_not_wait_for_a_server_that_is_gone() {
    let Some(server) = Server::private(Kind::Postgres) else { return };
    let postgres = Postgres::connect(server.url()).await.unwrap();
    let _listener = postgres.wake().unwrap().listen().await.unwrap();
    push_one(&postgres).await.unwrap();
    server.kill().unwrap();
    tokio::time::timeout(Duration::from_secs(30), postgres.close()).await.unwrap().unwrap();
}

/// F17.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_process_has_at_most_four_connections_whatever_its_concurrency() {
    let Some(site) = Site::new() else { return };
    let url = format!("{}&application_name={}", site.url(), site.schema);
    let postgres = Arc::new(Postgres::connect(&url).await.unwrap());
    let _listener = postgres.wake().unwrap().listen().await.unwrap();
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let postgres = Arc::clone(&postgres);
        calls.spawn(async move { push_one(&*postgres).await.unwrap() });
    }
    let open = format!("SELECT count(*) FROM pg_stat_activity WHERE application_name = '{}'", site.schema);
    let mut most = 0;
    while calls.join_next().await.is_some() {
        most = most.max(site.count(&open).await);
    }
    assert!((2..=4).contains(&most), "{most}");
    assert_eq!(claim(&*postgres, 500).await.unwrap().len(), 200);
}

#[tokio::test]
async fn behind_a_pooler_of_transactions_everything_works_and_nothing_listens() {
    let Some(site) = Site::new() else { return };
    let url = format!("{}&pooler=transaction&application_name={}", site.url(), site.schema);
    let postgres = Postgres::connect(&url).await.unwrap();
    let mut listener = postgres.wake().unwrap().listen().await.unwrap();
    works(&postgres).await;
    hear(&mut *listener, &Hint::Jobs(queue())).await;
    let listening = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = '{}' AND query ILIKE 'listen%'",
        site.schema
    );
    assert_eq!(site.count(&listening).await, 0);
}

#[tokio::test]
async fn a_transaction_of_another_database_is_refused() {
    let Some(site) = Site::new() else { return };
    let postgres = site.open().await;
    let mut db =
        PgConnection::connect(&site.url.replace("/taskwright", "/postgres").replace("//postgres", "//taskwright"))
            .await
            .unwrap();
    let mut tx = db.begin().await.unwrap();
    let error = postgres.transaction().unwrap().push_in(tx.connection(), &push_of(1)).await.unwrap_err();
    says(&error, ErrorKind::Invalid, "both must be the same");
    // The caller's transaction goes on.
    tx.execute("SELECT 1").await.unwrap();
}

#[tokio::test]
async fn a_commit_of_the_callers_transaction_wakes_workers() {
    let Some(site) = Site::new() else { return };
    let postgres = site.open().await;
    let mut listener = postgres.wake().unwrap().listen().await.unwrap();
    let mut db = site.by_hand().await;
    let mut tx = db.begin().await.unwrap();
    let pushed = postgres.transaction().unwrap().push_in(tx.connection(), &push_of(1)).await.unwrap();
    assert_eq!(pushed, [Pushed::Stored]);
    tx.commit().await.unwrap();
    hear(&mut *listener, &Hint::Jobs(queue())).await;
    assert_eq!(claim(&postgres, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn processes_wake_each_other() {
    let Some(site) = Site::new() else { return };
    let (sender, receiver) = (site.open().await, site.open().await);
    let mut listener = receiver.wake().unwrap().listen().await.unwrap();
    push_one(&sender).await.unwrap();
    hear(&mut *listener, &Hint::Jobs(queue())).await;
    sender.inspect().unwrap().pause(&Name::new("other").unwrap(), true).await.unwrap();
    hear(&mut *listener, &Hint::Control).await;
    let claimed = claim(&sender, 10).await.unwrap();
    complete(&sender, claimed).await.unwrap();
    hear(&mut *listener, &Hint::Outcomes).await;
}

#[tokio::test]
async fn a_task_writes_with_its_completion_or_not_at_all() {
    let Some(site) = Site::new() else { return };
    let clock = Clock::stopped();
    let postgres = Postgres::connect_with(&format!("{}&transactions=1", site.url()), clock.clone()).await.unwrap();
    site.run("CREATE TABLE SCHEMA_orders (id uuid)").await;
    let orders = format!("SELECT count(*) FROM {}.orders", site.schema);
    let completion = postgres.transaction().unwrap().completion().unwrap();
    for (ends, rows) in [("at once", 1), ("after its lease", 1), ("badly", 1), ("at once", 2)] {
        let id = push_one(&postgres).await.unwrap();
        let (lease, job) = claim(&postgres, 1).await.unwrap().remove(0);
        let mut open = completion.begin().await.unwrap();
        let tx = open.transaction().downcast_mut::<sqlx::Transaction<'static, sqlx::Postgres>>().unwrap();
        let insert = AssertSqlSafe(format!("INSERT INTO {}.orders VALUES ('{id}')", site.schema));
        sqlx::query(insert).execute(&mut **tx).await.unwrap();
        let settlement = Settlement { lease, job, verdict: Verdict::Complete { result: None } };
        match ends {
            "badly" => {
                open.rollback().await.unwrap();
                postgres.settle(&[settlement]).await.unwrap();
            }
            "after its lease" => {
                clock.advance(Duration::from_secs(30));
                postgres.reap(&Reap { limit: 10, max_crashes: 3 }).await.unwrap();
                assert_eq!(open.complete(&settlement).await.unwrap(), Settled::LeaseLost);
                let again = claim(&postgres, 1).await.unwrap();
                complete(&postgres, again).await.unwrap();
            }
            _ => assert_eq!(open.complete(&settlement).await.unwrap(), Settled::Applied),
        }
        assert_eq!(site.count(&orders).await, rows, "{ends}");
        assert_eq!(list(&postgres).await, []);
    }
}

/// Notes a number in a table, and fails the first time.
#[task(max_attempts = 2, backoff = fixed("1ms"))]
async fn note(table: String, #[tx] tx: &mut sqlx::Transaction<'_, sqlx::Postgres>, ctx: &Context) -> TaskResult {
    let insert = AssertSqlSafe(format!("INSERT INTO {table} VALUES ({})", ctx.attempt()));
    sqlx::query(insert).execute(&mut **tx).await?;
    if ctx.attempt() == 1 {
        return Err("not this time".into());
    }
    Ok(())
}

#[tokio::test]
async fn a_worker_runs_tasks_in_transactions() {
    let Some(site) = Site::new() else { return };
    let client = Client::connect(&site.url()).await.unwrap();
    site.run("CREATE TABLE SCHEMA_attempts (number integer)").await;
    let registry = Registry::new().with::<Note>().unwrap();
    let worker = Worker::new(client.clone(), registry, Arc::default(), WorkerOptions::default()).unwrap();
    let shutdown = Shutdown::new();
    let running = tokio::spawn(worker.run(shutdown.clone()));
    let handles = client.dispatch_many((0..10).map(|_| Note::new(format!("{}.attempts", site.schema)))).await.unwrap();
    for handle in handles {
        handle.await.unwrap();
    }
    shutdown.stop();
    running.await.unwrap().unwrap();
    let attempts = format!("SELECT sum(number) FROM {}.attempts", site.schema);
    assert_eq!(site.count(&attempts).await, 20, "only what the second attempts wrote");
}

/// What the database's function answers, or its message and hint.
async fn push_by_hand(site: &Site, arguments: &str) -> Result<JobId, String> {
    let sql = AssertSqlSafe(format!("SELECT {}.push({arguments})::text", site.schema));
    let answer = sqlx::query(sql).fetch_one(&mut site.by_hand().await).await;
    match answer {
        Ok(row) => Ok(row.get::<String, _>(0).parse().unwrap()),
        Err(error) => {
            let error = error.as_database_error().unwrap().downcast_ref::<sqlx::postgres::PgDatabaseError>();
            Err(format!("{} {}", error.message(), error.hint().unwrap_or_default()))
        }
    }
}

#[tokio::test]
async fn the_database_pushes_a_job_as_a_program_does() {
    let Some(site) = Site::new() else { return };
    let postgres = site.open().await;
    let all = "task => 'mail.receipt', payload => '{\"order\": 42}', queue => 'mail', priority => -5, max_attempts => 3, \
        timeout => '1.5 seconds', keep_result => '1 day', expires => now() + interval '1 hour', \
        unique_key => 'receipt-42', headers => '{\"tenant\": \"o''hara\"}', tags => ARRAY['billing']";
    let id = push_by_hand(&site, all).await.unwrap();
    assert_eq!(push_by_hand(&site, all).await, Ok(id), "the key is taken");
    let second = push_by_hand(&site, "'tick', queue => 'mail'").await.unwrap();

    let jobs = claim(&postgres, 10).await.unwrap();
    assert_eq!(jobs.iter().map(|(_, job)| job.id()).collect::<Vec<_>>(), [second, id], "the higher priority first");
    let (tick, receipt) = (&jobs[0].1, &jobs[1].1);
    assert_eq!((tick.spec.payload.bytes.as_ref(), tick.attempt_limit), (b"{}".as_slice(), 20));
    assert_eq!((tick.spec.timeout, tick.spec.keep_result, &tick.spec.unique), (None, None, &None));
    let spec = &receipt.spec;
    assert_eq!((spec.task.as_str(), spec.priority, spec.max_attempts), ("mail.receipt", -5, 3));
    assert_eq!(spec.payload.decode::<std::collections::HashMap<String, u64>>().unwrap()["order"], 42);
    assert_eq!((spec.timeout, spec.keep_result), (Some(Duration::from_millis(1_500)), Some(Duration::from_hours(24))));
    assert_eq!(spec.unique.as_ref().map(|unique| unique.key.as_str()), Some("receipt-42"));
    assert_eq!(spec.headers["tenant"], "o'hara");
    assert_eq!(spec.tags, ["billing"]);
    let expires_in = receipt.expires.unwrap().since(receipt.pushed);
    assert!(Duration::from_mins(59) < expires_in && expires_in <= Duration::from_hours(1), "{expires_in:?}");

    complete(&postgres, jobs).await.unwrap();
    assert_ne!(push_by_hand(&site, all).await.unwrap(), id, "the key is free again");
}

#[tokio::test]
async fn a_key_whose_time_has_passed_is_free_for_the_databases_push() {
    let Some(site) = Site::new() else { return };
    let postgres = site.open().await;
    let throttled = Draft::new(queue()).unique("once").until(Until::Elapsed(Duration::from_hours(1)));
    let holder = throttled.id();
    push_all(&postgres, [throttled]).await.unwrap();
    assert_eq!(push_by_hand(&site, "'t', unique_key => 'once'").await, Ok(holder));
    site.run("UPDATE SCHEMA_unique SET until = 1").await;
    let next = push_by_hand(&site, "'t', unique_key => 'once'").await.unwrap();
    assert_ne!(next, holder);
    assert_eq!(push_by_hand(&site, "'t', unique_key => 'once'").await, Ok(next));
}

#[tokio::test]
async fn a_trigger_pushes_with_the_row_or_not_at_all() {
    let Some(site) = Site::new() else { return };
    let postgres = site.open().await;
    let mut listener = postgres.wake().unwrap().listen().await.unwrap();
    site.run(
        "CREATE TABLE SCHEMA_orders (id bigint);
        CREATE FUNCTION SCHEMA_send_receipt() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM SCHEMA_push('mail.receipt', jsonb_build_object('order', new.id), queue => 'mail');
            RETURN new;
        END $$;
        CREATE TRIGGER receipts AFTER INSERT ON SCHEMA_orders FOR EACH ROW EXECUTE FUNCTION SCHEMA_send_receipt()",
    )
    .await;
    site.run("BEGIN; INSERT INTO SCHEMA_orders VALUES (1); ROLLBACK; INSERT INTO SCHEMA_orders VALUES (2), (3)").await;
    hear(&mut *listener, &Hint::Jobs(queue())).await;
    let jobs = claim(&postgres, 10).await.unwrap();
    let payloads: BTreeSet<_> = jobs.iter().map(|(_, job)| job.spec.payload.bytes.as_ref()).collect();
    assert_eq!(payloads, BTreeSet::from([br#"{"order": 2}"#.as_slice(), br#"{"order": 3}"#]));
}

#[tokio::test]
async fn what_the_database_can_not_push_is_told_with_a_hint() {
    let Some(site) = Site::new() else { return };
    let postgres = site.open().await;
    let cases = [
        ("'no good'", "can't be of task 'no good' A name has 1 to 128"),
        ("NULL", "can't be of task NULL"),
        ("'t', queue => ''", "can't wait in queue '' A name"),
        ("'t', payload => '[1]'", "not a JSON object It holds the task's parameters by name"),
        ("'t', payload => NULL", "not a JSON object"),
        ("'t', jsonb_build_object('a', repeat('x', 67108865))", "Store it elsewhere"),
        ("'t', priority => 40000", "priority 40000 is out of range It is from -32768"),
        ("'t', max_attempts => 0", "can't have 0 attempts It has at least one"),
        ("'t', due => 'infinity'", "can't be due at infinity Name a moment"),
        ("'t', expires => '-infinity'", "can't expire at -infinity"),
        ("'t', timeout => '0 seconds'", "timeout is above zero"),
        ("'t', keep_result => '-1 day'", "not kept for less than nothing"),
        ("'t', unique_key => ''", "1 to 512 bytes, and this one 0"),
        ("'t', unique_key => repeat('k', 513)", "and this one 513"),
        ("'t', headers => '{\"a\": 1}'", "not a JSON object of texts Write"),
        ("'t', tags => ARRAY[NULL]::text[]", "without NULL"),
    ];
    for (arguments, message) in cases {
        let error = push_by_hand(&site, arguments).await.unwrap_err();
        assert!(error.contains(message), "{arguments}: {error}");
    }
    assert_eq!(list(&postgres).await, [], "nothing was stored");
}

#[tokio::test]
async fn the_script_creates_what_connecting_would() {
    let Some(site) = Site::new() else { return };
    site.run(&Postgres::schema_script(&site.url()).unwrap()).await;
    let postgres = site.open().await;
    let Schema { version, known } = postgres.info().schema.unwrap();
    assert_eq!(version, known);
    works(&postgres).await;
}

/// F29.
#[tokio::test]
async fn a_claim_reads_no_finished_jobs_and_no_more_than_it_hands_out() {
    const READS: &str = "SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint
        FROM pg_stat_all_tables WHERE schemaname = 'taskwright'";
    let Some(server) = Server::private(Kind::Postgres) else { return };
    let mut db = PgConnection::connect(server.url()).await.unwrap();
    let mut reads = async || {
        // A session says what it read when it ends.
        let ended = async { while db.fetch_one(OTHER_CLIENTS).await.unwrap().get::<i64, _>(0) > 0 {} };
        tokio::time::timeout(Duration::from_secs(30), ended).await.unwrap();
        db.fetch_one(READS).await.unwrap().get::<Option<i64>, _>(0).unwrap_or_default()
    };
    let run = async |work: &dyn Fn(Arc<Postgres>) -> BoxFuture<'static, ()>| {
        let postgres = Arc::new(Postgres::connect(server.url()).await.unwrap());
        work(Arc::clone(&postgres)).await;
        postgres.close().await.unwrap();
    };
    run(&|postgres| async move { drop(postgres.push(&push_of(500)).await.unwrap()) }.boxed()).await;
    let mut reads_of_claims = async || {
        let before = reads().await;
        run(&|postgres| async move { claim_some(&*postgres).await }.boxed()).await;
        reads().await - before
    };
    let alone = reads_of_claims().await;
    run(&|postgres| async move { keep_some(&*postgres, 2_000).await }.boxed()).await;
    let beside_finished = reads_of_claims().await;
    // Had every claim read them all, these were 20,000 more.
    assert!(beside_finished < alone + 2_000, "{alone} rows read, and {beside_finished} beside finished jobs");
    assert!(alone < 2_500, "{alone} rows read to hand out 100 of 500");
}

#[tokio::test]
async fn it_says_for_how_long_nothing_needs_a_reap() {
    let Some(site) = Site::new() else { return };
    let clock = Clock::stopped();
    let postgres = Postgres::connect_with(&site.url(), clock.clone()).await.unwrap();
    tells_how_long_it_is_calm(&postgres, &clock).await;
    postgres.close().await.unwrap();
}

/// F16.
#[tokio::test]
async fn a_token_beyond_53_bits_is_exact() {
    let Some(site) = Site::new() else { return };
    let postgres = site.open().await;
    site.run("ALTER TABLE SCHEMA_leases ALTER COLUMN id RESTART WITH 9007199254740993").await;
    tells_large_tokens_apart(&postgres).await;
    postgres.close().await.unwrap();
}

/// F19: what was deleted since the oldest open transaction began can't be cleaned away, and no claim walks past all of it
/// for long.
#[tokio::test]
async fn an_open_transaction_makes_claims_read_no_more_than_now_and_then() {
    const DEAD: i64 = 40_000;
    const CLAIMS: i64 = 400;
    const READS: &str = "SELECT idx_tup_read FROM pg_stat_all_indexes WHERE indexrelname = 'jobs_order'";
    let Some(server) = Server::private(Kind::Postgres) else { return };
    let postgres = Postgres::connect(server.url()).await.unwrap();
    let mut pin = PgConnection::connect(server.url()).await.unwrap();
    pin.execute("BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
    pin.execute("SELECT FROM pg_class").await.unwrap();
    let old = || Draft::new(queue()).at(Timestamp::from_micros(0));
    for _ in 0..DEAD / 10_000 {
        let jobs = (0..10_000).map(|_| old().into()).collect();
        postgres.push(&Push { batch: BatchId::new(), jobs }).await.unwrap();
    }
    let mut db = PgConnection::connect(server.url()).await.unwrap();
    db.execute("DELETE FROM taskwright.jobs").await.unwrap();
    // A session says what it did when it ends.
    db.close().await.unwrap();
    let mut db = PgConnection::connect(server.url()).await.unwrap();
    let mut count = async |sql: &'static str| db.fetch_one(sql).await.unwrap().get::<i64, _>(0);
    let before = count(READS).await;
    postgres.push(&push_of(usize::try_from(CLAIMS).unwrap())).await.unwrap();
    for _ in 0..CLAIMS {
        assert_eq!(claim(&postgres, 1).await.unwrap().len(), 1);
    }
    // Far below what the last claim saw, which only a look at everything finds.
    push_all(&postgres, [old()]).await.unwrap();
    let found = async { while claim(&postgres, 10).await.unwrap().is_empty() {} };
    tokio::time::timeout(Duration::from_secs(30), found).await.unwrap();
    postgres.close().await.unwrap();
    let ended = async { while count(OTHER_CLIENTS).await > 1 {} };
    tokio::time::timeout(Duration::from_secs(30), ended).await.unwrap();
    let reads = count(READS).await - before;
    // Each look at everything passes them twice: once for the priorities, once for the jobs.
    assert!(reads < 2 * DEAD * CLAIMS / 3, "{reads} entries of the index read by {CLAIMS} claims");
    assert!(reads > 2 * DEAD, "{reads} entries of the index read, as if nothing were dead");
    pin.close().await.unwrap();
}

/// So that none walks past what another one has locked; whoever hangs while it is its turn is gone past.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_of_a_backlog_take_turns_but_wait_for_nobody_for_long() {
    const WAITS: &str = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
    let Some(server) = Server::private(Kind::Postgres) else { return };
    let postgres = Arc::new(Postgres::connect(server.url()).await.unwrap());
    let mut db = PgConnection::connect(server.url()).await.unwrap();
    let mut hanging = PgConnection::connect(server.url()).await.unwrap();
    let turn = format!("BEGIN; SELECT pg_advisory_xact_lock(1952541556, hashtext('taskwright:{}'))", queue());
    let claims = |most| {
        let postgres = Arc::clone(&postgres);
        async move { claim(&*postgres, most).await.unwrap().len() }
    };
    postgres.push(&push_of(600)).await.unwrap();
    hanging.execute(sqlx::raw_sql(AssertSqlSafe(turn.clone()))).await.unwrap();
    assert_eq!(claims(200).await, 200, "whether there is a backlog is not known yet");

    let second = tokio::spawn(claims(10));
    let waits = async { while db.fetch_one(WAITS).await.unwrap().get::<i64, _>(0) == 0 {} };
    tokio::time::timeout(Duration::from_secs(30), waits).await.unwrap();
    hanging.execute("COMMIT").await.unwrap();
    assert_eq!(second.await.unwrap(), 10);
    hanging.execute(sqlx::raw_sql(AssertSqlSafe(turn))).await.unwrap();
    assert_eq!(claims(200).await, 200, "few were taken, as where there is no backlog");

    let past_who_hangs = async { (claims(150).await, claims(40).await) };
    let past_who_hangs = tokio::time::timeout(Duration::from_secs(30), past_who_hangs).await.unwrap();
    assert_eq!(past_who_hangs, (150, 40));
    hanging.close().await.unwrap();
    postgres.close().await.unwrap();
}

/// Enough claims that also those happen which only some make.
#[tokio::test]
async fn a_schema_may_have_quotes_in_its_name() {
    let Some(Site { url, schema }) = Site::new() else { return };
    let site = Site { url, schema: format!("it's%22{schema}") };
    let postgres = site.open().await;
    postgres.push(&push_of(130)).await.unwrap();
    for _ in 0..130 {
        assert_eq!(claim(&postgres, 1).await.unwrap().len(), 1);
    }
    postgres.close().await.unwrap();
}

/// F20: whoever notifies in a transaction holds a lock on all notifications of the server until its commit is done, which
/// a standby that does not answer makes long. No commit of ours waits for that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notifications_hold_up_no_commit() {
    const WAITS_FOR_STANDBY: &str = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    const WAITS_TO_NOTIFY: &str = "SELECT count(*) FROM pg_locks WHERE locktype = 'object' AND NOT granted";
    let Some(server) = Server::private(Kind::Postgres) else { return };
    let mut db = PgConnection::connect(server.url()).await.unwrap();
    let mut until = async |some: &'static str| {
        let some = async { while db.fetch_one(some).await.unwrap().get::<i64, _>(0) == 0 {} };
        tokio::time::timeout(Duration::from_secs(30), some).await.unwrap();
    };
    let mut other = PgConnection::connect(server.url()).await.unwrap();
    other.execute("ALTER DATABASE taskwright SET synchronous_commit = local").await.unwrap();
    let clients = futures_util::future::try_join_all((0..16).map(|_| Client::connect(server.url()))).await.unwrap();
    other.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'").await.unwrap();
    other.execute("SELECT pg_reload_conf()").await.unwrap();
    other.execute("SET synchronous_commit = on").await.unwrap();
    // Until the server goes by its new setting.
    let notifying = tokio::spawn(async move { while other.execute("NOTIFY somebody").await.is_ok() {} });
    until(WAITS_FOR_STANDBY).await;

    let all = async {
        let pushes = (0..4).flat_map(|_| &clients).map(async |client| push_one(&**client.backend()).await);
        futures_util::future::try_join_all(pushes).await.unwrap();
        let claimed = claim(&**clients[0].backend(), 100).await.unwrap();
        assert_eq!(claimed.len(), 64);
        complete(&**clients[1].backend(), claimed).await.unwrap();
    };
    assert!(tokio::time::timeout(Duration::from_mins(1), all).await.is_ok(), "a commit waits for a notification");
    // Ours are told apart from the commits, and wait meanwhile.
    until(WAITS_TO_NOTIFY).await;
    notifying.abort();
}
