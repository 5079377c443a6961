//! A job as plain data: names, ids, states, what was asked for and what happened.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::chance;
use crate::codec::Payload;
use crate::error::{Error, Result};
use crate::policy::Backoff;
use crate::time::{Timestamp, format_duration, parse_duration};

/// The name of a queue or a task: 1 to 128 characters of `[A-Za-z0-9._:-]`.
///
/// Clones share the text.
///
/// ```
/// use taskwright::Name;
///
/// assert_eq!(Name::new("mail.receipts")?.as_str(), "mail.receipts");
/// assert!(Name::new("{curly}").is_err());
/// # Ok::<(), taskwright::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Name(Arc<str>);

impl Name {
    /// The longest name, in characters.
    pub const MAX_LENGTH: usize = 128;

    /// Checks and keeps a name.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) when it is empty, too long, or has other characters.
    pub fn new(text: impl AsRef<str>) -> Result<Self> {
        let text = text.as_ref();
        let fits = (1..=Self::MAX_LENGTH).contains(&text.len());
        if fits && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte)) {
            return Ok(Self(text.into()));
        }
        let shown: String = text.chars().take(40).collect();
        let dots = if shown.len() < text.len() { "…" } else { "" };
        Err(Error::invalid(format!(
            "`{shown}{dots}` is not a name for a queue or task; use 1 to 128 characters of A-Z a-z 0-9 . _ : -"
        )))
    }

    /// The queue of tasks that name none: `default`.
    #[must_use]
    pub fn default_queue() -> Self {
        Self("default".into())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::new(text)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::new(text).map_err(serde::de::Error::custom)
    }
}

/// The identity of a job: a UUIDv7 made by the client, so that pushing it again changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(Uuid);

/// The identity of one worker process from its start to its end, never a host name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WorkerId(Uuid);

/// The identity of one batch of pushed jobs, by which a repeated push is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BatchId(Uuid);

macro_rules! uuid_newtype {
    ($name:ident, $what:literal) => {
        impl $name {
            /// A new one, later in order than those made before it on this machine.
            #[must_use]
            #[expect(clippy::new_without_default, reason = "every call makes another one, which a default should not")]
            pub fn new() -> Self {
                Self(chance::uuid())
            }

            /// The one with these bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            /// Its bytes; they sort as the ids do.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.0.hyphenated().encode_lower(&mut Uuid::encode_buffer()))
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                Uuid::parse_str(text).map(Self).map_err(|error| {
                    Error::invalid(format!(
                        concat!("`{}` is not a ", $what, "; it looks like `0198c5f0-7d1e-7000-8000-000000000000`"),
                        text.escape_debug(),
                    ))
                    .because(error)
                })
            }
        }
    };
}

uuid_newtype!(JobId, "job id");
uuid_newtype!(WorkerId, "worker id");
uuid_newtype!(BatchId, "batch id");

/// Where a job stands.
///
/// [`policy::state`](crate::policy::state) holds the only transitions between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Waits for its due time.
    Scheduled,
    /// Can be claimed now.
    Available,
    /// Leased to a worker.
    Running,
    /// Failed, and waits for its next attempt.
    Retryable,
    /// Waits for something else than time: a limit.
    Blocked,
    /// Done. Terminal.
    Completed,
    /// Out of attempts, given up by its task, or poison: a dead letter. Terminal.
    Discarded,
    /// Called off. Terminal.
    Cancelled,
    /// Not started before its expiry. Terminal.
    Expired,
}

impl State {
    /// Every state, in the order of a job's life.
    pub const ALL: [Self; 9] = [
        Self::Scheduled,
        Self::Available,
        Self::Running,
        Self::Retryable,
        Self::Blocked,
        Self::Completed,
        Self::Discarded,
        Self::Cancelled,
        Self::Expired,
    ];

    /// Whether nothing happens to the job any more, short of a retry by hand.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Discarded | Self::Cancelled | Self::Expired)
    }

    /// The state's name in lower case, as stores and commands write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Available => "available",
            Self::Running => "running",
            Self::Retryable => "retryable",
            Self::Blocked => "blocked",
            Self::Completed => "completed",
            Self::Discarded => "discarded",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for State {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::as_str).join(", ");
            Error::invalid(format!("`{text}` is not a state of a job; the states are {names}"))
        })
    }
}

