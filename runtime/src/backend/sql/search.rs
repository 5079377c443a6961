//! Finding jobs by a filter, wherever they lie.

use async_trait::async_trait;

use super::news::News;
use super::places::{finished_record, record};
use super::tables::{FINISHED_COLUMNS, JOB_COLUMNS, Tables, Value, clamp, lists};
use super::work::{Isolation, Work};
use super::{leases, results};
use crate::backend::JobFilter;
use crate::error::Result;
use crate::job::{Job, JobId, State};
use crate::time::Timestamp;

/// Where a job was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Waiting,
    Running,
    Finished,
}

pub(super) struct FoundJob {
    pub(super) job: Job,
    pub(super) place: Found,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    NewestFirst,
    OldestFirst,
}

/// A page of the jobs that match a filter.
pub(super) struct Search {
    pub(super) filter: JobFilter,
    /// The last job of the page before.
    pub(super) from: Option<JobId>,
    pub(super) order: Order,
    pub(super) limit: usize,
}

#[async_trait]
impl Work for Search {
    type Answer = Vec<FoundJob>;
    const DURABLE: bool = false;
    // A job that moves from one place to the next while they are looked through must not be missed.
    const ISOLATION: Isolation = Isolation::RepeatableRead;

    async fn run<Db: Tables>(&mut self, db: &mut Db, now: Timestamp, _: &mut News) -> Result<Vec<FoundJob>> {
        let mut found = self.stored(db, "taskwright_jobs", Found::Waiting, now).await?;
        found.extend(self.stored(db, "taskwright_limited", Found::Waiting, now).await?);
        found.extend(self.stored(db, "taskwright_finished", Found::Finished, now).await?);
        found.extend(self.running(db, now).await?);
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
    async fn stored<Db: Tables>(
        &self,
        db: &mut Db,
        table: &str,
        place: Found,
        now: Timestamp,
    ) -> Result<Vec<FoundJob>> {
        let mut found = Vec::new();
        if !self.wants(place) {
            return Ok(found);
        }
        let mut ids = self.filter.ids.clone();
        ids.sort_unstable();
        ids.dedup();
        if ids.is_empty() {
            self.scan(db, (table, place), &[], now, &mut found).await?;
        }
        for ids in lists(&ids) {
            self.scan(db, (table, place), ids, now, &mut found).await?;
        }
        Ok(found)
    }

    async fn scan<Db: Tables>(
        &self,
        db: &mut Db,
        (table, place): (&str, Found),
        ids: &[JobId],
        now: Timestamp,
        found: &mut Vec<FoundJob>,
    ) -> Result<()> {
        let mut from = self.from;
        let enough = found.len().saturating_add(self.limit);
        while found.len() < enough {
            let page = self.page(db, (table, place), ids, from, (now, enough - found.len())).await?;
            let full = page.len() >= enough - found.len();
            from = page.last().map(Job::id).or(from);
            let matching = page.into_iter().filter(|job| self.filter.matches(job, now));
            found.extend(matching.map(|job| FoundJob { job, place }));
            if !full {
                break;
            }
        }
        Ok(())
    }

    /// Rows that may match, by primary key in the order asked: what SQL can say is said there.
    async fn page<Db: Tables>(
        &self,
        db: &mut Db,
        (table, place): (&str, Found),
        ids: &[JobId],
        from: Option<JobId>,
        (now, limit): (Timestamp, usize),
    ) -> Result<Vec<Job>> {
        let sql = self.sql::<Db>((table, place), ids, from.is_some());
        let mut values = self.values(place, ids, from.as_ref(), now);
        values.push(Value::Integer(clamp(limit)));
        let rows = db.fetch(sql, &values).await?;
        let job = |row| match place {
            Found::Finished => Ok(finished_record(row)?.read()),
            Found::Waiting | Found::Running => Ok(record(row)?.read(now).unwrap_or_else(|wreck| *wreck)),
        };
        rows.iter().map(job).collect()
    }

    fn sql<Db: Tables>(&self, (table, place): (&str, Found), ids: &[JobId], paged: bool) -> String {
        let filter = &self.filter;
        let mut conditions = vec!["1 = 1".to_owned()];
        let mut when = |given: bool, condition: &str| {
            if given {
                conditions.push(condition.to_owned());
            }
        };
        when(paged && self.order == Order::NewestFirst, "id < ?");
        when(paged && self.order == Order::OldestFirst, "id > ?");
        when(!ids.is_empty(), "id IN (?..)");
        when(filter.queue.is_some(), "queue = ?");
        when(filter.task.is_some(), "task = ?");
        when(filter.before.is_some(), "pushed < ?");
        // MessagePack holds text as it is, so a tag that is not among the bytes is not among the tags.
        when(filter.tag.is_some(), Db::EXTRAS_HOLD);
        if !filter.states.is_empty() {
            let states = filter.states.iter().filter_map(|state| condition(place, *state));
            let states: Vec<_> = states.collect();
            when(true, &format!("({})", states.join(" OR ")));
        }
        let more = match place {
            Found::Finished => format!(", {FINISHED_COLUMNS}"),
            Found::Waiting | Found::Running => String::new(),
        };
        let direction = if self.order == Order::NewestFirst { "DESC" } else { "ASC" };
        let conditions = conditions.join(" AND ");
        format!("SELECT {JOB_COLUMNS}{more} FROM {table} WHERE {conditions} ORDER BY id {direction} LIMIT ?")
    }

    /// The values of [`Search::sql`], in its order.
    fn values<'a>(&'a self, place: Found, ids: &'a [JobId], from: Option<&'a JobId>, now: Timestamp) -> Vec<Value<'a>> {
        let filter = &self.filter;
        let mut values: Vec<_> = from.map(|from| Value::Id(from.as_bytes())).into_iter().collect();
        if !ids.is_empty() {
            values.push(Value::Ids(ids));
        }
        let names = [&filter.queue, &filter.task].into_iter().flatten();
        values.extend(names.map(|name| Value::Text(name.as_str())));
        values.extend(filter.before.map(|before| Value::Integer(before.as_micros())));
        values.extend(filter.tag.as_ref().map(|tag| Value::Bytes(tag.as_bytes())));
        let timed = filter.states.iter().filter(|state| place == Found::Waiting && condition(place, **state).is_some());
        values.extend(timed.map(|_| Value::Integer(now.as_micros())));
        values
    }

    /// Whether a job in this place can have one of the states asked for.
    fn wants(&self, place: Found) -> bool {
        let states = &self.filter.states;
        states.is_empty() || states.iter().any(|state| condition(place, *state).is_some())
    }

    /// The running jobs that match, however many run.
    async fn running<Db: Tables>(&self, db: &mut Db, now: Timestamp) -> Result<Vec<FoundJob>> {
        if !self.wants(Found::Running) {
            return Ok(Vec::new());
        }
        let leases = leases::all_with_jobs(db).await?;
        let beyond = |id: JobId| match self.order {
            Order::NewestFirst => self.from.is_none_or(|from| id < from),
            Order::OldestFirst => self.from.is_none_or(|from| id > from),
        };
        let jobs = results::running_jobs(db, leases, now).await?.into_iter();
        let matching = jobs.filter(|job| beyond(job.id()) && self.filter.matches(job, now));
        Ok(matching.map(|job| FoundJob { job, place: Found::Running }).collect())
    }
}

/// How a state shows in a table's columns; `None` where no job in this place has it.
///
/// Those of waiting jobs compare with the present, which [`Search::values`] gives to each.
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
