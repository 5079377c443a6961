//! `jobs show`: one job with its history and its chain of errors.

use std::time::Duration;

use super::super::desk::{Desk, inspect};
use super::super::table::clean;
use super::super::trouble::{Exit, Trouble};
use super::view::JobView;
use crate::backend::JobFilter;
use crate::codec::Payload;
use crate::job::{Attempt, Job, JobId};
use crate::time::{Timestamp, format_duration};

pub(super) async fn run(desk: &mut Desk<'_>, ids: Vec<JobId>, payload: bool) -> Result<Exit, Trouble> {
    let arguments = payload || desk.settings.show_arguments;
    let filter = JobFilter { ids: ids.clone(), ..JobFilter::default() };
    let client = desk.client().await?;
    let jobs = inspect(&client)?.list(&filter, None, ids.len()).await?;
    let find = |id: &JobId| jobs.iter().find(|job| job.id() == *id);
    let absent: Vec<JobId> = ids.iter().copied().filter(|id| find(id).is_none()).collect();
    let found: Vec<&Job> = ids.iter().filter_map(find).collect();
    if desk.output.json {
        let view = |job| JobView::new(job).with_history(job);
        let views: Vec<_> =
            found.iter().map(|job| if arguments { view(job).with_arguments(job) } else { view(job) }).collect();
        let absent: Vec<_> = absent.iter().map(ToString::to_string).collect();
        desk.output.json(&serde_json::json!({ "jobs": views, "absent": absent }))?;
    } else {
        for (index, job) in found.iter().enumerate() {
            let gap = if index > 0 { "\n" } else { "" };
            desk.output.line(format!("{gap}{}", text(job, arguments)))?;
        }
    }
    if absent.is_empty() {
        return Ok(Exit::Ok);
    }
    if !desk.output.json {
        for id in absent {
            desk.output.note(format!("there is no job {id}, or no more: completed jobs go when their result expires"));
        }
    }
    Ok(Exit::NotFound)
}

fn text(job: &Job, arguments: bool) -> String {
    let spec = &job.spec;
    let moment = |moment: Option<Timestamp>| moment.map(|moment| moment.to_string());
    let progress =
        job.progress.as_ref().map(|progress| format!("{:.0} % {}", progress.fraction * 100.0, progress.note));
    let mut facts = vec![
        ("job", Some(job.id().to_string())),
        ("task", Some(spec.task.to_string())),
        ("queue", Some(spec.queue.to_string())),
        ("state", Some(job.state.to_string())),
        ("attempt", Some(format!("{} of {}", job.attempt, job.attempt_limit))),
        ("crashes", (job.crashes > 0).then(|| job.crashes.to_string())),
        ("priority", Some(spec.priority.to_string())),
        ("pushed", Some(job.pushed.to_string())),
        ("due", Some(job.due.to_string())),
        ("expires", moment(job.expires)),
        ("claimed", moment(job.claimed)),
        ("finished", moment(job.finished)),
        ("worker", job.worker.map(|worker| worker.to_string())),
        ("progress", progress),
        ("timeout", spec.timeout.map(format_duration)),
        ("unique key", spec.unique.as_ref().map(|unique| unique.key.clone())),
        ("tags", (!spec.tags.is_empty()).then(|| spec.tags.join(", "))),
        ("parent", spec.parent.map(|parent| parent.to_string())),
    ];
    if arguments {
        facts.push(("arguments", Some(spec.payload.to_json().to_string())));
        facts.push(("result", job.result.as_ref().map(Payload::to_json).map(|result| result.to_string())));
        facts.extend(spec.headers.iter().map(|(name, value)| ("header", Some(format!("{name}: {value}")))));
    } else {
        facts.push(("arguments", Some(format!("{} bytes; show them with --payload", spec.payload.bytes.len()))));
    }
    let mut lines: Vec<String> =
        facts.into_iter().filter_map(|(fact, value)| Some(format!("{fact:<12}{}", clean(&value?)))).collect();
    lines.extend(job.history.iter().flat_map(attempt_lines));
    lines.join("\n")
}

fn attempt_lines(attempt: &Attempt) -> Vec<String> {
    let Attempt { number, ending, ended, .. } = attempt;
    let took = attempt.started.map(|started| {
        // Microseconds are more than anybody reads.
        let millis = u64::try_from(ended.since(started).as_millis()).unwrap_or(u64::MAX);
        format!(" after {}", format_duration(Duration::from_millis(millis)))
    });
    let worker = attempt.worker.map(|worker| format!(" by worker {worker}"));
    let (took, worker) = (took.unwrap_or_default(), worker.unwrap_or_default());
    let mut lines = vec![format!("attempt {number}: {ending} at {ended}{took}{worker}")];
    if let Some(failure) = &attempt.failure {
        lines.push(format!("  {}", clean(&failure.message)));
        lines.extend(failure.causes.iter().map(|cause| format!("    because: {}", clean(cause))));
    }
    lines
}