/// What was asked for when a job was dispatched.
///
/// It never changes afterwards, except that a later push of the same unique key may [replace](OnConflict::Replace) some
/// of it while the job has never been claimed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobSpec {
    /// The job's identity, made by the client.
    pub id: JobId,
    /// The task's wire name.
    pub task: Name,
    /// The queue it waits in.
    pub queue: Name,
    /// The encoded parameters.
    pub payload: Payload,
    /// Higher goes first.
    pub priority: i16,
    /// How often it may be attempted, at least once.
    pub max_attempts: u32,
    /// How long one attempt may take.
    pub timeout: Option<Duration>,
    /// How long to wait before each further attempt.
    pub backoff: Backoff,
    /// How long the outcome of a completed job is kept; `None` forgets it at once.
    ///
    /// A job that ends otherwise is kept until retention removes it.
    pub keep_result: Option<Duration>,
    /// Keeps the job apart from others with the same key.
    pub unique: Option<Unique>,
    /// What it counts against while it runs and when it starts, at most [`JobLimit::MOST`], of different keys.
    #[serde(default)]
    pub limits: Vec<JobLimit>,
    /// What travels beside the payload: trace context, tenant, whatever the application adds.
    pub headers: BTreeMap<String, String>,
    /// Words to find jobs by.
    pub tags: Vec<String>,
    /// The job in which this one was dispatched.
    pub parent: Option<JobId>,
}

/// The rule that keeps equal jobs apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unique {
    /// Jobs with the same key exclude each other, whatever their tasks and queues.
    pub key: String,
    /// How long the job has the key.
    #[serde(default, skip_serializing_if = "is_default")]
    pub until: Until,
    /// What a push does when another job has the key.
    #[serde(default, skip_serializing_if = "is_default")]
    pub conflict: OnConflict,
}

impl Unique {
    /// One unfinished job of this key; another push is skipped.
    #[must_use]
    pub fn new(key: impl Into<String>) -> Self {
        Self { key: key.into(), until: Until::Done, conflict: OnConflict::Skip }
    }
}

/// How long a job has its unique key; [`policy::unique`](crate::policy::unique) says what follows from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Until {
    /// Until the job has ended: at most one is unfinished.
    #[default]
    Done,
    /// Until a worker first claims the job: at most one waits that was never claimed, and another may wait while it
    /// runs.
    Started,
    /// Until this long after the push, whatever becomes of the job.
    Elapsed(Duration),
}

/// What a push does when another job has its unique key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnConflict {
    /// Nothing: whoever pushes gets the job that is there.
    #[default]
    Skip,
    /// It changes the job that is there, if no worker has claimed that yet; else it does nothing.
    Replace(Replace),
    /// Nothing, and whoever pushes gets an error that names the job that is there.
    Refuse,
}

/// What a push changes in the job that has its unique key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replace {
    /// The payload, and what travels with it: headers and tags.
    pub payload: bool,
    /// The due time, and with it the expiry.
    pub due: bool,
    /// The priority.
    pub priority: bool,
    /// However often the due time moves, it is at the latest this long after the first push.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longest: Option<Duration>,
}

impl Replace {
    /// All of it, as often as it is asked for.
    pub const ALL: Self = Self { payload: true, due: true, priority: true, longest: None };
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A limit that a job counts against, in the whole cluster.
///
/// Jobs with the same key count against the same limit, whatever their task or queue.
/// Each is held to what it asks for itself, where jobs of one key ask for different things; a start is remembered for the
/// shortest time that rates of its key ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobLimit {
    /// The name of the limit.
    pub key: String,
    /// What the job asks for; what is set for the key at run time or in configuration outweighs it.
    pub allowance: Allowance,
    /// How many slots the job takes, and as how many starts it counts; at least 1.
    pub weight: u32,
}

impl JobLimit {
    /// The most limits of one job.
    pub const MOST: usize = 4;
    /// The longest key, in bytes.
    pub const LONGEST_KEY: usize = 200;
}

/// Whether every store can use this as the key of a limit.
///
/// # Errors
///
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) when it is empty, too long, or has control characters.
pub fn check_limit_key(key: &str) -> Result<()> {
    if (1..=JobLimit::LONGEST_KEY).contains(&key.len()) && !key.chars().any(char::is_control) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "a limit's key has 1 to {} bytes and no control characters, and this one has {} bytes; make it from ids or a hash",
        JobLimit::LONGEST_KEY,
        key.len()
    )))
}

/// How much a limit allows; what is `None` is not limited.
///
/// Its text is `5` for so many at once, `100/1m` for so many starts in that time, `5+100/1m` for both.
///
/// ```
/// use std::time::Duration;
/// use taskwright::job::{Allowance, Rate};
///
/// let allowance: Allowance = "5+100/1m".parse()?;
/// assert_eq!(allowance.max, Some(5));
/// assert_eq!(allowance.rate, Some(Rate { count: 100, per: Duration::from_secs(60) }));
/// assert_eq!(allowance.to_string(), "5+100/1m");
/// # Ok::<(), taskwright::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Allowance {
    /// How many slots there are: at most so many jobs of weight 1 run at once; 0 lets none start.
    pub max: Option<u32>,
    /// How many may start in a time.
    pub rate: Option<Rate>,
}

