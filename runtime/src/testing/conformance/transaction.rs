//! Pushing in the caller's own transaction, as far as that can be said without a driver.
//!
//! What commits and rolls back is tested with each driver's own transactions, by the backend.

use crate::error::{Error, ErrorKind, Result};
use crate::testing::Harness;
use crate::testing::harness::batch;

pub(super) async fn connection_of_another_driver_is_refused(h: &Harness) -> Result<()> {
    let none = || Error::new(ErrorKind::Unsupported, "the store has no transactions");
    let facet = h.backend.transaction().ok_or_else(none)?;
    let mut not_a_connection = "a text".to_owned();
    let answer = facet.push_in(&mut not_a_connection, &batch([h.job()])).await;
    assert_eq!(answer.err().map(|error| error.kind()), Some(ErrorKind::Unsupported));
    assert_eq!(h.worker().claim(1).await?.len(), 0, "nothing is stored");
    Ok(())
}
