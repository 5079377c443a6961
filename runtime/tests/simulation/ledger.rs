//! What happened, kept apart from the store: every call that reached it, what it answered, and what therefore must be.
//!
//! The rules are written here a second time, on purpose: a mistake in `policy` or in a store does not agree with itself.
//! The first disagreement stands and ends the run.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

use taskwright::backend::{
    Cancel, Cancelled, Claim, Extend, Extended, Fetched, Push, Pushed, Reap, Reaped, Settled, Settlement,
};
use taskwright::job::{Allowance, BatchId, Job, JobId, JobSpec, Lease, Name, NewJob, OnConflict, WorkerId};
use taskwright::policy::Verdict;
use taskwright::{State, Timestamp};

use crate::keys::Keys;
use crate::limits::{self, Holds, Limits};

/// All that a run has seen.
pub(crate) struct Ledger {
    began: Timestamp,
    jobs: BTreeMap<JobId, Entry>,
    keys: Keys,
    limits: Limits,
    /// What became of jobs that met their key, which is answered again when their batch is repeated.
    met: BTreeMap<(BatchId, JobId), Pushed>,
    /// The live leases. A store may give jobs that are claimed together one token.
    leases: BTreeMap<(JobId, u64), Live>,
    tokens: BTreeSet<(JobId, u64)>,
    claims: BTreeSet<Claimant>,
    /// Attempts whose task returned a value.
    returned: BTreeSet<Claimant>,
    /// How often each job's task was begun.
    starts: BTreeMap<JobId, u32>,
    /// Attempts that run now, and in which queue. Redelivered ones are there twice.
    running: Vec<(Claimant, Name)>,
    paused: BTreeSet<Name>,
    workers: BTreeMap<WorkerId, Capacity>,
    log: String,
    broken: Option<String>,
}

/// One claim of a job, as its task sees it.
pub(crate) type Claimant = (JobId, u32, WorkerId);

/// How much a worker may run at once.
pub(crate) struct Capacity {
    pub(crate) number: usize,
    pub(crate) slots: usize,
    /// The most jobs of one queue, where that is limited.
    pub(crate) queue: Option<(Name, usize)>,
}

struct Entry {
    number: usize,
    spec: Arc<JobSpec>,
    pushed: Timestamp,
    /// Whether a worker ever claimed it.
    claimed: bool,
    due: Timestamp,
    expires: Option<Timestamp>,
    attempt: u32,
    crashes: u32,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Waiting,
    Leased(u64),
    Ended(State),
}

struct Live {
    lapses: Timestamp,
    called_off: bool,
    holds: Holds,
}

impl Ledger {
    pub(crate) fn new(began: Timestamp) -> Self {
        Self {
            began,
            jobs: BTreeMap::new(),
            keys: Keys::default(),
            limits: Limits::default(),
            met: BTreeMap::new(),
            leases: BTreeMap::new(),
            tokens: BTreeSet::new(),
            claims: BTreeSet::new(),
            returned: BTreeSet::new(),
            starts: BTreeMap::new(),
            running: Vec::new(),
            paused: BTreeSet::new(),
            workers: BTreeMap::new(),
            log: String::new(),
            broken: None,
        }
    }

    /// The first thing that was not as it must be.
    pub(crate) fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    /// Every event, a line each.
    pub(crate) fn log(&self) -> &str {
        &self.log
    }

    /// The store was asked at this time.
    pub(crate) fn seen(&mut self, now: Timestamp) {
        self.keys.seen(now);
        self.limits.seen(now);
    }

    pub(crate) fn note(&mut self, now: Timestamp, what: &str) {
        self.seen(now);
        let since = now.as_micros() - self.began.as_micros();
        // Writing to a string can't fail.
        let _ = writeln!(
            self.log,
            "{:>10.3}  {what}",
            std::time::Duration::from_micros(since.unsigned_abs()).as_secs_f64()
        );
    }

    pub(crate) fn must(&mut self, holds: bool, otherwise: impl FnOnce(&Self) -> String) {
        if !holds && self.broken.is_none() {
            let what = otherwise(self);
            let _ = writeln!(self.log, "            ** {what}");
            self.broken = Some(what);
        }
    }

    pub(crate) fn hired(&mut self, worker: WorkerId, capacity: Capacity) {
        self.workers.insert(worker, capacity);
    }

