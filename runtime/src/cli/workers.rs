//! `workers`: who is alive.

use serde::Serialize;

use super::desk::{Desk, inspect};
use super::table::{Columns, relative};
use super::trouble::{Exit, Trouble};
use crate::backend::WorkerStats;
use crate::job::Name;
use crate::time::Timestamp;

/// A worker as `--json` shows it.
#[derive(Serialize)]
struct WorkerView<'a> {
    id: String,
    program: &'a str,
    host: &'a str,
    pid: u32,
    queues: &'a [Name],
    concurrency: usize,
    running: usize,
    started: String,
    seen: String,
}

impl<'a> WorkerView<'a> {
    fn new(stats: &'a WorkerStats) -> Self {
        let record = &stats.record;
        Self {
            id: record.id.to_string(),
            program: &record.program,
            host: &record.host,
            pid: record.pid,
            queues: &record.queues,
            concurrency: record.concurrency,
            running: stats.running,
            started: record.started.to_string(),
            seen: stats.seen.to_string(),
        }
    }
}

pub(crate) async fn run(desk: &mut Desk<'_>) -> Result<Exit, Trouble> {
    let client = desk.client().await?;
    let workers = inspect(&client)?.workers().await?;
    if desk.output.json {
        let views: Vec<_> = workers.iter().map(WorkerView::new).collect();
        desk.output.json(&serde_json::json!({ "workers": views }))?;
        return Ok(Exit::Ok);
    }
    if workers.is_empty() {
        desk.output.note("no worker is alive; start one with the command `worker`");
        return Ok(Exit::Ok);
    }
    let now = Timestamp::now();
    let mut columns = Columns::new(["worker", "program", "host", "pid", "queues", "running", "started", "seen"]);
    for (stats, view) in workers.iter().map(|stats| (stats, WorkerView::new(stats))) {
        let queues: Vec<&str> = view.queues.iter().map(Name::as_str).collect();
        columns.row([
            view.id,
            view.program.to_owned(),
            view.host.to_owned(),
            view.pid.to_string(),
            queues.join(","),
            format!("{}/{}", view.running, view.concurrency),
            relative(stats.record.started, now),
            relative(stats.seen, now),
        ]);
    }
    desk.output.line(columns.text())?;
    Ok(Exit::Ok)
}
