//! Layered configuration, every value with its origin.
