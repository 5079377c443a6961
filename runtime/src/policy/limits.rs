//! What limits allow: how many of one key may run at once, and how many may start in a time.
//!
//! A store keeps for each key a [`Usage`]; it asks here what there is room for, and stores what comes back.
//! Jobs of one queue that count against the same limits are a *lane*, and lanes take turns: [`share`].

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::job::{Allowance, JobLimit, JobSpec, Name, Rate};
use crate::time::Timestamp;

/// The most lanes that a claim looks at together, and how often it looks for more.
pub const MOST_LANES: usize = 64;
/// How many lanes a claim of more jobs than that looks at first.
const FEW_LANES: usize = 16;
/// See [`MOST_LANES`].
pub const MOST_LOOKS: usize = 4;
/// How often a claim goes through the lanes that it looks at together, as long as they have more than their share.
pub const MOST_ROUNDS: usize = 3;

/// After this long a lane that waits for a slot looks again by itself, whatever it may have missed.
pub const RECHECK: Duration = Duration::from_mins(1);

/// How many starts of one key are remembered one by one; of more, neighbours are taken together.
const REMEMBERED: usize = 64;

/// The key of a queue's own limit, which every job of that queue counts against.
#[must_use]
pub fn queue_key(queue: &Name) -> String {
    format!("queue:{queue}")
}

/// The lane that a job waits in: its queue, and its limits in order; `None` for a job without limits.
///
/// A lane is a text, so that a store can use it as a key; [`lane_limits`] reads it.
#[must_use]
pub fn lane(spec: &JobSpec) -> Option<String> {
    if spec.limits.is_empty() {
        return None;
    }
    let limits: Vec<_> = in_order(&spec.limits).into_iter().map(|limit| (&limit.key, limit.allowance)).collect();
    serde_json::to_string(&(&spec.queue, limits)).ok()
}

/// The weights of a job's limits, in the order in which its lane has them; `None` when all are 1.
#[must_use]
pub fn weights(spec: &JobSpec) -> Option<Vec<u32>> {
    let weighs = spec.limits.iter().any(|limit| limit.weight != 1);
    weighs.then(|| in_order(&spec.limits).into_iter().map(|limit| limit.weight).collect())
}

/// The limits of a lane, each with weight 1; `None` when the text is no lane.
#[must_use]
pub fn lane_limits(lane: &str) -> Option<Vec<JobLimit>> {
    let (_, limits): (Name, Vec<(String, Allowance)>) = serde_json::from_str(lane).ok()?;
    Some(limits.into_iter().map(|(key, allowance)| JobLimit { key, allowance, weight: 1 }).collect())
}

fn in_order(limits: &[JobLimit]) -> Vec<&JobLimit> {
    let mut limits: Vec<_> = limits.iter().collect();
    limits.sort_by(|a, b| a.key.cmp(&b.key));
    limits
}

/// How many lanes a claim with so much room looks at first.
///
/// One for each job, so that who is first in line has a turn first. For more jobs than lanes are looked at together it is
/// few lanes with longer turns: a lane costs a store what some jobs cost it, and a claim of so many is one for short tasks,
/// after which the other lanes have their turns some milliseconds later.
#[must_use]
pub fn lanes_for(room: usize) -> usize {
    if room > MOST_LANES { FEW_LANES } else { more_lanes_for(room) }
}

/// How many lanes it looks at next, where those before had less than there is room for.
#[must_use]
pub fn more_lanes_for(room: usize) -> usize {
    room.clamp(8, MOST_LANES)
}

/// Why a job with these limits can't start, by the first of its limits that refuses it.
///
/// `weights` are those of the job, in the order of the limits; 1 where there are none.
pub fn refusal<'a>(
    limits: &'a [JobLimit],
    weights: Option<&[u32]>,
    usage: impl Fn(&str) -> Option<&'a Usage>,
    now: Timestamp,
) -> Option<(&'a str, Full)> {
    let fresh = Usage::default();
    limits.iter().enumerate().find_map(|(place, limit)| {
        let weight = weights.and_then(|weights| weights.get(place)).copied().unwrap_or(1);
        let full = usage(&limit.key).unwrap_or(&fresh).refusal(limit.allowance, weight, now)?;
        Some((limit.key.as_str(), full))
    })
}

