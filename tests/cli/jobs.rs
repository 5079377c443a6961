//! Jobs: listed, shown, retried, cancelled, deleted; on a store that the tests fill by hand.

use std::sync::Arc;
use std::time::Duration;

use taskwright::backend::{Claim, Push, Pushed, QueueClaim, Settlement};
use taskwright::codec::{Codec, Payload};
use taskwright::job::{BatchId, Failure, FailureKind, JobSpec, NewJob, When, WorkerId};
use taskwright::policy::Verdict;
use taskwright::{Backoff, JobId, Name};

use crate::{Setup, assert_has, setup};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn new_job(task: &str, queue: &str, secret: &str) -> NewJob {
    let payload = Payload::encode(Codec::MessagePack, &serde_json::json!({ "to": secret })).unwrap();
    let spec = JobSpec {
        id: JobId::new(),
        task: name(task),
        queue: name(queue),
        payload,
        priority: 0,
        max_attempts: 1,
        timeout: None,
        backoff: Backoff::DEFAULT,
        keep_result: None,
        unique: None,
        limits: Vec::new(),
        headers: [("tenant".to_owned(), "acme".to_owned())].into(),
        tags: vec!["nightly".to_owned()],
        parent: None,
    };
    NewJob { spec: Arc::new(spec), due: When::NOW, expires: None }
}

/// Puts jobs into the store of `setup`, and answers their ids as text.
fn push(setup: &Setup, count: usize, task: &str, queue: &str) -> Vec<String> {
    let jobs: Vec<_> = (0..count).map(|_| new_job(task, queue, "hush@example.org")).collect();
    let ids = jobs.iter().map(|job| job.spec.id.to_string()).collect();
    let pushed = block_on(async { setup.store().await.push(&Push { batch: BatchId::new(), jobs }).await });
    assert!(pushed.unwrap().iter().all(|pushed| *pushed == Pushed::Stored));
    ids
}

