//! The task that is measured: it says how long ago it was dispatched, and does nothing else.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::UnboundedSender;

use crate::context::Context;
use crate::task::{Definition, Execution, Options, Task, TaskFuture};

/// How large its payload is as MessagePack.
pub(super) const PAYLOAD: usize = 100;

/// Not linked into programs: they don't list it, and only this command's workers know it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Probe {
    /// When it was made, in seconds since [`Clock::zero`].
    at: f64,
    data: String,
}

/// What a probe is measured with.
pub(super) struct Clock {
    pub(super) zero: Instant,
    /// Hears how long each probe took to start.
    pub(super) starts: UnboundedSender<Duration>,
}

impl Probe {
    /// One that is made now.
    pub(super) fn new(zero: Instant) -> Self {
        // What encoding adds: a map with two names, a number, and the length of a text.
        const AROUND: usize = 1 + "\u{0}at".len() + 9 + "\u{0}data".len() + 2;
        Self { at: zero.elapsed().as_secs_f64(), data: "x".repeat(PAYLOAD - AROUND) }
    }
}

impl Task for Probe {
    type Output = ();
    const DEFINITION: &'static Definition = &Definition {
        name: "taskwright.bench",
        aliases: &[],
        options: Options::NONE,
        parameters: &[],
        state: &[],
        transaction: None,
        execution: Execution::Async,
        docs: "",
        file: file!(),
        line: line!(),
    };

    fn run(self, ctx: Context) -> TaskFuture<()> {
        if let Some(clock) = ctx.state::<Clock>() {
            let took = clock.zero.elapsed().saturating_sub(Duration::try_from_secs_f64(self.at).unwrap_or_default());
            // Nobody listens while rates are measured.
            let _ = clock.starts.send(took);
        }
        Box::pin(std::future::ready(Ok(())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Codec, Payload};

    #[test]
    fn a_probe_is_as_large_as_it_says() {
        let payload = Payload::encode(Codec::MessagePack, &Probe::new(Instant::now())).unwrap();
        assert_eq!(payload.bytes.len(), PAYLOAD);
    }
}