impl Full {
    /// When a lane that met this looks again, unless it is [called back](called_back) before; `turn` is what it had, or
    /// the present if it was served.
    ///
    /// Of lanes that wait for slots, who was not served for longer looks again earlier, and so is called back before
    /// those that were served since.
    #[must_use]
    pub fn next_look(self, turn: Timestamp, now: Timestamp) -> Timestamp {
        match self {
            Self::Slots => turn.after(RECHECK).max(now.after(RECHECK / 2)),
            Self::Rate(wait) => now.after(wait.min(RECHECK)),
        }
    }
}

/// The turn of a lane that was to look again at `next` and is called back, since what it waits for may be free.
#[must_use]
pub fn called_back(next: Timestamp) -> Timestamp {
    next.before(RECHECK)
}

/// When jobs of one key started lately, the earliest first, each moment with how many.
///
/// A sliding log: no time of the rate's length ever sees more starts than the rate allows.
/// What is too much to remember one by one is counted as if it had started a little later, so never too few.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Starts(Vec<(Timestamp, u32)>);

impl Starts {
    /// Whether nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many started in the time `per` before `now`.
    #[must_use]
    pub fn within(&self, per: Duration, now: Timestamp) -> u64 {
        self.0.iter().filter(|(at, _)| counts(*at, per, now)).map(|(_, units)| u64::from(*units)).sum()
    }

    /// How long until no more than `units` of those that started in the time `per` still count.
    fn until_at_most(&self, units: u64, per: Duration, now: Timestamp) -> Duration {
        let mut left = self.within(per, now);
        for (at, gone) in self.0.iter().filter(|(at, _)| counts(*at, per, now)) {
            if left <= units {
                return Duration::ZERO;
            }
            left -= u64::from(*gone);
            if left <= units {
                return (*at).min(now).after(per).since(now);
            }
        }
        Duration::ZERO
    }

    /// Remembers a start, and forgets what is older than `per`.
    fn add(&mut self, units: u32, per: Duration, now: Timestamp) {
        self.0.retain(|(at, _)| counts(*at, per, now));
        // What a clock that was turned back has left in the future happened now at the latest.
        self.0.iter_mut().for_each(|(at, _)| *at = (*at).min(now));
        match self.0.last_mut() {
            Some((at, before)) if *at == now => *before = before.saturating_add(units),
            _ => self.0.push((now, units)),
        }
        if self.0.len() > REMEMBERED {
            self.join_the_closest();
        }
    }

    fn join_the_closest(&mut self) {
        let gap = |place: &usize| self.0[place + 1].0.since(self.0[*place].0);
        let Some(closest) = (0..self.0.len() - 1).min_by_key(gap) else { return };
        let (_, earlier) = self.0.remove(closest);
        self.0[closest].1 = self.0[closest].1.saturating_add(earlier);
    }
}

/// Whether a start at this moment still counts.
fn counts(at: Timestamp, per: Duration, now: Timestamp) -> bool {
    at.min(now).after(per) > now
}

/// How a key stands: what is allowed, what is held, what has started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// What was set at run time or in configuration, which outweighs what a job asks for.
    pub set: Allowance,
    /// The slots that live leases hold.
    pub held: u64,
    /// The starts that its rate counts.
    pub starts: Starts,
}

/// Why a job can't start now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// Too many run; one of them must end.
    Slots,
    /// Too many have started; this much time must pass.
    Rate(Duration),
}

impl Usage {
    /// What is in force where a job asks for `asked`.
    #[must_use]
    pub fn allowance(&self, asked: Allowance) -> Allowance {
        self.set.or(asked)
    }

    /// How many slots and starts are left of what a job asks for, whichever are fewer.
    #[must_use]
    pub fn room(&self, asked: Allowance, now: Timestamp) -> u64 {
        let Allowance { max, rate } = self.allowance(asked);
        let slots = max.map_or(u64::MAX, |max| u64::from(max).saturating_sub(self.held));
        let starts =
            rate.map_or(u64::MAX, |Rate { count, per }| u64::from(count).saturating_sub(self.starts.within(per, now)));
        slots.min(starts)
    }

