//! Looking at everything, and changing it by hand.

use std::time::Duration;

use crate::backend::{Change, Changed, Fetched, JobFilter, QueueStats, Retention};
use crate::error::Result;
use crate::job::{Job, JobId, Name, State};
use crate::testing::conformance::push::elaborate;
use crate::testing::{Draft, Harness, Held, LEASE};

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// Ids of the jobs that match, at most a hundred, newest first.
async fn list(h: &Harness, filter: &JobFilter) -> Result<Vec<JobId>> {
    Ok(h.inspect()?.list(filter, None, 100).await?.iter().map(Job::id).collect())
}

fn of_states(states: &[State]) -> JobFilter {
    JobFilter { states: states.to_vec(), ..JobFilter::default() }
}

fn of_ids(ids: &[JobId]) -> JobFilter {
    JobFilter { ids: ids.to_vec(), ..JobFilter::default() }
}

/// A job in each state that a store without limits knows.
struct OneOfEach {
    scheduled: JobId,
    available: JobId,
    running: JobId,
    retryable: JobId,
    completed: JobId,
    discarded: JobId,
    cancelled: JobId,
    expired: JobId,
}

impl OneOfEach {
    async fn push(h: &Harness) -> Result<Self> {
        let mut held = Vec::new();
        for _ in 0..4 {
            held.push(h.push_and_claim(h.job().keep(DAY)).await?);
        }
        h.settle([held[1].failed(DAY), held[2].returned(b"1"), held[3].discarded()]).await?;
        let ids: Vec<_> = held.iter().map(Held::id).collect();
        let expired = h.push_one(h.job().expires(Duration::from_secs(1))).await?;
        h.advance(Duration::from_secs(2));
        h.reap().await?;
        let cancelled = h.push_one(h.job()).await?;
        h.cancel(&[cancelled]).await?;
        let scheduled = h.push_one(h.job().delay(DAY)).await?;
        let available = h.push_one(h.job()).await?;
        let [running, retryable, completed, discarded] = ids[..] else { unreachable!("four were claimed") };
        Ok(Self { scheduled, available, running, retryable, completed, discarded, cancelled, expired })
    }

    fn states(&self) -> [(State, JobId); 8] {
        [
            (State::Scheduled, self.scheduled),
            (State::Available, self.available),
            (State::Running, self.running),
            (State::Retryable, self.retryable),
            (State::Completed, self.completed),
            (State::Discarded, self.discarded),
            (State::Cancelled, self.cancelled),
            (State::Expired, self.expired),
        ]
    }
}

pub(super) async fn empty_store_lists_nothing(h: &Harness) -> Result<()> {
    let inspect = h.inspect()?;
    assert_eq!(inspect.list(&JobFilter::default(), None, 10).await?, []);
    assert_eq!((inspect.queues().await?, inspect.workers().await?), (vec![], vec![]));
    Ok(())
}

pub(super) async fn job_is_shown_whole(h: &Harness) -> Result<()> {
    let held = h.push_and_claim(elaborate(h)).await?;
    assert_eq!(h.find(held.id()).await?, Some(held.job.clone()), "while it runs");
    h.end(held.returned(b"7")).await?;
    let Some(shown) = h.find(held.id()).await? else { panic!("its outcome is kept") };
    assert_eq!((&shown.spec, shown.state), (&held.job.spec, State::Completed));
    assert_eq!(shown.result.map(|result| result.bytes.to_vec()), Some(b"7".to_vec()));
    assert!(shown.finished.is_some(), "it has ended");
    Ok(())
}

pub(super) async fn jobs_are_found_by_state(h: &Harness) -> Result<()> {
    let jobs = OneOfEach::push(h).await?;
    for (state, id) in jobs.states() {
        assert_eq!(list(h, &of_states(&[state])).await?, [id], "the {state} jobs");
    }
    assert_eq!(list(h, &of_states(&[State::Blocked])).await?, []);
    let two = list(h, &of_states(&[State::Completed, State::Available])).await?;
    assert_eq!(two, [jobs.available, jobs.completed]);
    Ok(())
}

pub(super) async fn job_becomes_available_by_time_alone(h: &Harness) -> Result<()> {
    let id = h.push_one(h.job().delay(MINUTE)).await?;
    assert_eq!(list(h, &of_states(&[State::Scheduled])).await?, [id]);
    h.advance(MINUTE);
    assert_eq!(list(h, &of_states(&[State::Available])).await?, [id]);
    assert_eq!(h.find(id).await?.map(|job| job.state), Some(State::Available));
    Ok(())
}

