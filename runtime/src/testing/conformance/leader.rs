//! One leader at a time.

use std::time::Duration;

use crate::backend::{Backend, Term};
use crate::error::{Error, ErrorKind, Result};
use crate::job::{Name, WorkerId};
use crate::testing::{Harness, together};

const TTL: Duration = Duration::from_mins(1);

/// Campaigns for the usual role.
async fn campaign(h: &Harness, worker: WorkerId) -> Result<Option<Term>> {
    h.leader()?.campaign(&h.queue(), worker, TTL).await
}

/// Campaigns for the usual role, and wins.
async fn lead(h: &Harness, worker: WorkerId) -> Result<Term> {
    let nobody = || Error::new(ErrorKind::Unavailable, format!("worker {worker} does not become the leader"));
    campaign(h, worker).await?.ok_or_else(nobody)
}

async fn campaign_at(backend: &dyn Backend, role: &Name, worker: WorkerId) -> Result<Option<Term>> {
    let none = || Error::new(ErrorKind::Unsupported, "this handle elects no leader");
    backend.leader().ok_or_else(none)?.campaign(role, worker, TTL).await
}

pub(super) async fn first_to_ask_leads_alone(h: &Harness) -> Result<()> {
    let [ada, bob] = [WorkerId::new(), WorkerId::new()];
    lead(h, ada).await?;
    assert_eq!(campaign(h, bob).await?, None);
    Ok(())
}

pub(super) async fn leader_stays_while_it_renews(h: &Harness) -> Result<()> {
    let [ada, bob] = [WorkerId::new(), WorkerId::new()];
    let term = lead(h, ada).await?;
    for _ in 0..5 {
        h.advance(TTL / 3 * 2);
        assert_eq!(lead(h, ada).await?, term, "renewing is no new term");
        assert_eq!(campaign(h, bob).await?, None);
    }
    Ok(())
}

pub(super) async fn silent_leader_is_followed_by_another(h: &Harness) -> Result<()> {
    let [ada, bob] = [WorkerId::new(), WorkerId::new()];
    let first = lead(h, ada).await?;
    h.advance(TTL);
    let second = lead(h, bob).await?;
    assert!(second > first, "{second:?} follows {first:?}");
    assert_eq!(campaign(h, ada).await?, None);
    Ok(())
}

pub(super) async fn leader_that_resigns_is_followed_at_once(h: &Harness) -> Result<()> {
    let [ada, bob] = [WorkerId::new(), WorkerId::new()];
    let first = lead(h, ada).await?;
    h.leader()?.resign(&h.queue(), ada).await?;
    let second = lead(h, bob).await?;
    assert!(second > first, "{second:?} follows {first:?}");
    Ok(())
}

pub(super) async fn leader_that_comes_back_has_a_higher_term(h: &Harness) -> Result<()> {
    let [ada, bob] = [WorkerId::new(), WorkerId::new()];
    let mut terms = Vec::new();
    for worker in [ada, bob, ada, bob] {
        terms.push(lead(h, worker).await?);
        h.leader()?.resign(&h.queue(), worker).await?;
    }
    assert!(terms.is_sorted_by(|earlier, later| earlier < later), "terms grow: {terms:?}");
    Ok(())
}

pub(super) async fn resigning_without_leading_changes_nothing(h: &Harness) -> Result<()> {
    let [ada, bob] = [WorkerId::new(), WorkerId::new()];
    h.leader()?.resign(&h.queue(), ada).await?;
    let term = lead(h, ada).await?;
    h.leader()?.resign(&h.queue(), bob).await?;
    assert_eq!(campaign(h, bob).await?, None);
    assert_eq!(lead(h, ada).await?, term);
    Ok(())
}

pub(super) async fn roles_have_leaders_of_their_own(h: &Harness) -> Result<()> {
    let [ada, bob] = [WorkerId::new(), WorkerId::new()];
    lead(h, ada).await?;
    let other = h.leader()?.campaign(&h.other_queue("role"), bob, TTL).await?;
    assert!(other.is_some(), "another role is free");
    Ok(())
}

pub(super) async fn one_of_many_who_ask_at_the_same_time_leads(h: &Harness) -> Result<()> {
    let mut handles = vec![h.backend.clone(), h.another_handle().await?];
    handles.extend_from_within(..);
    handles.extend_from_within(..);
    let mut last = None;
    for round in 0..5 {
        let campaigns: Vec<_> = handles
            .iter()
            .cloned()
            .map(|backend| {
                let role = h.queue();
                async move { campaign_at(&*backend, &role, WorkerId::new()).await }
            })
            .collect();
        let won: Vec<_> = together(campaigns).await?.into_iter().flatten().collect();
        assert_eq!(won.len(), 1, "leaders in round {round}: {won:?}");
        assert!(won.first() > last.as_ref(), "{won:?} follows {last:?}");
        last = won.first().copied();
        h.advance(TTL);
    }
    Ok(())
}
