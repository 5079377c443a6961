//! What the tests of this folder share.

pub mod toy;
pub mod victim;
