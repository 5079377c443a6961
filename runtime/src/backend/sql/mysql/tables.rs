//! MySQL's own words, which are MariaDB's too, and the statements that only they run this way.
//!
//! Neither knows what the other does to answer with the rows that a statement has written, so rows are locked and read
//! first, and deleted then. MySQL takes a value that stands alone in a `SELECT` for text, so there it is cast.

use std::borrow::{BorrowMut, Cow};
use std::cmp::Reverse;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use sqlx::mysql::{MySqlArguments, MySqlRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, MySql, MySqlConnection, Row};

use super::connect::{Maker, Settings, simple};
use super::error::fault;
use super::push::{MANY, MOST_ALONE, store_alone};
use crate::backend::sql::floors::Floor;
use crate::backend::sql::lease::LeaseRow;
use crate::backend::sql::marks::{Marked, bind, bind_finished, bind_waiting, with_lists};
use crate::backend::sql::places::waiting_record;
use crate::backend::sql::record::{FinishedRecord, Own, Record, job_id, own_of_alike};
use crate::backend::sql::tables::{
    Columns, FINISHED_COLUMNS, JOB_COLUMNS, JOB_WIDTH, Pool, Tables, Terms, Value, Wish, clamp, limits_met, marks,
    of_known_tasks, portions, rows, runs, unknown_tasks,
};
use crate::error::Result;
use crate::job::{BatchId, JobId, Name};
use crate::policy::order::Turn;
use crate::time::Timestamp;

/// A connection, owned or the caller's, and how statements are said on it.
pub(super) struct Session<Db> {
    pub(super) db: Db,
    pub(super) prefix: String,
    /// The most bytes that the server takes in one message.
    packet: usize,
    maker: Maker,
}

/// A statement on its way to the server.
type Statement = Query<'static, MySql, MySqlArguments>;

impl<Db> Session<Db> {
    pub(super) fn new(db: Db, settings: &Settings) -> Self {
        Self { db, prefix: settings.prefix.clone(), packet: settings.packet, maker: settings.maker }
    }

    /// A statement made of this program's own words only; values are bound.
    pub(super) fn statement(&self, sql: &str) -> Statement {
        sqlx::query(AssertSqlSafe(translate(sql, &self.prefix)))
    }

    /// A statement with its values.
    fn prepared(&self, sql: Cow<'static, str>, values: &[Value<'_>]) -> Statement {
        values.iter().fold(self.statement(&with_lists(by_key(sql), values)), bind)
    }
}

