//! Lanes: the jobs of one queue with the same limits, and the line in which lanes wait for their turns.
//!
//! `taskwright_lanes` is written by claims, and by whoever frees a slot; a push only leaves a note among the arrivals,
//! so that a transaction that stays open holds up nobody.
//! A lane that can't run is out of the way: its turn is a minute ahead, or when its rate allows a start again, and the
//! end of a lease that it waits for brings it back.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::news::News;
use super::record::Record;
use super::tables::{Columns, Tables, Value, clamp, lists, rows, runs};
use super::work::raced;
use crate::error::Result;
use crate::job::{JobId, Name};
use crate::policy::limits::{called_back, queue_key};
use crate::time::Timestamp;

/// How many notes a claim reads.
const ARRIVALS_TOGETHER: usize = 1_000;

/// What a claim must know of its queues before it begins.
#[derive(Default)]
pub(super) struct Look {
    /// When the first lane of a queue has its turn.
    pub(super) turns: HashMap<String, Timestamp>,
    /// The keys of queues that have a limit of their own.
    pub(super) limited: HashSet<String>,
    /// The queues that are paused.
    pub(super) paused: HashSet<String>,
    /// Whether there are lanes, and no jobs without limits wait in any of these queues.
    pub(super) only_lanes: bool,
    /// Whether jobs came to lanes of these queues since the last claim.
    pub(super) arrivals: bool,
}

impl Look {
    /// Whether no limit is in the way of anything.
    pub(super) fn is_plain(&self, now: Timestamp) -> bool {
        self.limited.is_empty() && !self.arrivals && self.turns.values().all(|turn| *turn > now)
    }
}

/// Looks at the queues of a claim: a seek a queue in a few indexes.
pub(super) async fn look<Db: Tables>(db: &mut Db, queues: &[&str], keys: &[&str]) -> Result<Look> {
    const LOOK: &str = "SELECT 'lane', queue, min(turn) FROM taskwright_lanes WHERE queue IN (?..) GROUP BY queue \
        UNION ALL SELECT 'limit', id, counts_until FROM taskwright_limits WHERE id IN (?..) AND is_set <> 0 \
        UNION ALL SELECT 'pause', queue, NULL FROM taskwright_pauses WHERE queue IN (?..) \
        UNION ALL SELECT 'only lanes', 'all', NULL FROM (SELECT 1) AS one \
            WHERE EXISTS (SELECT 1 FROM taskwright_lanes WHERE queue IN (?..)) \
            AND NOT EXISTS (SELECT 1 FROM taskwright_jobs WHERE queue IN (?..)) \
        UNION ALL SELECT 'arrival', (SELECT queue FROM taskwright_arrivals WHERE queue IN (?..) LIMIT 1), NULL";
    let mut look = Look::default();
    let queues = Value::Texts(queues);
    let values = [queues, Value::Texts(keys), queues, queues, queues, queues];
    for row in &db.fetch(LOOK, &values).await? {
        let Some(name) = row.maybe_text(1)? else { continue };
        match row.text(0)?.as_str() {
            "lane" => drop(look.turns.insert(name, Timestamp::from_micros(row.integer(2)?))),
            "limit" => drop(look.limited.insert(name)),
            "only lanes" => look.only_lanes = true,
            "pause" => drop(look.paused.insert(name)),
            _ => look.arrivals = true,
        }
    }
    Ok(look)
}

/// Leaves a note of the lanes to which these jobs come.
pub(super) async fn announce<Db: Tables>(db: &mut Db, records: &[&Record], now: Timestamp) -> Result<()> {
    let mut lanes: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    for record in records {
        let Some(limited) = &record.limited else { continue };
        let due = record.due.max(now.as_micros());
        lanes.entry((&record.queue, &limited.lane)).and_modify(|first| *first = due.min(*first)).or_insert(due);
    }
    let notes: Vec<_> = lanes.into_iter().map(|((queue, lane), due)| (JobId::new(), queue, lane, due)).collect();
    for run in runs(&notes) {
        let sql = format!("INSERT INTO taskwright_arrivals (id, queue, lane, due) VALUES {}", rows(run.len(), 4));
        let values = run.iter().flat_map(|(id, queue, lane, due)| {
            [Value::Id(id.as_bytes()), Value::Text(queue), Value::Text(lane), Value::Integer(*due)]
        });
        db.execute(sql, &values.collect::<Vec<_>>()).await?;
    }
    Ok(())
}

