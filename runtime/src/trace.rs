//! W3C trace context, carried in a job's headers from dispatch to run.
