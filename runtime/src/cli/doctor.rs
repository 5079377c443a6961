//! `doctor`: is everything in order, and what to do where it is not.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;

use super::desk::Desk;
use super::table::{clean, count, relative};
use super::trouble::{Exit, Trouble};
use crate::backend::{Backend, Inspect, JobFilter, QueueStats, Schema, WorkerStats};
use crate::error::Result;
use crate::job::State;
use crate::settings::SETTINGS;
use crate::time::Timestamp;

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    status: Status,
    /// What was found.
    found: String,
    /// What to do about it.
    help: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    Warn,
    Fail,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, status: Status::Ok, found: found.into(), help: None }
    }

    fn warn(name: &'static str, found: impl Into<String>, help: impl Into<String>) -> Self {
        Self { name, status: Status::Warn, found: found.into(), help: Some(help.into()) }
    }

    fn fail(name: &'static str, found: impl Into<String>, help: impl Into<String>) -> Self {
        Self { name, status: Status::Fail, found: found.into(), help: Some(help.into()) }
    }
}

/// A due job that waits for longer than this wants a look.
const LONG_WAIT: Duration = Duration::from_mins(5);
/// How many jobs are looked at to find dead letters and unknown tasks.
const SAMPLE: usize = 1_000;

pub(crate) async fn run(desk: &mut Desk<'_>) -> Result<Exit, Trouble> {
    let mut checks = vec![settings(desk), tasks(desk)];
    let mut exit = Exit::Failed;
    match desk.client().await {
        Err(trouble) => {
            exit = trouble.exit;
            checks.push(Check::fail("backend", trouble.summary(), "start it, or correct the setting that names it"));
        }
        Ok(client) => {
            let backend = client.backend();
            checks.extend(store(&**backend));
            if let Some(inspect) = backend.inspect() {
                checks.extend(contents(desk, inspect).await.unwrap_or_else(|error| {
                    vec![Check::fail(
                        "contents",
                        format!("{error:?}"),
                        "the backend answers with errors; look at its logs",
                    )]
                }));
            }
        }
    }
    let worst = checks.iter().map(|check| check.status).max().unwrap_or(Status::Ok);
    report(desk, &checks, worst)?;
    Ok(if worst == Status::Fail { exit } else { Exit::Ok })
}

fn report(desk: &mut Desk<'_>, checks: &[Check], worst: Status) -> Result<(), Trouble> {
    if desk.output.json {
        return desk.output.json(&serde_json::json!({ "status": worst, "checks": checks }));
    }
    for check in checks {
        let status = match check.status {
            Status::Ok => "ok  ",
            Status::Warn => "warn",
            Status::Fail => "FAIL",
        };
        desk.output.line(format!("{status}  {:<13}{}", check.name, clean(&check.found)))?;
        if let Some(help) = &check.help {
            desk.output.line(format!("                   {help}"))?;
        }
    }
    Ok(())
}

fn settings(desk: &Desk<'_>) -> Check {
    let given = SETTINGS
        .iter()
        .filter(|setting| desk.settings.origin(setting.key) != crate::settings::Settings::DEFAULT_ORIGIN);
    Check::ok("settings", format!("{} given, all understood", count(given.count(), "setting")))
}

fn tasks(desk: &Desk<'_>) -> Check {
    match desk.app.check() {
        Ok(()) => Check::ok("tasks", format!("{}, all wired", count(desk.registry.iter().count(), "task"))),
        Err(error) => Check::fail("tasks", format!("{error:?}"), "a worker would not start"),
    }
}

/// What the store is, and what it can't do.
fn store(backend: &dyn Backend) -> Vec<Check> {
    let info = backend.info();
    let mut checks = vec![Check::ok("backend", format!("{} at {}", info.name, info.location))];
    checks.push(if info.name == "memory" {
        let help = "only for tests and for one process; give a setting `url` such as sqlite:taskwright.db";
        Check::warn("durability", &info.durability, help)
    } else {
        Check::ok("durability", &info.durability)
    });
    checks.extend(info.schema.map(schema));
    let help = "jobs are at risk until the server is configured otherwise";
    checks.extend(info.warnings.iter().map(|warning| Check::warn("durability", warning, help)));
    let facets = [
        (
            "results",
            backend.results().is_some(),
            "handles can't be awaited until `results_url` names a backend that keeps them",
        ),
        ("wake-up", backend.wake().is_some(), "workers find jobs by polling only"),
        ("leader", backend.leader().is_some(), "nothing elects who reaps and prunes"),
        ("inspection", backend.inspect().is_some(), "the commands queues, jobs and workers have nothing to show"),
        ("transactions", backend.transaction().is_some(), "dispatch_in is refused"),
    ];
    let missing: Vec<_> = facets.iter().filter(|(_, there, _)| !there).collect();
    if missing.is_empty() {
        checks.push(Check::ok("facets", facets.map(|(name, _, _)| name).join(", ")));
    }
    for (name, _, consequence) in missing {
        checks.push(Check::warn("facets", format!("no {name}"), format!("so {consequence}")));
    }
    checks
}

