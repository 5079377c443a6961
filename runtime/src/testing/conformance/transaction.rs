//! Pushing in the caller's own transaction.

use crate::backend::Pushed;
use crate::error::{ErrorKind, Result};
use crate::job::JobId;
use crate::testing::harness::batch;
use crate::testing::{Draft, Harness, Held, OpenTransaction};

const KEY: &str = "receipt-42";

/// Pushes one job in a transaction.
async fn push_in(h: &Harness, transaction: &mut dyn OpenTransaction, job: Draft) -> Result<Pushed> {
    Ok(h.transaction()?.push_in(transaction.connection(), &batch([job])).await?[0])
}

/// Ids of all jobs that can be claimed.
async fn claimable(h: &Harness) -> Result<Vec<JobId>> {
    Ok(h.worker().claim(100).await?.iter().map(Held::id).collect())
}

pub(super) async fn job_is_there_once_the_caller_commits(h: &Harness) -> Result<()> {
    let job = h.job();
    let id = job.id();
    let mut transaction = h.begin().await?;
    assert_eq!(push_in(h, &mut *transaction, job).await?, Pushed::Stored);
    transaction.commit().await?;
    assert_eq!(claimable(h).await?, [id]);
    Ok(())
}

pub(super) async fn job_is_not_there_before_the_caller_commits(h: &Harness) -> Result<()> {
    let job = h.job();
    let id = job.id();
    let mut transaction = h.begin().await?;
    push_in(h, &mut *transaction, job).await?;
    assert_eq!(h.find(id).await?, None);
    transaction.commit().await?;
    assert!(h.find(id).await?.is_some(), "it is committed");
    Ok(())
}

pub(super) async fn job_is_gone_when_the_caller_rolls_back(h: &Harness) -> Result<()> {
    let mut transaction = h.begin().await?;
    push_in(h, &mut *transaction, h.job()).await?;
    transaction.rollback().await?;
    assert_eq!(claimable(h).await?, []);
    Ok(())
}

pub(super) async fn job_is_gone_when_the_transaction_is_dropped(h: &Harness) -> Result<()> {
    let mut transaction = h.begin().await?;
    push_in(h, &mut *transaction, h.job()).await?;
    drop(transaction);
    let next = h.push_one(h.job()).await?;
    assert_eq!(claimable(h).await?, [next]);
    Ok(())
}

pub(super) async fn all_pushes_of_one_transaction_are_committed_together(h: &Harness) -> Result<()> {
    let mut transaction = h.begin().await?;
    for _ in 0..5 {
        assert_eq!(push_in(h, &mut *transaction, h.job()).await?, Pushed::Stored);
    }
    transaction.commit().await?;
    assert_eq!(claimable(h).await?.len(), 5);
    Ok(())
}

pub(super) async fn batch_is_recognised_after_the_commit(h: &Harness) -> Result<()> {
    let batch = batch(h.jobs(3));
    let mut transaction = h.begin().await?;
    for expected in [Pushed::Stored, Pushed::Repeated] {
        assert_eq!(h.transaction()?.push_in(transaction.connection(), &batch).await?, [expected; 3]);
    }
    transaction.commit().await?;
    assert_eq!(h.backend.push(&batch).await?, [Pushed::Repeated; 3]);
    assert_eq!(claimable(h).await?.len(), 3);
    Ok(())
}

pub(super) async fn batch_that_was_rolled_back_is_new_again(h: &Harness) -> Result<()> {
    let batch = batch(h.jobs(3));
    let mut transaction = h.begin().await?;
    h.transaction()?.push_in(transaction.connection(), &batch).await?;
    transaction.rollback().await?;
    assert_eq!(h.backend.push(&batch).await?, [Pushed::Stored; 3]);
    Ok(())
}

pub(super) async fn taken_key_is_a_conflict_that_leaves_the_transaction_whole(h: &Harness) -> Result<()> {
    let holder = h.push_one(h.job().unique(KEY)).await?;
    let other = h.job();
    let id = other.id();
    let mut transaction = h.begin().await?;
    assert_eq!(push_in(h, &mut *transaction, h.job().unique(KEY)).await?, Pushed::Conflict(holder));
    assert_eq!(push_in(h, &mut *transaction, other).await?, Pushed::Stored);
    transaction.commit().await?;
    let mut found = claimable(h).await?;
    found.sort();
    assert_eq!(found, [holder, id]);
    Ok(())
}

pub(super) async fn key_taken_in_a_transaction_is_free_after_its_rollback(h: &Harness) -> Result<()> {
    let mut transaction = h.begin().await?;
    assert_eq!(push_in(h, &mut *transaction, h.job().unique(KEY)).await?, Pushed::Stored);
    transaction.rollback().await?;
    assert_eq!(h.push([h.job().unique(KEY)]).await?, [Pushed::Stored]);
    Ok(())
}

pub(super) async fn connection_of_another_driver_is_refused(h: &Harness) -> Result<()> {
    let mut not_a_connection = "a text".to_owned();
    let answer = h.transaction()?.push_in(&mut not_a_connection, &batch([h.job()])).await;
    assert_eq!(answer.err().map(|error| error.kind()), Some(ErrorKind::Unsupported));
    assert_eq!(claimable(h).await?, [], "nothing is stored");
    Ok(())
}
