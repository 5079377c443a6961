//! How a worker behaves, as data.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::backend::Retention;
use crate::error::{Error, Result};
use crate::job::{Allowance, Name, check_limit_key};
use crate::policy::order;

/// How a worker behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerOptions {
    /// Which queues it serves; the first is served first.
    pub queues: Vec<QueueOptions>,
    /// How long a job of a queue waits for each level of priority that it lacks, from a second to a day; `None` for
    /// strict priorities, where jobs of a high one that keep coming starve all others.
    ///
    /// With five minutes, a job of priority 0 that has waited for fifty goes with one of priority 10 that just became due.
    pub priority_aging: Option<Duration>,
    /// What limits in the whole cluster allow; the backend is told when the worker starts.
    pub limits: Vec<ConfiguredLimit>,
    /// How many jobs run at once, from 1 to [`WorkerOptions::MAX_CONCURRENCY`].
    pub concurrency: usize,
    /// How many plain functions run at once, each on a thread; at least 1.
    pub blocking_threads: usize,
    /// How many isolated tasks run at once, each in a child process; at least 1.
    pub processes: usize,
    /// How many bytes a child process may use for its data, where the system can hold it to that (Linux); a task that
    /// asks for more ends with its process. `None` for as many as there are.
    pub process_memory: Option<u64>,
    /// After how many jobs a child process is replaced by a fresh one; at least 1.
    pub process_jobs: u32,
    /// How many jobs are fetched ahead at the most, while tasks are short; 0 never fetches ahead.
    pub prefetch: usize,
    /// How long a job stays this worker's without a sign of life; at least a second.
    /// Signs of life are sent three times as often.
    pub lease: Duration,
    /// How long an idle worker waits before it looks again, should every wake-up have been lost; at least 10 ms.
    pub poll: Duration,
    /// How long running jobs may go on after the worker was told to stop.
    pub grace: Duration,
    /// How long a cancelled job may take to notice, before it is dropped.
    pub margin: Duration,
    /// A job that crashed its worker so often is discarded; at least 1.
    pub max_crashes: u32,
    /// How long terminal jobs stay.
    pub retention: Retention,
    /// Whether the worker stops by itself once nothing is available and nothing runs.
    pub drain: bool,
}

impl WorkerOptions {
    /// The most jobs that one worker runs at once.
    pub const MAX_CONCURRENCY: usize = 100_000;

    /// The shortest lease that a worker may ask for.
    pub const SHORTEST_LEASE: Duration = Duration::from_secs(1);

    /// Whether every value lies in its range.
    pub(crate) fn check(&self) -> Result<()> {
        let checks = [
            (!self.queues.is_empty(), "a worker needs a queue; name at least one".to_owned()),
            (
                (1..=Self::MAX_CONCURRENCY).contains(&self.concurrency),
                format!("concurrency is {}; choose from 1 to {}", self.concurrency, Self::MAX_CONCURRENCY),
            ),
            (self.blocking_threads >= 1, "blocking_threads is 0; choose at least 1".to_owned()),
            (self.processes >= 1, "processes is 0; choose at least 1".to_owned()),
            (self.process_jobs >= 1, "process_jobs is 0; choose at least 1".to_owned()),
            (self.lease >= Self::SHORTEST_LEASE, format!("lease is {:?}; choose at least 1s", self.lease)),
            (self.poll >= Duration::from_millis(10), format!("poll is {:?}; choose at least 10ms", self.poll)),
            (self.max_crashes >= 1, "max_crashes is 0; choose at least 1".to_owned()),
            (
                self.priority_aging
                    .is_none_or(|aging| (Duration::from_secs(1)..=order::LONGEST_AGING).contains(&aging)),
                format!("priority_aging is {:?}; choose from 1s to 1d", self.priority_aging.unwrap_or_default()),
            ),
        ];
        if let Some((_, message)) = checks.into_iter().find(|(holds, _)| !holds) {
            return Err(Error::invalid(message));
        }
        self.check_queues()
    }

    fn check_queues(&self) -> Result<()> {
        for (index, queue) in self.queues.iter().enumerate() {
            if queue.limit == Some(0) {
                return Err(Error::invalid(format!("queue {} has limit 0; leave the queue out instead", queue.name)));
            }
            if self.queues[..index].iter().any(|earlier| earlier.name == queue.name) {
                return Err(Error::invalid(format!("queue {} is named twice; name it once", queue.name)));
            }
        }
        Ok(())
    }
}

impl Default for WorkerOptions {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            queues: vec![QueueOptions::all_slots(Name::default_queue())],
            priority_aging: None,
            limits: Vec::new(),
            concurrency: cores * 8,
            blocking_threads: cores * 4,
            processes: cores,
            process_memory: None,
            process_jobs: 1_000,
            prefetch: 1_000,
            lease: Duration::from_secs(30),
            poll: Duration::from_secs(5),
            grace: Duration::from_secs(30),
            margin: Duration::from_secs(5),
            max_crashes: 3,
            retention: Retention::default(),
            drain: false,
        }
    }
}