pub(super) async fn jobs_are_found_by_id_queue_task_and_tag(h: &Harness) -> Result<()> {
    let other = h.other_queue("other");
    let [plain, queue, task, tag] =
        [h.job(), h.job().queue(&other), h.job().task(&other), h.job().tag("bulk").tag("100 %_")];
    let ids = [plain.id(), queue.id(), task.id(), tag.id()];
    h.push([plain, queue, task, tag]).await?;
    let filter = JobFilter::default();
    assert_eq!(list(h, &of_ids(&[ids[0], ids[2]])).await?, [ids[2], ids[0]]);
    assert_eq!(list(h, &JobFilter { queue: Some(other.clone()), ..filter.clone() }).await?, [ids[1]]);
    assert_eq!(list(h, &JobFilter { task: Some(other.clone()), ..filter.clone() }).await?, [ids[2]]);
    assert_eq!(list(h, &JobFilter { tag: Some("100 %_".to_owned()), ..filter.clone() }).await?, [ids[3]]);
    assert_eq!(list(h, &JobFilter { tag: Some("100".to_owned()), ..filter.clone() }).await?, []);
    let both = JobFilter { task: Some(other.clone()), queue: Some(other), ..filter };
    assert_eq!(list(h, &both).await?, [], "a job must match all that is given");
    Ok(())
}

pub(super) async fn jobs_are_found_by_when_they_came(h: &Harness) -> Result<()> {
    let old = h.push_one(h.job()).await?;
    h.advance(HOUR);
    let between = h.now();
    h.advance(HOUR);
    h.push_one(h.job()).await?;
    assert_eq!(list(h, &JobFilter { before: Some(between), ..JobFilter::default() }).await?, [old]);
    Ok(())
}

/// A filter that asks for something in each of its parts, the one job that has it all, and for each part the one job that
/// has all but that.
struct Narrow {
    filter: JobFilter,
    found: JobId,
    other_id: JobId,
    other_state: JobId,
    other_queue: JobId,
    other_task: JobId,
    other_tag: JobId,
    too_late: JobId,
}

impl Narrow {
    /// Of waiting jobs.
    async fn of_available(h: &Harness) -> Result<Self> {
        let other = h.other_queue("other");
        let job = || h.job().tag("bulk");
        let jobs =
            [job(), job(), job().delay(DAY), job().queue(&other), job().task(&other), h.job().tag("other"), job()];
        let [found, other_id, other_state, other_queue, other_task, other_tag, too_late] =
            jobs.each_ref().map(Draft::id);
        let mut jobs = jobs.into_iter();
        h.push(jobs.by_ref().take(6)).await?;
        h.advance(HOUR);
        let before = Some(h.now());
        h.advance(HOUR);
        h.push(jobs).await?;
        let filter = JobFilter {
            ids: vec![found, other_state, other_queue, other_task, other_tag, too_late],
            states: vec![State::Available],
            queue: Some(h.queue()),
            task: Some(h.queue()),
            tag: Some("bulk".to_owned()),
            before,
        };
        Ok(Self { filter, found, other_id, other_state, other_queue, other_task, other_tag, too_late })
    }

    /// Of dead letters.
    async fn of_discarded(h: &Harness) -> Result<Self> {
        let mut narrow = Self::of_available(h).await?;
        let (queue, other) = (h.queue(), h.other_queue("other"));
        let held = h.worker().claim_from(&[(&queue, 10), (&other, 10)], 20).await?;
        assert_eq!(held.len(), 6, "all but the one of another state are due");
        h.settle(held.iter().map(Held::discarded)).await?;
        h.cancel(&[narrow.other_state]).await?;
        narrow.filter.states = vec![State::Discarded];
        Ok(narrow)
    }

    /// The filter without one of its parts, and the job that comes in by that.
    fn widened(&self) -> [(JobFilter, JobId); 6] {
        let filter = || self.filter.clone();
        [
            (JobFilter { ids: vec![], ..filter() }, self.other_id),
            (JobFilter { states: vec![], ..filter() }, self.other_state),
            (JobFilter { queue: None, ..filter() }, self.other_queue),
            (JobFilter { task: None, ..filter() }, self.other_task),
            (JobFilter { tag: None, ..filter() }, self.other_tag),
            (JobFilter { before: None, ..filter() }, self.too_late),
        ]
    }