    pub(crate) fn pushed(&mut self, push: &Push, answers: &[Pushed], now: Timestamp) {
        self.must(answers.len() == push.jobs.len(), |_| "P1: a push was not answered for each of its jobs".to_owned());
        for (new, answer) in push.jobs.iter().zip(answers) {
            let id = new.spec.id;
            match *answer {
                Pushed::Stored => self.stored(new, now),
                Pushed::Repeated => {
                    self.must(self.jobs.contains_key(&id), |it| {
                        format!("P1: {} was called stored before, and never was", it.name(id))
                    });
                }
                Pushed::Conflict(_) | Pushed::Replaced(_) => self.met(push.batch, new, *answer, now),
            }
            let line = format!("push   {} {} -> {}", self.name(id), new.spec.task, self.push_answer(*answer));
            self.note(now, &line);
        }
    }

    fn push_answer(&self, answer: Pushed) -> String {
        match answer {
            Pushed::Conflict(holder) => format!("conflict with {}", self.name(holder)),
            Pushed::Replaced(holder) => format!("in place of {}", self.name(holder)),
            other => format!("{other:?}").to_lowercase(),
        }
    }

    /// A job met another one that has its key.
    fn met(&mut self, batch: BatchId, new: &NewJob, answer: Pushed, now: Timestamp) {
        let (Pushed::Conflict(holder) | Pushed::Replaced(holder)) = answer else { return };
        let before = self.met.insert((batch, new.spec.id), answer);
        if before == Some(answer) {
            return;
        }
        let key = new.spec.unique.as_ref().map(|unique| unique.key.as_str()).unwrap_or_default();
        let is_so = self.keys.has(holder, key, now);
        self.must(is_so, |it| format!("P7: {key} was refused for {}, which does not have it", it.name(holder)));
        let replaced = self.jobs.get(&holder).and_then(|entry| entry.replaced_by(new, now));
        self.must(replaced.is_some() == matches!(answer, Pushed::Replaced(_)), |it| {
            let can = if replaced.is_some() { "can" } else { "can't" };
            format!("P7: {} {can} be replaced, and the answer is {answer:?}", it.name(holder))
        });
        if let (Some(replaced), Some(entry)) = (replaced, self.jobs.get_mut(&holder)) {
            *entry = replaced;
        }
    }

    fn stored(&mut self, new: &NewJob, now: Timestamp) {
        let id = new.spec.id;
        self.must(!self.jobs.contains_key(&id), |it| format!("P1: {} was stored a second time", it.name(id)));
        if let Some(unique) = &new.spec.unique {
            let holder = self.keys.take(unique, id, now);
            self.must(holder.is_none(), |it| {
                let holder = holder.map(|holder| it.name(holder)).unwrap_or_default();
                format!("P7: a second job with key {} was stored, while {holder} had it", unique.key)
            });
        }
        let entry = Entry {
            number: self.jobs.len() + 1,
            pushed: now,
            claimed: false,
            due: new.due.resolve(now),
            expires: new.expires.map(|expires| expires.resolve(now)),
            attempt: 0,
            crashes: 0,
            place: Place::Waiting,
            spec: Arc::clone(&new.spec),
        };
        self.jobs.insert(id, entry);
    }

    pub(crate) fn claimed(&mut self, claim: &Claim, jobs: &[(Lease, Job)], now: Timestamp) {
        self.must(jobs.len() <= claim.limit, |_| format!("a claim of {} was given {}", claim.limit, jobs.len()));
        for wish in &claim.queues {
            let count = jobs.iter().filter(|(_, job)| job.spec.queue == wish.queue).count();
            self.must(count <= wish.limit, |_| {
                format!("a claim of {} in {} was given {count}", wish.limit, wish.queue)
            });
        }
        for (lease, job) in jobs {
            let line =
                format!("claim  {} by {}, token {}", self.name_at(lease), self.worker(claim.worker), lease.token);
            self.note(now, &line);
            self.handed_out(claim, lease, job, now);
        }
        self.counted(jobs, now);
    }

