//! `queues`: how deep they are, and pausing them.

use std::collections::BTreeSet;

use serde::Serialize;

use super::args::{QueueAction, QueuesArguments};
use super::desk::{Desk, inspect};
use super::table::{Columns, relative};
use super::trouble::{Exit, Trouble};
use crate::backend::QueueStats;
use crate::job::{Name, State};
use crate::settings::did_you_mean;
use crate::time::Timestamp;

pub(crate) async fn run(desk: &mut Desk<'_>, arguments: QueuesArguments) -> Result<Exit, Trouble> {
    match arguments.action.unwrap_or(QueueAction::List) {
        QueueAction::List => list(desk).await,
        QueueAction::Pause { queue, force } => pause(desk, &queue, true, force).await,
        QueueAction::Resume { queue } => pause(desk, &queue, false, false).await,
    }
}

/// A queue as `--json` shows it: every unfinished state is there, also at zero.
#[derive(Serialize)]
struct QueueView<'a> {
    queue: &'a Name,
    paused: bool,
    scheduled: u64,
    available: u64,
    running: u64,
    retryable: u64,
    blocked: u64,
    /// When its oldest available job became due.
    oldest: Option<String>,
}

impl<'a> QueueView<'a> {
    fn new(stats: &'a QueueStats) -> Self {
        let count = |state| stats.counts.get(&state).copied().unwrap_or(0);
        Self {
            queue: &stats.queue,
            paused: stats.paused,
            scheduled: count(State::Scheduled),
            available: count(State::Available),
            running: count(State::Running),
            retryable: count(State::Retryable),
            blocked: count(State::Blocked),
            oldest: stats.oldest.map(|oldest| oldest.to_string()),
        }
    }
}

async fn list(desk: &mut Desk<'_>) -> Result<Exit, Trouble> {
    let client = desk.client().await?;
    let queues = inspect(&client)?.queues().await?;
    if desk.output.json {
        let views: Vec<_> = queues.iter().map(QueueView::new).collect();
        desk.output.json(&serde_json::json!({ "queues": views }))?;
        return Ok(Exit::Ok);
    }
    if queues.is_empty() {
        desk.output.note("no queue holds an unfinished job or is paused");
        return Ok(Exit::Ok);
    }
    let now = Timestamp::now();
    let mut columns =
        Columns::new(["queue", "available", "scheduled", "retryable", "running", "blocked", "oldest", "paused"]);
    for (stats, view) in queues.iter().map(|stats| (stats, QueueView::new(stats))) {
        columns.row([
            view.queue.to_string(),
            view.available.to_string(),
            view.scheduled.to_string(),
            view.retryable.to_string(),
            view.running.to_string(),
            view.blocked.to_string(),
            stats.oldest.map_or_else(|| "-".to_owned(), |oldest| relative(oldest, now)),
            if view.paused { "paused" } else { "-" }.to_owned(),
        ]);
    }
    desk.output.line(columns.text())?;
    Ok(Exit::Ok)
}

async fn pause(desk: &mut Desk<'_>, queue: &Name, paused: bool, force: bool) -> Result<Exit, Trouble> {
    let known = known_queues(desk).await?;
    if !force && !known.contains(queue.as_str()) {
        return Err(unknown(queue, &known));
    }
    let client = desk.client().await?;
    inspect(&client)?.pause(queue, paused).await?;
    if desk.output.json {
        desk.output.json(&serde_json::json!({ "queue": queue, "paused": paused }))?;
    } else {
        desk.output.line(format!("{queue} is {}", if paused { "paused" } else { "running" }))?;
    }
    Ok(Exit::Ok)
}

fn unknown(queue: &Name, known: &BTreeSet<String>) -> Trouble {
    let near = did_you_mean(queue.as_str(), known.iter().map(String::as_str));
    let listed = known.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    let help =
        format!("the queues that tasks, settings, workers or jobs name are: {listed}; pause another with --force");
    Trouble::not_found(format!("nothing is known of a queue `{queue}`{near}")).help(help)
}

/// Every queue that a task, a setting, a job or a living worker names.
pub(crate) async fn known_queues(desk: &mut Desk<'_>) -> Result<BTreeSet<String>, Trouble> {
    let mut known: BTreeSet<String> =
        desk.registry.iter().filter_map(|task| task.definition.options.queue).map(str::to_owned).collect();
    known.extend(desk.settings.worker.queues.iter().map(|queue| queue.name.to_string()));
    let client = desk.client().await?;
    let inspect = inspect(&client)?;
    known.extend(inspect.queues().await?.into_iter().map(|stats| stats.queue.to_string()));
    let workers = inspect.workers().await?;
    known.extend(workers.iter().flat_map(|worker| &worker.record.queues).map(Name::to_string));
    Ok(known)
}