/// Puts lanes in line to which jobs came, and takes the notes of them.
pub(super) async fn arrive<Db: Tables>(db: &mut Db, queues: &[&str]) -> Result<()> {
    let locked = Db::SKIP_LOCKED;
    let sql = format!(
        "SELECT id, queue, lane, due FROM taskwright_arrivals WHERE queue IN (?..) ORDER BY id LIMIT ?{locked}"
    );
    let notes = db.fetch(sql, &[Value::Texts(queues), Value::Integer(clamp(ARRIVALS_TOGETHER))]).await?;
    let mut came: BTreeMap<String, (String, i64)> = BTreeMap::new();
    let mut ids = Vec::with_capacity(notes.len());
    for row in &notes {
        ids.push(super::record::job_id(&row.bytes(0)?.unwrap_or_default())?);
        let (queue, lane, due) = (row.text(1)?, row.text(2)?, row.integer(3)?);
        came.entry(lane).and_modify(|(_, first)| *first = due.min(*first)).or_insert((queue, due));
    }
    for ids in lists(&ids) {
        db.execute("DELETE FROM taskwright_arrivals WHERE id IN (?..)", &[Value::Ids(ids)]).await?;
    }
    // Locked, so that a claim that finds one empty at this moment has removed it before we look, or sees the jobs.
    let lanes: Vec<_> = came.keys().map(String::as_str).collect();
    let mut there: HashMap<String, (i64, Option<String>)> = HashMap::new();
    for lanes in lists(&lanes) {
        let locked = Db::LOCKED;
        let sql = format!("SELECT id, turn, waits FROM taskwright_lanes WHERE id IN (?..) ORDER BY id{locked}");
        for row in &db.fetch(sql, &[Value::Texts(lanes)]).await? {
            there.insert(row.text(0)?, (row.integer(1)?, row.maybe_text(2)?));
        }
    }
    let (mut new, mut sooner) = (Vec::new(), Vec::new());
    for (lane, (queue, due)) in &came {
        let place = Standing { lane, queue, turn: Timestamp::from_micros(*due), waits: None };
        match there.get(lane) {
            None => new.push(place),
            Some((turn, None)) if due < turn => sooner.push(place),
            Some(_) => {}
        }
    }
    for run in runs(&new) {
        let sql = Db::insert_new("taskwright_lanes", "id, queue, turn, waits", &rows(run.len(), 4));
        if db.execute(sql, &values(run)).await? != run.len() as u64 {
            return Err(raced("a lane"));
        }
    }
    stand(db, &sooner).await
}

/// Where a lane stands in line.
pub(super) struct Standing<'a> {
    pub(super) lane: &'a str,
    pub(super) queue: &'a str,
    pub(super) turn: Timestamp,
    pub(super) waits: Option<&'a str>,
}