    /// Counts what was claimed against its limits.
    fn counted(&mut self, jobs: &[(Lease, Job)], now: Timestamp) {
        // Of what is claimed together nobody knows which came first, and some order must be right: what asks for less
        // can't come after what asks for more, where both are to pass.
        let strictness = |id| self.jobs.get(&id).map(|entry| limits::strictness(&entry.spec));
        let mut jobs: Vec<_> = jobs.iter().map(|(lease, _)| (strictness(lease.job), *lease)).collect();
        jobs.sort_unstable_by_key(|(strictness, lease)| (*strictness, lease.job));
        for (_, lease) in jobs {
            let Some(entry) = self.jobs.get(&lease.job) else { continue };
            let (holds, exceeded) = self.limits.start(&entry.spec, now);
            if let Some(live) = self.leases.get_mut(&(lease.job, lease.token)) {
                live.holds = holds;
            }
            self.must(exceeded.is_empty(), |it| {
                format!("P13: {} was handed out, and {}", it.name(lease.job), exceeded.join("; "))
            });
        }
    }

    fn handed_out(&mut self, claim: &Claim, lease: &Lease, job: &Job, now: Timestamp) {
        let name = self.name(lease.job);
        let fresh = self.tokens.insert((lease.job, lease.token));
        self.must(fresh, |_| format!("P3: token {} was given twice", lease.token));
        self.must(!self.paused.contains(&job.spec.queue), |_| format!("P11: {name} was handed out by a paused queue"));
        self.must(!claim.unknown.contains(&job.spec.task), |_| {
            format!("P8: {name} was handed to who does not know it")
        });
        let Some(entry) = self.jobs.get_mut(&lease.job) else {
            return self.must(false, |_| format!("a job was handed out that nobody stored: {}", lease.job));
        };
        let place = std::mem::replace(&mut entry.place, Place::Leased(lease.token));
        let (due, expires) = (entry.due, entry.expires);
        entry.attempt += 1;
        entry.claimed = true;
        let (attempt, crashes) = (entry.attempt, entry.crashes);
        if let Some(unique) = &entry.spec.unique {
            self.keys.started(lease.job, unique);
        }
        self.must(place == Place::Waiting, |_| match place {
            Place::Leased(token) => format!("P2: {name} was handed out, while the lease with token {token} was live"),
            _ => format!("{name} was handed out after its end: {place:?}"),
        });
        self.must(due <= now, |_| format!("P4: {name} was handed out before it was due"));
        self.must(expires.is_none_or(|expires| expires > now), |_| format!("P10: {name} was started past its expiry"));
        self.must(job.attempt == attempt && lease.attempt == attempt, |_| {
            format!("attempts: {name} was handed out for attempt {}, and this is attempt {attempt}", job.attempt)
        });
        self.must(job.crashes == crashes, |_| {
            format!("P5: {name} came with {} crashes counted, after {crashes} happened", job.crashes)
        });
        self.claims.insert((lease.job, lease.attempt, claim.worker));
        self.leases.insert(
            (lease.job, lease.token),
            Live { lapses: now.after(claim.ttl), called_off: false, holds: Holds::new() },
        );
    }

    pub(crate) fn extended(&mut self, extend: &Extend, answer: &Extended, now: Timestamp) {
        let mut lost = Vec::new();
        let mut called_off = Vec::new();
        for renewal in &extend.renewals {
            match self.leases.get_mut(&(renewal.lease.job, renewal.lease.token)) {
                Some(live) => {
                    live.lapses = now.after(extend.ttl);
                    if live.called_off {
                        called_off.push(renewal.lease);
                    }
                }
                None => lost.push(renewal.lease),
            }
        }
        let told: Vec<_> = answer.cancelled.iter().map(|(lease, _)| *lease).collect();
        let listed =
            |it: &Self, leases: &[Lease]| leases.iter().map(|lease| it.name_at(lease)).collect::<Vec<_>>().join(" ");
        let line = format!(
            "extend {} by {}, lost [{}], called off [{}]",
            extend.renewals.iter().map(|renewal| self.name_at(&renewal.lease)).collect::<Vec<_>>().join(" "),
            self.worker(extend.worker.id),
            listed(self, &answer.lost),
            listed(self, &told),
        );
        self.note(now, &line);
        self.must(same(&answer.lost, &lost), |it| format!("P3: the leases of [{}] are lost", listed(it, &lost)));
        self.must(same(&told, &called_off), |it| format!("P9: [{}] are called off", listed(it, &called_off)));
        let paused: BTreeSet<_> = extend.worker.queues.iter().filter(|queue| self.paused.contains(*queue)).collect();
        self.must(answer.paused.iter().collect::<BTreeSet<_>>() == paused, |_| format!("P11: {paused:?} are paused"));
    }