    /// Why a job of this weight can't start now, if it can't.
    ///
    /// One that weighs more than the limit allows starts when it has the limit to itself.
    #[must_use]
    pub fn refusal(&self, asked: Allowance, weight: u32, now: Timestamp) -> Option<Full> {
        let Allowance { max, rate } = self.allowance(asked);
        let weight = u64::from(weight.max(1));
        if let Some(max) = max.map(u64::from)
            && (max == 0 || self.held > max.saturating_sub(weight))
        {
            return Some(Full::Slots);
        }
        let Rate { count, per } = rate?;
        let most = u64::from(count).saturating_sub(weight);
        if count > 0 && self.starts.within(per, now) <= most {
            return None;
        }
        Some(Full::Rate(if count == 0 { RECHECK } else { self.starts.until_at_most(most, per, now) }))
    }

    /// Counts a job that starts; tells until when its start counts.
    pub fn start(&mut self, asked: Allowance, weight: u32, now: Timestamp) -> Timestamp {
        let weight = weight.max(1);
        self.held = self.held.saturating_add(weight.into());
        let Some(Rate { per, .. }) = self.allowance(asked).rate else { return now };
        self.starts.add(weight, per, now);
        now.after(per)
    }
}

/// How many jobs each lane may take of `room`, in turns of one job, as far as all the limits of a lane have room.
///
/// `lanes` are the limits of each, the lane whose turn is first before the others; `room_of` tells how much room a limit
/// has.
pub fn share<'a>(room: usize, lanes: &[&'a [JobLimit]], room_of: impl Fn(&JobLimit) -> u64) -> Vec<usize> {
    let mut numbers: HashMap<&str, usize> = HashMap::new();
    let mut want = |limit: &'a JobLimit| {
        let next = numbers.len();
        Want { key: *numbers.entry(&limit.key).or_insert(next), room: room_of(limit) }
    };
    let lanes: Vec<Vec<Want>> = lanes.iter().map(|limits| limits.iter().map(&mut want).collect()).collect();
    let mut taken = vec![0; numbers.len()];
    let mut shares = vec![0; lanes.len()];
    let mut open: Vec<usize> = (0..lanes.len()).collect();
    let mut left = room;
    while left > 0 && !open.is_empty() {
        let turns = turns_for_all(&lanes, &open, &taken, left);
        let units = u64::try_from(turns).unwrap_or(u64::MAX);
        open.retain(|place| {
            let wants = &lanes[*place];
            let fits = left > 0 && wants.iter().all(|want| taken[want.key] < want.room);
            if fits {
                for want in wants {
                    taken[want.key] += units;
                }
                shares[*place] += turns;
                left -= turns;
            }
            fits
        });
    }
    shares
}

/// What a lane asks for of one limit: the key's number, and how much room it has as this lane sees it.
struct Want {
    key: usize,
    room: u64,
}

/// How many turns all these lanes have room for; one where not all have, so that each of them is looked at.
fn turns_for_all(lanes: &[Vec<Want>], open: &[usize], taken: &[u64], room: usize) -> usize {
    let wants = || open.iter().flat_map(|place| &lanes[*place]);
    let mut users = vec![0; taken.len()];
    wants().for_each(|want| users[want.key] += 1);
    let turns = wants().map(|want| want.room.saturating_sub(taken[want.key]) / users[want.key]).min();
    let turns = turns.map_or(usize::MAX, |turns| usize::try_from(turns).unwrap_or(usize::MAX));
    turns.min(room / open.len()).max(1)
}

