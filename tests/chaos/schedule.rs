//! What goes wrong when, as a seed decides.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use serde::Serialize;

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Disruption {
    /// A worker process is killed, and another one started.
    KillWorker,
    /// A worker process stands still for so long, past its lease, and goes on.
    StopWorker(Duration),
    /// The server is killed, and started again on what it had written.
    KillServer,
    /// Nothing arrives for so long, and no connection ends.
    Silence(Duration),
    /// Everything is late for so long.
    Latency(Duration),
    /// Every connection is reset, in the middle of whatever goes through it.
    Reset,
    /// Other programs take every connection that the server has left, for so long.
    Exhaust(Duration),
    /// A worker's clock is wrong by so many seconds, for so long; the clock of the whole machine where jobs are in a file.
    WrongClock(i64, Duration),
    /// No worker can write to its disk for so long.
    FullDisk(Duration),
}

/// What can go wrong at a place.
#[derive(Clone, Copy, Debug)]
pub struct Means {
    /// The server is ours to kill.
    pub server: bool,
    /// There is a network between workers and server.
    pub network: bool,
    /// The server has a limit of connections that we can reach.
    pub connections: bool,
    /// Where it is written down what becomes of jobs.
    pub record: Record,
}

/// Where it is written down what becomes of jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// On a server, which has a clock of its own.
    OnServer,
    /// In a file, which goes by the clock of its machine and needs room on the disk.
    InFile,
}

/// Disruptions with the moments at which they begin, measured from the first one's earliest moment.
///
/// They come one after the other, each a while after the one before has ended, and all have ended after `length`.
#[must_use]
pub fn schedule(seed: u64, length: Duration, lease: Duration, means: Means) -> Vec<(Duration, Disruption)> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut schedule = Vec::new();
    let mut at = Duration::ZERO;
    loop {
        at += Duration::from_millis(random.random_range(500..4_000));
        let possible = possible(&mut random, lease, means);
        let disruption = possible[random.random_range(0..possible.len())];
        let ends = at + disruption.lasts();
        if ends > length {
            return schedule;
        }
        schedule.push((at, disruption));
        at = ends;
    }
}

/// The same with each disruption that is possible once, in an order that the seed decides.
#[must_use]
pub fn each_once(seed: u64, lease: Duration, means: Means) -> Vec<(Duration, Disruption)> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut possible = possible(&mut random, lease, means);
    possible.shuffle(&mut random);
    let mut ends = Duration::ZERO;
    let mut at_its_moment = |disruption: Disruption| {
        let at = ends + Duration::from_millis(random.random_range(500..4_000));
        ends = at + disruption.lasts();
        (at, disruption)
    };
    possible.into_iter().map(&mut at_its_moment).collect()
}

impl Disruption {
    /// How long it goes on.
    #[must_use]
    pub fn lasts(self) -> Duration {
        match self {
            Self::KillWorker | Self::KillServer | Self::Reset => Duration::ZERO,
            Self::StopWorker(time)
            | Self::Silence(time)
            | Self::Latency(time)
            | Self::Exhaust(time)
            | Self::WrongClock(_, time)
            | Self::FullDisk(time) => time,
        }
    }

    /// Its name in a report.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::KillWorker => "kill a worker",
            Self::StopWorker(_) => "stop a worker past its lease",
            Self::KillServer => "kill the server",
            Self::Silence(_) => "half-open network",
            Self::Latency(_) => "latency",
            Self::Reset => "reset connections",
            Self::Exhaust(_) => "exhaust connections",
            Self::WrongClock(..) => "wrong clock",
            Self::FullDisk(_) => "full disk",
        }
    }
}

/// All that can go wrong there, each as it might.
fn possible(random: &mut StdRng, lease: Duration, means: Means) -> Vec<Disruption> {
    let beyond_the_lease = lease + Duration::from_millis(random.random_range(500..2_000));
    let a_while = Duration::from_millis(random.random_range(500..5_000));
    // What was put off in a file while its clock was ahead waits as long when that is right again.
    let seconds = if means.record == Record::InFile { 20..60 } else { 60..600 };
    let seconds = random.random_range(seconds) * if random.random() { 1 } else { -1 };
    let all = [
        (true, Disruption::KillWorker),
        (true, Disruption::StopWorker(beyond_the_lease)),
        (means.server, Disruption::KillServer),
        (means.network, Disruption::Silence(a_while)),
        (means.network, Disruption::Latency(a_while)),
        (means.network, Disruption::Reset),
        (means.connections, Disruption::Exhaust(a_while)),
        (true, Disruption::WrongClock(seconds, beyond_the_lease)),
        (means.record == Record::InFile, Disruption::FullDisk(beyond_the_lease)),
    ];
    all.into_iter().filter(|(possible, _)| *possible).map(|(_, disruption)| disruption).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Means = Means { server: true, network: true, connections: true, record: Record::InFile };
    const LEASE: Duration = Duration::from_secs(2);
    const LENGTH: Duration = Duration::from_mins(10);

    #[test]
    fn the_same_seed_is_the_same_schedule() {
        assert_eq!(schedule(7, LENGTH, LEASE, ALL), schedule(7, LENGTH, LEASE, ALL));
        assert_ne!(schedule(7, LENGTH, LEASE, ALL), schedule(8, LENGTH, LEASE, ALL));
    }

    #[test]
    fn disruptions_come_one_after_the_other_and_end_in_time() {
        let schedule = schedule(7, LENGTH, LEASE, ALL);
        assert!(schedule.len() > 50, "{}", schedule.len());
        let mut free = Duration::ZERO;
        for (at, disruption) in schedule {
            assert!(at > free, "{disruption:?} begins before the one before it has ended");
            free = at + disruption.lasts();
        }
        assert!(free <= LENGTH);
    }

    #[test]
    fn a_stopped_worker_loses_its_lease() {
        let stops = schedule(7, LENGTH, LEASE, ALL).into_iter().map(|(_, disruption)| disruption);
        let stops: Vec<_> = stops.filter(|disruption| matches!(disruption, Disruption::StopWorker(_))).collect();
        assert!(!stops.is_empty() && stops.iter().all(|stop| stop.lasts() > LEASE));
    }

    #[test]
    fn what_a_place_lacks_does_not_go_wrong() {
        let none = Means { server: false, network: false, connections: false, record: Record::OnServer };
        let names: std::collections::BTreeSet<_> =
            schedule(7, LENGTH, LEASE, none).into_iter().map(|(_, disruption)| disruption.name()).collect();
        assert_eq!(names, ["kill a worker", "stop a worker past its lease", "wrong clock"].into());
    }

    #[test]
    fn each_once_is_each_once_and_one_after_the_other() {
        let schedule = each_once(7, LEASE, ALL);
        let names: std::collections::BTreeSet<_> = schedule.iter().map(|(_, disruption)| disruption.name()).collect();
        assert_eq!((schedule.len(), names.len()), (9, 9), "{schedule:?}");
        let mut free = Duration::ZERO;
        for (at, disruption) in schedule {
            assert!(at > free, "{disruption:?} begins before the one before it has ended");
            free = at + disruption.lasts();
        }
    }
}
