//! Storing new jobs.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use async_trait::async_trait;

use super::lease::open_members;
use super::news::News;
use super::record::{Record, decode, encode, job_id};
use super::tables::{Columns, Tables, Value, lists, rows, runs};
use super::work::{Isolation, Work, raced};
use crate::backend::{Push, Pushed};
use crate::error::Result;
use crate::job::{BatchId, Job, JobId, Name, NewJob, When};
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
    id: JobId,
    queue: Name,
    key: Option<String>,
    due: When,
    expires: Option<When>,
    record: Record,
}

impl PushWork {
    pub(super) fn new(push: &Push, tidies: bool) -> Result<Self> {
        let jobs = push.jobs.iter().map(Incoming::new).collect::<Result<_>>()?;
        Ok(Self { batch: push.batch, jobs, tidies, careful: false })
    }

    /// The queues that it pushes to.
    pub(super) fn news(&self) -> News {
        let mut news = News::default();
        self.jobs.iter().for_each(|incoming| news.jobs(&incoming.queue));
        news
    }
}

impl Incoming {
    fn new(new: &NewJob) -> Result<Self> {
        // Encoded here, outside of any transaction; the times follow inside.
        let job = Job::received(new, Timestamp::from_micros(0));
        let key = job.spec.unique.as_ref().map(|unique| unique.key.clone());
        let (id, queue, record) = (job.id(), job.spec.queue.clone(), Record::new(&job)?);
        Ok(Self { id, queue, key, due: new.due, expires: new.expires, record })
    }

    fn receive(&mut self, now: Timestamp) {
        self.record.pushed = now.as_micros();
        self.record.due = self.due.resolve(now).as_micros();
        self.record.expires = self.expires.map(|expires| expires.resolve(now).as_micros());
    }
}

#[async_trait]
impl Work for PushWork {
    type Answer = Vec<Pushed>;
    const DURABLE: bool = true;
    // Whoever was faster with a unique key or a batch is to be seen; what may move is looked for with one statement.
    const ISOLATION: Isolation = Isolation::ReadCommitted;

    async fn run<Db: Tables>(&mut self, db: &mut Db, now: Timestamp, news: &mut News) -> Result<Vec<Pushed>> {
        self.jobs.iter_mut().for_each(|incoming| incoming.receive(now));
        if self.tidies {
            forget_batches(db, now).await?;
        }
        if !remember(db, self.batch, now).await? {
            return self.recall(db).await;
        }
        let answers = self.decide(db).await?;
        // From here on a failure means that something was there already: a second run looks before it stores.
        self.careful = true;
        let refused = conflicts(&answers);
        if !refused.is_empty() {
            remember_refused(db, self.batch, &refused).await?;
        }
        let stored = || self.jobs.iter().zip(&answers).filter(|(_, answer)| **answer == Pushed::Stored);
        let records: Vec<_> = stored().map(|(incoming, _)| &incoming.record).collect();
        if !records.is_empty() {
            db.insert_waiting(&records).await?;
        }
        if Db::SHARED && have_moved_on(db, &records).await? {
            return Err(raced("a job of the same id"));
        }
        take_keys(db, stored().filter_map(|(job, _)| Some((job.key.as_deref()?, job.id))).collect()).await?;
        stored().for_each(|(incoming, _)| news.jobs(&incoming.queue));
        Ok(answers)
    }
}

impl PushWork {
    /// What becomes of each job, in order.
    async fn decide<Db: Tables>(&self, db: &mut Db) -> Result<Vec<Pushed>> {
        let ids: Vec<_> = self.jobs.iter().map(|incoming| incoming.id).collect();
        let keys: Vec<_> = self.jobs.iter().filter_map(|incoming| incoming.key.as_deref()).collect();
        let mut holders = holders(db, &keys).await?;
        // Beside other transactions what is stored is asked about afterwards, and only then also before when something
        // says that not all is new: a job may have its own key, or have ended and left it to another.
        let asks = !Db::SHARED || self.careful || !holders.is_empty();
        let mut known = if asks { existing(db, &ids).await? } else { HashSet::new() };
        let decide = |incoming: &Incoming| {
            if !known.insert(incoming.id) {
                return Pushed::Repeated;
            }
            if let Some(key) = &incoming.key {
                if let Some(holder) = holders.get(key) {
                    // Not stored, so a further job with this id is not a repeat.
                    known.remove(&incoming.id);
                    return Pushed::Conflict(*holder);
                }
                holders.insert(key.clone(), incoming.id);
            }
            Pushed::Stored
        };
        Ok(self.jobs.iter().map(decide).collect())
    }

    /// What this batch was answered when it first came.
    async fn recall<Db: Tables>(&self, db: &mut Db) -> Result<Vec<Pushed>> {
        const RECALL: &str = "SELECT refused FROM taskwright_batches WHERE id = ?";
        let rows = db.fetch(RECALL, &[Value::Id(self.batch.as_bytes())]).await?;
        let Some(row) = rows.first() else { return Err(raced("a batch")) };
        let mut answers = vec![Pushed::Repeated; self.jobs.len()];
        if let Some(refused) = row.bytes(0)? {
            for (index, holder) in decode::<Vec<(usize, JobId)>>("refused", &refused)? {
                if let Some(answer) = answers.get_mut(index) {
                    *answer = Pushed::Conflict(holder);
                }
            }
        }
        Ok(answers)
    }
}

