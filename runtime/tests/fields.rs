//! The struct that `#[task]` makes is read and written as one with serde's derives is: in either format it gives the
//! same bytes, reads the same values, and refuses the same input in the same words.
//!
//! Each shape is written down once and made twice, by the attribute and by the derives. What the two make of an input
//! is then compared: of the mistakes below in every field, and of payloads with one byte changed or their end cut off.

#![allow(clippy::unwrap_used, reason = "a test that can't go on panics, in its helpers too")]
#![allow(clippy::unused_async, reason = "these tasks are only read and written")]
#![allow(
    clippy::many_single_char_names,
    clippy::option_option,
    clippy::too_many_arguments,
    reason = "the shapes are odd on purpose"
)]

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::net::IpAddr;

use serde::de::{DeserializeOwned, Deserializer, Visitor};
use serde::ser::{SerializeMap, Serializer};
use serde_json::{Value, json};
use taskwright::codec::{Codec, Payload};
use taskwright::prelude::*;

/// Makes each shape twice, under one name, since errors tell it.
macro_rules! shapes {
    ($($function:ident / $name:ident { $($(#[$attr:meta])* $field:ident: $ty:ty),* $(,)? })*) => {
        mod made {
            #![allow(dead_code, reason = "nothing here is dispatched")]
            use super::*;
            $(
                #[task(struct = $name)]
                pub(super) async fn $function($($(#[$attr])* $field: $ty),*) {
                    $(let _ = $field;)*
                }
            )*
        }

        mod derived {
            use super::*;
            $(
                #[derive(Serialize, Deserialize)]
                pub(super) struct $name {
                    $($(#[$attr])* pub(super) $field: $ty,)*
                }
            )*
        }
    };
}

shapes! {
    nothing / Nothing {}
    single / Single { only: u64 }
    words / Words { word: String, letter: char, either: Cow<'static, str>, lent: Lent }
    numbers / Numbers { tiny: i8, small: u16, large: u64, negative: i64, real: f64, short: f32, truth: bool }
    huge / Huge { unsigned: u128, signed: i128 }
    options / Options { first: Option<u8>, second: Option<String>, nested: Option<Option<u8>>, unit: Option<()> }
    lists / Lists { list: Vec<u8>, pair: (u8, String), array: [u16; 2], map: BTreeMap<String, i32> }
    units / Units { unit: (), unit_struct: Unit, wrapped: Wrapped }
    nested / Nested { inner: Inner, choices: Vec<Choice>, tagged: Tagged, untagged: Untagged, flat: Flat }
    anything / Anything { value: Value }
    bytes / Bytes { data: Data }
    readable / Readable { address: IpAddr, id: JobId }
    silent / Silent { before: u8, silence: Silence }
    raw_names / RawNames { r#type: u8, r#struct: u8 }
    with_attributes / WithAttributes { required: u8, #[serde(default)] added: u8, #[serde(rename = "other")] named: u8 }
    many / Many { a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8, i: u8, j: u8, k: u8, l: u8, m: u8, n: u8,
        o: u8, p: u8, q: u8 }
}

#[derive(Serialize, Deserialize)]
struct Unit;

#[derive(Serialize, Deserialize)]
struct Wrapped(u8);

#[derive(Serialize, Deserialize)]
struct Inner {
    number: u8,
    optional: Option<u8>,
}

#[derive(Serialize, Deserialize)]
enum Choice {
    Unit,
    Newtype(u8),
    Tuple(u8, String),
    Struct { x: u8 },
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", deny_unknown_fields)]
enum Tagged {
    One { x: u8 },
    Two,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(i64),
    Text(String),
}

#[derive(Serialize, Deserialize)]
struct Flat {
    own: u8,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

/// Bytes that are written as such, not as a list of numbers.
struct Data(Vec<u8>);

impl Serialize for Data {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_byte_buf(Bytes).map(Self)
    }
}

struct Bytes;

impl Visitor<'_> for Bytes {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.to_vec())
    }
}

/// Text that only a format which lends it can give.
#[derive(Serialize)]
struct Lent(String);

impl<'de> Deserialize<'de> for Lent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&str>::deserialize(deserializer).map(|text| Self(text.to_owned()))
    }
}

/// It can be read, and refuses to be written.
#[derive(Deserialize)]
struct Silence;

impl Serialize for Silence {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("silence can't be written"))
    }
}

/// A map with keys of any type, in this order, the same one twice if need be.
struct Entries(Vec<(Value, Value)>);

impl Serialize for Entries {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

const FORMATS: [Codec; 2] = [Codec::MessagePack, Codec::Json];

/// The formats themselves, as a program without Taskwright would use them.
fn write<T: Serialize>(codec: Codec, value: &T) -> Result<Vec<u8>, String> {
    match codec {
        Codec::Json => serde_json::to_vec(value).map_err(|error| error.to_string()),
        _ => rmp_serde::to_vec_named(value).map_err(|error| error.to_string()),
    }
}

fn read<T: DeserializeOwned>(codec: Codec, bytes: &[u8]) -> Result<T, String> {
    match codec {
        Codec::Json => serde_json::from_slice(bytes).map_err(|error| error.to_string()),
        _ => rmp_serde::from_slice(bytes).map_err(|error| error.to_string()),
    }
}

/// What a type makes of some bytes: its value written in each format, or why it refuses them.
type Made = Result<[Result<Vec<u8>, String>; 2], String>;

fn directly<T: Serialize + DeserializeOwned>(codec: Codec, bytes: &[u8]) -> Made {
    read(codec, bytes).map(|value: T| FORMATS.map(|codec| write(codec, &value)))
}

/// As [`directly`], the way that a job's payload goes.
fn as_payload<T: Serialize + DeserializeOwned>(codec: Codec, bytes: &[u8]) -> Made {
    let cause = |error: taskwright::Error| error.source().unwrap().to_string();
    let payload = Payload { codec, bytes: bytes.to_vec().into() };
    let value: T = payload.decode().map_err(cause)?;
    Ok(FORMATS.map(|codec| Payload::encode(codec, &value).map(|payload| payload.bytes.to_vec()).map_err(cause)))
}

struct Comparison {
    shape: &'static str,
    compared: usize,
    differences: Vec<String>,
}

impl Comparison {
    fn bytes<M, D>(&mut self, codec: Codec, bytes: &[u8])
    where
        M: Serialize + DeserializeOwned,
        D: Serialize + DeserializeOwned,
    {
        self.compared += 1;
        let expected = directly::<D>(codec, bytes);
        for (way, actual) in
            [("directly", directly::<M>(codec, bytes)), ("as a payload", as_payload::<M>(codec, bytes))]
        {
            if actual != expected {
                let (shape, input) = (self.shape, bytes.escape_ascii());
                let difference = format!("{shape}, {codec:?} {way}, {input}:\n  {actual:?}\n  {expected:?}");
                self.differences.push(difference);
            }
        }
    }

    fn value<M, D>(&mut self, value: &impl Serialize)
    where
        M: Serialize + DeserializeOwned,
        D: Serialize + DeserializeOwned,
    {
        for codec in FORMATS {
            // Some keys can't be written in JSON.
            if let Ok(bytes) = write(codec, value) {
                self.bytes::<M, D>(codec, &bytes);
            }
        }
    }
}

/// Values of every kind that a format has.
fn strangers() -> Vec<Value> {
    let deep = (0..40).fold(json!(1), |value, _| json!([value]));
    vec![
        json!(null),
        json!(true),
        json!(0),
        json!(300),
        json!(-1),
        json!(u64::MAX),
        json!(1.5),
        json!(""),
        json!("text"),
        json!([]),
        json!([1, 2]),
        json!({}),
        json!({ "x": 1 }),
        deep,
    ]
}

/// What can be wrong with a map of these entries.
fn mistakes(entries: &[(Value, Value)]) -> Vec<Entries> {
    let mut inputs = vec![Entries(entries.to_vec()), Entries(entries.iter().rev().cloned().collect())];
    let with = |entry: (Value, Value)| Entries(entries.iter().cloned().chain([entry]).collect());
    for stranger in strangers() {
        inputs.push(with((json!("unknown"), stranger.clone())));
        inputs.push(with((stranger, json!(1))));
    }
    for place in 0..entries.len() {
        let (key, value) = &entries[place];
        let mut without = entries.to_vec();
        without.remove(place);
        inputs.push(Entries(without));
        inputs.push(with((key.clone(), value.clone())));
        inputs.push(with((json!(place), value.clone())));
        for stranger in strangers() {
            let mut changed = entries.to_vec();
            changed[place].1 = stranger;
            inputs.push(Entries(changed));
        }
    }
    let by_place = entries.iter().enumerate().map(|(place, (_, value))| (json!(place), value.clone()));
    inputs.push(Entries(by_place.collect()));
    inputs
}

/// Bytes that mean something in either format: MessagePack's markers and JSON's punctuation.
const TELLING: &[u8] = b"\x00\x01\x7f\x80\x81\x8f\x90\x91\x9f\xa0\xa1\xbf\xc0\xc1\xc2\xc4\xc6\xc7\xca\xcb\xcc\xcf\xd0\
    \xd3\xd4\xd8\xd9\xdb\xdc\xdd\xde\xdf\xe0\xff \"'0-.e{}[],:\\nt";

fn compare<M, D>(shape: &'static str, samples: impl IntoIterator<Item = D>)
where
    M: Serialize + DeserializeOwned,
    D: Serialize + DeserializeOwned,
{
    let mut comparison = Comparison { shape, compared: 0, differences: Vec::new() };
    for stranger in strangers() {
        comparison.value::<M, D>(&stranger);
    }
    for sample in samples {
        for codec in FORMATS {
            let bytes = write(codec, &sample).unwrap();
            assert!(directly::<D>(codec, &bytes).is_ok(), "{shape} is not a sample of itself in {codec:?}");
            comparison.bytes::<M, D>(codec, &bytes);
            for end in 0..bytes.len() {
                comparison.bytes::<M, D>(codec, &bytes[..end]);
            }
            comparison.bytes::<M, D>(codec, &[&bytes[..], b" 1"].concat());
            for place in 0..bytes.len() {
                for telling in TELLING {
                    let mut changed = bytes.clone();
                    changed[place] = *telling;
                    comparison.bytes::<M, D>(codec, &changed);
                }
            }
        }
        let Ok(Value::Object(map)) = serde_json::to_value(&sample) else { continue };
        let entries: Vec<_> = map.into_iter().map(|(key, value)| (Value::String(key), value)).collect();
        for input in mistakes(&entries) {
            comparison.value::<M, D>(&input);
        }
        let mut list: Vec<_> = entries.into_iter().map(|(_, value)| value).collect();
        comparison.value::<M, D>(&list);
        list.push(json!(1));
        comparison.value::<M, D>(&list);
        list.truncate(list.len().saturating_sub(2));
        comparison.value::<M, D>(&list);
    }
    let Comparison { compared, differences, .. } = comparison;
    let told = differences.iter().take(10).cloned().collect::<Vec<_>>().join("\n");
    assert!(differences.is_empty(), "{} of {compared} inputs differ, made first:\n{told}", differences.len());
}

macro_rules! compare {
    ($shape:ident $($sample:tt),* $(,)?) => {
        compare::<made::$shape, derived::$shape>(stringify!($shape), [$(derived::$shape $sample),*])
    };
}

#[test]
fn no_fields_and_one() {
    compare!(Nothing {});
    compare!(Single { only: 7 }, { only: u64::MAX });
}

#[test]
fn text() {
    let (letter, either) = ('é', Cow::Borrowed("either"));
    compare!(Words { word: "word \"quoted\" ünd\n".to_owned(), letter, either, lent: Lent("lent".to_owned()) });
}

#[test]
fn numbers() {
    compare!(
        Numbers { tiny: -1, small: 300, large: u64::MAX, negative: i64::MIN, real: 0.1, short: 1.5, truth: true },
        { tiny: 0, small: 0, large: 1 << 53, negative: -33, real: -0.0, short: f32::MIN, truth: false },
    );
    compare!(Huge { unsigned: u128::MAX, signed: i128::MIN }, { unsigned: 1, signed: -1 });
}

#[test]
fn what_may_be_missing() {
    let second = Some("two".to_owned());
    compare!(
        Options { first: Some(1), second, nested: Some(Some(2)), unit: None },
        { first: None, second: None, nested: None, unit: None },
    );
    compare!(WithAttributes { required: 1, added: 2, named: 3 });
}

#[test]
fn lists_and_maps() {
    let map = BTreeMap::from([("one".to_owned(), 1), ("minus".to_owned(), -1)]);
    compare!(Lists { list: vec![1, 2, 200], pair: (1, "two".to_owned()), array: [1, 2], map });
}

#[test]
fn types_without_content() {
    compare!(Units { unit: (), unit_struct: Unit, wrapped: Wrapped(1) });
}

#[test]
fn structs_and_enums_within() {
    let inner = || Inner { number: 1, optional: None };
    let choices = vec![Choice::Unit, Choice::Newtype(1), Choice::Tuple(1, "t".to_owned()), Choice::Struct { x: 1 }];
    let flat = || Flat { own: 1, rest: BTreeMap::from([("more".to_owned(), json!([1, "two"]))]) };
    compare!(
        Nested { inner: inner(), choices, tagged: Tagged::One { x: 1 }, untagged: Untagged::Number(-1), flat: flat() },
        {
            inner: inner(),
            choices: Vec::new(),
            tagged: Tagged::Two,
            untagged: Untagged::Text("text".to_owned()),
            flat: flat(),
        },
    );
}

#[test]
fn what_describes_itself() {
    compare!(Anything { value: json!({ "a": [1, -1, 1.5, null, true, "text"], "b": {} }) });
}

#[test]
fn bytes() {
    // JSON has none, and writes a list of numbers that `Data` does not read.
    let mut comparison = Comparison { shape: "Bytes", compared: 0, differences: Vec::new() };
    let sample = derived::Bytes { data: Data(vec![0, 255, 10]) };
    comparison.value::<made::Bytes, derived::Bytes>(&sample);
    comparison.value::<made::Bytes, derived::Bytes>(&json!({ "data": "text" }));
    comparison.value::<made::Bytes, derived::Bytes>(&json!({ "data": 1 }));
    assert_eq!(comparison.differences, [""; 0]);
}

#[test]
fn what_depends_on_whether_people_read_it() {
    compare!(Readable { address: IpAddr::from([127, 0, 0, 1]), id: JobId::new() });
}

#[test]
fn what_refuses_to_be_written() {
    let input = json!({ "before": 1, "silence": null });
    let mut comparison = Comparison { shape: "Silent", compared: 0, differences: Vec::new() };
    comparison.value::<made::Silent, derived::Silent>(&input);
    assert_eq!(comparison.differences, [""; 0]);
    let refused = directly::<made::Silent>(Codec::Json, input.to_string().as_bytes()).unwrap();
    assert_eq!(refused, FORMATS.map(|_| Err("silence can't be written".to_owned())));
}

#[test]
fn a_payload_is_refused_before_it_is_too_deep_for_the_stack() {
    let depths = [(1, true), (126, true), (127, false), (1_023, false), (1_000_000, false)];
    for (depth, is_read) in depths {
        // One level more is the struct itself.
        let message_pack = [b"\x81\xa5value".to_vec(), vec![0x91; depth], vec![1]].concat();
        let json = format!("{{\"value\":{}1{}}}", "[".repeat(depth), "]".repeat(depth)).into_bytes();
        let inputs = [(Codec::MessagePack, message_pack, "depth limit"), (Codec::Json, json, "recursion limit")];
        for (codec, bytes, limit) in inputs {
            let read = as_payload::<made::Anything>(codec, &bytes);
            assert_eq!(read.is_ok(), is_read, "{depth} levels of {codec:?}: {read:?}");
            let told = read.err().unwrap_or_else(|| limit.to_owned());
            assert!(told.contains(limit), "{told}");
        }
    }
}

#[test]
fn names_that_are_keywords() {
    compare!(RawNames { r#type: 1, r#struct: 2 });
}

#[test]
fn more_fields_than_a_short_map_has() {
    compare!(Many {
        a: 1,
        b: 2,
        c: 3,
        d: 4,
        e: 5,
        f: 6,
        g: 7,
        h: 8,
        i: 9,
        j: 10,
        k: 11,
        l: 12,
        m: 13,
        n: 14,
        o: 15,
        p: 16,
        q: 17,
    });
}
