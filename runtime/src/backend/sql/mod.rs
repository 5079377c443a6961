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
//! Unique keys, called-off jobs, progress, pauses and elections live in small tables that only they touch.
//!
//! What the dialects share is here; their folders hold statements and driver code:
//!
//! - `record`: a job as columns.
//! - `lease`: a claim as one row.
//! - `moves`: what changed places in one operation.
//! - `news`: hints within the process.
//! - `migrations`: which schema a database has, and which it needs.

mod lease;
mod migrations;
mod moves;
mod news;
mod record;
pub mod sqlite;
