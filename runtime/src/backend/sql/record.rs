//! A job as columns: what every claim looks at in columns of its own, the rarely used rest in one blob.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::codec::{Codec, Payload};
use crate::error::{Error, ErrorKind, Result};
use crate::job::{
    Attempt, Ending, Failure, FailureKind, Job, JobId, JobLimit, JobSpec, Name, Progress, State, Unique, WorkerId,
};
use crate::policy::{Backoff, limits, state};
use crate::time::Timestamp;

/// A job as a row holds it, not yet believed: a hand or a fault may have been at it.
///
/// Serialized, it is an array in this order, inside leases; new fields go to the end, with `#[serde(default)]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) id: Bytes,
    pub(super) queue: String,
    pub(super) priority: i64,
    pub(super) due: i64,
    pub(super) expires: Option<i64>,
    pub(super) task: String,
    pub(super) attempt: i64,
    pub(super) attempt_limit: i64,
    pub(super) crashes: i64,
    /// 1 when it waits for a further attempt after a failure.
    pub(super) retry: i64,
    pub(super) pushed: i64,
    pub(super) codec: i64,
    pub(super) payload: Bytes,
    /// [`Extras`] as MessagePack; `None` when all of them are as they mostly are.
    pub(super) extras: Option<Bytes>,
    /// Its lane, if it has limits; written where it waits, and made anew from the job elsewhere.
    #[serde(skip)]
    pub(super) limited: Option<InLane>,
}

/// Where a job with limits waits.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct InLane {
    pub(super) lane: String,
    /// The weights of its limits as MessagePack; `None` when all are 1.
    pub(super) weights: Option<Bytes>,
}

/// A finished job as a row holds it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FinishedRecord {
    pub(super) job: Record,
    pub(super) state: String,
    pub(super) finished: i64,
    /// When its result's time to live ends; for a job without a result, when it finished.
    pub(super) ends: i64,
}

/// What few jobs have, by name, so that versions may add to it; that of a job is borrowed from it.
#[derive(Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Extras<'job> {
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<Duration>,
    #[serde(skip_serializing_if = "is_default")]
    backoff: Backoff,
    #[serde(skip_serializing_if = "Option::is_none")]
    keep: Option<Duration>,
    /// The attempts asked for, where a retry by hand has moved the limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_attempts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unique: Option<Cow<'job, Unique>>,
    #[serde(skip_serializing_if = "is_default")]
    limits: Cow<'job, [JobLimit]>,
    #[serde(skip_serializing_if = "is_default")]
    headers: Cow<'job, BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "is_default")]
    tags: Cow<'job, [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<JobId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    claimed: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    worker: Option<WorkerId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Cow<'job, Payload>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<Cow<'job, Progress>>,
    #[serde(skip_serializing_if = "is_default")]
    history: Cow<'job, [Attempt]>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A name that stands where a stored one can't be read.
const UNREADABLE: &str = "unreadable";

impl Record {
    /// The row of a job.
    pub(super) fn new(job: &Job) -> Result<Self> {
        let spec = &job.spec;
        Ok(Self {
            id: Bytes::copy_from_slice(spec.id.as_bytes()),
            queue: spec.queue.as_str().to_owned(),
            priority: spec.priority.into(),
            due: job.due.as_micros(),
            expires: job.expires.map(Timestamp::as_micros),
            task: spec.task.as_str().to_owned(),
            attempt: job.attempt.into(),
            attempt_limit: job.attempt_limit.into(),
            crashes: job.crashes.into(),
            retry: (job.state == State::Retryable).into(),
            pushed: job.pushed.as_micros(),
            codec: spec.payload.codec.tag().into(),
            payload: spec.payload.bytes.clone(),
            extras: Extras::of(job).encode()?,
            limited: InLane::of(spec)?,
        })
    }

    /// The job in this row as it waits at `now`; else what is left of it, as a dead letter to be set aside.
    pub(super) fn read(&self, now: Timestamp) -> Result<Job, Box<Job>> {
        self.job(now).map_err(|error| Box::new(self.wreck(&error, now)))
    }

