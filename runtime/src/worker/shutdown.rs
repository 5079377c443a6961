//! How a worker is told to stop.

use tokio_util::sync::CancellationToken;

/// Tells workers to stop. Clones tell the same workers.
///
/// ```
/// use taskwright::Shutdown;
///
/// let shutdown = Shutdown::new();
/// assert!(!shutdown.is_stopping());
/// shutdown.stop();
/// assert!(shutdown.is_stopping() && !shutdown.is_aborting());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    stop: CancellationToken,
    abort: CancellationToken,
}

impl Shutdown {
    /// Nobody is told to stop yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for a graceful stop: no more claims, and running jobs have the worker's grace to end. Repeating is fine.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Asks for a stop without waiting: running jobs are dropped and given back. Implies [`Shutdown::stop`].
    pub fn abort(&self) {
        self.stop.cancel();
        self.abort.cancel();
    }

    /// Whether a stop was asked for.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Whether waiting was called off.
    #[must_use]
    pub fn is_aborting(&self) -> bool {
        self.abort.is_cancelled()
    }

    /// Resolves when a stop is asked for.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    /// Resolves when waiting is called off.
    pub async fn aborting(&self) {
        self.abort.cancelled().await;
    }
}