    /// Makes the change by the whole filter and then by each that lacks a part: each is to touch one job, which has
    /// become `changed` then; `None` where it is to be gone.
    async fn check(&self, h: &Harness, change: &Change, changed: Option<State>) -> Result<()> {
        let whole = (self.filter.clone(), self.found);
        for (filter, id) in [whole].into_iter().chain(self.widened()) {
            let done = h.inspect()?.change(change, &filter, 10).await?;
            assert_eq!(done, Changed { count: 1, more: false }, "{change:?} by {filter:?}");
            assert_eq!(h.find(id).await?.map(|job| job.state), changed, "{change:?} by {filter:?}");
        }
        Ok(())
    }
}

pub(super) async fn every_part_of_a_filter_keeps_jobs_from_a_list(h: &Harness) -> Result<()> {
    let narrow = Narrow::of_available(h).await?;
    assert_eq!(list(h, &narrow.filter).await?, [narrow.found]);
    for (filter, id) in narrow.widened() {
        let mut both = vec![narrow.found, id];
        both.sort();
        both.reverse();
        assert_eq!(list(h, &filter).await?, both, "by {filter:?}");
    }
    Ok(())
}

pub(super) async fn every_part_of_a_filter_keeps_jobs_from_being_cancelled(h: &Harness) -> Result<()> {
    let cancel = Change::Cancel { reason: "some of them".to_owned() };
    Narrow::of_available(h).await?.check(h, &cancel, Some(State::Cancelled)).await
}

pub(super) async fn every_part_of_a_filter_keeps_jobs_from_being_retried(h: &Harness) -> Result<()> {
    Narrow::of_discarded(h).await?.check(h, &Change::Retry, Some(State::Available)).await
}

pub(super) async fn every_part_of_a_filter_keeps_jobs_from_being_deleted(h: &Harness) -> Result<()> {
    Narrow::of_discarded(h).await?.check(h, &Change::Delete, None).await
}

pub(super) async fn pages_go_from_newest_to_oldest_without_gap(h: &Harness) -> Result<()> {
    let jobs = h.jobs(25);
    let mut expected: Vec<_> = jobs.iter().map(Draft::id).collect();
    expected.reverse();
    h.push(jobs).await?;
    h.worker().claim(10).await?;
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = h.inspect()?.list(&JobFilter::default(), after, 10).await?;
        let Some(last) = page.last() else { break };
        assert!(page.len() <= 10, "{} jobs on a page of ten", page.len());
        after = Some(last.id());
        found.extend(page.iter().map(Job::id));
    }
    assert_eq!(found, expected, "waiting and running jobs alike");
    Ok(())
}

pub(super) async fn page_after_an_unknown_job_goes_on_from_its_place(h: &Harness) -> Result<()> {
    let old = h.push_one(h.job()).await?;
    let between = JobId::new();
    let new = h.push_one(h.job()).await?;
    let page = h.inspect()?.list(&JobFilter::default(), Some(between), 10).await?;
    assert_eq!(page.iter().map(Job::id).collect::<Vec<_>>(), [old], "{new} is newer");
    assert_eq!(h.inspect()?.list(&JobFilter::default(), None, 0).await?, [], "a page of none");
    Ok(())
}

pub(super) async fn queues_are_counted_by_state(h: &Harness) -> Result<()> {
    let other = h.other_queue("other");
    OneOfEach::push(h).await?;
    h.push([h.job().queue(&other), h.job().queue(&other)]).await?;
    let queues = h.inspect()?.queues().await?;
    let [first, second] = &queues[..] else { panic!("two queues: {queues:?}") };
    assert_eq!((&first.queue, first.paused), (&h.queue(), false));
    let one_each = [State::Scheduled, State::Available, State::Running, State::Retryable].map(|state| (state, 1));
    assert_eq!(first.counts, one_each.into(), "finished jobs do not count");
    assert_eq!((&second.queue, &second.counts), (&other, &[(State::Available, 2)].into()));
    Ok(())
}

pub(super) async fn queue_tells_how_long_its_oldest_job_has_waited(h: &Harness) -> Result<()> {
    let oldest = async || Ok(h.inspect()?.queues().await?.into_iter().next().and_then(|queue| queue.oldest));
    h.push_one(h.job().delay(HOUR)).await?;
    assert_eq!(oldest().await?, None, "none has waited");
    let due = h.now().before(MINUTE);
    h.push([h.job(), h.job().at(due), h.job()]).await?;
    let found: Result<_> = oldest().await;
    assert_eq!(found?, Some(due));
    Ok(())
}

