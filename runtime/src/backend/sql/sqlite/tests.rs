//! What is particular to this store; what it shares with others is in the conformance suite.

use std::collections::BTreeMap;
use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row, SqliteConnection};

use super::*;
use crate::backend::sql::news::News;
use crate::backend::sql::tables::{Columns, Pool, Tables};
use crate::backend::sql::work::Isolation;
use crate::backend::{
    Backend, Claim, Extend, Hint, InTransaction, JobFilter, Listener, Push, Pushed, QueueClaim, Reap, Renewal, Schema,
    Settled, Settlement, WorkerRecord,
};
use crate::codec::{Codec, Payload};
use crate::error::ErrorKind;
use crate::job::{BatchId, Job, JobId, JobSpec, Lease, Name, NewJob, State, Unique, When, WorkerId};
use crate::policy::{Backoff, Verdict};
use crate::time::Timestamp;

const TTL: Duration = Duration::from_secs(30);

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn spec(queue: &str) -> JobSpec {
    JobSpec {
        id: JobId::new(),
        task: name("test"),
        queue: name(queue),
        payload: Payload::encode(Codec::MessagePack, &()).unwrap(),
        priority: 0,
        max_attempts: 3,
        timeout: None,
        backoff: Backoff::DEFAULT,
        keep_result: None,
        unique: None,
        limits: Vec::new(),
        headers: BTreeMap::default(),
        tags: Vec::new(),
        parent: None,
    }
}

fn due_now(spec: JobSpec) -> NewJob {
    NewJob { spec: Arc::new(spec), due: When::NOW, expires: None }
}

fn push_of(jobs: Vec<NewJob>) -> Push {
    Push { batch: BatchId::new(), jobs }
}

fn some_jobs(count: usize) -> Push {
    push_of((0..count).map(|_| due_now(spec("mail"))).collect())
}

fn claim_of(queue: &str, limit: usize) -> Claim {
    let queues = vec![QueueClaim { queue: name(queue), limit }];
    Claim { worker: WorkerId::new(), queues, limit, unknown: vec![], ttl: TTL, max_crashes: 3, aging: None }
}

fn completed((lease, job): (Lease, Job)) -> Settlement {
    Settlement { lease, job, verdict: Verdict::Complete { result: None } }
}

/// A file in a folder of its own, which is removed in the end.
struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("jobs.db")
    }

    fn url(&self, options: &str) -> String {
        format!("sqlite:{}?{options}", self.path().display())
    }

    async fn open(&self) -> Sqlite {
        self.open_at(Clock::system()).await
    }

    async fn open_at(&self, clock: Clock) -> Sqlite {
        Sqlite::connect_with(&self.url("synchronous=normal"), clock).await.unwrap()
    }

    /// A connection as an application or a person would have it.
    async fn by_hand(&self) -> SqliteConnection {
        connect_by_hand(&self.path()).await
    }
}

async fn connect_by_hand(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).create_if_missing(true).connect().await.unwrap()
}

async fn do_by_hand(db: &mut SqliteConnection, sql: &str) {
    sqlx::query(AssertSqlSafe(sql)).execute(db).await.unwrap();
}

async fn count(db: &mut SqliteConnection, table: &str) -> i64 {
    sqlx::query(AssertSqlSafe(format!("SELECT count(*) FROM {table}"))).fetch_one(db).await.unwrap().get(0)
}

async fn list(sqlite: &Sqlite) -> Vec<Job> {
    sqlite.inspect().unwrap().list(&JobFilter::default(), None, 100).await.unwrap()
}

#[tokio::test]
async fn every_setting_is_read_back_from_every_connection() {
    for (options, synchronous) in [("synchronous=full", 2), ("synchronous=normal", 1), ("", 2)] {
        let disk = Disk::new();
        let opener = Opener::new(Settings::parse(&disk.url(options)).unwrap()).unwrap();
        let writer = (opener.writer().await.unwrap(), 0, 0, 2);
        let reader = (opener.reader().await.unwrap(), 1, 5_000, 0);
        for (mut db, query_only, timeout, temp_store) in [writer, reader] {
            let journal: String = sqlx::query("PRAGMA journal_mode").fetch_one(&mut db).await.unwrap().get(0);
            assert_eq!(journal, "wal");
            let numbers = [
                ("synchronous", synchronous),
                ("busy_timeout", timeout),
                ("query_only", query_only),
                ("temp_store", temp_store),
            ];
            for (pragma, value) in numbers {
                let sql = AssertSqlSafe(format!("PRAGMA {pragma}"));
                let actual: i64 = sqlx::query(sql).fetch_one(&mut db).await.unwrap().get(0);
                assert_eq!(actual, value, "{pragma} with {options}");
            }
        }
    }
}

