//! Storing new jobs.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::lease::open_members;
use super::news::News;
use super::places;
use super::record::{Record, decode, encode, job_id};
use super::tables::{Columns, Tables, Value, lists, rows};
use super::unique::{self as keys, Holders, Replaceable};
use super::work::{Isolation, Work, raced};
use crate::backend::{Push, Pushed};
use crate::error::Result;
use crate::job::{BatchId, Job, JobId, NewJob, When};
use crate::policy::unique;
use crate::time::Timestamp;

/// How long a batch is recognised (P1).
const REMEMBERED: Duration = Duration::from_hours(1);

/// One push.
pub(super) struct PushWork {
    batch: BatchId,
    jobs: Vec<Incoming>,
    /// Whether this push also forgets old batches.
    tidies: bool,
    /// Whether it found in an earlier run that not all is as it mostly is: that its jobs are new.
    careful: bool,
}

/// A job to be stored, as the row that it will be once its times are known.
struct Incoming {
    new: NewJob,
    record: Record,
}

impl PushWork {
    pub(super) fn new(push: &Push, tidies: bool) -> Result<Self> {
        let mut jobs = Vec::with_capacity(push.jobs.len());
        for new in &push.jobs {
            jobs.push(Incoming::new(new)?);
        }
        Ok(Self { batch: push.batch, jobs, tidies, careful: false })
    }

    /// The queues that it pushes to.
    pub(super) fn news(&self) -> News {
        let mut news = News::default();
        self.jobs.iter().for_each(|incoming| news.jobs(&incoming.new.spec.queue));
        news
    }
}

impl Incoming {
    fn new(new: &NewJob) -> Result<Self> {
        // Encoded here, outside of any transaction; the times follow inside.
        let job = Job::received(new, Timestamp::from_micros(0));
        Ok(Self { new: new.clone(), record: Record::new(&job)? })
    }

    fn receive(&mut self, now: Timestamp) {
        self.record.pushed = now.as_micros();
        self.record.due = self.new.due.resolve(now).as_micros();
        self.record.expires = self.new.expires.map(|expires| expires.resolve(now).as_micros());
    }

    /// Whether its times are counted from its push.
    fn is_relative(&self) -> bool {
        let is_relative = |when: &When| matches!(when, When::After(_));
        is_relative(&self.new.due) && self.new.expires.as_ref().is_none_or(is_relative)
    }

    fn id(&self) -> JobId {
        self.new.spec.id
    }

    fn key(&self) -> Option<&str> {
        self.new.spec.unique.as_ref().map(|unique| unique.key.as_str())
    }
}

#[async_trait]
impl Work for PushWork {
    type Answer = Vec<Pushed>;
    const DURABLE: bool = true;
    // Whoever was faster with a unique key or a batch is to be seen; what may move is looked for with one statement.
    const ISOLATION: Isolation = Isolation::ReadCommitted;

    const ALONE: bool = true;

    async fn run_alone<Db: Tables>(
        &mut self,
        db: &mut Db,
        now: Timestamp,
        news: &mut News,
    ) -> Result<Option<Vec<Pushed>>> {
        self.jobs.iter_mut().for_each(|incoming| incoming.receive(now));
        let can_say = |only: &&Incoming| !Db::SHARED || only.is_relative();
        let Some(only) = self.simple().filter(can_say).filter(|_| !self.tidies) else { return Ok(None) };
        if !db.store_alone(self.batch, &only.record).await? {
            return Ok(None);
        }
        news.jobs(&only.new.spec.queue);
        Ok(Some(vec![Pushed::Stored]))
    }

