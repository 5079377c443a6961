use taskwright::prelude::*;

#[task]
async fn update(list: &mut Vec<u8>) {
    list.clear();
}

fn main() {}