/// A shared statement that is held to the index that it was written for.
///
/// For a small table the server would rather read all of it, and lock rows that others have locked.
fn by_key(sql: Cow<'static, str>) -> Cow<'static, str> {
    const FORCED: &str = " FORCE INDEX (PRIMARY)";
    const LAPSED: &str = "taskwright_leases WHERE lapses";
    const IN_LINE: &str = "taskwright_lanes WHERE queue = ?";
    let named = |text: &str| -> Option<String> {
        let table = text.split(' ').next()?;
        table.starts_with("taskwright_").then(|| table.to_owned())
    };
    if sql.contains(LAPSED) {
        return sql.replace(LAPSED, "taskwright_leases FORCE INDEX (leases_lapse) WHERE lapses").into();
    }
    if sql.contains(IN_LINE) {
        return sql.replace(IN_LINE, "taskwright_lanes FORCE INDEX (lanes_line) WHERE queue = ?").into();
    }
    if !sql.contains("IN (?..)") {
        return sql;
    }
    if let Some((table, rest)) = sql.strip_prefix("DELETE FROM ").and_then(|rest| Some((named(rest)?, rest))) {
        // Only this form takes an index.
        return format!("DELETE {table} FROM {table}{FORCED}{}", &rest[table.len()..]).into();
    }
    if let Some((table, rest)) = sql.strip_prefix("UPDATE ").and_then(|rest| Some((named(rest)?, rest))) {
        return format!("UPDATE {table}{FORCED}{}", &rest[table.len()..]).into();
    }
    let mut forced = sql.into_owned();
    for key in ["id", "job", "unique_key"] {
        let condition = format!(" WHERE {key} IN (?..)");
        forced = forced.replace(&condition, &format!("{FORCED}{condition}"));
    }
    forced.into()
}

/// A shared statement with the names of tables as they are here.
pub(super) fn translate(sql: &str, prefix: &str) -> String {
    sql.replace("taskwright_", prefix)
}

/// The two highest priorities up to one of a queue or lane.
///
/// Each is one seek: the greatest up to a constant, and for that the server takes a subquery that depends on nothing. One
/// that depended on the row before it, or a grouping, would read the whole queue.
const LEVELS: &str = "SELECT CAST(? AS SIGNED) AS place, max(priority) AS priority FROM taskwright_jobs WHERE LINE = ? AND priority <= ? \
    UNION ALL SELECT CAST(? AS SIGNED), max(priority) FROM taskwright_jobs WHERE LINE = ? AND priority < \
        (SELECT max(priority) FROM taskwright_jobs WHERE LINE = ? AND priority <= ?)";

/// One priority of a queue, if it has jobs above a floor. What lies below is never looked at, and the priorities that a
/// queue has can't be told without that: dead rows lie between them.
const LEVEL_ABOVE: &str = "(SELECT CAST(? AS SIGNED) AS place, priority FROM taskwright_jobs FORCE INDEX (jobs_order) \
    WHERE queue = ? AND priority = ? AND due >= ? LIMIT 1)";

/// A row of [`PAUSED`] for a queue that is.
const PAUSE: &str = "SELECT CAST(? AS SIGNED) AS place, NULL AS priority FROM taskwright_pauses WHERE queue = ?";

/// When the first job of one priority is due that has not expired.
const FIRST_DUE: &str = "(SELECT CAST(? AS SIGNED) AS place, due FROM taskwright_jobs FORCE INDEX (INDEX) \
    WHERE LINE = ? AND priority = ? AND (expires IS NULL OR expires > ?){known}{above} ORDER BY due LIMIT 1)";

/// A priority of a queue or lane, by the place of that in a list.
struct Level {
    place: usize,
    priority: i64,
}

/// What is to be known about limits before jobs without any are taken.
#[derive(Default)]
struct Lines {
    /// Jobs came to a lane, or a queue has a limit that was set.
    met: bool,
    /// When the first lane has its turn.
    turn: Option<Timestamp>,
}

/// In place of a place: a row of [`Lines::turn`], one of [`Lines::met`], and what to take the place of a queue that is
/// paused from.
const TURN: i64 = -1;
const MET: i64 = -2;
const PAUSED: i64 = -3;

/// How long the history of a server is that cleans away what was deleted, in transactions.
const USUAL_HISTORY: i64 = 200;

/// A statement about jobs in their order, held to the index of that order.
fn in_order(pool: Pool, sql: &str) -> String {
    pool.say(&sql.replace("(INDEX)", if pool == Pool::Free { "(jobs_order)" } else { "(limited_order)" }))
}

/// A statement about what is due from a floor on, where there are floors. Without them its range has no lower end: the
/// server stops at the end of a priority then, where it walks on past dead rows of the next one otherwise.
fn above(sql: &str, floors: &[Floor]) -> String {
    sql.replace("{above}", if floors.is_empty() { "" } else { " AND due >= ?" })
}

/// From when on the jobs of a queue are looked at.
fn floor_of(floors: &[Floor], place: usize) -> Option<Timestamp> {
    floors.get(place).map(|floor| floor.due)
}

/// That a job's task is none of [`unknown_tasks`].
const KNOWN: &str = " AND INSTR(?, CONCAT('/', task, '/')) = 0";

/// The first due jobs of one priority of a queue or lane: a range of the index in its order.
fn due_of_level(pool: Pool, columns: &str, unknown: &[Name], floors: &[Floor]) -> String {
    let sql = format!(
        "SELECT {columns} FROM taskwright_jobs FORCE INDEX (INDEX) \
         WHERE LINE = ? AND priority = ? AND due <= ? AND (expires IS NULL OR expires > ?){{known}}{{above}} \
         ORDER BY due, id LIMIT ?"
    );
    above(&of_known_tasks(&in_order(pool, &sql), unknown, KNOWN), floors)
}

/// Its values: a queue or lane with a priority, and from when, if that matters, until when its jobs are due.
fn bind_level(
    due: Statement,
    level: (&str, i64),
    (floor, now): (Option<Timestamp>, Timestamp),
    unknown: &str,
    most: usize,
) -> Statement {
    let due = due.bind(level.0.to_owned()).bind(level.1).bind(now.as_micros()).bind(now.as_micros());
    let due = if unknown.is_empty() { due } else { due.bind(unknown.to_owned()) };
    let due = if let Some(floor) = floor { due.bind(floor.as_micros()) } else { due };
    due.bind(clamp(most))
}

impl<Db: BorrowMut<MySqlConnection> + Send> Session<Db> {
    async fn rows(&mut self, statement: Statement) -> Result<Vec<MySqlRow>> {
        statement.fetch_all(self.db.borrow_mut()).await.map_err(fault)
    }

    /// The priorities of queues or lanes that are not paused, in the order of the names, the highest first; and with keys
    /// of limits, what is to be known about these.
    async fn levels(
        &mut self,
        pool: Pool,
        names: &[&str],
        keys: &[&str],
        floors: &[Floor],
    ) -> Result<(Vec<Level>, Lines)> {
        let (mut found, mut lines): (Vec<Level>, _) = (Vec::new(), Lines::default());
        let mut open: Vec<(usize, i64)> = (0..names.len()).map(|place| (place, i64::from(i16::MAX))).collect();
        // Once, with the first of the others.
        let mut keys = Some(keys).filter(|keys| !keys.is_empty());
        let known = |place: usize| floors.get(place).filter(|floor| !floor.priorities.is_empty());
        while !open.is_empty() {
            let mut next = Vec::new();
            for run in runs(&open) {
                let keys = keys.take();
                let mut each = Vec::with_capacity(2 * run.len());
                for (place, _) in run {
                    match known(*place) {
                        None => each.push(pool.say(LEVELS)),
                        Some(floor) => each.extend(floor.priorities.iter().map(|_| LEVEL_ABOVE.to_owned())),
                    }
                    each.push(PAUSE.to_owned());
                }
                each.extend(keys.map(|keys| {
                    let (queues, met) = (marks(names.len()), limits_met(names.len(), keys.len()));
                    format!(
                        "SELECT {TURN}, min(turn) FROM taskwright_lanes WHERE queue IN ({queues}) \
                         UNION ALL SELECT {MET}, 0 FROM (SELECT 1) AS one WHERE {met}"
                    )
                }));
                let mut levels = self.statement(&each.join(" UNION ALL "));
                for (place, most) in run {
                    let (name, floor) = (names.get(*place).copied().unwrap_or_default(), known(*place));
                    let (name, place) = (|| name.to_owned(), clamp(*place));
                    if let Some(floor) = floor {
                        for priority in &floor.priorities {
                            levels = levels.bind(place).bind(name()).bind(*priority).bind(floor.due.as_micros());
                        }
                    } else {
                        levels = levels.bind(place).bind(name()).bind(*most);
                        levels = levels.bind(place).bind(name()).bind(name()).bind(*most);
                    }
                    levels = levels.bind(PAUSED - place).bind(name());
                }
                if let Some(keys) = keys {
                    let texts = names.iter().chain(names).chain(keys);
                    levels = texts.fold(levels, |levels, text| levels.bind((*text).to_owned()));
                }
                next.extend(self.rows(levels).await?);
            }
            let (mut levels, mut paused) = (Vec::with_capacity(next.len()), Vec::new());
            for row in &next {
                match row.integer(0)? {
                    TURN => lines.turn = row.maybe_integer(1)?.map(Timestamp::from_micros),
                    MET => lines.met = true,
                    place if place <= PAUSED => paused.push(usize::try_from(PAUSED - place).unwrap_or(usize::MAX)),
                    place => levels.push((usize::try_from(place).unwrap_or(usize::MAX), row.maybe_integer(1)?)),
                }
            }
            open.retain_mut(|(place, most)| {
                let of_place = levels.iter().filter(|(of, _)| of == place);
                let mut priorities: Vec<_> = of_place.filter_map(|(_, priority)| *priority).collect();
                if paused.contains(place) || priorities.is_empty() {
                    return false;
                }
                priorities.sort_unstable_by_key(|priority| Reverse(*priority));
                let lowest = priorities.last().copied().unwrap_or_default();
                // The server takes a number that no priority can be for the nearest one that can.
                let has_more = known(*place).is_none() && priorities.len() > 1 && lowest > i64::from(i16::MIN);
                *most = lowest - 1;
                found.extend(priorities.into_iter().map(|priority| Level { place: *place, priority }));
                has_more
            });
        }
        found.sort_unstable_by_key(|level| (level.place, Reverse(level.priority)));
        Ok((found, lines))
    }

    /// Where priorities age: leaves to each of these priorities how many of the first due jobs, so many as each could have,
    /// are its own. They are looked at without locks, so that nothing is locked that is not taken.
    async fn share_out(
        &mut self,
        pool: Pool,
        name: &str,
        levels: &mut [(i64, usize)],
        floor: Option<Timestamp>,
        Terms { unknown, now, floors, .. }: Terms<'_>,
        aging: Duration,
    ) -> Result<()> {
        let each = vec![format!("({})", due_of_level(pool, "priority, due, id", unknown, floors)); levels.len()];
        let tasks = unknown_tasks(unknown);
        let mut heads = self.statement(&each.join(" UNION ALL "));
        for (priority, most) in levels.iter() {
            heads = bind_level(heads, (name, *priority), (floor, now), &tasks, *most);
        }
        let mut first = Vec::new();
        for row in &self.rows(heads).await? {
            let (priority, due) = (row.integer(0)?, Timestamp::from_micros(row.integer(1)?));
            let turn = Turn::new(priority, due, Some(aging));
            first.push((turn, row.bytes(2)?, priority));
        }
        first.sort_unstable();
        first.truncate(levels.iter().map(|(_, most)| *most).max().unwrap_or_default());
        for (level, share) in levels {
            *share = first.iter().filter(|(_, _, priority)| priority == level).count();
        }
        Ok(())
    }

    /// Each by its key: of a small table the server reads all rows for a list of them, whatever index it is held to, and
    /// waits for those that others have locked.
    async fn delete(&mut self, table: &str, ids: &[JobId]) -> Result<()> {
        for run in runs(ids) {
            let others = " UNION ALL SELECT CAST(? AS BINARY(16))".repeat(run.len() - 1);
            let sql = format!(
                "DELETE {table} FROM (SELECT CAST(? AS BINARY(16)) AS id{others}) AS taken \
                 STRAIGHT_JOIN {table} FORCE INDEX (PRIMARY) ON {table}.id = taken.id"
            );
            let values: Vec<_> = run.iter().map(|id| Value::Id(id.as_bytes())).collect();
            self.execute(sql, &values).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl<Db: BorrowMut<MySqlConnection> + Send> Tables for Session<Db> {
    type Row = MySqlRow;

    const SHARED: bool = true;
    const LOCKED: &'static str = " FOR UPDATE";
    const SKIP_LOCKED: &'static str = " FOR UPDATE SKIP LOCKED";
    // Of a small table all rows are read for a list of them, and locked.
    const LOCKS_EXACTLY: bool = false;
    const EXTRAS_HOLD: &'static str = "LOCATE(?, extras) > 0";

    /// A statement is one message.
    fn most_bytes(&self) -> usize {
        self.packet / 2
    }

    async fn fetch<S: Into<Cow<'static, str>> + Send>(
        &mut self,
        sql: S,
        values: &[Value<'_>],
    ) -> Result<Vec<MySqlRow>> {
        let statement = self.prepared(sql.into(), values);
        self.rows(statement).await
    }

    async fn execute<S: Into<Cow<'static, str>> + Send>(&mut self, sql: S, values: &[Value<'_>]) -> Result<u64> {
        let statement = self.prepared(sql.into(), values);
        Ok(statement.execute(self.db.borrow_mut()).await.map_err(fault)?.rows_affected())
    }

    async fn insert_waiting(&mut self, pool: Pool, records: &[&Record]) -> Result<()> {
        if let (Pool::Free, [like, _, ..]) = (pool, records)
            && records.len() >= MANY
            && let Some(own) = own_of_alike(records)
        {
            return self.store_alike(like, &own).await;
        }
        let (columns, width) = pool.columns();
        for portion in portions(records, self.most_bytes(), |record| record.size()) {
            for run in runs(portion) {
                let sql = format!("INSERT INTO {} ({columns}) VALUES {}", pool.table(), rows(run.len(), width));
                let insert = run.iter().fold(self.statement(&sql), |insert, record| bind_waiting(insert, record));
                insert.execute(self.db.borrow_mut()).await.map_err(fault)?;
            }
        }
        Ok(())
    }

    async fn insert_alike(&mut self, like: &Record, own: &[Own<'_>]) -> Result<()> {
        if own.len() >= MANY {
            return self.store_alike(like, own).await;
        }
        let records: Vec<_> = own.iter().map(|own| own.record(like)).collect();
        self.insert_waiting(Pool::Free, &records.iter().collect::<Vec<_>>()).await
    }

    /// The whole transaction in one message, with its values as words in it: a message with values apart has one statement.
    async fn store_alone(&mut self, batch: BatchId, record: &Record) -> Result<bool> {
        if record.size() > MOST_ALONE {
            return Ok(false);
        }
        simple(self.db.borrow_mut(), translate(&store_alone(batch, record, self.maker), &self.prefix)).await?;
        Ok(true)
    }

    async fn insert_finished(&mut self, records: &[FinishedRecord]) -> Result<()> {
        let columns = format!("{JOB_COLUMNS}, {FINISHED_COLUMNS}");
        let set: Vec<_> = columns.split(", ").skip(1).collect();
        for portion in portions(records, self.most_bytes(), |record| record.job.size()) {
            for run in runs(portion) {
                let values = rows(run.len(), JOB_WIDTH + 3);
                let sql = Self::upsert("taskwright_finished", &columns, &values, "id", &set);
                let insert = run.iter().fold(self.statement(&sql), bind_finished);
                insert.execute(self.db.borrow_mut()).await.map_err(fault)?;
            }
        }
        Ok(())
    }

    async fn take_due(
        &mut self,
        pool: Pool,
        wishes: &[Wish<'_>],
        keys: &[&str],
        limit: usize,
        terms: Terms<'_>,
    ) -> Result<Vec<Record>> {
        let Terms { unknown, now, aging, floors } = terms;
        let sql = due_of_level(pool, &pool.columns().0, unknown, floors) + " FOR UPDATE SKIP LOCKED";
        let tasks = unknown_tasks(unknown);
        let mut taken: Vec<Record> = Vec::new();
        let names: Vec<_> = wishes.iter().map(|(name, _)| *name).collect();
        let (found, lines) = self.levels(pool, &names, keys, floors).await?;
        if lines.met || lines.turn.is_some_and(|turn| turn <= now) {
            return Ok(taken);
        }
        for (place, (name, most)) in wishes.iter().enumerate() {
            let mut room = (*most).min(limit - taken.len());
            let floor = floor_of(floors, place);
            let levels = found.iter().filter(|level| level.place == place);
            let mut levels: Vec<_> = levels.map(|level| (level.priority, room)).collect();
            if let Some(aging) = aging.filter(|_| room > 0 && levels.len() > 1) {
                self.share_out(pool, name, &mut levels, floor, terms, aging).await?;
            }
            for (priority, share) in levels {
                let most = share.min(room);
                if most == 0 {
                    continue;
                }
                let due = bind_level(self.statement(&sql), (name, priority), (floor, now), &tasks, most);
                let found = self.rows(due).await?;
                let found = found.iter().map(|row| waiting_record(pool, row)).collect::<Result<Vec<_>>>()?;
                room -= found.len();
                taken.extend(found);
            }
        }
        let ids = taken.iter().map(Record::job_id).collect::<Result<Vec<_>>>()?;
        self.delete(pool.table(), &ids).await?;
        Ok(taken)
    }

    async fn next_due(
        &mut self,
        pool: Pool,
        names: &[&str],
        keys: &[&str],
        Terms { unknown, now, floors, .. }: Terms<'_>,
    ) -> Result<Vec<(usize, Timestamp)>> {
        let (levels, lines) = self.levels(pool, names, keys, floors).await?;
        let mut dues: Vec<(usize, Timestamp)> = lines.turn.map(|turn| (0, turn)).into_iter().collect();
        dues.extend(lines.met.then_some((0, now)));
        for levels in runs(&levels) {
            let first = above(&of_known_tasks(&in_order(pool, FIRST_DUE), unknown, KNOWN), floors);
            let mut next = self.statement(&vec![first; levels.len()].join(" UNION ALL "));
            for level in levels {
                let name = names.get(level.place).copied().unwrap_or_default();
                next = next.bind(clamp(level.place)).bind(name.to_owned()).bind(level.priority).bind(now.as_micros());
                next = if unknown.is_empty() { next } else { next.bind(unknown_tasks(unknown)) };
                next = match floor_of(floors, level.place) {
                    Some(floor) => next.bind(floor.as_micros()),
                    None => next,
                };
            }
            for row in &self.rows(next).await? {
                let place = usize::try_from(row.integer(0)?).unwrap_or(usize::MAX);
                let due = Timestamp::from_micros(row.integer(1)?);
                match dues.iter_mut().find(|(of, _)| *of == place) {
                    Some((_, first)) => *first = due.min(*first),
                    None => dues.push((place, due)),
                }
            }
        }
        Ok(dues)
    }

    /// Those that were taken, while the server cleans nothing away; by what all of its transactions have left to be cleaned,
    /// since it tells nobody about one table.
    async fn dead_rows(&mut self, taken: i64) -> Result<i64> {
        const OF_MARIADB: &str = "SELECT CAST(variable_value AS SIGNED) FROM information_schema.global_status \
            WHERE variable_name = 'INNODB_HISTORY_LIST_LENGTH'";
        const OF_MYSQL: &str =
            "SELECT CAST(count AS SIGNED) FROM information_schema.innodb_metrics WHERE name = 'trx_rseg_history_len'";
        let sql = match self.maker {
            Maker::MariaDb => OF_MARIADB,
            Maker::Oracle => OF_MYSQL,
        };
        let history = match self.fetch(sql, &[]).await {
            Ok(rows) => rows.first().map_or(Ok(0), |row| row.integer(0))?,
            // It is asked with the privilege PROCESS only.
            Err(error) if error.is_transient() => return Err(error),
            Err(_) => 0,
        };
        Ok(if history > USUAL_HISTORY { taken } else { 0 })
    }

    async fn insert_lease(
        &mut self,
        lease: &LeaseRow,
        newest: &JobId,
        packed: &[u8],
        held: &[(&str, i64)],
    ) -> Result<i64> {
        const INSERT: &str = "INSERT INTO taskwright_leases \
            (worker, claimed, lapses, noted, newest, settled, members, jobs) VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
        let insert = self
            .statement(INSERT)
            .bind(&lease.worker.as_bytes()[..])
            .bind(lease.claimed.as_micros())
            .bind(lease.lapses.as_micros())
            .bind(lease.marks())
            .bind(&newest.as_bytes()[..])
            .bind(lease.settled())
            .bind(lease.members())
            .bind(packed);
        let inserted = insert.execute(self.db.borrow_mut()).await.map_err(fault)?;
        let token = inserted.last_insert_id().cast_signed();
        self.insert_holds(token, held).await?;
        Ok(token)
    }

    /// Long columns that don't change stay where they are.
    async fn mark_settled(&mut self, leases: &[&LeaseRow]) -> Result<()> {
        for run in runs(leases) {
            const MARK: &str =
                "SELECT CAST(? AS SIGNED) AS id, CAST(? AS SIGNED) AS lapses, CAST(? AS BINARY) AS settled";
            let marks = vec![MARK; run.len()].join(" UNION ALL ");
            let sql = format!(
                "UPDATE ({marks}) AS marked STRAIGHT_JOIN \
                 taskwright_leases AS lease FORCE INDEX (PRIMARY) ON lease.id = marked.id SET lease.lapses = marked.lapses, lease.settled = marked.settled"
            );
            let mark = run.iter().fold(self.statement(&sql), |mark, lease| {
                mark.bind(lease.token).bind(lease.lapses.as_micros()).bind(lease.settled())
            });
            mark.execute(self.db.borrow_mut()).await.map_err(fault)?;
        }
        Ok(())
    }

    /// Looked for without locks first: locks on what is not there would keep others from storing beside it.
    async fn take(&mut self, table: &str, columns: &str, ids: &[JobId]) -> Result<Vec<MySqlRow>> {
        let there = self.fetch(format!("SELECT id FROM {table} WHERE id IN (?..)"), &[Value::Ids(ids)]).await?;
        let there = there.iter().map(|row| job_id(&row.bytes(0)?.unwrap_or_default())).collect::<Result<Vec<_>>>()?;
        if there.is_empty() {
            return Ok(Vec::new());
        }
        let taken = self
            .fetch(
                format!("SELECT {columns}, id FROM {table} WHERE id IN (?..) ORDER BY id FOR UPDATE"),
                &[Value::Ids(&there)],
            )
            .await?;
        self.delete(table, &there).await?;
        Ok(taken)
    }

    async fn take_expired(&mut self, pool: Pool, now: Timestamp, limit: usize) -> Result<Vec<MySqlRow>> {
        let index = if pool == Pool::Free { "jobs_expiry" } else { "limited_expiry" };
        let table = pool.table();
        let sql = format!(
            "SELECT {JOB_COLUMNS} FROM {table} FORCE INDEX ({index}) WHERE expires <= ? ORDER BY expires LIMIT ? FOR UPDATE SKIP LOCKED"
        );
        let taken = self.fetch(sql, &[Value::Integer(now.as_micros()), Value::Integer(clamp(limit))]).await?;
        let ids = taken.iter().map(|row| job_id(&row.bytes(0)?.unwrap_or_default())).collect::<Result<Vec<_>>>()?;
        self.delete(table, &ids).await?;
        Ok(taken)
    }

    /// The rows are looked for first, and then each by its key.
    fn delete_first(table: &str, condition: &str, order: &str) -> String {
        let locked = Self::SKIP_LOCKED;
        format!(
            "DELETE {table} FROM (SELECT id FROM {table} WHERE {condition} ORDER BY {order} LIMIT ?{locked}) AS first_ones \
             STRAIGHT_JOIN {table} FORCE INDEX (PRIMARY) ON {table}.id = first_ones.id"
        )
    }

    fn insert_new(table: &str, columns: &str, rows: &str) -> String {
        format!("INSERT IGNORE INTO {table} ({columns}) VALUES {rows}")
    }

    fn upsert(table: &str, columns: &str, rows: &str, _: &str, set: &[&str]) -> String {
        let set: Vec<_> = set.iter().map(|column| format!("{column} = VALUES({column})")).collect();
        format!("INSERT INTO {table} ({columns}) VALUES {rows} ON DUPLICATE KEY UPDATE {}", set.join(", "))
    }

    /// Said at length, since only so is the index used for it.
    fn pairs(columns: &str, count: usize) -> String {
        let pair = format!("({} = ?)", columns.replace(", ", " = ? AND "));
        format!("({})", vec![pair; count].join(" OR "))
    }

    /// Nobody looks: what happened is on the board.
    async fn count_control(&mut self) -> Result<()> {
        Ok(())
    }
}

impl Columns for MySqlRow {
    fn integer(&self, column: usize) -> Result<i64> {
        self.try_get_unchecked(column).map_err(fault)
    }

    fn maybe_integer(&self, column: usize) -> Result<Option<i64>> {
        self.try_get_unchecked(column).map_err(fault)
    }

    fn maybe_real(&self, column: usize) -> Result<Option<f64>> {
        self.try_get_unchecked(column).map_err(fault)
    }

    fn text(&self, column: usize) -> Result<String> {
        let bytes: &[u8] = self.try_get_unchecked(column).map_err(fault)?;
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    fn maybe_text(&self, column: usize) -> Result<Option<String>> {
        let bytes: Option<&[u8]> = self.try_get_unchecked(column).map_err(fault)?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned()))
    }

    fn bytes(&self, column: usize) -> Result<Option<Bytes>> {
        let bytes: Option<&[u8]> = self.try_get_unchecked(column).map_err(fault)?;
        Ok(bytes.map(Bytes::copy_from_slice))
    }
}

impl Marked for Statement {
    fn integer(self, value: Option<i64>) -> Self {
        self.bind(value)
    }

    fn real(self, value: f64) -> Self {
        self.bind(value)
    }

    fn text(self, value: &str) -> Self {
        self.bind(value)
    }

    fn bytes(self, value: Option<&[u8]>) -> Self {
        self.bind(value)
    }
}

#[cfg(test)]
mod tests {
    /// MySQL takes it for text of the connection's character set, and refuses ids; MariaDB would not tell.
    #[test]
    fn no_value_stands_alone_in_a_select() {
        let (statements, _) = include_str!("tables.rs").split_once("#[cfg(test)]").unwrap();
        assert!(statements.contains("SELECT CAST(? AS BINARY(16))"));
        assert!(!statements.contains("SELECT ?"));
    }
}
