//! What is special about RabbitMQ, on a real broker: the rest is in the conformance suite.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod broker;
mod carrying;
mod long;
mod record;
mod results;
mod trouble;
