//! Which of the jobs that wait in one queue goes first (P6).

use std::cmp::Reverse;
use std::time::Duration;

use crate::job::{Job, JobId};
use crate::time::{Timestamp, micros};

/// The longest time that one level of priority may be worth; a longer one counts as this.
///
/// All priorities together are then worth less than a store that counts in floating point can tell apart.
pub const LONGEST_AGING: Duration = Duration::from_hours(24);

/// A job's place among those of its queue; the lower goes first, and of the same places the lower id.
///
/// It never changes while the job waits, so a store may look for the first job of each priority and compare those.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Turn {
    level: Reverse<i64>,
    key: i128,
}

impl Turn {
    /// The place of a job of this priority that is due at this moment.
    ///
    /// Strictly, the higher priority goes first, however long others wait.
    /// With `aging`, a job that waits for so long goes as one of the next higher priority that has just become due.
    #[must_use]
    pub fn new(priority: impl Into<i64>, due: Timestamp, aging: Option<Duration>) -> Self {
        let (priority, due) = (priority.into(), i128::from(due.as_micros()));
        match aging {
            None => Self { level: Reverse(priority), key: due },
            Some(aging) => Self { level: Reverse(0), key: due - i128::from(priority) * i128::from(worth(aging)) },
        }
    }
}

/// How many microseconds of waiting one level of priority is worth.
#[must_use]
pub fn worth(aging: Duration) -> i64 {
    micros(aging.min(LONGEST_AGING))
}

/// A job's place in the order of claims: its turn, then its id.
#[must_use]
pub fn place(job: &Job, aging: Option<Duration>) -> (Turn, JobId) {
    (Turn::new(job.spec.priority, job.due, aging), job.id())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_micros(minutes * 60_000_000)
    }

    #[test]
    fn strictly_no_wait_outweighs_a_priority() {
        assert!(Turn::new(1_i16, Timestamp::MAX, None) < Turn::new(0, at(0), None));
        assert!(Turn::new(0, at(1), None) < Turn::new(0, at(2), None));
        assert!(Turn::new(i16::MAX, at(0), None) < Turn::new(i16::MIN, at(0), None));
    }

    #[test]
    fn a_level_is_worth_its_time_of_waiting() {
        let turn = |priority: i16, due| Turn::new(priority, due, Some(MINUTE * 5));
        assert!(turn(1, at(4)) < turn(0, at(0)));
        assert_eq!(turn(1, at(5)), turn(0, at(0)));
        assert!(turn(0, at(0)) < turn(1, at(6)));
        assert!(turn(-3, at(0)) < turn(-1, at(11)));
        assert!(turn(-1, at(9)) < turn(-3, at(0)));
    }

    #[test]
    fn no_moment_and_no_priority_is_too_far_away() {
        let (first, last) = (Timestamp::from_micros(i64::MIN), Timestamp::from_micros(i64::MAX));
        let turn = |priority: i16, due| Turn::new(priority, due, Some(Duration::MAX));
        assert_eq!(Turn::new(3, at(0), Some(Duration::MAX)), Turn::new(3, at(0), Some(LONGEST_AGING)));
        assert!(turn(i16::MAX, first) < turn(i16::MIN, first) && turn(i16::MIN, first) < turn(i16::MAX, last));
    }
}
