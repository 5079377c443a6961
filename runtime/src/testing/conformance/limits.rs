//! Limits in the whole cluster: how many of a key run at once, and how many start in a time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::backend::{Change, Hint, JobFilter, LimitSource, LimitStats, Listener, Pushed};
use crate::error::{Error, Result};
use crate::job::{Allowance, JobId, Name, State};
use crate::policy::limits::queue_key;
use crate::policy::state::Return;
use crate::testing::harness::batch;
use crate::testing::{Draft, Harness, Held, together};

const MINUTE: Duration = Duration::from_mins(1);
const KEY: &str = "customer-7";

/// So many jobs that count against the key's limit.
fn limited(h: &Harness, count: usize, allowance: &str) -> Vec<Draft> {
    (0..count).map(|_| h.job().limit(KEY, allowance)).collect()
}

/// Checks how many jobs a claim with room for all gets.
async fn gets(h: &Harness, count: usize) -> Result<Vec<Held>> {
    let held = h.worker().claim(100).await?;
    assert_eq!(held.len(), count, "what a claim gets");
    Ok(held)
}

/// Sets what a key allows by hand; `-` clears it.
async fn set(h: &Harness, key: &str, allowance: &str) -> Result<()> {
    let allowance = if allowance == "-" { Allowance::default() } else { allowance.parse()? };
    h.limiter()?.set_limit(key, LimitSource::RunTime, allowance).await
}

async fn stats(h: &Harness, key: &str) -> Result<Option<LimitStats>> {
    Ok(h.limiter()?.limits(None, 100).await?.into_iter().find(|stats| stats.key == key))
}

/// How many jobs each key got, by the first of their limits.
fn by_key<'a>(held: impl IntoIterator<Item = &'a Held>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for held in held {
        *counts.entry(held.job.spec.limits[0].key.clone()).or_default() += 1;
    }
    counts
}

pub(super) async fn no_more_run_at_once_than_a_key_allows(h: &Harness) -> Result<()> {
    h.push(limited(h, 5, "2")).await?;
    let held = gets(h, 2).await?;
    gets(h, 0).await?;
    h.end(held[0].completed()).await?;
    let next = gets(h, 1).await?;
    h.settle([held[1].completed(), next[0].completed()]).await?;
    gets(h, 2).await?;
    Ok(())
}

pub(super) async fn many_claims_at_once_never_exceed_a_limit(h: &Harness) -> Result<()> {
    h.push(limited(h, 40, "7")).await?;
    let mut claims = Vec::new();
    for _ in 0..8 {
        let worker = h.worker_elsewhere().await?;
        claims.push(async move {
            let mut held = worker.claim(5).await?;
            held.extend(worker.claim(5).await?);
            Ok(held)
        });
    }
    let mut held: Vec<_> = together(claims).await?.into_iter().flatten().collect();
    assert!(held.len() <= 7, "{} run at once", held.len());
    held.extend(h.worker().claim(100).await?);
    assert_eq!(held.len(), 7, "what others left is to be had");
    Ok(())
}

pub(super) async fn claims_and_ends_at_the_same_time_lose_no_slot(h: &Harness) -> Result<()> {
    const JOBS: usize = 60;
    h.push(limited(h, JOBS, "3")).await?;
    let mut workers = Vec::new();
    for _ in 0..4 {
        let (worker, backend) = (h.worker_elsewhere().await?, h.another_handle().await?);
        workers.push(async move {
            let (mut done, mut idle) = (0, 0);
            while idle < 3 {
                let held = worker.claim(2).await?;
                idle = if held.is_empty() { idle + 1 } else { 0 };
                assert!(held.len() <= 3);
                let ends: Vec<_> = held.iter().map(Held::completed).collect();
                backend.settle(&ends).await?;
                done += ends.len();
            }
            Ok(done)
        });
    }
    let mut done: usize = together(workers).await?.into_iter().sum();
    loop {
        let held = h.worker().claim(100).await?;
        if held.is_empty() {
            break;
        }
        assert!(held.len() <= 3, "{} run at once", held.len());
        done += held.len();
        h.settle(held.iter().map(Held::completed)).await?;
    }
    assert_eq!(done, JOBS, "every job has run");
    Ok(())
}

