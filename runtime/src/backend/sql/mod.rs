//! SQL databases: a job's state is the place where it lies.

pub mod sqlite;
