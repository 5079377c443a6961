//! Storing jobs: whole, once, in batches.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::backend::Pushed;
use crate::error::{Error, Result};
use crate::job::{Job, JobId, Name, NewJob, State};
use crate::policy::Backoff;
use crate::policy::state;
use crate::testing::conformance::Ability;
use crate::testing::harness::batch;
use crate::testing::{Draft, Harness, Held, together};

/// A job that uses every field, none with its default; the unique key where the store has such.
pub(super) fn elaborate(h: &Harness) -> Draft {
    let mut draft = h.job().priority(-7).attempts(9).keep(Duration::from_hours(1));
    if h.has(Ability::Record) {
        draft = draft.unique("receipt-42");
    }
    draft.spec.task = h.other_queue("task");
    draft.spec.payload =
        crate::codec::Payload { codec: crate::codec::Codec::Json, bytes: b"{\"order\":42}"[..].into() };
    draft.spec.timeout = Some(Duration::from_millis(30_500));
    draft.spec.backoff = Backoff::linear(Duration::from_secs(3), Duration::from_mins(1));
    draft.spec.headers = [("tenant", "öre & søn"), ("traceparent", "00-4bf9-00f0-01")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    draft.spec.tags = vec!["mail".to_owned(), "it's \"quoted\", \\ and 100 %".to_owned()];
    draft.spec.parent = Some(JobId::new());
    draft
}

pub(super) async fn job_comes_out_as_it_went_in(h: &Harness) -> Result<()> {
    let pushed: NewJob = elaborate(h).expires(Duration::from_hours(24)).into();
    let held = h.push_and_claim(pushed.clone()).await?;
    assert_eq!(held.job.spec, pushed.spec);
    assert!(held.job.expires.is_some_and(|expires| expires > held.job.due), "its expiry is a day away");
    Ok(())
}

pub(super) async fn new_job_starts_without_a_past(h: &Harness) -> Result<()> {
    let pushed: NewJob = h.job().into();
    let worker = h.worker();
    h.push_one(pushed.clone()).await?;
    let held = worker.claim_one().await?;
    let claimed = held.job.claimed.unwrap_or(held.job.pushed);
    let mut expected = Job { due: held.job.due, ..Job::received(&pushed, held.job.pushed) };
    state::claim(&mut expected, worker.id, claimed);
    assert_eq!(held.job, expected);
    assert_eq!((held.job.state, held.job.attempt, held.job.crashes), (State::Running, 1, 0));
    Ok(())
}

pub(super) async fn empty_batch_is_answered_empty(h: &Harness) -> Result<()> {
    assert_eq!(h.push(Vec::<Draft>::new()).await?, []);
    Ok(())
}

pub(super) async fn answers_come_in_the_order_asked(h: &Harness) -> Result<()> {
    let holder = h.push_one(h.job().unique("taken")).await?;
    let known = h.job();
    h.push_one(known.clone()).await?;
    let pushed = h.push([h.job(), h.job().unique("taken"), known, h.job().unique("free")]).await?;
    assert_eq!(pushed, [Pushed::Stored, Pushed::Conflict(holder), Pushed::Repeated, Pushed::Stored]);
    Ok(())
}

pub(super) async fn repeated_batch_adds_nothing(h: &Harness) -> Result<()> {
    let batch = batch(h.jobs(3));
    assert_eq!(h.backend.push(&batch).await?, [Pushed::Stored; 3]);
    assert_eq!(h.backend.push(&batch).await?, [Pushed::Repeated; 3]);
    assert_eq!(h.worker().claim(10).await?.len(), 3);
    Ok(())
}

pub(super) async fn repeated_batch_adds_nothing_once_its_jobs_are_claimed(h: &Harness) -> Result<()> {
    let batch = batch(h.jobs(3));
    h.backend.push(&batch).await?;
    let held = h.worker().claim(10).await?;
    assert_eq!(h.backend.push(&batch).await?, [Pushed::Repeated; 3]);
    assert_eq!(h.worker().claim(10).await?.len(), 0, "the {} claimed jobs are not there again", held.len());
    Ok(())
}

pub(super) async fn repeated_batch_adds_nothing_once_its_jobs_have_ended(h: &Harness) -> Result<()> {
    let batch = batch(h.jobs(3));
    h.backend.push(&batch).await?;
    let held = h.worker().claim(10).await?;
    h.settle(held.iter().map(Held::completed)).await?;
    h.advance(Duration::from_mins(50));
    assert_eq!(h.backend.push(&batch).await?, [Pushed::Repeated; 3]);
    assert_eq!(h.worker().claim(10).await?.len(), 0);
    Ok(())
}

/// A store may store a job that comes alone in another way than many.
pub(super) async fn repeated_batch_of_one_job_adds_nothing_once_that_has_ended(h: &Harness) -> Result<()> {
    let batch = batch([h.job()]);
    assert_eq!(h.backend.push(&batch).await?, [Pushed::Stored]);
    assert_eq!(h.backend.push(&batch).await?, [Pushed::Repeated], "while it waits");
    let held = h.worker().claim_one().await?;
    assert_eq!(h.backend.push(&batch).await?, [Pushed::Repeated], "while it runs");
    h.settle([held.completed()]).await?;
    h.advance(Duration::from_mins(50));
    assert_eq!(h.backend.push(&batch).await?, [Pushed::Repeated], "once it has ended");
    assert_eq!(h.worker().claim(10).await?.len(), 0);
    Ok(())
}

pub(super) async fn repeated_batch_refuses_again_what_it_refused(h: &Harness) -> Result<()> {
    let holder = h.push_one(h.job().unique("taken")).await?;
    let batch = batch([h.job(), h.job().unique("taken")]);
    assert_eq!(h.backend.push(&batch).await?, [Pushed::Stored, Pushed::Conflict(holder)]);
    assert_eq!(h.backend.push(&batch).await?, [Pushed::Repeated, Pushed::Conflict(holder)]);
    assert_eq!(h.worker().claim(10).await?.len(), 2);
    Ok(())
}

pub(super) async fn waiting_job_is_not_added_by_another_batch(h: &Harness) -> Result<()> {
    let job = h.job();
    assert_eq!(h.push([job.clone()]).await?, [Pushed::Stored]);
    assert_eq!(h.push([job.clone(), h.job()]).await?, [Pushed::Repeated, Pushed::Stored]);
    assert_eq!(h.worker().claim(10).await?.len(), 2);
    Ok(())
}

pub(super) async fn job_that_runs_or_is_kept_is_not_added_by_another_batch(h: &Harness) -> Result<()> {
    let job: NewJob = h.job().keep(Duration::from_hours(1)).into();
    let held = h.push_and_claim(job.clone()).await?;
    assert_eq!(h.push([job.clone()]).await?, [Pushed::Repeated]);
    h.end(held.completed()).await?;
    assert_eq!(h.push([job]).await?, [Pushed::Repeated]);
    assert_eq!(h.worker().claim(10).await?.len(), 0);
    Ok(())
}

pub(super) async fn one_batch_pushed_at_the_same_time_is_stored_once(h: &Harness) -> Result<()> {
    let batch = batch(h.jobs(20));
    let pushes = (0..8).map(|_| {
        let (backend, batch) = (h.backend.clone(), batch.clone());
        async move { backend.push(&batch).await }
    });
    let answers = together(pushes).await?;
    for place in 0..20 {
        let stored = answers.iter().filter(|pushed| pushed[place] == Pushed::Stored).count();
        assert_eq!(stored, 1, "how many of the pushes stored job {place}");
    }
    assert_eq!(h.worker().claim(100).await?.len(), 20);
    Ok(())
}

pub(super) async fn job_of_two_batches_at_the_same_time_is_stored_once_though_it_is_claimed(h: &Harness) -> Result<()> {
    for _ in 0..20 {
        let job = h.job();
        let id = job.id();
        let (one, two) = (batch([job.clone()]), batch([job]));
        let (here, there) = (Arc::clone(&h.backend), h.another_handle().await?);
        let worker = h.worker_elsewhere().await?;
        let both =
            together([(here, one), (there, two)].map(|(backend, push)| async move { backend.push(&push).await }));
        let claims = async {
            let mut held = Vec::new();
            while held.is_empty() {
                held = worker.claim(2).await?;
            }
            Ok::<_, Error>(held)
        };
        let (answers, mut held) = futures_util::future::try_join(both, claims).await?;
        held.extend(worker.claim(2).await?);
        assert_eq!(held.iter().map(Held::id).collect::<Vec<_>>(), [id]);
        let mut answers = answers.concat();
        answers.sort_by_key(|pushed| *pushed == Pushed::Repeated);
        assert_eq!(answers, [Pushed::Stored, Pushed::Repeated]);
        h.end(held[0].completed()).await?;
    }
    Ok(())
}

pub(super) async fn batches_pushed_at_the_same_time_are_all_stored(h: &Harness) -> Result<()> {
    let mut expected = BTreeSet::new();
    let pushes: Vec<_> = (0..40)
        .map(|_| {
            let (backend, batch) = (h.backend.clone(), batch(h.jobs(10)));
            expected.extend(batch.jobs.iter().map(|job| job.spec.id));
            async move { backend.push(&batch).await }
        })
        .collect();
    for pushed in together(pushes).await? {
        assert_eq!(pushed, [Pushed::Stored; 10]);
    }
    let held = h.worker().claim(1_000).await?;
    assert_eq!(held.iter().map(Held::id).collect::<BTreeSet<_>>(), expected);
    Ok(())
}

pub(super) async fn abandoned_push_is_done_whole_or_not_at_all(h: &Harness) -> Result<()> {
    let batch = batch(h.jobs(50));
    {
        let push = h.backend.push(&batch);
        // Asks once, and drops it wherever it is then.
        let _ = futures_util::poll!(std::pin::pin!(push));
    }
    let found = h.worker().claim(100).await?.len();
    assert!(!h.backend.info().atomic_push || found == 0 || found == 50, "{found} of 50 jobs are stored");
    assert_eq!(h.backend.push(&batch).await?.len(), 50, "repeating it is fine");
    let rest = h.worker().claim(100).await?.len();
    assert_eq!(found + rest, 50, "each job is there once");
    Ok(())
}

pub(super) async fn conflict_leaves_the_rest_of_its_batch_stored(h: &Harness) -> Result<()> {
    let holder = h.push_one(h.job().unique("taken")).await?;
    let pushed = h.push([h.job(), h.job().unique("taken"), h.job()]).await?;
    assert_eq!(pushed, [Pushed::Stored, Pushed::Conflict(holder), Pushed::Stored]);
    assert_eq!(h.worker().claim(10).await?.len(), 3);
    Ok(())
}

pub(super) async fn large_batch_is_stored(h: &Harness) -> Result<()> {
    let count = h.backend.info().limits.max_push.min(3_000);
    assert_eq!(h.push(h.jobs(count)).await?, vec![Pushed::Stored; count]);
    let mut found = 0;
    while found < count {
        let held = h.worker().claim(1_000).await?;
        assert!(!held.is_empty(), "{found} of {count} jobs are stored");
        found += held.len();
    }
    assert_eq!(found, count);
    Ok(())
}

/// A store may write what many jobs have in common once.
pub(super) async fn jobs_of_one_batch_keep_what_tells_them_apart(h: &Harness) -> Result<()> {
    let task = h.other_queue("task");
    let differing = [
        h.job().payload("another one"),
        h.job().payload(Vec::new()),
        h.job().priority(3),
        h.job().attempts(7),
        h.job().task(&task),
        h.job().tag("red"),
        h.job().keep(Duration::from_hours(1)),
        h.job().expires(Duration::from_hours(1)),
    ];
    for different in differing {
        let jobs = [h.job().payload("one"), different, h.job().payload("two")].map(NewJob::from);
        h.push(jobs.clone()).await?;
        let held = h.worker().claim(10).await?;
        assert_eq!(held.len(), jobs.len());
        for pushed in jobs {
            let Some(held) = held.iter().find(|held| held.id() == pushed.spec.id) else { panic!("{pushed:?} is lost") };
            assert_eq!(held.job.spec, pushed.spec);
            assert_eq!(held.job.expires.is_some(), pushed.expires.is_some());
        }
    }
    Ok(())
}

/// So many that a store may say otherwise what they have in common.
pub(super) async fn hundred_jobs_alike_come_out_as_they_went_in(h: &Harness) -> Result<()> {
    let mut like = elaborate(h).expires(Duration::from_hours(24));
    like.spec.unique = None;
    let alike = |place: usize| like.clone().with_id(JobId::new()).payload(format!("job {place}"));
    let jobs: Vec<_> = (0..100).map(alike).map(NewJob::from).collect();
    assert_eq!(h.push(jobs.clone()).await?, vec![Pushed::Stored; 100]);
    let worker = h.worker();
    let mut held = Vec::new();
    while held.len() < jobs.len() {
        let more = worker.claim(100).await?;
        assert!(!more.is_empty(), "{} of 100 jobs are stored", held.len());
        held.extend(more);
    }
    for pushed in jobs {
        let Some(held) = held.iter().find(|held| held.id() == pushed.spec.id) else { panic!("{pushed:?} is lost") };
        assert_eq!(held.job.spec, pushed.spec);
        assert_eq!((held.job.attempt, held.job.attempt_limit, held.job.crashes), (1, 9, 0));
        assert!(held.job.expires.is_some_and(|expires| expires > held.job.due), "its expiry is a day away");
    }
    Ok(())
}

pub(super) async fn every_byte_survives_in_a_payload(h: &Harness) -> Result<()> {
    let bytes: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
    let held = h.push_and_claim(h.job().payload(bytes.clone())).await?;
    assert_eq!(held.job.spec.payload.bytes, bytes);
    Ok(())
}

pub(super) async fn empty_payload_survives(h: &Harness) -> Result<()> {
    let held = h.push_and_claim(h.job().payload(Vec::new())).await?;
    assert!(held.job.spec.payload.bytes.is_empty());
    h.push([h.job().payload(Vec::new()), h.job().payload(Vec::new())]).await?;
    let held = h.worker().claim(10).await?;
    assert_eq!(held.len(), 2);
    assert!(held.iter().all(|held| held.job.spec.payload.bytes.is_empty()));
    Ok(())
}

pub(super) async fn largest_payload_survives(h: &Harness) -> Result<()> {
    let size = h.backend.info().limits.max_payload.min(1 << 20);
    let bytes: Vec<u8> = (0..=250).cycle().take(size).collect();
    let held = h.push_and_claim(h.job().payload(bytes.clone())).await?;
    assert!(held.job.spec.payload.bytes == bytes, "{size} bytes came out changed");
    Ok(())
}

pub(super) async fn longest_names_survive(h: &Harness) -> Result<()> {
    let stem = format!("{}-AZaz09._:-", h.queue());
    let longest = Name::new(format!("{stem:z<width$}", width = Name::MAX_LENGTH))?;
    h.push_one(h.job().queue(&longest).task(&longest)).await?;
    let held = h.worker().claim_from(&[(&longest, 1)], 1).await?;
    assert_eq!(held.len(), 1);
    assert_eq!((&held[0].job.spec.queue, &held[0].job.spec.task), (&longest, &longest));
    Ok(())
}

pub(super) async fn names_differ_by_case(h: &Harness) -> Result<()> {
    let (lower, upper) = (h.other_queue("mail"), h.other_queue("Mail"));
    let id = h.push_one(h.job().queue(&upper)).await?;
    assert_eq!(h.worker().claim_from(&[(&lower, 1)], 1).await?.len(), 0);
    let held = h.worker().claim_from(&[(&upper, 1)], 1).await?;
    assert_eq!(held.iter().map(Held::id).collect::<Vec<_>>(), [id]);
    Ok(())
}

pub(super) async fn most_attempts_survive(h: &Harness) -> Result<()> {
    let held = h.push_and_claim(h.job().attempts(u32::MAX)).await?;
    assert_eq!((held.job.spec.max_attempts, held.job.attempt_limit), (u32::MAX, u32::MAX));
    h.end(held.failed(Duration::ZERO)).await?;
    assert_eq!(h.worker().claim_one().await?.job.attempt_limit, u32::MAX);
    Ok(())
}
