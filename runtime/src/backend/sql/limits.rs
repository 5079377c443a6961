//! Limits: what is allowed of a key, what live leases hold of it, and what has started.
//!
//! Whoever counts a key has its row locked; a claim passes over keys that another one counts at this moment.
//! What is held lies beside the leases, a row for each lease and key, and counts as long as the lease is there.
//!
//! Who frees a slot writes what its lease holds, and then looks for lanes that wait for the key. So that it finds those
//! which a claim is just putting aside, that claim locks what leases hold of the key and counts it again
//! ([`Book::recount`]); or, of databases where locks are too wide for that, who frees a slot locks the limit as claims do.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;

use super::lanes;
use super::lease::LeaseRow;
use super::news::News;
use super::record::{decode, encode};
use super::tables::{Columns, Tables, Value, clamp, lists, rows, runs};
use super::work::{Isolation, Store, Work, raced};
use crate::backend::{LimitSource, LimitStats, Limiter};
use crate::error::Result;
use crate::job::{Allowance, JobLimit, JobSpec};
use crate::policy::limits::{Starts, Usage, queue_key};
use crate::time::Timestamp;

/// How many limits and leases are looked at together when what is idle is forgotten.
const FORGOTTEN_TOGETHER: usize = 1_000;

/// The columns of a limit, in the order of [`Entry::read`].
const COLUMNS: &str = "id, counts_until, at_run_time, configured, asked, starts";

/// The limits that one transaction counts.
#[derive(Default)]
pub(super) struct Book {
    entries: BTreeMap<String, Entry>,
}

/// One limit as its row says.
#[derive(Default)]
struct Entry {
    at_run_time: Allowance,
    configured: Allowance,
    /// What the latest job asked for.
    asked: Allowance,
    usage: Usage,
    /// The slots that leases held when this transaction began to count.
    held_before: u64,
    counts_until: i64,
    /// Whether the row must be written.
    changed: bool,
}

impl Entry {
    fn read(row: &impl Columns) -> Result<(String, Self)> {
        let allowance = |column| match row.bytes(column)? {
            Some(bytes) => decode::<Allowance>("allowance", &bytes),
            None => Ok(Allowance::default()),
        };
        let (at_run_time, configured) = (allowance(2)?, allowance(3)?);
        let starts = row.bytes(5)?.map(|bytes| decode::<Starts>("starts", &bytes)).transpose()?.unwrap_or_default();
        let usage = Usage { set: at_run_time.or(configured), held: 0, starts };
        let counts_until = row.integer(1)?;
        let asked = allowance(4)?;
        Ok((row.text(0)?, Self { at_run_time, configured, asked, usage, held_before: 0, counts_until, changed: false }))
    }

    fn stats(&self, key: &str, now: Timestamp) -> LimitStats {
        let allowance = self.usage.allowance(self.asked);
        LimitStats {
            key: key.to_owned(),
            allowance,
            at_run_time: self.at_run_time,
            configured: self.configured,
            held: self.usage.held,
            started: allowance.rate.map_or(0, |rate| self.usage.starts.within(rate.per, now)),
        }
    }
}

impl Book {
    /// Locks the limits of these keys that it has not yet, and counts what is held of them; passes over those that
    /// somebody else has locked.
    pub(super) async fn open<Db: Tables>(&mut self, db: &mut Db, keys: &[&str], now: Timestamp) -> Result<()> {
        let keys: BTreeSet<_> = keys.iter().copied().filter(|key| !self.entries.contains_key(*key)).collect();
        let keys: Vec<_> = keys.into_iter().collect();
        for keys in lists(&keys) {
            let locked = Db::SKIP_LOCKED;
            let sql = format!("SELECT {COLUMNS} FROM taskwright_limits WHERE id IN (?..) ORDER BY id{locked}");
            let mut opened = HashMap::new();
            for row in &db.fetch(sql, &[Value::Texts(keys)]).await? {
                let (key, entry) = Entry::read(row)?;
                opened.insert(key, entry);
            }
            let missing: Vec<_> = keys.iter().copied().filter(|key| !opened.contains_key(*key)).collect();
            for key in begin(db, &missing, now).await? {
                opened.insert(key, Entry { counts_until: now.as_micros(), ..Entry::default() });
            }
            let names: Vec<_> = opened.keys().cloned().collect();
            for (key, held) in held(db, &names.iter().map(String::as_str).collect::<Vec<_>>()).await? {
                if let Some(entry) = opened.get_mut(&key) {
                    entry.usage.held += held;
                    entry.held_before += held;
                }
            }
            self.entries.extend(opened);
        }
        Ok(())
    }

