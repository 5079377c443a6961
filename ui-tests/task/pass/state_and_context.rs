//! What the worker provides: borrowed, cloned, shared, behind a trait, and the context in each of its forms.

use std::sync::Arc;

use taskwright::prelude::*;

#[derive(Clone)]
struct Mailer;

trait Store: Send + Sync {}

mod app {
    pub type TaskContext = taskwright::Context;
}

#[task]
async fn deliver(
    #[state] borrowed: &Mailer,
    to: String,
    #[state] cloned: Mailer,
    #[state] shared: Arc<Mailer>,
    #[state] shared_and_borrowed: &Arc<Mailer>,
    #[state] behind_a_trait: &Arc<dyn Store>,
    #[state] function: &Arc<dyn Fn(&str) -> bool + Send + Sync>,
    ctx: &Context,
    owned: taskwright::Context,
    #[ctx] renamed: &app::TaskContext,
) {
    let _ = (borrowed, to, cloned, shared, shared_and_borrowed, behind_a_trait, function(""));
    let _ = (ctx.attempt(), owned.attempt(), renamed.attempt());
}

#[task]
fn plain(to: String, #[state] mailer: &Mailer, #[state] shared: Arc<Mailer>, ctx: &Context) -> TaskResult {
    let _ = (to, mailer, shared, ctx.attempt());
    Ok(())
}

fn main() {
    assert_eq!(Deliver::new("ada").to, "ada");
    let needs: Vec<&str> = Deliver::DEFINITION.state.iter().map(|need| need.parameter).collect();
    assert_eq!(needs, ["borrowed", "cloned", "shared", "shared_and_borrowed", "behind_a_trait", "function"]);
    assert_eq!(Plain::DEFINITION.state.len(), 2);
    assert_eq!(Deliver::DEFINITION.parameters.len(), 1);
}
