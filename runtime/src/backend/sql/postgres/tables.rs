//! Postgres's own words, and the statements that only it runs this way.

use std::borrow::{BorrowMut, Cow};
use std::fmt;
use std::sync::LazyLock;

use async_trait::async_trait;
use bytes::Bytes;
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgArguments, PgHasArrayType, PgRow, PgTypeInfo, PgValueRef};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Encode, PgConnection, Postgres, Row, Type, ValueRef};

use super::connect::{NOW, Pooler, Settings};
use super::error::fault;
use crate::backend::sql::floors::Floor;
use crate::backend::sql::lease::LeaseRow;
use crate::backend::sql::places::waiting_record;
use crate::backend::sql::record::{FinishedRecord, Record};
use crate::backend::sql::tables::{
    Columns, FINISHED_COLUMNS, JOB_COLUMNS, Pool, Tables, Terms, Value, Wish, clamp, of_known_tasks, portions,
};
use crate::error::{Error, ErrorKind, Result};
use crate::job::{BatchId, JobId, Name};
use crate::policy::order::worth;
use crate::time::Timestamp;

/// The schema that everything lies in.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Schema {
    name: String,
    /// As statements write it.
    quoted: String,
}

impl Schema {
    pub(super) fn new(name: &str) -> Result<Self> {
        let refused = |why: &str| Err(Error::invalid(format!("`{name}` can't be taskwright's schema: {why}")));
        match name {
            "" => refused("it has no name; leave `schema` out of the URL, or name one"),
            "public" | "information_schema" => refused("it is for others; name one that only taskwright uses"),
            _ if name.starts_with("pg_") => refused("the server keeps names with `pg_` to itself; name another one"),
            _ if name.len() > 63 => refused("the server cuts names after 63 bytes; name a shorter one"),
            _ if name.contains('\0') => refused("it has a zero byte in it; name another one"),
            _ => Ok(Self { name: name.to_owned(), quoted: format!("\"{}\"", name.replace('"', "\"\"")) }),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn quoted(&self) -> &str {
        &self.quoted
    }

    /// A shared statement in Postgres's words: `taskwright_jobs` becomes `"taskwright"."jobs"`, `IN (?..)` a comparison
    /// with an array, `?` a numbered parameter.
    pub(super) fn translate(&self, sql: &str) -> String {
        let mut words = String::with_capacity(sql.len() + 64);
        let mut rest = sql;
        let mut number = 0;
        while let Some(place) = rest.find(['?', 't', 'I']) {
            words.push_str(&rest[..place]);
            rest = &rest[place..];
            if let Some(after) = rest.strip_prefix("IN (?..)") {
                number += 1;
                words.extend(["= ANY($", &number.to_string(), ")"]);
                rest = after;
            } else if let Some(after) = rest.strip_prefix('?') {
                number += 1;
                words.extend(["$", &number.to_string()]);
                rest = after;
            } else if let Some(after) = rest.strip_prefix("taskwright_") {
                let end = after.find(|letter: char| !letter.is_ascii_lowercase()).unwrap_or(after.len());
                words.extend([&self.quoted, ".\"", &after[..end], "\""]);
                rest = &after[end..];
            } else {
                words.push_str(&rest[..1]);
                rest = &rest[1..];
            }
        }
        words.push_str(rest);
        words
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.quoted)
    }
}

/// A connection, owned or the caller's, and how statements are said on it.
pub(super) struct Session<Db> {
    pub(super) db: Db,
    schema: Schema,
    /// Whether statements are prepared once and kept, which a pooler of transactions can't do.
    prepares: bool,
}

impl<Db> Session<Db> {
    pub(super) fn new(db: Db, settings: &Settings) -> Self {
        Self { db, schema: settings.schema.clone(), prepares: settings.pooler == Pooler::None }
    }

    fn statement(&self, sql: &str) -> Query<'static, Postgres, PgArguments> {
        sqlx::query(AssertSqlSafe(self.schema.translate(sql))).persistent(self.prepares)
    }
}

