//! Looking at everything, and changing it by hand.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use sqlx::SqliteConnection;

use super::error::fault;
use super::extend::pauses;
use super::places::{blob, finished_record, integer, record, text};
use super::push::{holders, take_keys};
use super::statements::{FINISHED_COLUMNS, JOB_COLUMNS, Statement, bind_list, list, statement};
use super::writer::Work;
use super::{Sqlite, cancel, leases, places, results};
use crate::backend::sql::lease::{LeaseRow, unpack};
use crate::backend::sql::moves::Moves;
use crate::backend::sql::news::News;
use crate::backend::sql::record::decode;
use crate::backend::{Change, Changed, Inspect, JobFilter, QueueStats, Retention, WorkerRecord, WorkerStats};
use crate::error::Result;
use crate::job::{Job, JobId, Name, State, WorkerId};
use crate::policy::state;
use crate::time::Timestamp;

#[async_trait]
impl Inspect for Sqlite {
    async fn list(&self, filter: &JobFilter, after: Option<JobId>, limit: usize) -> Result<Vec<Job>> {
        let search = Search { filter: filter.clone(), from: after, order: Order::NewestFirst, limit, now: self.now() };
        Ok(self.read(search).await?.into_iter().map(|found| found.job).collect())
    }

    async fn queues(&self) -> Result<Vec<QueueStats>> {
        self.read(CountQueues { now: self.now() }).await
    }

    async fn workers(&self) -> Result<Vec<WorkerStats>> {
        self.read(ListWorkers { now: self.now() }).await
    }

    async fn change(&self, change: &Change, filter: &JobFilter, limit: usize) -> Result<Changed> {
        self.write(ChangeWork { change: change.clone(), filter: filter.clone(), limit, now: self.now() }).await
    }

    async fn pause(&self, queue: &Name, paused: bool) -> Result<()> {
        self.write(Pause { queue: queue.clone(), paused }).await
    }

    async fn prune(&self, retention: &Retention, limit: usize) -> Result<Changed> {
        self.write(Prune { retention: *retention, limit, now: self.now() }).await
    }

    async fn deregister(&self, worker: WorkerId) -> Result<()> {
        self.write(Deregister { worker }).await
    }
}

/// Where a job was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Waiting,
    Running,
    Finished,
}

struct FoundJob {
    job: Job,
    place: Found,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    NewestFirst,
    OldestFirst,
}

/// A page of the jobs that match a filter.
struct Search {
    filter: JobFilter,
    /// The last job of the page before.
    from: Option<JobId>,
    order: Order,
    limit: usize,
    now: Timestamp,
}

#[async_trait]
impl Work for Search {
    type Answer = Vec<FoundJob>;
    const DURABLE: bool = false;

    async fn run(&mut self, db: &mut SqliteConnection, _: &mut News) -> Result<Vec<FoundJob>> {
        let mut found = self.stored(db, Found::Waiting).await?;
        found.extend(self.stored(db, Found::Finished).await?);
        found.extend(self.running(db).await?);
        match self.order {
            Order::NewestFirst => found.sort_unstable_by_key(|found| std::cmp::Reverse(found.job.id())),
            Order::OldestFirst => found.sort_unstable_by_key(|found| found.job.id()),
        }
        found.truncate(self.limit);
        Ok(found)
    }
}

impl Search {
    /// A page of one table. Goes on to the next rows where a row turned out not to match after all.
    async fn stored(&self, db: &mut SqliteConnection, place: Found) -> Result<Vec<FoundJob>> {
        let mut found = Vec::new();
        if !self.wants(place) {
            return Ok(found);
        }
        let mut ids = self.filter.ids.clone();
        ids.sort_unstable();
        ids.dedup();
        if ids.is_empty() {
            self.scan(db, place, &[], &mut found).await?;
        }
        for ids in ids.chunks(super::statements::MOST_ROWS) {
            self.scan(db, place, ids, &mut found).await?;
        }
        Ok(found)
    }

    async fn scan(
        &self,
        db: &mut SqliteConnection,
        place: Found,
        ids: &[JobId],
        found: &mut Vec<FoundJob>,
    ) -> Result<()> {
        let mut from = self.from;
        let enough = found.len().saturating_add(self.limit);
        while found.len() < enough {
            let page = self.page(db, place, ids, from, enough - found.len()).await?;
            let full = page.len() >= enough - found.len();
            from = page.last().map(Job::id).or(from);
            let matching = page.into_iter().filter(|job| self.filter.matches(job, self.now));
            found.extend(matching.map(|job| FoundJob { job, place }));
            if !full {
                break;
            }
        }
        Ok(())
    }

