//! Two versions of a program share a queue without a failed job.

use std::collections::BTreeSet;

use taskwright::job::Job;
use taskwright::{JobHandle, State};
use taskwright_tests::victim::Version;

use crate::sites::{Site, jobs, until_left};

#[path = "../versions.rs"]
mod programs;

use self::programs::{new, old};

const JOBS: u64 = 200;

/// Both dispatch and both work at the same time; what the old one does not know waits for the new one.
pub(crate) async fn share_a_queue(site: &Site) {
    let client = site.client().await;
    let mut ids = BTreeSet::new();
    let mut dispatched = |handles: Vec<JobHandle<u64>>| ids.extend(handles.iter().map(JobHandle::id));
    let bill_with_note = |order| new::Bill::new(order, Some("by the new one".to_owned()));
    dispatched(client.dispatch_many((0..JOBS).map(old::Bill::new)).await.unwrap());
    dispatched(client.dispatch_many((0..JOBS).map(bill_with_note)).await.unwrap());
    dispatched(client.dispatch_many((0..JOBS).map(new::Remind::new)).await.unwrap());

    let _old = site.start_version(Version::Old);
    // Everything that the old one can do is done by it alone, so it has met what it can't do.
    until_left(&client, JOBS).await;
    let _new = site.start_version(Version::New);
    until_left(&client, 0).await;

    let jobs = jobs(&client).await;
    assert_eq!(jobs.iter().map(Job::id).collect::<BTreeSet<_>>(), ids);
    for job in &jobs {
        assert_eq!((job.state, job.attempt, job.crashes), (State::Completed, 1, 0), "{job:?}");
    }
}