fn schema(Schema { version, known }: Schema) -> Check {
    if version > known {
        let found = format!("version {version}, and this program knows {known}");
        return Check::warn("schema", found, "a newer program has been here; update this one soon");
    }
    Check::ok("schema", format!("version {version}"))
}

async fn contents(desk: &Desk<'_>, inspect: &dyn Inspect) -> Result<Vec<Check>> {
    let (queues, workers) = (inspect.queues().await?, inspect.workers().await?);
    let mut checks = vec![alive(&workers, &queues)];
    checks.extend(queues.iter().map(depth));
    checks.extend(unserved(&queues, &workers));
    checks.push(unknown_tasks(desk, inspect).await?);
    checks.push(dead_letters(inspect).await?);
    Ok(checks)
}

fn alive(workers: &[WorkerStats], queues: &[QueueStats]) -> Check {
    let waiting = queues.iter().any(|queue| queue.counts.contains_key(&State::Available));
    match (workers.len(), waiting) {
        (0, true) => Check::warn("workers", "none is alive, and jobs wait", "start one with the command `worker`"),
        (0, false) => Check::ok("workers", "none is alive, and no job waits"),
        (alive, _) => Check::ok("workers", format!("{} alive", count(alive, "worker"))),
    }
}

fn depth(stats: &QueueStats) -> Check {
    let counts: Vec<String> = stats.counts.iter().map(|(state, jobs)| format!("{jobs} {state}")).collect();
    let now = Timestamp::now();
    let oldest = stats.oldest.map(|oldest| format!(", the oldest due {}", relative(oldest, now))).unwrap_or_default();
    let counts = if counts.is_empty() { "empty".to_owned() } else { counts.join(", ") };
    let found = format!("{}: {counts}{oldest}", stats.queue);
    if stats.paused {
        return Check::warn(
            "queue",
            format!("{found}, paused"),
            format!("resume it with `queues resume {}`", stats.queue),
        );
    }
    if stats.oldest.is_some_and(|oldest| now.since(oldest) > LONG_WAIT) {
        return Check::warn("queue", found, "workers do not keep up; start more, or raise concurrency");
    }
    Check::ok("queue", found)
}

/// Queues with jobs that no living worker serves, while other workers are alive.
fn unserved<'a>(queues: &'a [QueueStats], workers: &'a [WorkerStats]) -> impl Iterator<Item = Check> + 'a {
    let served: BTreeSet<_> = workers.iter().flat_map(|worker| &worker.record.queues).collect();
    let left = queues
        .iter()
        .filter(move |stats| !workers.is_empty() && !stats.counts.is_empty() && !served.contains(&stats.queue));
    left.map(|stats| {
        let help = format!("start a worker with --queues {}", stats.queue);
        Check::warn("queue", format!("no living worker serves {}", stats.queue), help)
    })
}

async fn unknown_tasks(desk: &Desk<'_>, inspect: &dyn Inspect) -> Result<Check> {
    let waiting = vec![State::Available, State::Scheduled, State::Retryable];
    let jobs = inspect.list(&JobFilter { states: waiting, ..JobFilter::default() }, None, SAMPLE).await?;
    let unknown: BTreeSet<_> =
        jobs.iter().map(|job| job.spec.task.as_str()).filter(|task| desk.registry.get(task).is_none()).collect();
    if unknown.is_empty() {
        return Ok(Check::ok("waiting jobs", "this program knows the tasks of all that were looked at"));
    }
    let names = unknown.into_iter().collect::<Vec<_>>().join(", ");
    let help =
        "they wait for a program that knows them; after a rename give the task #[task(aliases = [\"old.name\"])]";
    Ok(Check::warn("waiting jobs", format!("tasks that this program does not know: {names}"), help))
}

async fn dead_letters(inspect: &dyn Inspect) -> Result<Check> {
    let filter = JobFilter { states: vec![State::Discarded], ..JobFilter::default() };
    let jobs = inspect.list(&filter, None, SAMPLE).await?;
    if jobs.is_empty() {
        return Ok(Check::ok("dead letters", "none"));
    }
    let least = if jobs.len() == SAMPLE { "at least " } else { "" };
    let help = "see why with `jobs list --state discarded`, then `jobs retry --state discarded` or `jobs delete ..`";
    Ok(Check::warn("dead letters", format!("{least}{}", count(jobs.len(), "job")), help))
}