    fn job(&self, now: Timestamp) -> Result<Job> {
        let extras = Extras::decode(self.extras.as_deref())?;
        let attempt_limit = number("attempt_limit", self.attempt_limit)?;
        let spec = JobSpec {
            id: self.job_id()?,
            task: Name::new(&self.task)?,
            queue: Name::new(&self.queue)?,
            payload: Payload { codec: Codec::from_tag(number("codec", self.codec)?)?, bytes: self.payload.clone() },
            priority: number("priority", self.priority)?,
            max_attempts: extras.max_attempts.unwrap_or(attempt_limit),
            timeout: extras.timeout,
            backoff: extras.backoff,
            keep_result: extras.keep,
            unique: extras.unique.map(Cow::into_owned),
            limits: extras.limits.into_owned(),
            headers: extras.headers.into_owned(),
            tags: extras.tags.into_owned(),
            parent: extras.parent,
        };
        let due = Timestamp::from_micros(self.due);
        Ok(Job {
            spec: Arc::new(spec),
            state: state::waiting(due, now, self.retry != 0),
            attempt: number("attempt", self.attempt)?,
            attempt_limit,
            crashes: number("crashes", self.crashes)?,
            pushed: Timestamp::from_micros(self.pushed),
            due,
            expires: self.expires.map(Timestamp::from_micros),
            claimed: extras.claimed,
            worker: extras.worker,
            finished: None,
            result: extras.result.map(Cow::into_owned),
            progress: extras.progress.map(Cow::into_owned),
            history: extras.history.into_owned(),
        })
    }

    /// Whether nothing but ids and payloads tells the two jobs apart, neither of which has limits.
    #[cfg(any(feature = "mysql", feature = "sqlite"))]
    fn is_like(&self, other: &Self) -> bool {
        // All of them by name, so that no new one is forgotten.
        let Self {
            id,
            queue,
            priority,
            due,
            expires,
            task,
            attempt,
            attempt_limit,
            crashes,
            retry,
            pushed,
            codec,
            payload: _,
            extras,
            limited,
        } = self;
        // Ids that a hand has put there may be of any length.
        (id.len(), other.id.len()) == (16, 16)
            && (priority, due, expires, attempt) == (&other.priority, &other.due, &other.expires, &other.attempt)
            && (attempt_limit, crashes, retry) == (&other.attempt_limit, &other.crashes, &other.retry)
            && (pushed, codec, extras) == (&other.pushed, &other.codec, &other.extras)
            && (queue, task) == (&other.queue, &other.task)
            && limited.is_none()
            && other.limited.is_none()
    }

    /// How many bytes it is made of, more or less.
    pub(super) fn size(&self) -> usize {
        const OTHERS: usize = 256;
        self.payload.len() + self.extras.as_ref().map_or(0, Bytes::len) + OTHERS
    }

    /// The job's id, if it is one.
    pub(super) fn job_id(&self) -> Result<JobId> {
        job_id(&self.id)
    }

    /// A row of which nothing but its id is known, and bytes that may hold the rest.
    pub(super) fn unreadable(id: JobId, bytes: Bytes, now: Timestamp) -> Self {
        Self {
            id: Bytes::copy_from_slice(id.as_bytes()),
            queue: UNREADABLE.to_owned(),
            priority: 0,
            due: now.as_micros(),
            expires: None,
            task: UNREADABLE.to_owned(),
            attempt: 0,
            attempt_limit: 1,
            crashes: 0,
            retry: 0,
            pushed: now.as_micros(),
            codec: Codec::MessagePack.tag().into(),
            payload: bytes,
            extras: None,
            limited: None,
        }
    }