    pub(crate) fn settled(&mut self, settlements: &[Settlement], answers: &[Settled], now: Timestamp) {
        for (settlement, answer) in settlements.iter().zip(answers) {
            let lease = settlement.lease;
            let name = self.name_at(&lease);
            let line = format!("settle {name} {}, token {} -> {answer:?}", told(&settlement.verdict), lease.token);
            self.note(now, &line);
            let ended = self.leases.remove(&(lease.job, lease.token));
            self.must((*answer == Settled::Applied) == ended.is_some(), |_| {
                let lease_is = if ended.is_some() { "live" } else { "gone" };
                format!(
                    "P3: the settlement of {name} with token {} is {answer:?}, its lease is {lease_is}",
                    lease.token
                )
            });
            let claimant = (lease.job, lease.attempt, lease.worker);
            if let (Verdict::Complete { .. }, false) = (&settlement.verdict, self.returned.contains(&claimant)) {
                self.must(false, |_| format!("{name} was completed, and its task had not returned"));
            }
            if let Some(live) = ended {
                self.limits.end(&live.holds);
                self.end_attempt(lease.job, &settlement.verdict, live.called_off, now);
            }
        }
    }

    fn end_attempt(&mut self, id: JobId, verdict: &Verdict, called_off: bool, now: Timestamp) {
        let Some(entry) = self.jobs.get_mut(&id) else { return };
        let place = match verdict {
            Verdict::Complete { .. } => Place::Ended(State::Completed),
            Verdict::Retry { after, .. } if entry.attempt < entry.spec.max_attempts => {
                entry.due = now.after(*after);
                Place::Waiting
            }
            Verdict::Retry { .. } | Verdict::Discard { .. } => Place::Ended(State::Discarded),
            Verdict::Cancel { .. } => Place::Ended(State::Cancelled),
            Verdict::Expire => {
                entry.attempt -= 1;
                Place::Ended(State::Expired)
            }
            Verdict::Return { after, .. } => {
                entry.attempt -= 1;
                entry.due = now.after(*after);
                Place::Waiting
            }
        };
        self.lay(id, if place == Place::Waiting && called_off { Place::Ended(State::Cancelled) } else { place });
    }

    pub(crate) fn cancelled(&mut self, cancel: &Cancel, answers: &[Cancelled], now: Timestamp) {
        for (id, answer) in cancel.ids.iter().zip(answers) {
            let line = format!("cancel {} -> {answer:?}", self.name(*id));
            self.note(now, &line);
            let place = self.jobs.get(id).map(|entry| (entry.place, entry.is_kept()));
            let expected = match place {
                Some((Place::Waiting, _)) => Cancelled::Ended,
                Some((Place::Leased(token), _)) => {
                    if let Some(live) = self.leases.get_mut(&(*id, token)) {
                        live.called_off = true;
                    }
                    Cancelled::Requested
                }
                Some((Place::Ended(state), true)) => Cancelled::Finished(state),
                Some((Place::Ended(_), false)) | None => Cancelled::Absent,
            };
            self.must(*answer == expected, |it| format!("P9: calling off {} is {expected:?}", it.name(*id)));
            if expected == Cancelled::Ended {
                self.lay(*id, Place::Ended(State::Cancelled));
            }
        }
    }

