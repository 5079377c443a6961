//! Storing jobs.

use redis::Value;

use super::answer::{bytes, id, list};
use super::error::strange;
use super::present::{PRESENT, known, moment};
use super::record::tail;
use super::scripts::PUSH;
use super::{Redis, unique};
use crate::backend::{Push, Pushed};
use crate::error::Result;
use crate::job::{Job, NewJob};

impl Redis {
    pub(super) async fn push_jobs(&self, push: &Push) -> Result<Vec<Pushed>> {
        let mut call = self.link.call(&PUSH);
        call.arg(push.batch.to_string());
        for new in &push.jobs {
            let new = NewJob { due: known(new.due), expires: new.expires.map(known), ..new.clone() };
            let job = Job::received(&new, PRESENT);
            call.arg(job.id().as_bytes());
            call.arg(moment(job.due)).arg(job.expires.map(moment).unwrap_or_default());
            call.arg(unique(&job)).arg(tail(&job, None)?);
        }
        match self.link.run(&call).await? {
            Value::BulkString(refused) => again(push, &refused),
            answers => list(answers)?.into_iter().map(pushed).collect(),
        }
    }
}

fn pushed(answer: Value) -> Result<Pushed> {
    match &*bytes(answer)? {
        b"s" => Ok(Pushed::Stored),
        b"r" => Ok(Pushed::Repeated),
        holder => id(holder).map(Pushed::Conflict),
    }
}

/// What to answer a batch that was seen before; `refused` are places in it, each with the job that had the key.
fn again(push: &Push, refused: &[u8]) -> Result<Vec<Pushed>> {
    let mut answers = vec![Pushed::Repeated; push.jobs.len()];
    for refusal in refused.chunks(20) {
        let (place, holder) = refusal.split_at_checked(4).ok_or_else(strange)?;
        let place = u32::from_be_bytes(place.try_into().map_err(|_| strange())?);
        let answer = usize::try_from(place).ok().and_then(|place| answers.get_mut(place)).ok_or_else(strange)?;
        *answer = Pushed::Conflict(id(holder)?);
    }
    Ok(answers)
}
