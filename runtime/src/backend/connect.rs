//! From a URL to a backend; the only file that lists them.

use std::sync::Arc;

use crate::backend::Backend;
use crate::error::{Error, Result};

/// Connects to the backend that `url` names.
pub async fn connect(url: &str) -> Result<Arc<dyn Backend>> {
    Err(Error::invalid(format!("`{url}` names no backend")))
}
