use taskwright::prelude::*;

#[task]
async fn update(ctx: &mut Context) {
    let _ = ctx;
}

fn main() {}
