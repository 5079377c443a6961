//! What a random run is made of: operations that name jobs, leases and batches by number, so that they shrink and can
//! be run against any store.

use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use taskwright::backend::Change;
use taskwright::job::{Allowance, Failure, FailureKind, OnConflict, Replace, State, Until};
use taskwright::policy::Verdict;
use taskwright::policy::state::Return;

/// One operation. A number that names something counts modulo what there is.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Push(Vec<JobStep>),
    /// An earlier batch once more, under the same id.
    PushAgain(usize),
    /// The jobs of an earlier batch, under another id.
    PushJobsAgain(usize),
    Claim {
        worker: u8,
        /// Queues in this order, each with its limit.
        queues: Vec<(u8, usize)>,
        limit: usize,
        /// Whether the worker knows the task of tagged jobs.
        knows_all: bool,
        /// What a level of priority is worth, if priorities age.
        aging: Option<Duration>,
    },
    /// Leases, live or not, and how their attempts end.
    Settle(Vec<(usize, Verdict)>),
    Extend {
        worker: u8,
        leases: Vec<(usize, bool)>,
    },
    Cancel(Vec<usize>),
    Reap {
        max_crashes: u32,
    },
    Advance(Duration),
    Change(Change, FilterStep),
    Pause(u8, bool),
    Prune,
    Deregister(u8),
    /// A key, whether by hand, and how many slots; `None` clears it.
    SetLimit(u8, bool, Option<u32>),
}

/// A job to push.
#[derive(Clone, Debug)]
pub(crate) struct JobStep {
    pub(crate) queue: u8,
    pub(crate) priority: i16,
    pub(crate) delay: Duration,
    pub(crate) expires: Option<Duration>,
    pub(crate) keep: Option<Duration>,
    pub(crate) unique: Option<UniqueStep>,
    pub(crate) attempts: u32,
    pub(crate) tagged: bool,
    /// Keys, each with what the job asks for and its weight.
    pub(crate) limits: Vec<(u8, Allowance, u32)>,
}

/// A job's unique key and its rule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UniqueStep {
    pub(crate) key: u8,
    pub(crate) until: Until,
    pub(crate) conflict: OnConflict,
}

/// Which jobs a change is for.
#[derive(Clone, Debug)]
pub(crate) struct FilterStep {
    pub(crate) ids: Vec<usize>,
    pub(crate) states: Vec<State>,
    pub(crate) queue: Option<u8>,
    pub(crate) tagged: bool,
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    vec(step(), 1..40)
}

fn step() -> impl Strategy<Value = Step> {
    let leases = || 0_usize..1_000;
    prop_oneof![
        6 => vec(job(), 0..5).prop_map(Step::Push),
        1 => any::<usize>().prop_map(Step::PushAgain),
        1 => any::<usize>().prop_map(Step::PushJobsAgain),
        8 => claim(),
        8 => vec((leases(), verdict()), 0..4).prop_map(Step::Settle),
        3 => (0_u8..2, vec((leases(), any::<bool>()), 0..4)).prop_map(|(worker, leases)| Step::Extend { worker, leases }),
        2 => vec(any::<usize>(), 0..3).prop_map(Step::Cancel),
        3 => (1_u32..4).prop_map(|max_crashes| Step::Reap { max_crashes }),
        5 => seconds(0..8).prop_map(Step::Advance),
        3 => (change(), filter()).prop_map(|(change, filter)| Step::Change(change, filter)),
        1 => (0_u8..3, any::<bool>()).prop_map(|(queue, paused)| Step::Pause(queue, paused)),
        2 => Just(Step::Prune),
        1 => (0_u8..2).prop_map(Step::Deregister),
        1 => (0_u8..6, any::<bool>(), option::of(0_u32..4)).prop_map(|(key, hand, max)| Step::SetLimit(key, hand, max)),
    ]
}