pub(super) async fn slot_is_free_once_its_lease_has_ended_however_it_did(h: &Harness) -> Result<()> {
    let endings: [fn(&Held) -> crate::backend::Settlement; 6] = [
        Held::completed,
        Held::discarded,
        Held::cancelled,
        |held| held.failed(MINUTE),
        |held| held.given_back(Return::Snoozed, MINUTE),
        |held| held.given_back(Return::Stopping, Duration::ZERO),
    ];
    for ending in endings {
        h.push(limited(h, 2, "1")).await?;
        let held = gets(h, 1).await?.remove(0);
        h.end(ending(&held)).await?;
        let next = gets(h, 1).await?.remove(0);
        h.end(next.completed()).await?;
        // What waits again is out of the way of the next round.
        h.advance(MINUTE * 2);
        while let Some(rest) = h.worker().claim(1).await?.pop() {
            h.end(rest.completed()).await?;
        }
    }
    Ok(())
}

pub(super) async fn lapsed_lease_holds_its_slot_until_it_is_reaped(h: &Harness) -> Result<()> {
    h.push(limited(h, 2, "1")).await?;
    let held = gets(h, 1).await?.remove(0);
    h.advance(crate::testing::LEASE * 2);
    gets(h, 0).await?;
    h.reap().await?;
    let next = gets(h, 1).await?.remove(0);
    assert_eq!(h.settle_one(held.completed()).await?, crate::backend::Settled::LeaseLost);
    gets(h, 0).await?;
    h.end(next.completed()).await?;
    gets(h, 1).await?;
    Ok(())
}

pub(super) async fn jobs_of_one_claim_free_their_slots_one_by_one(h: &Harness) -> Result<()> {
    h.push(limited(h, 9, "3")).await?;
    let held = gets(h, 3).await?;
    for ended in &held {
        h.end(ended.completed()).await?;
        assert_eq!(h.settle_one(ended.completed()).await?, crate::backend::Settled::LeaseLost);
        gets(h, 1).await?;
        gets(h, 0).await?;
    }
    Ok(())
}

pub(super) async fn keys_do_not_stand_in_each_others_way(h: &Harness) -> Result<()> {
    h.push(limited(h, 50, "1")).await?;
    h.push((0..3).map(|_| h.job().limit("other", "2"))).await?;
    let held = gets(h, 3).await?;
    assert_eq!(by_key(&held), BTreeMap::from([(KEY.to_owned(), 1), ("other".to_owned(), 2)]));
    Ok(())
}

pub(super) async fn key_is_one_for_all_queues_and_tasks(h: &Harness) -> Result<()> {
    let other = h.other_queue("other");
    h.push([h.job().limit(KEY, "1"), h.job().queue(&other).task(&other).limit(KEY, "1")]).await?;
    let worker = h.worker();
    let queues = [(&h.queue(), 10), (&other, 10)];
    let held = worker.claim_from(&queues, 10).await?;
    assert_eq!(held.len(), 1);
    h.end(held[0].completed()).await?;
    assert_eq!(worker.claim_from(&queues, 10).await?.len(), 1);
    Ok(())
}

pub(super) async fn different_keys_do_not_meet(h: &Harness) -> Result<()> {
    let long = "k".repeat(200);
    let keys = ["a", "A", "a ", " a", "ä", "%", "\"a\"", "{a}", "a,b", long.as_str()];
    h.push(keys.map(|key| h.job().limit(key, "1"))).await?;
    gets(h, keys.len()).await?;
    Ok(())
}

pub(super) async fn keys_take_turns_however_many_jobs_they_have(h: &Harness) -> Result<()> {
    let of = |key: &str, count: usize| (0..count).map(|_| h.job().limit(key, "1000")).collect::<Vec<_>>();
    for part in of("large", 1_000).chunks(250) {
        h.push(part.to_vec()).await?;
    }
    h.push(of("small", 10)).await?;
    h.push(of("other", 10)).await?;
    let worker = h.worker();
    let even = |turns: usize| ["large", "other", "small"].map(|key| (key.to_owned(), turns)).into_iter().collect();
    assert_eq!(by_key(&worker.claim(9).await?), even(3), "one claim has turns of the same length");
    let mut held = Vec::new();
    for _ in 0..6 {
        // Who had its turn at the same moment as another is not told from it.
        h.advance(Duration::from_millis(1));
        held.extend(worker.claim(1).await?);
    }
    assert_eq!(by_key(&held), even(2), "claims of single jobs go round");
    let held = worker.claim(100).await?;
    assert_eq!(by_key(&held), BTreeMap::from([("large".into(), 90), ("other".into(), 5), ("small".into(), 5)]));
    Ok(())
}