    /// Rows that may match, by primary key in the order asked: what SQL can say is said there.
    async fn page(
        &self,
        db: &mut SqliteConnection,
        place: Found,
        ids: &[JobId],
        from: Option<JobId>,
        limit: usize,
    ) -> Result<Vec<Job>> {
        let sql = self.sql(place, ids, from.is_some());
        let bound = self.bind(statement(sql), place, ids, from).bind(i64::try_from(limit).unwrap_or(i64::MAX));
        let rows = bound.fetch_all(db).await.map_err(fault)?;
        let job = |row| match place {
            Found::Finished => Ok(finished_record(row)?.read()),
            Found::Waiting | Found::Running => Ok(record(row)?.read(self.now).unwrap_or_else(|wreck| *wreck)),
        };
        rows.iter().map(job).collect()
    }

    fn sql(&self, place: Found, ids: &[JobId], paged: bool) -> String {
        let filter = &self.filter;
        let mut conditions = vec!["1 = 1".to_owned()];
        let mut when = |given: bool, condition: &str| {
            if given {
                conditions.push(condition.to_owned());
            }
        };
        when(paged && self.order == Order::NewestFirst, "id < ?");
        when(paged && self.order == Order::OldestFirst, "id > ?");
        when(!ids.is_empty(), &format!("id IN {}", list(ids.len())));
        when(filter.queue.is_some(), "queue = ?");
        when(filter.task.is_some(), "task = ?");
        when(filter.before.is_some(), "pushed < ?");
        // MessagePack holds text as it is, so a tag that is not among the bytes is not among the tags.
        when(filter.tag.is_some(), "instr(extras, ?) > 0");
        if !filter.states.is_empty() {
            let states = filter.states.iter().filter_map(|state| condition(place, *state));
            let states: Vec<_> = states.collect();
            when(true, &format!("({})", states.join(" OR ")));
        }
        let (table, more) = match place {
            Found::Finished => ("taskwright_finished", format!(", {FINISHED_COLUMNS}")),
            Found::Waiting | Found::Running => ("taskwright_jobs", String::new()),
        };
        let direction = if self.order == Order::NewestFirst { "DESC" } else { "ASC" };
        let conditions = conditions.join(" AND ");
        format!("SELECT {JOB_COLUMNS}{more} FROM {table} WHERE {conditions} ORDER BY id {direction} LIMIT ?")
    }

    fn bind(&self, mut statement: Statement, place: Found, ids: &[JobId], from: Option<JobId>) -> Statement {
        let filter = &self.filter;
        if let Some(from) = from {
            statement = statement.bind(from.as_bytes().to_vec());
        }
        if !ids.is_empty() {
            statement = bind_list(statement, ids, |statement, id| statement.bind(&id.as_bytes()[..]));
        }
        for name in [&filter.queue, &filter.task].into_iter().flatten() {
            statement = statement.bind(name.as_str());
        }
        if let Some(before) = filter.before {
            statement = statement.bind(before.as_micros());
        }
        if let Some(tag) = &filter.tag {
            statement = statement.bind(tag.as_bytes());
        }
        let timed = filter.states.iter().filter(|state| place == Found::Waiting && condition(place, **state).is_some());
        timed.fold(statement, |statement, _| statement.bind(self.now.as_micros()))
    }

    /// Whether a job in this place can have one of the states asked for.
    fn wants(&self, place: Found) -> bool {
        let states = &self.filter.states;
        states.is_empty() || states.iter().any(|state| condition(place, *state).is_some())
    }

    /// The running jobs that match, however many run.
    async fn running(&self, db: &mut SqliteConnection) -> Result<Vec<FoundJob>> {
        if !self.wants(Found::Running) {
            return Ok(Vec::new());
        }
        let leases = leases::all_with_jobs(db).await?;
        let beyond = |id: JobId| match self.order {
            Order::NewestFirst => self.from.is_none_or(|from| id < from),
            Order::OldestFirst => self.from.is_none_or(|from| id > from),
        };
        let jobs = results::running_jobs(db, leases, self.now).await?.into_iter();
        let matching = jobs.filter(|job| beyond(job.id()) && self.filter.matches(job, self.now));
        Ok(matching.map(|job| FoundJob { job, place: Found::Running }).collect())
    }
}

