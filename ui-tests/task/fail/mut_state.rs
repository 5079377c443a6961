use taskwright::prelude::*;

#[task]
async fn update(#[state] list: &mut Vec<u8>) {
    list.clear();
}

fn main() {}