/// The due jobs of a claim's queues in the order of claims, locked.
///
/// Each priority of a queue is looked up by a seek in the index on (queue, priority, due, id), and its due jobs are a
/// range of that index: jobs of a high priority that are due later are never passed over one by one, however many there
/// are. Lateral joins pull rows, and lock them, only until the limits are reached.
///
/// A row is found again by where it lies, which spares a descent in the index of ids for each. A locked row does not move;
/// one that moved just before is left to the next claim.
const TAKE_DUE: &str = "DELETE FROM taskwright_jobs WHERE ctid = ANY(ARRAY(
    SELECT picked.ctid FROM unnest($1::text[], $2::bigint[]{floors}) WITH ORDINALITY AS wish (LINE, most{floor}, place)
    CROSS JOIN LATERAL (
        SELECT job.ctid FROM (
            WITH RECURSIVE level (priority) AS (
                (SELECT priority FROM taskwright_jobs WHERE LINE = wish.LINE{above} ORDER BY priority DESC LIMIT 1)
                UNION ALL
                SELECT (
                    SELECT next.priority FROM taskwright_jobs AS next
                    WHERE next.LINE = wish.LINE AND next.priority < level.priority{above}
                    ORDER BY next.priority DESC LIMIT 1
                ) FROM level WHERE level.priority IS NOT NULL
            )
            SELECT priority FROM level WHERE priority IS NOT NULL
        ) AS level
        CROSS JOIN LATERAL (
            SELECT due.ctid FROM taskwright_jobs AS due
            WHERE due.LINE = wish.LINE AND due.priority = level.priority AND due.due <= $3{above}
                AND (due.expires IS NULL OR due.expires > $3){known}
            ORDER BY due.due, due.id LIMIT wish.most FOR UPDATE SKIP LOCKED
        ) AS job
        WHERE NOT EXISTS (SELECT FROM taskwright_pauses AS pause WHERE pause.queue = wish.LINE)
        LIMIT wish.most
    ) AS picked
    LIMIT $4
))";

/// The same where priorities age: the first due jobs of each priority, unlocked, tell how many of each to take, so that
/// nothing is locked that is not taken; where others take the same at this moment, those behind them are taken.
const TAKE_AGED: &str = "DELETE FROM taskwright_jobs WHERE ctid = ANY(ARRAY(
    SELECT job.ctid FROM (
        SELECT head.LINE, head.priority{floor}, count(*) AS most FROM (
            SELECT wish.LINE, first.priority{floor} FROM unnest($1::text[], $2::bigint[]{floors}) WITH ORDINALITY AS wish (LINE, most{floor}, place)
            CROSS JOIN LATERAL (
                SELECT level.priority FROM (
                    WITH RECURSIVE level (priority) AS (
                        (SELECT priority FROM taskwright_jobs WHERE LINE = wish.LINE{above} ORDER BY priority DESC LIMIT 1)
                        UNION ALL
                        SELECT (
                            SELECT next.priority FROM taskwright_jobs AS next
                            WHERE next.LINE = wish.LINE AND next.priority < level.priority{above}
                            ORDER BY next.priority DESC LIMIT 1
                        ) FROM level WHERE level.priority IS NOT NULL
                    )
                    SELECT priority FROM level WHERE priority IS NOT NULL
                ) AS level
                CROSS JOIN LATERAL (
                    SELECT due.id, due.due FROM taskwright_jobs AS due
                    WHERE due.LINE = wish.LINE AND due.priority = level.priority AND due.due <= $3{above}
                        AND (due.expires IS NULL OR due.expires > $3){known}
                    ORDER BY due.due, due.id LIMIT wish.most
                ) AS due
                ORDER BY due.due::numeric - level.priority * $5::numeric, due.id LIMIT wish.most
            ) AS first
            WHERE NOT EXISTS (SELECT FROM taskwright_pauses AS pause WHERE pause.queue = wish.LINE)
            LIMIT $4
        ) AS head GROUP BY head.LINE, head.priority{floor}
    ) AS share
    CROSS JOIN LATERAL (
        SELECT due.ctid FROM taskwright_jobs AS due
        WHERE due.LINE = share.LINE AND due.priority = share.priority AND due.due <= $3{above}
            AND (due.expires IS NULL OR due.expires > $3){known}
        ORDER BY due.due, due.id LIMIT share.most FOR UPDATE SKIP LOCKED
    ) AS job
))";

