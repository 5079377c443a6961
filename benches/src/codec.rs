//! What a task's payload costs to write and read, against the same struct with serde's derives and no type erased.

use std::hint::black_box;
use std::time::Instant;

use anyhow::Result;
use taskwright::codec::{Codec, Payload};
use taskwright::prelude::*;

use crate::Scale;
use crate::engine::per_second;
use crate::report::{Measure, Report};

/// A payload such as many have: a number, two texts, a list, and something that may be missing.
#[task(name = "bench.receipt")]
#[expect(clippy::unused_async, reason = "it is only written and read")]
async fn receipt(order: u64, to: String, subject: String, lines: Vec<u32>, note: Option<String>) {
    drop((order, to, subject, lines, note));
}

/// The same, as it would be without Taskwright.
#[derive(Serialize, Deserialize)]
struct Plain {
    order: u64,
    to: String,
    subject: String,
    lines: Vec<u32>,
    note: Option<String>,
}

const TO: &str = "ada@example.org";
const SUBJECT: &str = "Your order is on its way";
const LINES: [u32; 5] = [1_001, 17, 70_000, 5, 3_000_000];

/// Measures both, one after the other.
pub(crate) fn measure(report: &mut Report, scale: &Scale) -> Result<()> {
    let task = Receipt::new(4_242_u64, TO, SUBJECT, LINES, None);
    let began = Instant::now();
    for _ in 0..scale.jobs {
        let payload = Payload::encode(Codec::MessagePack, black_box(&task))?;
        black_box(payload.decode::<Receipt>()?);
    }
    report.rate("payload", Measure::WriteAndRead, per_second(scale.jobs, began));

    let (to, subject) = (TO.to_owned(), SUBJECT.to_owned());
    let plain = Plain { order: 4_242, to, subject, lines: LINES.to_vec(), note: None };
    let began = Instant::now();
    for _ in 0..scale.jobs {
        let bytes = rmp_serde::to_vec_named(black_box(&plain))?;
        black_box(rmp_serde::from_slice::<Plain>(&bytes)?);
    }
    report.rate("payload", Measure::PlainWriteAndRead, per_second(scale.jobs, began));
    Ok(())
}
