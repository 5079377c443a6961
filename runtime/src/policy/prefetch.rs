//! How many jobs are fetched before a slot is free for them.

use std::time::Duration;

/// Tasks that take longer than this are never fetched ahead: a sibling may have a free slot sooner.
const LONG: Duration = Duration::from_millis(10);

/// No more is fetched ahead than this much work of all slots, so that urgent jobs are not kept waiting behind it.
const AHEAD: Duration = Duration::from_millis(20);

/// How many jobs to fetch beyond the free slots, given how long tasks have been taking.
///
/// Enough to keep `slots` busy for 20 milliseconds, at most `max`; none for tasks of 10 milliseconds or more, and none
/// while nothing is known of them.
///
/// ```
/// use std::time::Duration;
/// use taskwright::policy::prefetch::target;
///
/// assert_eq!(target(4, Some(Duration::from_millis(1)), 1_000), 80);
/// assert_eq!(target(4, Some(Duration::from_micros(1)), 1_000), 1_000);
/// assert_eq!(target(4, Some(Duration::from_secs(1)), 1_000), 0);
/// assert_eq!(target(4, None, 1_000), 0);
/// ```
#[must_use]
pub fn target(slots: usize, mean_time: Option<Duration>, max: usize) -> usize {
    let Some(mean_time) = mean_time.filter(|time| *time < LONG) else {
        return 0;
    };
    let runs = AHEAD.as_nanos() / mean_time.as_nanos().max(1);
    usize::try_from(runs).unwrap_or(max).saturating_mul(slots).min(max)
}

/// The mean with the newest measurement in it, older ones fading.
#[must_use]
pub fn smoothed(mean: Option<Duration>, newest: Option<Duration>) -> Option<Duration> {
    match (mean, newest) {
        // A long task counts at once, short ones by and by: fetching too far ahead hurts more than too little.
        (Some(mean), Some(newest)) if newest < mean => Some((mean * 3 + newest) / 4),
        (mean, newest) => newest.or(mean),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_long_task_stops_fetching_ahead_at_once_and_short_ones_resume_it_slowly() {
        let long = smoothed(Some(Duration::from_micros(5)), Some(Duration::from_secs(1)));
        assert_eq!(target(8, long, 1_000), 0);
        let mut mean = long;
        let mut rounds = 0;
        while target(8, mean, 1_000) == 0 {
            mean = smoothed(mean, Some(Duration::from_micros(5)));
            rounds += 1;
        }
        assert!((10..40).contains(&rounds), "{rounds}");
    }
}