pub(super) async fn large_claims_serve_every_key_before_one_has_its_second_turn(h: &Harness) -> Result<()> {
    const KEYS: usize = 40;
    for from in (0..KEYS).step_by(10) {
        let jobs = |customer| (0..20).map(move |_| h.job().limit(format!("customer-{customer}"), "1000"));
        h.push((from..from + 10).flat_map(jobs)).await?;
    }
    let worker = h.worker();
    let mut served = BTreeSet::new();
    while served.len() < KEYS {
        // Who was served at the same moment as another is not told from it.
        h.advance(Duration::from_millis(1));
        let turns = by_key(&worker.claim(100).await?);
        let (least, most) = (turns.values().min().copied(), turns.values().max().copied());
        assert_eq!(turns.values().sum::<usize>(), 100);
        assert!(most <= least.map(|least| least + 1), "turns of the same length: {turns:?}");
        let new = turns.keys().filter(|key| !served.contains(*key)).count();
        assert!(
            new == turns.len() || served.len() + new == KEYS,
            "a second turn for some of {turns:?} after {served:?}"
        );
        served.extend(turns.into_keys());
    }
    Ok(())
}

pub(super) async fn lanes_that_wait_for_one_key_take_turns(h: &Harness) -> Result<()> {
    let of = |own: &str| h.job().limit(KEY, "1").limit(own, "9");
    for _ in 0..4 {
        h.push(["x", "y", "z"].map(of)).await?;
    }
    let mut served = Vec::new();
    for _ in 0..12 {
        // Who was served at the same moment as another is not told from it.
        h.advance(Duration::from_millis(1));
        let held = gets(h, 1).await?.remove(0);
        served.push(held.job.spec.limits[1].key.clone());
        h.end(held.completed()).await?;
    }
    for round in served.chunks(3) {
        let mut lanes = round.to_vec();
        lanes.sort();
        assert_eq!(lanes, ["x", "y", "z"], "each in its turn: {served:?}");
    }
    Ok(())
}

pub(super) async fn order_holds_within_a_key(h: &Harness) -> Result<()> {
    let [last, second, first] = [-1, 0, 5].map(|priority| h.job().priority(priority).limit(KEY, "1"));
    let ids = [first.id(), second.id(), last.id()];
    h.push([last, second, first]).await?;
    for id in ids {
        let held = gets(h, 1).await?.remove(0);
        assert_eq!(held.id(), id);
        h.end(held.completed()).await?;
    }
    Ok(())
}

pub(super) async fn weights_are_counted(h: &Harness) -> Result<()> {
    let weighing = |weight| h.job().weighing(weight, KEY, "5");
    h.push([weighing(2), weighing(2), weighing(2)]).await?;
    let held = gets(h, 2).await?;
    assert_eq!(stats(h, KEY).await?.map(|stats| stats.held), Some(4));
    h.end(held[0].completed()).await?;
    gets(h, 1).await?;
    Ok(())
}

pub(super) async fn job_that_weighs_more_than_the_limit_runs_alone(h: &Harness) -> Result<()> {
    let heavy = h.job().priority(1).weighing(9, KEY, "2");
    h.push([h.job().limit(KEY, "2"), heavy.clone(), h.job().limit(KEY, "2")]).await?;
    let held = gets(h, 1).await?.remove(0);
    assert_eq!(held.id(), heavy.id());
    h.end(held.completed()).await?;
    gets(h, 2).await?;
    Ok(())
}

pub(super) async fn rate_allows_so_many_starts_in_its_time(h: &Harness) -> Result<()> {
    h.push(limited(h, 10, "2/1m")).await?;
    let held = gets(h, 2).await?;
    h.settle(held.iter().map(Held::completed)).await?;
    gets(h, 0).await?;
    let wait = h.worker().next_due().await?;
    assert!(wait.is_some_and(|wait| wait <= MINUTE), "it knows when: {wait:?}");
    h.advance(MINUTE / 2);
    gets(h, 0).await?;
    h.advance(MINUTE / 2);
    gets(h, 2).await?;
    gets(h, 0).await?;
    Ok(())
}

pub(super) async fn start_counts_though_the_job_was_given_back(h: &Harness) -> Result<()> {
    h.push(limited(h, 2, "1/1m")).await?;
    let held = gets(h, 1).await?.remove(0);
    h.end(held.given_back(Return::Stopping, Duration::ZERO)).await?;
    gets(h, 0).await?;
    h.advance(MINUTE);
    gets(h, 1).await?;
    Ok(())
}

