//! What a claim takes where limits may be in the way: lanes in turns, and jobs without limits beside them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use super::lanes::{self, Look, Standing};
use super::limits::Book;
use super::record::{Record, decode};
use super::tables::{Pool, Tables, Terms};
use crate::backend::{Claim, QueueClaim};
use crate::error::Result;
use crate::job::{Allowance, Job, JobLimit, Name};
use crate::policy::limits::{self, Full, MOST_LOOKS, MOST_ROUNDS, RECHECK, half_for_lanes, queue_key};
use crate::policy::order;
use crate::time::Timestamp;

/// One claim that looks at limits.
pub(super) struct Turns {
    now: Timestamp,
    /// The keys of queues that have a limit of their own.
    limited: HashSet<String>,
    paused: HashSet<String>,
    only_lanes: bool,
    /// Tasks that the worker does not know.
    unknown: Vec<Name>,
    aging: Option<Duration>,
    book: Book,
    /// The limit of the queue that is served, if it has one.
    of_queue: Option<JobLimit>,
    pub(super) records: Vec<Record>,
    /// The queues that may have more, and are to be asked when.
    pub(super) open: Vec<Name>,
    /// How long until a queue's own rate allows a start again, or nothing where another claim counts at this moment.
    pub(super) wait: Option<Duration>,
}

/// Why a lane's turn is over.
enum End {
    /// It has no more due jobs.
    Dry,
    /// A limit is full.
    Full(String, Full),
}

/// A lane that is looked at.
struct Lane {
    name: String,
    /// When it had its turn.
    turn: Timestamp,
    limits: Vec<JobLimit>,
    /// Whether its jobs ask for the key of their queue's own limit, against which they count once then too.
    has_queue_key: bool,
    taken: usize,
    end: Option<End>,
}

impl Lane {
    /// The key that all slots are taken of.
    fn waits_for_slots(&self) -> Option<&str> {
        match &self.end {
            Some(End::Full(key, Full::Slots)) => Some(key),
            _ => None,
        }
    }
}

impl Turns {
    pub(super) fn new(look: &Look, claim: &Claim, now: Timestamp) -> Self {
        let (limited, paused, only_lanes) = (look.limited.clone(), look.paused.clone(), look.only_lanes);
        let (unknown, aging) = (claim.unknown.clone(), claim.aging);
        let (book, of_queue, records, open, wait) = (Book::default(), None, Vec::new(), Vec::new(), None);
        Self { now, limited, paused, only_lanes, unknown, aging, book, of_queue, records, open, wait }
    }

    /// Takes what the claim gets, queue by queue, and counts it.
    pub(super) async fn take<Db: Tables>(&mut self, db: &mut Db, claim: &Claim) -> Result<()> {
        for wish in &claim.queues {
            let room = claim.limit.saturating_sub(self.records.len()).min(wish.limit);
            if !self.paused.contains(wish.queue.as_str()) {
                self.take_of_queue(db, wish, room).await?;
            }
        }
        self.book.close(db).await
    }

    async fn take_of_queue<Db: Tables>(&mut self, db: &mut Db, wish: &QueueClaim, room: usize) -> Result<()> {
        let (now, queue) = (self.now, wish.queue.as_str());
        let of_queue = JobLimit { key: queue_key(&wish.queue), allowance: Allowance::default(), weight: 1 };
        let has_limit = self.limited.contains(&of_queue.key);
        if has_limit {
            self.book.open(db, &[of_queue.key.as_str()], now).await?;
            if self.book.usage(&of_queue.key).is_none() {
                self.wait_for(Duration::ZERO);
                return Ok(());
            }
        }
        self.of_queue = has_limit.then_some(of_queue);
        let most = room.min(self.room_in_queue());
        let before = self.records.len();
        let lanes = lanes::in_turn(db, queue, now, limits::lanes_for(most)).await?;
        if lanes.is_empty() {
            self.take_free(db, queue, most).await?;
        } else {
            let part = most - half_for_lanes(most, now);
            let free = self.take_free(db, queue, part).await?;
            let in_turn = self.serve(db, queue, most - free, lanes, limits::lanes_for(most)).await?;
            if free == part {
                self.take_free(db, queue, most - free - in_turn).await?;
            }
        }
        if self.records.len() - before == most && most > 0 {
            // There may be more, whatever lanes are left out of the reckoning.
            self.wait_for(Duration::ZERO);
        }
        if let Some(of_queue) = &self.of_queue {
            match self.book.usage(&of_queue.key).and_then(|usage| usage.refusal(of_queue.allowance, 1, now)) {
                Some(Full::Slots) => return Ok(()),
                Some(Full::Rate(wait)) => {
                    self.wait_for(wait);
                    return Ok(());
                }
                None => {}
            }
        }
        self.open.push(wish.queue.clone());
        Ok(())
    }

