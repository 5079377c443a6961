//! SQL databases: a job's state is the place where it lies.
//!
//! Three tables carry the jobs, and moving between them is all that happens to one:
//!
//! - `taskwright_jobs` holds what can be claimed now or later, in the order of claims;
//! - `taskwright_leases` holds what runs: one row a claim, its jobs packed into one column;
//! - `taskwright_finished` holds outcomes that are kept.
//!
//! So the table that everything goes through needs no state column and one index besides its key, a claim deletes rows
//! instead of rewriting them, and fencing, rescue and "what runs where" are one row a claim.
//! Jobs with limits wait in a table of their own, `taskwright_limited`, in the order of their lanes.
//! Unique keys, called-off jobs, progress, pauses and elections live in small tables that only they touch.
//!
//! Every operation is written once, as a `Work` over the `Tables` of any dialect; the facets hand it to a `Store`:
//!
//! - `work`: what an operation is, and how much of other transactions it may see.
//! - `tables`: what a dialect supplies, and how statements are written for all of them.
//! - `push`, `claim`, `extend`, `settle`, `cancel`, `reap`: the operations of the contract.
//! - `results`, `leader`, `inspect`, with `search`, `change` and `counts`: the facets. `backend`: the contract itself.
//! - `limits`, `lanes`, `turns`: how limits stand, the line of those who wait for them, and what a claim takes of it.
//! - `floors`: what claims learn of the store, and from where they look where dead rows are in the way.
//! - `places`, `leases`, `moves`: reading and writing what lies where.
//! - `record`: a job as columns. `lease`: a claim as one row. Both are believed only once they are read.
//! - `news`: hints within the process.
//! - `migrations`: which schema a database has, and which it needs.
//! - `url`: options in URLs. `marks`: values where there are no arrays. `speaker`: hints to other processes. `server`: a few connections to a server, and work in transactions that run beside others. `transaction`, `completion`: work in transactions of callers and of tasks.
//!
//! # What a dialect supplies
//!
//! A folder with the same file names as the others:
//!
//! - `connect`: from a URL to connections.
//! - `schema`: the tables, with the names of columns that the shared statements use, and how a database gets them (P17).
//! - `tables`: `Tables` for a connection: it runs statements in its own words (`?`, `IN (?..)`, table names), reads rows
//!   by column, and has statements of its own for the hot path and for what its database says differently.
//! - a `Store`, which runs a `Work` in a transaction, gives it the database's time, read once a transaction, and tells
//!   the `News` after the commit. A server's is made of `server`, which gives the transaction the work's isolation, and
//!   does the whole work again, a bounded number of times, when another transaction was in its way: a serialization
//!   failure, a deadlock, a row that appeared meanwhile, or [`raced`](work::raced).
//! - `wake` and `transaction`: the facets that are made of driver code.
//! - `error`: what the driver's errors mean to a caller.
//!
//! Operations are written for transactions that run beside each other: a lease is locked before it is marked, jobs that
//! somebody else takes are passed over, and what appears under two names in one statement is one consistent look.

mod backend;
mod cancel;
mod change;
mod claim;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod completion;
mod counts;
mod extend;
mod floors;
mod inspect;
mod lanes;
mod leader;
mod lease;
mod leases;
mod limits;
#[cfg(any(feature = "mysql", feature = "sqlite"))]
mod marks;
mod migrations;
mod moves;
#[cfg(feature = "mysql")]
pub mod mysql;
mod news;
mod places;
#[cfg(feature = "postgres")]
pub mod postgres;
mod push;
mod reap;
mod record;
mod results;
mod search;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod server;
mod settle;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod speaker;
#[cfg(feature = "sqlite")]
pub mod sqlite;
mod tables;
mod tell;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod transaction;
mod turns;
mod unique;
mod url;
mod work;
