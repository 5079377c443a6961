//! Group commit: what arrives while a write is in flight goes together in the next one.
