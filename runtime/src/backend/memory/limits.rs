//! Limits, and the lanes in which jobs wait for them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::Memory;
use super::slab::Slot;
use super::store::Desk;
use super::waiting::{Queue, Turn};
use super::wake::News;
use crate::backend::{LimitSource, LimitStats, Limiter};
use crate::error::Result;
use crate::job::{Allowance, Job, JobLimit, Name};
use crate::policy::limits::{self, Usage, queue_key};
use crate::time::Timestamp;

/// All limits, and all jobs that wait for one.
#[derive(Default)]
pub(super) struct Limited {
    lanes: HashMap<String, Lane>,
    /// The lanes that stand in line in each queue, by when they are to be looked at: whose turn it is, and who waits.
    line: BTreeMap<Name, BTreeSet<(Timestamp, String)>>,
    /// Lanes that wait for a key.
    waiters: HashMap<String, BTreeSet<String>>,
    limits: BTreeMap<String, Limit>,
}

/// Jobs of one queue with the same limits.
struct Lane {
    queue: Name,
    limits: Vec<JobLimit>,
    waiting: Queue,
    /// Its place in the line; `None` while nothing of it is known to wait.
    next: Option<Timestamp>,
    /// The key that it waits for.
    waits: Option<String>,
}

/// A key that was set or counted.
#[derive(Default)]
struct Limit {
    at_run_time: Allowance,
    configured: Allowance,
    /// What the latest job asked for.
    asked: Allowance,
    usage: Usage,
    /// Until when what has started counts.
    counts_until: Option<Timestamp>,
}

/// What a lease holds: keys, each with how many slots. Leases of one lane share it; `None` where no limit counts.
pub(super) type Holds = Option<Arc<[(String, u32)]>>;

/// The limits that count a job.
#[derive(Clone, Copy)]
struct Counted<'a> {
    own: &'a [JobLimit],
    /// What the job weighs for each of them; 1 where there is nothing.
    weights: Option<&'a [u32]>,
    /// The key of the queue's own limit, if it has one that is not among the job's own: a job counts once against a key.
    of_queue: Option<&'a str>,
}

impl Counted<'_> {
    /// The keys, each with what is asked for and how many slots.
    fn each(&self) -> impl Iterator<Item = (&str, Allowance, u32)> {
        let weight =
            |place: usize| self.weights.and_then(|weights| weights.get(place)).map_or(1, |weight| (*weight).max(1));
        let own = self.own.iter().enumerate().map(move |(place, limit)| (&*limit.key, limit.allowance, weight(place)));
        own.chain(self.of_queue.map(|key| (key, Allowance::default(), 1)))
    }

    fn holds(&self) -> Holds {
        Some(self.each().map(|(key, _, slots)| (key.to_owned(), slots)).collect())
    }

    /// How many jobs of weight 1 there is room for; none where one key counts twice, so that each is judged.
    fn room(&self, limits: &BTreeMap<String, Limit>, now: Timestamp) -> u64 {
        let counts_twice =
            |(place, limit): (usize, &JobLimit)| self.own[..place].iter().any(|other| other.key == limit.key);
        if self.own.iter().enumerate().any(counts_twice) {
            return 0;
        }
        let fresh = Usage::default();
        let usage = |key: &str| limits.get(key).map_or(&fresh, |limit| &limit.usage);
        let own = self.own.iter().map(|limit| usage(&limit.key).room(limit.allowance, now)).min();
        own.unwrap_or(u64::MAX).min(self.room_in_queue(limits, now))
    }

    /// How many more jobs the queue's own limit allows.
    fn room_in_queue(&self, limits: &BTreeMap<String, Limit>, now: Timestamp) -> u64 {
        let limit = self.of_queue.and_then(|key| limits.get(key));
        limit.map_or(u64::MAX, |limit| limit.usage.room(Allowance::default(), now))
    }

    /// Counts so many jobs that start.
    fn start(&self, limits: &mut BTreeMap<String, Limit>, jobs: u32, now: Timestamp) {
        if jobs == 0 {
            return;
        }
        for (key, asked, slots) in self.each() {
            if !limits.contains_key(key) {
                limits.insert(key.to_owned(), Limit::default());
            }
            let Some(limit) = limits.get_mut(key) else { continue };
            limit.asked = asked;
            limit.counts_until =
                limit.counts_until.max(Some(limit.usage.start(asked, slots.saturating_mul(jobs), now)));
        }
    }
}

