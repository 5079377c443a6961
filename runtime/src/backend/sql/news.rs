//! Hints within the process: coalesced, bounded, and told after the commit.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use async_trait::async_trait;
use tokio::sync::Notify;

use crate::backend::{Hint, Listener};
use crate::error::{Error, ErrorKind, Result};
use crate::job::Name;

/// How many different hints wait for a listener before they become [`Hint::Everything`].
const MOST_PENDING: usize = 64;

/// What a transaction brought about.
#[derive(Clone, Debug, Default)]
pub(super) struct News {
    hints: Vec<Hint>,
}

impl News {
    pub(super) fn jobs(&mut self, queue: &Name) {
        let told = |hint: &Hint| matches!(hint, Hint::Jobs(name) if name == queue);
        if !self.hints.iter().any(told) {
            add(&mut self.hints, Hint::Jobs(queue.clone()));
        }
    }

    pub(super) fn hint(&mut self, hint: Hint) {
        add(&mut self.hints, hint);
    }

    pub(super) fn outcomes(&mut self) {
        add(&mut self.hints, Hint::Outcomes);
    }

    pub(super) fn control(&mut self) {
        add(&mut self.hints, Hint::Control);
    }

    #[cfg(any(feature = "mysql", feature = "postgres"))]
    pub(super) fn everything(&mut self) {
        add(&mut self.hints, Hint::Everything);
    }

    #[cfg(any(feature = "mysql", feature = "postgres"))]
    pub(super) fn hints(&self) -> &[Hint] {
        &self.hints
    }

    pub(super) fn append(&mut self, other: Self) {
        other.hints.into_iter().for_each(|hint| add(&mut self.hints, hint));
    }
}

/// Who passes news on, here and to other processes.
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub(super) trait Herald: Send + Sync {
    /// Tells what a commit has brought about.
    fn tell(&self, news: News);
}

/// Adds what is not there yet; too many become one that says it all.
fn add(hints: &mut Vec<Hint>, hint: Hint) {
    if hints.contains(&hint) || hints.first() == Some(&Hint::Everything) {
        return;
    }
    if hints.len() >= MOST_PENDING {
        hints.clear();
        hints.push(Hint::Everything);
    } else if hint == Hint::Everything {
        *hints = vec![hint];
    } else {
        hints.push(hint);
    }
}

/// Everyone in this process who listens to one database.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    /// Held to copy or to change the list, never across an await.
    mailboxes: Mutex<Vec<Weak<Mailbox>>>,
}

/// The hints that wait for one listener.
#[derive(Debug, Default)]
struct Mailbox {
    /// Held to add or to take one hint, never across an await.
    pending: Mutex<Vec<Hint>>,
    /// Says that `pending` is not empty, or that the listener's backend was closed. It has one waiter.
    arrived: Notify,
}

impl Listeners {
    pub(super) fn tell(&self, news: &News) {
        if news.hints.is_empty() {
            return;
        }
        for mailbox in self.present() {
            let mut pending = mailbox.pending.lock().unwrap_or_else(PoisonError::into_inner);
            news.hints.iter().for_each(|hint| add(&mut pending, hint.clone()));
            mailbox.arrived.notify_one();
        }
    }

    /// Lets every listener look whether it has ended.
    pub(super) fn wake_all(&self) {
        self.present().iter().for_each(|mailbox| mailbox.arrived.notify_one());
    }

    /// A listener that ends once `closed` is set.
    pub(super) fn listen(&self, closed: Arc<AtomicBool>) -> LocalListener {
        let mailbox = Arc::default();
        self.mailboxes.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&mailbox));
        LocalListener { mailbox, closed, lost: None }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.present().is_empty()
    }

    /// The listeners that still exist; the others are struck off.
    fn present(&self) -> Vec<Arc<Mailbox>> {
        let mut present = Vec::new();
        let mut mailboxes = self.mailboxes.lock().unwrap_or_else(PoisonError::into_inner);
        mailboxes.retain(|mailbox| mailbox.upgrade().map(|mailbox| present.push(mailbox)).is_some());
        present
    }
}

/// A listener of one database within this process.
pub(super) struct LocalListener {
    mailbox: Arc<Mailbox>,
    closed: Arc<AtomicBool>,
    /// Set when the connection breaks off over which hints of other processes come.
    lost: Option<Arc<AtomicBool>>,
}

#[cfg(feature = "postgres")]
impl LocalListener {
    /// Ends also once `lost` is set.
    pub(super) fn while_hearing(self, lost: Arc<AtomicBool>) -> Self {
        Self { lost: Some(lost), ..self }
    }
}

#[async_trait]
impl Listener for LocalListener {
    async fn next(&mut self) -> Result<Hint> {
        loop {
            if self.closed.load(Ordering::Acquire) {
                return Err(Error::new(
                    ErrorKind::Closed,
                    "the backend was closed; nothing more will be heard from it",
                ));
            }
            if let Some(hint) = self.mailbox.take() {
                return Ok(hint);
            }
            if self.lost.as_ref().is_some_and(|lost| lost.load(Ordering::Acquire)) {
                return Err(Error::unavailable(
                    "the connection on which hints come broke off; listen again, and look for what happened meanwhile",
                ));
            }
            // A hint that came since we looked has left its permit here, so it is not missed.
            self.mailbox.arrived.notified().await;
        }
    }
}

impl Mailbox {
    fn take(&self) -> Option<Hint> {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        (!pending.is_empty()).then(|| pending.remove(0))
    }
}
