//! What is particular to Redis.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use redis::{FromRedisValue, Value};
use taskwright::backend::redis::Redis;
use taskwright::backend::{
    Backend, Cancel, Cancelled, Change, Claim, Fetched, Hint, JobFilter, LimitSource, Push, Pushed, QueueClaim, Reap,
    Reaped, Schema, Settled,
};
use taskwright::job::{Allowance, BatchId, FailureKind, Job, JobId, Lease, Name, State, Unique, When, WorkerId};
use taskwright::testing::Draft;
use taskwright::time::{Clock, Timestamp};
use taskwright::{Error, ErrorKind, Result};
use taskwright_tests::servers::{Kind, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::site::{claim, complete, push_of, push_one, queue, says, works};

/// How long the server may take for what it does by itself.
const PATIENCE: Duration = Duration::from_mins(1);

/// A prefix of its own.
struct Site<'a> {
    server: &'a Server,
    prefix: String,
}

impl Site<'static> {
    /// On the server that all tests share; `None` where this machine has no server.
    fn shared() -> Option<Self> {
        Server::shared(Kind::Redis).map(Site::on)
    }
}

impl<'a> Site<'a> {
    fn on(server: &'a Server) -> Self {
        Self { server, prefix: format!("t{}", JobId::new()).replace('-', "") }
    }

    fn url(&self) -> String {
        format!("{}?prefix={}", self.server.url(), self.prefix)
    }

    /// The same as another user.
    fn url_as(&self, user: &str, password: &str) -> String {
        self.url().replacen("default:taskwright@", &format!("{user}:{password}@"), 1)
    }

    async fn open(&self) -> Redis {
        Redis::connect(&self.url()).await.unwrap()
    }

    /// A command as a person types it; `PREFIX_` stands for the keys' prefix.
    async fn run<T: FromRedisValue>(&self, line: &str) -> T {
        let words = line.split(' ').map(|word| word.replace("PREFIX_", &format!("{{{}}}:", self.prefix)).into_bytes());
        self.run_with(words.collect()).await
    }

    async fn run_with<T: FromRedisValue>(&self, words: Vec<Vec<u8>>) -> T {
        let client = redis::Client::open(self.server.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(word);
        }
        command.query_async(&mut connection).await.unwrap()
    }

    /// Puts something else where a job's record was.
    async fn damage(&self, id: JobId, record: &[u8]) {
        let key = format!("{{{}}}:jobs", self.prefix);
        let words = [b"HSET", key.as_bytes(), id.as_bytes(), record].map(<[u8]>::to_vec);
        let _: Value = self.run_with(words.to_vec()).await;
    }
}

async fn refused(url: &str) -> Error {
    Redis::connect(url).await.unwrap_err()
}

async fn list(redis: &Redis) -> Vec<Job> {
    redis.inspect().unwrap().list(&JobFilter::default(), None, 100).await.unwrap()
}

