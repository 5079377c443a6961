//! Hints of what happened in another backend.

use async_trait::async_trait;

use super::news::News;
use super::tables::Tables;
use super::work::{Isolation, Store, Work};
use crate::backend::Hint;
use crate::error::Result;
use crate::time::Timestamp;

/// Tells them as an operation does that has brought them about.
pub(super) async fn tell<Database: Store>(database: &Database, hints: &[Hint]) -> Result<()> {
    database.write(TellWork { hints: hints.to_vec() }).await
}

struct TellWork {
    hints: Vec<Hint>,
}

#[async_trait]
impl Work for TellWork {
    type Answer = ();
    const DURABLE: bool = false;
    const ISOLATION: Isolation = Isolation::ReadCommitted;

    async fn run<Db: Tables>(&mut self, _: &mut Db, _: Timestamp, news: &mut News) -> Result<()> {
        self.hints.iter().for_each(|hint| news.hint(hint.clone()));
        Ok(())
    }
}
