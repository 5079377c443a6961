//! The generated program: a whole command line, `worker` among its commands.

use std::future::Future;
use std::process::ExitCode;

use crate::app::App;
use crate::private::Program;

/// Runs the generated program with the application's wiring.
pub fn main<F, R, E>(program: Program, wiring: F) -> ExitCode
where
    F: FnOnce(App) -> R,
    R: Future<Output = Result<App, E>>,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let _ = (program, wiring);
    ExitCode::FAILURE
}