/// At most `count` starts in any time of length `per`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rate {
    /// How many.
    pub count: u32,
    /// In which time; above zero.
    pub per: Duration,
}

impl Allowance {
    /// At most so many at once.
    #[must_use]
    pub const fn at_once(max: u32) -> Self {
        Self { max: Some(max), rate: None }
    }

    /// At most so many starts in any time of length `per`.
    #[must_use]
    pub const fn per(count: u32, per: Duration) -> Self {
        Self { max: None, rate: Some(Rate { count, per }) }
    }

    /// This, and where it says nothing, that.
    #[must_use]
    pub fn or(self, weaker: Self) -> Self {
        Self { max: self.max.or(weaker.max), rate: self.rate.or(weaker.rate) }
    }

    /// Whether it limits nothing.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

impl fmt::Display for Allowance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = self.rate.map(|Rate { count, per }| format!("{count}/{}", format_duration(per)));
        match (self.max, rate) {
            (None, None) => f.pad("-"),
            (Some(max), None) => f.pad(&max.to_string()),
            (None, Some(rate)) => f.pad(&rate),
            (Some(max), Some(rate)) => f.pad(&format!("{max}+{rate}")),
        }
    }
}

impl FromStr for Allowance {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refused = || {
            let message = "is not a limit; write `5` for so many at once, `100/1m` for so many starts in a time, or both: `5+100/1m`";
            Error::invalid(format!("`{}` {message}", text.escape_debug()))
        };
        let number = |text: &str| text.parse::<u32>().map_err(|_| refused());
        let mut allowance = Self::default();
        for part in text.split('+') {
            match part.split_once('/') {
                Some((count, per)) if allowance.rate.is_none() => {
                    let per = parse_duration(per).map_err(|error| refused().because(error))?;
                    if per.is_zero() {
                        return Err(refused());
                    }
                    allowance.rate = Some(Rate { count: number(count)?, per });
                }
                None if allowance.max.is_none() => allowance.max = Some(number(part)?),
                _ => return Err(refused()),
            }
        }
        Ok(allowance)
    }
}

/// A moment that is either known, or measured from when the store receives the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum When {
    /// This moment.
    At(Timestamp),
    /// This long after the store's present.
    After(Duration),
}

impl When {
    /// At once.
    pub const NOW: Self = Self::After(Duration::ZERO);

    /// The moment meant, if it is `now` for the store.
    #[must_use]
    pub fn resolve(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::After(delay) => now.after(delay),
        }
    }
}

/// A job on its way to a queue.
#[derive(Clone, Debug, PartialEq)]
pub struct NewJob {
    /// What is asked for.
    pub spec: Arc<JobSpec>,
    /// Not before this moment.
    pub due: When,
    /// Not started after this moment.
    pub expires: Option<When>,
}

/// A job with all that has happened to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// What was asked for.
    pub spec: Arc<JobSpec>,
    /// Where it stands.
    pub state: State,
    /// How often it was started, this time included; what did not count as an attempt is taken off again.
    pub attempt: u32,
    /// The attempt after which a failure is final: `max_attempts`, and more after a retry by hand.
    pub attempt_limit: u32,
    /// How often a worker died while it had this job.
    pub crashes: u32,
    /// When the store received it.
    pub pushed: Timestamp,
    /// Not before this moment.
    pub due: Timestamp,
    /// Not started after this moment.
    pub expires: Option<Timestamp>,
    /// When its present attempt was claimed.
    pub claimed: Option<Timestamp>,
    /// Who has it now, or had it last.
    pub worker: Option<WorkerId>,
    /// When it reached its terminal state.
    pub finished: Option<Timestamp>,
    /// What it returned, if that is kept.
    pub result: Option<Payload>,
    /// How far it says it is.
    pub progress: Option<Progress>,
    /// How its latest attempts ended, oldest first, at most [`Attempt::KEPT`].
    pub history: Vec<Attempt>,
}

