//! Two versions of one program: the later one has a further task, and a further parameter of an old one.

use taskwright::prelude::*;

/// The program as it was.
pub(crate) mod old {
    use super::{TaskResult, task};

    /// Bills an order.
    #[task(name = "bill")]
    pub(crate) async fn bill(order: u64) -> TaskResult<u64> {
        Ok(order)
    }
}

/// The program as it is.
pub(crate) mod new {
    use super::{TaskResult, task};

    /// Bills an order, with a note since this version.
    #[task(name = "bill")]
    pub(crate) async fn bill(order: u64, #[serde(default)] note: Option<String>) -> TaskResult<u64> {
        let _ = note;
        Ok(order)
    }

    /// Is there since this version.
    #[task(name = "remind")]
    pub(crate) async fn remind(order: u64) -> TaskResult<u64> {
        Ok(order)
    }
}