    /// Counts again what leases hold of these keys, whose slots are all taken. Gives those of which some are free now, or
    /// are about to be; for slots of the others that are freed from now on, one waits until this transaction has ended.
    pub(super) async fn recount<Db: Tables>(&self, db: &mut Db, keys: &[&str]) -> Result<HashSet<String>> {
        const HELD: &str = "SELECT lease, limit_key, held FROM taskwright_holds WHERE limit_key IN (?..) \
            AND EXISTS (SELECT 1 FROM taskwright_leases WHERE taskwright_leases.id = taskwright_holds.lease)";
        let mut freed = HashSet::new();
        if !Db::SHARED || !Db::LOCKS_EXACTLY {
            return Ok(freed);
        }
        for keys in lists(keys) {
            let sql =
                format!("SELECT lease, limit_key FROM taskwright_holds WHERE limit_key IN (?..){}", Db::SKIP_LOCKED);
            let mut locked = HashSet::new();
            for row in &db.fetch(sql, &[Value::Texts(keys)]).await? {
                locked.insert((row.integer(0)?, row.text(1)?));
            }
            let mut held: HashMap<String, u64> = keys.iter().map(|key| ((*key).to_owned(), 0)).collect();
            for row in &db.fetch(HELD, &[Value::Texts(keys)]).await? {
                let place = (row.integer(0)?, row.text(1)?);
                *held.entry(place.1.clone()).or_default() += row.integer(2)?.unsigned_abs();
                if !locked.contains(&place) {
                    freed.insert(place.1);
                }
            }
            let before = |key: &str| self.entries.get(key).map_or(0, |entry| entry.held_before);
            freed.extend(held.into_iter().filter(|(key, held)| *held < before(key)).map(|(key, _)| key));
        }
        Ok(freed)
    }

    /// How a limit stands; `None` where somebody else has it locked.
    pub(super) fn usage(&self, key: &str) -> Option<&Usage> {
        self.entries.get(key).map(|entry| &entry.usage)
    }

    pub(super) fn room(&self, limit: &JobLimit, now: Timestamp) -> u64 {
        self.usage(&limit.key).map_or(0, |usage| usage.room(limit.allowance, now))
    }

    /// Counts a job that starts.
    pub(super) fn start(&mut self, limits: &[JobLimit], weights: Option<&[u32]>, now: Timestamp) {
        for (place, limit) in limits.iter().enumerate() {
            let Some(entry) = self.entries.get_mut(&limit.key) else { continue };
            let weight = weights.and_then(|weights| weights.get(place)).copied().unwrap_or(1);
            let until = entry.usage.start(limit.allowance, weight, now).as_micros();
            let counts = entry.usage.allowance(limit.allowance).rate.is_some();
            entry.changed |= counts || entry.asked != limit.allowance;
            entry.asked = limit.allowance;
            entry.counts_until = entry.counts_until.max(until);
        }
    }

    /// Writes what has changed.
    pub(super) async fn close<Db: Tables>(&self, db: &mut Db) -> Result<()> {
        const WRITE: &str = "UPDATE taskwright_limits SET counts_until = ?, asked = ?, starts = ? WHERE id = ?";
        for (key, entry) in self.entries.iter().filter(|(_, entry)| entry.changed) {
            let (asked, starts) = (encode(&entry.asked)?, encode(&entry.usage.starts)?);
            let starts = (!entry.usage.starts.is_empty()).then_some(&starts[..]);
            let until = Value::Integer(entry.counts_until);
            let asked = (!entry.asked.is_empty()).then_some(&asked[..]);
            db.execute(WRITE, &[until, Value::MaybeBytes(asked), Value::MaybeBytes(starts), Value::Text(key)]).await?;
        }
        Ok(())
    }
}

