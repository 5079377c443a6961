//! Machines of workers that are not as they should be: clocks that are wrong, disks that are full.

use rand::RngExt;

use crate::kills::{JOBS, check, dispatch, moments};
use crate::sites::{LEASE, PATIENCE, Site, until_left};

const CHANGES: usize = 6;

/// Nobody but a worker goes by its clock: no lease is taken for lapsed, and no job waits.
pub(crate) async fn workers_clocks_are_wrong_by_minutes(site: &Site) {
    let client = site.client().await;
    let ids = dispatch(&client).await;
    let mut workers = [site.start(), site.start()];
    for moment in moments(CHANGES) {
        until_left(&client, moment).await;
        // One is always ahead of the other, by turns, and by more than any lease.
        workers.reverse();
        for (worker, sign) in workers.iter_mut().zip([-1, 1]) {
            worker.set_clock_off_by(sign * rand::rng().random_range(60..600)).unwrap();
        }
    }
    until_left(&client, 0).await;
    let jobs = check(&client, &ids).await;
    assert!(jobs.iter().all(|job| job.crashes == 0), "somebody's lease was taken for lapsed");
}

/// A file has no other clock than its machine's, which is put right twice: once ahead, past every lease, and once back.
pub(crate) async fn the_machines_clock_jumps(site: &Site) {
    let client = site.client().await;
    let ids = dispatch(&client).await;
    let mut workers = [site.start(), site.start()];
    // No moment before the jobs were pushed; and whatever is put off by one is due by the last.
    for (moment, seconds) in moments(3).into_iter().zip([120, 60, 180]) {
        until_left(&client, moment).await;
        for worker in &mut workers {
            worker.set_clock_off_by(seconds).unwrap();
        }
    }
    until_left(&client, 0).await;
    check(&client, &ids).await;
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