/// How a state shows in a table's columns; `None` where no job in this place has it.
///
/// Those of waiting jobs compare with the present, which [`Search::bind`] gives to each.
fn condition(place: Found, state: State) -> Option<&'static str> {
    match (place, state) {
        (Found::Waiting, State::Available) => Some("due <= ?"),
        (Found::Waiting, State::Scheduled) => Some("(due > ? AND retry = 0)"),
        (Found::Waiting, State::Retryable) => Some("(due > ? AND retry <> 0)"),
        (Found::Running, State::Running) => Some(""),
        (Found::Finished, State::Completed) => Some("state = 'completed'"),
        // A row that can't be read shows as a dead letter, whatever it says.
        (Found::Finished, State::Discarded) => Some("state NOT IN ('completed', 'cancelled', 'expired')"),
        (Found::Finished, State::Cancelled) => Some("state = 'cancelled'"),
        (Found::Finished, State::Expired) => Some("state = 'expired'"),
        _ => None,
    }
}

struct CountQueues {
    now: Timestamp,
}

#[async_trait]
impl Work for CountQueues {
    type Answer = Vec<QueueStats>;
    const DURABLE: bool = false;

    async fn run(&mut self, db: &mut SqliteConnection, _: &mut News) -> Result<Vec<QueueStats>> {
        let mut queues: BTreeMap<Name, QueueStats> = BTreeMap::new();
        for queue in pauses(db).await?.iter().filter_map(|queue| Name::new(queue).ok()) {
            stats(&mut queues, queue).paused = true;
        }
        for (queue, state, count, first) in self.waiting(db).await? {
            let stats = stats(&mut queues, queue);
            *stats.counts.entry(state).or_default() += count;
            if state == State::Available {
                stats.oldest = Some(first);
            }
        }
        for (raw, packed) in leases::all_with_jobs(db).await? {
            let Ok(row) = LeaseRow::read(&raw) else { continue };
            let records = unpack(&row, &packed, self.now);
            let open = row.all_open().filter_map(|(place, _)| Name::new(&records.get(place)?.queue).ok());
            open.for_each(|queue| *stats(&mut queues, queue).counts.entry(State::Running).or_default() += 1);
        }
        Ok(queues.into_values().collect())
    }
}

impl CountQueues {
    /// Counts the waiting jobs in the index on the order of claims, without touching a row.
    async fn waiting(&self, db: &mut SqliteConnection) -> Result<Vec<(Name, State, u64, Timestamp)>> {
        const WAITING: &str = "SELECT queue, due <= ?1, retry <> 0, count(*), min(due) \
            FROM taskwright_jobs GROUP BY 1, 2, 3";
        let rows = sqlx::query(WAITING).bind(self.now.as_micros()).fetch_all(db).await.map_err(fault)?;
        let mut counts = Vec::new();
        for row in &rows {
            let state = match (integer(row, 1)? != 0, integer(row, 2)? != 0) {
                (true, _) => State::Available,
                (false, true) => State::Retryable,
                (false, false) => State::Scheduled,
            };
            let Ok(queue) = Name::new(text(row, 0)?) else { continue };
            let first = Timestamp::from_micros(integer(row, 4)?);
            counts.push((queue, state, integer(row, 3)?.cast_unsigned(), first));
        }
        // Both kinds of available jobs come as rows of their own; the older one's time stands.
        counts.sort_unstable_by_key(|(_, _, _, first)| std::cmp::Reverse(*first));
        Ok(counts)
    }
}

fn stats(queues: &mut BTreeMap<Name, QueueStats>, queue: Name) -> &mut QueueStats {
    let empty =
        |queue: &Name| QueueStats { queue: queue.clone(), paused: false, counts: BTreeMap::new(), oldest: None };
    queues.entry(queue).or_insert_with_key(empty)
}

struct ListWorkers {
    now: Timestamp,
}

#[async_trait]
impl Work for ListWorkers {
    type Answer = Vec<WorkerStats>;
    const DURABLE: bool = false;