    /// How many more jobs the queue's own limit allows.
    fn room_in_queue(&self) -> usize {
        let room = self.of_queue.as_ref().map_or(u64::MAX, |of_queue| self.book.room(of_queue, self.now));
        usize::try_from(room).unwrap_or(usize::MAX)
    }

    /// Counts jobs against the queue's own limit.
    fn start_in_queue(&mut self, jobs: usize) {
        if let Some(of_queue) = &self.of_queue {
            (0..jobs).for_each(|_| self.book.start(std::slice::from_ref(of_queue), None, self.now));
        }
    }

    /// Takes due jobs without limits; tells how many.
    async fn take_free<Db: Tables>(&mut self, db: &mut Db, queue: &str, most: usize) -> Result<usize> {
        let most = most.min(self.room_in_queue());
        if most == 0 || self.only_lanes {
            return Ok(0);
        }
        let taken = db.take_due(Pool::Free, &[(queue, most)], &[], most, self.terms()).await?;
        let count = taken.len();
        self.start_in_queue(count);
        self.records.extend(taken);
        Ok(count)
    }

    fn terms(&self) -> Terms<'_> {
        Terms { unknown: &self.unknown, now: self.now, aging: self.aging, floors: &[] }
    }

    fn wait_for(&mut self, wait: Duration) {
        self.wait = Some(self.wait.map_or(wait, |known| known.min(wait)));
    }

    /// Takes due jobs of a queue's lanes in turns, at most `room`; tells how many. Begins with these lanes, of which there
    /// would be `most` if there were more.
    async fn serve<Db: Tables>(
        &mut self,
        db: &mut Db,
        queue: &str,
        room: usize,
        mut lanes: Vec<(String, Timestamp)>,
        mut most: usize,
    ) -> Result<usize> {
        let mut taken = 0;
        for look in 1..=MOST_LOOKS {
            if taken == room {
                break;
            }
            let found = lanes.len();
            taken += self.serve_lanes(db, queue, std::mem::take(&mut lanes), room - taken).await?;
            if found < most || taken == room || look == MOST_LOOKS {
                break;
            }
            most = limits::more_lanes_for(room - taken);
            lanes = lanes::in_turn(db, queue, self.now, most).await?;
        }
        Ok(taken)
    }

    async fn serve_lanes<Db: Tables>(
        &mut self,
        db: &mut Db,
        queue: &str,
        lanes: Vec<(String, Timestamp)>,
        room: usize,
    ) -> Result<usize> {
        let mut lanes = self.open_lanes(db, queue, lanes).await?;
        for _ in 0..MOST_ROUNDS {
            let left = room - lanes.iter().map(|lane| lane.taken).sum::<usize>();
            let open: Vec<_> = (0..lanes.len()).filter(|place| lanes[*place].end.is_none()).collect();
            let limits_of: Vec<_> = open.iter().map(|place| &lanes[*place].limits[..]).collect();
            let shares = limits::share(left, &limits_of, |limit| self.book.room(limit, self.now));
            let shares: Vec<_> = open.into_iter().zip(shares).filter(|(_, share)| *share > 0).collect();
            if shares.is_empty() {
                break;
            }
            self.take_shares(db, &mut lanes, &shares).await?;
        }
        self.end_turns(db, queue, &mut lanes).await?;
        Ok(lanes.iter().map(|lane| lane.taken).sum())
    }

    /// Reads what these lanes count against, and locks it. One whose limits somebody else counts keeps its turn.
    async fn open_lanes<Db: Tables>(
        &mut self,
        db: &mut Db,
        queue: &str,
        found: Vec<(String, Timestamp)>,
    ) -> Result<Vec<Lane>> {
        let queue_key = self.of_queue.as_ref().map(|of_queue| &of_queue.key);
        let mut lanes = Vec::with_capacity(found.len());
        for (name, turn) in found {
            if let Some(limits) = limits::lane_limits(&name) {
                let has_queue_key = limits.iter().any(|limit| Some(&limit.key) == queue_key);
                lanes.push(Lane { name, turn, limits, has_queue_key, taken: 0, end: None });
            } else {
                tracing::error!(queue, lane = name, "passed over a lane that can't be read");
                let turn = self.now.after(RECHECK);
                lanes::stand(db, &[Standing { lane: &name, queue, turn, waits: None }]).await?;
            }
        }
        let keys = lanes.iter().flat_map(|lane| lane.limits.iter().map(|limit| limit.key.as_str()));
        let keys: Vec<_> = keys.collect();
        self.book.open(db, &keys, self.now).await?;
        let all = lanes.len();
        lanes.retain(|lane| lane.limits.iter().all(|limit| self.book.usage(&limit.key).is_some()));
        if lanes.len() < all {
            self.wait_for(Duration::ZERO);
        }
        Ok(lanes)
    }

    /// Takes from each of these lanes its share, as far as it has so many and their weights fit.
    async fn take_shares<Db: Tables>(
        &mut self,
        db: &mut Db,
        lanes: &mut [Lane],
        shares: &[(usize, usize)],
    ) -> Result<()> {
        let (now, aging) = (self.now, self.aging);
        let wishes: Vec<_> = shares.iter().map(|(place, share)| (lanes[*place].name.as_str(), *share)).collect();
        let all = shares.iter().map(|(_, share)| share).sum();
        let places: HashMap<_, _> = wishes.iter().zip(0..).map(|((name, _), place)| (*name, place)).collect();
        let mut found: Vec<_> = shares.iter().map(|(_, share)| Vec::with_capacity(*share)).collect();
        let mut back = Vec::new();
        for record in db.take_due(Pool::Limited, &wishes, &[], all, self.terms()).await? {
            let place = record.limited.as_ref().and_then(|limited| places.get(limited.lane.as_str()));
            place.and_then(|place: &usize| found.get_mut(*place)).unwrap_or(&mut back).push(record);
        }
        for ((place, share), mut records) in shares.iter().zip(found) {
            let lane = &mut lanes[*place];
            if records.len() < *share {
                lane.end = Some(End::Dry);
            }
            let turn = |record: &Record| order::Turn::new(record.priority, Timestamp::from_micros(record.due), aging);
            records.sort_unstable_by(|a, b| (turn(a), &a.id).cmp(&(turn(b), &b.id)));
            let mut records = records.into_iter();
            for record in records.by_ref() {
                let weights = weights(&record);
                let usage = |key: &str| self.book.usage(key);
                if let Some((key, full)) = limits::refusal(&lane.limits, weights.as_deref(), usage, now) {
                    lane.end = Some(End::Full(key.to_owned(), full));
                    back.push(record);
                    break;
                }
                // Others of this claim may weigh more than 1 for it.
                if !lane.has_queue_key && self.room_in_queue() == 0 {
                    back.push(record);
                    break;
                }
                self.book.start(&lane.limits, weights.as_deref(), now);
                if !lane.has_queue_key {
                    self.start_in_queue(1);
                }
                self.records.push(record);
                lane.taken += 1;
            }
            back.extend(records);
        }
        if back.is_empty() {
            return Ok(());
        }
        db.insert_waiting(Pool::Limited, &back.iter().collect::<Vec<_>>()).await
    }

    /// Lets no lane wait for a slot that is free by now, or is about to be.
    async fn recount<Db: Tables>(&mut self, db: &mut Db, lanes: &mut [Lane]) -> Result<()> {
        let keys = lanes.iter().filter_map(Lane::waits_for_slots).collect::<BTreeSet<_>>();
        let keys: Vec<_> = keys.into_iter().collect();
        let freed = self.book.recount(db, &keys).await?;
        for lane in lanes.iter_mut() {
            if lane.waits_for_slots().is_some_and(|key| freed.contains(key)) {
                lane.end = None;
                self.wait_for(Duration::ZERO);
            }
        }
        Ok(())
    }

    /// Puts each lane where it stands in line from now on.
    async fn end_turns<Db: Tables>(&mut self, db: &mut Db, queue: &str, lanes: &mut [Lane]) -> Result<()> {
        let now = self.now;
        for lane in lanes.iter_mut().filter(|lane| lane.end.is_none()) {
            let full = limits::refusal(&lane.limits, None, |key| self.book.usage(key), now);
            lane.end = full.map(|(key, full)| End::Full(key.to_owned(), full));
        }
        self.recount(db, lanes).await?;
        let dry: Vec<_> = lanes.iter().filter(|lane| matches!(lane.end, Some(End::Dry))).collect();
        let names: Vec<_> = dry.iter().map(|lane| lane.name.as_str()).collect();
        let mut dues = BTreeMap::new();
        if !names.is_empty() {
            // Also of unknown tasks: others know them, and find the lane in line.
            dues.extend(db.next_due(Pool::Limited, &names, &[], Terms { unknown: &[], ..self.terms() }).await?);
        }
        let mut places = Vec::new();
        let (mut gone, mut served) = (Vec::new(), Vec::new());
        for (place, name) in names.iter().enumerate() {
            match dues.get(&place) {
                Some(due) => places.push(Standing { lane: name, queue, turn: (*due).max(now), waits: None }),
                None => gone.push(*name),
            }
        }
        for lane in lanes.iter() {
            match &lane.end {
                Some(End::Full(key, full)) => {
                    let turn = full.next_look(if lane.taken > 0 { now } else { lane.turn }, now);
                    places.push(Standing { lane: &lane.name, queue, turn, waits: Some(key) });
                }
                None if lane.taken > 0 => served.push(lane.name.as_str()),
                None | Some(End::Dry) => {}
            }
        }
        places.sort_unstable_by_key(|place| place.lane);
        served.sort_unstable();
        lanes::stand(db, &places).await?;
        lanes::served(db, queue, &served, now).await?;
        lanes::leave(db, &gone).await
    }
}

/// What a lease of these jobs holds: of each key how many slots. `limited` are the keys of queues with a limit.
pub(super) fn holds(limited: &HashSet<String>, jobs: &[Job]) -> BTreeMap<String, u64> {
    let mut holds = BTreeMap::new();
    for job in jobs {
        let of_queue = if limited.is_empty() { None } else { Some(queue_key(&job.spec.queue)) };
        let counts = |key: &String| limited.contains(key) && job.spec.limits.iter().all(|limit| limit.key != *key);
        let of_queue = of_queue.filter(counts).map(|key| (key, 1));
        let own = job.spec.limits.iter().map(|limit| (limit.key.clone(), limit.weight.max(1)));
        for (key, weight) in own.chain(of_queue) {
            *holds.entry(key).or_default() += u64::from(weight);
        }
    }
    holds
}

/// The weights of a waiting job's limits; what can't be read weighs as much as a job without weights.
fn weights(record: &Record) -> Option<Vec<u32>> {
    decode("weights", record.limited.as_ref()?.weights.as_deref()?).ok()
}
