//! Limits: where jobs with limits wait, and how each limit stands.

use async_trait::async_trait;
use serde::Deserialize;

use super::Redis;
use super::answer::{given, list, moment, parts, text};
use super::record::decode;
use super::scripts::{ALLOW, STANDING};
use crate::backend::{LimitSource, LimitStats, Limiter};
use crate::error::{Error, Result};
use crate::job::{Allowance, JobSpec};
use crate::policy::limits::{self, Starts, Usage};
use crate::time::Timestamp;

/// How many limits one script shows.
const SHOWN_TOGETHER: usize = 500;

/// Where a job with limits waits, as scripts read it: the number of its weights (none where all are 1), each of them, and
/// its lane. Empty for a job without limits.
pub(super) fn place_of(spec: &JobSpec) -> Result<Vec<u8>> {
    let Some(lane) = limits::lane(spec) else { return Ok(Vec::new()) };
    let weights = limits::weights(spec).unwrap_or_default();
    let count =
        u8::try_from(weights.len()).map_err(|error| Error::invalid("a job has too many limits").because(error))?;
    let weights = weights.iter().flat_map(|weight| weight.to_be_bytes());
    Ok(std::iter::once(count).chain(weights).chain(lane.bytes()).collect())
}

/// A limit as `lua/limits.lua` writes it.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Limit {
    by_hand: Allowance,
    configured: Allowance,
    asked: Allowance,
    held: u64,
    starts: Starts,
}

impl Limit {
    /// `None` for one that was looked at and never counted.
    fn stats(self, key: String, now: Timestamp) -> Option<LimitStats> {
        let usage = Usage { set: self.by_hand.or(self.configured), held: self.held, starts: self.starts };
        let allowance = usage.allowance(self.asked);
        (!allowance.is_empty()).then(|| LimitStats {
            key,
            allowance,
            at_run_time: self.by_hand,
            configured: self.configured,
            held: usage.held,
            started: allowance.rate.map_or(0, |rate| usage.starts.within(rate.per, now)),
        })
    }
}

#[async_trait]
impl Limiter for Redis {
    async fn limits(&self, after: Option<&str>, limit: usize) -> Result<Vec<LimitStats>> {
        let mut found = Vec::new();
        let mut after = after.map(str::to_owned);
        while found.len() < limit {
            let mut call = self.link.call(&STANDING);
            call.arg(after.as_deref().unwrap_or_default()).arg(SHOWN_TOGETHER);
            let [now, shown] = parts(self.link.run(&call).await?)?;
            let (now, shown) = (moment(&now)?, list(shown)?);
            let is_last = shown.len() < 2 * SHOWN_TOGETHER;
            let mut shown = shown.into_iter();
            while let (Some(key), Some(stored)) = (shown.next(), shown.next()) {
                let key = text(key)?;
                after = Some(key.clone());
                // What can't be read allows nothing special; the next job that counts mends it.
                let stored: Limit = given(stored)?.and_then(|stored| decode(&stored).ok()).unwrap_or_default();
                found.extend(stored.stats(key, now));
            }
            if is_last {
                break;
            }
        }
        found.truncate(limit);
        Ok(found)
    }

    async fn set_limit(&self, key: &str, source: LimitSource, allowance: Allowance) -> Result<()> {
        let source = match source {
            LimitSource::RunTime => "by_hand",
            LimitSource::Configuration => "configured",
        };
        let allowance = serde_json::to_string(&allowance)
            .map_err(|error| Error::invalid("an allowance does not encode").because(error))?;
        let mut call = self.link.call(&ALLOW);
        call.arg(key).arg(source).arg(allowance);
        self.link.run(&call).await.map(drop)
    }
}