/// Makes rows for those of these keys that have none; the others are somebody else's at the moment.
async fn begin<Db: Tables>(db: &mut Db, keys: &[&str], now: Timestamp) -> Result<Vec<String>> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let mut there = BTreeSet::new();
    if Db::SHARED {
        let sql = "SELECT id FROM taskwright_limits WHERE id IN (?..)";
        for row in &db.fetch(sql, &[Value::Texts(keys)]).await? {
            there.insert(row.text(0)?);
        }
    }
    let new: Vec<_> = keys.iter().copied().filter(|key| !there.contains(*key)).collect();
    for run in runs(&new) {
        let sql = Db::insert_new("taskwright_limits", "id, is_set, counts_until", &rows(run.len(), 3));
        let mut values = Vec::with_capacity(run.len() * 3);
        for key in run {
            values.extend([Value::Text(key), Value::Integer(0), Value::Integer(now.as_micros())]);
        }
        if db.execute(sql, &values).await? != run.len() as u64 {
            return Err(raced("a limit"));
        }
    }
    Ok(new.into_iter().map(str::to_owned).collect())
}

/// How many slots live leases hold of these keys.
async fn held<Db: Tables>(db: &mut Db, keys: &[&str]) -> Result<Vec<(String, u64)>> {
    const HELD: &str = "SELECT limit_key, held, count(*) FROM taskwright_holds WHERE limit_key IN (?..) \
        AND EXISTS (SELECT 1 FROM taskwright_leases WHERE taskwright_leases.id = taskwright_holds.lease) \
        GROUP BY limit_key, held";
    let mut found = Vec::new();
    for keys in lists(keys) {
        for row in &db.fetch(HELD, &[Value::Texts(keys)]).await? {
            found.push((row.text(0)?, row.integer(1)?.unsigned_abs().saturating_mul(row.integer(2)?.unsigned_abs())));
        }
    }
    Ok(found)
}

/// A job whose lease, which holds slots, has ended.
pub(super) struct Closed {
    pub(super) token: i64,
    pub(super) spec: Arc<JobSpec>,
}

/// Frees what these jobs held; `leases` are theirs, locked, with the jobs marked as closed.
///
/// A claim that counts one of their keys at this moment either sees the slot, or has put its lanes where they are found
/// here.
pub(super) async fn release<Db: Tables>(
    db: &mut Db,
    leases: &[&LeaseRow],
    closed: &[Closed],
    news: &mut News,
) -> Result<()> {
    const HOLDS: &str = "SELECT lease, limit_key, held FROM taskwright_holds WHERE lease IN (?..)";
    if closed.is_empty() {
        return Ok(());
    }
    let tokens: BTreeSet<_> = closed.iter().map(|closed| closed.token).collect();
    let mut holds: BTreeMap<(i64, String), (i64, bool)> = BTreeMap::new();
    for tokens in lists(&tokens.into_iter().collect::<Vec<_>>()) {
        for row in &db.fetch(HOLDS, &[Value::Integers(tokens)]).await? {
            holds.insert((row.integer(0)?, row.text(1)?), (row.integer(2)?, false));
        }
    }
    // Jobs of one lease and key together, of which there may be many.
    let queues: BTreeSet<_> = closed.iter().map(|closed| &closed.spec.queue).collect();
    let of_queues: BTreeMap<_, _> = queues.into_iter().map(|queue| (queue, queue_key(queue))).collect();
    let mut freed: HashMap<(i64, &str), i64> = HashMap::new();
    for Closed { token, spec } in closed {
        for limit in &spec.limits {
            *freed.entry((*token, &limit.key)).or_default() += i64::from(limit.weight.max(1));
        }
        let of_queue = of_queues.get(&spec.queue).filter(|key| spec.limits.iter().all(|limit| limit.key != **key));
        if let Some(key) = of_queue {
            *freed.entry((*token, key)).or_default() += 1;
        }
    }
    for ((token, key), slots) in freed {
        if let Some((held, changed)) = holds.get_mut(&(token, key.to_owned())) {
            (*held, *changed) = ((*held - slots).max(0), true);
        }
    }
    let done: BTreeSet<_> = leases.iter().filter(|lease| lease.is_done()).map(|lease| lease.token).collect();
    holds.retain(|(token, _), (_, changed)| *changed || done.contains(token));
    let keys: BTreeSet<_> = holds.keys().map(|(_, key)| key.as_str()).collect();
    let keys: Vec<_> = keys.into_iter().collect();
    lock(db, &keys).await?;
    let gone: Vec<_> = done.iter().copied().collect();
    forget_holds(db, &gone).await?;
    let left: Vec<_> = holds.iter().filter(|((token, _), _)| !done.contains(token)).collect();
    for run in runs(&left) {
        let rows = rows(run.len(), 3);
        let sql = Db::upsert("taskwright_holds", "lease, limit_key, held", &rows, "lease, limit_key", &["held"]);
        let mut values = Vec::with_capacity(run.len() * 3);
        for ((token, key), (held, _)) in run {
            values.extend([Value::Integer(*token), Value::Text(key), Value::Integer(*held)]);
        }
        db.execute(sql, &values).await?;
    }
    lanes::look_again(db, &keys, news).await
}

