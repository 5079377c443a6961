//! `#[cfg]` on parameters and on the function itself.

use taskwright::prelude::*;

#[task(queue = "reports")]
async fn report(
    day: u32,
    #[cfg(all())] to: String,
    #[cfg(any())] never: Missing,
    #[cfg(all())]
    #[cfg(any())]
    twice: Missing,
    #[cfg(all())]
    #[state]
    state: &String,
    #[cfg(any())] ctx: &Context,
) {
    let _ = (day, to, state);
}

#[task]
#[cfg(any())]
async fn absent(missing: Missing) {}

#[cfg(any())]
#[task]
async fn absent_too(missing: Missing) {}

fn main() {
    let report = Report::new(1, "ada");
    assert_eq!((report.day, report.to.as_str()), (1, "ada"));
    assert_eq!(Report::DEFINITION.parameters.len(), 2);
    assert_eq!(Report::DEFINITION.state.len(), 1);
    assert_eq!(Report::DEFINITION.options.queue, Some("reports"));
}
