//! What becomes of a job when its attempt ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use taskwright::backend::JobFilter;
use taskwright::job::{Ending, FailureKind};
use taskwright::prelude::*;
use taskwright::registry::Registry;
use taskwright::{ErrorKind, State};

use crate::site::{Site, eventually, within};
use crate::{on_every_backend, on_every_server};

on_every_backend!(
    a_result_comes_back_through_its_handle,
    a_failing_job_is_attempted_exactly_max_attempts_times,
    the_chain_of_causes_is_kept,
    a_panic_costs_one_attempt,
    an_attempt_past_its_timeout_is_dropped_and_retried,
    an_attempt_that_always_hangs_is_a_dead_letter,
    a_job_past_its_expiry_never_starts,
    a_retry_past_its_expiry_never_starts,
    a_task_may_discard_its_job,
    a_task_may_cancel_its_job,
    a_snooze_costs_no_attempt,
    retry_in_overrules_the_backoff,
    retry_if_discards_what_it_refuses,
    a_payload_that_does_not_decode_is_kept,
    a_result_that_does_not_encode_is_a_dead_letter,
    an_unknown_task_waits_for_a_worker_that_knows_it,
    unknown_tasks_stand_in_nobodys_way,
);

on_every_server!(
    a_result_comes_back_through_its_handle,
    a_failing_job_is_attempted_exactly_max_attempts_times,
    the_chain_of_causes_is_kept,
    a_panic_costs_one_attempt,
    an_attempt_past_its_timeout_is_dropped_and_retried,
    an_attempt_that_always_hangs_is_a_dead_letter,
    a_job_past_its_expiry_never_starts,
    a_retry_past_its_expiry_never_starts,
    a_task_may_discard_its_job,
    a_task_may_cancel_its_job,
    a_snooze_costs_no_attempt,
    retry_in_overrules_the_backoff,
    retry_if_discards_what_it_refuses,
    a_payload_that_does_not_decode_is_kept,
    a_result_that_does_not_encode_is_a_dead_letter,
    an_unknown_task_waits_for_a_worker_that_knows_it,
);

#[task]
async fn double(number: u64) -> TaskResult<u64> {
    Ok(number * 2)
}

async fn a_result_comes_back_through_its_handle(site: &Site) {
    let worker = site.worker(Registry::new().with::<Double>().unwrap(), |_| {});
    let handle = site.client.dispatch(Double::new(21_u64)).await.unwrap();
    assert_eq!(within(handle).await.unwrap(), 42);
    assert_eq!(worker.stop().await.completed, 1);
}

/// Counts the calls of a task.
#[derive(Clone, Default)]
struct Calls(Arc<AtomicU32>);

impl Calls {
    fn count(&self) -> u32 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    fn total(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }

    fn states(&self) -> taskwright::context::States {
        let mut states = taskwright::context::States::default();
        states.insert(self.clone());
        states
    }
}

#[derive(Debug, thiserror::Error)]
enum MailError {
    #[error("the mail server is away")]
    Away(#[source] std::io::Error),
    #[error("no such address")]
    NoAddress,
}

#[task(max_attempts = 3, backoff = fixed("1ms"))]
async fn never_works(#[state] calls: Calls) -> Result<(), MailError> {
    calls.count();
    Err(MailError::Away(std::io::Error::other("connection refused")))
}

async fn a_failing_job_is_attempted_exactly_max_attempts_times(site: &Site) {
    let calls = Calls::default();
    let worker = site.worker_with(Registry::new().with::<NeverWorks>().unwrap(), calls.states(), |_| {});
    let handle = site.client.dispatch(NeverWorks::new()).await.unwrap();
    let job = site.job_in(handle.id(), State::Discarded).await;
    assert_eq!((calls.total(), job.attempt, job.history.len()), (3, 3, 3));
    let endings: Vec<_> = job.history.iter().map(|attempt| attempt.ending).collect();
    assert_eq!(endings, [Ending::Retried, Ending::Retried, Ending::Discarded]);
    assert_eq!(worker.stop().await.failed, 3);
}

async fn the_chain_of_causes_is_kept(site: &Site) {
    let calls = Calls::default();
    let _worker = site.worker_with(Registry::new().with::<NeverWorks>().unwrap(), calls.states(), |_| {});
    let handle = site.client.dispatch(NeverWorks::new()).await.unwrap();
    let error = within(handle).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Job);
    let told = format!("{error:?}");
    assert!(told.contains("the mail server is away") && told.contains("connection refused"), "{told}");
}