/// Frees all that these leases held.
pub(super) async fn release_all<Db: Tables>(db: &mut Db, tokens: &[i64], news: &mut News) -> Result<()> {
    let mut keys = BTreeSet::new();
    for tokens in lists(tokens) {
        let sql = "SELECT limit_key FROM taskwright_holds WHERE lease IN (?..)";
        for row in &db.fetch(sql, &[Value::Integers(tokens)]).await? {
            keys.insert(row.text(0)?);
        }
    }
    let keys: Vec<_> = keys.iter().map(String::as_str).collect();
    lock(db, &keys).await?;
    forget_holds(db, tokens).await?;
    lanes::look_again(db, &keys, news).await
}

/// Waits for claims that count these keys, where they can't find out by themselves what is freed.
async fn lock<Db: Tables>(db: &mut Db, keys: &[&str]) -> Result<()> {
    if Db::SHARED && !Db::LOCKS_EXACTLY {
        for keys in lists(keys) {
            let locked = Db::LOCKED;
            let sql = format!("SELECT id FROM taskwright_limits WHERE id IN (?..) ORDER BY id{locked}");
            db.fetch(sql, &[Value::Texts(keys)]).await?;
        }
    }
    Ok(())
}

async fn forget_holds<Db: Tables>(db: &mut Db, tokens: &[i64]) -> Result<()> {
    for tokens in lists(tokens) {
        db.execute("DELETE FROM taskwright_holds WHERE lease IN (?..)", &[Value::Integers(tokens)]).await?;
    }
    Ok(())
}

/// Forgets limits that nobody set and nothing counts against, and holds of leases that are gone: those that a program
/// has ended which knows of no limits.
pub(super) async fn forget<Db: Tables>(db: &mut Db, now: Timestamp) -> Result<()> {
    const GONE: &str = "SELECT lease FROM taskwright_holds WHERE NOT EXISTS \
        (SELECT 1 FROM taskwright_leases WHERE taskwright_leases.id = taskwright_holds.lease) LIMIT ?";
    let together = Value::Integer(clamp(FORGOTTEN_TOGETHER));
    let gone: Vec<_> = db.fetch(GONE, &[together]).await?.iter().map(|row| row.integer(0)).collect::<Result<_>>()?;
    forget_holds(db, &gone).await?;
    let sql = format!(
        "SELECT id FROM taskwright_limits WHERE is_set = 0 AND counts_until <= ? AND NOT EXISTS \
         (SELECT 1 FROM taskwright_holds WHERE limit_key = taskwright_limits.id AND held > 0) ORDER BY id LIMIT ?{}",
        Db::SKIP_LOCKED
    );
    let idle = db.fetch(sql, &[Value::Integer(now.as_micros()), together]).await?;
    let idle = idle.iter().map(|row| row.text(0)).collect::<Result<Vec<_>>>()?;
    for keys in lists(&idle.iter().map(String::as_str).collect::<Vec<_>>()) {
        db.execute("DELETE FROM taskwright_limits WHERE id IN (?..)", &[Value::Texts(keys)]).await?;
    }
    Ok(())
}