    pub(crate) fn reaped(&mut self, reap: &Reap, answer: &Reaped, now: Timestamp) {
        let lapsed: Vec<_> =
            self.leases.iter().filter(|(_, live)| live.lapses <= now).map(|(lease, _)| *lease).collect();
        let (mut returned, mut discarded) = (0, 0);
        let mut names = Vec::new();
        for (id, token) in lapsed {
            let Some(live) = self.leases.remove(&(id, token)) else { continue };
            self.limits.end(&live.holds);
            let Some(entry) = self.jobs.get_mut(&id) else { continue };
            entry.crashes += 1;
            entry.due = now;
            names.push(format!("j{}#{}", entry.number, entry.attempt));
            let is_over = entry.crashes >= reap.max_crashes || entry.attempt >= entry.spec.max_attempts;
            let place = match (is_over, live.called_off) {
                (true, _) => Place::Ended(State::Discarded),
                (false, true) => Place::Ended(State::Cancelled),
                (false, false) => Place::Waiting,
            };
            if place == Place::Waiting {
                returned += 1;
            } else {
                discarded += 1;
            }
            self.lay(id, place);
        }
        let late = |entry: &Entry| entry.place == Place::Waiting && entry.expires.is_some_and(|expires| expires <= now);
        let expired: Vec<JobId> = self.jobs.iter().filter(|(_, entry)| late(entry)).map(|(id, _)| *id).collect();
        for id in &expired {
            self.lay(*id, Place::Ended(State::Expired));
        }
        if returned + discarded + expired.len() > 0 {
            let expired: Vec<_> = expired.iter().map(|id| self.name(*id)).collect();
            self.note(now, &format!("reap   lapsed [{}], expired [{}]", names.join(" "), expired.join(" ")));
        }
        let expected = Reaped { returned, discarded, expired: expired.len(), ..Reaped::default() };
        self.must(*answer == expected, |_| format!("P5: a reap did {answer:?}, and had to do {expected:?}"));
    }

    pub(crate) fn paused(&mut self, queue: &Name, paused: bool, now: Timestamp) {
        self.note(now, &format!("pause  {queue} {paused}"));
        if paused {
            self.paused.insert(queue.clone());
        } else {
            self.paused.remove(queue);
        }
    }

    pub(crate) fn limited(&mut self, key: &str, allowance: Allowance, now: Timestamp) {
        self.note(now, &format!("limit  {key} {allowance}"));
        self.limits.set(key, allowance);
    }

    fn lay(&mut self, id: JobId, place: Place) {
        let Some(entry) = self.jobs.get_mut(&id) else { return };
        entry.place = place;
        if let (Place::Ended(_), Some(unique)) = (place, &entry.spec.unique) {
            self.keys.ended(id, unique);
        }
    }

    /// A task begins an attempt.
    pub(crate) fn started(&mut self, claimant: Claimant, queue: &Name) {
        let (job, attempt, worker) = claimant;
        self.must(self.claims.contains(&claimant), |it| {
            format!("{}#{attempt} runs in {}, which never claimed it", it.name(job), it.worker(worker))
        });
        *self.starts.entry(job).or_default() += 1;
        self.running.push((claimant, queue.clone()));
        let of_worker = || self.running.iter().filter(|((_, _, other), _)| *other == worker);
        let Some(capacity) = self.workers.get(&worker) else { return };
        let all = of_worker().count();
        let in_queue =
            capacity.queue.as_ref().map(|(name, most)| (of_worker().filter(|(_, queue)| queue == name).count(), *most));
        let slots = capacity.slots;
        self.must(all <= slots, |it| format!("P13: {} runs {all} jobs in {slots} slots", it.worker(worker)));
        self.must(in_queue.is_none_or(|(count, most)| count <= most), |it| {
            format!("P13: {} runs more jobs of a queue than its limit: {in_queue:?}", it.worker(worker))
        });
    }

    /// A task's attempt is over: it returned a value, or failed, or was dropped.
    pub(crate) fn stopped(&mut self, claimant: Claimant, returned: bool) {
        if let Some(place) = self.running.iter().position(|(running, _)| *running == claimant) {
            self.running.swap_remove(place);
        }
        if returned {
            self.returned.insert(claimant);
        }
    }

    /// How often a job's task was begun.
    pub(crate) fn times_started(&self, id: JobId) -> u32 {
        self.starts.get(&id).copied().unwrap_or(0)
    }

    /// Jobs that have not ended.
    pub(crate) fn unfinished(&self) -> Vec<JobId> {
        let open = self.jobs.iter().filter(|(_, entry)| !matches!(entry.place, Place::Ended(_)));
        open.map(|(id, _)| *id).collect()
    }

    /// How many jobs were stored.
    pub(crate) fn count(&self) -> usize {
        self.jobs.len()
    }

    /// How a job ended, if it has.
    pub(crate) fn end_of(&self, id: JobId) -> Option<State> {
        match self.jobs.get(&id)?.place {
            Place::Ended(state) => Some(state),
            _ => None,
        }
    }

