//! What figures are held against: the raw limit beside them, and what is never to be given up.

use serde::Serialize;

use crate::report::Measure;
use crate::report::Measure::{
    DispatchMany, DispatchOne, Drain, DrainKept, IdleTransactions, PlainWriteAndRead, RawBare, RawBulk, RawClaimSettle,
    RawConsume, RawDelete, RawOne, RawReadDelete, RawSpawn, StartMedian, StartSlow, WriteAndRead,
};

/// What a figure is held against.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum Floor {
    /// Another measure of the same store, and the share of it that is to be reached, if any is asked for.
    Of { measure: Measure, share: Option<f64> },
    /// A bound in the measure's own unit.
    AtMost { most: f64 },
}

impl Floor {
    /// By which part of it the floor is missed.
    pub(crate) fn missed_by(&self, reached: f64) -> f64 {
        match *self {
            Self::Of { share, .. } => share.map_or(0.0, |share| 1.0 - reached / share),
            Self::AtMost { most } => reached / most - 1.0,
        }
    }
}

const fn at_least(share: f64, measure: Measure) -> Floor {
    Floor::Of { measure, share: Some(share) }
}

const fn beside(measure: Measure) -> Floor {
    Floor::Of { measure, share: None }
}

const fn at_most(most: f64) -> Floor {
    Floor::AtMost { most }
}

const MILLISECOND: f64 = 1e-3;

/// Stores by what their names begin with.
const FLOORS: &[(&str, Measure, Floor)] = &[
    ("memory", DispatchMany, at_least(0.3, RawBulk)),
    ("memory", Drain, at_least(0.6, RawSpawn)),
    ("memory", StartMedian, at_most(0.05 * MILLISECOND)),
    ("sqlite", DispatchOne, at_least(0.6, RawOne)),
    ("sqlite", DispatchMany, at_least(0.4, RawBulk)),
    ("sqlite", Drain, beside(RawDelete)),
    ("sqlite", DrainKept, beside(Drain)),
    ("sqlite", StartMedian, at_most(MILLISECOND)),
    ("sqlite", StartSlow, at_most(3.0 * MILLISECOND)),
    ("postgres", DispatchOne, at_least(0.7, RawOne)),
    ("postgres", DispatchMany, at_least(0.6, RawBulk)),
    ("postgres", DispatchMany, beside(RawBare)),
    ("postgres", Drain, at_least(0.7, RawClaimSettle)),
    ("postgres", Drain, at_least(1.2, RawReadDelete)),
    ("postgres", Drain, beside(RawDelete)),
    ("postgres", DrainKept, at_least(0.45, Drain)),
    ("postgres", StartMedian, at_most(2.0 * MILLISECOND)),
    ("postgres", StartSlow, at_most(6.0 * MILLISECOND)),
    ("postgres", IdleTransactions, at_most(1.0)),
    ("mysql", DispatchOne, at_least(0.6, RawOne)),
    ("mysql", DispatchMany, at_least(0.4, RawBulk)),
    ("mysql", Drain, beside(RawDelete)),
    ("mysql", DrainKept, beside(Drain)),
    ("mysql", StartMedian, at_most(3.0 * MILLISECOND)),
    ("redis", DispatchOne, at_least(0.7, RawOne)),
    ("redis", DispatchMany, beside(RawBulk)),
    ("redis", Drain, beside(RawDelete)),
    ("redis", DrainKept, beside(Drain)),
    ("redis", StartMedian, at_most(MILLISECOND)),
    ("redis", StartSlow, at_most(3.0 * MILLISECOND)),
    ("rabbitmq", DispatchOne, beside(RawOne)),
    ("rabbitmq", DispatchMany, at_least(0.5, RawBulk)),
    ("rabbitmq", Drain, at_least(0.5, RawConsume)),
    ("rabbitmq", StartMedian, at_most(2.0 * MILLISECOND)),
    ("payload", WriteAndRead, beside(PlainWriteAndRead)),
];

/// What this measure of a store is held against.
pub(crate) fn floors(store: &str, measure: Measure) -> impl Iterator<Item = Floor> {
    FLOORS.iter().filter(move |(prefix, of, _)| store.starts_with(prefix) && *of == measure).map(|(_, _, floor)| *floor)
}
