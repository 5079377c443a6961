//! Where random numbers and new ids come from: this machine's generator, or a seed that a simulation gave.
//!
//! Whatever decides what happens next asks here, so that a simulation can be replayed.

use uuid::Uuid;

/// Random bits.
pub(crate) fn bits() -> u64 {
    #[cfg(feature = "testing")]
    if let Some(bits) = seeded::bits() {
        return bits;
    }
    rand::random()
}

/// A number from 0, included, to 1, excluded.
pub(crate) fn share() -> f64 {
    // 32 bits are as fine as any wait needs.
    let bits = u32::try_from(bits() >> 32).unwrap_or_default();
    f64::from(bits) / (f64::from(u32::MAX) + 1.0)
}

/// A new UUIDv7, later in order than those made before it on this machine.
pub(crate) fn uuid() -> Uuid {
    #[cfg(feature = "testing")]
    if let Some(uuid) = seeded::uuid() {
        return uuid;
    }
    Uuid::now_v7()
}

#[cfg(feature = "testing")]
pub use seeded::Seeded;

#[cfg(feature = "testing")]
mod seeded {
    use std::cell::Cell;
    use std::marker::PhantomData;

    use uuid::Uuid;

    thread_local! {
        static PRESENT: Cell<Option<Source>> = const { Cell::new(None) };
    }

    #[derive(Clone, Copy)]
    struct Source {
        /// What the next bits are made of.
        state: u64,
        /// How many ids were made.
        ids: u64,
    }

    /// While it lives, all that this thread's clients and workers leave to chance follows from a seed: jitter, the ids
    /// of jobs, batches and workers, trace ids.
    ///
    /// One worker and one client whose time is tokio's paused time, on a runtime of one thread, then do the same things
    /// in the same order for the same seed, as far as their store does.
    ///
    /// ```
    /// use taskwright::JobId;
    /// use taskwright::testing::Seeded;
    ///
    /// let first = {
    ///     let _seeded = Seeded::new(7);
    ///     [JobId::new(), JobId::new()]
    /// };
    /// let _seeded = Seeded::new(7);
    /// assert_eq!(first, [JobId::new(), JobId::new()]);
    /// assert!(first[0] < first[1]);
    /// ```
    #[derive(Debug)]
    #[must_use = "chance follows the seed only while this lives"]
    pub struct Seeded {
        /// It belongs to the thread that made it.
        _of_this_thread: PhantomData<*const ()>,
    }

    impl Seeded {
        /// Lets chance follow from `seed` on this thread, in place of an earlier seed.
        pub fn new(seed: u64) -> Self {
            PRESENT.set(Some(Source { state: seed, ids: 0 }));
            Self { _of_this_thread: PhantomData }
        }
    }

    impl Drop for Seeded {
        fn drop(&mut self) {
            PRESENT.set(None);
        }
    }

    pub(super) fn bits() -> Option<u64> {
        let mut source = PRESENT.get()?;
        let bits = source.bits();
        PRESENT.set(Some(source));
        Some(bits)
    }

    /// In place of the time it carries how many were made before.
    pub(super) fn uuid() -> Option<Uuid> {
        let mut source = PRESENT.get()?;
        let random = [source.bits().to_be_bytes(), source.bits().to_be_bytes()].concat();
        source.ids += 1;
        PRESENT.set(Some(source));
        let random = random.first_chunk::<10>()?;
        Some(uuid::Builder::from_unix_timestamp_millis(source.ids, random).into_uuid())
    }

    impl Source {
        /// The next number of `SplitMix64`.
        fn bits(&mut self) -> u64 {
            self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut bits = self.state;
            bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            bits ^ (bits >> 31)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_never_one() {
        let shares: Vec<f64> = (0..10_000).map(|_| share()).collect();
        assert!(shares.iter().all(|share| (0.0..1.0).contains(share)));
        assert!(shares.iter().any(|share| *share < 0.1) && shares.iter().any(|share| *share > 0.9));
    }

    #[cfg(feature = "testing")]
    #[test]
    fn a_seed_decides_what_comes_and_ends_with_its_guard() {
        let draw = || (bits(), share().to_bits(), uuid());
        let seeded = |seed| {
            let _seeded = Seeded::new(seed);
            [draw(), draw()]
        };
        assert_eq!(seeded(1), seeded(1));
        assert_ne!(seeded(1), seeded(2));
        assert_ne!(draw(), draw());
    }

    #[cfg(feature = "testing")]
    #[test]
    fn seeded_ids_are_in_the_order_made() {
        let _seeded = Seeded::new(3);
        let ids: Vec<_> = (0..100).map(|_| uuid()).collect();
        assert!(ids.is_sorted() && ids.iter().all(|id| id.get_version_num() == 7));
    }
}
