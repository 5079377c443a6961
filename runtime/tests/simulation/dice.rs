//! Chance that follows from a seed.

use std::time::Duration;

/// Numbers of `SplitMix64`.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Dice of their own for one actor, so that what others throw changes nothing for it.
    pub(crate) fn hand_out(&mut self) -> Self {
        Self(self.bits())
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    /// A number from 0 to `sides - 1`.
    pub(crate) fn throw(&mut self, sides: usize) -> usize {
        let sides = u64::try_from(sides.max(1)).unwrap_or(1);
        usize::try_from(self.bits() % sides).unwrap_or_default()
    }

    /// A number of this range, both ends included.
    pub(crate) fn between(&mut self, least: usize, most: usize) -> usize {
        least + self.throw(most - least + 1)
    }

    /// A number from 0 to `most`, both included.
    pub(crate) fn few(&mut self, most: u8) -> u32 {
        u32::try_from(self.throw(usize::from(most) + 1)).unwrap_or_default()
    }

    /// Milliseconds of this range.
    pub(crate) fn millis(&mut self, least: usize, most: usize) -> Duration {
        Duration::from_millis(u64::try_from(self.between(least, most)).unwrap_or_default())
    }

    /// True in so many of a hundred throws.
    pub(crate) fn percent(&mut self, share: usize) -> bool {
        self.throw(100) < share
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.throw(from.len()))
    }
}
