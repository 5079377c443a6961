//! What the tests of this folder share.

pub mod chaos;
pub mod servers;
pub mod toy;
pub mod victim;