#[async_trait]
impl<Database: Store> Limiter for Database {
    async fn limits(&self, after: Option<&str>, limit: usize) -> Result<Vec<LimitStats>> {
        self.read(ListLimits { after: after.map(str::to_owned), limit }).await
    }

    async fn set_limit(&self, key: &str, source: LimitSource, allowance: Allowance) -> Result<()> {
        self.write(SetLimit { key: key.to_owned(), source, allowance }).await
    }
}

struct ListLimits {
    after: Option<String>,
    limit: usize,
}

#[async_trait]
impl Work for ListLimits {
    type Answer = Vec<LimitStats>;
    const DURABLE: bool = false;
    const ISOLATION: Isolation = Isolation::RepeatableRead;

    async fn run<Db: Tables>(&mut self, db: &mut Db, now: Timestamp, _: &mut News) -> Result<Vec<LimitStats>> {
        // A claim makes a row of what it looks at, whether or not something starts.
        let from = if self.after.is_some() { "id > ? AND " } else { "" };
        let sql = format!(
            "SELECT {COLUMNS} FROM taskwright_limits WHERE {from}(is_set <> 0 OR asked IS NOT NULL) ORDER BY id LIMIT ?"
        );
        let mut values: Vec<_> = self.after.as_deref().map(Value::Text).into_iter().collect();
        values.push(Value::Integer(clamp(self.limit)));
        let mut entries = Vec::new();
        for row in &db.fetch(sql, &values).await? {
            entries.push(Entry::read(row)?);
        }
        let keys: Vec<_> = entries.iter().map(|(key, _)| key.clone()).collect();
        for (key, held) in held(db, &keys.iter().map(String::as_str).collect::<Vec<_>>()).await? {
            if let Some((_, entry)) = entries.iter_mut().find(|(known, _)| *known == key) {
                entry.usage.held += held;
            }
        }
        Ok(entries.iter().map(|(key, entry)| entry.stats(key, now)).collect())
    }
}

struct SetLimit {
    key: String,
    source: LimitSource,
    allowance: Allowance,
}

#[async_trait]
impl Work for SetLimit {
    type Answer = ();
    const DURABLE: bool = true;
    const ISOLATION: Isolation = Isolation::ReadCommitted;

    async fn run<Db: Tables>(&mut self, db: &mut Db, now: Timestamp, news: &mut News) -> Result<()> {
        let key = self.key.as_str();
        let sql = format!("SELECT {COLUMNS} FROM taskwright_limits WHERE id IN (?..) ORDER BY id{}", Db::LOCKED);
        let rows_found = db.fetch(sql, &[Value::Texts(&[key])]).await?;
        let entry = rows_found.first().map(Entry::read).transpose()?.map(|(_, entry)| entry);
        if entry.is_some() || !self.allowance.is_empty() {
            if entry.is_none() {
                begin(db, &[key], now).await?;
            }
            self.write(db, entry.unwrap_or_default()).await?;
        }
        lanes::look_again(db, &[key], news).await
    }
}

impl SetLimit {
    async fn write<Db: Tables>(&self, db: &mut Db, mut entry: Entry) -> Result<()> {
        const WRITE: &str = "UPDATE taskwright_limits SET is_set = ?, at_run_time = ?, configured = ? WHERE id = ?";
        match self.source {
            LimitSource::RunTime => entry.at_run_time = self.allowance,
            LimitSource::Configuration => entry.configured = self.allowance,
        }
        let is_set = !entry.at_run_time.or(entry.configured).is_empty();
        let encoded = [encode(&entry.at_run_time)?, encode(&entry.configured)?];
        let [by_hand, configured] = encoded.each_ref().map(|bytes| Value::Bytes(bytes));
        db.execute(WRITE, &[Value::Integer(is_set.into()), by_hand, configured, Value::Text(&self.key)]).await?;
        Ok(())
    }
}