    /// Everything has ended, and this is what the store has and says.
    pub(crate) fn closed(&mut self, kept: &[Job], outcomes: &[(JobId, Fetched)]) {
        let open: Vec<_> = self.unfinished().iter().map(|id| self.described(*id)).collect();
        self.must(open.is_empty(), |_| format!("lost: these jobs never end: {}", open.join(", ")));
        let expected = self.jobs.values().filter(|entry| entry.is_kept()).count();
        self.must(kept.len() == expected, |_| format!("the store keeps {} jobs, and should {expected}", kept.len()));
        for job in kept {
            let entry = self.jobs.get(&job.id()).map(|entry| (entry.place, entry.attempt, entry.crashes));
            let found = Some((Place::Ended(job.state), job.attempt, job.crashes));
            self.must(entry == found, |it| {
                format!("{} is kept as {found:?}, and what happened is {entry:?}", it.name(job.id()))
            });
        }
        for (id, fetched) in outcomes {
            let state = match fetched {
                Fetched::Finished(outcome) => Some(outcome.state),
                _ => None,
            };
            let kept = self.jobs.get(id).is_some_and(Entry::is_kept);
            let expected = self.end_of(*id).filter(|_| kept);
            self.must(state == expected, |it| format!("P12: {} is told as {fetched:?}", it.name(*id)));
        }
    }

    /// The ids of all jobs.
    pub(crate) fn ids(&self) -> Vec<JobId> {
        self.jobs.keys().copied().collect()
    }

    pub(crate) fn name(&self, id: JobId) -> String {
        self.jobs.get(&id).map_or_else(|| format!("({id})"), |entry| format!("j{}", entry.number))
    }

    fn name_at(&self, lease: &Lease) -> String {
        format!("{}#{}", self.name(lease.job), lease.attempt)
    }

    fn described(&self, id: JobId) -> String {
        let Some(Entry { spec, place, .. }) = self.jobs.get(&id) else { return String::new() };
        format!("{} ({}, {place:?})", self.name(id), spec.task)
    }

    fn worker(&self, id: WorkerId) -> String {
        self.workers.get(&id).map_or_else(|| id.to_string(), |capacity| format!("w{}", capacity.number))
    }
}

impl Entry {
    /// Whether the store keeps the job now that it has ended.
    fn is_kept(&self) -> bool {
        self.place != Place::Ended(State::Completed) || self.spec.keep_result.is_some()
    }

    /// How it goes on after a push of its key that asks for its place; `None` where that comes too late.
    fn replaced_by(&self, new: &NewJob, now: Timestamp) -> Option<Self> {
        let OnConflict::Replace(replace) = new.spec.unique.as_ref()?.conflict else { return None };
        if self.place != Place::Waiting || self.claimed || self.spec.task != new.spec.task {
            return None;
        }
        let mut spec = JobSpec::clone(&self.spec);
        if replace.payload {
            spec.payload = new.spec.payload.clone();
            spec.limits.clone_from(&new.spec.limits);
        }
        let (mut due, mut expires) = (self.due, self.expires);
        if replace.due {
            due = new.due.resolve(now);
            due = replace.longest.map_or(due, |longest| due.min(self.pushed.after(longest)));
            expires = new.expires.map(|expires| expires.resolve(now));
        }
        let comes_too_late = expires.is_some_and(|expires| expires <= now);
        (!comes_too_late).then(|| Self { spec: Arc::new(spec), due, expires, ..*self })
    }
}

fn same(left: &[Lease], right: &[Lease]) -> bool {
    let tokens = |leases: &[Lease]| leases.iter().map(|lease| (lease.job, lease.token)).collect::<BTreeSet<_>>();
    tokens(left) == tokens(right)
}

fn told(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Complete { .. } => "completed".to_owned(),
        Verdict::Retry { after, failure } => format!("failed ({}), again in {after:?}", failure.message),
        Verdict::Discard { failure } => format!("given up ({})", failure.message),
        Verdict::Cancel { reason } => format!("called off ({reason})"),
        Verdict::Expire => "expired".to_owned(),
        Verdict::Return { after, why } => format!("returned ({why:?}), again in {after:?}"),
    }
}
