//! Storing jobs.

use std::collections::HashMap;

use redis::Value;

use super::answer::{bytes, given, id, integer, list, parts};
use super::error::strange;
use super::present::{PRESENT, known, moment};
use super::record::{read, split, tail, version};
use super::scripts::{HOLDERS, PUSH, PUSH_ALONE};
use super::{Redis, key};
use crate::backend::{Push, Pushed};
use crate::error::{Error, Result};
use crate::job::{Job, JobId, NewJob, Unique};
use crate::policy::unique;
use crate::time::Timestamp;

/// How often jobs are looked at again that change under our hands.
const TRIES: usize = 20;

impl Redis {
    pub(super) async fn push_jobs(&self, push: &Push) -> Result<Vec<Pushed>> {
        if let [new] = &push.jobs[..]
            && is_plain(new)
        {
            return self.store_alone(push, new).await;
        }
        if push.jobs.iter().all(|new| unique::replacement(new).is_none()) {
            return self.store(push, &Forecast::default()).await?.ok_or_else(strange);
        }
        for _ in 0..TRIES {
            let forecast = self.forecast(push).await?;
            if let Some(answers) = self.store(push, &forecast).await? {
                return Ok(answers);
            }
        }
        Err(Error::unavailable("jobs to replace changed each time they were looked at"))
    }

    /// Stores the only job of a push, which is plain.
    async fn store_alone(&self, push: &Push, new: &NewJob) -> Result<Vec<Pushed>> {
        let job = Job::received(&NewJob { due: known(new.due), ..new.clone() }, PRESENT);
        let mut call = self.link.call(&PUSH_ALONE);
        call.arg(push.batch.to_string()).arg(job.id().as_bytes()).arg(job.spec.queue.as_str());
        call.arg(moment(job.due)).arg(tail(&job, None)?);
        answers(push, self.link.run(&call).await?)
    }

    /// Stores jobs; `None`, and nothing is stored, where it would not come to what was forecast.
    async fn store(&self, push: &Push, forecast: &Forecast) -> Result<Option<Vec<Pushed>>> {
        let mut call = self.link.call(&PUSH);
        call.arg(push.batch.to_string());
        let mut kinds = Kinds::default();
        let mut jobs = Vec::with_capacity(push.jobs.len());
        for new in &push.jobs {
            let new = NewJob { due: known(new.due), expires: new.expires.map(known), ..new.clone() };
            let job = forecast.merged(new.spec.id).unwrap_or_else(|| Job::received(&new, PRESENT));
            let (beginning, rest) = split(tail(&job, None)?)?;
            jobs.push((kinds.number(Kind { due: job.due, expires: job.expires, beginning }), job, rest));
        }
        let changed: Vec<_> = forecast.changed().collect();
        call.arg(kinds.list.len()).arg(changed.len());
        for Kind { due, expires, beginning } in &kinds.list {
            call.arg(moment(*due)).arg(expires.map(moment).unwrap_or_default()).arg(beginning);
        }
        for (version, job) in changed {
            call.arg(job.id().as_bytes()).arg(version).arg(moment(job.due));
            call.arg(job.expires.map(moment).unwrap_or_default()).arg(tail(job, None)?);
        }
        for (kind, job, rest) in &jobs {
            call.arg(job.id().as_bytes()).arg(kind).arg(key(job.spec.unique.as_ref()));
            call.arg(forecast.of(job.id())).arg(rest);
        }
        match self.link.run(&call).await? {
            Value::Int(0) => Ok(None),
            given => answers(push, given).map(Some),
        }
    }

    /// What will become of those jobs that have a unique key. The server decides nothing about a job that is replaced,
    /// so that is decided here, and the server stores it if nothing has changed in between.
    async fn forecast(&self, push: &Push) -> Result<Forecast> {
        let with_key = || push.jobs.iter().filter_map(|new| Some((new, new.spec.unique.as_ref()?)));
        let mut call = self.link.call(&HOLDERS);
        call.arg(with_key().count());
        for (_, unique) in with_key() {
            call.arg(key(Some(&Unique::new(&unique.key))));
        }
        for (new, _) in with_key() {
            call.arg(new.spec.id.as_bytes());
        }
        let [now, shown, present] = parts(self.link.run(&call).await?)?;
        let now = super::answer::moment(&now)?;
        let mut forecast = Forecast::default();
        let mut shown = list(shown)?.into_iter();
        for (_, unique) in with_key() {
            let (Some(holder), Some(record)) = (shown.next(), shown.next()) else { return Err(strange()) };
            let Some(holder) = given(holder)?.map(|holder| id(&holder)).transpose()? else { continue };
            forecast.holders.insert(unique.key.clone(), holder);
            if let Some(record) = given(record)?
                && let Ok(stored) = read(holder, &record, now)
            {
                let version = Some(version(&record).to_vec());
                forecast.waiting.insert(holder, Waiting { version, job: stored.job, is_changed: false });
            }
        }
        for ((new, unique), present) in with_key().zip(list(present)?) {
            forecast.add(new, unique, integer(&present)? == 1, now);
        }
        Ok(forecast)
    }
}

