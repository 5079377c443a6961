//! Which job has which unique key (P7), and changing one that waits instead of storing another.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::places;
use super::record::{Record, job_id};
use super::tables::{Columns, Tables, Value, lists, rows, runs};
use super::work::raced;
use crate::error::Result;
use crate::job::{Job, JobId, NewJob, Unique};
use crate::policy::unique;
use crate::time::Timestamp;

/// Which of the keys that were asked for are taken.
#[derive(Default)]
pub(super) struct Holders {
    taken: HashMap<String, JobId>,
    /// Keys that were taken until a moment that has passed.
    lapsed: HashSet<String>,
}

impl Holders {
    /// Looks at these keys. By primary key; asks nothing when there are none.
    pub(super) async fn of<Db: Tables>(db: &mut Db, keys: &[&str], now: Timestamp) -> Result<Self> {
        const HOLDERS: &str = "SELECT unique_key, job, until FROM taskwright_unique WHERE unique_key IN (?..)";
        let mut holders = Self::default();
        for keys in lists(keys) {
            for row in &db.fetch(HOLDERS, &[Value::Texts(keys)]).await? {
                let key = row.text(0)?;
                if row.maybe_integer(2)?.is_some_and(|until| until <= now.as_micros()) {
                    holders.lapsed.insert(key);
                } else {
                    holders.taken.insert(key, job_id(&row.bytes(1)?.unwrap_or_default())?);
                }
            }
        }
        Ok(holders)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.taken.is_empty()
    }

    /// Who has this key.
    pub(super) fn get(&self, key: &str) -> Option<JobId> {
        self.taken.get(key).copied()
    }

    /// Notes that a job will have this key, unless another one has it: that one is given back.
    pub(super) fn reserve(&mut self, key: &str, job: JobId) -> Option<JobId> {
        let holder = self.get(key);
        if holder.is_none() {
            self.taken.insert(key.to_owned(), job);
        }
        holder
    }

    /// Gives jobs their keys, which nobody had a moment ago.
    ///
    /// In order, so that two transactions that want the same keys wait for each other and don't lock each other up; the
    /// one that waited in vain starts over and sees who was faster.
    pub(super) async fn take<'a, Db: Tables>(
        &self,
        db: &mut Db,
        mut keys: Vec<(&'a Unique, JobId)>,
        now: Timestamp,
    ) -> Result<()> {
        const LAPSED: &str = "DELETE FROM taskwright_unique WHERE unique_key IN (?..) AND until <= ?";
        keys.sort_unstable_by(|(one, _), (other, _)| one.key.cmp(&other.key));
        let lapsed = keys.iter().map(|(unique, _)| unique.key.as_str()).filter(|key| self.lapsed.contains(*key));
        for lapsed in lists(&lapsed.collect::<Vec<_>>()) {
            db.execute(LAPSED, &[Value::Texts(lapsed), Value::Integer(now.as_micros())]).await?;
        }
        for run in runs(&keys) {
            let sql = Db::insert_new("taskwright_unique", "unique_key, job, until", &rows(run.len(), 3));
            let row = |(unique, job): &(&'a Unique, JobId)| {
                let until = unique::ends(unique, now).map(Timestamp::as_micros);
                (unique.key.as_str(), *job, until)
            };
            let taken: Vec<_> = run.iter().map(row).collect();
            let values = taken.iter().flat_map(|(key, job, until)| {
                [Value::Text(key), Value::Id(job.as_bytes()), Value::MaybeInteger(*until)]
            });
            let values: Vec<_> = values.collect();
            if db.execute(sql, &values).await? != run.len() as u64 {
                return Err(raced("a unique key"));
            }
        }
        Ok(())
    }
}

/// Frees keys, each only if this job has it.
pub(super) async fn free<Db: Tables>(db: &mut Db, freed: &[(String, JobId)]) -> Result<()> {
    for run in runs(freed) {
        let sql = format!("DELETE FROM taskwright_unique WHERE {}", Db::pairs("unique_key, job", run.len()));
        let values: Vec<_> = run.iter().flat_map(|(key, job)| [Value::Text(key), Value::Id(job.as_bytes())]).collect();
        db.execute(sql, &values).await?;
    }
    Ok(())
}

