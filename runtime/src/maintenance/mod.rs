//! What one elected worker does for all: reap, prune.