/// Nothing is taken where a limit is to be looked at: one filter before anything else, by seeks in small indexes.
const PLAINLY: &str = "
    AND NOT EXISTS (SELECT FROM taskwright_lanes WHERE queue = ANY($1) AND turn <= $3)
    AND NOT EXISTS (SELECT FROM taskwright_arrivals WHERE queue = ANY($1))
    AND NOT EXISTS (
        SELECT FROM taskwright_limits WHERE is_set <> 0 AND id = ANY(ARRAY(SELECT 'queue:' || name FROM unnest($1) AS name))
    )";

/// When the first lane of a claim's queues has its turn, and now where a limit is to be looked at.
const NEXT_LOOK: &str = " UNION ALL SELECT 0, min(turn) FROM taskwright_lanes WHERE queue = ANY($1)
    UNION ALL SELECT 0, $2 WHERE EXISTS (SELECT FROM taskwright_arrivals WHERE queue = ANY($1)) OR EXISTS (
        SELECT FROM taskwright_limits WHERE is_set <> 0 AND id = ANY(ARRAY(SELECT 'queue:' || name FROM unnest($1) AS name))
    )";

/// When the next job of a claim's queues is due: one seek a priority in the same index.
const NEXT_DUE: &str = "SELECT wish.place, min(next.due) FROM unnest($1::text[]{floors}) WITH ORDINALITY AS wish (LINE{floor}, place)
    CROSS JOIN LATERAL (
        WITH RECURSIVE level (priority) AS (
            (SELECT priority FROM taskwright_jobs WHERE LINE = wish.LINE{above} ORDER BY priority DESC LIMIT 1)
            UNION ALL
            SELECT (
                SELECT next.priority FROM taskwright_jobs AS next
                WHERE next.LINE = wish.LINE AND next.priority < level.priority{above}
                ORDER BY next.priority DESC LIMIT 1
            ) FROM level WHERE level.priority IS NOT NULL
        )
        SELECT (
            SELECT job.due FROM taskwright_jobs AS job
            WHERE job.LINE = wish.LINE AND job.priority = level.priority AND (job.expires IS NULL OR job.expires > $2){known}{above}
            ORDER BY job.due LIMIT 1
        ) AS due FROM level WHERE level.priority IS NOT NULL
    ) AS next
    WHERE NOT EXISTS (SELECT FROM taskwright_pauses AS pause WHERE pause.queue = wish.LINE)
    GROUP BY wish.place";

/// The columns of a job as one parameter each.
const JOB_ARRAYS: &str = "$1::uuid[], $2::text[], $3::smallint[], $4::bigint[], $5::bigint[], $6::text[], \
    $7::bigint[], $8::bigint[], $9::bigint[], $10::smallint[], $11::bigint[], $12::smallint[], $13::bytea[], $14::bytea[]";

/// Notes a batch and stores its one job by the server's time, if the batch was not noted before.
static STORE_ALONE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "WITH this AS MATERIALIZED (SELECT {NOW} AS moment), noted AS (
            INSERT INTO taskwright_batches (id, pushed) SELECT $15, moment + $16 FROM this ON CONFLICT DO NOTHING RETURNING id
        ) INSERT INTO taskwright_jobs ({JOB_COLUMNS})
        SELECT id, queue, priority, moment + due, moment + expires, task, attempt, attempt_limit, crashes, retry,
            moment + pushed, codec, payload, extras
        FROM unnest({JOB_ARRAYS}) AS new ({JOB_COLUMNS}), this WHERE EXISTS (SELECT FROM noted)
        RETURNING taskwright_stored(id)"
    )
});

