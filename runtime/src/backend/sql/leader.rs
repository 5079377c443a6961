//! One worker among many.

use std::time::Duration;

use async_trait::async_trait;

use super::news::News;
use super::tables::{Columns, Tables, Value, rows};
#[cfg(any(feature = "mysql", feature = "postgres"))]
use super::work::Glance;
use super::work::{Isolation, Store, Work, raced};
use crate::backend::{Leader, Term};
use crate::error::Result;
use crate::job::{Name, WorkerId};
use crate::time::Timestamp;

#[async_trait]
impl<Database: Store> Leader for Database {
    async fn campaign(&self, role: &Name, worker: WorkerId, ttl: Duration) -> Result<Option<Term>> {
        let experience = self.experience();
        let term = self.write(Campaign { role: role.clone(), worker, ttl, leads: experience.led() }).await?;
        experience.leads(term.is_some());
        Ok(term)
    }

    async fn resign(&self, role: &Name, worker: WorkerId) -> Result<()> {
        self.write(Resign { role: role.clone(), worker }).await
    }
}

struct Campaign {
    role: Name,
    worker: WorkerId,
    ttl: Duration,
    /// Whether it is likely to lead already.
    #[cfg_attr(
        not(any(feature = "mysql", feature = "postgres")),
        expect(dead_code, reason = "only servers look first")
    )]
    leads: bool,
}

#[async_trait]
impl Work for Campaign {
    type Answer = Option<Term>;
    const DURABLE: bool = true;
    const ISOLATION: Isolation = Isolation::ReadCommitted;

    /// All workers but one are told that somebody else leads.
    #[cfg(any(feature = "mysql", feature = "postgres"))]
    fn glance(&self) -> Option<Glance<'_, Option<Term>>> {
        const MAY_LEAD: &str =
            "SELECT NOT EXISTS (SELECT 1 FROM taskwright_leaders WHERE role = ? AND worker <> ? AND until > {now})";
        if self.leads {
            return None;
        }
        let values = vec![Value::Text(self.role.as_str()), Value::Id(self.worker.as_bytes())];
        Some(Glance { sql: MAY_LEAD, values, nothing: |may_lead| (may_lead == Some(0)).then_some(None) })
    }

    /// The row of a role is locked before it is decided about; whoever writes its first one must be the only one.
    async fn run<Db: Tables>(&mut self, db: &mut Db, now: Timestamp, _: &mut News) -> Result<Option<Term>> {
        const LEAD: &str = "UPDATE taskwright_leaders SET worker = ?, term = ?, until = ? WHERE role = ?";
        let leader = format!("SELECT worker, term, until FROM taskwright_leaders WHERE role = ?{}", Db::LOCKED);
        let (role, worker) = (Value::Text(self.role.as_str()), Value::Id(self.worker.as_bytes()));
        let until = Value::Integer(now.after(self.ttl).as_micros());
        let found = db.fetch(leader, &[role]).await?;
        let Some(row) = found.first() else {
            let first = Db::insert_new("taskwright_leaders", "role, worker, term, until", &rows(1, 4));
            let written = db.execute(first, &[role, worker, Value::Integer(1), until]).await?;
            return if written == 1 { Ok(Some(Term(1))) } else { Err(raced("a role")) };
        };
        let same = row.bytes(0)?.unwrap_or_default()[..] == self.worker.as_bytes()[..];
        let (term, leads) = (row.integer(1)?, row.integer(2)? > now.as_micros());
        if leads && !same {
            return Ok(None);
        }
        // A leader that comes back late begins a new term too: somebody may have acted in between.
        let term = if leads { term } else { term.saturating_add(1) };
        db.execute(LEAD, &[worker, Value::Integer(term), until, role]).await?;
        Ok(Some(Term(term.cast_unsigned())))
    }
}

struct Resign {
    role: Name,
    worker: WorkerId,
}

#[async_trait]
impl Work for Resign {
    type Answer = ();
    const DURABLE: bool = true;
    const ISOLATION: Isolation = Isolation::ReadCommitted;

    async fn run<Db: Tables>(&mut self, db: &mut Db, now: Timestamp, _: &mut News) -> Result<()> {
        // The row stays, so that terms go on growing.
        const RESIGN: &str = "UPDATE taskwright_leaders SET until = ? WHERE role = ? AND worker = ? AND until > ?";
        let now = Value::Integer(now.as_micros());
        db.execute(RESIGN, &[now, Value::Text(self.role.as_str()), Value::Id(self.worker.as_bytes()), now]).await?;
        Ok(())
    }
}