pub(super) async fn job_with_two_limits_waits_for_both(h: &Harness) -> Result<()> {
    let both = || h.job().limit("one", "1").limit("two", "3");
    h.push((0..4).map(|_| h.job().limit("two", "3"))).await?;
    let held = gets(h, 3).await?;
    h.push([both(), both()]).await?;
    gets(h, 0).await?;
    h.settle([held[0].completed(), held[1].completed()]).await?;
    let next = gets(h, 2).await?;
    h.settle(next.iter().chain(&held[2..]).map(Held::completed)).await?;
    let last = gets(h, 1).await?.remove(0);
    assert_eq!(last.job.spec.limits.len(), 2, "the other one of key `one` waited for it");
    Ok(())
}

pub(super) async fn waiting_for_a_limit_costs_no_attempt(h: &Harness) -> Result<()> {
    h.push(limited(h, 2, "1")).await?;
    let held = gets(h, 1).await?.remove(0);
    for _ in 0..5 {
        gets(h, 0).await?;
    }
    h.end(held.completed()).await?;
    let held = gets(h, 1).await?.remove(0);
    assert_eq!((held.job.attempt, held.job.history.len()), (1, 0));
    Ok(())
}

pub(super) async fn jobs_without_limits_of_the_same_queue_run_on(h: &Harness) -> Result<()> {
    h.push(limited(h, 20, "1")).await?;
    gets(h, 1).await?;
    h.push(h.jobs(3)).await?;
    let held = gets(h, 3).await?;
    assert!(held.iter().all(|held| held.job.spec.limits.is_empty()));
    Ok(())
}

pub(super) async fn neither_side_of_a_queue_starves_the_other(h: &Harness) -> Result<()> {
    h.push(limited(h, 50, "1000")).await?;
    h.push(h.jobs(50)).await?;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.extend(h.worker().claim(10).await?);
    }
    let with_limits = held.iter().filter(|held| !held.job.spec.limits.is_empty()).count();
    // Half of each claim of a store; a carrier asks its store now and then.
    assert_eq!(held.len(), 40);
    assert!((5..=35).contains(&with_limits), "{with_limits} of 40 have limits");
    gets(h, 60).await?;
    Ok(())
}

pub(super) async fn everything_about_limits_survives_a_retry(h: &Harness) -> Result<()> {
    let job = h.job().weighing(2, KEY, "3+9/1h").limit("all", "7");
    let limits = job.spec.limits.clone();
    h.push_one(job).await?;
    let held = gets(h, 1).await?.remove(0);
    assert_eq!(held.job.spec.limits, limits);
    h.end(held.failed(Duration::ZERO)).await?;
    let held = gets(h, 1).await?.remove(0);
    assert_eq!((&held.job.spec.limits, held.job.attempt), (&limits, 2));
    h.lapse_and_reap().await?;
    assert_eq!(gets(h, 1).await?.remove(0).job.spec.limits, limits);
    Ok(())
}

pub(super) async fn failed_job_waits_for_its_time_and_its_limit(h: &Harness) -> Result<()> {
    h.push(limited(h, 1, "1")).await?;
    let held = gets(h, 1).await?.remove(0);
    h.end(held.failed(MINUTE)).await?;
    gets(h, 0).await?;
    let wait = h.worker().next_due().await?;
    assert!(wait.is_some_and(|wait| wait > Duration::ZERO && wait <= MINUTE), "{wait:?}");
    h.advance(MINUTE);
    gets(h, 1).await?;
    Ok(())
}

pub(super) async fn delayed_job_with_a_limit_is_not_early(h: &Harness) -> Result<()> {
    h.push((0..2).map(|_| h.job().limit(KEY, "5").delay(MINUTE))).await?;
    gets(h, 0).await?;
    h.advance(MINUTE);
    gets(h, 2).await?;
    Ok(())
}

pub(super) async fn limit_set_at_run_time_outweighs_what_jobs_ask_for(h: &Harness) -> Result<()> {
    h.push(limited(h, 20, "2")).await?;
    let held = gets(h, 2).await?;
    set(h, KEY, "5").await?;
    gets(h, 3).await?;
    set(h, KEY, "1").await?;
    h.settle(held.iter().map(Held::completed)).await?;
    gets(h, 0).await?;
    set(h, KEY, "0").await?;
    gets(h, 0).await?;
    set(h, KEY, "-").await?;
    gets(h, 0).await?;
    set(h, KEY, "4").await?;
    gets(h, 1).await?;
    Ok(())
}