#[tokio::test]
async fn a_claim_does_not_wait_for_the_disk_and_a_push_after_it_does() {
    struct Synchronous<const DURABLE: bool>;

    #[async_trait]
    impl<const DURABLE: bool> Work for Synchronous<DURABLE> {
        type Answer = i64;
        const DURABLE: bool = DURABLE;
        const ISOLATION: Isolation = Isolation::ReadCommitted;

        async fn run<Db: Tables>(&mut self, db: &mut Db, _: Timestamp, _: &mut News) -> Result<i64> {
            db.fetch("PRAGMA synchronous", &[]).await.unwrap()[0].integer(0)
        }
    }

    let disk = Disk::new();
    let sqlite = Sqlite::connect(&disk.url("")).await.unwrap();
    for _ in 0..3 {
        assert_eq!(sqlite.write(Synchronous::<false>).await.unwrap(), 1);
        assert_eq!(sqlite.write(Synchronous::<true>).await.unwrap(), 2);
    }
}

#[tokio::test]
async fn an_unusable_url_says_what_to_write_instead() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().display();
    let cases = [
        ("sqlite:".to_owned(), "names no file; write `sqlite:jobs.db`"),
        (format!("sqlite:{here}"), "is a folder; name a file in it"),
        (format!("sqlite:{here}/none/jobs.db"), "does not exist; create it"),
        (format!("sqlite:{here}/jobs.db?mode=ro"), "the options are synchronous, busy_timeout, max_pages"),
        (format!("sqlite:{here}/jobs.db?synchronous=off"), "it is full or normal"),
        (format!("sqlite:{here}/jobs.db?max_pages=many"), "write max_pages=100000"),
        (format!("sqlite:{here}/jobs.db?busy_timeout=soon"), "is not a duration"),
    ];
    for (url, advice) in cases {
        let error = Sqlite::connect(&url).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains(advice), "{error}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was created");
}

#[tokio::test]
async fn a_path_may_hold_characters_that_mean_something_in_a_url() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}/what%3F%20%25.db", folder.path().display());
    Sqlite::connect(&url).await.unwrap().close().await.unwrap();
    assert!(folder.path().join("what? %.db").exists());
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let disk = Disk::new();
    let content = "Dear diary, today I am not a database. ".repeat(500);
    std::fs::write(disk.path(), &content).unwrap();
    let error = Sqlite::connect(&disk.url("")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains("not an SQLite database"), "{error}");
    assert!(error.to_string().contains("jobs.db"), "{error}");
    assert_eq!(std::fs::read_to_string(disk.path()).unwrap(), content);
}

