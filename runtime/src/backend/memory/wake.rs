//! Hints to whoever listens: coalesced, bounded, and sent after the store's lock is let go.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use async_trait::async_trait;
use tokio::sync::Notify;

use super::{Memory, closed};
use crate::backend::{Hint, Listener, Wake};
use crate::error::Result;
use crate::job::Name;

/// How many different hints wait for a listener before they become [`Hint::Everything`].
const MOST_PENDING: usize = 64;

/// What one operation brought about.
#[derive(Default)]
pub(super) struct News {
    hints: Vec<Hint>,
}

impl News {
    pub(super) fn jobs(&mut self, queue: &Name) {
        let told = |hint: &Hint| matches!(hint, Hint::Jobs(name) if name == queue);
        if !self.hints.iter().rev().any(told) {
            self.add(Hint::Jobs(queue.clone()));
        }
    }

    pub(super) fn outcomes(&mut self) {
        self.add(Hint::Outcomes);
    }

    pub(super) fn control(&mut self) {
        self.add(Hint::Control);
    }

    fn add(&mut self, hint: Hint) {
        add(&mut self.hints, hint);
    }
}

/// Adds what is not there yet; too many become one that says it all.
fn add(hints: &mut Vec<Hint>, hint: Hint) {
    if hints.contains(&hint) || hints.first() == Some(&Hint::Everything) {
        return;
    }
    if hints.len() >= MOST_PENDING {
        hints.clear();
        hints.push(Hint::Everything);
    } else {
        hints.push(hint);
    }
}

/// Everyone who listens to a store.
#[derive(Default)]
pub(super) struct Listeners {
    /// Held to copy or to change the list, never across an await.
    mailboxes: Mutex<Vec<Weak<Mailbox>>>,
}

/// The hints that wait for one listener.
#[derive(Default)]
struct Mailbox {
    /// Held to add or to take one hint, never across an await.
    pending: Mutex<Vec<Hint>>,
    /// Says that `pending` is not empty, or that the listener's handle was closed. It has one waiter.
    arrived: Notify,
}

impl Listeners {
    pub(super) fn tell(&self, news: &News) {
        if news.hints.is_empty() {
            return;
        }
        for mailbox in self.present() {
            let mut pending = mailbox.pending.lock().unwrap_or_else(PoisonError::into_inner);
            for hint in &news.hints {
                add(&mut pending, hint.clone());
            }
            mailbox.arrived.notify_one();
        }
    }

    /// Lets every listener look whether its handle was closed.
    pub(super) fn wake_all(&self) {
        self.present().iter().for_each(|mailbox| mailbox.arrived.notify_one());
    }

    fn add(&self) -> Arc<Mailbox> {
        let mailbox = Arc::default();
        self.mailboxes.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&mailbox));
        mailbox
    }

    /// The listeners that still exist; the others are struck off.
    fn present(&self) -> Vec<Arc<Mailbox>> {
        let mut present = Vec::new();
        let mut mailboxes = self.mailboxes.lock().unwrap_or_else(PoisonError::into_inner);
        mailboxes.retain(|mailbox| mailbox.upgrade().map(|mailbox| present.push(mailbox)).is_some());
        present
    }
}

#[async_trait]
impl Wake for Memory {
    async fn listen(&self) -> Result<Box<dyn Listener>> {
        self.check_open()?;
        Ok(Box::new(MemoryListener { mailbox: self.shared.listeners.add(), closed: Arc::clone(&self.closed) }))
    }

    async fn tell(&self, hints: &[Hint]) -> Result<()> {
        self.operate(|_, _, news| hints.iter().for_each(|hint| news.add(hint.clone())))
    }
}

struct MemoryListener {
    mailbox: Arc<Mailbox>,
    closed: Arc<AtomicBool>,
}

#[async_trait]
impl Listener for MemoryListener {
    async fn next(&mut self) -> Result<Hint> {
        loop {
            if self.closed.load(Ordering::Acquire) {
                return Err(closed());
            }
            if let Some(hint) = self.mailbox.take() {
                return Ok(hint);
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
