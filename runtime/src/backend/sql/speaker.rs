//! Telling other processes what happened: one message at a time, and what happens meanwhile goes together in the next.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::news::News;
use crate::backend::Hint;
use crate::error::Result;
use crate::job::{BatchId, Name};

/// How many times as long as a message waited for others there is silence after it: where many processes write to a busy
/// server, each tells more together and less often, and telling costs those who write less than a tenth.
const SILENCE: u32 = 25;

/// The longest silence, which is how late a hint can be on a busy server.
const LONGEST_SILENCE: Duration = Duration::from_millis(250);

/// The way to the other processes.
#[async_trait]
pub(super) trait Voice: Send + Sync + 'static {
    /// How long to wait after one message before the next, at the least.
    const PAUSE: Duration;

    /// Sends a message to everybody who listens.
    async fn say(&self, message: String) -> Result<()>;
}

/// What other processes are still to be told.
pub(super) struct Speaker<V> {
    voice: V,
    /// Who speaks, so that it need not listen to itself.
    name: String,
    /// Held to add or take news, never across an await.
    pending: Mutex<News>,
    /// Whether a task sends what is pending.
    speaking: AtomicBool,
    /// How many microseconds the fastest message took: what takes longer waited.
    fastest: AtomicU64,
}

impl<V: Voice> Speaker<V> {
    pub(super) fn new(voice: V) -> Arc<Self> {
        let name = BatchId::new().to_string();
        Arc::new(Self {
            voice,
            name,
            pending: Mutex::default(),
            speaking: AtomicBool::new(false),
            fastest: AtomicU64::new(u64::MAX),
        })
    }

    /// Sends news, soon and from a task.
    pub(super) fn tell(self: &Arc<Self>, news: News, tasks: &TaskTracker, stop: &CancellationToken) {
        self.pending().append(news);
        if !self.speaking.swap(true, Ordering::AcqRel) {
            tasks.spawn(Speaking { speaker: Arc::clone(self), done: false }.run(stop.clone()));
        }
    }

    /// What a message says; nothing when it is this one's own. What is not understood may be anything.
    pub(super) fn understand(&self, message: &str) -> News {
        understand(message, &self.name)
    }

    /// How long to be silent after a message that took so long.
    fn silence(&self, took: Duration) -> Duration {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let fastest = self.fastest.fetch_min(micros, Ordering::Relaxed).min(micros);
        Duration::from_micros(micros - fastest).saturating_mul(SILENCE).min(LONGEST_SILENCE)
    }

    fn pending(&self) -> std::sync::MutexGuard<'_, News> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task that sends what is pending and then ends.
struct Speaking<V: Voice> {
    speaker: Arc<Speaker<V>>,
    /// Set once nothing was pending: from then on another task may be speaking.
    done: bool,
}

impl<V: Voice> Speaking<V> {
    async fn run(mut self, stop: CancellationToken) {
        while let Some(news) = self.next() {
            let message = message(&self.speaker.name, &news);
            let began = Instant::now();
            if let Err(error) = self.speaker.voice.say(message).await {
                tracing::debug!(?error, "other processes were not told; they will find it by polling");
            }
            let silence = self.speaker.silence(began.elapsed());
            tokio::select! {
                () = tokio::time::sleep(silence.max(V::PAUSE)) => {}
                // What is left goes out at once.
                () = stop.cancelled() => {}
            }
        }
    }

    /// What is pending. When that is nothing, this task is no longer speaking.
    fn next(&mut self) -> Option<News> {
        let mut pending = self.speaker.pending();
        if pending.hints().is_empty() {
            // While nobody can add anything.
            self.speaker.speaking.store(false, Ordering::Release);
            drop(pending);
            self.done = true;
            return None;
        }
        Some(std::mem::take(&mut *pending))
    }
}

impl<V: Voice> Drop for Speaking<V> {
    /// When the runtime is shut down in the middle, the next one who has news begins anew.
    fn drop(&mut self) {
        if !self.done {
            self.speaker.speaking.store(false, Ordering::Release);
        }
    }
}

/// The longest message in bytes; Postgres takes no longer ones.
const LONGEST: usize = 7_999;

/// News as a message: who speaks, if that matters, then each hint.
pub(super) fn message(speaker: &str, news: &News) -> String {
    let mut message = speaker.to_owned();
    for hint in news.hints() {
        match hint {
            Hint::Jobs(queue) => message.extend([" jobs=", queue.as_str()]),
            Hint::Outcomes => message.push_str(" outcomes"),
            Hint::Control => message.push_str(" control"),
            Hint::Everything => message.push_str(" everything"),
        }
    }
    if message.len() > LONGEST { format!("{speaker} everything") } else { message }
}

fn understand(message: &str, listener: &str) -> News {
    let mut news = News::default();
    let mut words = message.split(' ');
    if words.next() == Some(listener) {
        return news;
    }
    let mut heard = false;
    for word in words {
        heard = true;
        match (word, word.strip_prefix("jobs=").map(Name::new)) {
            (_, Some(Ok(queue))) => news.jobs(&queue),
            ("outcomes", _) => news.outcomes(),
            ("control", _) => news.control(),
            _ => news.everything(),
        }
    }
    if !heard {
        news.everything();
    }
    news
}

#[cfg(test)]
mod tests {
    use super::*;

    fn news_of(hints: &[Hint]) -> News {
        let mut news = News::default();
        for hint in hints {
            match hint {
                Hint::Jobs(queue) => news.jobs(queue),
                Hint::Outcomes => news.outcomes(),
                Hint::Control => news.control(),
                Hint::Everything => news.everything(),
            }
        }
        news
    }

    #[test]
    fn a_message_says_what_happened_to_everybody_but_its_speaker() {
        let mail = Hint::Jobs(Name::new("mail").unwrap());
        for hints in [vec![mail.clone()], vec![Hint::Outcomes, mail, Hint::Control], vec![Hint::Everything]] {
            let message = message("ada", &news_of(&hints));
            assert_eq!(understand(&message, "grace").hints(), hints, "{message}");
            assert_eq!(understand(&message, "ada").hints(), [], "{message}");
        }
    }

    #[test]
    fn what_is_not_understood_may_be_anything() {
        for message in ["", "ada", "ada jobs=no name", "ada jobs", "ada later=version", " ", "ada  "] {
            assert_eq!(understand(message, "grace").hints(), [Hint::Everything], "`{message}`");
        }
    }

    struct Mute;

    #[async_trait]
    impl Voice for Mute {
        const PAUSE: Duration = Duration::ZERO;

        async fn say(&self, _message: String) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_message_that_waited_is_followed_by_silence() {
        let speaker = Speaker::new(Mute);
        let silences = [20, 22, 40, 10, 12, 5_000].map(|millis| speaker.silence(Duration::from_millis(millis)));
        assert_eq!(silences, [0, 50, 250, 0, 50, 250].map(Duration::from_millis));
        assert_eq!(speaker.silence(Duration::MAX), LONGEST_SILENCE);
    }

    #[test]
    fn a_message_that_is_too_long_says_that_anything_happened() {
        let queues: Vec<_> =
            (0..64).map(|number| Name::new(format!("{number:0>128}")).unwrap()).map(Hint::Jobs).collect();
        assert_eq!(understand(&message("ada", &news_of(&queues)), "grace").hints(), [Hint::Everything]);
    }
}
