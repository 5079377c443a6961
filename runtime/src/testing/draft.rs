//! Jobs for tests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::codec::{Codec, Payload};
use crate::job::{JobId, JobLimit, JobSpec, Name, NewJob, OnConflict, Unique, Until, When};
use crate::policy::Backoff;
use crate::time::Timestamp;

/// A job on its way to a queue, written in one line: due at once, five attempts, nothing kept, unless it says otherwise.
///
/// ```
/// use std::time::Duration;
/// use taskwright::Name;
/// use taskwright::job::NewJob;
/// use taskwright::testing::Draft;
///
/// let job: NewJob = Draft::new(Name::new("mail")?).priority(5).delay(Duration::from_secs(60)).into();
/// assert_eq!(job.spec.priority, 5);
/// # Ok::<(), taskwright::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Draft {
    /// What is asked for, open to any change that has no method of its own.
    pub spec: JobSpec,
    due: When,
    expires: Option<When>,
}

impl Draft {
    /// A plain job of this queue; its task is named like the queue.
    #[must_use]
    pub fn new(queue: Name) -> Self {
        let spec = JobSpec {
            id: JobId::new(),
            task: queue.clone(),
            queue,
            payload: Payload { codec: Codec::MessagePack, bytes: vec![0xc0].into() },
            priority: 0,
            max_attempts: 5,
            timeout: None,
            backoff: Backoff::DEFAULT,
            keep_result: None,
            unique: None,
            limits: Vec::new(),
            headers: BTreeMap::new(),
            tags: Vec::new(),
            parent: None,
        };
        Self { spec, due: When::NOW, expires: None }
    }

    /// Its identity.
    #[must_use]
    pub fn id(&self) -> JobId {
        self.spec.id
    }

    /// With this identity.
    #[must_use]
    pub fn with_id(mut self, id: JobId) -> Self {
        self.spec.id = id;
        self
    }

    /// Of this queue.
    #[must_use]
    pub fn queue(mut self, queue: &Name) -> Self {
        self.spec.queue = queue.clone();
        self
    }

    /// Of this task.
    #[must_use]
    pub fn task(mut self, task: &Name) -> Self {
        self.spec.task = task.clone();
        self
    }

    /// With these bytes as its payload.
    #[must_use]
    pub fn payload(mut self, bytes: impl Into<bytes::Bytes>) -> Self {
        self.spec.payload.bytes = bytes.into();
        self
    }

    /// Before jobs of lower priority.
    #[must_use]
    pub fn priority(mut self, priority: i16) -> Self {
        self.spec.priority = priority;
        self
    }

    /// With so many attempts.
    #[must_use]
    pub fn attempts(mut self, max_attempts: u32) -> Self {
        self.spec.max_attempts = max_attempts;
        self
    }

    /// Due this long after it is pushed.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.due = When::After(delay);
        self
    }

    /// Due at this moment.
    #[must_use]
    pub fn at(mut self, due: Timestamp) -> Self {
        self.due = When::At(due);
        self
    }

    /// Not started later than this long after it is pushed.
    #[must_use]
    pub fn expires(mut self, after: Duration) -> Self {
        self.expires = Some(When::After(after));
        self
    }

    /// With its outcome kept for this long once it is completed.
    #[must_use]
    pub fn keep(mut self, ttl: Duration) -> Self {
        self.spec.keep_result = Some(ttl);
        self
    }

    /// The only unfinished job with this key.
    #[must_use]
    pub fn unique(mut self, key: impl Into<String>) -> Self {
        self.spec.unique = Some(Unique::new(key));
        self
    }

    /// With its unique key for so long.
    #[must_use]
    pub fn until(mut self, until: Until) -> Self {
        self.spec.unique = self.spec.unique.map(|unique| Unique { until, ..unique });
        self
    }

    /// With this done when another job has its unique key.
    #[must_use]
    pub fn on_conflict(mut self, conflict: OnConflict) -> Self {
        self.spec.unique = self.spec.unique.map(|unique| Unique { conflict, ..unique });
        self
    }

    /// Counting against the limit of this key, with weight 1; `5`, `100/1m`.
    ///
    /// # Panics
    ///
    /// When the allowance is none.
    #[must_use]
    pub fn limit(self, key: impl Into<String>, allowance: &str) -> Self {
        self.weighing(1, key, allowance)
    }

    /// Counting against the limit of this key with a weight.
    ///
    /// # Panics
    ///
    /// When the allowance is none.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a test that asks for such a limit is to fail")]
    pub fn weighing(mut self, weight: u32, key: impl Into<String>, allowance: &str) -> Self {
        let allowance = allowance.parse().expect("an allowance such as `5` or `100/1m`");
        self.spec.limits.push(JobLimit { key: key.into(), allowance, weight });
        self
    }

    /// To be found by this word.
    #[must_use]
    pub fn tag(mut self, tag: &str) -> Self {
        self.spec.tags.push(tag.to_owned());
        self
    }
}

impl From<Draft> for NewJob {
    fn from(draft: Draft) -> Self {
        Self { spec: Arc::new(draft.spec), due: draft.due, expires: draft.expires }
    }
}
