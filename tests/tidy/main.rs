//! What the compiler can't hold: import direction, cited promises, living links, no leftovers.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod changelog;
mod dependencies;
mod faults;
mod imports;
mod leftovers;
mod links;
mod promises;
mod tree;
