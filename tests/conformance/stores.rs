//! How the stores that come with the crate are opened for the suite.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use taskwright::backend::Backend;
use taskwright::backend::memory::Memory;
use taskwright::testing::Setup;
use taskwright::testing::conformance::Ability;
use taskwright::time::Clock;
use taskwright::{Name, Result};

/// Stores in memory, which live on here when a test has closed its handles.
#[derive(Default)]
pub(crate) struct FreshMemory {
    stores: Mutex<HashMap<Name, Memory>>,
}

#[async_trait]
impl Setup for FreshMemory {
    fn abilities(&self) -> &'static [Ability] {
        &[Ability::Results, Ability::Wake, Ability::Leader, Ability::Inspect, Ability::Reopen]
    }

    async fn open(&self, store: &Name, clock: &Clock) -> Result<Arc<dyn Backend>> {
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        let store = stores.entry(store.clone()).or_insert_with(|| Memory::with_clock(clock.clone()));
        Ok(Arc::new(store.share()))
    }
}