/// How much of a claim's room in one queue is kept for lanes, where jobs without limits may be due too: half.
///
/// The odd one goes to either, by the moment, which is as good as a coin and needs no memory; so neither starves, also
/// where jobs are claimed one by one. What one leaves the other takes.
#[must_use]
pub fn half_for_lanes(room: usize, now: Timestamp) -> usize {
    room / 2 + if now.as_micros() % 2 == 0 { room % 2 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn rate(count: u32) -> Allowance {
        Allowance { max: None, rate: Some(Rate { count, per: MINUTE }) }
    }

    fn limit(key: &str, max: u32) -> JobLimit {
        JobLimit { key: key.to_owned(), allowance: Allowance::at_once(max), weight: 1 }
    }

    #[test]
    fn a_rate_counts_each_start_for_its_own_time() {
        let mut usage = Usage::default();
        for second in [0, 10, 20] {
            assert_eq!(usage.refusal(rate(3), 1, at(second)), None);
            usage.start(rate(3), 1, at(second));
        }
        assert_eq!(usage.refusal(rate(3), 1, at(20)), Some(Full::Rate(Duration::from_secs(40))));
        assert_eq!(usage.refusal(rate(3), 2, at(20)), Some(Full::Rate(Duration::from_secs(50))));
        assert_eq!((usage.room(rate(3), at(59)), usage.room(rate(3), at(60)), usage.room(rate(3), at(70))), (0, 1, 2));
    }

    #[test]
    fn no_window_ever_sees_more_starts_than_the_rate_allows() {
        let (count, mut usage, mut started) = (200, Usage::default(), Vec::new());
        for step in 0..4_000_u32 {
            let now = Timestamp::from_micros(i64::from(step) * 97_003);
            for _ in 0..3 {
                if usage.refusal(rate(count), 1, now).is_some() {
                    break;
                }
                usage.start(rate(count), 1, now);
                started.push(now);
            }
            assert!(usage.starts.0.len() <= REMEMBERED);
            let window = started.iter().filter(|at| at.after(MINUTE) > now).count();
            assert!(window <= count as usize, "{window} starts within a minute at {now}");
        }
        assert!(started.len() > 1_200, "only {} starts in six minutes", started.len());
    }

    #[test]
    fn a_clock_that_is_turned_back_does_not_close_a_rate_for_longer_than_its_time() {
        let mut usage = Usage::default();
        usage.start(rate(1), 1, at(1_000_000));
        usage.starts.add(0, MINUTE, at(10));
        assert_eq!(usage.room(rate(1), at(69)), 0);
        assert_eq!(usage.room(rate(1), at(70)), 1);
    }

    #[test]
    fn what_is_set_outweighs_what_is_asked_for_part_by_part() {
        let usage = Usage { set: Allowance::at_once(1), held: 1, ..Usage::default() };
        assert_eq!(usage.refusal(Allowance::at_once(5), 1, at(0)), Some(Full::Slots));
        assert_eq!(usage.allowance(rate(7)), Allowance { max: Some(1), ..rate(7) });
    }

    #[test]
    fn a_job_that_weighs_more_than_the_limit_runs_alone() {
        let mut usage = Usage::default();
        assert_eq!(usage.refusal(Allowance::at_once(2), 5, at(0)), None);
        usage.start(Allowance::at_once(2), 1, at(0));
        assert_eq!(usage.refusal(Allowance::at_once(2), 5, at(0)), Some(Full::Slots));
        assert_eq!(Usage::default().refusal(Allowance::at_once(0), 1, at(0)), Some(Full::Slots));
    }

    #[test]
    fn a_large_claim_looks_at_few_lanes_first_and_at_many_where_these_have_too_little() {
        assert_eq!([1, 40, 64].map(lanes_for), [8, 40, 64]);
        assert_eq!([65, 1_000].map(lanes_for), [16; 2]);
        assert_eq!([1, 65, 1_000].map(more_lanes_for), [8, 64, 64]);
    }

    #[test]
    fn lanes_take_turns_as_far_as_their_limits_have_room() {
        let (wide, narrow, shared) =
            ([limit("wide", 100)], [limit("narrow", 1)], [limit("narrow", 1), limit("wide", 100)]);
        let lanes: [&[JobLimit]; 3] = [&wide, &narrow, &shared];
        let room = |limit: &JobLimit| Usage::default().room(limit.allowance, at(0));
        assert_eq!(share(7, &lanes, room), [6, 1, 0]);
        assert_eq!(share(1, &lanes, room), [1, 0, 0]);
        let equal = [limit("a", 9)];
        assert_eq!(share(5, &[&equal[..], &wide[..]], room), [3, 2]);
        assert_eq!(share(500, &[&equal[..], &wide[..]], room), [9, 100]);
    }
}
