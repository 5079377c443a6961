//! A job as `--json` shows it. Field names are stable; times are RFC 3339, durations as settings write them.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::codec::Payload;
use crate::job::{Attempt, Failure, Job, Progress};
use crate::settings::codec_name;
use crate::time::{Timestamp, format_duration};

#[derive(Serialize)]
pub(super) struct JobView<'a> {
    id: String,
    task: &'a str,
    queue: &'a str,
    state: &'static str,
    priority: i16,
    attempt: u32,
    attempt_limit: u32,
    crashes: u32,
    pushed: String,
    due: String,
    expires: Option<String>,
    claimed: Option<String>,
    finished: Option<String>,
    worker: Option<String>,
    timeout: Option<String>,
    keep_result: Option<String>,
    unique_key: Option<&'a str>,
    tags: &'a [String],
    parent: Option<String>,
    progress: Option<&'a Progress>,
    /// How the latest attempt failed, causes included, on one line.
    error: Option<String>,
    /// The size of the arguments, which are not shown unless asked for.
    payload_bytes: usize,
    #[serde(flatten)]
    arguments: Option<Arguments<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    history: Option<Vec<AttemptView<'a>>>,
}

/// What may be private: shown only when asked for.
#[derive(Serialize)]
struct Arguments<'a> {
    codec: &'static str,
    payload: Value,
    result: Option<Value>,
    headers: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
struct AttemptView<'a> {
    number: u32,
    ending: String,
    worker: Option<String>,
    started: Option<String>,
    ended: String,
    failure: Option<&'a Failure>,
}

impl<'a> JobView<'a> {
    pub(super) fn new(job: &'a Job) -> Self {
        let spec = &job.spec;
        let time = |moment: Option<Timestamp>| moment.map(|moment| moment.to_string());
        Self {
            id: spec.id.to_string(),
            task: spec.task.as_str(),
            queue: spec.queue.as_str(),
            state: job.state.as_str(),
            priority: spec.priority,
            attempt: job.attempt,
            attempt_limit: job.attempt_limit,
            crashes: job.crashes,
            pushed: job.pushed.to_string(),
            due: job.due.to_string(),
            expires: time(job.expires),
            claimed: time(job.claimed),
            finished: time(job.finished),
            worker: job.worker.map(|worker| worker.to_string()),
            timeout: spec.timeout.map(format_duration),
            keep_result: spec.keep_result.map(format_duration),
            unique_key: spec.unique.as_ref().map(|unique| unique.key.as_str()),
            tags: &spec.tags,
            parent: spec.parent.map(|parent| parent.to_string()),
            progress: job.progress.as_ref(),
            error: job.failure().map(ToString::to_string),
            payload_bytes: spec.payload.bytes.len(),
            arguments: None,
            history: None,
        }
    }

    pub(super) fn with_arguments(mut self, job: &'a Job) -> Self {
        self.arguments = Some(Arguments {
            codec: codec_name(job.spec.payload.codec),
            payload: job.spec.payload.to_json(),
            result: job.result.as_ref().map(Payload::to_json),
            headers: &job.spec.headers,
        });
        self
    }

    pub(super) fn with_history(mut self, job: &'a Job) -> Self {
        self.history = Some(job.history.iter().map(AttemptView::new).collect());
        self
    }
}

impl<'a> AttemptView<'a> {
    fn new(attempt: &'a Attempt) -> Self {
        Self {
            number: attempt.number,
            ending: attempt.ending.to_string(),
            worker: attempt.worker.map(|worker| worker.to_string()),
            started: attempt.started.map(|started| started.to_string()),
            ended: attempt.ended.to_string(),
            failure: attempt.failure.as_ref(),
        }
    }
}