#[tokio::test]
async fn a_damaged_file_is_an_error_and_no_panic() {
    let disk = Disk::new();
    let sqlite = disk.open().await;
    sqlite.push(&some_jobs(500)).await.unwrap();
    sqlite.close().await.unwrap();
    let mut bytes = std::fs::read(disk.path()).unwrap();
    let end = bytes.len();
    bytes[4_096..end].fill(0xA5);
    std::fs::write(disk.path(), bytes).unwrap();
    let error = match Sqlite::connect(&disk.url("")).await {
        Ok(sqlite) => sqlite.claim(&claim_of("mail", 10)).await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    assert!(!error.is_transient());
}

#[tokio::test]
async fn a_database_one_version_ahead_is_used_and_a_newer_one_is_refused() {
    let disk = Disk::new();
    let sqlite = disk.open().await;
    let Schema { version, known } = sqlite.info().schema.unwrap();
    assert_eq!(version, known);
    sqlite.close().await.unwrap();
    let mut db = disk.by_hand().await;
    let migrated =
        |version: i64| format!("INSERT INTO taskwright_migrations VALUES ({version}, 'from a later version', 0)");
    do_by_hand(&mut db, &migrated(known + 1)).await;
    let sqlite = disk.open().await;
    assert_eq!(sqlite.info().schema, Some(Schema { version: known + 1, known }));
    sqlite.close().await.unwrap();
    do_by_hand(&mut db, &migrated(known + 2)).await;
    let error = Sqlite::connect(&disk.url("")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let told = format!("schema version {}, and this program knows {known}; update this program", known + 2);
    assert!(error.to_string().contains(&told), "{error}");
}

#[tokio::test]
async fn many_processes_may_start_on_a_new_file_at_once() {
    let disk = Disk::new();
    let starts = (0..8).map(|_| {
        let url = disk.url("synchronous=normal&busy_timeout=60s");
        tokio::spawn(async move { Sqlite::connect(&url).await })
    });
    let starts: Vec<_> = starts.collect();
    for start in starts {
        start.await.unwrap().unwrap().close().await.unwrap();
    }
    let known = disk.open().await.info().schema.unwrap().known;
    assert_eq!(count(&mut disk.by_hand().await, "taskwright_migrations").await, known);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_never_pauses_between_commits_keeps_no_other_from_writing() {
    let disk = Disk::new();
    disk.open().await.close().await.unwrap();
    let mut other = disk.by_hand().await;
    let selfish = tokio::spawn(async move {
        loop {
            do_by_hand(&mut other, "BEGIN IMMEDIATE").await;
            // The disk is slow.
            tokio::time::sleep(Duration::from_millis(50)).await;
            do_by_hand(&mut other, "COMMIT").await;
        }
    });
    for _ in 0..4 {
        let sqlite = disk.open().await;
        sqlite.push(&some_jobs(1)).await.unwrap();
        sqlite.push(&some_jobs(10)).await.unwrap();
        sqlite.close().await.unwrap();
    }
    assert!(!selfish.is_finished(), "it went on all the time");
    selfish.abort();
}

#[tokio::test]
async fn an_applications_own_tables_and_migrations_are_left_alone() {
    let disk = Disk::new();
    let mut db = disk.by_hand().await;
    for table in ["_sqlx_migrations", "jobs", "migrations", "workers", "finished"] {
        do_by_hand(&mut db, &format!("CREATE TABLE {table} (mine TEXT)")).await;
        do_by_hand(&mut db, &format!("INSERT INTO {table} VALUES ('untouched')")).await;
    }
    let sqlite = disk.open().await;
    sqlite.push(&some_jobs(3)).await.unwrap();
    let claimed = sqlite.claim(&claim_of("mail", 3)).await.unwrap();
    sqlite.settle(&claimed.jobs.into_iter().map(completed).collect::<Vec<_>>()).await.unwrap();
    sqlite.close().await.unwrap();
    for table in ["_sqlx_migrations", "jobs", "migrations", "workers", "finished"] {
        assert_eq!(count(&mut db, table).await, 1);
    }
    let others = "sqlite_master WHERE name NOT LIKE 'taskwright_%' AND name NOT LIKE 'sqlite_%' \
        AND name NOT IN ('_sqlx_migrations', 'jobs', 'migrations', 'workers', 'finished')";
    assert_eq!(count(&mut db, others).await, 0, "everything of ours has our prefix");
}

#[tokio::test]
async fn a_full_disk_refuses_a_push_whole_and_loses_nothing() {
    let disk = Disk::new();
    let sqlite = Sqlite::connect(&disk.url("synchronous=normal&max_pages=100")).await.unwrap();
    let mut stored = 0;
    let error = loop {
        match sqlite.push(&some_jobs(50)).await {
            Ok(_) => stored += 50,
            Err(error) => break error,
        }
        assert!(stored < 100_000, "the limit took no effect");
    };
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.is_transient(), "there may be room later");
    assert!(error.to_string().contains("full"), "{error}");
    assert_eq!(count(&mut disk.by_hand().await, "taskwright_jobs").await, stored);
    // Work that frees space still goes on.
    let claimed = sqlite.claim(&claim_of("mail", 10)).await.unwrap();
    assert_eq!(claimed.jobs.len(), 10);
    sqlite.settle(&claimed.jobs.into_iter().map(completed).collect::<Vec<_>>()).await.unwrap();
    assert_eq!(count(&mut disk.by_hand().await, "taskwright_jobs").await, stored - 10);
}

/// F16.
#[tokio::test]
async fn a_token_beyond_53_bits_is_exact() {
    let disk = Disk::new();
    let sqlite = disk.open().await;
    let mut db = disk.by_hand().await;
    do_by_hand(&mut db, "INSERT INTO sqlite_sequence VALUES ('taskwright_leases', 9007199254740993)").await;
    sqlite.push(&some_jobs(2)).await.unwrap();
    let mut claimed = Vec::new();
    for _ in 0..2 {
        claimed.extend(sqlite.claim(&claim_of("mail", 1)).await.unwrap().jobs);
    }
    let (first, second) = (claimed[0].0.token, claimed[1].0.token);
    assert!(first > 1 << 53 && second == first + 1, "{first} {second}");
    let stale = (Lease { token: first, ..claimed[1].0 }, claimed[1].1.clone());
    let settlements: Vec<_> = [stale].into_iter().chain(claimed).map(completed).collect();
    let settled = sqlite.settle(&settlements).await.unwrap();
    assert_eq!(settled, [Settled::LeaseLost, Settled::Applied, Settled::Applied]);
}

#[test]
fn no_statement_of_a_claim_is_compiled_anew_for_its_limit() {
    for aging in [None, Some(Duration::from_mins(5))] {
        let sql = tables::take_statement(Pool::Free, 2, 1, &[], aging);
        assert!(sql.contains("LIMIT +?") && !sql.contains("LIMIT ?"), "{sql}");
    }
    let wanted = tables::words("SELECT id FROM taskwright_jobs LIMIT ?".into(), &[]);
    assert_eq!(wanted, "SELECT id FROM taskwright_jobs LIMIT +?");
}

#[tokio::test]
async fn the_claims_plan_seeks_in_the_index_whatever_lies_beside() {
    let disk = Disk::new();
    let sqlite = disk.open().await;
    let plan = async || {
        let mut db = disk.by_hand().await;
        let sql = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {}", tables::take_statement(Pool::Free, 1, 1, &[], None)));
        let rows = sqlx::query(sql).fetch_all(&mut db).await.unwrap();
        rows.iter().map(|row| row.get::<String, _>("detail")).collect::<Vec<_>>()
    };
    let before = plan().await;
    let due = "SEARCH job USING COVERING INDEX taskwright_jobs_order (queue=? AND priority=? AND due<?)";
    assert!(before.iter().any(|step| step == due), "{before:#?}");
    let scans = |step: &&String| step.starts_with("SCAN") && step.contains("taskwright_");
    assert_eq!(before.iter().find(scans), None, "{before:#?}");
    assert!(!before.iter().any(|step| step.contains("TEMP B-TREE FOR ORDER BY")), "{before:#?}");

    let mut db = disk.by_hand().await;
    do_by_hand(
        &mut db,
        "WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
        INSERT INTO taskwright_finished
        SELECT randomblob(16), 'mail', 0, i, NULL, 'test', 1, 3, 0, 0, i, 1, x'c0', NULL, 'completed', i, i FROM n",
    )
    .await;
    sqlite.push(&some_jobs(1_000)).await.unwrap();
    do_by_hand(&mut db, "ANALYZE").await;
    assert_eq!(plan().await, before, "the same plan with statistics, beside many finished jobs");
}

#[tokio::test]
async fn the_plan_of_a_claim_with_aging_seeks_in_the_index_and_sorts_what_it_found() {
    let disk = Disk::new();
    drop(disk.open().await);
    let mut db = disk.by_hand().await;
    for pool in Pool::ALL {
        let take = tables::take_statement(pool, 1, 0, &[], Some(Duration::from_mins(5)));
        let plan = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {take}"))).fetch_all(&mut db).await.unwrap();
        let steps: Vec<_> = plan.iter().map(|row| row.get::<String, _>("detail")).collect();
        let heads = steps.iter().find(|step| step.starts_with("SEARCH job USING COVERING INDEX"));
        assert!(heads.is_some_and(|step| step.contains("AND priority=? AND due<?")), "{steps:#?}");
        let scans = |step: &&String| step.starts_with("SCAN") && step.contains("taskwright_");
        assert_eq!(steps.iter().find(scans), None, "{steps:#?}");
        let sorts = steps.iter().filter(|step| step.contains("TEMP B-TREE FOR ORDER BY"));
        assert_eq!(sorts.count(), 1, "only what was found in each priority: {steps:#?}");
        assert!(steps.iter().any(|step| step == "SEARCH head USING PRIMARY KEY (id=?)"), "{steps:#?}");
    }
}

#[tokio::test]
async fn jobs_of_a_high_priority_that_are_due_later_do_not_hide_those_due_now() {
    let clock = Clock::stopped();
    let sqlite = Sqlite::connect_with("sqlite::memory:", clock.clone()).await.unwrap();
    let later = |_| NewJob {
        spec: Arc::new(JobSpec { priority: 9, ..spec("mail") }),
        due: When::After(Duration::from_mins(1)),
        expires: None,
    };
    sqlite.push(&push_of((0..1_000).map(later).collect())).await.unwrap();
    let low = JobSpec { priority: -3, ..spec("mail") };
    let id = low.id;
    sqlite.push(&push_of(vec![due_now(low)])).await.unwrap();
    let claimed = sqlite.claim(&claim_of("mail", 10)).await.unwrap();
    assert_eq!(claimed.jobs.iter().map(|(_, job)| job.id()).collect::<Vec<_>>(), [id]);
    assert_eq!(claimed.next_due, Some(Duration::from_mins(1)));
}

/// Runs `spoil` on a database with one waiting job and one good one beside it.
async fn with_spoilt_job(spoil: &str) -> (Disk, Sqlite, JobId, JobId) {
    let disk = Disk::new();
    let sqlite = disk.open().await;
    let (bad, good) = (spec("mail"), spec("mail"));
    let (bad_id, good_id) = (bad.id, good.id);
    sqlite.push(&push_of(vec![due_now(bad)])).await.unwrap();
    do_by_hand(&mut disk.by_hand().await, spoil).await;
    sqlite.push(&push_of(vec![due_now(good)])).await.unwrap();
    (disk, sqlite, bad_id, good_id)
}

#[tokio::test]
async fn a_job_edited_into_nonsense_is_set_aside_and_holds_nothing_up() {
    for spoil in [
        "UPDATE taskwright_jobs SET extras = x'ff00ff'",
        "UPDATE taskwright_jobs SET task = 'not a name'",
        "UPDATE taskwright_jobs SET codec = 77",
        "UPDATE taskwright_jobs SET attempt = -5",
        "UPDATE taskwright_jobs SET crashes = 9000000000",
        "UPDATE taskwright_jobs SET priority = 70000",
    ] {
        let (_disk, sqlite, bad, good) = with_spoilt_job(spoil).await;
        assert_eq!(list(&sqlite).await.len(), 2, "{spoil}");
        let claimed = sqlite.claim(&claim_of("mail", 10)).await.unwrap();
        assert_eq!(claimed.jobs.iter().map(|(_, job)| job.id()).collect::<Vec<_>>(), [good], "{spoil}");
        let filter = JobFilter { ids: vec![bad], states: vec![State::Discarded], ..JobFilter::default() };
        let [dead] = &sqlite.inspect().unwrap().list(&filter, None, 10).await.unwrap()[..] else { panic!("{spoil}") };
        assert_eq!(dead.spec.payload.bytes[..], [0xc0], "the payload is kept");
        let causes = dead.failure().unwrap().causes.join("; ");
        assert!(causes.contains("extras x'"), "the other bytes are kept: {causes}");
    }
}

#[tokio::test]
async fn a_lease_edited_into_nonsense_becomes_dead_letters() {
    for spoil in [
        "UPDATE taskwright_leases SET jobs = x'00'",
        "UPDATE taskwright_leases SET settled = x''",
        "UPDATE taskwright_leases SET members = x'01'",
        "UPDATE taskwright_leases SET worker = x''",
        "UPDATE taskwright_leases SET moments = x'0102'",
    ] {
        let disk = Disk::new();
        let clock = Clock::stopped();
        let sqlite = disk.open_at(clock.clone()).await;
        sqlite.push(&some_jobs(3)).await.unwrap();
        let claimed = sqlite.claim(&claim_of("mail", 3)).await.unwrap();
        do_by_hand(&mut disk.by_hand().await, spoil).await;
        list(&sqlite).await;
        clock.advance(TTL);
        let reaped = sqlite.reap(&Reap { limit: 100, max_crashes: 3 }).await.unwrap();
        assert!(reaped.discarded >= 1 && reaped.returned == 0 && !reaped.more, "{spoil}: {reaped:?}");
        assert!(list(&sqlite).await.iter().all(|job| job.state == State::Discarded), "{spoil}");
        let settled = sqlite.settle(&claimed.jobs.into_iter().map(completed).collect::<Vec<_>>()).await.unwrap();
        assert_eq!(settled, [Settled::LeaseLost; 3]);
    }
}

#[tokio::test]
async fn a_transaction_stores_jobs_with_the_callers_rows_or_not_at_all() {
    let disk = Disk::new();
    let sqlite = disk.open().await;
    let mut db = disk.by_hand().await;
    do_by_hand(&mut db, "CREATE TABLE orders (id INTEGER)").await;
    let keyed = JobSpec { unique: Some(Unique::new("order-1")), ..spec("mail") };
    let push = push_of(vec![due_now(keyed)]);
    let transaction = sqlite.transaction().unwrap();

    let mut tx = db.begin().await.unwrap();
    sqlx::query("INSERT INTO orders VALUES (1)").execute(&mut *tx).await.unwrap();
    assert_eq!(transaction.push_in(tx.connection(), &push).await.unwrap(), [Pushed::Stored]);
    tx.rollback().await.unwrap();
    for table in ["orders", "taskwright_jobs", "taskwright_batches", "taskwright_unique"] {
        assert_eq!(count(&mut db, table).await, 0, "{table}");
    }

    let mut tx = db.begin().await.unwrap();
    sqlx::query("INSERT INTO orders VALUES (1)").execute(&mut *tx).await.unwrap();
    assert_eq!(transaction.push_in(tx.connection(), &push).await.unwrap(), [Pushed::Stored]);
    assert_eq!(list(&sqlite).await.len(), 0, "not yet committed");
    tx.commit().await.unwrap();
    assert_eq!(sqlite.claim(&claim_of("mail", 1)).await.unwrap().jobs.len(), 1);
    assert_eq!(sqlite.push(&push).await.unwrap(), [Pushed::Repeated]);
}

#[tokio::test]
async fn a_transaction_of_another_database_is_refused() {
    let (disk, other) = (Disk::new(), Disk::new());
    let sqlite = disk.open().await;
    other.open().await.close().await.unwrap();
    let mut db = other.by_hand().await;
    let mut tx = db.begin().await.unwrap();
    let error = sqlite.transaction().unwrap().push_in(tx.connection(), &some_jobs(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("both must be the same file"), "{error}");
    let error = sqlite.transaction().unwrap().push_in(&mut "no connection", &some_jobs(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn workers_hear_soon_of_a_commit_that_nobody_told() {
    let disk = Disk::new();
    let sqlite = disk.open().await;
    let mut listener = sqlite.wake().unwrap().listen().await.unwrap();
    let mut db = disk.by_hand().await;
    let mut tx = db.begin().await.unwrap();
    sqlite.transaction().unwrap().push_in(tx.connection(), &some_jobs(1)).await.unwrap();
    tx.commit().await.unwrap();
    hear(&mut *listener, &Hint::Jobs(name("mail"))).await;
}

async fn hear(listener: &mut dyn Listener, hint: &Hint) {
    let heard = async { while listener.next().await.unwrap() != *hint {} };
    tokio::time::timeout(Duration::from_secs(30), heard).await.expect("the hint comes");
}

/// A backend as another process would have it: without the listeners of this one.
async fn as_another_process(disk: &Disk) -> Sqlite {
    let mut sqlite = disk.open().await;
    let opener = sqlite.opener.clone();
    let apart: Arc<Listeners> = Arc::default();
    sqlite.writer = Writer::new(opener.clone(), Clock::system(), opener.writer().await.unwrap(), Arc::clone(&apart));
    sqlite.listeners = apart;
    sqlite
}

#[tokio::test]
async fn backends_on_one_file_wake_each_other_within_and_across_processes() {
    let disk = Disk::new();
    let (sender, neighbour, stranger) = (disk.open().await, disk.open().await, as_another_process(&disk).await);
    for receiver in [&neighbour, &stranger] {
        let mut listener = receiver.wake().unwrap().listen().await.unwrap();
        sender.push(&some_jobs(1)).await.unwrap();
        hear(&mut *listener, &Hint::Jobs(name("mail"))).await;
        sender.inspect().unwrap().pause(&name("mail"), true).await.unwrap();
        hear(&mut *listener, &Hint::Control).await;
        sender.inspect().unwrap().pause(&name("mail"), false).await.unwrap();
        let claimed = sender.claim(&claim_of("mail", 10)).await.unwrap();
        sender.settle(&claimed.jobs.into_iter().map(completed).collect::<Vec<_>>()).await.unwrap();
        hear(&mut *listener, &Hint::Outcomes).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_processes_share_a_file_without_losing_or_doubling_a_job() {
    const JOBS: usize = 2_000;
    let disk = Disk::new();
    let backends = [Arc::new(disk.open().await), Arc::new(as_another_process(&disk).await)];
    let mut tasks = tokio::task::JoinSet::new();
    let done = Arc::new(Mutex::new(Vec::new()));
    for backend in &backends {
        let pusher = Arc::clone(backend);
        tasks.spawn(async move {
            for _ in 0..JOBS / 50 / 2 {
                pusher.push(&some_jobs(50)).await.unwrap();
            }
        });
        let (worker, done) = (Arc::clone(backend), Arc::clone(&done));
        tasks.spawn(async move {
            while done.lock().unwrap().len() < JOBS {
                worker.reap(&Reap { limit: 10, max_crashes: 3 }).await.unwrap();
                let claimed = worker.claim(&claim_of("mail", 37)).await.unwrap();
                let ids: Vec<_> = claimed.jobs.iter().map(|(_, job)| job.id()).collect();
                let settled =
                    worker.settle(&claimed.jobs.into_iter().map(completed).collect::<Vec<_>>()).await.unwrap();
                assert!(settled.iter().all(|settled| *settled == Settled::Applied));
                done.lock().unwrap().extend(ids);
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    let mut done = done.lock().unwrap().clone();
    assert_eq!(done.len(), JOBS);
    done.sort_unstable();
    done.dedup();
    assert_eq!(done.len(), JOBS, "none ran twice");
    assert_eq!(list(&backends[0]).await.len(), 0);
}

#[tokio::test]
async fn a_heartbeat_for_some_jobs_of_a_claim_lets_the_others_lapse() {
    let disk = Disk::new();
    let clock = Clock::stopped();
    let sqlite = disk.open_at(clock.clone()).await;
    sqlite.push(&some_jobs(3)).await.unwrap();
    let claim = claim_of("mail", 3);
    let claimed = sqlite.claim(&claim).await.unwrap().jobs;
    clock.advance(TTL / 2);
    let worker = WorkerRecord {
        id: claim.worker,
        host: "here".into(),
        pid: 1,
        program: "test".into(),
        started: clock.now(),
        queues: Vec::new(),
        concurrency: 3,
    };
    let renewals = vec![Renewal { lease: claimed[1].0, progress: None }];
    sqlite.extend(&Extend { worker, ttl: TTL, renewals }).await.unwrap();
    clock.advance(TTL / 2);
    let reaped = sqlite.reap(&Reap { limit: 10, max_crashes: 3 }).await.unwrap();
    assert_eq!((reaped.returned, reaped.more), (2, false));
    let settled = sqlite.settle(&claimed.into_iter().map(completed).collect::<Vec<_>>()).await.unwrap();
    assert_eq!(settled, [Settled::LeaseLost, Settled::Applied, Settled::LeaseLost]);
}

#[tokio::test]
async fn a_claim_can_be_settled_in_parts_and_leaves_nothing() {
    let disk = Disk::new();
    let sqlite = disk.open().await;
    sqlite.push(&some_jobs(1_000)).await.unwrap();
    let claimed = sqlite.claim(&claim_of("mail", 1_000)).await.unwrap().jobs;
    let mut db = disk.by_hand().await;
    assert_eq!(count(&mut db, "taskwright_leases").await, 1);
    for part in claimed.chunks(77) {
        let settled = sqlite.settle(&part.iter().cloned().map(completed).collect::<Vec<_>>()).await.unwrap();
        assert!(settled.iter().all(|settled| *settled == Settled::Applied));
    }
    for table in ["taskwright_leases", "taskwright_jobs", "taskwright_finished", "taskwright_notes"] {
        assert_eq!(count(&mut db, table).await, 0, "{table}");
    }
}

#[tokio::test]
async fn one_bad_operation_of_a_group_fails_alone() {
    struct Fails;

    #[async_trait]
    impl Work for Fails {
        type Answer = ();
        const DURABLE: bool = true;
        const ISOLATION: Isolation = Isolation::ReadCommitted;

        async fn run<Db: Tables>(&mut self, db: &mut Db, _: Timestamp, _: &mut News) -> Result<()> {
            db.execute("DELETE FROM taskwright_batches", &[]).await.unwrap();
            db.execute("INSERT INTO nowhere VALUES (1)", &[]).await?;
            Ok(())
        }
    }

    let disk = Disk::new();
    let sqlite = disk.open().await;
    let (first, third) = (some_jobs(2), some_jobs(3));
    let (first, second, third) = tokio::join!(sqlite.push(&first), sqlite.write(Fails), sqlite.push(&third));
    assert_eq!((first.unwrap().len(), third.unwrap().len()), (2, 3));
    assert_eq!(second.unwrap_err().kind(), ErrorKind::Unavailable);
    let mut db = disk.by_hand().await;
    assert_eq!(count(&mut db, "taskwright_jobs").await, 5);
    assert_eq!(count(&mut db, "taskwright_batches").await, 2);
}

#[tokio::test]
async fn a_push_whose_caller_went_away_is_done_or_not_done() {
    let disk = Disk::new();
    let sqlite = disk.open().await;
    let mut whole = 0;
    for _ in 0..20 {
        let push = some_jobs(7);
        tokio::select! {
            biased;
            pushed = sqlite.push(&push) => { pushed.unwrap(); }
            () = tokio::task::yield_now() => {}
        }
        whole += 7;
    }
    sqlite.close().await.unwrap();
    let mut db = disk.by_hand().await;
    let stored = count(&mut db, "taskwright_jobs").await;
    assert_eq!(stored % 7, 0);
    assert!(stored <= whole);
    assert_eq!(count(&mut db, "taskwright_batches").await * 7, stored);
}

#[test]
fn a_backend_outlives_the_runtime_that_used_it_first() {
    let disk = Disk::new();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let sqlite = runtime().block_on(disk.open());
    for expected in 1..=3 {
        let listed = runtime().block_on(async {
            sqlite.push(&some_jobs(1)).await.unwrap();
            list(&sqlite).await.len()
        });
        assert_eq!(listed, expected);
    }
}

#[tokio::test]
async fn everything_after_close_is_refused_and_closing_twice_is_fine() {
    let disk = Disk::new();
    let sqlite = disk.open().await;
    let mut listener = sqlite.wake().unwrap().listen().await.unwrap();
    list(&sqlite).await;
    sqlite.close().await.unwrap();
    sqlite.close().await.unwrap();
    assert_eq!(sqlite.push(&some_jobs(1)).await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(sqlite.results().unwrap().fetch(&[JobId::new()]).await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(listener.next().await.unwrap_err().kind(), ErrorKind::Closed);
    assert!(!disk.folder.path().join("jobs.db-wal").exists(), "the log is folded into the file");
}

#[tokio::test]
async fn old_batches_are_forgotten_a_few_at_a_time() {
    let disk = Disk::new();
    let clock = Clock::stopped();
    let sqlite = disk.open_at(clock.clone()).await;
    for _ in 0..70 {
        sqlite.push(&some_jobs(1)).await.unwrap();
    }
    clock.advance(Duration::from_secs(3_601));
    for _ in 0..64 {
        sqlite.push(&some_jobs(1)).await.unwrap();
    }
    let kept = count(&mut disk.by_hand().await, "taskwright_batches").await;
    assert!((1..=64).contains(&kept), "{kept}");
}
