//! Workers that are killed at any moment lose nothing.

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use taskwright::job::Job;
use taskwright::{Client, JobId, State};
use taskwright_tests::victim::{Linger, Mark};

use crate::sites::{Site, jobs, unfinished, until_left};

pub(crate) const JOBS: u64 = 10_000;
pub(crate) const KILLS: usize = 12;
pub(crate) const CRASHES: usize = 3;

/// Random moments, each said as how many jobs are left then, the first one first.
pub(crate) fn moments(count: usize) -> Vec<u64> {
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut moments: Vec<u64> = (0..count).map(|_| random.random_range(0..JOBS)).collect();
    moments.sort_unstable_by(|a, b| b.cmp(a));
    moments
}

pub(crate) async fn dispatch(client: &Client) -> BTreeSet<JobId> {
    let handles = client.dispatch_many((0..JOBS).map(Mark::new)).await.unwrap();
    handles.iter().map(taskwright::JobHandle::id).collect()
}

/// Ids in equal ids terminal, and nothing ran twice except what a crash explains.
pub(crate) async fn check(client: &Client, ids: &BTreeSet<JobId>) -> Vec<Job> {
    let jobs = jobs(client).await;
    assert_eq!(jobs.iter().map(Job::id).collect::<BTreeSet<_>>(), *ids);
    for job in &jobs {
        assert_eq!(job.state, State::Completed, "{job:?}");
        assert_eq!(job.attempt, job.crashes + 1, "it ran more often than crashes explain: {job:?}");
    }
    jobs
}

/// F27.
pub(crate) async fn workers_are_killed_at_random_moments(site: &Site) {
    let client = site.client().await;
    let mut ids = dispatch(&client).await;
    for moment in moments(KILLS) {
        // A fast store has done everything before the last moments come, and a kill then would hit nothing.
        if unfinished(&client).await.unwrap() == 0 {
            ids.extend(dispatch(&client).await);
        }
        let victims = [site.start(), site.start()];
        until_left(&client, moment).await;
        for victim in victims {
            victim.kill().unwrap();
        }
    }
    let _survivor = site.start();
    until_left(&client, 0).await;
    let jobs = check(&client, &ids).await;
    // The test has killed something only if some job was in somebody's hands.
    assert!(jobs.iter().any(|job| job.crashes > 0), "no kill hit anything");
}

/// F8, F27: the workers stay, and are neither deaf nor confused once the server is back.
pub(crate) async fn the_server_crashes_in_the_middle(site: &Site) {
    let client = site.client().await;
    let ids = dispatch(&client).await;
    let _workers = [site.start(), site.start()];
    for moment in moments(CRASHES) {
        until_left(&client, moment).await;
        site.crash_and_restart();
    }
    until_left(&client, 0).await;
    check(&client, &ids).await;
}

/// F5: the same machine, another process: rescued within the lease.
pub(crate) async fn a_killed_workers_job_runs_in_another_process(site: &Site) {
    let client = site.client().await;
    let handle = client.dispatch(Linger::new("here")).await.unwrap();
    let mut first = site.start();
    first.wait_for("here").unwrap();
    first.kill().unwrap();
    let mut second = site.start();
    second.wait_for("here").unwrap();
    let job = jobs(&client).await.pop().unwrap();
    assert_eq!((job.id(), job.state, job.attempt, job.crashes), (handle.id(), State::Running, 2, 1));
}
