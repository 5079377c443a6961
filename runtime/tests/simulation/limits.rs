//! What limits allow, by what was handed out and what has ended since.

use std::collections::BTreeMap;

use taskwright::Timestamp;
use taskwright::job::{Allowance, JobSpec, Rate};

/// The limits of the whole cluster, as far as a run has seen them.
#[derive(Default)]
pub(crate) struct Limits {
    /// What the operator has set.
    set: BTreeMap<String, Allowance>,
    held: BTreeMap<String, u64>,
    starts: BTreeMap<String, Vec<Start>>,
    /// The latest time that the store's clock has shown; it may have been turned back since.
    latest: Option<Timestamp>,
}

/// A start that a rate counts.
struct Start {
    at: Timestamp,
    until: Timestamp,
    units: u64,
}

/// What a live lease holds: keys, each with how many slots.
pub(crate) type Holds = Vec<(String, u64)>;

impl Limits {
    pub(crate) fn seen(&mut self, now: Timestamp) {
        self.latest = self.latest.max(Some(now));
    }

    pub(crate) fn set(&mut self, key: &str, allowance: Allowance) {
        self.set.insert(key.to_owned(), allowance);
    }

    /// A job is handed out: what its lease holds, and the limits that had no room for it.
    pub(crate) fn start(&mut self, spec: &JobSpec, now: Timestamp) -> (Holds, Vec<String>) {
        self.seen(now);
        let latest = self.latest.unwrap_or(now);
        let own = spec.limits.iter().map(|limit| (limit.key.clone(), limit.allowance, u64::from(limit.weight)));
        let of_queue = format!("queue:{}", spec.queue);
        let is_limited = self.set.get(&of_queue).is_some_and(|set| set.max.is_some() || set.rate.is_some());
        let of_queue = is_limited.then_some((of_queue, Allowance::default(), 1));
        let (mut holds, mut exceeded) = (Holds::new(), Vec::new());
        for (key, asked, weight) in own.chain(of_queue) {
            let set = self.set.get(&key).copied().unwrap_or_default();
            let held = self.held.entry(key.clone()).or_default();
            if let Some(most) = set.max.or(asked.max).map(u64::from)
                && !has_room(*held, weight, most)
            {
                exceeded.push(format!("{key}: {held} of {most} slots were held, and {weight} more were taken"));
            }
            *held += weight;
            if let Some(Rate { count, per }) = set.rate.or(asked.rate) {
                let starts = self.starts.entry(key.clone()).or_default();
                // A clock that was turned back brings no start into the future, nor one back that was forgotten. A
                // start is remembered as long as the shortest rate in force since then says.
                for start in starts.iter_mut() {
                    start.at = start.at.min(now);
                    start.until = start.until.min(start.at.after(per));
                }
                starts.retain(|start| start.until > now && start.until > latest);
                let before = starts.iter().map(|start| start.units).sum();
                if !has_room(before, weight, count.into()) {
                    exceeded.push(format!("{key}: {before} of {count} in {per:?} had started, and {weight} more did"));
                }
                starts.push(Start { at: now, until: now.after(per), units: weight });
            }
            holds.push((key, weight));
        }
        (holds, exceeded)
    }

    /// A lease has ended.
    pub(crate) fn end(&mut self, holds: &Holds) {
        for (key, slots) in holds {
            if let Some(held) = self.held.get_mut(key) {
                *held -= slots;
            }
        }
    }
}

/// Who weighs more than the whole limit has it alone.
fn has_room(taken: u64, weight: u64, most: u64) -> bool {
    most > 0 && (taken + weight <= most || taken == 0)
}

/// The least of what a job's limits ask for.
pub(crate) fn strictness(spec: &JobSpec) -> u32 {
    let asked = spec.limits.iter().flat_map(|limit| [limit.allowance.max, limit.allowance.rate.map(|rate| rate.count)]);
    asked.flatten().min().unwrap_or(u32::MAX)
}
