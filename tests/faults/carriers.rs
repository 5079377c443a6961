//! Kills of workers of a broker that nobody can ask for its jobs, and of the broker: each job runs at least once.

use std::collections::BTreeSet;
use std::time::Duration;

use taskwright::backend::Fetched;
use taskwright::{Client, JobId, State};

use crate::kills::{CRASHES, KILLS, dispatch, moments};
use crate::sites::{PATIENCE, Site};

/// Jobs whose outcome is not known yet.
struct Left {
    client: Client,
    ids: Vec<JobId>,
}

impl Left {
    fn new(client: Client, ids: BTreeSet<JobId>) -> Self {
        Self { client, ids: ids.into_iter().collect() }
    }

    /// Waits until at most `count` are left. Each outcome is looked at, and is that of a job which ran.
    async fn until(&mut self, count: u64) {
        let waiting = async {
            while self.ids.len() as u64 > count {
                self.look().await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "some jobs have not run");
    }

    async fn look(&mut self) {
        let results = self.client.backend().results().unwrap();
        let mut left = Vec::new();
        for ids in self.ids.chunks(1_000) {
            for (id, fetched) in ids.iter().zip(results.fetch(ids).await.unwrap()) {
                match fetched {
                    Fetched::Pending { .. } => left.push(*id),
                    Fetched::Finished(outcome) => {
                        assert_eq!(outcome.state, State::Completed, "{outcome:?}");
                        assert!(outcome.result.is_some(), "{outcome:?}");
                    }
                    Fetched::Absent | Fetched::Expired => panic!("job {id} is {fetched:?}"),
                }
            }
        }
        self.ids = left;
    }
}

/// F27.
pub(crate) async fn workers_are_killed_at_random_moments(site: &Site) {
    let client = site.client().await;
    let ids = dispatch(&client).await;
    let mut left = Left::new(client, ids);
    for moment in moments(KILLS) {
        let victims = [site.start(), site.start()];
        left.until(moment).await;
        for victim in victims {
            victim.kill().unwrap();
        }
    }
    let _survivor = site.start();
    left.until(0).await;
}

/// F8, F27.
pub(crate) async fn the_broker_crashes_in_the_middle(site: &Site) {
    let client = site.client().await;
    let ids = dispatch(&client).await;
    let mut left = Left::new(client, ids);
    let _workers = [site.start(), site.start()];
    for moment in moments(CRASHES) {
        left.until(moment).await;
        site.crash_and_restart();
    }
    left.until(0).await;
}
