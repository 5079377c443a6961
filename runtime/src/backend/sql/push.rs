//! Storing new jobs.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::lease::open_members;
use super::news::News;
use super::places;
use super::record::{Own, Record, decode, encode, job_id};
use super::tables::{Columns, Tables, Value, lists, rows};
use super::unique::{self as keys, Holders, Replaceable};
use super::work::{Isolation, Work, raced};
use crate::backend::{Push, Pushed};
use crate::error::Result;
use crate::job::{BatchId, Job, JobId, JobLimit, JobSpec, NewJob, Unique, When};
use crate::policy::unique;
use crate::time::Timestamp;

/// How long a batch is recognised (P1).
const REMEMBERED: Duration = Duration::from_hours(1);

/// One push.
pub(super) struct PushWork {
    batch: BatchId,
    jobs: Vec<NewJob>,
    rows: Rows,
    /// Whether this push also forgets old batches.
    tidies: bool,
    /// Whether it found in an earlier run that not all is as it mostly is: that its jobs are new.
    careful: bool,
}

/// The jobs of a push as the rows that they will be once their times are known.
enum Rows {
    /// One for each job, in order.
    Each(Vec<Record>),
    /// That of the first job, from which the others differ in nothing but their ids and payloads: as those of a bulk
    /// dispatch mostly do, and making a row costs more than all else that is done for a job before it is stored.
    Alike(Box<Record>),
}

impl PushWork {
    pub(super) fn new(push: &Push, tidies: bool) -> Result<Self> {
        // Encoded here, outside of any transaction; the times follow inside.
        let record = |new: &NewJob| Record::new(&Job::received(new, Timestamp::from_micros(0)));
        let rows = match &push.jobs[..] {
            [first, others @ ..] if !others.is_empty() && others.iter().all(|other| are_alike(first, other)) => {
                Rows::Alike(Box::new(record(first)?))
            }
            jobs => Rows::Each(jobs.iter().map(record).collect::<Result<_>>()?),
        };
        Ok(Self { batch: push.batch, jobs: push.jobs.clone(), rows, tidies, careful: false })
    }

    /// The queues that it pushes to.
    pub(super) fn news(&self) -> News {
        let mut news = News::default();
        self.jobs.iter().for_each(|new| news.jobs(&new.spec.queue));
        news
    }

    fn receive(&mut self, now: Timestamp) {
        let receive = |record: &mut Record, new: &NewJob| {
            record.pushed = now.as_micros();
            record.due = new.due.resolve(now).as_micros();
            record.expires = new.expires.map(|expires| expires.resolve(now).as_micros());
        };
        match &mut self.rows {
            Rows::Each(records) => records.iter_mut().zip(&self.jobs).for_each(|(record, new)| receive(record, new)),
            Rows::Alike(like) => self.jobs.first().into_iter().for_each(|first| receive(like, first)),
        }
    }
}

/// Whether nothing but ids and payloads tells the two apart, neither of which has limits or a unique key.
fn are_alike(one: &NewJob, other: &NewJob) -> bool {
    // All of it by name, so that nothing new is forgotten.
    let NewJob { spec, due, expires } = one;
    let JobSpec {
        id: _,
        task,
        queue,
        payload,
        priority,
        max_attempts,
        timeout,
        backoff,
        keep_result,
        unique,
        limits,
        headers,
        tags,
        parent,
    } = &**spec;
    let spec = &*other.spec;
    let is_free = |unique: &Option<Unique>, limits: &[JobLimit]| unique.is_none() && limits.is_empty();
    is_free(unique, limits)
        && is_free(&spec.unique, &spec.limits)
        && (due, expires) == (&other.due, &other.expires)
        && (task, queue, payload.codec) == (&spec.task, &spec.queue, spec.payload.codec)
        && (priority, max_attempts, timeout) == (&spec.priority, &spec.max_attempts, &spec.timeout)
        && (backoff, keep_result, parent) == (&spec.backoff, &spec.keep_result, &spec.parent)
        && (headers, tags) == (&spec.headers, &spec.tags)
}

/// Whether its times are counted from its push.
fn is_relative(new: &NewJob) -> bool {
    let is_relative = |when: &When| matches!(when, When::After(_));
    is_relative(&new.due) && new.expires.as_ref().is_none_or(is_relative)
}

