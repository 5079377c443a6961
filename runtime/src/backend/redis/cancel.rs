//! Calling jobs off.

use redis::Value;

use super::answer::{bytes, list, moment, parts};
use super::error::strange;
use super::moves::{Move, Moved};
use super::present::PRESENT;
use super::record::read;
use super::scripts::CANCEL;
use super::{MOST_TOGETHER, Redis};
use crate::backend::{Cancel, Cancelled};
use crate::error::{Error, Result};
use crate::job::JobId;
use crate::policy::{Placement, state};

/// How often a job is looked at again that changes under our hands.
const TRIES: usize = 20;

/// What calling a job off did.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum CalledOff {
    /// What the contract answers.
    As(Cancelled),
    /// It runs, and was called off before.
    Before,
}

impl Redis {
    pub(super) async fn cancel_jobs(&self, cancel: &Cancel) -> Result<Vec<Cancelled>> {
        let mut cancelled = Vec::with_capacity(cancel.ids.len());
        for ids in cancel.ids.chunks(MOST_TOGETHER) {
            cancelled.extend(self.call_off(ids, &cancel.reason).await?.into_iter().map(|called| match called {
                CalledOff::As(cancelled) => cancelled,
                CalledOff::Before => Cancelled::Requested,
            }));
        }
        Ok(cancelled)
    }

    /// Calls off at most [`MOST_TOGETHER`] jobs.
    pub(super) async fn call_off(&self, ids: &[JobId], reason: &str) -> Result<Vec<CalledOff>> {
        let mut answers = vec![CalledOff::As(Cancelled::Absent); ids.len()];
        let mut places: Vec<_> = (0..ids.len()).collect();
        for _ in 0..TRIES {
            places = self.call_off_once(ids, places, reason, &mut answers).await?;
            if places.is_empty() {
                return Ok(answers);
            }
        }
        Err(Error::unavailable("jobs to cancel changed each time they were looked at"))
    }

    /// Calls off the jobs in these places; gives the places of those that changed in between.
    async fn call_off_once(
        &self,
        ids: &[JobId],
        places: Vec<usize>,
        reason: &str,
        answers: &mut [CalledOff],
    ) -> Result<Vec<usize>> {
        let asked: Vec<_> = places.iter().filter_map(|place| ids.get(*place).copied()).collect();
        let mut call = self.link.call(&CANCEL);
        call.arg(reason);
        for id in &asked {
            call.arg(id.as_bytes());
        }
        let [now, found] = parts(self.link.run(&call).await?)?;
        let now = moment(&now)?;
        let mut moves = Vec::new();
        let mut moving = Vec::new();
        for ((place, id), found) in places.into_iter().zip(asked).zip(list(found)?) {
            let answer = answers.get_mut(place).ok_or_else(strange)?;
            *answer = match found {
                Value::Nil => CalledOff::As(Cancelled::Absent),
                Value::Int(1) => CalledOff::As(Cancelled::Requested),
                Value::Int(_) => CalledOff::Before,
                record => {
                    let record = bytes(record)?;
                    match read(id, &record, now) {
                        Ok(stored) if stored.job.state.is_terminal() => {
                            CalledOff::As(Cancelled::Finished(stored.job.state))
                        }
                        Ok(mut stored) => {
                            let placement = state::cancel(&mut stored.job, reason, PRESENT);
                            moves.push(Move::new(&record, stored.job, placement));
                            moving.push(place);
                            CalledOff::As(Cancelled::Ended)
                        }
                        Err(wreck) => {
                            moves.push(Move::new(&record, *wreck, Placement::Finished { until: None }));
                            moving.push(place);
                            CalledOff::As(Cancelled::Ended)
                        }
                    }
                }
            };
        }
        let answers = self.move_jobs(&moves).await?.into_iter();
        Ok(moving.into_iter().zip(answers).filter(|(_, moved)| *moved != Moved::Done).map(|(place, _)| place).collect())
    }
}
