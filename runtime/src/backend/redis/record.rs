//! A job as bytes: what scripts look at stands at fixed places, the rest is MessagePack that only this program reads.
//!
//! A script writes the head (its format, a stamp, when it was written, due, expires), the program the tail (the state's
//! letter, the priority, the queue, the place of a job with limits, the body); `lua/base.lua` and `lua/common.lua` say
//! where each of them is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::limits::place_of;
use super::present::resolve;
use crate::codec::{Codec, Payload};
use crate::error::{Error, ErrorKind, Result};
use crate::job::{
    Attempt, Ending, Failure, FailureKind, Job, JobId, JobLimit, JobSpec, Name, Progress, State, Unique, WorkerId,
};
use crate::policy::{Backoff, state};
use crate::time::Timestamp;

/// The head's length.
const HEAD: usize = 33;
/// The format's number and the stamp.
const VERSION: usize = 9;
/// The only format so far.
const FORMAT: u8 = 1;
/// Stands before a place, as before up to 4 GiB of bytes in MessagePack; a body never begins so.
const PLACE: u8 = 0xc6;

/// What the tail holds besides the queue; an array in this order. New fields go to the end, with `#[serde(default)]`.
#[derive(Serialize, Deserialize)]
struct Body {
    task: Name,
    attempt: u32,
    attempt_limit: u32,
    crashes: u32,
    pushed: Timestamp,
    codec: u8,
    payload: Bytes,
    /// [`Extras`] by name; `None` when all of them are as they mostly are.
    extras: Option<Bytes>,
}

/// What few jobs have, by name, so that versions may add to it.
#[derive(Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Extras {
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
    unique: Option<Unique>,
    #[serde(skip_serializing_if = "is_default")]
    limits: Vec<JobLimit>,
    #[serde(skip_serializing_if = "is_default")]
    headers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "is_default")]
    tags: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<JobId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    claimed: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    worker: Option<WorkerId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished: Option<Timestamp>,
    /// When the result's time to live ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Payload>,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<Progress>,
    #[serde(skip_serializing_if = "is_default")]
    history: Vec<Attempt>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A job as it was stored.
pub(super) struct Stored {
    /// As it waits now, or as it ended; that it is leased is not written here.
    pub(super) job: Job,
    /// When its result's time to live ends, if it has one.
    pub(super) until: Option<Timestamp>,
}

/// The part of a record that this program writes. `until` is when the result's time to live ends.
pub(super) fn tail(job: &Job, until: Option<Timestamp>) -> Result<Vec<u8>> {
    let spec = &job.spec;
    let body = Body {
        task: spec.task.clone(),
        attempt: job.attempt,
        attempt_limit: job.attempt_limit,
        crashes: job.crashes,
        pushed: job.pushed,
        codec: spec.payload.codec.tag(),
        payload: spec.payload.bytes.clone(),
        extras: Extras::of(job, until).encode()?,
    };
    let queue = spec.queue.as_str().as_bytes();
    let mut tail = Vec::with_capacity(96 + queue.len() + spec.payload.bytes.len());
    tail.push(letter(job.state));
    tail.extend(turned(spec.priority).to_be_bytes());
    tail.push(u8::try_from(queue.len()).map_err(|error| unwritable().because(error))?);
    tail.extend(queue);
    if !job.state.is_terminal() {
        let place = place_of(spec)?;
        if !place.is_empty() {
            tail.push(PLACE);
            tail.extend(u32::try_from(place.len()).map_err(|error| unwritable().because(error))?.to_be_bytes());
            tail.extend(place);
        }
    }
    rmp_serde::encode::write(&mut tail, &body).map_err(|error| unwritable().because(error))?;
    Ok(tail)
}

/// Splits a tail behind its queue and place.
pub(super) fn split(mut tail: Vec<u8>) -> Result<(Vec<u8>, Vec<u8>)> {
    let (.., body) = parts(&tail).ok_or_else(unwritable)?;
    let rest = tail.split_off(tail.len() - body.len());
    Ok((tail, rest))
}

fn unwritable() -> Error {
    Error::new(ErrorKind::Codec, "a job does not encode")
}

/// The priority so that a higher one sorts first.
fn turned(priority: i16) -> u16 {
    // Its distance from the highest, which is at most what 16 bits hold.
    i16::MAX.abs_diff(priority)
}