fn job() -> impl Strategy<Value = JobStep> {
    let times = (seconds(0..4), option::weighted(0.2, seconds(0..6)), option::of(seconds(0..4)));
    let limits = prop_oneof![2 => Just(Vec::new()), 2 => limits()];
    (0_u8..3, -1_i16..2, times, option::weighted(0.5, unique()), 1_u32..4, any::<bool>(), limits).prop_map(
        |(queue, priority, (delay, expires, keep), unique, attempts, tagged, limits)| JobStep {
            queue,
            priority,
            delay,
            expires,
            keep,
            unique,
            attempts,
            tagged,
            limits,
        },
    )
}

fn unique() -> impl Strategy<Value = UniqueStep> {
    let until = prop_oneof![
        2 => Just(Until::Done),
        2 => Just(Until::Started),
        2 => seconds(0..6).prop_map(Until::Elapsed),
    ];
    let replace = (any::<bool>(), any::<bool>(), any::<bool>(), option::weighted(0.3, seconds(0..6)))
        .prop_map(|(payload, due, priority, longest)| Replace { payload, due, priority, longest });
    let conflict = prop_oneof![
        2 => Just(OnConflict::Skip),
        3 => replace.prop_map(OnConflict::Replace),
        1 => Just(OnConflict::Refuse),
    ];
    (0_u8..3, until, conflict).prop_map(|(key, until, conflict)| UniqueStep { key, until, conflict })
}

/// One or two limits of different keys.
fn limits() -> impl Strategy<Value = Vec<(u8, Allowance, u32)>> {
    let allowance = prop_oneof![
        3 => (1_u32..4).prop_map(Allowance::at_once),
        1 => (1_u32..4, seconds(1..4)).prop_map(|(count, per)| Allowance::per(count, per)),
    ];
    let weight = prop_oneof![3 => Just(1_u32), 1 => 2_u32..4];
    (0_u8..3, vec((allowance, weight), 1..3)).prop_map(|(first, limits)| {
        (first..).zip(limits).map(|(key, (allowance, weight))| (key % 3, allowance, weight)).collect()
    })
}

fn claim() -> impl Strategy<Value = Step> {
    let queues = Just(vec![0_u8, 1, 2]).prop_shuffle().prop_flat_map(|queues| {
        vec(0_usize..4, 1..4).prop_map(move |limits| queues.iter().copied().zip(limits).collect())
    });
    let aging = option::of((1_u64..30).prop_map(Duration::from_secs));
    (0_u8..2, queues, 0_usize..8, any::<bool>(), aging)
        .prop_map(|(worker, queues, limit, knows_all, aging)| Step::Claim { worker, queues, limit, knows_all, aging })
}

fn verdict() -> impl Strategy<Value = Verdict> {
    let why = prop_oneof![Just(Return::Snoozed), Just(Return::Stopping), Just(Return::UnknownTask)];
    let failure = || Failure::new(FailureKind::Error, "it broke");
    prop_oneof![
        3 => any::<bool>().prop_map(|kept| Verdict::Complete { result: kept.then(crate::pair::payload) }),
        3 => seconds(0..4).prop_map(move |after| Verdict::Retry { after, failure: failure() }),
        1 => Just(Verdict::Discard { failure: failure() }),
        1 => Just(Verdict::Cancel { reason: "called off by itself".to_owned() }),
        1 => Just(Verdict::Expire),
        2 => (seconds(0..4), why).prop_map(|(after, why)| Verdict::Return { after, why }),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let cancel = Change::Cancel { reason: "by filter".to_owned() };
    prop_oneof![3 => Just(Change::Retry), 1 => Just(cancel), 1 => Just(Change::Delete)]
}

fn filter() -> impl Strategy<Value = FilterStep> {
    let state = proptest::sample::select(State::ALL.to_vec());
    (vec(any::<usize>(), 0..3), vec(state, 0..3), option::weighted(0.3, 0_u8..3), proptest::bool::weighted(0.3))
        .prop_map(|(ids, states, queue, tagged)| FilterStep { ids, states, queue, tagged })
}

fn seconds(range: std::ops::Range<u64>) -> impl Strategy<Value = Duration> {
    range.prop_map(Duration::from_secs)
}