#[async_trait]
impl<Db: BorrowMut<PgConnection> + Send> Tables for Session<Db> {
    type Row = PgRow;

    const SHARED: bool = true;
    const LOCKED: &'static str = " FOR UPDATE";
    const SKIP_LOCKED: &'static str = " FOR UPDATE SKIP LOCKED";
    const EXTRAS_HOLD: &'static str = "position(? IN extras) > 0";

    async fn fetch<S: Into<Cow<'static, str>> + Send>(&mut self, sql: S, values: &[Value<'_>]) -> Result<Vec<PgRow>> {
        let statement = values.iter().fold(self.statement(&sql.into()), bind);
        statement.fetch_all(self.db.borrow_mut()).await.map_err(fault)
    }

    async fn execute<S: Into<Cow<'static, str>> + Send>(&mut self, sql: S, values: &[Value<'_>]) -> Result<u64> {
        let statement = values.iter().fold(self.statement(&sql.into()), bind);
        Ok(statement.execute(self.db.borrow_mut()).await.map_err(fault)?.rows_affected())
    }

    async fn insert_waiting(&mut self, pool: Pool, records: &[&Record]) -> Result<()> {
        let (columns, _) = pool.columns();
        let more = if pool == Pool::Limited { ", $15::text[], $16::bytea[]" } else { "" };
        for run in portions(records, self.most_bytes(), |record| record.size()) {
            let table = pool.table();
            let sql = format!("INSERT INTO {table} ({columns}) SELECT * FROM unnest({JOB_ARRAYS}{more})");
            let mut insert = bind_records(self.statement(&sql), run)?;
            if pool == Pool::Limited {
                let limited = || run.iter().filter_map(|record| record.limited.as_ref());
                insert = insert
                    .bind(limited().map(|limited| limited.lane.as_str()).collect::<Vec<_>>())
                    .bind(limited().map(|limited| limited.weights.as_deref()).collect::<Vec<_>>());
            }
            insert.execute(self.db.borrow_mut()).await.map_err(fault)?;
        }
        Ok(())
    }

    async fn store_only(&mut self, batch: BatchId, record: &Record) -> Result<bool> {
        // Whoever notes the same batch at the same time waits here.
        let sql = format!(
            "WITH noted AS (
                INSERT INTO taskwright_batches (id, pushed) VALUES ($15, $16) ON CONFLICT DO NOTHING RETURNING id
            ) INSERT INTO taskwright_jobs ({JOB_COLUMNS})
            SELECT * FROM unnest({JOB_ARRAYS}) WHERE EXISTS (SELECT FROM noted)"
        );
        let insert = bind_records(self.statement(&sql), &[record])?.bind(Id(batch.as_bytes())).bind(record.pushed);
        Ok(insert.execute(self.db.borrow_mut()).await.map_err(fault)?.rows_affected() > 0)
    }

    /// One statement is a transaction. `taskwright_stored` looks at what others have committed until then, and takes the
    /// statement back if the job lies in another place too.
    async fn store_alone(&mut self, batch: BatchId, record: &Record) -> Result<bool> {
        if !self.prepares {
            // Two messages, which a pooler might hand to two servers.
            return Ok(false);
        }
        let insert =
            bind_records(self.statement(&STORE_ALONE), &[record])?.bind(Id(batch.as_bytes())).bind(record.pushed);
        Ok(insert.execute(self.db.borrow_mut()).await.map_err(fault)?.rows_affected() > 0)
    }

    async fn insert_finished(&mut self, records: &[FinishedRecord]) -> Result<()> {
        for run in portions(records, self.most_bytes(), |record| record.job.size()) {
            let columns = format!("{JOB_COLUMNS}, {FINISHED_COLUMNS}");
            let set: Vec<_> =
                columns.split(", ").skip(1).map(|column| format!("{column} = excluded.{column}")).collect();
            let sql = format!(
                "INSERT INTO taskwright_finished ({columns}) \
                 SELECT * FROM unnest({JOB_ARRAYS}, $15::text[], $16::bigint[], $17::bigint[]) \
                 ON CONFLICT (id) DO UPDATE SET {}",
                set.join(", ")
            );
            let jobs: Vec<_> = run.iter().map(|record| &record.job).collect();
            let insert = bind_records(self.statement(&sql), &jobs)?
                .bind(run.iter().map(|record| record.state.as_str()).collect::<Vec<_>>())
                .bind(run.iter().map(|record| record.finished).collect::<Vec<_>>())
                .bind(run.iter().map(|record| record.ends).collect::<Vec<_>>());
            insert.execute(self.db.borrow_mut()).await.map_err(fault)?;
        }
        Ok(())
    }

    async fn take_due(
        &mut self,
        pool: Pool,
        wishes: &[Wish<'_>],
        keys: &[&str],
        limit: usize,
        Terms { unknown, now, aging, floors }: Terms<'_>,
    ) -> Result<Vec<Record>> {
        let (names, limits): (Vec<_>, Vec<_>) = wishes.iter().map(|(name, most)| (*name, clamp(*most))).unzip();
        let (take, known, next) = match aging {
            None => (TAKE_DUE, " AND due.task <> ALL($5)", 5),
            Some(_) => (TAKE_AGED, " AND due.task <> ALL($6)", 6),
        };
        let plainly = if keys.is_empty() { "" } else { PLAINLY };
        let take = from_floors(&pool.say(take), floors, next + usize::from(!unknown.is_empty()));
        let sql = of_known_tasks(&take, unknown, known) + plainly + " RETURNING " + &pool.columns().0;
        let mut take = self.statement(&sql).bind(names).bind(limits).bind(now.as_micros()).bind(clamp(limit));
        if let Some(aging) = aging {
            take = take.bind(worth(aging));
        }
        if !unknown.is_empty() {
            take = take.bind(texts(unknown));
        }
        if !floors.is_empty() {
            take = take.bind(floors.iter().map(|floor| floor.due.as_micros()).collect::<Vec<_>>());
        }
        let rows = take.fetch_all(self.db.borrow_mut()).await.map_err(fault)?;
        rows.iter().map(|row| waiting_record(pool, row)).collect()
    }

    async fn next_due(
        &mut self,
        pool: Pool,
        names: &[&str],
        keys: &[&str],
        Terms { unknown, now, floors, .. }: Terms<'_>,
    ) -> Result<Vec<(usize, Timestamp)>> {
        let more = if keys.is_empty() { "" } else { NEXT_LOOK };
        let next = from_floors(&pool.say(NEXT_DUE), floors, 3 + usize::from(!unknown.is_empty()));
        let sql = of_known_tasks(&next, unknown, " AND job.task <> ALL($3)") + more;
        let mut next = self.statement(&sql).bind(names).bind(now.as_micros());
        if !unknown.is_empty() {
            next = next.bind(texts(unknown));
        }
        if !floors.is_empty() {
            next = next.bind(floors.iter().map(|floor| floor.due.as_micros()).collect::<Vec<_>>());
        }
        let mut dues = Vec::new();
        for row in next.fetch_all(self.db.borrow_mut()).await.map_err(fault)? {
            if let Some(due) = row.maybe_integer(1)? {
                // The server counts from 1.
                let place = usize::try_from(row.integer(0)? - 1).unwrap_or(usize::MAX);
                dues.push((place, Timestamp::from_micros(due)));
            }
        }
        Ok(dues)
    }

    async fn dead_rows(&mut self, _taken: i64) -> Result<i64> {
        const DEAD: &str = "SELECT pg_stat_get_dead_tuples(class.oid) FROM pg_class AS class \
            JOIN pg_namespace AS space ON space.oid = class.relnamespace WHERE space.nspname = ? AND class.relname = 'jobs'";
        let schema = self.schema.name().to_owned();
        self.fetch(DEAD, &[Value::Text(&schema)]).await?.first().map_or(Ok(0), |row| row.integer(0))
    }

    async fn insert_lease(
        &mut self,
        lease: &LeaseRow,
        newest: &JobId,
        packed: &[u8],
        held: &[(&str, i64)],
    ) -> Result<i64> {
        const INSERT: &str = "INSERT INTO taskwright_leases \
            (worker, claimed, lapses, noted, newest, settled, members, jobs) VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING id";
        static WITH_HOLDS: LazyLock<String> = LazyLock::new(|| {
            format!(
                "WITH lease AS ({INSERT}), held AS (
                    INSERT INTO taskwright_holds (lease, limit_key, held)
                    SELECT lease.id, hold.* FROM lease, unnest(?::text[], ?::bigint[]) AS hold
                ) SELECT id FROM lease"
            )
        });
        let mut insert = self
            .statement(if held.is_empty() { INSERT } else { &WITH_HOLDS })
            .bind(Id(lease.worker.as_bytes()))
            .bind(lease.claimed.as_micros())
            .bind(lease.lapses.as_micros())
            .bind(lease.marks())
            .bind(Id(newest.as_bytes()))
            .bind(lease.settled())
            .bind(lease.members())
            .bind(packed);
        if !held.is_empty() {
            let (keys, held): (Vec<_>, Vec<_>) = held.iter().copied().unzip();
            insert = insert.bind(keys).bind(held);
        }
        insert.fetch_one(self.db.borrow_mut()).await.map_err(fault)?.integer(0)
    }

    /// The packed jobs lie out of line, and stay where they are.
    async fn mark_settled(&mut self, leases: &[&LeaseRow]) -> Result<()> {
        const MARK: &str = "UPDATE taskwright_leases SET lapses = marked.lapses, settled = marked.settled \
            FROM unnest($1::bigint[], $2::bigint[], $3::bytea[]) AS marked (id, lapses, settled) \
            WHERE taskwright_leases.id = marked.id";
        let mark = self
            .statement(MARK)
            .bind(leases.iter().map(|lease| lease.token).collect::<Vec<_>>())
            .bind(leases.iter().map(|lease| lease.lapses.as_micros()).collect::<Vec<_>>())
            .bind(leases.iter().map(|lease| lease.settled()).collect::<Vec<_>>());
        mark.execute(self.db.borrow_mut()).await.map_err(fault)?;
        Ok(())
    }

    fn first(table: &str, condition: &str, order: &str) -> String {
        let locked = Self::SKIP_LOCKED;
        format!("id = ANY(ARRAY(SELECT id FROM {table} WHERE {condition} ORDER BY {order} LIMIT ?{locked}))")
    }

    /// Nobody looks: they are notified.
    async fn count_control(&mut self) -> Result<()> {
        Ok(())
    }
}