    async fn run<Db: Tables>(&mut self, db: &mut Db, now: Timestamp, news: &mut News) -> Result<Vec<Pushed>> {
        self.jobs.iter_mut().for_each(|incoming| incoming.receive(now));
        if self.tidies {
            forget_batches(db, now).await?;
        }
        if let Some(answers) = self.store_only(db, news).await? {
            return Ok(answers);
        }
        if !remember(db, self.batch, now).await? {
            return self.recall(db).await;
        }
        let Decision { answers, holders, replaceable } = self.decide(db, now).await?;
        // From here on a failure means that something was there already: a second run looks before it stores.
        self.careful = true;
        remember_others(db, self.batch, &answers).await?;
        let stored = || self.jobs.iter().zip(&answers).filter(|(_, answer)| **answer == Pushed::Stored);
        let mut changed = HashMap::new();
        for job in replaceable.changed() {
            news.jobs(&job.spec.queue);
            changed.insert(job.id(), Record::new(job)?);
        }
        let record = |incoming: &'_ Incoming| changed.get(&incoming.id()).cloned();
        let of_this_push: HashMap<_, _> = stored().filter_map(|(job, _)| Some((job.id(), record(job)?))).collect();
        let records: Vec<_> = stored().map(|(job, _)| of_this_push.get(&job.id()).unwrap_or(&job.record)).collect();
        if !records.is_empty() {
            places::lay(db, &records, now).await?;
        }
        if Db::SHARED && have_moved_on(db, &records).await? {
            return Err(raced("a job of the same id"));
        }
        changed.retain(|id, _| !of_this_push.contains_key(id));
        keys::write_changed(db, changed.values(), now).await?;
        let taken = stored().filter_map(|(job, _)| Some((job.new.spec.unique.as_ref()?, job.id())));
        holders.take(db, taken.collect(), now).await?;
        stored().for_each(|(incoming, _)| news.jobs(&incoming.new.spec.queue));
        Ok(answers)
    }
}

/// What becomes of the jobs of a push.
struct Decision {
    /// Of each, in order.
    answers: Vec<Pushed>,
    holders: Holders,
    replaceable: Replaceable,
}

impl PushWork {
    /// Its one job, if there is nothing to decide about it.
    fn simple(&self) -> Option<&Incoming> {
        let [only] = &self.jobs[..] else { return None };
        (!self.careful && only.key().is_none() && only.record.limited.is_none()).then_some(only)
    }

    /// The short way for such a job; `None` when it must go the long one.
    async fn store_only<Db: Tables>(&mut self, db: &mut Db, news: &mut News) -> Result<Option<Vec<Pushed>>> {
        let Some(only) = self.simple() else { return Ok(None) };
        let stored = db.store_only(self.batch, &only.record).await?;
        // A second run goes the long way.
        self.careful = true;
        let [only] = &self.jobs[..] else { return Ok(None) };
        if !stored {
            return Ok(None);
        }
        if Db::SHARED && have_moved_on(db, &[&only.record]).await? {
            return Err(raced("a job of the same id"));
        }
        news.jobs(&only.new.spec.queue);
        Ok(Some(vec![Pushed::Stored]))
    }

    async fn decide<Db: Tables>(&self, db: &mut Db, now: Timestamp) -> Result<Decision> {
        let ids: Vec<_> = self.jobs.iter().map(Incoming::id).collect();
        let keys: Vec<_> = self.jobs.iter().filter_map(Incoming::key).collect();
        let mut holders = Holders::of(db, &keys, now).await?;
        // Beside other transactions what is stored is asked about afterwards, and only then also before when something
        // says that not all is new: a job may have its own key, or have ended and left it to another.
        let asks = !Db::SHARED || self.careful || !holders.is_empty();
        let mut known = if asks { existing(db, &ids).await? } else { HashSet::new() };
        let replacing = self.jobs.iter().filter(|incoming| unique::replacement(&incoming.new).is_some());
        let wanted: Vec<_> = replacing.filter_map(Incoming::key).collect();
        let mut replaceable = Replaceable::lock(db, &holders, &wanted, now).await?;
        let decide = |incoming: &Incoming| {
            if !known.insert(incoming.id()) {
                return Pushed::Repeated;
            }
            let Some(key) = incoming.key() else { return Pushed::Stored };
            if let Some(holder) = holders.reserve(key, incoming.id()) {
                // Not stored, so a further job with this id is not a repeat.
                known.remove(&incoming.id());
                let is_replaced = replaceable.replace(holder, &incoming.new, now);
                return if is_replaced { Pushed::Replaced(holder) } else { Pushed::Conflict(holder) };
            }
            if !wanted.is_empty() {
                replaceable.add(Job::received(&incoming.new, now));
            }
            Pushed::Stored
        };
        let answers = self.jobs.iter().map(decide).collect();
        Ok(Decision { answers, holders, replaceable })
    }

