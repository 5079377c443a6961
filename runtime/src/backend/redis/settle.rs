//! Ending claims: by their workers, or because they have lapsed.

use redis::Value;

use super::answer::{list, text};
use super::error::strange;
use super::link::Call;
use super::present::{PRESENT, moment};
use super::record::tail;
use super::scripts::SETTLE;
use super::{MOST_TOGETHER, Redis, key};
use crate::backend::{Settled, Settlement};
use crate::error::Result;
use crate::job::Job;
use crate::policy::{Placement, state, unique};

/// One claim's end, decided.
pub(super) struct Ending {
    pub(super) token: u64,
    /// What its job becomes.
    pub(super) job: Job,
    /// Where that lies.
    pub(super) placement: Placement,
}

/// Which claims may be ended.
#[derive(Clone, Copy)]
pub(super) enum Which {
    /// Any that is held, lapsed or not.
    Held,
    /// Only those that have lapsed.
    Lapsed,
}

/// What became of a claim's end.
pub(super) enum Ended {
    Lost,
    /// It is written, and the job lies there.
    Applied(Placement),
}

impl Redis {
    pub(super) async fn settle_jobs(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        let mut settled = Vec::with_capacity(settlements.len());
        for some in settlements.chunks(MOST_TOGETHER) {
            let endings = some.iter().map(|Settlement { lease, job, verdict }| {
                let mut job = job.clone();
                let placement = state::settle(&mut job, verdict, PRESENT);
                Ending { token: lease.token, job, placement }
            });
            let ended = self.end(Which::Held, endings.collect()).await?;
            settled.extend(ended.iter().map(|ended| match ended {
                Ended::Applied(_) => Settled::Applied,
                Ended::Lost => Settled::LeaseLost,
            }));
        }
        Ok(settled)
    }

    /// Ends claims, at most [`MOST_TOGETHER`]; tells what became of each.
    ///
    /// The server refuses to let a job wait again that was called off, so that one is decided anew and asked for once
    /// more.
    pub(super) async fn end(&self, which: Which, mut endings: Vec<Ending>) -> Result<Vec<Ended>> {
        let mut ended = Vec::with_capacity(endings.len());
        let answers = self.try_to_end(which, &endings).await?;
        let mut again = Vec::new();
        for (place, answer) in answers.into_iter().enumerate().rev() {
            let mut ending = endings.pop().ok_or_else(strange)?;
            ended.push(match answer {
                Value::Int(0) => Ended::Lost,
                Value::Int(_) => Ended::Applied(ending.placement),
                reason => {
                    let reason = text(reason)?;
                    ending.placement = state::heed(&mut ending.job, ending.placement, Some(&reason), PRESENT);
                    again.push((place, ending));
                    Ended::Lost
                }
            });
        }
        ended.reverse();
        if again.is_empty() {
            return Ok(ended);
        }
        let (places, endings): (Vec<_>, Vec<_>) = again.into_iter().unzip();
        for ((place, answer), ending) in places.into_iter().zip(self.try_to_end(which, &endings).await?).zip(endings) {
            if let (Value::Int(1), Some(ended)) = (answer, ended.get_mut(place)) {
                *ended = Ended::Applied(ending.placement);
            }
        }
        Ok(ended)
    }

    async fn try_to_end(&self, which: Which, endings: &[Ending]) -> Result<Vec<Value>> {
        if endings.is_empty() {
            return Ok(Vec::new());
        }
        let mut call = self.link.call(&SETTLE);
        call.arg(match which {
            Which::Held => "held",
            Which::Lapsed => "lapsed",
        });
        for Ending { token, job, placement } in endings {
            call.arg(job.id().as_bytes()).arg(&token.to_be_bytes());
            let ended = *placement != Placement::Waiting;
            let freed = job.spec.unique.as_ref().filter(|unique| ended && unique::is_freed_by_end(unique));
            arg_place(&mut call, job, *placement, &key(freed))?;
        }
        let answers = list(self.link.run(&call).await?)?;
        if answers.len() == endings.len() { Ok(answers) } else { Err(strange()) }
    }
}

/// Says where a job lies from now on and which key it takes or frees, as `settle.lua` and `move.lua` read it.
pub(super) fn arg_place(call: &mut Call, job: &Job, placement: Placement, key: &[u8]) -> Result<()> {
    let expires = || job.expires.map(moment).unwrap_or_default();
    match placement {
        Placement::Waiting => {
            call.arg("w").arg(key).arg(moment(job.due)).arg(expires()).arg(tail(job, None)?);
        }
        Placement::Finished { until } => {
            let ends = until.or(job.finished).unwrap_or(PRESENT);
            call.arg("f").arg(key).arg(moment(job.due)).arg(expires());
            call.arg(moment(ends)).arg(tail(job, until)?);
        }
        Placement::Forgotten => {
            call.arg("x").arg(key);
        }
    }
    Ok(())
}
