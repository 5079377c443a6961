//! A dispatched job, seen from outside.

use std::marker::PhantomData;

/// A job that was dispatched: its id, its state, and in the end its typed result.
#[derive(Debug)]
pub struct JobHandle<T>(PhantomData<T>);
