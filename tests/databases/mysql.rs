//! What is particular to MySQL and MariaDB.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection, Row};
use taskwright::backend::sql::mysql::MySql;
use taskwright::backend::{
    Backend, Cancel, Claim, Hint, InTransaction, JobFilter, Listener, Push, Pushed, QueueClaim, Reap, Schema, Settled,
};
use taskwright::job::{BatchId, Job, JobId, State, WorkerId};
use taskwright::testing::Draft;
use taskwright::time::{Clock, Timestamp};
use taskwright::{Error, ErrorKind};
use taskwright_tests::servers::{Kind, Server};
use tokio::task::JoinSet;

use crate::site::{
    claim, claim_some, complete, hear, keep_some, push_all, push_of, push_one, queue, says, tells_how_long_it_is_calm,
    tells_large_tokens_apart, works,
};

/// Tables of its own on the server that all tests share.
struct Site {
    url: &'static str,
    prefix: String,
}

impl Site {
    /// `None` where this machine has no server.
    fn new() -> Option<Self> {
        let prefix = format!("t{}_", JobId::new()).replace('-', "");
        Some(Self { url: Server::shared(Kind::MySql)?.url(), prefix })
    }

    fn url(&self) -> String {
        format!("{}?prefix={}", self.url, self.prefix)
    }

    /// The same with another user and password.
    fn url_as(&self, user: &str, password: &str) -> String {
        self.url().replacen("taskwright:taskwright@", &format!("{user}:{password}@"), 1)
    }

    async fn open(&self) -> MySql {
        MySql::connect(&self.url()).await.unwrap()
    }

    async fn refused(url: &str) -> Error {
        MySql::connect(url).await.unwrap_err()
    }

    /// A connection as an application or a person has it.
    async fn by_hand(&self) -> MySqlConnection {
        MySqlConnection::connect(self.url).await.unwrap()
    }

    async fn run(&self, sql: &str) {
        let sql = sql.replace("PREFIX_", &self.prefix);
        self.by_hand().await.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.unwrap();
    }
}

async fn list(mysql: &MySql) -> Vec<Job> {
    mysql.inspect().unwrap().list(&JobFilter::default(), None, 100).await.unwrap()
}

