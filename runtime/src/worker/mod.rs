//! A worker: it claims jobs, runs them, and says how they ended.

/// A worker.
#[derive(Debug)]
pub struct Worker;

/// Tells a worker to stop.
#[derive(Clone, Debug)]
pub struct Shutdown;