/// Notes a batch; false when it was noted within the hour. By primary key; whoever pushes the same batch at the same
/// time waits here.
///
/// It comes first in a push so that the caller's transaction, which may have only read so far, asks for the write lock
/// and waits for it, where a read followed by a write could be refused at once.
async fn remember<Db: Tables>(db: &mut Db, batch: BatchId, now: Timestamp) -> Result<bool> {
    const AGAIN: &str = "UPDATE taskwright_batches SET pushed = ?, refused = NULL WHERE id = ? AND pushed <= ?";
    let (id, pushed) = (Value::Id(batch.as_bytes()), Value::Integer(now.as_micros()));
    let sql = Db::insert_new("taskwright_batches", "id, pushed", &rows(1, 2));
    if db.execute(sql, &[id, pushed]).await? > 0 {
        return Ok(true);
    }
    Ok(db.execute(AGAIN, &[pushed, id, Value::Integer(now.before(REMEMBERED).as_micros())]).await? > 0)
}

async fn remember_refused<Db: Tables>(db: &mut Db, batch: BatchId, refused: &[(usize, JobId)]) -> Result<()> {
    const REFUSED: &str = "UPDATE taskwright_batches SET refused = ? WHERE id = ?";
    db.execute(REFUSED, &[Value::Bytes(&encode(&refused)?), Value::Id(batch.as_bytes())]).await?;
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

fn conflicts(answers: &[Pushed]) -> Vec<(usize, JobId)> {
    let conflict = |(index, answer): (usize, &Pushed)| match answer {
        Pushed::Conflict(holder) => Some((index, *holder)),
        Pushed::Stored | Pushed::Repeated => None,
    };
    answers.iter().enumerate().filter_map(conflict).collect()
}

/// Which of these jobs exist, wherever they lie.
///
/// Ids grow with time, so that mostly nothing lies between the first and the last of a batch: one statement of three
/// looks at the ends of indexes says so.
pub(super) async fn existing<Db: Tables>(db: &mut Db, ids: &[JobId]) -> Result<HashSet<JobId>> {
    const NEAR: &str = "SELECT EXISTS (SELECT 1 FROM taskwright_jobs WHERE id BETWEEN ? AND ?) \
        OR EXISTS (SELECT 1 FROM taskwright_leases WHERE newest >= ?) \
        OR EXISTS (SELECT 1 FROM taskwright_finished WHERE id BETWEEN ? AND ?)";
    // One statement for all places, lest a job that moves between them be missed. By the indexes on ids and `newest`.
    const AMONG: &str = "SELECT NULL, members, settled FROM taskwright_leases WHERE newest >= ? \
        UNION ALL SELECT id, NULL, NULL FROM taskwright_jobs WHERE id IN (?..) \
        UNION ALL SELECT id, NULL, NULL FROM taskwright_finished WHERE id IN (?..)";
    let mut known = HashSet::new();
    let (Some(first), Some(last)) = (ids.iter().min(), ids.iter().max()) else { return Ok(known) };
    let (from, to) = (Value::Id(first.as_bytes()), Value::Id(last.as_bytes()));
    let near = db.fetch(NEAR, &[from, to, from, from, to]).await?;
    if near.first().map(|row| row.integer(0)).transpose()? == Some(0) {
        return Ok(known);
    }
    let asked: HashSet<_> = ids.iter().copied().collect();
    for ids in lists(ids) {
        for row in &db.fetch(AMONG, &[from, Value::Ids(ids), Value::Ids(ids)]).await? {
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
        SELECT NULL, NULL FROM (SELECT id FROM taskwright_finished WHERE id BETWEEN ? AND ? LIMIT 1) AS found";
    const FINISHED: &str = "SELECT id FROM taskwright_finished WHERE id IN (?..) LIMIT 1";
    let ids = stored.iter().map(|record| record.job_id()).collect::<Result<HashSet<_>>>()?;
    let (Some(first), Some(last)) = (ids.iter().min(), ids.iter().max()) else { return Ok(false) };
    let (from, to) = (Value::Id(first.as_bytes()), Value::Id(last.as_bytes()));
    let mut may_be_finished = false;
    for row in &db.fetch(NEAR, &[from, from, to]).await? {
        let Some(members) = row.bytes(0)? else {
            may_be_finished = true;
            continue;
        };
        if open_members(&members, &row.bytes(1)?.unwrap_or_default()).any(|id| ids.contains(&id)) {
            return Ok(true);
        }
    }
    if may_be_finished {
        for ids in lists(&ids.into_iter().collect::<Vec<_>>()) {
            if !db.fetch(FINISHED, &[Value::Ids(ids)]).await?.is_empty() {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Which jobs have these unique keys. By primary key; asked only when a job has one.
pub(super) async fn holders<Db: Tables>(db: &mut Db, keys: &[&str]) -> Result<HashMap<String, JobId>> {
    const HOLDERS: &str = "SELECT unique_key, job FROM taskwright_unique WHERE unique_key IN (?..)";
    let mut holders = HashMap::new();
    for keys in lists(keys) {
        for row in &db.fetch(HOLDERS, &[Value::Texts(keys)]).await? {
            holders.insert(row.text(0)?, job_id(&row.bytes(1)?.unwrap_or_default())?);
        }
    }
    Ok(holders)
}

/// Makes jobs the holders of their unique keys, which nobody had a moment ago.
///
/// In order, so that two transactions that want the same keys wait for each other and don't lock each other up; the one
/// that waited in vain starts over and sees who was faster.
pub(super) async fn take_keys<Db: Tables>(db: &mut Db, mut keys: Vec<(&str, JobId)>) -> Result<()> {
    keys.sort_unstable();
    for run in runs(&keys) {
        let sql = Db::insert_new("taskwright_unique", "unique_key, job", &rows(run.len(), 2));
        let values: Vec<_> = run.iter().flat_map(|(key, job)| [Value::Text(key), Value::Id(job.as_bytes())]).collect();
        if db.execute(sql, &values).await? != run.len() as u64 {
            return Err(raced("a unique key"));
        }
    }
    Ok(())
}
