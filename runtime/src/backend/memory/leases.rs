//! Live leases by when they lapse.

use std::collections::{BTreeMap, VecDeque};

use super::slab::Slot;
use crate::time::Timestamp;

/// Live leases, in bundles that lapse at the same moment, as those of one claim or one heartbeat do.
///
/// A lease that ends is only counted off; its bundle goes when it was the last. Heartbeats bundle anew what lives on,
/// so that no bundle stays for long, nor holds much that has ended.
#[derive(Default)]
pub(super) struct Leases {
    bundles: BTreeMap<Timestamp, Bundle>,
}

#[derive(Default)]
struct Bundle {
    /// How many of `leases` have not ended.
    live: usize,
    /// The leases with their tokens, also those that have ended.
    leases: VecDeque<(Slot, u64)>,
}

impl Leases {
    pub(super) fn add(&mut self, lapses: Timestamp, slot: Slot, token: u64) {
        let bundle = self.bundles.entry(lapses).or_default();
        bundle.live += 1;
        bundle.leases.push_back((slot, token));
    }

    /// Counts off a lease that would lapse at this moment.
    pub(super) fn remove(&mut self, lapses: Timestamp) {
        let Some(bundle) = self.bundles.get_mut(&lapses) else { return };
        bundle.live -= 1;
        if bundle.live == 0 {
            self.bundles.remove(&lapses);
        }
    }

    /// The lease that lapsed first, if one has; `is_live` tells whether one still lapses at that moment.
    ///
    /// It is not found again, so whoever asks must end it.
    pub(super) fn next_lapsed(
        &mut self,
        now: Timestamp,
        is_live: impl Fn(Slot, u64, Timestamp) -> bool,
    ) -> Option<Slot> {
        let mut first = self.bundles.first_entry().filter(|first| *first.key() <= now)?;
        let lapses = *first.key();
        let leases = std::iter::from_fn(|| first.get_mut().leases.pop_front());
        leases.into_iter().find(|(slot, token)| is_live(*slot, *token, lapses)).map(|(slot, _)| slot)
    }

    pub(super) fn any_lapsed(&self, now: Timestamp) -> bool {
        self.bundles.first_key_value().is_some_and(|(lapses, _)| *lapses <= now)
    }
}