/// Forgets keys whose time has passed, a bounded number. By the index on `until`.
pub(super) async fn forget_lapsed<Db: Tables>(db: &mut Db, now: Timestamp) -> Result<()> {
    const FORGET: &str = "DELETE FROM taskwright_unique WHERE unique_key IN (?..) AND until <= ?";
    let lapsed = format!(
        "SELECT unique_key FROM taskwright_unique WHERE until <= ? ORDER BY until LIMIT 1000{}",
        Db::SKIP_LOCKED
    );
    let now = Value::Integer(now.as_micros());
    let mut keys = Vec::new();
    for row in &db.fetch(lapsed, &[now]).await? {
        keys.push(row.text(0)?);
    }
    for keys in lists(&keys.iter().map(String::as_str).collect::<Vec<_>>()) {
        db.execute(FORGET, &[Value::Texts(keys), now]).await?;
    }
    Ok(())
}

/// Jobs that have a key which a push wants, and that it may change instead.
#[derive(Default)]
pub(super) struct Replaceable {
    waiting: HashMap<JobId, Job>,
    changed: BTreeSet<JobId>,
}

impl Replaceable {
    /// Locks those of these holders that wait. One that is not there any more had its key until a moment ago, or has it
    /// while it runs: which of both, the keys say.
    pub(super) async fn lock<Db: Tables>(
        db: &mut Db,
        holders: &Holders,
        keys: &[&str],
        now: Timestamp,
    ) -> Result<Self> {
        let mut replaceable = Self::default();
        let mut ids: Vec<_> = keys.iter().filter_map(|key| holders.get(key)).collect();
        ids.sort_unstable();
        ids.dedup();
        for record in places::lock_waiting(db, &ids).await? {
            if let Ok(job) = record.read(now) {
                replaceable.waiting.insert(job.id(), job);
            }
        }
        let gone = |key: &&&str| holders.get(key).is_some_and(|holder| !replaceable.waiting.contains_key(&holder));
        let gone: Vec<_> = keys.iter().filter(gone).copied().collect();
        if Db::SHARED && !gone.is_empty() {
            let still = Holders::of(db, &gone, now).await?;
            if gone.iter().any(|key| still.get(key) != holders.get(key)) {
                return Err(raced("a unique key"));
            }
        }
        Ok(replaceable)
    }

    /// A job that this push itself stores.
    pub(super) fn add(&mut self, job: Job) {
        self.waiting.insert(job.id(), job);
    }

    /// Changes a job, if a push may.
    pub(super) fn replace(&mut self, holder: JobId, new: &NewJob, now: Timestamp) -> bool {
        let Some(job) = self.waiting.get_mut(&holder) else { return false };
        let Some(changed) = unique::replaced(job, new, now) else { return false };
        *job = changed;
        self.changed.insert(holder);
        true
    }

    /// The jobs that were changed, by id.
    pub(super) fn changed(&self) -> impl Iterator<Item = &Job> {
        self.changed.iter().filter_map(|id| self.waiting.get(id))
    }
}

/// Writes changed jobs over those that are locked; one with limits is laid anew, since those may be others now.
pub(super) async fn write_changed<Db: Tables>(
    db: &mut Db,
    records: impl Iterator<Item = &Record> + Send,
    now: Timestamp,
) -> Result<()> {
    const CHANGE: &str = "UPDATE taskwright_jobs SET priority = ?, due = ?, expires = ?, codec = ?, payload = ?, \
        extras = ? WHERE id = ?";
    let mut laid_anew = Vec::new();
    for record in records {
        let id = record.job_id()?;
        let values = [
            Value::Integer(record.priority),
            Value::Integer(record.due),
            Value::MaybeInteger(record.expires),
            Value::Integer(record.codec),
            Value::Bytes(&record.payload),
            Value::MaybeBytes(record.extras.as_deref()),
            Value::Id(id.as_bytes()),
        ];
        if record.limited.is_none() && db.execute(CHANGE, &values).await? > 0 {
            continue;
        }
        if places::take_waiting(db, &[id]).await?.is_empty() {
            return Err(raced("a waiting job"));
        }
        laid_anew.push(record);
    }
    places::lay(db, &laid_anew, now).await
}
