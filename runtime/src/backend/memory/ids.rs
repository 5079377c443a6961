//! Maps by job id that cost little on the path of every job.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::job::JobId;

/// A map by job id.
pub(super) type IdMap<V> = HashMap<JobId, V, BuildHasherDefault<Folding>>;

/// Folds an id into a number.
///
/// Ids are made by this process and mostly random, so nothing stronger is needed against collisions; the standard
/// hasher took a tenth of all the time that the store spent on a job.
#[derive(Default)]
pub(super) struct Folding(u64);

impl Hasher for Folding {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 = (self.0.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        }
    }

    /// The length of an id is always the same.
    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        // The product's upper bits are well mixed; the map picks its bucket by the lower ones.
        self.0 ^ (self.0 >> 32)
    }
}