    /// What this batch was answered when it first came.
    async fn recall<Db: Tables>(&self, db: &mut Db) -> Result<Vec<Pushed>> {
        const RECALL: &str = "SELECT refused, replaced FROM taskwright_batches WHERE id = ?";
        let rows = db.fetch(RECALL, &[Value::Id(self.batch.as_bytes())]).await?;
        let Some(row) = rows.first() else { return Err(raced("a batch")) };
        let mut answers = vec![Pushed::Repeated; self.jobs.len()];
        let mut correct = |column: &str, bytes: Option<Bytes>, other: fn(JobId) -> Pushed| {
            let others: Vec<(usize, JobId)> =
                bytes.map(|bytes| decode(column, &bytes)).transpose()?.unwrap_or_default();
            for (index, holder) in others {
                if let Some(answer) = answers.get_mut(index) {
                    *answer = other(holder);
                }
            }
            Ok(())
        };
        correct("refused", row.bytes(0)?, Pushed::Conflict)?;
        correct("replaced", row.bytes(1)?, Pushed::Replaced)?;
        Ok(answers)
    }
}

/// Notes a batch; false when it was noted within the hour. By primary key; whoever pushes the same batch at the same
/// time waits here.
///
/// It comes first in a push so that the caller's transaction, which may have only read so far, asks for the write lock
/// and waits for it, where a read followed by a write could be refused at once.
async fn remember<Db: Tables>(db: &mut Db, batch: BatchId, now: Timestamp) -> Result<bool> {
    const AGAIN: &str = "UPDATE taskwright_batches SET pushed = ?, refused = NULL, replaced = NULL \
        WHERE id = ? AND pushed <= ?";
    let (id, pushed) = (Value::Id(batch.as_bytes()), Value::Integer(now.as_micros()));
    let sql = Db::insert_new("taskwright_batches", "id, pushed", &rows(1, 2));
    if db.execute(sql, &[id, pushed]).await? > 0 {
        return Ok(true);
    }
    Ok(db.execute(AGAIN, &[pushed, id, Value::Integer(now.before(REMEMBERED).as_micros())]).await? > 0)
}

/// Notes which jobs of a batch were not stored, if any.
async fn remember_others<Db: Tables>(db: &mut Db, batch: BatchId, answers: &[Pushed]) -> Result<()> {
    const OTHERS: &str = "UPDATE taskwright_batches SET refused = ?, replaced = ? WHERE id = ?";
    let (mut refused, mut replaced) = (Vec::new(), Vec::new());
    for (index, answer) in answers.iter().enumerate() {
        match answer {
            Pushed::Conflict(holder) => refused.push((index, *holder)),
            Pushed::Replaced(holder) => replaced.push((index, *holder)),
            Pushed::Stored | Pushed::Repeated => {}
        }
    }
    if refused.is_empty() && replaced.is_empty() {
        return Ok(());
    }
    let column = |others: Vec<(usize, JobId)>| (!others.is_empty()).then(|| encode(&others)).transpose();
    let (refused, replaced) = (column(refused)?, column(replaced)?);
    let values = [refused.as_deref(), replaced.as_deref()].map(Value::MaybeBytes);
    db.execute(OTHERS, &[values[0], values[1], Value::Id(batch.as_bytes())]).await?;
    Ok(())
}

/// Forgets batches that came more than an hour ago, a bounded number at a time.
///
/// Ids of batches grow with time, so the first of them are the oldest.
async fn forget_batches<Db: Tables>(db: &mut Db, now: Timestamp) -> Result<()> {
    const MOST: i64 = 1_000;
    // The limit in a query of its own, since not every database takes one where `IN` stands.
    const OLD: &str = "pushed <= ? AND id IN \
        (SELECT id FROM (SELECT id FROM taskwright_batches ORDER BY id LIMIT 1000) AS oldest)";
    let forget = Db::delete_first("taskwright_batches", OLD, "id");
    db.execute(forget, &[now.before(REMEMBERED).as_micros(), MOST].map(Value::Integer)).await?;
    Ok(())
}

