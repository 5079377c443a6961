use taskwright::prelude::*;

#[derive(Task)]
union Mail {
    number: u32,
    float: f32,
}

fn main() {}
