//! How a worker behaves.
//!
//! A case is a function on a [`Site`]; `on_every_backend!` makes one test of it for each backend that needs no server, and
//! `on_every_server!` one for each that does.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on has failed")]

mod aging;
mod apart;
mod books;
mod cancelling;
mod ending;
mod events;
mod fetching;
mod middleware;
mod mysql;
mod postgres;
mod rescue;
mod running;
mod site;
mod stopping;
mod transactions;
mod trouble;