pub(super) async fn run_time_outweighs_configuration(h: &Harness) -> Result<()> {
    let limiter = h.limiter()?;
    limiter.set_limit(KEY, LimitSource::Configuration, "3+50/1m".parse()?).await?;
    set(h, KEY, "1").await?;
    h.push(limited(h, 10, "7")).await?;
    gets(h, 1).await?;
    let stats = stats(h, KEY).await?.ok_or_else(|| Error::invalid("the limit is not listed"))?;
    assert_eq!((stats.at_run_time.to_string(), stats.configured.to_string()), ("1".into(), "3+50/1m".into()));
    assert_eq!((stats.allowance.to_string(), stats.held, stats.started), ("1+50/1m".into(), 1, 1));
    set(h, KEY, "-").await?;
    gets(h, 2).await?;
    limiter.set_limit(KEY, LimitSource::Configuration, Allowance::default()).await?;
    gets(h, 4).await?;
    Ok(())
}

pub(super) async fn limits_are_listed_by_key(h: &Harness) -> Result<()> {
    for key in ["b", "c", "a"] {
        set(h, key, "1").await?;
    }
    set(h, "c", "-").await?;
    set(h, "never", "-").await?;
    h.push([h.job().limit("d", "9")]).await?;
    gets(h, 1).await?;
    let keys = |stats: Vec<LimitStats>| stats.into_iter().map(|stats| stats.key).collect::<Vec<_>>();
    let limiter = h.limiter()?;
    h.reap().await?;
    assert_eq!(keys(limiter.limits(None, 10).await?), ["a", "b", "d"]);
    assert_eq!(keys(limiter.limits(None, 2).await?), ["a", "b"]);
    assert_eq!(keys(limiter.limits(Some("b"), 10).await?), ["d"]);
    Ok(())
}

pub(super) async fn limit_that_nothing_counts_against_is_forgotten(h: &Harness) -> Result<()> {
    h.push([h.job().limit("slots", "1"), h.job().limit("starts", "5/1m")]).await?;
    let held = gets(h, 2).await?;
    h.reap().await?;
    assert_eq!(h.limiter()?.limits(None, 10).await?.len(), 2);
    h.settle(held.iter().map(Held::completed)).await?;
    h.reap().await?;
    assert_eq!(h.limiter()?.limits(None, 10).await?.len(), 1, "a start still counts");
    h.advance(MINUTE);
    h.reap().await?;
    assert_eq!(h.limiter()?.limits(None, 10).await?.len(), 0);
    Ok(())
}

pub(super) async fn queue_has_a_limit_of_its_own(h: &Harness) -> Result<()> {
    let (key, other) = (queue_key(&h.queue()), h.other_queue("other"));
    set(h, &key, "3").await?;
    h.push(h.jobs(4)).await?;
    h.push(limited(h, 4, "9")).await?;
    h.push((0..4).map(|_| h.job().queue(&other))).await?;
    let worker = h.worker();
    let held = gets(h, 3).await?;
    gets(h, 0).await?;
    assert_eq!(worker.claim_from(&[(&h.queue(), 10), (&other, 10)], 20).await?.len(), 4, "others are free");
    h.end(held[0].completed()).await?;
    gets(h, 1).await?;
    set(h, &key, "-").await?;
    gets(h, 4).await?;
    Ok(())
}