pub(super) async fn queue_whose_jobs_have_ended_is_not_listed(h: &Harness) -> Result<()> {
    let held = h.push_and_claim(h.job().keep(DAY)).await?;
    h.end(held.completed()).await?;
    assert_eq!(h.inspect()?.queues().await?, []);
    Ok(())
}

pub(super) async fn paused_queue_hands_out_nothing(h: &Harness) -> Result<()> {
    let other = h.other_queue("other");
    h.push([h.job(), h.job().queue(&other)]).await?;
    h.inspect()?.pause(&h.queue(), true).await?;
    let held = h.worker().claim_from(&[(&h.queue(), 5), (&other, 5)], 5).await?;
    assert_eq!(held.iter().map(|held| &held.job.spec.queue).collect::<Vec<_>>(), [&other]);
    h.inspect()?.pause(&h.queue(), false).await?;
    assert_eq!(h.worker().claim(5).await?.len(), 1);
    Ok(())
}

pub(super) async fn resumed_queue_hands_out_again(h: &Harness) -> Result<()> {
    let before = h.push_one(h.job()).await?;
    h.inspect()?.pause(&h.queue(), true).await?;
    let meanwhile = h.push_one(h.job()).await?;
    assert_eq!(h.worker().claim(5).await?.len(), 0);
    h.inspect()?.pause(&h.queue(), false).await?;
    let after = h.push_one(h.job()).await?;
    let mut held: Vec<_> = h.worker().claim(5).await?.iter().map(Held::id).collect();
    held.sort();
    assert_eq!(held, [before, meanwhile, after]);
    Ok(())
}

pub(super) async fn paused_queue_takes_jobs_and_lets_running_ones_end(h: &Harness) -> Result<()> {
    let held = h.push_and_claim(h.job()).await?;
    h.inspect()?.pause(&h.queue(), true).await?;
    h.push_one(h.job()).await?;
    h.end(held.failed(Duration::ZERO)).await?;
    assert_eq!(h.worker().claim(5).await?.len(), 0);
    Ok(())
}

pub(super) async fn paused_queue_is_heard_of_by_its_workers_only(h: &Harness) -> Result<()> {
    let other = h.other_queue("other");
    h.inspect()?.pause(&other, true).await?;
    assert_eq!(h.worker().extend([]).await?.paused, Vec::<Name>::new(), "another queue");
    h.inspect()?.pause(&h.queue(), true).await?;
    assert_eq!(h.worker().extend([]).await?.paused, [h.queue()]);
    h.inspect()?.pause(&h.queue(), false).await?;
    assert_eq!(h.worker().extend([]).await?.paused, Vec::<Name>::new(), "resumed");
    Ok(())
}

pub(super) async fn paused_queue_is_listed_even_when_empty(h: &Harness) -> Result<()> {
    h.inspect()?.pause(&h.queue(), true).await?;
    let expected = QueueStats { queue: h.queue(), paused: true, counts: [].into(), oldest: None };
    assert_eq!(h.inspect()?.queues().await?, [expected]);
    Ok(())
}

pub(super) async fn repeated_pause_changes_nothing(h: &Harness) -> Result<()> {
    for paused in [true, true, false, false] {
        h.inspect()?.pause(&h.queue(), paused).await?;
    }
    assert_eq!(h.inspect()?.queues().await?, []);
    Ok(())
}

pub(super) async fn workers_are_listed_while_their_hearts_beat(h: &Harness) -> Result<()> {
    let (ada, bob) = (h.worker(), h.worker());
    h.push(h.jobs(3)).await?;
    ada.claim(3).await?;
    ada.extend([]).await?;
    h.advance(LEASE / 3 * 2);
    bob.extend([]).await?;
    let workers = h.inspect()?.workers().await?;
    let [first, second] = &workers[..] else { panic!("two workers: {workers:?}") };
    assert_eq!((&first.record, first.running), (&ada.record(), 3));
    assert_eq!((&second.record, second.running), (&bob.record(), 0));
    assert!(first.seen < second.seen, "seen when its heart beat last");
    h.advance(LEASE / 3);
    let left: Vec<_> = h.inspect()?.workers().await?.iter().map(|worker| worker.record.id).collect();
    assert_eq!(left, [bob.id], "the other is silent for too long");
    Ok(())
}