fn letter(state: State) -> u8 {
    match state {
        State::Retryable => b'r',
        State::Completed => b'c',
        State::Discarded => b'd',
        State::Cancelled => b'x',
        State::Expired => b'e',
        State::Scheduled | State::Available | State::Running | State::Blocked => b'w',
    }
}

/// The letters of records that may have one of these states, as `page.lua` takes them; `l` stands for leased ones.
pub(super) fn letters(states: &[State]) -> String {
    let mut letters: Vec<_> = states
        .iter()
        .flat_map(|state| {
            match state {
                State::Available | State::Scheduled | State::Retryable => "wr",
                State::Running => "l",
                State::Blocked => "",
                State::Completed => "c",
                State::Discarded => "d",
                State::Cancelled => "x",
                State::Expired => "e",
            }
            .chars()
        })
        .collect();
    letters.sort_unstable();
    letters.dedup();
    letters.into_iter().collect()
}

/// What tells one version of a record from the next.
pub(super) fn version(record: &[u8]) -> &[u8] {
    record.get(..VERSION).unwrap_or(record)
}

/// The job in a record as it is at `now`; else what is left of it, as a dead letter to be set aside.
pub(super) fn read(id: JobId, record: &[u8], now: Timestamp) -> Result<Stored, Box<Job>> {
    stored(id, record, now).map_err(|error| Box::new(wreck(id, record, &error)))
}

/// [`read`] for looking only.
pub(super) fn show(id: JobId, record: &[u8], now: Timestamp) -> Stored {
    read(id, record, now).unwrap_or_else(|mut wreck| {
        wreck.finished = Some(now);
        for attempt in &mut wreck.history {
            attempt.ended = now;
        }
        Stored { job: *wreck, until: None }
    })
}

fn stored(id: JobId, record: &[u8], now: Timestamp) -> Result<Stored> {
    let (head, tail) = record.split_at_checked(HEAD).ok_or_else(|| corrupt("it is too short"))?;
    if head.first() != Some(&FORMAT) {
        return Err(corrupt("it has another format; is it of a newer version?"));
    }
    let [written, due, expires] = [VERSION, VERSION + 8, VERSION + 16].map(|at| moment_at(head, at));
    let (letter, queue, body) = parts(tail).ok_or_else(|| corrupt("its queue is cut off"))?;
    let body: Body = decode(body)?;
    let extras = match &body.extras {
        Some(extras) => decode(extras)?,
        None => Extras::default(),
    };
    let spec = JobSpec {
        id,
        task: body.task,
        queue: Name::new(queue)?,
        payload: Payload { codec: Codec::from_tag(body.codec)?, bytes: body.payload },
        priority: priority(tail),
        max_attempts: extras.max_attempts.unwrap_or(body.attempt_limit),
        timeout: extras.timeout,
        backoff: extras.backoff,
        keep_result: extras.keep,
        unique: extras.unique,
        limits: extras.limits,
        headers: extras.headers,
        tags: extras.tags,
        parent: extras.parent,
    };
    let at = |moment| resolve(moment, written);
    let mut history = extras.history;
    for attempt in &mut history {
        attempt.ended = at(attempt.ended);
    }
    let job = Job {
        spec: Arc::new(spec),
        state: state_of(letter, due, now)?,
        attempt: body.attempt,
        attempt_limit: body.attempt_limit,
        crashes: body.crashes,
        pushed: at(body.pushed),
        due,
        expires: (expires.as_micros() != 0).then_some(expires),
        claimed: extras.claimed,
        worker: extras.worker,
        finished: extras.finished.map(at),
        result: extras.result,
        progress: extras.progress,
        history,
    };
    Ok(Stored { job, until: extras.until.map(at) })
}

fn state_of(letter: u8, due: Timestamp, now: Timestamp) -> Result<State> {
    Ok(match letter {
        b'w' => state::waiting(due, now, false),
        b'r' => state::waiting(due, now, true),
        b'c' => State::Completed,
        b'd' => State::Discarded,
        b'x' => State::Cancelled,
        b'e' => State::Expired,
        _ => return Err(corrupt("its state is not known")),
    })
}

/// A tail's letter, queue, and body.
fn parts(tail: &[u8]) -> Option<(u8, &str, &[u8])> {
    let (fixed, rest) = tail.split_at_checked(4)?;
    let (queue, rest) = rest.split_at_checked(usize::from(*fixed.get(3)?))?;
    let body = match rest.split_first() {
        Some((&PLACE, place)) => {
            let (length, place) = place.split_first_chunk()?;
            place.get(usize::try_from(u32::from_be_bytes(*length)).ok()?..)?
        }
        _ => rest,
    };
    Some((*fixed.first()?, std::str::from_utf8(queue).ok()?, body))
}

