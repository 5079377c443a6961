//! Other attributes of the function stay with the function.

use taskwright::prelude::*;

#[task]
#[must_use]
#[allow(clippy::unused_async)]
#[inline(never)]
async fn answer() -> TaskResult<u8> {
    #![allow(unused)]
    Ok(42)
}

#[must_use]
#[task]
async fn answer_below() -> TaskResult<u8> {
    Ok(42)
}

fn main() {
    let _ = (Answer::new(), AnswerBelow::new());
}