impl Columns for PgRow {
    fn integer(&self, column: usize) -> Result<i64> {
        self.maybe_integer(column)?.ok_or_else(|| nonsense("NULL", column))
    }

    /// Whole numbers come in the width of their column.
    fn maybe_integer(&self, column: usize) -> Result<Option<i64>> {
        let Some(bytes) = raw(self, column)? else { return Ok(None) };
        let wide = bytes.try_into().map(i64::from_be_bytes);
        let small = || bytes.try_into().map(|bytes| i64::from(i16::from_be_bytes(bytes)));
        let truth = || bytes.try_into().map(|bytes| i64::from(u8::from_be_bytes(bytes)));
        wide.or_else(|_| small()).or_else(|_| truth()).map(Some).map_err(|_| nonsense("no whole number", column))
    }

    fn maybe_real(&self, column: usize) -> Result<Option<f64>> {
        self.try_get(column).map_err(fault)
    }

    fn text(&self, column: usize) -> Result<String> {
        self.maybe_text(column)?.ok_or_else(|| nonsense("NULL", column))
    }

    fn maybe_text(&self, column: usize) -> Result<Option<String>> {
        Ok(raw(self, column)?.map(|bytes| String::from_utf8_lossy(bytes).into_owned()))
    }

    fn bytes(&self, column: usize) -> Result<Option<Bytes>> {
        Ok(raw(self, column)?.map(Bytes::copy_from_slice))
    }
}

