//! For tests: the conformance suite, fault injection, clocks. Outside of semantic versioning.

pub mod faulty;
