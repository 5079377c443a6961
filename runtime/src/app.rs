//! The wiring of a program: state, middleware, commands.

/// The wiring of a program.
#[derive(Debug, Default)]
pub struct App;