#[task(max_attempts = 2, backoff = fixed("1ms"))]
async fn panics_once(#[state] calls: Calls) -> TaskResult<u32> {
    let call = calls.count();
    assert!(call > 1, "the first call is unlucky");
    Ok(call)
}

async fn a_panic_costs_one_attempt(site: &Site) {
    let calls = Calls::default();
    let _worker = site.worker_with(Registry::new().with::<PanicsOnce>().unwrap(), calls.states(), |_| {});
    let handle = site.client.dispatch(PanicsOnce::new()).await.unwrap();
    let id = handle.id();
    assert_eq!(within(handle).await.unwrap(), 2);
    let job = site.job(id).await.unwrap();
    let failure = job.history[0].failure.clone().unwrap();
    assert_eq!(failure.kind, FailureKind::Panic);
    assert!(failure.message.contains("the first call is unlucky"), "{failure}");
}

#[task(max_attempts = 2, backoff = fixed("1ms"), timeout = "20ms")]
async fn hangs_once(#[state] calls: Calls) -> TaskResult<u32> {
    match calls.count() {
        1 => std::future::pending().await,
        call => Ok(call),
    }
}

async fn an_attempt_past_its_timeout_is_dropped_and_retried(site: &Site) {
    let calls = Calls::default();
    let _worker = site.worker_with(Registry::new().with::<HangsOnce>().unwrap(), calls.states(), |_| {});
    let handle = site.client.dispatch(HangsOnce::new()).await.unwrap();
    let id = handle.id();
    assert_eq!(within(handle).await.unwrap(), 2);
    let job = site.job(id).await.unwrap();
    assert_eq!(job.history[0].failure.as_ref().unwrap().kind, FailureKind::Timeout);
}

#[task(max_attempts = 2, backoff = fixed("1ms"), timeout = "20ms")]
async fn hangs(#[state] calls: Calls) -> TaskResult {
    calls.count();
    std::future::pending().await
}

async fn an_attempt_that_always_hangs_is_a_dead_letter(site: &Site) {
    let calls = Calls::default();
    let worker = site.worker_with(Registry::new().with::<Hangs>().unwrap(), calls.states(), |_| {});
    let handle = site.client.dispatch(Hangs::new()).await.unwrap();
    let job = site.job_in(handle.id(), State::Discarded).await;
    assert_eq!((calls.total(), job.attempt), (2, 2));
    let kinds: Vec<_> = job.history.iter().map(|attempt| attempt.failure.as_ref().unwrap().kind).collect();
    assert_eq!(kinds, [FailureKind::Timeout; 2]);
    assert_eq!(worker.stop().await.failed, 2);
}

#[task(expires = "1h")]
async fn is_of_use_for_an_hour(#[state] calls: Calls) -> TaskResult<u32> {
    Ok(calls.count())
}

async fn a_job_past_its_expiry_never_starts(site: &Site) {
    let calls = Calls::default();
    let stale = site.client.dispatch(IsOfUseForAnHour::new()).await.unwrap();
    let lasting = site.client.dispatch(IsOfUseForAnHour::new().expires(Duration::from_hours(3))).await.unwrap();
    site.clock.advance(Duration::from_hours(2));
    let _worker = site.worker_with(Registry::new().with::<IsOfUseForAnHour>().unwrap(), calls.states(), |_| {});
    assert_eq!(within(lasting).await.unwrap(), 1, "what a dispatch says is stronger than the task");
    let job = site.job_in(stale.id(), State::Expired).await;
    assert_eq!((job.attempt, calls.total()), (0, 1), "{job:?}");
    assert_eq!(within(stale).await.unwrap_err().kind(), ErrorKind::Job);
}

