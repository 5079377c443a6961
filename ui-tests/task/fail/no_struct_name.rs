use taskwright::prelude::*;

#[task]
async fn __() {}

fn main() {}