pub(super) async fn job_that_asks_for_the_key_of_its_queue_counts_once(h: &Harness) -> Result<()> {
    let key = queue_key(&h.queue());
    let held_of = async || Ok::<_, Error>(stats(h, &key).await?.map(|stats| stats.held));
    h.push((0..5).map(|_| h.job().limit(&key, "3"))).await?;
    let mut held = gets(h, 3).await?;
    h.end(held.remove(0).completed()).await?;
    assert_eq!(held_of().await?, Some(2), "while the queue has no limit of its own");
    held.extend(gets(h, 1).await?);
    gets(h, 0).await?;

    set(h, &key, "4").await?;
    h.push(h.jobs(3)).await?;
    held.extend(gets(h, 1).await?);
    assert_eq!(held_of().await?, Some(4));
    gets(h, 0).await?;
    h.settle(held.drain(..2).map(|held| held.completed())).await?;
    assert_eq!(held_of().await?, Some(2), "each frees what it held");
    held.extend(gets(h, 2).await?);
    gets(h, 0).await?;
    h.settle(held.drain(..).map(|held| held.completed())).await?;
    assert_eq!(held_of().await?, Some(0));

    let rest = gets(h, 1).await?;
    h.end(rest[0].completed()).await?;
    h.push((0..2).map(|_| h.job().weighing(2, &key, "9"))).await?;
    // So that these have their turn first.
    h.advance(Duration::from_millis(1));
    h.push(limited(h, 4, "9")).await?;
    h.push(h.jobs(4)).await?;
    let held = h.worker().claim(100).await?;
    let weight =
        |held: &Held| held.job.spec.limits.iter().find(|limit| limit.key == key).map_or(1, |limit| limit.weight);
    let slots: u32 = held.iter().map(weight).sum();
    assert!(slots == 4 || slots == 3, "{slots} slots of 4 are taken");
    assert_eq!(held_of().await?, Some(slots.into()));
    Ok(())
}

pub(super) async fn queue_has_a_rate_of_its_own(h: &Harness) -> Result<()> {
    set(h, &queue_key(&h.queue()), "2/1m").await?;
    h.push(h.jobs(5)).await?;
    let held = gets(h, 2).await?;
    h.settle(held.iter().map(Held::completed)).await?;
    gets(h, 0).await?;
    let wait = h.worker().next_due().await?;
    assert!(wait.is_some_and(|wait| wait > Duration::ZERO && wait <= MINUTE), "{wait:?}");
    h.advance(MINUTE);
    gets(h, 2).await?;
    Ok(())
}

pub(super) async fn blocked_keys_do_not_hide_one_that_is_free(h: &Harness) -> Result<()> {
    for from in (0..600).step_by(100) {
        h.push((from..from + 100).flat_map(|tenant| {
            let key = format!("tenant-{tenant}");
            [h.job().limit(&key, "1"), h.job().limit(&key, "1")]
        }))
        .await?;
    }
    let worker = h.worker();
    let mut held = Vec::new();
    for _ in 0..30 {
        held.extend(worker.claim(100).await?);
    }
    assert_eq!(held.len(), 600, "one of each");
    h.push([h.job().limit("free", "1")]).await?;
    let next = worker.claim(5).await?;
    assert_eq!(by_key(&next), BTreeMap::from([("free".to_owned(), 1)]));
    h.end(held[417].completed()).await?;
    let next = worker.claim(5).await?;
    assert_eq!(by_key(&next), by_key(&held[417..418]));
    Ok(())
}

pub(super) async fn unique_key_and_limit_go_together(h: &Harness) -> Result<()> {
    h.push(limited(h, 1, "1")).await?;
    let held = gets(h, 1).await?.remove(0);
    let waiting = h.push_one(h.job().limit(KEY, "1").unique("once")).await?;
    let pushed = h.push([h.job().limit(KEY, "1").unique("once")]).await?;
    assert_eq!(pushed, [Pushed::Conflict(waiting)]);
    h.end(held.completed()).await?;
    let held = gets(h, 1).await?.remove(0);
    assert_eq!(held.id(), waiting);
    h.end(held.completed()).await?;
    h.push_one(h.job().limit(KEY, "1").unique("once")).await?;
    gets(h, 1).await?;
    Ok(())
}

pub(super) async fn repeated_push_of_limited_jobs_adds_nothing(h: &Harness) -> Result<()> {
    let jobs = limited(h, 3, "2");
    let push = batch(jobs.clone());
    h.backend.push(&push).await?;
    assert_eq!(h.backend.push(&push).await?, [Pushed::Repeated; 3]);
    assert_eq!(h.push(jobs.clone()).await?, [Pushed::Repeated; 3], "while they wait");
    let held = gets(h, 2).await?;
    assert_eq!(h.push(jobs).await?, [Pushed::Repeated; 3], "while they run");
    h.settle(held.iter().map(Held::completed)).await?;
    gets(h, 1).await?;
    Ok(())
}

pub(super) async fn job_is_not_added_with_limits_and_without(h: &Harness) -> Result<()> {
    let plain = h.job();
    let limited = plain.clone().limit(KEY, "1");
    h.push_one(plain.clone()).await?;
    assert_eq!(h.push([limited]).await?, [Pushed::Repeated]);
    let other = h.job().limit(KEY, "1");
    h.push_one(other.clone()).await?;
    assert_eq!(h.push([h.job().with_id(other.id())]).await?, [Pushed::Repeated]);
    gets(h, 2).await?;
    Ok(())
}

