//! Time as data: [`Timestamp`] counts microseconds, [`Clock`] says what time it is.
//!
//! Nothing below `backend` reads a clock; time is an argument everywhere else.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A moment in UTC, in microseconds since 1970-01-01.
///
/// Stores and messages carry it as that integer; people read and write it as RFC 3339.
///
/// ```
/// use taskwright::Timestamp;
///
/// let at: Timestamp = "2026-01-02T03:04:05Z".parse()?;
/// assert_eq!(at.as_micros(), 1_767_323_045_000_000);
/// assert_eq!(at.to_string(), "2026-01-02T03:04:05Z");
/// # Ok::<(), taskwright::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The last moment that can be written down; later sums stop here.
    pub const MAX: Self = Self(253_402_207_200_000_000);

    /// The moment `micros` microseconds after 1970-01-01 UTC.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970-01-01 UTC.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// This machine's time. A store's time comes from the store.
    #[must_use]
    pub fn now() -> Self {
        let now = Self::from(SystemTime::now());
        #[cfg(feature = "testing")]
        let now = Self(now.0.saturating_add(MACHINE_SKEW.load(Ordering::Relaxed)));
        now
    }

    /// This moment plus `duration`, at most [`Timestamp::MAX`].
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(micros(duration))).min(Self::MAX)
    }

    /// This moment less `duration`.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(micros(duration)))
    }

    /// How long after `earlier` this is; zero when it is not after it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        let elapsed = self.0.saturating_sub(earlier.0);
        Duration::from_micros(u64::try_from(elapsed).unwrap_or(0))
    }
}

/// How many microseconds this process takes the machine's clock for wrong by.
#[cfg(feature = "testing")]
static MACHINE_SKEW: AtomicI64 = AtomicI64::new(0);

/// Lets the machine's clock be off by so many microseconds for this process, as after a bad time server: for tests, on
/// top of what any [`Clock`] is moved by. A server's own time stays as it is.
#[cfg(feature = "testing")]
pub fn set_machine_skew(micros: i64) {
    MACHINE_SKEW.store(micros, Ordering::Relaxed);
}

/// A duration in whole microseconds, capped where an `i64` ends.
pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(elapsed) => Self(micros(elapsed)),
            Err(error) => Self(-micros(error.duration())),
        }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(timestamp) => timestamp.fmt(f),
            Err(_) => write!(f, "{} microseconds since 1970", self.0),
        }
    }
}

impl FromStr for Timestamp {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.parse::<jiff::Timestamp>() {
            Ok(timestamp) => Ok(Self(timestamp.as_microsecond())),
            Err(error) => {
                Err(Error::invalid(format!("`{text}` is not a moment in time; write it like `2026-01-02T03:04:05Z`"))
                    .because(error))
            }
        }
    }
}

/// A duration as configuration and attributes write it: `250ms`, `30s`, `10m`, `2h`, `7d`, or a sum such as `1h30m`.
///
/// # Errors
///
/// When there is no number, no unit, or more than an `i64` of microseconds.
///
/// ```
/// use std::time::Duration;
/// use taskwright::parse_duration;
///
/// assert_eq!(parse_duration("1m30s")?, Duration::from_secs(90));
/// assert!(parse_duration("soon").is_err());
/// # Ok::<(), taskwright::Error>(())
/// ```
pub fn parse_duration(text: &str) -> Result<Duration> {
    let refuse = || {
        Error::invalid(format!(
            "`{text}` is not a duration; write a number and a unit: `250ms`, `30s`, `10m`, `2h`, `7d`, or a sum like `1h30m`"
        ))
    };
    let mut total = Duration::ZERO;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(refuse());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(refuse)?;
        let number: u64 = rest[..digits].parse().map_err(|_| refuse())?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "us" => Duration::from_micros(1),
            "ms" => Duration::from_millis(1),
            "s" => Duration::from_secs(1),
            "m" => Duration::from_mins(1),
            "h" => Duration::from_hours(1),
            "d" => Duration::from_hours(24),
            _ => return Err(refuse()),
        };
        let part = u32::try_from(number).ok().and_then(|n| unit.checked_mul(n));
        total = part.and_then(|part| total.checked_add(part)).ok_or_else(refuse)?;
        rest = &rest[letters..];
    }
    Ok(total)
}

/// A duration in the largest unit that shows it in whole numbers, as [`parse_duration`] reads it.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let micros = duration.as_micros();
    let units: [(u128, &str); 5] =
        [(86_400_000_000, "d"), (3_600_000_000, "h"), (60_000_000, "m"), (1_000_000, "s"), (1_000, "ms")];
    match units.iter().find(|(unit, _)| micros > 0 && micros.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", micros / unit),
        None if micros == 0 => "0s".to_owned(),
        None => format!("{micros}us"),
    }
}

/// What time a store says it is.
///
/// An embedded store asks [`Clock::now`]; a server adds [`Clock::offset`] to its own time in every statement.
/// In production the offset is zero; a test moves it instead of waiting.
/// Clones share one clock.
///
/// ```
/// use std::time::Duration;
/// use taskwright::time::Clock;
///
/// let clock = Clock::stopped();
/// let before = clock.now();
/// clock.advance(Duration::from_secs(60));
/// assert_eq!(clock.now().since(before), Duration::from_secs(60));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Clock {
    stopped_at: Option<Timestamp>,
    offset: Arc<AtomicI64>,
}

impl Clock {
    /// A clock that follows this machine's time.
    #[must_use]
    pub fn system() -> Self {
        Self::default()
    }

    /// A clock that stands still until it is advanced.
    #[must_use]
    pub fn stopped() -> Self {
        Self::stopped_at(Timestamp::now())
    }

    /// A clock that stands still at this time until it is advanced.
    #[must_use]
    pub fn stopped_at(time: Timestamp) -> Self {
        Self { stopped_at: Some(time), offset: Arc::default() }
    }

    /// The time that an embedded store goes by.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let base = self.stopped_at.unwrap_or_else(Timestamp::now);
        Timestamp(base.0.saturating_add(self.offset()))
    }

    /// Microseconds that a server's own time is moved by; zero outside of tests.
    #[must_use]
    pub fn offset(&self) -> i64 {
        self.offset.load(Ordering::Relaxed)
    }

    /// Moves the clock forward by `duration`.
    pub fn advance(&self, duration: Duration) {
        self.offset.fetch_add(micros(duration), Ordering::Relaxed);
    }

    /// Moves the clock back by `duration`, as a bad time server would.
    pub fn turn_back(&self, duration: Duration) {
        self.offset.fetch_sub(micros(duration), Ordering::Relaxed);
    }
}
