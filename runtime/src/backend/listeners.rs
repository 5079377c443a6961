//! Listening to two backends at once.

use async_trait::async_trait;

use super::{Hint, Listener};
use crate::error::Result;

/// Hears what either of two says, and ends with either. Without either it hears nothing.
pub(super) struct Both {
    pub(super) first: Option<Box<dyn Listener>>,
    pub(super) second: Option<Box<dyn Listener>>,
}

#[async_trait]
impl Listener for Both {
    async fn next(&mut self) -> Result<Hint> {
        async fn of(listener: &mut Option<Box<dyn Listener>>) -> Result<Hint> {
            match listener {
                Some(listener) => listener.next().await,
                None => std::future::pending().await,
            }
        }
        // Both may be dropped while they wait, so neither loses a hint when the other wins.
        tokio::select! {
            hint = of(&mut self.first) => hint,
            hint = of(&mut self.second) => hint,
        }
    }
}
