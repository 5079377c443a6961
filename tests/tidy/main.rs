//! What the compiler can't hold: import direction, cited promises, living links, no leftovers.

mod changelog;
mod imports;
mod leftovers;
mod links;
mod promises;
mod tree;