    /// A dead letter made of a row that can't be read: its payload as it is, its other bytes in the failure's causes.
    pub(super) fn wreck(&self, error: &Error, now: Timestamp) -> Job {
        let (queue, task) = (readable(&self.queue), readable(&self.task));
        let id = self.job_id().unwrap_or_else(|_| JobId::new());
        let due = Timestamp::from_micros(self.due);
        let failure = Failure {
            kind: FailureKind::Payload,
            message: "the stored job can't be read; it was set aside with its bytes kept".to_owned(),
            causes: vec![error.to_string(), self.columns()],
        };
        let attempt = u32::try_from(self.attempt).unwrap_or(0);
        Job {
            spec: Arc::new(JobSpec {
                id,
                task,
                queue,
                payload: Payload { codec: Codec::MessagePack, bytes: self.payload.clone() },
                priority: 0,
                max_attempts: 1,
                timeout: None,
                backoff: Backoff::DEFAULT,
                keep_result: None,
                unique: None,
                limits: Vec::new(),
                headers: BTreeMap::new(),
                tags: Vec::new(),
                parent: None,
            }),
            state: State::Discarded,
            attempt,
            attempt_limit: attempt,
            crashes: 0,
            pushed: Timestamp::from_micros(self.pushed),
            due,
            expires: None,
            claimed: None,
            worker: None,
            finished: Some(now),
            result: None,
            progress: None,
            history: vec![Attempt {
                number: attempt,
                worker: None,
                started: None,
                ended: now,
                ending: Ending::Discarded,
                failure: Some(failure),
            }],
        }
    }

    /// Every column but the payload, for whoever mends it by hand.
    fn columns(&self) -> String {
        format!(
            "id x'{}', queue {:?}, priority {}, task {:?}, attempt {} of {}, crashes {}, codec {}, extras x'{}'",
            hex(&self.id),
            self.queue,
            self.priority,
            self.task,
            self.attempt,
            self.attempt_limit,
            self.crashes,
            self.codec,
            hex(self.extras.as_deref().unwrap_or_default()),
        )
    }
}

/// What a job has of its own where jobs differ in nothing else.
pub(super) struct Own<'job> {
    pub(super) id: JobId,
    pub(super) payload: &'job Bytes,
}

impl Own<'_> {
    /// The row of the job that is like the one in another row otherwise.
    pub(super) fn record(&self, like: &Record) -> Record {
        let id = Bytes::copy_from_slice(self.id.as_bytes());
        Record { id, payload: self.payload.clone(), ..like.clone() }
    }

    /// As [`Record::size`], of the job's row.
    #[cfg(any(feature = "mysql", feature = "sqlite"))]
    pub(super) fn size(&self, like: &Record) -> usize {
        like.size().saturating_sub(like.payload.len()).saturating_add(self.payload.len())
    }
}

/// What these jobs have of their own, if nothing but ids and payloads tells them apart and none of them has limits.
#[cfg(any(feature = "mysql", feature = "sqlite"))]
pub(super) fn own_of_alike<'job>(records: &[&'job Record]) -> Option<Vec<Own<'job>>> {
    let are_alike = records.windows(2).all(|pair| pair[0].is_like(pair[1]));
    let own = |record: &&'job Record| Some(Own { id: record.job_id().ok()?, payload: &record.payload });
    if are_alike { records.iter().map(own).collect() } else { None }
}

impl InLane {
    fn of(spec: &JobSpec) -> Result<Option<Self>> {
        let Some(lane) = limits::lane(spec) else { return Ok(None) };
        if lane.len() > Self::LONGEST {
            let message =
                format!("the limits of job {} have keys of {} bytes together; make them shorter", spec.id, lane.len());
            return Err(Error::invalid(message));
        }
        Ok(Some(Self { lane, weights: limits::weights(spec).map(|weights| encode(&weights)).transpose()? }))
    }

    /// The longest lane that every database can index, in bytes.
    const LONGEST: usize = 1_800;
}

impl FinishedRecord {
    /// The row of a job that has ended and stays until `until`, or until retention removes it.
    pub(super) fn new(job: &Job, until: Option<Timestamp>) -> Result<Self> {
        let finished = job.finished.unwrap_or(job.pushed);
        Ok(Self {
            job: Record::new(job)?,
            state: job.state.as_str().to_owned(),
            finished: finished.as_micros(),
            ends: until.unwrap_or(finished).as_micros(),
        })
    }

