//! The queues and exchanges: what they are called, and how they are declared.
//!
//! - `PREFIX/jobs/QUEUE`: what can be claimed now; one for each queue of jobs.
//! - `PREFIX/ids/QUEUE`: the ids of those jobs instead, where a store knows the rest.
//! - `PREFIX/wait/TIME`, an exchange and its queue for each [rung](Rung): what waits. When its time has passed, the
//!   broker moves a message to the queue of jobs whose name it carries.
//! - `PREFIX/dead`: what was discarded, and what nobody could read, for people to look at.
//! - `PREFIX/epoch`: which life of the broker this is.
//! - `PREFIX/hints`: an exchange that tells all processes what happened.
//!
//! Names of jobs' queues hold no slash, so these never meet.

use std::time::Duration;

use lapin::types::{AMQPValue, FieldTable};

use super::address::Queues;
use crate::job::Name;

/// Priorities from here to [`HIGHEST`] are kept apart; lower and higher ones go with these.
const LOWEST: i16 = -3;
const HIGHEST: i16 = LOWEST + LEVELS as i16;
/// The level of the highest priority; the lowest is on level 0.
const LEVELS: u8 = 15;

/// How long a dead letter stays.
const DEAD_FOR: Duration = Duration::from_hours(30 * 24);

/// A queue in the broker.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Place {
    /// Where the jobs of this queue can be claimed.
    Jobs(Name),
    /// Where the ids of jobs of this queue can be taken, which a store knows.
    Ids(Name),
    /// Where messages wait.
    Wait(Rung),
    /// Where dead letters lie.
    Dead,
}

/// One of the lengths of time that a message waits at a stretch; longer waits are made of several.
///
/// Messages of one queue must wait equally long, since the broker looks at the first one only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Rung(u32);

impl Rung {
    /// The shortest wait; what is left of a wait is rounded up to it.
    pub(super) const SHORTEST: Duration = Duration::from_millis(100);
    /// The longest has this number: 29 hours.
    const LAST: u32 = 20;

    /// The longest rung that fits into a wait, and what is left to wait afterwards.
    pub(super) fn of(wait: Duration) -> (Self, Duration) {
        let number = (0..=Self::LAST).rev().find(|number| Self(*number).length() <= wait).unwrap_or(0);
        let rung = Self(number);
        (rung, wait.saturating_sub(rung.length()))
    }

    fn length(self) -> Duration {
        Self::SHORTEST * 2_u32.pow(self.0)
    }
}

/// The names and arguments of one backend's queues.
#[derive(Clone, Debug)]
pub(super) struct Topology {
    pub(super) prefix: Name,
    pub(super) queues: Queues,
}

impl Topology {
    pub(super) fn queue(&self, place: &Place) -> String {
        match place {
            Place::Jobs(queue) => format!("{}/jobs/{queue}", self.prefix),
            Place::Ids(queue) => format!("{}/ids/{queue}", self.prefix),
            Place::Wait(rung) => format!("{}/wait/{}ms", self.prefix, rung.length().as_millis()),
            Place::Dead => format!("{}/dead", self.prefix),
        }
    }

    /// The exchange that a message for this place is published to; the broker's own, except where messages wait.
    pub(super) fn exchange(&self, place: &Place) -> String {
        match place {
            Place::Wait(_) => self.queue(place),
            Place::Jobs(_) | Place::Ids(_) | Place::Dead => String::new(),
        }
    }

    /// Where the [epoch](super::epoch) is kept.
    pub(super) fn epoch(&self) -> String {
        format!("{}/epoch", self.prefix)
    }

    pub(super) fn hints(&self) -> String {
        format!("{}/hints", self.prefix)
    }

    pub(super) fn arguments(&self, place: &Place) -> FieldTable {
        let mut arguments = FieldTable::default();
        let mut set = |key: &str, value: AMQPValue| {
            arguments.insert(key.into(), value);
        };
        match place {
            Place::Jobs(_) | Place::Ids(_) => match self.queues {
                Queues::Classic => set("x-max-priority", AMQPValue::LongInt(LEVELS.into())),
                Queues::Quorum => set("x-queue-type", text("quorum")),
            },
            // Only a quorum queue moves its messages on without a moment in which they could be lost.
            Place::Wait(rung) => {
                set("x-queue-type", text("quorum"));
                set("x-message-ttl", milliseconds(rung.length()));
                set("x-dead-letter-exchange", text(""));
                set("x-dead-letter-strategy", text("at-least-once"));
                set("x-overflow", text("reject-publish"));
            }
            Place::Dead => set("x-message-ttl", milliseconds(DEAD_FOR)),
        }
        arguments
    }

    pub(super) fn is_quorum(&self, place: &Place) -> bool {
        match place {
            Place::Jobs(_) | Place::Ids(_) => self.queues == Queues::Quorum,
            Place::Wait(_) => true,
            Place::Dead => false,
        }
    }

    /// The level of a priority within its queue.
    pub(super) fn level(priority: i16) -> u8 {
        u8::try_from(priority.clamp(LOWEST, HIGHEST) - LOWEST).unwrap_or(LEVELS)
    }
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

fn milliseconds(duration: Duration) -> AMQPValue {
    AMQPValue::LongLongInt(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_is_made_of_rungs_and_never_shorter() {
        for millis in [0, 1, 99, 100, 101, 3_700, 60_000, 3_600_000, 400 * 24 * 3_600_000] {
            let wait = Duration::from_millis(millis);
            let (mut waited, mut left, mut hops) = (Duration::ZERO, wait, 0);
            loop {
                let (rung, rest) = Rung::of(left);
                waited += rung.length();
                (left, hops) = (rest, hops + 1);
                if left.is_zero() {
                    break;
                }
            }
            assert!(waited >= wait && waited <= wait + Rung::SHORTEST, "{wait:?} became {waited:?}");
            assert!(hops <= 360, "{hops} hops for {wait:?}");
        }
    }

    #[test]
    fn wait_without_end_has_a_rung() {
        let (rung, left) = Rung::of(Duration::MAX);
        assert_eq!(rung, Rung(Rung::LAST));
        assert!(left > Duration::from_hours(1));
    }

    #[test]
    fn priorities_keep_their_order() {
        let levels: Vec<_> = [i16::MIN, -4, -3, -1, 0, 1, 9, 12, 13, i16::MAX].map(Topology::level).into();
        assert_eq!(levels, [0, 0, 0, 2, 3, 4, 12, 15, 15, 15]);
    }
}