#[task(expires = "1h", max_attempts = 5, backoff = fixed("2h"))]
async fn fails_in_its_hour(#[state] calls: Calls) -> TaskResult {
    calls.count();
    Err("not now".into())
}

async fn a_retry_past_its_expiry_never_starts(site: &Site) {
    let calls = Calls::default();
    let _worker = site.worker_with(Registry::new().with::<FailsInItsHour>().unwrap(), calls.states(), |_| {});
    let handle = site.client.dispatch(FailsInItsHour::new()).await.unwrap();
    site.job_in(handle.id(), State::Retryable).await;
    site.clock.advance(Duration::from_hours(3));
    let job = site.job_in(handle.id(), State::Expired).await;
    assert_eq!((job.attempt, calls.total()), (1, 1));
}

#[task(max_attempts = 5)]
async fn gives_up() -> TaskResult {
    Err(TaskError::discard("the customer is gone").into())
}

async fn a_task_may_discard_its_job(site: &Site) {
    let _worker = site.worker(Registry::new().with::<GivesUp>().unwrap(), |_| {});
    let handle = site.client.dispatch(GivesUp::new()).await.unwrap();
    let job = site.job_in(handle.id(), State::Discarded).await;
    assert_eq!(job.attempt, 1);
    assert_eq!(job.failure().unwrap().message, "the customer is gone");
}

#[task]
async fn calls_itself_off() -> TaskResult {
    Err(TaskError::cancel("not needed any more").into())
}

async fn a_task_may_cancel_its_job(site: &Site) {
    let _worker = site.worker(Registry::new().with::<CallsItselfOff>().unwrap(), |_| {});
    let handle = site.client.dispatch(CallsItselfOff::new()).await.unwrap();
    let job = site.job_in(handle.id(), State::Cancelled).await;
    assert_eq!(job.failure().unwrap().message, "not needed any more");
}

#[task(max_attempts = 1)]
async fn naps(#[state] calls: Calls) -> TaskResult<u32> {
    match calls.count() {
        4 => Ok(4),
        _ => Err(TaskError::snooze(Duration::from_millis(1)).into()),
    }
}

async fn a_snooze_costs_no_attempt(site: &Site) {
    let calls = Calls::default();
    let _worker = site.worker_with(Registry::new().with::<Naps>().unwrap(), calls.states(), |_| {});
    let handle = site.client.dispatch(Naps::new()).await.unwrap();
    let id = handle.id();
    assert_eq!(within(handle).await.unwrap(), 4);
    assert_eq!(site.job(id).await.unwrap().attempt, 1);
}

#[task(backoff = fixed("1h"))]
async fn asks_for_a_moment(#[state] calls: Calls) -> TaskResult<u32> {
    match calls.count() {
        1 => Err(TaskError::retry_in(Duration::from_millis(1), "too many requests").into()),
        call => Ok(call),
    }
}

async fn retry_in_overrules_the_backoff(site: &Site) {
    let calls = Calls::default();
    let _worker = site.worker_with(Registry::new().with::<AsksForAMoment>().unwrap(), calls.states(), |_| {});
    let handle = site.client.dispatch(AsksForAMoment::new()).await.unwrap();
    let id = handle.id();
    assert_eq!(within(handle).await.unwrap(), 2);
    assert_eq!(site.job(id).await.unwrap().attempt, 2);
}

fn is_passing(error: &MailError) -> bool {
    matches!(error, MailError::Away(_))
}

#[task(max_attempts = 9, backoff = fixed("1ms"), retry_if = is_passing)]
async fn mails(#[state] calls: Calls) -> Result<(), MailError> {
    match calls.count() {
        1 | 2 => Err(MailError::Away(std::io::Error::other("connection refused"))),
        _ => Err(MailError::NoAddress),
    }
}