pub(super) async fn paused_queue_hands_out_no_limited_jobs(h: &Harness) -> Result<()> {
    h.push(limited(h, 2, "5")).await?;
    h.inspect()?.pause(&h.queue(), true).await?;
    gets(h, 0).await?;
    h.inspect()?.pause(&h.queue(), false).await?;
    gets(h, 2).await?;
    Ok(())
}

pub(super) async fn limited_job_that_waits_is_called_off(h: &Harness) -> Result<()> {
    h.push(limited(h, 1, "1")).await?;
    let held = gets(h, 1).await?.remove(0);
    let waiting = h.push_one(h.job().limit(KEY, "1")).await?;
    assert_eq!(
        h.cancel(&[waiting, held.id()]).await?,
        [crate::backend::Cancelled::Ended, crate::backend::Cancelled::Requested]
    );
    h.end(held.failed(Duration::ZERO)).await?;
    gets(h, 0).await?;
    h.push(limited(h, 1, "1")).await?;
    gets(h, 1).await?;
    Ok(())
}

pub(super) async fn limited_job_that_waits_expires(h: &Harness) -> Result<()> {
    h.push(limited(h, 1, "1")).await?;
    let held = gets(h, 1).await?.remove(0);
    h.push([h.job().limit(KEY, "1").expires(MINUTE)]).await?;
    h.advance(MINUTE);
    h.end(held.completed()).await?;
    gets(h, 0).await?;
    assert_eq!(h.reap().await?.expired, 1);
    Ok(())
}

pub(super) async fn limited_jobs_are_shown_and_counted(h: &Harness) -> Result<()> {
    let ids: Vec<JobId> = limited(h, 2, "1").into_iter().map(|job| job.id()).collect();
    let jobs = ids.iter().map(|id| h.job().with_id(*id).limit(KEY, "1"));
    h.push(jobs).await?;
    h.push([h.job().limit(KEY, "1").delay(MINUTE)]).await?;
    let held = gets(h, 1).await?.remove(0);
    let waiting = ids.iter().copied().find(|id| *id != held.id()).unwrap_or(held.id());
    assert_eq!(h.find(waiting).await?.map(|job| (job.state, job.spec.limits.len())), Some((State::Available, 1)));
    assert_eq!(h.find(held.id()).await?.map(|job| job.state), Some(State::Running));
    let queues = h.inspect()?.queues().await?;
    let counts = BTreeMap::from([(State::Scheduled, 1), (State::Available, 1), (State::Running, 1)]);
    assert_eq!(queues.iter().map(|queue| &queue.counts).collect::<Vec<_>>(), [&counts]);
    Ok(())
}

pub(super) async fn limited_jobs_are_changed_by_hand(h: &Harness) -> Result<()> {
    h.push(limited(h, 2, "1")).await?;
    let held = gets(h, 1).await?.remove(0);
    h.end(held.discarded()).await?;
    let change = async |change: Change, ids: Vec<JobId>| {
        let filter = JobFilter { ids, ..JobFilter::default() };
        Ok::<_, Error>(h.inspect()?.change(&change, &filter, 10).await?.count)
    };
    let running = gets(h, 1).await?.remove(0);
    assert_eq!(change(Change::Retry, vec![held.id()]).await?, 1);
    gets(h, 0).await?;
    assert_eq!(change(Change::Delete, vec![held.id(), running.id()]).await?, 1, "the one that waits");
    h.end(running.completed()).await?;
    gets(h, 0).await?;
    Ok(())
}

pub(super) async fn end_of_a_job_wakes_who_waits_for_its_slot(h: &Harness) -> Result<()> {
    let other = h.other_queue("other");
    h.push([h.job().limit(KEY, "1")]).await?;
    let held = gets(h, 1).await?.remove(0);
    let mut listener = h.wake()?.listen().await?;
    h.push([h.job().queue(&other).limit(KEY, "1")]).await?;
    hears_of(&mut *listener, &other).await?;
    assert_eq!(h.worker().claim_from(&[(&other, 5)], 5).await?.len(), 0);
    h.end(held.completed()).await?;
    hears_of(&mut *listener, &other).await?;
    assert_eq!(h.worker().claim_from(&[(&other, 5)], 5).await?.len(), 1);
    Ok(())
}

