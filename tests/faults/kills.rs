//! Workers that are killed at any moment lose nothing.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use taskwright::backend::JobFilter;
use taskwright::job::Job;
use taskwright::{Client, JobId, State};
use taskwright_tests::victim::{Linger, Mark, Victim};

const VICTIM: &str = env!("CARGO_BIN_EXE_victim");
const JOBS: u64 = 10_000;
const KILLS: usize = 12;
const LEASE: Duration = Duration::from_secs(1);

/// How long anything may take before the test is given up; nothing waits for it when all is well.
const PATIENCE: Duration = Duration::from_mins(4);

fn start(url: &str) -> Victim {
    Victim::start(Path::new(VICTIM), url, LEASE).unwrap()
}

async fn jobs(client: &Client) -> Vec<Job> {
    client.backend().inspect().unwrap().list(&JobFilter::default(), None, 100_000).await.unwrap()
}

async fn unfinished(client: &Client) -> u64 {
    let queues = client.backend().inspect().unwrap().queues().await.unwrap();
    queues.iter().flat_map(|queue| queue.counts.values()).sum()
}

/// Waits until at most `count` jobs are unfinished.
async fn until_left(client: &Client, count: u64) {
    let waiting = async {
        while unfinished(client).await > count {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "the backlog does not shrink to {count}");
}

/// F27: ids in equal ids terminal, and nothing runs twice except what a crash explains.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_jobs_survive_kills_at_random_moments() {
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("jobs.db").display());
    let client = Client::connect(&url).await.unwrap();
    let handles = client.dispatch_many((0..JOBS).map(Mark::new)).await.unwrap();
    let ids: BTreeSet<JobId> = handles.iter().map(taskwright::JobHandle::id).collect();

    let mut moments: Vec<u64> = (0..KILLS).map(|_| random.random_range(0..JOBS)).collect();
    moments.sort_unstable_by(|a, b| b.cmp(a));
    for moment in moments {
        let victims = [start(&url), start(&url)];
        until_left(&client, moment).await;
        for victim in victims {
            victim.kill().unwrap();
        }
    }
    let _survivor = start(&url);
    until_left(&client, 0).await;

    let jobs = jobs(&client).await;
    assert_eq!(jobs.iter().map(Job::id).collect::<BTreeSet<_>>(), ids);
    for job in &jobs {
        assert_eq!(job.state, State::Completed, "{job:?}");
        assert_eq!(job.attempt, job.crashes + 1, "it ran more often than crashes explain: {job:?}");
    }
    // The test has killed something only if some job was in somebody's hands.
    assert!(jobs.iter().any(|job| job.crashes > 0), "no kill hit anything");
}

/// F5: the same machine, another process: rescued within the lease.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_workers_job_runs_in_another_process() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("jobs.db").display());
    let client = Client::connect(&url).await.unwrap();
    let handle = client.dispatch(Linger::new("here")).await.unwrap();
    let mut first = start(&url);
    first.wait_for("here").unwrap();
    first.kill().unwrap();
    let mut second = start(&url);
    second.wait_for("here").unwrap();
    let job = jobs(&client).await.pop().unwrap();
    assert_eq!((job.id(), job.state, job.attempt, job.crashes), (handle.id(), State::Running, 2, 1));
}
