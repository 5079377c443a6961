//! `new` takes what converts, and literals where the parameter is a number.

use std::collections::HashMap;
use std::num::NonZeroU32;

use taskwright::prelude::*;

#[task]
async fn numbers(small: u8, large: i128, float: f64, letter: char, flag: bool, size: usize) {
    let _ = (small, large, float, letter, flag, size);
}

#[task]
async fn others(
    text: String,
    boxed: Box<str>,
    list: Vec<u64>,
    maybe: Option<u32>,
    pair: (u8, String),
    array: [u8; 3],
    map: HashMap<String, u8>,
    wait: Duration,
    count: NonZeroU32,
    cow: std::borrow::Cow<'static, str>,
    unit: (),
) {
    let _ = (text, boxed, list, maybe, pair, array, map, wait, count, cow, unit);
}

fn main() {
    let numbers = Numbers::new(1, -2, 0.5, 'x', true, 9);
    assert_eq!(numbers.large, -2);
    let others = Others::new(
        "text",
        "boxed",
        vec![1, 2],
        None,
        (1, "two".to_owned()),
        [1, 2, 3],
        [("one".to_owned(), 1)],
        Duration::from_secs(1),
        NonZeroU32::MIN,
        "cow",
        (),
    );
    assert_eq!(others.map["one"], 1);
    let types: Vec<&str> = Others::DEFINITION.parameters.iter().map(|parameter| parameter.type_name).collect();
    assert_eq!(types[4..7], ["(u8, String)", "[u8; 3]", "HashMap<String, u8>"]);
    assert_eq!(types[9], "std::borrow::Cow<'static, str>");
    let literal = Numbers { small: 1, ..numbers };
    assert_eq!(literal.small, 1);
}