pub(super) async fn raised_limit_wakes_who_waits_for_it(h: &Harness) -> Result<()> {
    let mut listener = h.wake()?.listen().await?;
    h.push(limited(h, 2, "1")).await?;
    hears_of(&mut *listener, &h.queue()).await?;
    gets(h, 1).await?;
    gets(h, 0).await?;
    set(h, KEY, "2").await?;
    hears_of(&mut *listener, &h.queue()).await?;
    gets(h, 1).await?;
    Ok(())
}

/// Waits for a hint about the jobs of this queue. What a push tells is to be heard before what comes after it is waited
/// for, or the one would be taken for the other.
async fn hears_of(listener: &mut dyn Listener, queue: &Name) -> Result<()> {
    loop {
        match listener.next().await? {
            Hint::Everything => return Ok(()),
            Hint::Jobs(of) if of == *queue => return Ok(()),
            _ => {}
        }
    }
}

pub(super) async fn limited_job_is_not_taken_by_its_id(h: &Harness) -> Result<()> {
    let job = h.job().limit(KEY, "1");
    let id = job.id();
    h.push([job]).await?;
    let claim = crate::backend::Claim {
        worker: h.worker().id,
        queues: Vec::new(),
        limit: 10,
        unknown: Vec::new(),
        ttl: crate::testing::LEASE,
        max_crashes: 3,
        aging: None,
    };
    assert_eq!(h.ledger()?.take(&claim, &[id]).await?.len(), 0);
    let plain = h.push_one(h.job()).await?;
    set(h, &queue_key(&h.queue()), "1").await?;
    assert_eq!(h.ledger()?.take(&claim, &[plain]).await?.len(), 0);
    gets(h, 1).await?;
    Ok(())
}

pub(super) async fn limited_job_of_a_transaction_runs_once_it_is_committed(h: &Harness) -> Result<()> {
    let mut transaction = h.begin().await?;
    h.transaction()?.push_in(transaction.connection(), &batch(limited(h, 2, "1"))).await?;
    // On a store with one writer this would wait for the commit, so it is asked for afterwards there.
    transaction.commit().await?;
    gets(h, 1).await?;
    gets(h, 0).await?;
    Ok(())
}

pub(super) async fn limits_hold_for_every_handle_on_the_store(h: &Harness) -> Result<()> {
    set(h, &queue_key(&h.queue()), "2").await?;
    h.push(h.jobs(5)).await?;
    let elsewhere = h.worker_elsewhere().await?;
    let held = elsewhere.claim(10).await?;
    assert_eq!(held.len(), 2);
    gets(h, 0).await?;
    h.end(held[0].completed()).await?;
    assert_eq!(elsewhere.claim(10).await?.len(), 1);
    Ok(())
}

pub(super) async fn limits_are_kept_in_any_order_of_claims_and_ends(h: &Harness) -> Result<()> {
    // A fixed sequence that looks random: what is claimed, ended, failed, given back and lost by two workers.
    let mut seed = 0x2545_F491_4F6C_DD1D_u64;
    let mut next = |bound: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % bound
    };
    let allowed = BTreeMap::from([("a".to_owned(), 1_usize), ("b".to_owned(), 3)]);
    let workers = [h.worker(), h.worker_elsewhere().await?];
    let mut held: Vec<Held> = Vec::new();
    for round in 0..120_u64 {
        if round % 6 == 0 {
            h.push((0..4).map(|job| if job % 2 == 0 { h.job().limit("a", "1") } else { h.job().limit("b", "3") }))
                .await?;
        }
        held.extend(workers[usize::from(next(2) == 0)].claim(usize::try_from(next(5)).unwrap_or(1)).await?);
        for (key, running) in by_key(&held) {
            assert!(running <= allowed[&key], "{running} of {key} run at once in round {round}");
        }
        if !held.is_empty() {
            let ended = held.swap_remove(usize::try_from(next(held.len() as u64)).unwrap_or(0));
            match next(4) {
                0 => h.end(ended.failed(Duration::ZERO)).await?,
                1 => h.end(ended.given_back(Return::Snoozed, Duration::ZERO)).await?,
                2 => {
                    workers[0].extend(&held).await?;
                    h.advance(crate::testing::LEASE);
                    workers[0].extend(&held).await?;
                    h.reap().await?;
                }
                _ => h.end(ended.completed()).await?,
            }
        }
    }
    Ok(())
}