/// Lets every due job of a queue fail for good.
fn discard_all(setup: &Setup, queue: &str) {
    block_on(async {
        let store = setup.store().await;
        let queues = vec![QueueClaim { queue: name(queue), limit: 10_000 }];
        let claim = Claim {
            worker: WorkerId::new(),
            queues,
            limit: 10_000,
            unknown: vec![],
            ttl: Duration::from_mins(1),
            max_crashes: 3,
            aging: None,
        };
        let claimed = store.claim(&claim).await.unwrap();
        let failure = Failure {
            kind: FailureKind::Error,
            message: "mail was not sent".to_owned(),
            causes: vec!["connection refused".to_owned()],
        };
        let settle = |(lease, job)| Settlement { lease, job, verdict: Verdict::Discard { failure: failure.clone() } };
        store.settle(&claimed.jobs.into_iter().map(settle).collect::<Vec<_>>()).await.unwrap();
    });
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn jobs_are_listed_by_what_is_asked_for() {
    let setup = setup();
    let mail = push(&setup, 2, "fixture.fail", "mail");
    push(&setup, 3, "fixture.add", "default");
    assert_eq!(setup.run(&["jobs", "--json"]).json()["jobs"].as_array().unwrap().len(), 5);
    let listed = |args: &[&str]| {
        let answer = setup.run(&[&["jobs", "list", "--json"], args].concat()).json();
        answer["jobs"].as_array().unwrap().len()
    };
    assert_eq!(listed(&["--queue", "mail"]), 2);
    assert_eq!(listed(&["--task", "fixture.add"]), 3);
    assert_eq!(listed(&["--tag", "nightly"]), 5);
    assert_eq!(listed(&["--tag", "weekly"]), 0);
    assert_eq!(listed(&["--state", "available,running"]), 5);
    assert_eq!(listed(&["--state", "discarded"]), 0);
    assert_eq!(listed(&["--before", "1h"]), 0);
    assert_eq!(listed(&["--before", "9000-01-01T00:00:00Z"]), 5);
    let table = setup.run(&["jobs", "list", "--queue", "mail"]).ok();
    assert_has(&table, &["ID", "available", "fixture.fail", &mail[0], &mail[1]]);
}

#[test]
fn pages_lead_from_one_to_the_next() {
    let setup = setup();
    let mut ids = push(&setup, 5, "fixture.add", "default");
    ids.reverse();
    let mut seen = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let mut args = vec!["jobs", "list", "--json", "--limit", "2"];
        args.extend(after.as_deref().map(|after| ["--after", after]).into_iter().flatten());
        let answer = setup.run(&args).json();
        seen.extend(answer["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned()));
        after = answer["next"].as_str().map(ToOwned::to_owned);
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, ids);
}

#[test]
fn a_dead_letter_is_shown_with_its_chain_of_errors() {
    let setup = setup();
    let ids = push(&setup, 1, "fixture.fail", "mail");
    discard_all(&setup, "mail");
    let text = setup.run(&["jobs", "show", &ids[0]]).ok();
    assert_has(&text, &["discarded", "attempt 1: discarded", "  mail was not sent", "because: connection refused"]);
    let answer = setup.run(&["jobs", "show", &ids[0], "--json"]).json();
    let job = &answer["jobs"][0];
    assert_eq!((&job["state"], &job["attempt"]), (&"discarded".into(), &1.into()));
    assert_eq!(job["error"], "mail was not sent: connection refused");
    assert_eq!(job["history"][0]["failure"]["causes"][0], "connection refused");
}

#[test]
fn arguments_are_shown_only_when_asked_for() {
    let setup = setup();
    let ids = push(&setup, 1, "fixture.fail", "mail");
    let show = ["jobs", "show", ids[0].as_str()];
    for args in [&show[..], &["jobs", "show", &ids[0], "--json"], &["jobs", "list"], &["jobs", "list", "--json"]] {
        let ran = setup.run(args);
        assert!(!format!("{ran:?}").contains("hush"), "{ran:?}");
    }
    assert_has(
        &setup.run(&[&show[..], &["--payload"]].concat()).ok(),
        &["{\"to\":\"hush@example.org\"}", "tenant: acme"],
    );
    assert_has(&setup.run(&["jobs", "list", "--show-arguments"]).ok(), &["ARGUMENTS", "hush@example.org"]);
    let answer = setup.run(&["jobs", "show", &ids[0], "--payload", "--json"]).json();
    assert_eq!(answer["jobs"][0]["payload"]["to"], "hush@example.org");
}

#[test]
fn a_job_that_is_not_there_is_not_found() {
    let setup = setup();
    let absent = JobId::new().to_string();
    let ran = setup.run(&["jobs", "show", &absent]);
    assert_has(&ran.refused(3), &["there is no job", &absent]);
    let ran = setup.run(&["jobs", "show", &absent, "--json"]);
    assert_eq!((ran.exit, ran.json()), (3, serde_json::json!({ "jobs": [], "absent": [absent] })));
    assert_has(&setup.run(&["jobs", "show", "42"]).refused(2), &["`42` is not a job id"]);
}

#[test]
fn dead_letters_are_redriven_by_filter_past_the_first_page() {
    let setup = setup();
    push(&setup, 1_234, "fixture.fail", "mail");
    push(&setup, 3, "fixture.add", "default");
    discard_all(&setup, "mail");
    discard_all(&setup, "default");
    assert_eq!(setup.run(&["jobs", "retry", "--queue", "mail"]).ok(), "1,234 jobs due again\n");
    let queues = setup.run(&["queues", "--json"]).json();
    assert_eq!(queues["queues"][0]["available"], 1_234);
    let ran = setup.run(&["jobs", "retry", "--queue", "mail", "--json"]);
    assert_eq!((ran.exit, &ran.json()["changed"]), (3, &0.into()));
    assert_eq!(setup.run(&["jobs", "retry", "--all", "--json"]).json()["changed"], 3);
}

#[test]
fn jobs_are_cancelled_with_their_reason_and_deleted() {
    let setup = setup();
    let ids = push(&setup, 3, "fixture.add", "default");
    let ran = setup.run(&["jobs", "cancel", &ids[0], "--reason", "not today"]);
    assert_eq!(ran.ok(), "1 job called off\n");
    assert_has(&setup.run(&["jobs", "show", &ids[0]]).ok(), &["cancelled", "not today"]);
    let ran = setup.run(&["jobs", "cancel", &ids[0]]);
    assert_eq!((ran.exit, ran.stdout.as_str()), (3, "0 jobs called off\n"));
    assert_has(&ran.stderr, &["is cancelled: nothing to cancel"]);
    let answer = setup.run(&["jobs", "delete", &ids[0], &ids[1], "--json"]).json();
    assert_eq!(answer, serde_json::json!({ "changed": 2, "unchanged": [], "absent": [] }));
    assert_eq!(setup.run(&["jobs", "delete", "--all"]).ok(), "1 job deleted\n");
    let ran = setup.run(&["jobs", "delete", &ids[0], "--json"]);
    assert_eq!((ran.exit, &ran.json()["absent"][0]), (3, &ids[0].as_str().into()));
}

#[test]
fn a_change_of_everything_is_asked_for_by_name() {
    let setup = setup();
    let ids = push(&setup, 1, "fixture.add", "default");
    for verb in ["retry", "cancel", "delete"] {
        assert_has(&setup.run(&["jobs", verb]).refused(2), &["which jobs?", "--all"]);
        assert_has(&setup.run(&["jobs", verb, &ids[0], "--all"]).refused(2), &["do not go together"]);
    }
    assert_eq!(setup.run(&["jobs", "list", "--json"]).json()["jobs"].as_array().unwrap().len(), 1);
}

#[test]
fn a_filter_that_finds_nothing_says_what_may_be_misspelt() {
    let setup = setup();
    let ran = setup.run(&["jobs", "list", "--queue", "mial"]);
    assert_has(&ran.stderr, &["no job matches", "did you mean `mail`?"]);
    let ran = setup.run(&["jobs", "list", "--task", "fixture.ad"]);
    assert_has(&ran.stderr, &["no task `fixture.ad`", "`fixture.add`?"]);
    assert_has(&setup.run(&["jobs", "list", "--state", "dead"]).refused(2), &["not a state", "discarded"]);
    assert_has(&setup.run(&["jobs", "list", "--limit", "0"]).refused(2), &["1..=100000"]);
}

#[test]
fn doctor_finds_dead_letters_jobs_without_workers_and_unknown_tasks() {
    let setup = setup();
    push(&setup, 2, "fixture.fail", "mail");
    discard_all(&setup, "mail");
    push(&setup, 1, "elsewhere.task", "default");
    setup.run(&["queues", "pause", "default"]).ok();
    let text = setup.run(&["doctor"]).ok();
    assert_has(&text, &["warn  dead letters", "2 jobs", "jobs retry --state discarded"]);
    assert_has(&text, &["warn  workers", "warn  waiting jobs", "elsewhere.task", "resume it with"]);
}