/// What should become of the jobs of a batch of which some may replace others.
#[derive(Default)]
struct Forecast {
    holders: HashMap<String, JobId>,
    /// Jobs that have a key and wait, or will once they are stored.
    waiting: HashMap<JobId, Waiting>,
    /// What becomes of each job that has a key, as the script says it.
    answers: HashMap<JobId, Vec<u8>>,
}

/// A job that has a key.
struct Waiting {
    /// The record that was read; `None` for one of the batch.
    version: Option<Vec<u8>>,
    job: Job,
    is_changed: bool,
}

impl Forecast {
    fn add(&mut self, new: &NewJob, unique: &Unique, is_present: bool, now: Timestamp) {
        let id = new.spec.id;
        let answer = if is_present {
            b"r".to_vec()
        } else if let Some(holder) = self.holders.get(&unique.key) {
            let letter =
                if self.waiting.get_mut(holder).is_some_and(|waiting| waiting.replace(new, now)) { b"p" } else { b"c" };
            [letter, &holder.as_bytes()[..]].concat()
        } else {
            self.holders.insert(unique.key.clone(), id);
            self.waiting.insert(id, Waiting { version: None, job: Job::received(new, now), is_changed: false });
            b"s".to_vec()
        };
        self.answers.insert(id, answer);
    }

    /// What must become of a job; nothing where any answer will do.
    fn of(&self, id: JobId) -> &[u8] {
        self.answers.get(&id).map(Vec::as_slice).unwrap_or_default()
    }

    /// A job of the batch that a later one of it changes.
    fn merged(&self, id: JobId) -> Option<Job> {
        let waiting = self.waiting.get(&id).filter(|waiting| waiting.is_changed && waiting.version.is_none());
        waiting.map(|waiting| waiting.job.clone())
    }

    /// Jobs to be changed, each with the version that was read.
    fn changed(&self) -> impl Iterator<Item = (&[u8], &Job)> {
        let changed = self.waiting.values().filter(|waiting| waiting.is_changed);
        changed.filter_map(|waiting| Some((waiting.version.as_deref()?, &waiting.job)))
    }
}

impl Waiting {
    fn replace(&mut self, new: &NewJob, now: Timestamp) -> bool {
        let Some(changed) = unique::replaced(&self.job, new, now) else { return false };
        (self.job, self.is_changed) = (changed, true);
        true
    }
}

/// What jobs have in common that wait alike: most often all of a batch.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Kind {
    due: Timestamp,
    expires: Option<Timestamp>,
    /// The record's tail up to its queue and place.
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

/// Whether nothing but its id decides what becomes of it, and it waits in one place.
fn is_plain(new: &NewJob) -> bool {
    new.spec.unique.is_none() && new.spec.limits.is_empty() && new.expires.is_none()
}

fn answers(push: &Push, given: Value) -> Result<Vec<Pushed>> {
    match given {
        Value::BulkString(others) => again(push, &others),
        answers => list(answers)?.into_iter().map(pushed).collect(),
    }
}

fn pushed(answer: Value) -> Result<Pushed> {
    match &*bytes(answer)? {
        b"s" => Ok(Pushed::Stored),
        b"r" => Ok(Pushed::Repeated),
        [b'c', holder @ ..] => id(holder).map(Pushed::Conflict),
        [b'p', holder @ ..] => id(holder).map(Pushed::Replaced),
        _ => Err(strange()),
    }
}

/// What to answer a batch that was seen before; `others` are the places in it of what was not stored, each with the job
/// that had the key. The highest bit of a place says that this was replaced.
fn again(push: &Push, others: &[u8]) -> Result<Vec<Pushed>> {
    const REPLACED: u32 = 1 << 31;
    let mut answers = vec![Pushed::Repeated; push.jobs.len()];
    for other in others.chunks(20) {
        let (place, holder) = other.split_at_checked(4).ok_or_else(strange)?;
        let place = u32::from_be_bytes(place.try_into().map_err(|_| strange())?);
        let holder = id(holder)?;
        let index = usize::try_from(place & !REPLACED).ok();
        let answer = index.and_then(|index| answers.get_mut(index)).ok_or_else(strange)?;
        *answer = if place & REPLACED == 0 { Pushed::Conflict(holder) } else { Pushed::Replaced(holder) };
    }
    Ok(answers)
}
