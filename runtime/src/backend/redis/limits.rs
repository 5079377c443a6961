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
#[derive(Default)]
struct Limit {
    held: u64,
    terms: Terms,
}

/// What a limit allows, and what has started.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Terms {
    by_hand: Allowance,
    configured: Allowance,
    asked: Allowance,
    starts: Starts,
}

impl Limit {
    /// What can't be read allows nothing special; the next job that counts mends it.
    fn read(stored: &[u8]) -> Self {
        let Some((held, rest)) = stored.split_first_chunk() else { return Self::default() };
        let held = u64::try_from(i64::from_be_bytes(*held)).unwrap_or(0);
        let terms = rest.get(8..).and_then(|terms| decode(terms).ok()).unwrap_or_default();
        Self { held, terms }
    }

    /// `None` for one that was looked at and never counted.
    fn stats(self, key: String, now: Timestamp) -> Option<LimitStats> {
        let Terms { by_hand, configured, asked, starts } = self.terms;
        let usage = Usage { set: by_hand.or(configured), held: self.held, starts };
        let allowance = usage.allowance(asked);
        (!allowance.is_empty()).then(|| LimitStats {
            key,
            allowance,
            at_run_time: by_hand,
            configured,
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
                let stored = given(stored)?.map(|stored| Limit::read(&stored)).unwrap_or_default();
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