async fn retry_if_discards_what_it_refuses(site: &Site) {
    let calls = Calls::default();
    let _worker = site.worker_with(Registry::new().with::<Mails>().unwrap(), calls.states(), |_| {});
    let handle = site.client.dispatch(Mails::new()).await.unwrap();
    let job = site.job_in(handle.id(), State::Discarded).await;
    assert_eq!(job.attempt, 3);
    assert_eq!(job.failure().unwrap().message, "no such address");
}

mod old {
    use taskwright::prelude::*;

    #[task(name = "invoice", max_attempts = 2, backoff = fixed("1ms"))]
    pub(crate) async fn invoice(number: u64) -> TaskResult {
        let _ = number;
        Ok(())
    }
}

mod new {
    use taskwright::prelude::*;

    #[task(name = "invoice")]
    pub(crate) async fn invoice(number: u64, currency: String) -> TaskResult {
        let _ = (number, currency);
        Ok(())
    }
}

async fn a_payload_that_does_not_decode_is_kept(site: &Site) {
    let _worker = site.worker(Registry::new().with::<new::Invoice>().unwrap(), |_| {});
    let handle = site.client.dispatch(old::Invoice::new(7_u64)).await.unwrap();
    let job = site.job_in(handle.id(), State::Discarded).await;
    assert_eq!(job.attempt, 2);
    assert_eq!(job.failure().unwrap().kind, FailureKind::Payload);
    assert_eq!(job.spec.payload.decode::<old::Invoice>().unwrap().number, 7);
}

/// A value that serde refuses to write.
struct Secret;

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("secrets are not written down"))
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Ok(Self)
    }
}

#[task(max_attempts = 5)]
async fn tells_a_secret(#[state] calls: Calls) -> TaskResult<Secret> {
    calls.count();
    Ok(Secret)
}

async fn a_result_that_does_not_encode_is_a_dead_letter(site: &Site) {
    let calls = Calls::default();
    let _worker = site.worker_with(Registry::new().with::<TellsASecret>().unwrap(), calls.states(), |_| {});
    let handle = site.client.dispatch(TellsASecret::new()).await.unwrap();
    let job = site.job_in(handle.id(), State::Discarded).await;
    assert_eq!((job.failure().unwrap().kind, calls.total()), (FailureKind::Result, 1));
    assert!(job.failure().unwrap().to_string().contains("secrets are not written down"));
}

async fn an_unknown_task_waits_for_a_worker_that_knows_it(site: &Site) {
    let _stranger = site.worker(Registry::new().with::<GivesUp>().unwrap(), |_| {});
    let handle = site.client.dispatch(Double::new(2_u64)).await.unwrap();
    let id = handle.id();
    let job = site.job_when(id, |job| !job.history.is_empty()).await;
    assert_eq!((job.state, job.attempt, job.history[0].ending), (State::Available, 0, Ending::Unknown));
    let _expert = site.worker(Registry::new().with::<Double>().unwrap(), |_| {});
    // No time passes by the store's clock: the job waits for nothing but the expert.
    assert_eq!(within(handle).await.unwrap(), 4);
    let job = site.job(id).await.unwrap();
    assert_eq!((job.attempt, job.history.len()), (1, 2), "the stranger had it once: {job:?}");
}

async fn unknown_tasks_stand_in_nobodys_way(site: &Site) {
    let calls = Calls::default();
    site.client.dispatch_many((0..5_000_u64).map(Double::new)).await.unwrap();
    let handles = site.client.dispatch_many((0..10).map(|_| GivesUp::new())).await.unwrap();
    let stranger = site.worker_with(Registry::new().with::<GivesUp>().unwrap(), calls.states(), |_| {});
    for handle in handles {
        site.job_in(handle.id(), State::Discarded).await;
    }
    let summary = stranger.stop().await;
    assert!(summary.claimed < 5_000, "it met some of the others and passed over the rest: {summary:?}");
    let _expert = site.worker(Registry::new().with::<Double>().unwrap(), |_| {});
    eventually("all have ended", async || {
        let filter = JobFilter { states: vec![State::Available, State::Running], ..JobFilter::default() };
        site.jobs(filter).await.is_empty()
    })
    .await;
}
