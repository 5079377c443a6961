//! The contract, for every database that does [`Work`](super::work::Work).

use async_trait::async_trait;

use super::cancel::CancelWork;
use super::claim::ClaimWork;
use super::extend::ExtendWork;
use super::push::PushWork;
use super::reap::ReapWork;
use super::settle::SettleWork;
use super::work::Store;
use crate::backend::{
    Backend, Cancel, Cancelled, Claim, Claimed, Extend, Extended, Info, Inspect, Leader, Ledger, Limiter, Push, Pushed,
    Reap, Reaped, Results, Settled, Settlement, Transaction, Wake,
};
use crate::error::Result;

/// Forgetting old batches costs a statement, and one push in so many keeps up with the others.
const PUSHES_PER_TIDYING: u64 = 64;

#[async_trait]
impl<Database: Store + Wake + Transaction> Backend for Database {
    fn info(&self) -> &Info {
        self.description()
    }

    async fn push(&self, push: &Push) -> Result<Vec<Pushed>> {
        if push.jobs.is_empty() {
            return Ok(Vec::new());
        }
        let tidies = self.count_push().is_multiple_of(PUSHES_PER_TIDYING);
        self.write(PushWork::new(push, tidies)?).await
    }

    async fn claim(&self, claim: &Claim) -> Result<Claimed> {
        let claimed = self.write(ClaimWork::new(claim, self.experience())).await;
        if claimed.is_err() {
            self.experience().floors().forget();
        }
        claimed
    }

    async fn extend(&self, extend: &Extend) -> Result<Extended> {
        self.write(ExtendWork::new(extend)?).await
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        if settlements.is_empty() {
            return Ok(Vec::new());
        }
        self.write(SettleWork::new(settlements)).await
    }

    async fn cancel(&self, cancel: &Cancel) -> Result<Vec<Cancelled>> {
        if cancel.ids.is_empty() {
            return Ok(Vec::new());
        }
        self.write(CancelWork::new(cancel)).await
    }

    async fn reap(&self, reap: &Reap) -> Result<Reaped> {
        self.write(ReapWork { reap: *reap }).await
    }

    async fn close(&self) -> Result<()> {
        self.shut().await
    }

    fn results(&self) -> Option<&dyn Results> {
        Some(self)
    }

    fn wake(&self) -> Option<&dyn Wake> {
        Some(self)
    }

    fn leader(&self) -> Option<&dyn Leader> {
        Some(self)
    }

    fn inspect(&self) -> Option<&dyn Inspect> {
        Some(self)
    }

    fn limiter(&self) -> Option<&dyn Limiter> {
        Some(self)
    }

    fn ledger(&self) -> Option<&dyn Ledger> {
        Some(self)
    }

    fn transaction(&self) -> Option<&dyn Transaction> {
        Some(self)
    }
}
