//! Machines of workers that are not as they should be: clocks that are wrong, disks that are full.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::RngExt;
use taskwright::Dispatch;
use taskwright::backend::{JobFilter, Settlement};
use taskwright::job::{Job, State};
use taskwright::policy::Verdict;
use taskwright_tests::victim::{Linger, Mark, Victim};

use crate::kills::{JOBS, check, dispatch, moments};
use crate::sites::{LEASE, PATIENCE, Site, claim_and_vanish, soon, until_left};

const CHANGES: usize = 6;

/// How many jobs are held while clocks are wrong: more than one worker runs.
const LINGERING: usize = 12;

/// How often leases are looked through meanwhile.
const LOOKS: usize = 4;

/// Nobody but a worker goes by its clock: no lease is taken for lapsed, and no job waits.
pub(crate) async fn workers_clocks_are_wrong_by_minutes(site: &Site) {
    let client = site.client().await;
    let ids = dispatch(&client).await;
    let mut workers = [site.start_patient(), site.start_patient()];
    for moment in moments(CHANGES) {
        until_left(&client, moment).await;
        set_clocks_wrong(&mut workers);
    }
    until_left(&client, 0).await;
    let jobs = check(&client, &ids).await;
    assert!(jobs.iter().all(|job| job.crashes == 0), "somebody's lease was taken for lapsed");

    // All of that may be over before anybody looks for lapsed leases; these are held for longer.
    let names = (0..LINGERING).map(|number| Linger::new(number.to_string()));
    let held: Vec<_> = client.dispatch_many(names).await.unwrap().iter().map(taskwright::JobHandle::id).collect();
    let filter = JobFilter { ids: held.clone(), states: vec![State::Running], ..JobFilter::default() };
    let running = async || client.backend().inspect().unwrap().list(&filter, None, held.len()).await.unwrap();
    let all_run = async {
        while running().await.len() < held.len() {
            tokio::time::sleep(LEASE / 100).await;
        }
    };
    soon("an attempt of each job", all_run).await;
    for _ in 0..LOOKS {
        set_clocks_wrong(&mut workers);
        // Nobody serves that queue; its job is back when somebody has looked.
        client.dispatch(Dispatch::new(Mark::new(0)).queue("orphans")).await.unwrap();
        claim_and_vanish(&client, "orphans", LEASE).await;
        let (lease, job) = claim_and_vanish(&client, "orphans", PATIENCE).await;
        assert_eq!(job.crashes, 1);
        let settlement = Settlement { lease, job, verdict: Verdict::Complete { result: None } };
        client.backend().settle(&[settlement]).await.unwrap();
    }
    let jobs = running().await;
    assert_eq!(jobs.len(), held.len());
    assert!(jobs.iter().all(|job| (job.attempt, job.crashes) == (1, 0)), "a lease was taken for lapsed: {jobs:?}");
}

/// One is always ahead of the other, by turns, and by more than any lease.
fn set_clocks_wrong(workers: &mut [Victim; 2]) {
    workers.reverse();
    for (worker, sign) in workers.iter_mut().zip([-1, 1]) {
        worker.set_clock_off_by(sign * rand::rng().random_range(60..600)).unwrap();
    }
}

/// A file has no other clock than its machine's, which is put right twice: once ahead, past every lease, and once back.
pub(crate) async fn the_machines_clock_jumps(site: &Site) {
    const HOUR: u32 = 3_600;
    let client = site.client().await;
    let ids = dispatch(&client).await;
    // Each lapses by a jump of its own, long before its time.
    let orphans = [HOUR + HOUR / 2, 2 * HOUR + HOUR / 2]
        .map(|seconds| claim_and_vanish(&client, "default", Duration::from_secs(seconds.into())));
    let orphans: BTreeSet<_> = futures_util::future::join_all(orphans).await.iter().map(|(_, job)| job.id()).collect();
    let left = orphans.len().try_into().unwrap();
    let mut workers = [site.start(), site.start()];
    // No moment before the jobs were pushed; and whatever is put off by one is due by the last.
    for (moment, hours) in moments(3).into_iter().zip([2, 1, 3]) {
        until_left(&client, moment.max(left)).await;
        for worker in &mut workers {
            worker.set_clock_off_by(i64::from(hours * HOUR)).unwrap();
        }
    }
    until_left(&client, 0).await;
    let jobs = check(&client, &ids).await;
    let rescued: BTreeSet<_> = jobs.iter().filter(|job| job.crashes > 0).map(Job::id).collect();
    assert!(rescued.is_superset(&orphans), "somebody waited for the time that the clock jumped over");
}

/// Nothing can be written for longer than a lease, and work goes on when it can.
pub(crate) async fn the_disk_is_full_for_a_while(site: &Site) {
    let client = site.client().await;
    let ids = dispatch(&client).await;
    let workers = [site.start(), site.start()];
    for moment in [JOBS / 3 * 2, JOBS / 3] {
        until_left(&client, moment).await;
        for worker in &workers {
            worker.fill_disk().unwrap();
        }
        let silent = async {
            while !client.backend().inspect().unwrap().workers().await.unwrap().is_empty() {
                tokio::time::sleep(LEASE / 100).await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, silent).await.is_ok(), "hearts beat on a full disk");
        for worker in &workers {
            worker.free_disk().unwrap();
        }
    }
    until_left(&client, 0).await;
    check(&client, &ids).await;
}
