//! `jobs retry`, `cancel` and `delete`: by ids or by filter, in bounded steps, with counts.

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::super::args::ChangeArguments;
use super::super::desk::{Desk, inspect};
use super::super::table::count;
use super::super::trouble::{Exit, Trouble};
use crate::backend::{Change, Inspect, JobFilter};
use crate::job::{Job, JobId, State};

/// How many jobs one step changes.
const STEP: usize = 500;

/// What was done, as `--json` shows it.
#[derive(Default, Serialize)]
struct Done {
    changed: usize,
    /// Jobs named by id that are in a state which this change does not apply to.
    unchanged: Vec<Unchanged>,
    /// Jobs named by id that do not exist.
    absent: Vec<String>,
}

#[derive(Serialize)]
struct Unchanged {
    id: String,
    state: State,
}

pub(super) async fn run(desk: &mut Desk<'_>, arguments: ChangeArguments, change: &Change) -> Result<Exit, Trouble> {
    let ChangeArguments { ids, filter, all } = arguments;
    if ids.is_empty() && filter.is_empty() && !all {
        return Err(Trouble::usage(format!("{} which jobs?", verb(change)))
            .help("name ids, give a filter such as --queue or --state, or say --all"));
    }
    if !ids.is_empty() && all {
        return Err(Trouble::usage("ids and --all do not go together").help("name ids, or say --all"));
    }
    let by_id = !ids.is_empty();
    let mut filter = JobFilter { ids, ..filter.into() };
    if !by_id && filter.states.is_empty() {
        filter.states = applicable(change);
    }
    let bar = progress_bar(desk.output.terminal && !desk.output.json);
    let done = if by_id {
        let client = desk.client().await?;
        change_named(inspect(&client)?, change, &filter, &bar).await
    } else {
        let client = desk.client().await?;
        change_matching(inspect(&client)?, change, &filter, &bar).await
    };
    bar.finish_and_clear();
    report(desk, change, &done?)
}

/// The states that a change is about when a filter names none.
///
/// A retry without more is about dead letters: who wants finished work done twice says so.
fn applicable(change: &Change) -> Vec<State> {
    let about = |state: &State| match change {
        Change::Retry => *state == State::Discarded,
        other => applies(other, *state),
    };
    State::ALL.into_iter().filter(about).collect()
}

fn applies(change: &Change, state: State) -> bool {
    match change {
        Change::Retry => state.is_terminal(),
        Change::Cancel { .. } => !state.is_terminal(),
        Change::Delete => state != State::Running,
    }
}

/// Changes the jobs that were named, and finds out what became of the others.
async fn change_named(
    inspect: &dyn Inspect,
    change: &Change,
    filter: &JobFilter,
    bar: &ProgressBar,
) -> Result<Done, Trouble> {
    let mut done = Done::default();
    for ids in filter.ids.chunks(STEP) {
        let step = JobFilter { ids: ids.to_vec(), ..filter.clone() };
        let found = inspect.list(&JobFilter { ids: ids.to_vec(), ..JobFilter::default() }, None, ids.len()).await?;
        let absent = ids.iter().filter(|id| !found.iter().any(|job| job.id() == **id));
        done.absent.extend(absent.map(ToString::to_string));
        let left = found.iter().filter(|job| !applies(change, job.state));
        done.unchanged.extend(left.map(|job| Unchanged { id: job.id().to_string(), state: job.state }));
        done.changed += inspect.change(change, &step, ids.len()).await?.count;
        bar.set_position(done.changed as u64);
    }
    Ok(done)
}

/// Changes every job that matches, page by page from the newest to the oldest.
///
/// Each job is looked at once, so this ends also while workers fail retried jobs again and producers push more.
async fn change_matching(
    inspect: &dyn Inspect,
    change: &Change,
    filter: &JobFilter,
    bar: &ProgressBar,
) -> Result<Done, Trouble> {
    let mut done = Done::default();
    let mut after: Option<JobId> = None;
    loop {
        let page = inspect.list(filter, after, STEP).await?;
        let Some(last) = page.last() else { return Ok(done) };
        after = Some(last.id());
        let step = JobFilter { ids: page.iter().map(Job::id).collect(), ..filter.clone() };
        done.changed += inspect.change(change, &step, STEP).await?.count;
        bar.set_position(done.changed as u64);
    }
}

fn progress_bar(shown: bool) -> ProgressBar {
    let bar = if shown { ProgressBar::no_length() } else { ProgressBar::hidden() };
    // A template that does not parse leaves the default, which shows the same.
    if let Ok(style) = ProgressStyle::with_template("{spinner} {human_pos} jobs in {elapsed} ({per_sec})") {
        bar.set_style(style);
    }
    bar
}

fn report(desk: &mut Desk<'_>, change: &Change, done: &Done) -> Result<Exit, Trouble> {
    if desk.output.json {
        desk.output.json(done)?;
    } else {
        desk.output.line(format!("{} {}", count(done.changed, "job"), past(change)))?;
        for unchanged in &done.unchanged {
            desk.output.note(format!("job {} is {}: nothing to {}", unchanged.id, unchanged.state, verb(change)));
        }
        for id in &done.absent {
            desk.output.note(format!("there is no job {id}"));
        }
    }
    let nothing = done.changed == 0 || !done.absent.is_empty();
    Ok(if nothing { Exit::NotFound } else { Exit::Ok })
}

fn verb(change: &Change) -> &'static str {
    match change {
        Change::Retry => "retry",
        Change::Cancel { .. } => "cancel",
        Change::Delete => "delete",
    }
}

fn past(change: &Change) -> &'static str {
    match change {
        Change::Retry => "due again",
        Change::Cancel { .. } => "called off",
        Change::Delete => "deleted",
    }
}