#[tokio::test]
async fn a_url_that_can_not_be_meant_says_what_to_write_instead() {
    let cases = [
        ("postgres://ada:secret@db/jobs", "write `mysql://user:password@host/database`"),
        ("mysql://ada:secret@db", "the URL names no database"),
        ("mysql://ada:secret@db/jobs?prefix=", "use 1 to 48 characters"),
        ("mysql://ada:secret@db/jobs?prefix=it%27s", "`it's` can't be what taskwright's tables begin with"),
        ("mysql://ada:secret@db/jobs?notify=maybe", "it is on or off"),
        ("mysql://ada:secret@db/jobs?prefux=jobs", "`prefux` is not an option of a MySQL URL; the options are prefix,"),
        ("mysql://ada:secret@db:port/jobs", "the URL is not one of a MySQL or MariaDB server"),
    ];
    for (url, advice) in cases {
        says(&Site::refused(url).await, ErrorKind::Invalid, advice);
    }
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
    let error = Site::refused(&format!("mysql://ada:secret@{address}/jobs")).await;
    says(&error, ErrorKind::Unavailable, "the server can't be reached");
    assert!(error.is_transient());
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[tokio::test]
async fn who_may_not_create_tables_is_told_and_may_use_those_that_are_there() {
    let Some(site) = Site::new() else { return };
    let user = &site.prefix[..30];
    site.run(&format!("CREATE USER {user}@'%' IDENTIFIED BY 'hush'")).await;
    site.run(&format!("GRANT SELECT, INSERT, UPDATE, DELETE ON taskwright.* TO {user}@'%'")).await;
    let url = site.url_as(user, "hush");
    says(&Site::refused(&url).await, ErrorKind::Unavailable, "grant it CREATE");
    site.open().await.close().await.unwrap();
    let mysql = MySql::connect(&url).await.unwrap();
    works(&mysql).await;
    mysql.close().await.unwrap();
}

#[tokio::test]
async fn a_read_only_server_is_told() {
    let Some(server) = Server::private(Kind::MySql) else { return };
    let mut db = MySqlConnection::connect(server.url()).await.unwrap();
    db.execute("SET GLOBAL read_only = ON").await.unwrap();
    says(&Site::refused(server.url()).await, ErrorKind::Unavailable, "the server is read-only");
    db.execute("SET GLOBAL read_only = OFF").await.unwrap();
    works(&MySql::connect(server.url()).await.unwrap()).await;
}

#[tokio::test]
async fn a_step_of_the_tables_that_broke_off_is_taken_again() {
    let Some(site) = Site::new() else { return };
    site.open().await.close().await.unwrap();
    site.run("DELETE FROM PREFIX_migrations WHERE version >= 2").await;
    site.run("ALTER TABLE PREFIX_batches DROP COLUMN replaced").await;
    let mysql = site.open().await;
    let Schema { version, known } = mysql.info().schema.unwrap();
    assert_eq!(version, known);
    works(&mysql).await;
}

#[tokio::test]
async fn tables_one_version_ahead_are_used_and_newer_ones_are_refused() {
    let Some(site) = Site::new() else { return };
    let mysql = site.open().await;
    let Schema { version, known } = mysql.info().schema.unwrap();
    assert_eq!(version, known);
    mysql.close().await.unwrap();
    let migrated = |version: i64| format!("INSERT INTO PREFIX_migrations VALUES ({version}, 'a later version', now())");
    site.run(&migrated(known + 1)).await;
    let mysql = site.open().await;
    assert_eq!(mysql.info().schema, Some(Schema { version: known + 1, known }));
    works(&mysql).await;
    mysql.close().await.unwrap();
    site.run(&migrated(known + 2)).await;
    says(&Site::refused(&site.url()).await, ErrorKind::Corrupt, "update this program");
}

#[tokio::test]
async fn a_table_that_is_dropped_is_told() {
    let Some(site) = Site::new() else { return };
    let mysql = site.open().await;
    site.run("DROP TABLE PREFIX_jobs").await;
    let error = mysql.push(&push_of(1)).await.unwrap_err();
    says(&error, ErrorKind::Unavailable, "was it dropped or changed?");
}

#[tokio::test]
async fn a_job_edited_into_nonsense_is_set_aside_and_holds_nothing_up() {
    let Some(site) = Site::new() else { return };
    let mysql = site.open().await;
    for spoil in ["extras = x'ff00ff'", "task = 'not a name'", "codec = 77", "attempt = -5", "crashes = 9000000000"] {
        let bad = push_one(&mysql).await.unwrap();
        site.run(&format!("UPDATE PREFIX_jobs SET {spoil}")).await;
        let good = push_one(&mysql).await.unwrap();
        list(&mysql).await;
        let claimed = claim(&mysql, 10).await.unwrap();
        assert_eq!(claimed.iter().map(|(_, job)| job.id()).collect::<Vec<_>>(), [good], "{spoil}");
        complete(&mysql, claimed).await.unwrap();
        let dead = list(&mysql).await.into_iter().find(|job| job.id() == bad).unwrap();
        assert_eq!(dead.state, State::Discarded, "{spoil}");
        assert!(!dead.spec.payload.bytes.is_empty(), "the payload is kept");
    }
}

#[tokio::test]
async fn a_lease_edited_into_nonsense_becomes_dead_letters() {
    let Some(site) = Site::new() else { return };
    let clock = Clock::stopped();
    let mysql = MySql::connect_with(&site.url(), clock.clone()).await.unwrap();
    for spoil in ["jobs = x'00'", "settled = ''", "members = x'01'", "moments = x'0102'"] {
        mysql.push(&push_of(3)).await.unwrap();
        let claimed = claim(&mysql, 3).await.unwrap();
        site.run(&format!("UPDATE PREFIX_leases SET {spoil}")).await;
        list(&mysql).await;
        clock.advance(Duration::from_secs(30));
        let reaped = mysql.reap(&Reap { limit: 100, max_crashes: 3 }).await.unwrap();
        assert!(reaped.discarded >= 1 && reaped.returned == 0 && !reaped.more, "{spoil}: {reaped:?}");
        assert!(list(&mysql).await.iter().all(|job| job.state == State::Discarded), "{spoil}");
        assert_eq!(complete(&mysql, claimed).await.unwrap(), [Settled::LeaseLost; 3]);
    }
}

#[tokio::test]
async fn a_server_that_goes_away_is_told_and_used_again_when_it_is_back() {
    let Some(server) = Server::private(Kind::MySql) else { return };
    let mysql = MySql::connect(server.url()).await.unwrap();
    let mut listener = mysql.wake().unwrap().listen().await.unwrap();
    let id = push_one(&mysql).await.unwrap();
    server.kill().unwrap();
    let error = mysql.push(&push_of(1)).await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    server.start_again().unwrap();
    // Whoever listens is told to look around.
    hear(&mut *listener, &Hint::Everything).await;
    let claimed = claim(&mysql, 10).await.unwrap();
    assert_eq!(claimed.iter().map(|(_, job)| job.id()).collect::<Vec<_>>(), [id], "what was acknowledged is there");
    push_one(&mysql).await.unwrap();
    hear(&mut *listener, &Hint::Jobs(queue())).await;
    mysql.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_process_has_at_most_four_connections_whatever_its_concurrency() {
    let Some(server) = Server::private(Kind::MySql) else { return };
    let mysql = Arc::new(MySql::connect(server.url()).await.unwrap());
    let _listener = mysql.wake().unwrap().listen().await.unwrap();
    let mut db = MySqlConnection::connect(server.url()).await.unwrap();
    let mut calls = JoinSet::new();
    for _ in 0..200 {
        let mysql = Arc::clone(&mysql);
        calls.spawn(async move { push_one(&*mysql).await.unwrap() });
    }
    let mut most = 0;
    while calls.join_next().await.is_some() {
        const OPEN: &str =
            "SELECT count(*) FROM information_schema.processlist WHERE user = 'taskwright' AND id <> connection_id()";
        most = most.max(sqlx::query(OPEN).fetch_one(&mut db).await.unwrap().get::<i64, _>(0));
    }
    assert!((2..=4).contains(&most), "{most}");
    assert_eq!(claim(&*mysql, 500).await.unwrap().len(), 200);
}

/// Everything at once on one queue, and the server counts the deadlocks.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn claims_pushes_and_settlements_do_not_lock_each_other_up() {
    const ROUNDS: u64 = 60;
    let Some(server) = Server::private(Kind::MySql) else { return };
    let mut db = MySqlConnection::connect(server.url()).await.unwrap();
    let before = deadlocks(&mut db).await;
    let mut tasks = JoinSet::new();
    for number in 0..6 {
        let mysql = MySql::connect(server.url()).await.unwrap();
        tasks.spawn(async move {
            let mut done = 0_u64;
            for round in 0..ROUNDS {
                mysql.push(&push_of(20)).await.unwrap();
                let mut claimed = claim(&mysql, 17).await.unwrap();
                if round % 5 == 4 {
                    // Of another worker's, mostly.
                    let ids = claimed.iter().rev().take(2).map(|(_, job)| job.id()).collect();
                    mysql.cancel(&Cancel { ids, reason: "not needed".to_owned() }).await.unwrap();
                }
                if number == 0 {
                    mysql.reap(&Reap { limit: 100, max_crashes: 3 }).await.unwrap();
                }
                let rest = claimed.split_off(claimed.len() / 2);
                for part in [claimed, rest] {
                    done += part.len() as u64;
                    assert!(complete(&mysql, part).await.unwrap().iter().all(|settled| *settled == Settled::Applied));
                }
            }
            done
        });
    }
    let done: u64 = tasks.join_all().await.into_iter().sum();
    let mysql = MySql::connect(server.url()).await.unwrap();
    let left: u64 = mysql.inspect().unwrap().queues().await.unwrap()[0].counts.values().sum();
    assert_eq!(done + left, 6 * ROUNDS * 20);
    let status = db.fetch_one("SHOW ENGINE INNODB STATUS").await.unwrap().get::<String, _>(2);
    let latest = status.split("LATEST DETECTED DEADLOCK").nth(1).unwrap_or_default();
    assert_eq!(deadlocks(&mut db).await, before, "{latest}");
}

/// How many the server has seen.
async fn deadlocks(db: &mut MySqlConnection) -> String {
    let row = db.fetch_optional("SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'").await.unwrap();
    row.map(|row| row.get(1)).unwrap_or_default()
}

#[tokio::test]
async fn keys_that_a_language_takes_for_equal_are_different() {
    let Some(site) = Site::new() else { return };
    let mysql = site.open().await;
    let keys = ["receipt", "Receipt", "receipt ", "réceipt", "receipt\0", "\u{1f4e6}"];
    let jobs = keys.map(|key| Draft::new(queue()).unique(key));
    assert_eq!(push_all(&mysql, jobs).await.unwrap(), [Pushed::Stored; 6]);
    let again = keys.map(|key| Draft::new(queue()).unique(key));
    assert!(push_all(&mysql, again).await.unwrap().iter().all(|pushed| matches!(pushed, Pushed::Conflict(_))));
}

#[tokio::test]
async fn jobs_larger_than_a_message_are_pushed_and_claimed_together() {
    let Some(site) = Site::new() else { return };
    let mysql = site.open().await;
    let bytes = Bytes::from(vec![b'x'; mysql.info().limits.max_payload]);
    let jobs = [(); 6].map(|()| {
        let mut draft = Draft::new(queue());
        draft.spec.payload.bytes = bytes.clone();
        draft
    });
    assert_eq!(push_all(&mysql, jobs).await.unwrap(), [Pushed::Stored; 6]);
    let claimed = claim(&mysql, 10).await.unwrap();
    assert_eq!(claimed.len(), 6);
    assert!(claimed.iter().all(|(_, job)| job.spec.payload.bytes == bytes));
    assert_eq!(complete(&mysql, claimed).await.unwrap(), [Settled::Applied; 6]);
}

#[tokio::test]
async fn a_transaction_of_another_database_is_refused() {
    let Some(site) = Site::new() else { return };
    let mysql = site.open().await;
    let mut db = MySqlConnection::connect(&site.url.replace("3306/taskwright", "3306/mysql")).await.unwrap();
    db.execute("USE mysql").await.unwrap();
    let mut tx = db.begin().await.unwrap();
    let error = mysql.transaction().unwrap().push_in(tx.connection(), &push_of(1)).await.unwrap_err();
    says(&error, ErrorKind::Invalid, "both must be the same");
    // The caller's transaction goes on.
    tx.execute("SELECT 1").await.unwrap();
}

#[tokio::test]
async fn a_commit_of_the_callers_transaction_wakes_workers() {
    let Some(site) = Site::new() else { return };
    let mysql = site.open().await;
    let mut listener = mysql.wake().unwrap().listen().await.unwrap();
    let mut db = site.by_hand().await;
    let mut tx = db.begin().await.unwrap();
    let pushed = mysql.transaction().unwrap().push_in(tx.connection(), &push_of(1)).await.unwrap();
    assert_eq!(pushed, [Pushed::Stored]);
    tx.commit().await.unwrap();
    hear(&mut *listener, &Hint::Jobs(queue())).await;
    assert_eq!(claim(&mysql, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn processes_wake_each_other() {
    let Some(site) = Site::new() else { return };
    let (sender, receiver) = (site.open().await, site.open().await);
    let mut listener: Box<dyn Listener> = receiver.wake().unwrap().listen().await.unwrap();
    for _ in 0..3 {
        push_one(&sender).await.unwrap();
        hear(&mut *listener, &Hint::Jobs(queue())).await;
        let claimed = claim(&sender, 10).await.unwrap();
        complete(&sender, claimed).await.unwrap();
        hear(&mut *listener, &Hint::Outcomes).await;
    }
}

#[tokio::test]
async fn the_script_creates_what_connecting_would() {
    let Some(site) = Site::new() else { return };
    site.run(&MySql::schema_script(&site.url()).unwrap()).await;
    let mysql = site.open().await;
    let Schema { version, known } = mysql.info().schema.unwrap();
    assert_eq!(version, known);
    works(&mysql).await;
}

/// F29.
#[tokio::test]
async fn a_claim_reads_no_finished_jobs_and_no_more_than_it_hands_out() {
    let Some(server) = Server::private(Kind::MySql) else { return };
    let mysql = MySql::connect(server.url()).await.unwrap();
    mysql.push(&push_of(500)).await.unwrap();
    let reads = async || {
        let mut db = MySqlConnection::connect(server.url()).await.unwrap();
        let rows = db.fetch_all("SHOW GLOBAL STATUS LIKE 'Handler_read%'").await.unwrap();
        rows.iter().map(|row| row.get::<String, _>(1).parse::<u64>().unwrap()).sum::<u64>()
    };
    let reads_of_claims = async || {
        let before = reads().await;
        claim_some(&mysql).await;
        reads().await - before
    };
    let alone = reads_of_claims().await;
    keep_some(&mysql, 2_000).await;
    let beside_finished = reads_of_claims().await;
    // Had every claim read them all, these were 20,000 more.
    assert!(beside_finished < alone + 2_000, "{alone} rows read, and {beside_finished} beside finished jobs");
    assert!(alone < 2_500, "{alone} rows read to hand out 100 of 500");
    mysql.close().await.unwrap();
}

#[tokio::test]
async fn it_says_for_how_long_nothing_needs_a_reap() {
    let Some(site) = Site::new() else { return };
    let clock = Clock::stopped();
    let mysql = MySql::connect_with(&site.url(), clock.clone()).await.unwrap();
    tells_how_long_it_is_calm(&mysql, &clock).await;
    mysql.close().await.unwrap();
}

/// F16.
#[tokio::test]
async fn a_token_beyond_53_bits_is_exact() {
    let Some(site) = Site::new() else { return };
    let mysql = site.open().await;
    site.run("ALTER TABLE PREFIX_leases AUTO_INCREMENT = 9007199254740993").await;
    tells_large_tokens_apart(&mysql).await;
    mysql.close().await.unwrap();
}

/// Each statement that stands by itself would be an answer, and wake the process that waits for the last one.
#[tokio::test]
async fn a_job_that_comes_alone_is_one_question_to_mariadb() {
    const JOBS: u64 = 10;
    let Some(server) = Server::private(Kind::MySql) else { return };
    let mysql = MySql::connect(&format!("{}?notify=off", server.url())).await.unwrap();
    // The first push does more than the others.
    push_one(&mysql).await.unwrap();
    let mut db = MySqlConnection::connect(server.url()).await.unwrap();
    let mut questions = async || {
        let row = db.fetch_one(sqlx::raw_sql("SHOW GLOBAL STATUS LIKE 'Questions'")).await.unwrap();
        row.get::<String, _>(1).parse::<u64>().unwrap()
    };
    let before = questions().await;
    for _ in 0..JOBS {
        push_one(&mysql).await.unwrap();
    }
    // The last one is the question itself.
    assert_eq!(questions().await - before, JOBS + 1);
    mysql.close().await.unwrap();
}

/// A store in which much was taken since a transaction began that stands open, so that it lies in the way of claims.
struct Pinned {
    mysql: MySql,
    pin: MySqlConnection,
    server: Server,
}

impl Pinned {
    const DEAD: usize = 20_000;

    /// `None` where this machine has no server.
    async fn new() -> Option<Self> {
        let server = Server::private(Kind::MySql)?;
        let mysql = MySql::connect(server.url()).await.unwrap();
        let mut pin = MySqlConnection::connect(server.url()).await.unwrap();
        for sql in ["SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "START TRANSACTION WITH CONSISTENT SNAPSHOT"] {
            pin.execute(sqlx::raw_sql(sql)).await.unwrap();
        }
        for _ in 0..Self::DEAD / 5_000 {
            let jobs = (0..5_000).map(|_| Self::old().into()).collect();
            mysql.push(&Push { batch: BatchId::new(), jobs }).await.unwrap();
        }
        // Each claim leaves something to be cleaned away, and now and then one asks how much there is.
        let mut taken = 0;
        while taken < Self::DEAD {
            let most = if taken < 320 { 1 } else { 300 };
            taken += claim(&mysql, most).await.unwrap().len();
        }
        Some(Self { mysql, pin, server })
    }

    /// Far below what claims have seen.
    fn old() -> Draft {
        Draft::new(queue()).at(Timestamp::from_micros(0))
    }

    /// Claims until there is a job.
    async fn find(&self, aging: Option<Duration>) -> Job {
        let queues = vec![QueueClaim { queue: queue(), limit: 10 }];
        let (worker, unknown, ttl) = (WorkerId::new(), vec![], Duration::from_secs(30));
        let claim = Claim { worker, queues, limit: 10, unknown, ttl, max_crashes: 3, aging };
        let found = async {
            loop {
                if let Some((_, job)) = self.mysql.claim(&claim).await.unwrap().jobs.pop() {
                    return job;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), found).await.unwrap()
    }

    async fn close(self) {
        self.mysql.close().await.unwrap();
        self.pin.close().await.unwrap();
        drop(self.server);
    }
}

/// F19. Pages of the server's memory that are asked for are counted, since it does not tell how many dead rows it went
/// past.
#[tokio::test]
async fn an_open_transaction_makes_claims_read_no_more_than_now_and_then() {
    const CLAIMS: usize = 400;
    const ASKED_FOR: &str = "SHOW GLOBAL STATUS LIKE 'Innodb_buffer_pool_read_requests'";
    let Some(pinned) = Pinned::new().await else { return };
    let mut db = MySqlConnection::connect(pinned.server.url()).await.unwrap();
    let mut count = async || {
        let row = db.fetch_one(sqlx::raw_sql(ASKED_FOR)).await.unwrap();
        row.get::<String, _>(1).parse::<usize>().unwrap()
    };
    pinned.mysql.push(&push_of(CLAIMS)).await.unwrap();
    // Another handle has met nothing yet, and so looks at everything.
    let other = MySql::connect(pinned.server.url()).await.unwrap();
    let before = count().await;
    assert_eq!(claim(&other, 1).await.unwrap().len(), 1);
    let everything = count().await - before;
    other.close().await.unwrap();
    let before = count().await;
    for _ in 1..CLAIMS {
        assert_eq!(claim(&pinned.mysql, 1).await.unwrap().len(), 1);
    }
    let asked_for = count().await - before;
    assert!(everything > Pinned::DEAD, "{everything} pages asked for, as if nothing were dead");
    assert!(asked_for < everything * CLAIMS / 3, "{asked_for} pages asked for by {CLAIMS} claims, {everything} by one");
    pinned.close().await;
}

#[tokio::test]
async fn what_lies_below_a_floor_or_has_another_priority_is_found_beside_an_open_transaction() {
    const AGING: Duration = Duration::from_mins(1);
    let Some(pinned) = Pinned::new().await else { return };
    for aging in [None, Some(AGING)] {
        for (draft, priority) in [
            (Draft::new(queue()), 0),
            (Pinned::old(), 0),
            (Draft::new(queue()).priority(3), 3),
            (Draft::new(queue()).priority(-7), -7),
            (Pinned::old().priority(3), 3),
        ] {
            push_all(&pinned.mysql, [draft]).await.unwrap();
            assert_eq!(pinned.find(aging).await.spec.priority, priority);
        }
    }
    let inspect = pinned.mysql.inspect().unwrap();
    inspect.pause(&queue(), true).await.unwrap();
    push_all(&pinned.mysql, [Draft::new(queue())]).await.unwrap();
    for _ in 0..70 {
        assert_eq!(claim(&pinned.mysql, 1).await.unwrap().len(), 0, "from a paused queue");
    }
    inspect.pause(&queue(), false).await.unwrap();
    pinned.find(None).await;
    pinned.close().await;
}