pub(super) async fn worker_that_says_goodbye_is_not_listed(h: &Harness) -> Result<()> {
    let worker = h.worker();
    worker.extend([]).await?;
    for _ in 0..2 {
        h.inspect()?.deregister(worker.id).await?;
        assert_eq!(h.inspect()?.workers().await?, [], "saying it twice is fine");
    }
    Ok(())
}

pub(super) async fn retry_by_hand_gives_a_fresh_budget(h: &Harness) -> Result<()> {
    let held = h.push_and_claim(h.job().attempts(2)).await?;
    h.end(held.discarded()).await?;
    let changed = h.inspect()?.change(&Change::Retry, &of_ids(&[held.id()]), 10).await?;
    assert_eq!(changed, Changed { count: 1, more: false });
    let again = h.worker().claim_one().await?;
    assert_eq!((again.id(), again.job.attempt, again.job.attempt_limit), (held.id(), 2, 3));
    assert_eq!(again.job.history.len(), 1, "its past is kept");
    h.end(again.completed()).await
}

pub(super) async fn retry_by_hand_takes_terminal_jobs_only(h: &Harness) -> Result<()> {
    let jobs = OneOfEach::push(h).await?;
    let changed = h.inspect()?.change(&Change::Retry, &JobFilter::default(), 100).await?;
    assert_eq!(changed.count, 4);
    let available = list(h, &of_states(&[State::Available])).await?;
    assert_eq!(available.len(), 5);
    assert!([jobs.completed, jobs.discarded, jobs.cancelled, jobs.expired].iter().all(|id| available.contains(id)));
    Ok(())
}

pub(super) async fn retried_job_is_pending_again(h: &Harness) -> Result<()> {
    let held = h.push_and_claim(h.job().keep(HOUR)).await?;
    h.end(held.returned(b"1")).await?;
    h.inspect()?.change(&Change::Retry, &of_ids(&[held.id()]), 10).await?;
    assert!(matches!(h.fetch(held.id()).await?, Fetched::Pending { state: State::Available, attempt: 1, .. }));
    Ok(())
}

pub(super) async fn cancel_by_filter_calls_off_what_has_not_ended(h: &Harness) -> Result<()> {
    let jobs = OneOfEach::push(h).await?;
    let cancel = Change::Cancel { reason: "all of them".to_owned() };
    let changed = h.inspect()?.change(&cancel, &JobFilter::default(), 100).await?;
    assert_eq!(changed, Changed { count: 4, more: false });
    let cancelled = list(h, &of_states(&[State::Cancelled])).await?;
    assert_eq!(cancelled, [jobs.available, jobs.scheduled, jobs.cancelled, jobs.retryable]);
    assert_eq!(list(h, &of_states(&[State::Running])).await?, [jobs.running], "its worker is asked to stop");
    Ok(())
}

pub(super) async fn job_is_called_off_once(h: &Harness) -> Result<()> {
    let held = h.push_and_claim(h.job()).await?;
    let cancel = Change::Cancel { reason: "all of them".to_owned() };
    for expected in [1, 0] {
        let changed = h.inspect()?.change(&cancel, &JobFilter::default(), 10).await?;
        assert_eq!(changed, Changed { count: expected, more: false });
    }
    h.end(held.cancelled()).await
}

pub(super) async fn jobs_that_are_passed_over_do_not_hide_others(h: &Harness) -> Result<()> {
    let mut taken = Vec::new();
    for n in 0..5 {
        let dead = h.push_and_claim(h.job().unique(format!("key-{n}"))).await?;
        h.end(dead.discarded()).await?;
        taken.push(h.job().unique(format!("key-{n}")).delay(DAY));
    }
    let free = h.push_and_claim(h.job()).await?;
    h.end(free.discarded()).await?;
    h.push(taken).await?;
    assert_eq!(h.inspect()?.change(&Change::Retry, &JobFilter::default(), 2).await?.count, 1);
    assert_eq!(h.worker().claim(5).await?.iter().map(Held::id).collect::<Vec<_>>(), [free.id()]);
    Ok(())
}

pub(super) async fn delete_removes_all_but_running_jobs(h: &Harness) -> Result<()> {
    let jobs = OneOfEach::push(h).await?;
    let changed = h.inspect()?.change(&Change::Delete, &JobFilter::default(), 100).await?;
    assert_eq!(changed, Changed { count: 7, more: false });
    assert_eq!(list(h, &JobFilter::default()).await?, [jobs.running]);
    assert_eq!(h.fetch(jobs.completed).await?, Fetched::Absent);
    Ok(())
}