impl Limited {
    /// Lets a job with limits wait in its lane; false when it has none.
    pub(super) fn insert(&mut self, job: &Job, slot: Slot, now: Timestamp) -> bool {
        let Some(name) = limits::lane(&job.spec) else { return false };
        let lane = self.lanes.entry(name.clone()).or_insert_with_key(|name| Lane {
            queue: job.spec.queue.clone(),
            limits: limits::lane_limits(name).unwrap_or_default(),
            waiting: Queue::default(),
            next: None,
            waits: None,
        });
        lane.waiting.insert(Turn::new(job, slot), now);
        let due = job.due.max(now);
        if lane.waits.is_none() && lane.next.is_none_or(|next| due < next) {
            self.place(&name, Some(due), None);
        }
        true
    }

    /// Takes a waiting job with limits out of its lane; false when it has none.
    pub(super) fn remove(&mut self, job: &Job, slot: Slot) -> bool {
        let Some(name) = limits::lane(&job.spec) else { return false };
        if let Some(lane) = self.lanes.get_mut(&name) {
            lane.waiting.remove(Turn::new(job, slot));
        }
        true
    }

    /// Whether a lane of this queue may have its turn now.
    pub(super) fn is_ready(&self, queue: &Name, now: Timestamp) -> bool {
        self.first_look(queue).is_some_and(|next| next <= now)
    }

    /// When the next lane of this queue is to be looked at.
    fn first_look(&self, queue: &Name) -> Option<Timestamp> {
        self.line.get(queue)?.first().map(|(next, _)| *next)
    }

    /// How long until a lane of this queue may have a job, perhaps leaving out those that may have one now.
    pub(super) fn next_due(&self, queue: &Name, now: Timestamp, with_those_in_turn: bool) -> Option<Duration> {
        let mut line = self.line.get(queue)?.iter().map(|(next, _)| *next);
        line.find(|next| with_those_in_turn || *next > now).map(|next| next.since(now))
    }

    /// How many jobs of this queue may start, if it has a limit of its own, and else when that changes by time.
    pub(super) fn room_in_queue(&self, queue: &Name, now: Timestamp) -> Option<(usize, Option<Duration>)> {
        let limit = self.limits.get(&queue_key(queue)).filter(|limit| !limit.usage.set.is_empty())?;
        let room = usize::try_from(limit.usage.room(Allowance::default(), now)).unwrap_or(usize::MAX);
        let wait = match limit.usage.refusal(Allowance::default(), 1, now) {
            Some(limits::Full::Rate(wait)) => Some(wait),
            _ => None,
        };
        Some((room, wait))
    }

    /// What a job without limits holds in a queue that has one.
    pub(super) fn held_in_queue(of_queue: &str) -> Holds {
        Counted { own: &[], weights: None, of_queue: Some(of_queue) }.holds()
    }

    /// Counts so many jobs without limits that start in a queue that has one.
    pub(super) fn start_in_queue(&mut self, of_queue: &str, jobs: u32, now: Timestamp) {
        Counted { own: &[], weights: None, of_queue: Some(of_queue) }.start(&mut self.limits, jobs, now);
    }

    /// Frees what a lease held that has ended, and puts lanes that waited for it in line.
    pub(super) fn release(&mut self, holds: &[(String, u32)], news: &mut News) {
        for (key, weight) in holds {
            if let Some(limit) = self.limits.get_mut(key) {
                limit.usage.held = limit.usage.held.saturating_sub(u64::from(*weight));
            }
            self.look_again(key, news);
        }
    }

    /// Something has changed about a key: lanes that wait for it are to be looked at.
    fn look_again(&mut self, key: &str, news: &mut News) {
        let waiters = if self.waiters.is_empty() { None } else { self.waiters.remove(key) };
        for name in waiters.unwrap_or_default() {
            if let Some(lane) = self.lanes.get(&name) {
                news.jobs(&lane.queue);
                self.place(&name, lane.next.map(limits::called_back), None);
            }
        }
        if let Some(queue) = key.strip_prefix("queue:").and_then(|queue| Name::new(queue).ok()) {
            news.jobs(&queue);
        }
    }