    /// The job in this row, or what is left of it as a dead letter.
    pub(super) fn read(&self) -> Job {
        let finished = Timestamp::from_micros(self.finished);
        self.job(finished).unwrap_or_else(|error| self.job.wreck(&error, finished))
    }

    fn job(&self, finished: Timestamp) -> Result<Job> {
        let mut job = self.job.job(finished)?;
        job.state = self.state.parse()?;
        job.finished = Some(finished);
        Ok(job)
    }

    /// Whether the job is completed and its result's time to live has ended.
    pub(super) fn is_expired(&self, now: Timestamp) -> bool {
        self.state == State::Completed.as_str() && self.ends <= now.as_micros()
    }
}

impl<'job> Extras<'job> {
    fn of(job: &'job Job) -> Self {
        let spec = &job.spec;
        Self {
            timeout: spec.timeout,
            backoff: spec.backoff,
            keep: spec.keep_result,
            max_attempts: (spec.max_attempts != job.attempt_limit).then_some(spec.max_attempts),
            unique: spec.unique.as_ref().map(Cow::Borrowed),
            limits: Cow::Borrowed(&spec.limits),
            headers: Cow::Borrowed(&spec.headers),
            tags: Cow::Borrowed(&spec.tags),
            parent: spec.parent,
            claimed: job.claimed,
            worker: job.worker,
            result: job.result.as_ref().map(Cow::Borrowed),
            progress: job.progress.as_ref().map(Cow::Borrowed),
            history: Cow::Borrowed(&job.history),
        }
    }

    fn encode(&self) -> Result<Option<Bytes>> {
        if is_default(self) { Ok(None) } else { encode(self).map(Some) }
    }

    /// Reads MessagePack, or JSON where it was the database's own function that pushed the job.
    fn decode(bytes: Option<&[u8]>) -> Result<Self> {
        match bytes {
            None => Ok(Self::default()),
            Some(json @ [b'{', ..]) => serde_json::from_slice(json).map_err(|error| unreadable("extras", json, error)),
            Some(bytes) => decode("extras", bytes),
        }
    }
}

/// A value as MessagePack, by field name.
pub(super) fn encode<T: Serialize>(value: &T) -> Result<Bytes> {
    let encoded = rmp_serde::to_vec_named(value);
    encoded.map(Bytes::from).map_err(|error| Error::new(ErrorKind::Codec, "a job does not encode").because(error))
}

/// What [`encode`] wrote into `column`.
pub(super) fn decode<'a, T: Deserialize<'a>>(column: &str, bytes: &'a [u8]) -> Result<T> {
    rmp_serde::from_slice(bytes).map_err(|error| unreadable(column, bytes, error))
}

fn unreadable(column: &str, bytes: &[u8], error: impl std::error::Error + Send + Sync + 'static) -> Error {
    let message = format!("{} bytes in column {column} are not what taskwright writes there", bytes.len());
    Error::new(ErrorKind::Corrupt, message).because(error)
}

/// The job id in these bytes.
pub(super) fn job_id(bytes: &[u8]) -> Result<JobId> {
    identity("job", bytes).map(JobId::from_bytes)
}

/// The worker id in these bytes.
pub(super) fn worker_id(bytes: &[u8]) -> Result<WorkerId> {
    identity("worker", bytes).map(WorkerId::from_bytes)
}

fn identity(whose: &str, bytes: &[u8]) -> Result<[u8; 16]> {
    bytes.try_into().map_err(|_| {
        Error::new(ErrorKind::Corrupt, format!("a stored {whose} id has {} bytes instead of 16", bytes.len()))
    })
}

fn number<T: TryFrom<i64>>(column: &str, value: i64) -> Result<T> {
    T::try_from(value)
        .map_err(|_| Error::new(ErrorKind::Corrupt, format!("column {column} holds {value}, which is out of range")))
}

/// Bytes as SQL writes them.
pub(super) fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// A stored name, or one that says that it can't be read.
fn readable(name: &str) -> Name {
    #[expect(clippy::expect_used, reason = "the constant is a name, as a test holds")]
    Name::new(name).or_else(|_| Name::new(UNREADABLE)).expect("a name")
}