/// A queue that a worker serves.
///
/// ```
/// use taskwright::worker::QueueOptions;
///
/// let queue: QueueOptions = "mail=4".parse()?;
/// assert_eq!((queue.name.as_str(), queue.limit), ("mail", Some(4)));
/// assert_eq!("mail".parse::<QueueOptions>()?.limit, None);
/// # Ok::<(), taskwright::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueOptions {
    /// Its name.
    pub name: Name,
    /// How many of its jobs this worker holds at once; `None` for as many as it has slots.
    pub limit: Option<usize>,
}

impl QueueOptions {
    /// The queue may use every slot of the worker.
    #[must_use]
    pub fn all_slots(name: Name) -> Self {
        Self { name, limit: None }
    }
}

impl fmt::Display for QueueOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.limit {
            None => self.name.fmt(f),
            Some(limit) => write!(f, "{}={limit}", self.name),
        }
    }
}

impl FromStr for QueueOptions {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let Some((name, limit)) = text.trim().split_once('=') else {
            return Ok(Self::all_slots(Name::new(text.trim())?));
        };
        match limit.trim().parse() {
            Ok(limit) if limit > 0 => Ok(Self { name: Name::new(name.trim())?, limit: Some(limit) }),
            _ => Err(Error::invalid(format!(
                "`{text}` does not name a queue; write `mail`, or `mail=4` for at most 4 of its jobs at once"
            ))),
        }
    }
}

/// What configuration says of a limit: stronger than what tasks ask for, weaker than what is set at run time.
///
/// ```
/// use taskwright::worker::ConfiguredLimit;
///
/// let limit: ConfiguredLimit = "queue:mail=10".parse()?;
/// assert_eq!((limit.key.as_str(), limit.allowance.max), ("queue:mail", Some(10)));
/// assert!("api=none".parse::<ConfiguredLimit>()?.allowance.is_empty());
/// # Ok::<(), taskwright::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfiguredLimit {
    /// Its key; `queue:mail` for all jobs of the queue `mail`.
    pub key: String,
    /// What it allows; an empty one leaves it to the tasks again.
    pub allowance: Allowance,
}

impl fmt::Display for ConfiguredLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.allowance.is_empty() {
            return write!(f, "{}=none", self.key);
        }
        write!(f, "{}={}", self.key, self.allowance)
    }
}

impl FromStr for ConfiguredLimit {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let Some((key, allowance)) = text.trim().rsplit_once('=') else {
            return Err(Error::invalid(format!(
                "`{text}` does not say what a limit allows; write `queue:mail=10` or `api=100/1m`"
            )));
        };
        let (key, allowance) = (key.trim().to_owned(), allowance.trim());
        check_limit_key(&key)?;
        let allowance = if allowance == "none" { Allowance::default() } else { allowance.parse()? };
        Ok(Self { key, allowance })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut WorkerOptions)) -> String {
        let mut options = WorkerOptions::default();
        change(&mut options);
        options.check().unwrap_err().to_string()
    }

    #[test]
    fn the_defaults_are_in_range() {
        WorkerOptions::default().check().unwrap();
    }

    #[test]
    fn values_out_of_range_are_refused_by_name() {
        assert!(refused(|options| options.concurrency = 0).contains("concurrency"));
        assert!(refused(|options| options.lease = Duration::ZERO).contains("lease"));
        assert!(refused(|options| options.queues.clear()).contains("queue"));
        assert!(refused(|options| options.queues.push(options.queues[0].clone())).contains("twice"));
        assert!(refused(|options| options.max_crashes = 0).contains("max_crashes"));
        assert!(refused(|options| options.processes = 0).contains("processes"));
        assert!(refused(|options| options.process_jobs = 0).contains("process_jobs"));
        for aging in [Duration::ZERO, Duration::from_hours(25)] {
            assert!(refused(|options| options.priority_aging = Some(aging)).contains("priority_aging"));
        }
    }

    #[test]
    fn a_limit_that_says_nothing_sensible_is_refused() {
        for text in ["mail", "=5", "mail=", "mail=many", "mail=5/0s", "mail=-1", "mail=1+2"] {
            assert!(text.parse::<ConfiguredLimit>().is_err(), "{text}");
        }
        let text = "a=b=5+100/1h";
        assert_eq!(text.parse::<ConfiguredLimit>().unwrap().to_string(), text);
    }

    #[test]
    fn a_queue_without_a_sensible_limit_is_refused() {
        for text in ["mail=", "mail=0", "mail=-1", "mail=many", "a b", ""] {
            assert!(text.parse::<QueueOptions>().is_err(), "{text}");
        }
    }
}