/// Which of these jobs exist, wherever they lie.
///
/// Ids grow with time, so that mostly nothing lies between the first and the last of a batch: one statement of three
/// looks at the ends of indexes says so.
pub(super) async fn existing<Db: Tables>(db: &mut Db, ids: &[JobId]) -> Result<HashSet<JobId>> {
    const NEAR: &str = "SELECT EXISTS (SELECT 1 FROM taskwright_jobs WHERE id BETWEEN ? AND ?) \
        OR EXISTS (SELECT 1 FROM taskwright_leases WHERE newest >= ?) \
        OR EXISTS (SELECT 1 FROM taskwright_limited WHERE id BETWEEN ? AND ?) \
        OR EXISTS (SELECT 1 FROM taskwright_finished WHERE id BETWEEN ? AND ?)";
    // One statement for all places, lest a job that moves between them be missed. By the indexes on ids and `newest`.
    const AMONG: &str = "SELECT NULL, members, settled FROM taskwright_leases WHERE newest >= ? \
        UNION ALL SELECT id, NULL, NULL FROM taskwright_jobs WHERE id IN (?..) \
        UNION ALL SELECT id, NULL, NULL FROM taskwright_limited WHERE id IN (?..) \
        UNION ALL SELECT id, NULL, NULL FROM taskwright_finished WHERE id IN (?..)";
    let mut known = HashSet::new();
    let (Some(first), Some(last)) = (ids.iter().min(), ids.iter().max()) else { return Ok(known) };
    let (from, to) = (Value::Id(first.as_bytes()), Value::Id(last.as_bytes()));
    let near = db.fetch(NEAR, &[from, to, from, from, to, from, to]).await?;
    if near.first().map(|row| row.integer(0)).transpose()? == Some(0) {
        return Ok(known);
    }
    let asked: HashSet<_> = ids.iter().copied().collect();
    for ids in lists(ids) {
        for row in &db.fetch(AMONG, &[from, Value::Ids(ids), Value::Ids(ids), Value::Ids(ids)]).await? {
            if let Some(id) = row.bytes(0)? {
                known.insert(job_id(&id)?);
                continue;
            }
            let (members, settled) = (row.bytes(1)?.unwrap_or_default(), row.bytes(2)?.unwrap_or_default());
            known.extend(open_members(&members, &settled).filter(|id| asked.contains(id)));
        }
    }
    Ok(known)
}

/// Whether one of these jobs, which were just stored, lies in another place too: another push stored it, and it was
/// claimed or has ended, all since this transaction began or unseen by it.
///
/// Until this one commits nobody can move what it stored, and what others do to the same ids waits for it. So a job
/// that is seen nowhere else after it was stored is stored once.
async fn have_moved_on<Db: Tables>(db: &mut Db, stored: &[&Record]) -> Result<bool> {
    // The second part says with one look whether there is anything to look through.
    const NEAR: &str = "SELECT members, settled FROM taskwright_leases WHERE newest >= ? UNION ALL \
        SELECT NULL, NULL FROM (SELECT id FROM taskwright_finished WHERE id BETWEEN ? AND ? LIMIT 1) AS found UNION ALL \
        SELECT NULL, NULL FROM (SELECT id FROM taskwright_limited WHERE id BETWEEN ? AND ? LIMIT 1) AS limited";
    const FINISHED: &str = "SELECT id FROM taskwright_finished WHERE id IN (?..) LIMIT 1";
    const TWICE: &str = "SELECT taskwright_limited.id FROM taskwright_limited \
        JOIN taskwright_jobs ON taskwright_jobs.id = taskwright_limited.id WHERE taskwright_limited.id IN (?..) LIMIT 1";
    let ids = stored.iter().map(|record| record.job_id()).collect::<Result<Vec<_>>>()?;
    let (Some(first), Some(last)) = (ids.iter().min(), ids.iter().max()) else { return Ok(false) };
    let (from, to) = (Value::Id(first.as_bytes()), Value::Id(last.as_bytes()));
    let near = db.fetch(NEAR, &[from, from, to, from, to]).await?;
    if near.is_empty() {
        return Ok(false);
    }
    let ids: HashSet<_> = ids.into_iter().collect();
    let mut may_be_elsewhere = false;
    for row in &near {
        let Some(members) = row.bytes(0)? else {
            may_be_elsewhere = true;
            continue;
        };
        if open_members(&members, &row.bytes(1)?.unwrap_or_default()).any(|id| ids.contains(&id)) {
            return Ok(true);
        }
    }
    if may_be_elsewhere {
        for ids in lists(&ids.into_iter().collect::<Vec<_>>()) {
            for sql in [FINISHED, TWICE] {
                if !db.fetch(sql, &[Value::Ids(ids)]).await?.is_empty() {
                    return Ok(true);
                }
            }
        }
    }
    Ok(false)
}