/// The bytes of a column; `None` for NULL.
fn raw(row: &PgRow, column: usize) -> Result<Option<&[u8]>> {
    let value: PgValueRef<'_> = row.try_get_raw(column).map_err(fault)?;
    if value.is_null() {
        return Ok(None);
    }
    value.as_bytes().map(Some).map_err(|error| nonsense("nothing readable", column).because(error))
}

fn nonsense(what: &str, column: usize) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!("column {column} of an answer holds {what}, which taskwright does not expect"),
    )
}

/// The 16 bytes of an identity, which Postgres has a type for.
struct Id<'a>(&'a [u8; 16]);

impl Type<Postgres> for Id<'_> {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(2950))
    }
}

impl PgHasArrayType for Id<'_> {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(2951))
    }
}

impl Encode<'_, Postgres> for Id<'_> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend_from_slice(self.0);
        Ok(IsNull::No)
    }
}

fn bind(statement: Query<'static, Postgres, PgArguments>, value: &Value<'_>) -> Query<'static, Postgres, PgArguments> {
    match *value {
        Value::Integer(integer) => statement.bind(integer),
        Value::MaybeInteger(integer) => statement.bind(integer),
        Value::Real(real) => statement.bind(real),
        Value::Text(text) => statement.bind(storable(text)),
        Value::MaybeText(text) => statement.bind(text.map(storable)),
        Value::Bytes(bytes) => statement.bind(bytes),
        Value::MaybeBytes(bytes) => statement.bind(bytes),
        Value::Id(id) => statement.bind(Id(id)),
        Value::Ids(ids) => statement.bind(ids.iter().map(|id| Id(id.as_bytes())).collect::<Vec<_>>()),
        Value::Integers(integers) => statement.bind(integers),
        Value::Texts(texts) => statement.bind(texts),
    }
}

