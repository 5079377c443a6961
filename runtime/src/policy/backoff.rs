//! How long a failed job waits before its next attempt.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The wait before each further attempt.
///
/// ```
/// use std::time::Duration;
/// use taskwright::Backoff;
///
/// let backoff = Backoff::exponential(Duration::from_secs(2), Duration::from_secs(600));
/// assert_eq!(backoff.delay(1, 1.0), Duration::from_secs(2));
/// assert_eq!(backoff.delay(4, 1.0), Duration::from_secs(16));
/// assert_eq!(backoff.delay(u32::MAX, 1.0), Duration::from_secs(600));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backoff {
    /// The same wait every time, with jitter.
    Fixed {
        /// The longest wait; jitter takes up to a quarter off it.
        delay: Duration,
    },
    /// `base` after the first failure, and twice as long after each further one, with jitter.
    Exponential {
        /// The wait after the first failure.
        base: Duration,
        /// No wait is longer.
        max: Duration,
    },
    /// `step` after the first failure, twice that after the second, thrice after the third, with jitter.
    Linear {
        /// What each failure adds.
        step: Duration,
        /// No wait is longer.
        max: Duration,
    },
}

impl Backoff {
    /// From 2 seconds, doubled up to an hour: 20 attempts take about nine hours.
    pub const DEFAULT: Self = Self::exponential(Duration::from_secs(2), Duration::from_hours(1));

    /// The same wait every time.
    #[must_use]
    pub const fn fixed(delay: Duration) -> Self {
        Self::Fixed { delay }
    }

    /// `base`, doubled after each failure, up to `max`.
    #[must_use]
    pub const fn exponential(base: Duration, max: Duration) -> Self {
        Self::Exponential { base, max }
    }

    /// `step` more after each failure, up to `max`.
    #[must_use]
    pub const fn linear(step: Duration, max: Duration) -> Self {
        Self::Linear { step, max }
    }

    /// The wait after failed attempt number `attempt`, counted from 1.
    ///
    /// `jitter`, from 0 to 1, spreads equal failures over the last quarter of the wait: 1 is the whole of it.
    /// Attempts past the thirty-second count as that one, so that no number of them overflows.
    #[must_use]
    pub fn delay(&self, attempt: u32, jitter: f64) -> Duration {
        let failures = attempt.clamp(1, 32);
        let full = match *self {
            Self::Fixed { delay } => delay,
            Self::Exponential { base, max } => {
                let doubled = 1_u32.checked_shl(failures - 1).unwrap_or(u32::MAX);
                base.saturating_mul(doubled).min(max)
            }
            Self::Linear { step, max } => step.saturating_mul(attempt.max(1)).min(max),
        };
        full.min(LONGEST).mul_f64(0.75 + 0.25 * jitter.clamp(0.0, 1.0))
    }
}

/// A century: no wait is longer, whatever was asked for, so that adding it to a moment never overflows.
const LONGEST: Duration = Duration::from_hours(100 * 365 * 24);

impl Default for Backoff {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEAR: Duration = Duration::from_hours(365 * 24);

    #[test]
    fn every_kind_stays_below_its_cap_for_any_attempt() {
        let cap = Duration::from_mins(1);
        let kinds = [Backoff::fixed(cap), Backoff::exponential(cap / 60, cap), Backoff::linear(cap / 60, cap)];
        for backoff in kinds {
            for attempt in [0, 1, 2, 31, 32, 33, u32::MAX] {
                assert!(backoff.delay(attempt, 1.0) <= cap, "{backoff:?} at {attempt}");
            }
        }
    }

    #[test]
    fn jitter_takes_at_most_a_quarter() {
        let backoff = Backoff::fixed(Duration::from_secs(8));
        assert_eq!(backoff.delay(1, 0.0), Duration::from_secs(6));
        assert_eq!(backoff.delay(1, 1.0), Duration::from_secs(8));
        assert_eq!(backoff.delay(1, f64::MAX), Duration::from_secs(8));
    }

    #[test]
    fn the_largest_waits_do_not_overflow() {
        let backoff = Backoff::exponential(YEAR, Duration::MAX);
        assert!(backoff.delay(u32::MAX, 0.5) > YEAR);
        assert!(Backoff::linear(YEAR, Duration::MAX).delay(u32::MAX, 0.5) > YEAR);
    }
}