fn priority(tail: &[u8]) -> i16 {
    let turned = tail.get(1..3).and_then(|bytes| bytes.try_into().ok()).map_or(0, u16::from_be_bytes);
    i16::try_from(i32::from(i16::MAX) - i32::from(turned)).unwrap_or(0)
}

fn moment_at(head: &[u8], at: usize) -> Timestamp {
    let bytes = head.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
    Timestamp::from_micros(bytes.map_or(0, i64::from_be_bytes))
}

fn corrupt(what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("a job's record is not what taskwright writes: {what}"))
}

/// A dead letter made of a record that can't be read: its bytes are the payload, and nothing of them is lost.
fn wreck(id: JobId, record: &[u8], error: &Error) -> Job {
    let found = record.get(HEAD..).and_then(parts).and_then(|(_, queue, _)| Name::new(queue).ok());
    let failure = Failure {
        kind: FailureKind::Payload,
        message: "the stored job can't be read; it was set aside with its bytes kept".to_owned(),
        causes: crate::error::error_chain(error),
    };
    let attempt = Attempt {
        number: 0,
        worker: None,
        started: None,
        ended: super::present::PRESENT,
        ending: Ending::Discarded,
        failure: Some(failure),
    };
    Job {
        spec: Arc::new(JobSpec {
            id,
            task: unreadable(),
            queue: found.unwrap_or_else(unreadable),
            payload: Payload { codec: Codec::MessagePack, bytes: Bytes::copy_from_slice(record) },
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
        attempt: 0,
        attempt_limit: 1,
        crashes: 0,
        pushed: Timestamp::from_micros(0),
        due: Timestamp::from_micros(0),
        expires: None,
        claimed: None,
        worker: None,
        finished: Some(super::present::PRESENT),
        result: None,
        progress: None,
        history: vec![attempt],
    }
}

/// A name that stands where a stored one can't be read.
#[expect(clippy::expect_used, reason = "the constant is a name, as a test holds")]
fn unreadable() -> Name {
    Name::new("unreadable").expect("a name")
}

impl Extras {
    fn of(job: &Job, until: Option<Timestamp>) -> Self {
        let spec = &job.spec;
        Self {
            timeout: spec.timeout,
            backoff: spec.backoff,
            keep: spec.keep_result,
            max_attempts: (spec.max_attempts != job.attempt_limit).then_some(spec.max_attempts),
            unique: spec.unique.clone(),
            limits: spec.limits.clone(),
            headers: spec.headers.clone(),
            tags: spec.tags.clone(),
            parent: spec.parent,
            claimed: job.claimed,
            worker: job.worker,
            finished: job.finished,
            until,
            result: job.result.clone(),
            progress: job.progress.clone(),
            history: job.history.clone(),
        }
    }

    fn encode(&self) -> Result<Option<Bytes>> {
        if is_default(self) { Ok(None) } else { encode(self).map(|bytes| Some(bytes.into())) }
    }
}

/// A value as MessagePack, by field name.
pub(super) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    rmp_serde::to_vec_named(value).map_err(|error| unwritable().because(error))
}

/// What was written by [`encode`], or as an array.
pub(super) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T> {
    rmp_serde::from_slice(bytes).map_err(|error| corrupt("its MessagePack does not decode").because(error))
}

/// The right to one attempt, as the server keeps it.
#[derive(Clone, Copy)]
pub(super) struct Held {
    pub(super) token: u64,
    worker: WorkerId,
    claimed: Timestamp,
}

impl Held {
    /// Reads a lease: token, worker, when it was claimed.
    pub(super) fn read(lease: &[u8]) -> Self {
        let word = |at: usize| lease.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default();
        let worker = lease.get(8..24).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default();
        Self {
            token: u64::from_be_bytes(word(0)),
            worker: WorkerId::from_bytes(worker),
            claimed: Timestamp::from_micros(i64::from_be_bytes(word(24))),
        }
    }

    pub(super) fn worker(&self) -> WorkerId {
        self.worker
    }

    /// Makes of a stored job what this claim made of it.
    pub(super) fn claim(&self, job: &mut Job) {
        state::claim(job, self.worker, self.claimed);
    }
}