    async fn run(&mut self, db: &mut SqliteConnection, _: &mut News) -> Result<Vec<WorkerStats>> {
        const WORKERS: &str = "SELECT record, seen FROM taskwright_workers WHERE lapses > ?";
        let mut running: HashMap<WorkerId, usize> = HashMap::new();
        for lease in leases::load_all(db).await?.into_values() {
            *running.entry(lease.worker).or_default() += lease.all_open().count();
        }
        let rows = sqlx::query(WORKERS).bind(self.now.as_micros()).fetch_all(db).await.map_err(fault)?;
        let mut workers = Vec::new();
        for row in &rows {
            let Ok(record) = decode::<WorkerRecord>("record", &blob(row, 0)?.unwrap_or_default()) else { continue };
            let running = running.get(&record.id).copied().unwrap_or(0);
            workers.push(WorkerStats { record, seen: Timestamp::from_micros(integer(row, 1)?), running });
        }
        workers.sort_by_key(|worker| (worker.record.started, worker.record.id));
        Ok(workers)
    }
}

struct ChangeWork {
    change: Change,
    filter: JobFilter,
    limit: usize,
    now: Timestamp,
}

/// How many jobs a change looks at together.
const CHANGED_TOGETHER: usize = 1_000;

#[async_trait]
impl Work for ChangeWork {
    type Answer = Changed;
    const DURABLE: bool = true;

    async fn run(&mut self, db: &mut SqliteConnection, news: &mut News) -> Result<Changed> {
        let mut changed = Changed::default();
        let mut from = None;
        loop {
            let room = self.limit - changed.count;
            // One more than there is room for tells whether there is more.
            let limit = room.saturating_add(1).min(CHANGED_TOGETHER);
            let order = Order::OldestFirst;
            let mut search = Search { filter: self.filter.clone(), from, order, limit, now: self.now };
            let page = search.run(db, news).await?;
            if room == 0 {
                changed.more = !page.is_empty();
                return Ok(changed);
            }
            let Some(last) = page.last().map(|found| found.job.id()) else { return Ok(changed) };
            from = Some(last);
            let (done, stopped_at) = self.apply(db, page, room, news).await?;
            changed.count += done;
            from = stopped_at.or(from);
        }
    }
}

impl ChangeWork {
    /// Changes the jobs that it applies to, at most `room` of them; tells how many, and the last job looked at.
    async fn apply(
        &self,
        db: &mut SqliteConnection,
        page: Vec<FoundJob>,
        room: usize,
        news: &mut News,
    ) -> Result<(usize, Option<JobId>)> {
        let mut chosen = self.applicable(db, page).await?;
        let stopped_at = (chosen.len() >= room).then(|| chosen[room - 1].job.id());
        chosen.truncate(room);
        let done = chosen.len();
        match &self.change {
            Change::Retry => self.revive(db, chosen, news).await?,
            Change::Cancel { reason } => {
                let ids: Vec<_> = chosen.iter().map(|found| found.job.id()).collect();
                cancel::call_off(db, &ids, reason, self.now, news).await?;
            }
            Change::Delete => delete(db, &chosen).await?,
        }
        Ok((done, stopped_at))
    }

    async fn applicable(&self, db: &mut SqliteConnection, mut page: Vec<FoundJob>) -> Result<Vec<FoundJob>> {
        match self.change {
            Change::Retry => {
                page.retain(|found| found.place == Found::Finished && state::can_revive(found.job.state));
                let key = |found: &FoundJob| Some(found.job.spec.unique.as_ref()?.key.clone());
                let keys: Vec<_> = page.iter().filter_map(key).collect();
                let mut taken = holders(db, &keys.iter().map(String::as_str).collect::<Vec<_>>()).await?;
                page.retain(|found| match key(found) {
                    Some(key) => taken.insert(key, found.job.id()).is_none(),
                    None => true,
                });
            }
            Change::Cancel { .. } => {
                page.retain(|found| found.place != Found::Finished);
                let running: Vec<_> = page.iter().filter(|found| found.place == Found::Running).collect();
                let notes = leases::notes(db, &running.iter().map(|found| found.job.id()).collect::<Vec<_>>()).await?;
                // What was called off before is not called off again, so that repeated rounds come to an end.
                let called_off = |id: JobId| notes.get(&id).is_some_and(|note| note.called_off.is_some());
                page.retain(|found| !called_off(found.job.id()));
            }
            Change::Delete => page.retain(|found| found.place != Found::Running),
        }
        Ok(page)
    }