impl Job {
    /// The job as the store first holds it, received at `now`.
    #[must_use]
    pub fn received(new: &NewJob, now: Timestamp) -> Self {
        let due = new.due.resolve(now);
        Self {
            state: crate::policy::state::waiting(due, now, false),
            attempt: 0,
            attempt_limit: new.spec.max_attempts,
            crashes: 0,
            pushed: now,
            due,
            expires: new.expires.map(|expires| expires.resolve(now)),
            claimed: None,
            worker: None,
            finished: None,
            result: None,
            progress: None,
            history: Vec::new(),
            spec: Arc::clone(&new.spec),
        }
    }

    /// The job's identity.
    #[must_use]
    pub fn id(&self) -> JobId {
        self.spec.id
    }

    /// How the latest attempt failed, if one has.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        self.history.iter().rev().find_map(|attempt| attempt.failure.as_ref())
    }
}

/// One attempt that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its number, from 1.
    pub number: u32,
    /// Who ran it.
    pub worker: Option<WorkerId>,
    /// When it was claimed.
    pub started: Option<Timestamp>,
    /// When its end was recorded.
    pub ended: Timestamp,
    /// How it ended.
    pub ending: Ending,
    /// What went wrong, if anything did.
    pub failure: Option<Failure>,
}

impl Attempt {
    /// How many attempts a job remembers.
    pub const KEPT: usize = 10;
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ending {
    /// It returned a value.
    Completed,
    /// It failed and another attempt is due.
    Retried,
    /// It failed for good.
    Discarded,
    /// It was called off.
    Cancelled,
    /// Its job's expiry had passed.
    Expired,
    /// It asked to be run later, at no cost.
    Snoozed,
    /// Its worker stopped and gave it back, at no cost.
    Returned,
    /// Its worker did not know the task and gave it back, at no cost.
    Unknown,
    /// Its worker died, or was silent for so long that it counts as dead; or the task took its own process with it.
    Crashed,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Completed => "completed",
            Self::Retried => "retried",
            Self::Discarded => "discarded",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Snoozed => "snoozed",
            Self::Returned => "returned",
            Self::Unknown => "unknown",
            Self::Crashed => "crashed",
        })
    }
}

/// What went wrong in an attempt, bounded in size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Which sort of failure it was.
    pub kind: FailureKind,
    /// The error's message.
    pub message: String,
    /// The messages of its causes, nearest first.
    pub causes: Vec<String>,
}

/// Which sort of failure an attempt met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FailureKind {
    /// The task returned an error.
    Error,
    /// The task panicked.
    Panic,
    /// The attempt took longer than its timeout.
    Timeout,
    /// The payload did not decode as the task's parameters; its bytes are kept.
    Payload,
    /// The result did not encode, or was too large.
    Result,
    /// The worker, or the task's own process, was gone before the attempt ended.
    Crash,
    /// The job was called off.
    Cancelled,
}

impl Failure {
    /// The longest message kept, in bytes; longer ones are cut.
    pub const MAX_MESSAGE: usize = 4_096;
    /// How many causes are kept.
    pub const MAX_CAUSES: usize = 8;

    /// A failure with this message and no causes.
    #[must_use]
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: bounded(message.into()), causes: Vec::new() }
    }

    /// A failure that tells an error and its chain of causes.
    #[must_use]
    pub fn from_error(kind: FailureKind, error: &(dyn std::error::Error + 'static)) -> Self {
        let mut chain = crate::error::error_chain(error).into_iter().map(bounded);
        let message = chain.next().unwrap_or_default();
        Self { kind, message, causes: chain.take(Self::MAX_CAUSES).collect() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.causes.iter().try_for_each(|cause| write!(f, ": {cause}"))
    }
}

fn bounded(mut message: String) -> String {
    if message.len() > Failure::MAX_MESSAGE {
        let end = message.floor_char_boundary(Failure::MAX_MESSAGE);
        message.truncate(end);
        message.push('…');
    }
    message
}

/// How far a running job says it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// From 0 to 1.
    pub fraction: f64,
    /// What it is doing, in its own words.
    pub note: String,
}

/// The right to run one attempt of a job and to say how it ended.
///
/// `token` is the fence: the store gives every claim another one and refuses all writes that carry an old one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The job.
    pub job: JobId,
    /// The attempt that this claim began.
    pub attempt: u32,
    /// Who claimed it.
    pub worker: WorkerId,
    /// The store's own mark of this claim, never given twice; meaningless to anyone else.
    pub token: u64,
}

/// How a job ended, as its handle sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The job.
    pub id: JobId,
    /// Its terminal state.
    pub state: State,
    /// The attempt that ended it.
    pub attempt: u32,
    /// When it ended.
    pub finished: Timestamp,
    /// What it returned, when completed.
    pub result: Option<Payload>,
    /// What went wrong, when not.
    pub failure: Option<Failure>,
}