    /// Leases due jobs of this queue's lanes in turns, at most `room`; tells how many. Looks at `most` lanes at first.
    ///
    /// `of_queue` is the key of the queue's own limit, if it has one.
    pub(super) fn serve(
        &mut self,
        queue: &Name,
        of_queue: Option<&str>,
        room: usize,
        mut most: usize,
        desk: &mut Desk<'_>,
    ) -> usize {
        let mut taken = 0;
        for _ in 0..limits::MOST_LOOKS {
            let Some(line) = self.line.get(queue).filter(|_| taken < room) else { break };
            let ready = line.iter().take_while(|(next, _)| *next <= desk.now).take(most);
            let lanes: Vec<_> = ready.map(|(_, name)| name.clone()).collect();
            taken += self.serve_lanes(&lanes, of_queue, room - taken, desk);
            if lanes.len() < most {
                break;
            }
            most = limits::more_lanes_for(room - taken);
        }
        taken
    }

    fn serve_lanes(&mut self, names: &[String], of_queue: Option<&str>, room: usize, desk: &mut Desk<'_>) -> usize {
        let mut taken = vec![0; names.len()];
        let mut ends: Vec<Option<End>> = names.iter().map(|_| None).collect();
        for _ in 0..limits::MOST_ROUNDS {
            let left = room - taken.iter().sum::<usize>();
            if left == 0 {
                break;
            }
            let open: Vec<_> = (0..names.len()).filter(|place| ends[*place].is_none()).collect();
            let shares = self.shares(&open, names, left, desk.now);
            for (place, share) in open.into_iter().zip(shares).filter(|(_, share)| *share > 0) {
                let (count, end) = self.serve_lane(&names[place], of_queue, share, desk);
                taken[place] += count;
                ends[place] = end;
            }
        }
        for ((name, end), taken) in names.iter().zip(ends).zip(&taken) {
            self.end_turn(name, end, *taken, desk.now);
        }
        taken.into_iter().sum()
    }

    fn shares(&self, open: &[usize], names: &[String], room: usize, now: Timestamp) -> Vec<usize> {
        let limits_of = |place: &usize| self.lanes.get(&names[*place]).map_or(&[][..], |lane| &lane.limits[..]);
        let lanes: Vec<_> = open.iter().map(limits_of).collect();
        limits::share(room, &lanes, |limit| self.room(limit, now))
    }

    fn room(&self, limit: &JobLimit, now: Timestamp) -> u64 {
        let fresh = Usage::default();
        self.limits.get(&limit.key).map_or(&fresh, |limit| &limit.usage).room(limit.allowance, now)
    }

    /// Leases at most `share` jobs of a lane; tells how many, and why its turn is over before that.
    ///
    /// Most jobs weigh 1, and so many of those fit as there is room. What was taken of them is counted at the end, and
    /// before a job of other weights is judged.
    fn serve_lane(
        &mut self,
        name: &str,
        of_queue: Option<&str>,
        share: usize,
        desk: &mut Desk<'_>,
    ) -> (usize, Option<End>) {
        let now = desk.now;
        let Self { lanes, limits, .. } = self;
        let Some(lane) = lanes.get_mut(name) else { return (0, None) };
        let Lane { limits: own, waiting, .. } = lane;
        waiting.look_at_the_clock(now);
        let of_queue = of_queue.filter(|key| own.iter().all(|limit| limit.key != *key));
        let plain = Counted { own, weights: None, of_queue };
        let holds = plain.holds();
        let mut room = plain.room(limits, now);
        let (mut taken, mut uncounted, mut passed_over, mut end) = (0, 0, Vec::new(), None);
        while taken < share {
            let Some(slot) = waiting.pop(now, desk.claim.aging) else {
                end = Some(End::Dry);
                break;
            };
            // A job that came too late leaves its lane, and waits among the expiring for the reaper.
            let Some(job) = desk.claimable(slot) else { continue };
            if desk.claim.unknown.contains(&job.spec.task) {
                passed_over.push(Turn::new(job, slot));
                continue;
            }
            let weights = limits::weights(&job.spec);
            if weights.is_some() || u64::from(uncounted) >= room {
                plain.start(limits, std::mem::take(&mut uncounted), now);
                let usage = |key: &str| limits.get(key).map(|limit| &limit.usage);
                if let Some((key, full)) = limits::refusal(own, weights.as_deref(), usage, now) {
                    end = Some(End::Full(key.to_owned(), full));
                    waiting.insert(Turn::new(job, slot), now);
                    break;
                }
                // Others of this claim may weigh more than 1 for it.
                if plain.room_in_queue(limits, now) == 0 {
                    waiting.insert(Turn::new(job, slot), now);
                    break;
                }
            }
            if weights.is_some() {
                let weighted = Counted { weights: weights.as_deref(), ..plain };
                weighted.start(limits, 1, now);
                room = plain.room(limits, now);
                desk.lease(slot, weighted.holds());
            } else {
                uncounted += 1;
                desk.lease(slot, holds.clone());
            }
            taken += 1;
        }
        plain.start(limits, uncounted, now);
        // The last first, so that each goes to the front.
        passed_over.into_iter().rev().for_each(|turn| waiting.insert(turn, now));
        (taken, end)
    }

