//! The order of claims, whatever the priorities and moments.

use std::time::Duration;

use proptest::prelude::*;
use taskwright::policy::order::{Turn, worth};
use taskwright::time::Timestamp;

proptest! {
    /// Within a priority the order is that of due times, whatever the aging: stores look only at the first of each.
    #[test]
    fn within_a_priority_the_due_time_decides(
        priority: i16, one: i64, other: i64, aging in proptest::option::of(any::<Duration>()),
    ) {
        let turn = |due| Turn::new(priority, Timestamp::from_micros(due), aging);
        prop_assert_eq!(turn(one).cmp(&turn(other)), one.cmp(&other));
    }

    /// At one moment the higher priority goes first, and no job goes before one that has waited longer at a priority
    /// that is no lower.
    #[test]
    fn neither_priority_nor_waiting_ever_harms(
        low: i16, high: i16, early: i64, late: i64, aging in proptest::option::of(any::<Duration>()),
    ) {
        let (low, high) = (low.min(high), low.max(high));
        let [early, late] = [early.min(late), early.max(late)].map(Timestamp::from_micros);
        prop_assert!(Turn::new(high, early, aging) <= Turn::new(low, late, aging));
    }

    /// Whatever the stream of the highest priority is, a job goes before all of it that becomes due later than the
    /// levels between them are worth.
    #[test]
    fn nothing_starves(low: i16, high: i16, due in 0_i64..1 << 50, seconds in 1_u64..86_400, later in 1_i64..1 << 50) {
        let aging = Duration::from_secs(seconds);
        let levels = (i64::from(high) - i64::from(low)).max(0);
        let after = Timestamp::from_micros(due + levels * worth(aging) + later);
        let waits = Turn::new(low, Timestamp::from_micros(due), Some(aging));
        prop_assert!(waits < Turn::new(high, after, Some(aging)));
    }
}
