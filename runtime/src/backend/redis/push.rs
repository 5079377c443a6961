//! Storing jobs.

use std::collections::HashMap;

use redis::Value;

use super::answer::{bytes, id, list};
use super::error::strange;
use super::present::{PRESENT, known, moment};
use super::record::{beginning_of, tail};
use super::scripts::PUSH;
use super::{Redis, unique};
use crate::backend::{Push, Pushed};
use crate::error::Result;
use crate::job::{Job, NewJob};
use crate::time::Timestamp;

impl Redis {
    pub(super) async fn push_jobs(&self, push: &Push) -> Result<Vec<Pushed>> {
        let mut call = self.link.call(&PUSH);
        call.arg(push.batch.to_string());
        let mut kinds = Kinds::default();
        let mut jobs = Vec::with_capacity(push.jobs.len());
        for new in &push.jobs {
            let new = NewJob { due: known(new.due), expires: new.expires.map(known), ..new.clone() };
            let job = Job::received(&new, PRESENT);
            let mut beginning = tail(&job, None)?;
            let rest = beginning.split_off(beginning_of(&job));
            jobs.push((kinds.number(Kind { due: job.due, expires: job.expires, beginning }), job, rest));
        }
        call.arg(kinds.list.len());
        for Kind { due, expires, beginning } in &kinds.list {
            call.arg(moment(*due)).arg(expires.map(moment).unwrap_or_default()).arg(beginning);
        }
        for (kind, job, rest) in &jobs {
            call.arg(job.id().as_bytes()).arg(kind).arg(unique(job)).arg(rest);
        }
        match self.link.run(&call).await? {
            Value::BulkString(refused) => again(push, &refused),
            answers => list(answers)?.into_iter().map(pushed).collect(),
        }
    }
}

/// What jobs have in common that wait alike: most often all of a batch.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Kind {
    due: Timestamp,
    expires: Option<Timestamp>,
    /// The record's tail up to its queue.
    beginning: Vec<u8>,
}

/// The kinds of a batch, by their numbers from 1.
#[derive(Default)]
struct Kinds {
    list: Vec<Kind>,
    numbers: HashMap<Kind, usize>,
}

impl Kinds {
    fn number(&mut self, kind: Kind) -> usize {
        if self.list.last() == Some(&kind) {
            return self.list.len();
        }
        *self.numbers.entry(kind).or_insert_with_key(|kind| {
            self.list.push(kind.clone());
            self.list.len()
        })
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