fn key(new: &NewJob) -> Option<&str> {
    new.spec.unique.as_ref().map(|unique| unique.key.as_str())
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
        self.receive(now);
        let can_say = |(only, _): &(&NewJob, _)| !Db::SHARED || is_relative(only);
        let Some((only, record)) = self.simple().filter(can_say).filter(|_| !self.tidies) else { return Ok(None) };
        if !db.store_alone(self.batch, record).await? {
            return Ok(None);
        }
        news.jobs(&only.spec.queue);
        Ok(Some(vec![Pushed::Stored]))
    }

    async fn run<Db: Tables>(&mut self, db: &mut Db, now: Timestamp, news: &mut News) -> Result<Vec<Pushed>> {
        self.receive(now);
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
        let is_stored = |answer: &Pushed| *answer == Pushed::Stored;
        let stored = || self.jobs.iter().zip(&answers).filter(|(_, answer)| is_stored(answer)).map(|(new, _)| new);
        let mut changed = HashMap::new();
        for job in replaceable.changed() {
            news.jobs(&job.spec.queue);
            changed.insert(job.id(), Record::new(job)?);
        }
        match &self.rows {
            Rows::Alike(like) => {
                let own: Vec<_> =
                    stored().map(|new| Own { id: new.spec.id, payload: &new.spec.payload.bytes }).collect();
                if !own.is_empty() {
                    db.insert_alike(like, &own).await?;
                }
            }
            Rows::Each(records) => {
                // One that a later job of this push has changed is stored as that left it.
                let merged: HashMap<_, _> = stored().filter_map(|new| changed.remove_entry(&new.spec.id)).collect();
                let records = self.jobs.iter().zip(records).zip(&answers).filter(|(_, answer)| is_stored(answer));
                let records: Vec<_> =
                    records.map(|((new, record), _)| merged.get(&new.spec.id).unwrap_or(record)).collect();
                if !records.is_empty() {
                    places::lay(db, &records, now).await?;
                }
            }
        }
        let ids: Vec<_> = stored().map(|new| new.spec.id).collect();
        if Db::SHARED && have_moved_on(db, &ids).await? {
            return Err(raced("a job of the same id"));
        }
        keys::write_changed(db, changed.values(), now).await?;
        let taken = stored().filter_map(|new| Some((new.spec.unique.as_ref()?, new.spec.id)));
        holders.take(db, taken.collect(), now).await?;
        stored().for_each(|new| news.jobs(&new.spec.queue));
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
    fn simple(&self) -> Option<(&NewJob, &Record)> {
        let ([only], Rows::Each(records)) = (&self.jobs[..], &self.rows) else { return None };
        let record = records.first().filter(|record| record.limited.is_none())?;
        (!self.careful && key(only).is_none()).then_some((only, record))
    }

    /// The short way for such a job; `None` when it must go the long one.
    async fn store_only<Db: Tables>(&mut self, db: &mut Db, news: &mut News) -> Result<Option<Vec<Pushed>>> {
        let Some((_, record)) = self.simple() else { return Ok(None) };
        let stored = db.store_only(self.batch, record).await?;
        // A second run goes the long way.
        self.careful = true;
        let [only] = &self.jobs[..] else { return Ok(None) };
        if !stored {
            return Ok(None);
        }
        if Db::SHARED && have_moved_on(db, &[only.spec.id]).await? {
            return Err(raced("a job of the same id"));
        }
        news.jobs(&only.spec.queue);
        Ok(Some(vec![Pushed::Stored]))
    }

    async fn decide<Db: Tables>(&self, db: &mut Db, now: Timestamp) -> Result<Decision> {
        let ids: Vec<_> = self.jobs.iter().map(|new| new.spec.id).collect();
        let keys: Vec<_> = self.jobs.iter().filter_map(key).collect();
        let mut holders = Holders::of(db, &keys, now).await?;
        // Beside other transactions what is stored is asked about afterwards, and only then also before when something
        // says that not all is new: a job may have its own key, or have ended and left it to another.
        let asks = !Db::SHARED || self.careful || !holders.is_empty();
        let mut known = if asks { existing(db, &ids).await? } else { HashSet::new() };
        if keys.is_empty() && known.is_empty() && ids.is_sorted_by(|one, next| one < next) {
            // As it mostly is: all are new, and no two the same.
            let answers = vec![Pushed::Stored; ids.len()];
            return Ok(Decision { answers, holders, replaceable: Replaceable::default() });
        }
        let replacing = self.jobs.iter().filter(|new| unique::replacement(new).is_some());
        let wanted: Vec<_> = replacing.filter_map(key).collect();
        let mut replaceable = Replaceable::lock(db, &holders, &wanted, now).await?;
        let decide = |new: &NewJob| {
            if !known.insert(new.spec.id) {
                return Pushed::Repeated;
            }
            let Some(key) = key(new) else { return Pushed::Stored };
            if let Some(holder) = holders.reserve(key, new.spec.id) {
                // Not stored, so a further job with this id is not a repeat.
                known.remove(&new.spec.id);
                let is_replaced = replaceable.replace(holder, new, now);
                return if is_replaced { Pushed::Replaced(holder) } else { Pushed::Conflict(holder) };
            }
            if !wanted.is_empty() {
                replaceable.add(Job::received(new, now));
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
async fn have_moved_on<Db: Tables>(db: &mut Db, ids: &[JobId]) -> Result<bool> {
    // The second part says with one look whether there is anything to look through.
    const NEAR: &str = "SELECT members, settled FROM taskwright_leases WHERE newest >= ? UNION ALL \
        SELECT NULL, NULL FROM (SELECT id FROM taskwright_finished WHERE id BETWEEN ? AND ? LIMIT 1) AS found UNION ALL \
        SELECT NULL, NULL FROM (SELECT id FROM taskwright_limited WHERE id BETWEEN ? AND ? LIMIT 1) AS limited";
    const FINISHED: &str = "SELECT id FROM taskwright_finished WHERE id IN (?..) LIMIT 1";
    const TWICE: &str = "SELECT taskwright_limited.id FROM taskwright_limited \
        JOIN taskwright_jobs ON taskwright_jobs.id = taskwright_limited.id WHERE taskwright_limited.id IN (?..) LIMIT 1";
    let (Some(first), Some(last)) = (ids.iter().min(), ids.iter().max()) else { return Ok(false) };
    let (from, to) = (Value::Id(first.as_bytes()), Value::Id(last.as_bytes()));
    let near = db.fetch(NEAR, &[from, from, to, from, to]).await?;
    if near.is_empty() {
        return Ok(false);
    }
    let stored: HashSet<_> = ids.iter().collect();
    let mut may_be_elsewhere = false;
    for row in &near {
        let Some(members) = row.bytes(0)? else {
            may_be_elsewhere = true;
            continue;
        };
        if open_members(&members, &row.bytes(1)?.unwrap_or_default()).any(|id| stored.contains(&id)) {
            return Ok(true);
        }
    }
    if may_be_elsewhere {
        for ids in lists(ids) {
            for sql in [FINISHED, TWICE] {
                if !db.fetch(sql, &[Value::Ids(ids)]).await?.is_empty() {
                    return Ok(true);
                }
            }
        }
    }
    Ok(false)
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use super::*;
    use crate::codec::Codec;
    use crate::job::{Allowance, Name};
    use crate::policy::Backoff;
    use crate::testing::Draft;

    #[test]
    fn jobs_are_alike_where_nothing_but_ids_and_payloads_tells_them_apart() {
        let draft = || NewJob::from(Draft::new(Name::default_queue()));
        let changed = |change: fn(&mut JobSpec)| {
            let mut other = draft();
            let mut spec = (*other.spec).clone();
            change(&mut spec);
            other.spec = spec.into();
            other
        };
        let one = draft();
        assert!(are_alike(&one, &draft()));
        assert!(are_alike(&one, &changed(|spec| spec.payload.bytes = vec![1, 2, 3].into())));
        let different: [fn(&mut JobSpec); 13] = [
            |spec| spec.task = Name::new("another").unwrap(),
            |spec| spec.queue = Name::new("another").unwrap(),
            |spec| spec.payload.codec = Codec::Json,
            |spec| spec.priority += 1,
            |spec| spec.max_attempts += 1,
            |spec| spec.timeout = Some(Duration::from_secs(7)),
            |spec| spec.backoff = Backoff::fixed(Duration::from_secs(7)),
            |spec| spec.keep_result = Some(Duration::from_secs(7)),
            |spec| spec.unique = Some(Unique::new("key")),
            |spec| {
                spec.limits = vec![JobLimit { key: "key".to_owned(), allowance: Allowance::at_once(1), weight: 1 }];
            },
            |spec| drop(spec.headers.insert("key".to_owned(), "value".to_owned())),
            |spec| spec.tags.push("tag".to_owned()),
            |spec| spec.parent = Some(JobId::new()),
        ];
        for (place, change) in different.into_iter().enumerate() {
            let other = changed(change);
            assert!(!are_alike(&one, &other) && !are_alike(&other, &one), "difference {place}");
        }
        let (keyed, limited) = (changed(different[8]), changed(different[9]));
        assert!(!are_alike(&keyed, &keyed) && !are_alike(&limited, &limited), "not even where it is the same");
        let later = NewJob { due: When::After(Duration::from_secs(7)), ..draft() };
        let shorter = NewJob { expires: Some(When::After(Duration::from_secs(7))), ..draft() };
        assert!(!are_alike(&one, &later) && !are_alike(&one, &shorter));
    }
}
