//! `jobs list`.

use super::super::desk::{Desk, inspect};
use super::super::queues::known_queues;
use super::super::table::{Columns, count, relative};
use super::super::trouble::{Exit, Trouble};
use super::view::JobView;
use crate::backend::JobFilter;
use crate::job::{Job, JobId, State};
use crate::settings::did_you_mean;
use crate::time::Timestamp;

pub(super) async fn run(
    desk: &mut Desk<'_>,
    filter: JobFilter,
    limit: usize,
    after: Option<JobId>,
) -> Result<Exit, Trouble> {
    let client = desk.client().await?;
    let mut jobs = inspect(&client)?.list(&filter, after, limit + 1).await?;
    let more = jobs.len() > limit;
    jobs.truncate(limit);
    let next = if more { jobs.last().map(Job::id) } else { None };
    if desk.output.json {
        let arguments = desk.settings.show_arguments;
        let view = |job| if arguments { JobView::new(job).with_arguments(job) } else { JobView::new(job) };
        let views: Vec<_> = jobs.iter().map(view).collect();
        desk.output.json(&serde_json::json!({ "jobs": views, "next": next.map(|next| next.to_string()) }))?;
        return Ok(Exit::Ok);
    }
    if jobs.is_empty() {
        return nothing(desk, &filter).await;
    }
    let text = table(&jobs, desk.settings.show_arguments);
    desk.output.line(text)?;
    if let Some(next) = next {
        desk.output.note(format!("the newest {}; the next page: --after {next}", count(jobs.len(), "job")));
    }
    Ok(Exit::Ok)
}

fn table(jobs: &[Job], arguments: bool) -> String {
    let now = Timestamp::now();
    let last = if arguments { "arguments" } else { "error" };
    let mut columns = Columns::new(["id", "state", "task", "queue", "attempt", "pushed", "when", last]);
    for job in jobs {
        let told = || job.failure().map(|failure| failure.message.clone()).unwrap_or_default();
        columns.row([
            job.id().to_string(),
            job.state.to_string(),
            job.spec.task.to_string(),
            job.spec.queue.to_string(),
            format!("{}/{}", job.attempt, job.attempt_limit),
            relative(job.pushed, now),
            when(job, now),
            if arguments { job.spec.payload.to_json().to_string() } else { told() },
        ]);
    }
    columns.text()
}

/// The moment that matters most in the job's present state.
fn when(job: &Job, now: Timestamp) -> String {
    match job.state {
        State::Running => job.claimed.map(|claimed| format!("started {}", relative(claimed, now))),
        state if state.is_terminal() => job.finished.map(|finished| format!("ended {}", relative(finished, now))),
        _ => Some(format!("due {}", relative(job.due, now))),
    }
    .unwrap_or_default()
}

/// Says that nothing matched, and whether a name in the filter may be a slip.
async fn nothing(desk: &mut Desk<'_>, filter: &JobFilter) -> Result<Exit, Trouble> {
    let mut hint = String::new();
    if let Some(queue) = &filter.queue {
        let known = known_queues(desk).await?;
        if !known.contains(queue.as_str()) {
            let near = did_you_mean(queue.as_str(), known.iter().map(String::as_str));
            hint = format!(", and nothing is known of a queue `{queue}`{near}");
        }
    }
    if let Some(task) = &filter.task
        && desk.registry.get(task.as_str()).is_none()
    {
        let names = desk.registry.iter().map(|task| task.definition.name);
        hint = format!(", and this program has no task `{task}`{}", did_you_mean(task.as_str(), names));
    }
    desk.output.note(format!("no job matches{hint}"));
    Ok(Exit::Ok)
}