/// Asks until it answers.
async fn eventually<T>(mut ask: impl AsyncFnMut() -> Result<T>) -> T {
    let asked = async {
        loop {
            match ask().await {
                Ok(answer) => return answer,
                Err(error) => assert!(error.is_transient(), "{error:?}"),
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.unwrap()
}

#[tokio::test]
async fn a_user_or_password_that_is_wrong_is_refused() {
    let Some(site) = Site::shared() else { return };
    for url in [site.url_as("default", "secret"), site.url_as("nobody", "secret"), site.url_as("", "secret")] {
        let error = refused(&url).await;
        says(&error, ErrorKind::Unavailable, "redis refuses the user or the password; check them in the URL");
        assert!(!error.is_transient(), "{error:?}");
    }
    let error = refused(&site.url().replacen("default:taskwright@", "", 1)).await;
    says(&error, ErrorKind::Unavailable, "redis refuses the user or the password");
}

#[tokio::test]
async fn a_server_that_is_not_there_may_be_there_later() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = refused(&format!("redis://ada:secret@{free}")).await;
    says(&error, ErrorKind::Unavailable, "redis accepts no connection; is it running, at this host and port?");
    assert!(error.is_transient(), "{error:?}");
    let error = refused("redis://ada:secret@no.such.host.invalid").await;
    says(&error, ErrorKind::Unavailable, "the host of the redis URL is not known");
    assert!(error.is_transient(), "{error:?}");
}

#[tokio::test]
async fn a_database_that_is_not_there_is_refused() {
    let Some(site) = Site::shared() else { return };
    let error = refused(&site.url().replacen("/0?", "/9999?", 1)).await;
    says(&error, ErrorKind::Unavailable, "redis has no database of this number");
}

/// A server that answers every command with the same words.
async fn impostor(answer: &'static str) -> String {
    let place = impostor_that(answer.to_owned(), answer.to_owned()).await;
    format!("redis://{place}")
}

/// A server that welcomes with some words, and answers every command with others.
async fn impostor_that(welcome: String, answer: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let (welcome, answer) = (welcome.clone(), answer.clone());
            tokio::spawn(async move {
                let mut read = [0; 4_096];
                while let Ok(length @ 1..) = socket.read(&mut read).await {
                    // Each command begins with how many words it has.
                    let commands = read[..length].iter().map(|byte| usize::from(*byte == b'*')).sum();
                    // A driver introduces itself with `CLIENT`, and other commands together with that.
                    let introduces = read[..length].windows(6).any(|word| word == b"CLIENT");
                    let answer = if introduces { &welcome } else { &answer };
                    if socket.write_all(answer.repeat(commands).as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    place
}

#[tokio::test]
async fn a_node_of_a_cluster_that_has_not_got_the_keys_leads_to_the_one_that_has() {
    let Some(site) = Site::shared() else { return };
    let (_, node) = site.server.url().trim_end_matches("/0").rsplit_once('@').unwrap();
    for moved in [format!("-MOVED 42 {node}\r\n"), format!("-MOVED 42 :{}\r\n", node.rsplit_once(':').unwrap().1)] {
        let other = impostor_that("+OK\r\n".to_owned(), moved).await;
        let redis = Redis::connect(&site.url().replacen(node, &other.to_string(), 1)).await.unwrap();
        let mut listener = redis.wake().unwrap().listen().await.unwrap();
        works(&redis).await;
        let heard = tokio::time::timeout(PATIENCE, listener.next()).await.unwrap().unwrap();
        assert_eq!(heard, Hint::Jobs(queue()));
    }
    let lost = impostor("-MOVED 42 127.0.0.1:1\r\n").await;
    assert!(refused(&lost).await.is_transient());
}

#[tokio::test]
async fn a_server_that_is_loading_or_old_or_something_else_is_told_apart() {
    let loading = impostor("-LOADING Redis is loading the dataset in memory\r\n").await;
    let error = refused(&loading).await;
    says(&error, ErrorKind::Unavailable, "redis is still loading its data");
    assert!(error.is_transient(), "{error:?}");

    let old = impostor("$20\r\nredis_version:5.0.14\r\n").await;
    says(&refused(&old).await, ErrorKind::Unsupported, "this is redis 5.0.14; taskwright needs 6.2 or later");

    let web = impostor("HTTP/1.1 400 Bad Request\r\n\r\n").await;
    says(&refused(&web).await, ErrorKind::Unavailable, "what answered does not talk as redis does");
}

#[tokio::test]
async fn the_rights_that_are_documented_are_enough() {
    let Some(site) = Site::shared() else { return };
    let name = format!("u{}", site.prefix);
    let acl = format!("ACL SETUSER {name} on >secret ~PREFIX_* &PREFIX_* +@all -@admin");
    site.run::<()>(&acl.replace("PREFIX_*", &format!("{{{}}}:*", site.prefix))).await;
    let redis = Redis::connect(&site.url_as(&name, "secret")).await.unwrap();
    assert_eq!(redis.info().warnings, ["the redis user may not use CONFIG GET, so appendfsync is not known"]);
    let _listener = redis.wake().unwrap().listen().await.unwrap();
    works(&redis).await;
    assert_eq!(list(&redis).await, []);
}

#[tokio::test]
async fn missing_rights_are_told_and_nothing_is_stored() {
    let Some(site) = Site::shared() else { return };
    let name = format!("u{}", site.prefix);
    site.run::<()>(&format!("ACL SETUSER {name} on >secret ~other:* +@all")).await;
    let error = refused(&site.url_as(&name, "secret")).await;
    says(&error, ErrorKind::Unavailable, "the redis user may not do this; its ACL has to allow keys");
    assert!(!error.is_transient(), "{error:?}");

    for lacking in ["~* +@all", "~* &* +@all -zadd", "~* &* +@all -evalsha", "~* &* +@all -publish"] {
        site.run::<()>(&format!("ACL SETUSER {name} reset on >secret {lacking}")).await;
        let error = refused(&site.url_as(&name, "secret")).await;
        says(&error, ErrorKind::Unavailable, "the redis user may not do this");
    }
    site.run::<()>(&format!("ACL SETUSER {name} reset on >secret ~* &* +@all -info -config")).await;
    let redis = Redis::connect(&site.url_as(&name, "secret")).await.unwrap();
    assert_eq!(redis.info().warnings, ["the redis user may not use INFO, so neither version nor settings are known"]);
    works(&redis).await;

    // Rights that are taken away later.
    site.run::<()>(&format!("ACL SETUSER {name} -evalsha -subscribe")).await;
    says(&push_one(&redis).await.unwrap_err(), ErrorKind::Unavailable, "the redis user may not do this");
    let error = redis.wake().unwrap().listen().await.err().unwrap();
    says(&error, ErrorKind::Unavailable, "the redis user may not do this");
    site.run::<()>(&format!("ACL SETUSER {name} +evalsha")).await;
    works(&redis).await;
}

#[tokio::test]
async fn a_schema_of_another_version_is_told_apart_from_the_next_one() {
    let Some(site) = Site::shared() else { return };
    site.run::<()>("SET PREFIX_schema 4").await;
    assert_eq!(site.open().await.info().schema, Some(Schema { version: 4, known: 3 }));
    site.run::<()>("SET PREFIX_schema 5").await;
    says(&refused(&site.url()).await, ErrorKind::Corrupt, "schema version 5, and this program knows 3; update");
    site.run::<()>("SET PREFIX_schema 1").await;
    says(&refused(&site.url()).await, ErrorKind::Corrupt, "schema version 1, which was never released");
    site.run::<()>("SET PREFIX_schema nonsense").await;
    says(&refused(&site.url()).await, ErrorKind::Corrupt, "is `nonsense`, which is no version of taskwright's keys");
}

#[tokio::test]
async fn a_key_of_another_type_is_told_and_nothing_is_stored() {
    let Some(site) = Site::shared() else { return };
    let redis = site.open().await;
    for key in ["ids", "jobs", "ready:mail", "queues", "stamp"] {
        site.run::<()>(&format!("DEL PREFIX_{key}")).await;
        let _: Value = site.run(&format!("LPUSH PREFIX_{key} nonsense")).await;
        let answer = push_one(&redis).await;
        says(&answer.unwrap_err(), ErrorKind::Corrupt, "a key under the prefix is not of the type");
        site.run::<()>(&format!("DEL PREFIX_{key}")).await;
        assert_eq!(list(&redis).await, [], "{key}");
        assert!(claim(&redis, 10).await.unwrap().is_empty(), "{key}");
    }
    for key in ["leases", "lapses", "running", "overdue:mail", "expiring"] {
        push_one(&redis).await.unwrap();
        let _: Value = site.run(&format!("LPUSH PREFIX_{key} nonsense")).await;
        let error = claim(&redis, 10).await.unwrap_err();
        says(&error, ErrorKind::Corrupt, "a key under the prefix is not of the type");
        site.run::<()>(&format!("DEL PREFIX_{key}")).await;
        let claimed = claim(&redis, 10).await.unwrap();
        assert_eq!(complete(&redis, claimed).await.unwrap(), [Settled::Applied], "the job waited still: {key}");
        site.run::<()>(&format!("DEL PREFIX_{key}")).await;
    }
    push_one(&redis).await.unwrap();
    let claimed = claim(&redis, 10).await.unwrap();
    for key in ["running", "progress", "calledoff"] {
        site.run::<()>(&format!("DEL PREFIX_{key}")).await;
        let _: Value = site.run(&format!("LPUSH PREFIX_{key} nonsense")).await;
        let error = complete(&redis, claimed.clone()).await.unwrap_err();
        says(&error, ErrorKind::Corrupt, "a key under the prefix is not of the type");
        site.run::<()>(&format!("DEL PREFIX_{key}")).await;
    }
    assert_eq!(complete(&redis, claimed).await.unwrap(), [Settled::Applied]);
}

#[tokio::test]
async fn a_limit_of_another_type_is_told_and_left_alone() {
    let Some(site) = Site::shared() else { return };
    let clock = Clock::system();
    let redis = Redis::connect_with(&site.url(), clock.clone()).await.unwrap();
    let is_refused = |error| says(&error, ErrorKind::Corrupt, "a key under the prefix is not of the type");
    let put_nonsense = async |key: &str| {
        site.run::<()>(&format!("DEL PREFIX_limit:{key}")).await;
        let _: Value = site.run(&format!("LPUSH PREFIX_limit:{key} nonsense")).await;
    };
    let remove_nonsense = async |key: &str| {
        let length: i64 = site.run(&format!("LLEN PREFIX_limit:{key}")).await;
        assert_eq!(length, 1, "it is as it was");
        site.run::<()>(&format!("DEL PREFIX_limit:{key}")).await;
    };
    let push = async || {
        let draft = Draft::new(queue()).limit("customer", "5");
        redis.push(&Push { jobs: vec![draft.into()], ..push_of(0) }).await.unwrap();
    };
    push().await;
    let from_two_queues = Claim {
        worker: WorkerId::new(),
        queues: ["first", "mail"].map(|name| QueueClaim { queue: Name::new(name).unwrap(), limit: 10 }).to_vec(),
        limit: 10,
        unknown: vec![],
        ttl: Duration::from_secs(30),
        max_crashes: 3,
        aging: None,
    };
    let first = Draft::new(Name::new("first").unwrap());
    redis.push(&Push { jobs: vec![first.into()], ..push_of(0) }).await.unwrap();
    put_nonsense("queue:mail").await;
    is_refused(redis.claim(&from_two_queues).await.unwrap_err());
    remove_nonsense("queue:mail").await;
    let first_only = Claim { queues: from_two_queues.queues[..1].to_vec(), ..from_two_queues };
    let first = redis.claim(&first_only).await.unwrap().jobs;
    assert_eq!(complete(&redis, first).await.unwrap(), [Settled::Applied], "it waited still");
    put_nonsense("customer").await;
    is_refused(claim(&redis, 10).await.unwrap_err());
    assert!(claim(&redis, 10).await.unwrap().is_empty(), "it is out of the way");
    let plain = push_of(1);
    redis.push(&plain).await.unwrap();
    let others = claim(&redis, 10).await.unwrap();
    assert_eq!(others.iter().map(|(_, job)| job.id()).collect::<Vec<_>>(), [plain.jobs[0].spec.id]);
    complete(&redis, others).await.unwrap();
    clock.advance(Duration::from_mins(2));
    is_refused(
        redis.limiter().unwrap().set_limit("customer", LimitSource::RunTime, Allowance::at_once(1)).await.unwrap_err(),
    );
    remove_nonsense("customer").await;

    let claimed = claim(&redis, 10).await.unwrap();
    assert_eq!(claimed.len(), 1, "the job waited still");
    put_nonsense("customer").await;
    is_refused(complete(&redis, claimed.clone()).await.unwrap_err());
    redis.reap(&Reap { limit: 10, max_crashes: 3 }).await.unwrap();
    remove_nonsense("customer").await;
    assert_eq!(complete(&redis, claimed).await.unwrap(), [Settled::Applied]);
    put_nonsense("customer").await;
    clock.advance(Duration::from_mins(2));
    redis.reap(&Reap { limit: 10, max_crashes: 3 }).await.unwrap();
    remove_nonsense("customer").await;
}

/// Checks that jobs whose records are nonsense become dead letters, however they are handed out with others.
async fn nonsense_is_set_aside(hand_out: impl AsyncFn(&Redis, &[JobId]) -> Vec<(Lease, Job)>) {
    let Some(site) = Site::shared() else { return };
    let redis = site.open().await;
    let push = push_of(7);
    redis.push(&push).await.unwrap();
    let ids: Vec<_> = push.jobs.iter().map(|job| job.spec.id).collect();
    let key = format!("{{{}}}:jobs", site.prefix);
    let words = [b"HGET", key.as_bytes(), ids[4].as_bytes()].map(<[u8]>::to_vec);
    let whole: Vec<u8> = site.run_with(words.to_vec()).await;
    let cut = &whole[..whole.len() - 3];
    let mut other_format = whole.clone();
    other_format[0] = 9;
    let nonsense: [&[u8]; 6] = [b"", b"nonsense", &[0xc1; 200], cut, &other_format, &[1; 200]];
    for (id, record) in ids.iter().zip(nonsense) {
        site.damage(*id, record).await;
    }
    let claimed = hand_out(&redis, &ids).await;
    assert_eq!(claimed.iter().map(|(_, job)| job.id()).collect::<Vec<_>>(), ids[6..], "the others are handed out");
    assert_eq!(complete(&redis, claimed).await.unwrap(), [Settled::Applied]);
    assert!(claim(&redis, 10).await.unwrap().is_empty());

    let dead = list(&redis).await;
    assert_eq!(dead.len(), 6);
    for (job, record) in dead.iter().rev().zip(nonsense) {
        assert_eq!((job.state, &job.spec.payload.bytes[..]), (State::Discarded, record));
        let failure = job.failure().unwrap();
        assert_eq!(failure.kind, FailureKind::Payload);
        assert!(failure.message.contains("it was set aside with its bytes kept"), "{failure}");
    }
    assert_eq!(redis.inspect().unwrap().queues().await.unwrap(), [], "nothing counts them as waiting or running");
    assert!(claim(&redis, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_job_edited_into_nonsense_is_set_aside_with_its_bytes() {
    nonsense_is_set_aside(async |redis, _| claim(redis, 10).await.unwrap()).await;
}

#[tokio::test]
async fn a_job_edited_into_nonsense_is_set_aside_though_a_broker_brings_its_id() {
    nonsense_is_set_aside(async |redis, ids| {
        let claim = Claim {
            worker: WorkerId::new(),
            queues: vec![],
            limit: 10,
            unknown: vec![],
            ttl: Duration::from_secs(30),
            max_crashes: 3,
            aging: None,
        };
        redis.ledger().unwrap().take(&claim, ids).await.unwrap()
    })
    .await;
}

#[tokio::test]
async fn nonsense_hurts_no_operation() {
    let Some(site) = Site::shared() else { return };
    let clock = Clock::system();
    let redis = Redis::connect_with(&site.url(), clock.clone()).await.unwrap();
    let push = push_of(4);
    let ids: Vec<_> = push.jobs.iter().map(|job| job.spec.id).collect();
    redis.push(&push).await.unwrap();
    assert_eq!(claim(&redis, 1).await.unwrap().len(), 1);
    for id in &ids {
        site.damage(*id, b"nonsense").await;
    }
    let results = redis.results().unwrap();
    assert!(matches!(results.fetch(&ids).await.unwrap()[..], [Fetched::Finished(_), ..]));
    assert_eq!(list(&redis).await.len(), 4);
    let retried = redis.inspect().unwrap().change(&Change::Retry, &JobFilter::default(), 10).await.unwrap();
    assert_eq!(retried.count, 0, "there is nothing to run");
    let cancel = Cancel { ids: vec![ids[1]], reason: "enough".to_owned() };
    assert_eq!(redis.cancel(&cancel).await.unwrap(), [Cancelled::Ended]);
    let filter = JobFilter { ids: vec![ids[2]], ..JobFilter::default() };
    assert_eq!(redis.inspect().unwrap().change(&Change::Delete, &filter, 10).await.unwrap().count, 1);
    clock.advance(Duration::from_hours(1));
    let reaped = redis.reap(&Reap { limit: 10, max_crashes: 3 }).await.unwrap();
    assert_eq!(reaped, Reaped { discarded: 1, ..Reaped::default() });
    assert_eq!(list(&redis).await.iter().map(|job| job.state).collect::<Vec<_>>(), [State::Discarded; 3]);
}

#[tokio::test]
async fn a_lease_that_a_hand_removed_is_found_by_the_reaper() {
    let Some(site) = Site::shared() else { return };
    let clock = Clock::system();
    let redis = Redis::connect_with(&site.url(), clock.clone()).await.unwrap();
    redis.push(&push_of(2)).await.unwrap();
    claim(&redis, 2).await.unwrap();
    site.run::<()>("DEL PREFIX_leases").await;
    clock.advance(Duration::from_hours(1));
    assert_eq!(redis.reap(&Reap { limit: 10, max_crashes: 3 }).await.unwrap().returned, 2);
    assert_eq!(claim(&redis, 10).await.unwrap().len(), 2);

    site.run::<()>("DEL PREFIX_jobs").await;
    clock.advance(Duration::from_hours(1));
    assert_eq!(redis.reap(&Reap { limit: 10, max_crashes: 3 }).await.unwrap(), Reaped::default());
}

#[tokio::test]
async fn a_unique_key_whose_job_is_gone_is_free() {
    let Some(site) = Site::shared() else { return };
    let redis = site.open().await;
    let unique = || {
        let mut push = push_of(0);
        let mut draft = Draft::new(queue());
        draft.spec.unique = Some(Unique::new("receipt 42"));
        push.jobs.push(draft.into());
        push
    };
    let first = unique();
    assert_eq!(redis.push(&first).await.unwrap(), [Pushed::Stored]);
    assert_eq!(redis.push(&unique()).await.unwrap(), [Pushed::Conflict(first.jobs[0].spec.id)]);
    site.run::<()>("DEL PREFIX_jobs").await;
    assert_eq!(redis.push(&unique()).await.unwrap(), [Pushed::Stored]);
}

#[tokio::test]
async fn a_token_is_never_given_twice_though_the_server_forgot_the_latest() {
    let Some(site) = Site::shared() else { return };
    let redis = site.open().await;
    redis.push(&push_of(10)).await.unwrap();
    let mut tokens = Vec::new();
    for _ in 0..3 {
        tokens.push(claim(&redis, 2).await.unwrap()[0].0.token);
        site.run::<()>("DEL PREFIX_stamp").await;
    }
    assert!(tokens.is_sorted_by(|one, next| one < next), "{tokens:?}");
}

/// F16.
#[tokio::test]
async fn a_token_is_exact_up_to_53_bits_and_none_is_given_beyond() {
    const LAST: u64 = (1 << 53) - 1;
    let Some(site) = Site::shared() else { return };
    let redis = site.open().await;
    redis.push(&push_of(4)).await.unwrap();
    site.run::<()>(&format!("SET PREFIX_stamp {}", LAST - 2)).await;
    let (one, other) = (claim(&redis, 1).await.unwrap(), claim(&redis, 1).await.unwrap());
    assert_eq!([one[0].0.token, other[0].0.token], [LAST - 1, LAST]);
    says(&claim(&redis, 1).await.unwrap_err(), ErrorKind::Corrupt, "a key under the prefix is not of the type");
    site.run::<()>("DEL PREFIX_stamp").await;
    let stale = (Lease { token: LAST - 1, ..other[0].0 }, other[0].1.clone());
    assert_eq!(complete(&redis, vec![stale]).await.unwrap(), [Settled::LeaseLost]);
    for claimed in [other, one, claim(&redis, 1).await.unwrap()] {
        assert_eq!(complete(&redis, claimed).await.unwrap(), [Settled::Applied]);
    }
}

#[tokio::test]
async fn scripts_that_the_server_forgot_are_loaded_again() {
    let Some(server) = Server::private(Kind::Redis) else { return };
    let site = Site::on(&server);
    let redis = site.open().await;
    works(&redis).await;
    site.run::<()>("SCRIPT FLUSH").await;
    works(&redis).await;
}

#[tokio::test]
async fn more_jobs_than_a_script_takes_arguments_are_all_handed_out() {
    let Some(site) = Site::shared() else { return };
    let clock = Clock::system();
    let redis = Redis::connect_with(&site.url(), clock.clone()).await.unwrap();
    for due in [Duration::ZERO, Duration::from_mins(1)] {
        for _ in 0..12 {
            let mut push = push_of(1_000);
            push.jobs.iter_mut().for_each(|job| job.due = When::After(due));
            redis.push(&push).await.unwrap();
        }
    }
    clock.advance(Duration::from_mins(2));
    let mut ended = 0;
    loop {
        let claimed = claim(&redis, usize::MAX).await.unwrap();
        if claimed.is_empty() {
            break;
        }
        ended += complete(&redis, claimed).await.unwrap().iter().filter(|end| **end == Settled::Applied).count();
    }
    assert_eq!(ended, 24_000);
    assert_eq!(site.run::<u64>("ZCARD PREFIX_ids").await, 0, "nothing is left of jobs that nobody keeps");
}

/// What the server has done so far: of each command how often.
async fn commands(site: &Site<'_>) -> BTreeMap<String, u64> {
    let stats: String = site.run("INFO commandstats").await;
    let calls = stats.lines().filter_map(|line| {
        let (command, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        Some((command.to_owned(), rest.split(',').next()?.parse().ok()?))
    });
    calls.filter(|(command, _)| command != "info" && command != "hello" && command != "auth").collect()
}

/// Each command of a claim goes to one place or looks at a bounded part, so that their number is what it costs.
#[tokio::test]
async fn a_claim_costs_the_same_whatever_lies_beside() {
    let Some(server) = Server::private(Kind::Redis) else { return };
    let site = Site::on(&server);
    let redis = site.open().await;
    let mut costs = Vec::new();
    for beside in [0, 3_000] {
        for _ in 0..beside / 1_000 {
            let mut finished = push_of(1_000);
            let ids = finished.jobs.iter().map(|job| job.spec.id).collect();
            finished.jobs.iter_mut().for_each(|job| job.due = When::After(Duration::from_hours(1)));
            redis.push(&finished).await.unwrap();
            redis.cancel(&Cancel { ids, reason: "enough".to_owned() }).await.unwrap();
            let mut later = push_of(1_000);
            later.jobs.iter_mut().for_each(|job| job.due = When::After(Duration::from_hours(1)));
            redis.push(&later).await.unwrap();
        }
        redis.push(&push_of(30)).await.unwrap();
        // What the first call loads and writes once.
        let first = claim(&redis, 5).await.unwrap();
        complete(&redis, first).await.unwrap();
        let before = commands(&site).await;
        let claimed = claim(&redis, 5).await.unwrap();
        let mut cost = commands(&site).await;
        for (command, calls) in &mut cost {
            *calls -= before.get(command).unwrap_or(&0);
        }
        cost.retain(|_, calls| *calls > 0);
        costs.push(cost);
        complete(&redis, claimed).await.unwrap();
        let rest = claim(&redis, 100).await.unwrap();
        complete(&redis, rest).await.unwrap();
    }
    let [alone, beside] = &costs[..] else { panic!("{costs:?}") };
    assert_eq!(alone, beside, "as many of each command");
    assert_eq!(alone.get("evalsha"), Some(&1));
    assert_eq!(alone.keys().find(|command| command.contains("scan") || command.contains("getall")), None, "{alone:?}");
}

#[tokio::test]
async fn jobs_that_nobody_keeps_leave_nothing_behind() {
    let Some(site) = Site::shared() else { return };
    let redis = site.open().await;
    works(&redis).await;
    assert_eq!(keys(&site).await, ["queues", "schema", "stamp"], "what is there once for all");
}

/// So many jobs that count against a key.
fn limited(count: usize, key: &str, allowance: &str) -> Push {
    let jobs = (0..count).map(|_| Draft::new(queue()).limit(key, allowance).into());
    Push { batch: BatchId::new(), jobs: jobs.collect() }
}

/// The keys of a store, without those of batches.
async fn keys(site: &Site<'_>) -> Vec<String> {
    let keys: Vec<String> = site.run("KEYS PREFIX_*").await;
    let names = keys.iter().filter_map(|key| key.split_once("}:")).map(|(_, name)| name.to_owned());
    let mut names: Vec<_> = names.filter(|name| !name.starts_with("batch:")).collect();
    names.sort();
    names
}

#[tokio::test]
async fn limits_leave_nothing_behind() {
    let Some(site) = Site::shared() else { return };
    let clock = Clock::system();
    let redis = Redis::connect_with(&site.url(), clock.clone()).await.unwrap();
    let limiter = redis.limiter().unwrap();
    limiter.set_limit("a", LimitSource::RunTime, Allowance::at_once(1)).await.unwrap();
    redis.push(&limited(3, "a", "5+9/1m")).await.unwrap();
    let off = limited(2, "none", "0");
    redis.push(&off).await.unwrap();
    let held = claim(&redis, 10).await.unwrap();
    assert_eq!(held.len(), 1);
    complete(&redis, held).await.unwrap();
    limiter.set_limit("a", LimitSource::RunTime, Allowance::default()).await.unwrap();
    let held = claim(&redis, 10).await.unwrap();
    assert_eq!(held.len(), 2);
    complete(&redis, held).await.unwrap();
    let filter = JobFilter { ids: off.jobs.iter().map(|job| job.spec.id).collect(), ..JobFilter::default() };
    assert_eq!(redis.inspect().unwrap().change(&Change::Delete, &filter, 10).await.unwrap().count, 2);
    clock.advance(Duration::from_mins(1));
    redis.reap(&Reap { limit: 10, max_crashes: 3 }).await.unwrap();
    assert!(claim(&redis, 10).await.unwrap().is_empty());
    assert_eq!(keys(&site).await, ["queues", "schema", "stamp"], "what is there once for all");
}

#[tokio::test]
async fn jobs_of_more_lanes_than_one_script_counts_are_counted() {
    let Some(site) = Site::shared() else { return };
    let redis = site.open().await;
    let jobs = (0..1_300).map(|number| Draft::new(queue()).limit(format!("key-{number}"), "1").into());
    redis.push(&Push { batch: BatchId::new(), jobs: jobs.collect() }).await.unwrap();
    redis.push(&limited(7, "key-0", "1")).await.unwrap();
    let [of_queue] = &redis.inspect().unwrap().queues().await.unwrap()[..] else { panic!("one queue") };
    assert_eq!(of_queue.counts.get(&State::Available), Some(&1_307));
    assert!(of_queue.oldest.is_some());
}

#[tokio::test]
async fn what_earlier_versions_noted_of_lanes_goes_with_the_next_claim() {
    let Some(site) = Site::shared() else { return };
    let redis = site.open().await;
    redis.push(&limited(2, "a", "1")).await.unwrap();
    let _: i64 = site.run(&format!("ZADD PREFIX_limited:{} 0 turn", queue())).await;
    assert_eq!(claim(&redis, 1).await.unwrap().len(), 1);
    let left = keys(&site).await;
    assert!(left.iter().all(|key| !key.starts_with("limited:")), "{left:?}");
}

#[tokio::test]
async fn a_rate_of_more_starts_than_are_remembered_is_never_exceeded() {
    let Some(site) = Site::shared() else { return };
    let clock = Clock::system();
    let redis = Redis::connect_with(&site.url(), clock.clone()).await.unwrap();
    redis.push(&limited(1_000, "api", "150/1m")).await.unwrap();
    let mut started: Vec<Timestamp> = Vec::new();
    for _ in 0..250 {
        clock.advance(Duration::from_millis(997));
        let held = claim(&redis, 4).await.unwrap();
        // By the store's own clock, as a record has it.
        started.extend(held.iter().filter_map(|(_, job)| job.claimed));
        complete(&redis, held).await.unwrap();
        let latest = *started.last().unwrap();
        let window = started.iter().filter(|at| at.after(Duration::from_mins(1)) > latest).count();
        assert!(window <= 150, "{window} starts within a minute");
    }
    assert!(started.len() > 500, "only {} starts in four minutes", started.len());
}

#[tokio::test]
async fn nonsense_about_limits_holds_up_nobody() {
    let Some(site) = Site::shared() else { return };
    let clock = Clock::system();
    let redis = Redis::connect_with(&site.url(), clock.clone()).await.unwrap();
    let limiter = redis.limiter().unwrap();
    for round in 0..2 {
        redis.push(&limited(3, "a", "2")).await.unwrap();
        let held = claim(&redis, 1).await.unwrap();
        assert_eq!(held.len(), 1);
        let key = |name: &str| format!("{{{}}}:{name}", site.prefix).into_bytes();
        let limit: &[u8] = [b"nonsense".as_slice(), b"\xff_______\xff_______\x81\xa6starts\x92\x01\x90"][round];
        let _: Value = site.run_with(vec![b"SET".into(), key("limit:a"), limit.into()]).await;
        let holds: &[u8] = [b"nonsense".as_slice(), b"\0\0\0\x01\xff\0\0\0"][round];
        let mut lease: Vec<u8> =
            site.run_with(vec![b"HGET".into(), key("leases"), held[0].0.job.as_bytes().into()]).await;
        lease.truncate(32);
        lease.extend([b"mail\0", holds].concat());
        let _: Value = site.run_with(vec![b"HSET".into(), key("leases"), held[0].0.job.as_bytes().into(), lease]).await;
        for lane in ["nonsense", "[]", r#"["mail",[[1]]]"#, r#"["other",[]]"#] {
            let _: Value = site.run_with(vec![b"ZADD".into(), key("line:mail"), b"1".into(), lane.into()]).await;
        }
        let _: Value = site.run("LPUSH PREFIX_waits:a nonsense").await;
        limiter.limits(None, 10).await.unwrap();
        // Nobody knows any more what the first one holds.
        assert_eq!(claim(&redis, 10).await.unwrap().len(), 2);
        site.run::<()>("DEL PREFIX_waits:a").await;
        let filter = JobFilter { states: vec![State::Running], ..JobFilter::default() };
        for job in redis.inspect().unwrap().list(&filter, None, 10).await.unwrap() {
            let cancel = Cancel { ids: vec![job.id()], reason: "enough".to_owned() };
            assert_eq!(redis.cancel(&cancel).await.unwrap(), [Cancelled::Requested]);
        }
        assert_eq!(complete(&redis, held).await.unwrap(), [Settled::Applied]);
        site.run::<()>("DEL PREFIX_limit:a").await;
        // Nobody is told of what a hand has done.
        clock.advance(Duration::from_mins(1));
    }
}

#[tokio::test]
async fn a_backend_has_two_connections_at_the_most() {
    let Some(server) = Server::private(Kind::Redis) else { return };
    let site = Site::on(&server);
    let redis = site.open().await;
    let _listeners = [redis.wake().unwrap().listen().await.unwrap(), redis.wake().unwrap().listen().await.unwrap()];
    let pushes = push_of(20).jobs.into_iter().map(|job| {
        let mut push = push_of(0);
        push.jobs.push(job);
        push
    });
    let pushes: Vec<_> = pushes.collect();
    futures_util::future::try_join_all(pushes.iter().map(|push| redis.push(push))).await.unwrap();
    let clients: String = site.run("CLIENT LIST").await;
    // One of them asks.
    assert_eq!(clients.lines().count(), 3, "{clients}");
    redis.close().await.unwrap();
    eventually(async || {
        let clients: String = site.run("CLIENT LIST").await;
        if clients.lines().count() == 1 { Ok(()) } else { Err(Error::unavailable("not yet")) }
    })
    .await;
}

#[tokio::test]
async fn settings_that_put_jobs_at_risk_are_warned_of() {
    let Some(server) = Server::private(Kind::Redis) else { return };
    let site = Site::on(&server);
    for (appendfsync, durability) in [("always", "fsync at every write"), ("everysec", "fsync every second")] {
        site.run::<()>(&format!("CONFIG SET appendfsync {appendfsync}")).await;
        let redis = site.open().await;
        assert!(redis.info().durability.contains(durability), "{:?}", redis.info());
        assert_eq!(redis.info().warnings, <[String; 0]>::default());
    }
    let cases = [
        ("CONFIG SET maxmemory-policy allkeys-lru", "append-only file", "maxmemory-policy is allkeys-lru"),
        ("CONFIG SET appendfsync no", "append-only file, fsync when the system likes", "appendfsync is no"),
        ("CONFIG SET appendonly no", "nothing survives a restart of the server", "redis saves nothing"),
        ("CONFIG SET save 60 1", "snapshots", "appendonly is no"),
    ];
    for (line, durability, warning) in cases {
        match line.rsplit_once("save ") {
            Some((_, points)) => {
                let words = ["CONFIG", "SET", "save", if points == "60 1" { points } else { "" }];
                let () = site.run_with(words.iter().map(|word| word.as_bytes().to_vec()).collect()).await;
            }
            None => site.run::<()>(line).await,
        }
        let redis = site.open().await;
        let info = redis.info();
        assert!(info.durability.starts_with(durability), "{info:?}");
        assert!(info.warnings.iter().any(|found| found.starts_with(warning)), "{info:?}");
    }
}

#[tokio::test]
async fn a_full_server_refuses_new_jobs_and_lets_the_others_end() {
    let Some(server) = Server::private(Kind::Redis) else { return };
    let site = Site::on(&server);
    let redis = site.open().await;
    redis.push(&push_of(3)).await.unwrap();
    site.run::<()>("CONFIG SET maxmemory 1").await;
    let error = push_one(&redis).await.unwrap_err();
    says(&error, ErrorKind::Unavailable, "redis has used all of its maxmemory; nothing was written");
    assert!(error.is_transient(), "{error:?}");
    let other = site.open().await;
    let claimed = claim(&other, 10).await.unwrap();
    assert_eq!(claimed.len(), 3, "what is there is handed out, and the refused job is not there");
    assert_eq!(complete(&other, claimed).await.unwrap(), [Settled::Applied; 3]);
    site.run::<()>("CONFIG SET maxmemory 0").await;
    works(&redis).await;
}

#[tokio::test]
async fn a_replica_is_refused_and_takes_jobs_once_it_is_promoted() {
    let Some(server) = Server::private(Kind::Redis) else { return };
    let site = Site::on(&server);
    let redis = site.open().await;
    redis.push(&push_of(1)).await.unwrap();
    site.run::<()>("REPLICAOF 127.0.0.1 1").await;
    for error in [push_one(&redis).await.unwrap_err(), refused(&site.url()).await] {
        says(&error, ErrorKind::Unavailable, "this redis is a replica, which takes no writes");
        assert!(error.is_transient(), "{error:?}");
    }
    site.run::<()>("REPLICAOF NO ONE").await;
    let claimed = claim(&redis, 10).await.unwrap();
    assert_eq!(complete(&redis, claimed).await.unwrap(), [Settled::Applied]);
}

#[tokio::test]
async fn a_server_that_dies_is_found_again_with_its_jobs() {
    let Some(server) = Server::private(Kind::Redis) else { return };
    let site = Site::on(&server);
    let redis = site.open().await;
    let mut listener = redis.wake().unwrap().listen().await.unwrap();
    redis.push(&push_of(5)).await.unwrap();
    let held = claim(&redis, 2).await.unwrap();
    server.kill().unwrap();
    let error = push_one(&redis).await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    let broken = async { while listener.next().await.is_ok() {} };
    tokio::time::timeout(PATIENCE, broken).await.unwrap();
    assert!(redis.wake().unwrap().listen().await.is_err(), "nobody is there to be heard");

    server.start_again().unwrap();
    assert_eq!(eventually(async || complete(&redis, held.clone()).await).await, [Settled::Applied; 2]);
    let mut listener = redis.wake().unwrap().listen().await.unwrap();
    push_one(&redis).await.unwrap();
    let heard = tokio::time::timeout(PATIENCE, listener.next()).await.unwrap().unwrap();
    assert_eq!(heard, Hint::Jobs(queue()));
    assert_eq!(claim(&redis, 10).await.unwrap().len(), 4, "three from before, and the new one");
}

#[tokio::test]
async fn connections_that_are_cut_are_made_anew() {
    let Some(server) = Server::private(Kind::Redis) else { return };
    let site = Site::on(&server);
    let redis = site.open().await;
    let mut listener = redis.wake().unwrap().listen().await.unwrap();
    for _ in 0..3 {
        let _: Value = site.run("CLIENT KILL TYPE normal SKIPME yes").await;
        let _: Value = site.run("CLIENT KILL TYPE pubsub").await;
        tokio::time::timeout(PATIENCE, async { while listener.next().await.is_ok() {} }).await.unwrap();
        listener = eventually(async || redis.wake().unwrap().listen().await).await;
        eventually(async || push_one(&redis).await).await;
        tokio::time::timeout(PATIENCE, listener.next()).await.unwrap().unwrap();
    }
}

/// A way to a server that can be made to swallow everything, as a network does that drops packets.
struct Tunnel {
    place: SocketAddr,
    /// Changed when the connections of that moment go silent.
    silence: watch::Sender<()>,
}

impl Tunnel {
    async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = listener.local_addr().unwrap();
        let silence = watch::Sender::new(());
        let silences = silence.subscribe();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let (server, mut silences) = (server.clone(), silences.clone());
                silences.mark_unchanged();
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(server).await.unwrap();
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        // Both stay open.
                        _ = silences.changed() => std::future::pending().await,
                    }
                });
            }
        });
        Self { place, silence }
    }
}

#[tokio::test]
async fn connections_that_go_silent_are_given_up_and_made_anew() {
    let Some(site) = Site::shared() else { return };
    let (_, node) = site.server.url().trim_end_matches("/0").rsplit_once('@').unwrap();
    let tunnel = Tunnel::to(node.to_owned()).await;
    let redis = Redis::connect(&site.url().replacen(node, &tunnel.place.to_string(), 1)).await.unwrap();
    let mut listener = redis.wake().unwrap().listen().await.unwrap();
    works(&redis).await;

    tunnel.silence.send_replace(());
    // What waits for an answer in vain waits no longer than it takes to say so.
    tokio::time::pause();
    let error = push_one(&redis).await.unwrap_err();
    says(&error, ErrorKind::Unavailable, "redis did not answer in time");
    assert!(error.is_transient(), "{error:?}");
    while listener.next().await.is_ok() {}
    tokio::time::resume();

    works(&redis).await;
    let mut listener = redis.wake().unwrap().listen().await.unwrap();
    push_one(&redis).await.unwrap();
    assert_eq!(listener.next().await.unwrap(), Hint::Jobs(queue()));
}

#[tokio::test]
async fn a_server_that_says_nothing_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((socket, _)) = listener.accept().await {
            kept.push(socket);
        }
    });
    tokio::time::pause();
    let error = refused(&format!("redis://ada:secret@{place}")).await;
    says(&error, ErrorKind::Unavailable, "redis did not answer in time");
    assert!(error.is_transient(), "{error:?}");
}