    /// Puts a lane where it stands in line after it was looked at.
    fn end_turn(&mut self, name: &str, end: Option<End>, taken: usize, now: Timestamp) {
        let Some(lane) = self.lanes.get(name) else { return };
        let end = end.or_else(|| {
            let usage = |key: &str| self.limits.get(key).map(|limit| &limit.usage);
            limits::refusal(&lane.limits, None, usage, now).map(|(key, full)| End::Full(key.to_owned(), full))
        });
        match end {
            Some(End::Dry) => {
                let next = lane.waiting.next_due(now).map(|wait| now.after(wait));
                self.place(name, next, None);
            }
            Some(End::Full(key, full)) => {
                let turn = lane.next.filter(|_| taken == 0).unwrap_or(now);
                self.place(name, Some(full.next_look(turn, now)), Some(key));
            }
            None if taken > 0 => self.place(name, Some(now), None),
            None => {}
        }
    }

    fn place(&mut self, name: &str, next: Option<Timestamp>, waits: Option<String>) {
        let Some(lane) = self.lanes.get_mut(name) else { return };
        let places = self.line.entry(lane.queue.clone()).or_default();
        if let Some(waiters) = lane.waits.as_ref().and_then(|key| self.waiters.get_mut(key)) {
            waiters.remove(name);
        }
        if let Some(key) = &waits {
            self.waiters.entry(key.clone()).or_default().insert(name.to_owned());
        }
        if let Some(next) = lane.next {
            places.remove(&(next, name.to_owned()));
        }
        places.extend(next.map(|next| (next, name.to_owned())));
        (lane.next, lane.waits) = (next, waits);
    }

    /// Forgets lanes and limits of which nothing is left to know.
    pub(super) fn tidy(&mut self, now: Timestamp) {
        let Self { lanes, line, waiters, limits } = self;
        lanes.retain(|_, lane| lane.next.is_some() || !lane.waiting.is_idle());
        line.retain(|_, line| !line.is_empty());
        waiters.retain(|_, waiters| !waiters.is_empty());
        limits.retain(|_, limit| {
            !limit.usage.set.is_empty() || limit.usage.held > 0 || limit.counts_until.is_some_and(|until| until > now)
        });
    }

    fn stats(&self, after: Option<&str>, most: usize, now: Timestamp) -> Vec<LimitStats> {
        let is_listed = |(key, limit): &(&String, &Limit)| {
            after.is_none_or(|after| key.as_str() > after) && !limit.usage.allowance(limit.asked).is_empty()
        };
        let from = self.limits.iter().filter(is_listed);
        let stats = |(key, limit): (&String, &Limit)| {
            let allowance = limit.usage.allowance(limit.asked);
            LimitStats {
                key: key.clone(),
                allowance,
                at_run_time: limit.at_run_time,
                configured: limit.configured,
                held: limit.usage.held,
                started: allowance.rate.map_or(0, |rate| limit.usage.starts.within(rate.per, now)),
            }
        };
        from.take(most).map(stats).collect()
    }

    fn set(&mut self, key: &str, source: LimitSource, allowance: Allowance, news: &mut News) {
        if !allowance.is_empty() || self.limits.contains_key(key) {
            let limit = self.limits.entry(key.to_owned()).or_default();
            match source {
                LimitSource::RunTime => limit.at_run_time = allowance,
                LimitSource::Configuration => limit.configured = allowance,
            }
            limit.usage.set = limit.at_run_time.or(limit.configured);
        }
        self.look_again(key, news);
    }
}

/// Why a lane's turn is over.
enum End {
    /// It has no more due jobs.
    Dry,
    /// A limit is full.
    Full(String, limits::Full),
}

#[async_trait]
impl Limiter for Memory {
    async fn limits(&self, after: Option<&str>, limit: usize) -> Result<Vec<LimitStats>> {
        self.operate(|store, now, _| store.limited.stats(after, limit, now))
    }

    async fn set_limit(&self, key: &str, source: LimitSource, allowance: Allowance) -> Result<()> {
        self.operate(|store, _, news| store.limited.set(key, source, allowance, news))
    }
}
