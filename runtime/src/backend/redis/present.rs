//! Moments that are written before anybody knows what time it is.
//!
//! The state machine decides in this process, and only the server knows the present.
//! So that a decision costs no question to the server, it is made at [`PRESENT`], a moment before all others, and
//! whatever comes out is either a moment that was known before or one that lies some time after the present.
//! The script that writes the record adds its own time to the latter.

use crate::job::When;
use crate::time::Timestamp;

/// The moment at which a script will run.
///
/// Moments before 1970 are this one and what follows it; nothing else can be before 1970 here.
pub(super) const PRESENT: Timestamp = Timestamp::from_micros(i64::MIN);

/// How a script reads a moment: `+micros` from its present, or micros since 1970.
pub(super) fn moment(at: Timestamp) -> String {
    match delay(at) {
        Some(delay) => format!("+{delay}"),
        None => at.as_micros().to_string(),
    }
}

/// The moment that was meant by one in a record that was written at `written`.
pub(super) fn resolve(at: Timestamp, written: Timestamp) -> Timestamp {
    match delay(at).map(i64::try_from) {
        None => at,
        Some(Ok(delay)) => Timestamp::from_micros(written.as_micros().saturating_add(delay)).min(Timestamp::MAX),
        Some(Err(_)) => Timestamp::MAX,
    }
}

/// What a caller asks for, where a moment before 1970 is as good as 1970.
pub(super) fn known(when: When) -> When {
    match when {
        When::At(at) => When::At(at.max(Timestamp::from_micros(0))),
        When::After(_) => when,
    }
}

/// How long after the present, in microseconds, if that is what it says.
fn delay(at: Timestamp) -> Option<u64> {
    (at.as_micros() < 0).then(|| at.as_micros().abs_diff(PRESENT.as_micros()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_decided_at_the_present_is_told_from_what_was_known() {
        let written = Timestamp::from_micros(1_000);
        let cases = [
            (PRESENT, "+0", 1_000),
            (PRESENT.after(Duration::from_micros(5)), "+5", 1_005),
            (Timestamp::from_micros(0), "0", 0),
            (Timestamp::from_micros(7), "7", 7),
            (Timestamp::MAX, "253402207200000000", Timestamp::MAX.as_micros()),
            (PRESENT.after(Duration::MAX), "+9223372036854775807", Timestamp::MAX.as_micros()),
        ];
        for (at, text, meant) in cases {
            assert_eq!((moment(at).as_str(), resolve(at, written).as_micros()), (text, meant));
        }
    }

    #[test]
    fn a_moment_before_1970_is_1970() {
        assert_eq!(known(When::At(Timestamp::from_micros(-5))), When::At(Timestamp::from_micros(0)));
        assert_eq!(known(When::NOW), When::NOW);
    }
}
