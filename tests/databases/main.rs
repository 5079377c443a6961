//! What is particular to one database server: bad URLs, missing rights, rows edited by hand, servers that go away.
//!
//! What all stores share is in the conformance suite.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod mysql;
mod postgres;
mod redis;
mod site;
