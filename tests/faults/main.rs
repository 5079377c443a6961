//! Real kills of real processes.

mod kills;