    async fn revive(&self, db: &mut SqliteConnection, chosen: Vec<FoundJob>, news: &mut News) -> Result<()> {
        let mut moves = Moves::default();
        let ids: Vec<_> = chosen.iter().map(|found| found.job.id()).collect();
        places::take_finished(db, &ids).await?;
        for FoundJob { mut job, .. } in chosen {
            let placement = state::revive(&mut job, self.now);
            if let Some(unique) = &job.spec.unique {
                take_keys(db, &[(&unique.key, job.id())]).await?;
            }
            moves.place(&job, placement)?;
        }
        places::write(db, &moves).await?;
        news.append(moves.news);
        Ok(())
    }
}

async fn delete(db: &mut SqliteConnection, chosen: &[FoundJob]) -> Result<()> {
    let ids = |place: Found| chosen.iter().filter(move |found| found.place == place).map(|found| found.job.id());
    places::take_waiting(db, &ids(Found::Waiting).collect::<Vec<_>>()).await?;
    places::take_finished(db, &ids(Found::Finished).collect::<Vec<_>>()).await?;
    let mut moves = Moves::default();
    for found in chosen {
        moves.release(&found.job);
    }
    places::write(db, &moves).await
}

struct Pause {
    queue: Name,
    paused: bool,
}

#[async_trait]
impl Work for Pause {
    type Answer = ();
    const DURABLE: bool = true;

    async fn run(&mut self, db: &mut SqliteConnection, news: &mut News) -> Result<()> {
        const PAUSE: &str = "INSERT OR IGNORE INTO taskwright_pauses (queue) VALUES (?)";
        const RESUME: &str = "DELETE FROM taskwright_pauses WHERE queue = ?";
        let sql = if self.paused { PAUSE } else { RESUME };
        sqlx::query(sql).bind(self.queue.as_str()).execute(&mut *db).await.map_err(fault)?;
        leases::count_control(db).await?;
        news.control();
        if !self.paused {
            news.jobs(&self.queue);
        }
        Ok(())
    }
}

struct Prune {
    retention: Retention,
    limit: usize,
    now: Timestamp,
}

#[async_trait]
impl Work for Prune {
    type Answer = Changed;
    const DURABLE: bool = true;

    /// By the index on state and end, the oldest first.
    async fn run(&mut self, db: &mut SqliteConnection, _: &mut News) -> Result<Changed> {
        const RESULTS: &str = "DELETE FROM taskwright_finished WHERE id IN (SELECT id FROM taskwright_finished \
            WHERE state = 'completed' AND ends <= ? ORDER BY ends, id LIMIT ?)";
        const DEAD_LETTERS: &str = "DELETE FROM taskwright_finished WHERE id IN (SELECT id FROM taskwright_finished \
            WHERE state = 'discarded' AND ends <= ? ORDER BY ends, id LIMIT ?)";
        const CALLED_OFF: &str = "DELETE FROM taskwright_finished WHERE id IN (SELECT id FROM taskwright_finished \
            WHERE state IN ('cancelled', 'expired') AND ends <= ? ORDER BY ends, id LIMIT ?)";
        const KEPT: &str = "DELETE FROM taskwright_outcomes WHERE id IN (SELECT id FROM taskwright_outcomes \
            WHERE ends <= ? ORDER BY ends, id LIMIT ?)";
        let Retention { expired_result, discarded, cancelled } = self.retention;
        let shelves =
            [(RESULTS, expired_result), (DEAD_LETTERS, discarded), (CALLED_OFF, cancelled), (KEPT, expired_result)];
        let mut count = 0;
        for (sql, keep) in shelves {
            if count == self.limit {
                break;
            }
            let room = i64::try_from(self.limit - count).unwrap_or(i64::MAX);
            let prune = sqlx::query(sql).bind(self.now.before(keep).as_micros()).bind(room);
            let pruned = prune.execute(&mut *db).await.map_err(fault)?.rows_affected();
            count += usize::try_from(pruned).unwrap_or(usize::MAX);
        }
        Ok(Changed { count, more: count == self.limit })
    }
}

struct Deregister {
    worker: WorkerId,
}

#[async_trait]
impl Work for Deregister {
    type Answer = ();
    const DURABLE: bool = false;

    async fn run(&mut self, db: &mut SqliteConnection, _: &mut News) -> Result<()> {
        const DEREGISTER: &str = "DELETE FROM taskwright_workers WHERE id = ?";
        sqlx::query(DEREGISTER).bind(&self.worker.as_bytes()[..]).execute(db).await.map_err(fault)?;
        Ok(())
    }
}
