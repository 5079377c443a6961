//! Heartbeats.

use super::Redis;
use super::answer::{count, list, name, parts, text};
use super::error::strange;
use super::record::encode;
use super::scripts::EXTEND;
use crate::backend::{Extend, Extended, Renewal};
use crate::error::Result;
use crate::time::micros;

/// How many leases one script renews.
const RENEWED_TOGETHER: usize = 2_000;

impl Redis {
    /// The worker is written with its first leases; a heartbeat without any writes it all the same.
    pub(super) async fn extend_leases(&self, extend: &Extend) -> Result<Extended> {
        let (first, rest) = extend.renewals.split_at(extend.renewals.len().min(RENEWED_TOGETHER));
        let mut extended = Extended::default();
        self.renew(extend, Some(encode(&extend.worker)?), first, &mut extended).await?;
        for some in rest.chunks(RENEWED_TOGETHER) {
            self.renew(extend, None, some, &mut extended).await?;
        }
        Ok(extended)
    }

    async fn renew(
        &self,
        extend: &Extend,
        said: Option<Vec<u8>>,
        renewals: &[Renewal],
        extended: &mut Extended,
    ) -> Result<()> {
        let queues = if said.is_some() { &*extend.worker.queues } else { &[] };
        let mut call = self.link.call(&EXTEND);
        call.arg(micros(extend.ttl)).arg(extend.worker.id.as_bytes()).arg(said.unwrap_or_default());
        call.arg(queues.len());
        for queue in queues {
            call.arg(queue.as_str());
        }
        for Renewal { lease, progress } in renewals {
            call.arg(lease.job.as_bytes()).arg(&lease.token.to_be_bytes());
            call.arg(progress.as_ref().map(encode).transpose()?.unwrap_or_default());
        }
        let [lost, called_off, paused] = parts(self.link.run(&call).await?)?;
        let lease = |place: usize| renewals.get(place).map(|renewal| renewal.lease).ok_or_else(strange);
        for place in list(lost)? {
            extended.lost.push(lease(count(&place)?)?);
        }
        let mut called_off = list(called_off)?.into_iter();
        while let (Some(place), Some(reason)) = (called_off.next(), called_off.next()) {
            extended.cancelled.push((lease(count(&place)?)?, text(reason)?));
        }
        for queue in list(paused)? {
            extended.paused.push(name(queue)?);
        }
        Ok(())
    }
}