fn texts(names: &[Name]) -> Vec<&str> {
    names.iter().map(Name::as_str).collect()
}

/// A statement of a claim that looks only at what is due later than a floor a queue, in the parameter of that number,
/// where there are floors.
///
/// Priorities are found in the index alone, which rejects what lies below the floor without a look at the table.
fn from_floors(sql: &str, floors: &[Floor], number: usize) -> String {
    let (parameter, column, above) = if floors.is_empty() {
        (String::new(), "", "")
    } else {
        (format!(", ${number}::bigint[]"), ", floor", " AND due > floor")
    };
    sql.replace("{floors}", &parameter).replace("{floor}", column).replace("{above}", above)
}

/// Postgres has no zero byte in text.
fn storable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{fffd}").into() } else { text.into() }
}

fn bind_records(
    statement: Query<'static, Postgres, PgArguments>,
    records: &[&Record],
) -> Result<Query<'static, Postgres, PgArguments>> {
    fn each<'r, T>(records: &[&'r Record], column: impl Fn(&'r Record) -> T) -> Vec<T> {
        records.iter().map(|record| column(record)).collect()
    }
    // A record of a job holds what fits; one that a hand wrote is never written back.
    let small = |number: i64| i16::try_from(number).unwrap_or_default();
    let ids = records.iter().map(|record| record.job_id()).collect::<Result<Vec<_>>>()?;
    let statement = statement
        .bind(ids.iter().map(|id| Id(id.as_bytes())).collect::<Vec<_>>())
        .bind(each(records, |record| record.queue.as_str()))
        .bind(each(records, |record| small(record.priority)))
        .bind(each(records, |record| record.due))
        .bind(each(records, |record| record.expires))
        .bind(each(records, |record| record.task.as_str()))
        .bind(each(records, |record| record.attempt))
        .bind(each(records, |record| record.attempt_limit))
        .bind(each(records, |record| record.crashes))
        .bind(each(records, |record| small(record.retry)))
        .bind(each(records, |record| record.pushed))
        .bind(each(records, |record| small(record.codec)))
        .bind(each(records, |record| &record.payload[..]))
        .bind(each(records, |record| record.extras.as_deref()));
    Ok(statement)
}
