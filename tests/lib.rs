//! What the tests of this folder share.

pub mod servers;
pub mod toy;
pub mod victim;
