//! Hints: at once within the process, and soon from other processes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use sqlx::{Row, SqliteConnection};
use tokio_util::sync::CancellationToken;

use super::Sqlite;
use super::connect::Opener;
use super::error::{closed, fault};
use crate::backend::sql::news::{Listeners, News};
use crate::backend::sql::tables::Columns;
use crate::backend::{Hint, Listener, Wake};
use crate::error::Result;
use crate::job::Name;
use crate::time::Clock;

/// How often the time stamp of the log is looked at.
const GLANCE: Duration = Duration::from_millis(100);

/// Every so many glances the database itself is asked, whatever the time stamp says.
const GLANCES_PER_QUESTION: u32 = 10;

#[async_trait]
impl Wake for Sqlite {
    async fn listen(&self) -> Result<Box<dyn Listener>> {
        if self.closed.load(Ordering::Acquire) {
            return Err(closed());
        }
        let listener = self.listeners.listen(Arc::clone(&self.closed));
        self.watch();
        Ok(Box::new(listener))
    }

    async fn tell(&self, hints: &[Hint]) -> Result<()> {
        crate::backend::sql::tell::tell(self, hints).await
    }
}

impl Sqlite {
    /// Begins to watch for commits of other processes, unless that is done already. In memory there are none.
    fn watch(&self) {
        let Some(path) = &self.path else { return };
        if self.watching.swap(true, Ordering::AcqRel) {
            return;
        }
        let watch = Watch {
            log: log_of(path),
            opener: self.opener.clone(),
            clock: self.clock.clone(),
            listeners: Arc::clone(&self.listeners),
            watching: Arc::clone(&self.watching),
        };
        self.tasks.spawn(watch.run(self.stop.clone()));
    }
}

/// SQLite's write-ahead log.
fn log_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

/// Looks at what other processes do. Ends with its backend, or when nobody listens any more.
struct Watch {
    log: PathBuf,
    opener: Opener,
    clock: Clock,
    listeners: Arc<Listeners>,
    watching: Arc<AtomicBool>,
}

/// What was last seen of the database, through a connection of its own.
struct View {
    db: SqliteConnection,
    /// Changes whenever another connection commits; 0 before the first look.
    version: i64,
    /// Counts cancellations and pauses.
    control: i64,
}

impl Watch {
    async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = self.watch() => {}
            // The backend is closed or gone: whoever listened is told by it.
            () = stop.cancelled() => {}
        }
        self.watching.store(false, Ordering::Release);
    }

    async fn watch(&self) {
        let mut view = None;
        let mut stamp = None;
        let mut glances = 0_u32;
        while !self.listeners.is_empty() {
            let now = self.stamp();
            if now != stamp || glances.is_multiple_of(GLANCES_PER_QUESTION) {
                stamp = now;
                if let Err(error) = self.look(&mut view).await {
                    tracing::debug!(%error, "could not look for commits of other processes");
                    view = None;
                }
            }
            glances = glances.wrapping_add(1);
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// When the log was last written to; `None` when there is none.
    fn stamp(&self) -> Option<SystemTime> {
        std::fs::metadata(&self.log).ok()?.modified().ok()
    }

    /// Asks what changed since the last look, and tells it.
    async fn look(&self, view: &mut Option<View>) -> Result<()> {
        if view.is_none() {
            *view = Some(View { db: self.opener.reader().await?, version: 0, control: 0 });
        }
        let Some(View { db, version: seen, control: counted }) = view else { return Ok(()) };
        let version = number(db, "PRAGMA data_version").await?;
        let first = *seen == 0;
        if std::mem::replace(seen, version) == version {
            return Ok(());
        }
        let mut news = News::default();
        let control = number(db, "SELECT count FROM taskwright_control").await?;
        if std::mem::replace(counted, control) != control && !first {
            news.control();
        }
        news.outcomes();
        self.due_queues(db).await?.iter().for_each(|queue| news.jobs(queue));
        self.listeners.tell(&news);
        Ok(())
    }

    /// The queues that have a job that is due: a few seeks for each queue.
    async fn due_queues(&self, db: &mut SqliteConnection) -> Result<Vec<Name>> {
        const DUE: &str = "WITH RECURSIVE named (queue) AS (
                SELECT min(queue) FROM taskwright_jobs
                UNION ALL
                SELECT (SELECT min(queue) FROM taskwright_jobs WHERE queue > named.queue)
                FROM named WHERE named.queue IS NOT NULL
            ),
            level (queue, priority) AS (
                SELECT queue, (SELECT max(priority) FROM taskwright_jobs WHERE queue = named.queue)
                FROM named WHERE queue IS NOT NULL
                UNION ALL
                SELECT queue, (
                    SELECT max(priority) FROM taskwright_jobs WHERE queue = level.queue AND priority < level.priority
                ) FROM level WHERE level.priority IS NOT NULL
            )
            SELECT DISTINCT queue FROM level WHERE priority IS NOT NULL AND EXISTS (
                SELECT 1 FROM taskwright_jobs
                WHERE queue = level.queue AND priority = level.priority AND due <= ?
            )";
        let rows = sqlx::query(DUE).bind(self.clock.now().as_micros()).fetch_all(db).await.map_err(fault)?;
        let names = rows.iter().map(|row| Ok(Name::new(row.text(0)?).ok()));
        Ok(names.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    }
}

async fn number(db: &mut SqliteConnection, sql: &'static str) -> Result<i64> {
    sqlx::query(sql).fetch_one(db).await.map_err(fault)?.try_get(0).map_err(fault)
}