pub(super) async fn change_is_bounded_and_says_that_there_is_more(h: &Harness) -> Result<()> {
    let filter = JobFilter { queue: Some(h.queue()), ..JobFilter::default() };
    h.push(h.jobs(25)).await?;
    let mut counts = Vec::new();
    loop {
        let changed = h.inspect()?.change(&Change::Delete, &filter, 10).await?;
        counts.push(changed.count);
        if !changed.more {
            break;
        }
    }
    assert_eq!(counts, [10, 10, 5]);
    assert_eq!(list(h, &filter).await?, []);
    Ok(())
}

pub(super) async fn change_touches_only_what_matches(h: &Harness) -> Result<()> {
    let other = h.other_queue("other");
    let spared = h.job().queue(&other);
    let id = spared.id();
    h.push([h.job(), spared, h.job()]).await?;
    let filter = JobFilter { queue: Some(h.queue()), ..JobFilter::default() };
    assert_eq!(h.inspect()?.change(&Change::Delete, &filter, 10).await?.count, 2);
    assert_eq!(list(h, &JobFilter::default()).await?, [id]);
    Ok(())
}

/// Keeps everything but what `change` shortens to nothing.
fn retention(change: impl FnOnce(&mut Retention)) -> Retention {
    let mut retention = Retention { expired_result: DAY, discarded: DAY, cancelled: DAY };
    change(&mut retention);
    retention
}

pub(super) async fn prune_removes_what_is_old_enough(h: &Harness) -> Result<()> {
    let jobs = OneOfEach::push(h).await?;
    let retention = Retention { expired_result: HOUR, discarded: DAY * 30, cancelled: DAY * 7 };
    let count = async || Ok(h.inspect()?.prune(&retention, 100).await?.count);
    let pruned: Result<usize> = count().await;
    assert_eq!(pruned?, 0, "nothing is old yet");
    h.advance(DAY + HOUR + MINUTE);
    assert_eq!(count().await?, 1);
    assert_eq!(h.find(jobs.completed).await?, None, "its result has expired an hour ago");
    h.advance(DAY * 7);
    assert_eq!(count().await?, 2, "the cancelled and the expired job");
    h.advance(DAY * 30);
    assert_eq!(count().await?, 1, "the dead letter");
    assert_eq!(count().await?, 0, "once is enough");
    let mut left = list(h, &JobFilter::default()).await?;
    left.sort();
    let mut unfinished = vec![jobs.running, jobs.retryable, jobs.scheduled, jobs.available];
    unfinished.sort();
    assert_eq!(left, unfinished, "unfinished jobs stay for ever");
    Ok(())
}

pub(super) async fn prune_tells_kinds_of_endings_apart(h: &Harness) -> Result<()> {
    let jobs = OneOfEach::push(h).await?;
    let count = h.inspect()?.prune(&retention(|keep| keep.discarded = Duration::ZERO), 100).await?.count;
    assert_eq!((count, h.find(jobs.discarded).await?), (1, None));
    let count = h.inspect()?.prune(&retention(|keep| keep.cancelled = Duration::ZERO), 100).await?.count;
    assert_eq!((count, h.find(jobs.cancelled).await?, h.find(jobs.expired).await?), (2, None, None));
    let count = h.inspect()?.prune(&retention(|keep| keep.expired_result = Duration::ZERO), 100).await?.count;
    assert_eq!(count, 0, "the result of the completed job lives for a day");
    Ok(())
}

pub(super) async fn prune_is_bounded_and_says_that_there_is_more(h: &Harness) -> Result<()> {
    h.push(h.jobs(25)).await?;
    let held = h.worker().claim(25).await?;
    h.settle(held.iter().map(Held::discarded)).await?;
    h.advance(DAY);
    let mut counts = Vec::new();
    loop {
        let changed = h.inspect()?.prune(&retention(|_| ()), 10).await?;
        counts.push(changed.count);
        if !changed.more {
            break;
        }
    }
    assert_eq!(counts, [10, 10, 5]);
    Ok(())
}

pub(super) async fn expired_result_is_absent_once_it_is_pruned(h: &Harness) -> Result<()> {
    let held = h.push_and_claim(h.job().keep(MINUTE)).await?;
    h.end(held.returned(b"1")).await?;
    h.advance(HOUR);
    assert_eq!(h.fetch(held.id()).await?, Fetched::Expired);
    h.inspect()?.prune(&retention(|keep| keep.expired_result = MINUTE), 10).await?;
    assert_eq!(h.fetch(held.id()).await?, Fetched::Absent);
    Ok(())
}
