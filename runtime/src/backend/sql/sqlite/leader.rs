//! One worker among many.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::SqliteConnection;

use super::Sqlite;
use super::error::fault;
use super::places::{blob, integer};
use super::writer::Work;
use crate::backend::sql::news::News;
use crate::backend::{Leader, Term};
use crate::error::Result;
use crate::job::{Name, WorkerId};
use crate::time::Timestamp;

#[async_trait]
impl Leader for Sqlite {
    async fn campaign(&self, role: &Name, worker: WorkerId, ttl: Duration) -> Result<Option<Term>> {
        self.write(Campaign { role: role.clone(), worker, ttl, now: self.now() }).await
    }

    async fn resign(&self, role: &Name, worker: WorkerId) -> Result<()> {
        self.write(Resign { role: role.clone(), worker, now: self.now() }).await
    }
}

struct Campaign {
    role: Name,
    worker: WorkerId,
    ttl: Duration,
    now: Timestamp,
}

#[async_trait]
impl Work for Campaign {
    type Answer = Option<Term>;
    const DURABLE: bool = true;

    async fn run(&mut self, db: &mut SqliteConnection, _: &mut News) -> Result<Option<Term>> {
        const LEADER: &str = "SELECT worker, term, until FROM taskwright_leaders WHERE role = ?";
        const LEAD: &str = "INSERT INTO taskwright_leaders (role, worker, term, until) VALUES (?, ?, ?, ?) \
            ON CONFLICT (role) DO UPDATE SET worker = excluded.worker, term = excluded.term, until = excluded.until";
        let row = sqlx::query(LEADER).bind(self.role.as_str()).fetch_optional(&mut *db).await.map_err(fault)?;
        let (same, term, leads) = match &row {
            None => (true, 0, false),
            Some(row) => {
                let worker = blob(row, 0)?.unwrap_or_default();
                (worker[..] == self.worker.as_bytes()[..], integer(row, 1)?, integer(row, 2)? > self.now.as_micros())
            }
        };
        if leads && !same {
            return Ok(None);
        }
        // A leader that comes back late begins a new term too: somebody may have acted in between.
        let term = if leads { term } else { term.saturating_add(1) };
        let lead = sqlx::query(LEAD)
            .bind(self.role.as_str())
            .bind(&self.worker.as_bytes()[..])
            .bind(term)
            .bind(self.now.after(self.ttl).as_micros());
        lead.execute(db).await.map_err(fault)?;
        Ok(Some(Term(term.cast_unsigned())))
    }
}

struct Resign {
    role: Name,
    worker: WorkerId,
    now: Timestamp,
}

#[async_trait]
impl Work for Resign {
    type Answer = ();
    const DURABLE: bool = true;

    async fn run(&mut self, db: &mut SqliteConnection, _: &mut News) -> Result<()> {
        // The row stays, so that terms go on growing.
        const RESIGN: &str = "UPDATE taskwright_leaders SET until = min(until, ?) WHERE role = ? AND worker = ?";
        let resign =
            sqlx::query(RESIGN).bind(self.now.as_micros()).bind(self.role.as_str()).bind(&self.worker.as_bytes()[..]);
        resign.execute(db).await.map_err(fault)?;
        Ok(())
    }
}