fn values<'a>(run: &'a [Standing<'a>]) -> Vec<Value<'a>> {
    let columns = run.iter().flat_map(|place| {
        let turn = Value::Integer(place.turn.as_micros());
        [Value::Text(place.lane), Value::Text(place.queue), turn, Value::MaybeText(place.waits)]
    });
    columns.collect()
}

/// Puts lanes, which are locked, where they stand from now on.
pub(super) async fn stand<Db: Tables>(db: &mut Db, places: &[Standing<'_>]) -> Result<()> {
    for run in runs(places) {
        let rows = rows(run.len(), 4);
        let sql = Db::upsert("taskwright_lanes", "id, queue, turn, waits", &rows, "id", &["turn", "waits"]);
        db.execute(sql, &values(run)).await?;
    }
    Ok(())
}

/// Puts lanes of a queue, which are locked and were served, behind the others.
pub(super) async fn served<Db: Tables>(db: &mut Db, queue: &str, lanes: &[&str], now: Timestamp) -> Result<()> {
    if !Db::LOCKS_EXACTLY {
        let places = lanes.iter().map(|lane| Standing { lane, queue, turn: now, waits: None });
        return stand(db, &places.collect::<Vec<_>>()).await;
    }
    for lanes in lists(lanes) {
        let sql = "UPDATE taskwright_lanes SET turn = ?, waits = NULL WHERE id IN (?..)";
        db.execute(sql, &[Value::Integer(now.as_micros()), Value::Texts(lanes)]).await?;
    }
    Ok(())
}

/// Takes lanes, which are locked, out of the line.
pub(super) async fn leave<Db: Tables>(db: &mut Db, lanes: &[&str]) -> Result<()> {
    for lanes in lists(lanes) {
        db.execute("DELETE FROM taskwright_lanes WHERE id IN (?..)", &[Value::Texts(lanes)]).await?;
    }
    Ok(())
}

/// The lanes of a queue whose turn it is, each with that, the first before the others, locked unless somebody else has
/// them.
pub(super) async fn in_turn<Db: Tables>(
    db: &mut Db,
    queue: &str,
    now: Timestamp,
    most: usize,
) -> Result<Vec<(String, Timestamp)>> {
    let locked = Db::SKIP_LOCKED;
    let sql = format!(
        "SELECT id, turn FROM taskwright_lanes WHERE queue = ? AND turn <= ? ORDER BY turn, id LIMIT ?{locked}"
    );
    let values = [Value::Text(queue), Value::Integer(now.as_micros()), Value::Integer(clamp(most))];
    let rows = db.fetch(sql, &values).await?;
    rows.iter().map(|row| Ok((row.text(0)?, Timestamp::from_micros(row.integer(1)?)))).collect()
}

/// When the first lane of these queues has its turn, of those that have it after this moment.
pub(super) async fn next_turn<Db: Tables>(
    db: &mut Db,
    queues: &[&str],
    after: Option<Timestamp>,
) -> Result<Option<Timestamp>> {
    const NEXT: &str = "SELECT min(turn) FROM taskwright_lanes WHERE queue IN (?..) AND turn > ?";
    if queues.is_empty() {
        return Ok(None);
    }
    let after = after.map_or(i64::MIN, Timestamp::as_micros);
    let rows = db.fetch(NEXT, &[Value::Texts(queues), Value::Integer(after)]).await?;
    let turn = rows.first().map(|row| row.maybe_integer(0)).transpose()?.flatten();
    Ok(turn.map(Timestamp::from_micros))
}

/// Something has changed about these keys, whose limits are locked: lanes that wait for one are called back.
pub(super) async fn look_again<Db: Tables>(db: &mut Db, keys: &[&str], news: &mut News) -> Result<()> {
    for keys in lists(keys) {
        let locked = Db::LOCKED;
        let sql = format!("SELECT id, queue, turn FROM taskwright_lanes WHERE waits IN (?..) ORDER BY id{locked}");
        let rows = db.fetch(sql, &[Value::Texts(keys)]).await?;
        let mut lanes = Vec::with_capacity(rows.len());
        for row in &rows {
            lanes.push((row.text(0)?, row.text(1)?, called_back(Timestamp::from_micros(row.integer(2)?))));
        }
        lanes.iter().filter_map(|(_, queue, _)| Name::new(queue).ok()).for_each(|queue| news.jobs(&queue));
        let places = lanes.iter().map(|(lane, queue, turn)| Standing { lane, queue, turn: *turn, waits: None });
        stand(db, &places.collect::<Vec<_>>()).await?;
    }
    let queues = keys.iter().filter_map(|key| Name::new(key.strip_prefix("queue:")?).ok());
    queues.filter(|queue| keys.contains(&queue_key(queue).as_str())).for_each(|queue| news.jobs(&queue));
    Ok(())
}
