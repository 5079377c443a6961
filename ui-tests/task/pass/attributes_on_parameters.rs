//! Docs and serde's attributes go to the field, raw identifiers and `mut` are understood.

use taskwright::prelude::*;

mod seconds {
    use std::time::Duration;

    use taskwright::private::serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(wait: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(wait.as_secs())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_secs)
    }
}

/// Has no serde of its own.
struct Opaque;

impl Default for Opaque {
    fn default() -> Self {
        Self
    }
}

#[task(unique = "{type}-{to}")]
async fn report(
    /// Which report it is.
    r#type: String,
    #[serde(default)] mut copies: u32,
    #[serde(with = "seconds")] wait: Duration,
    #[serde(rename = "recipient")] to: &str,
    #[serde(skip)] opaque: Opaque,
    #[allow(unused_variables)] ignored: u8,
) {
    copies += 1;
    let _ = (r#type, copies, wait, to, opaque);
}

#[task]
async fn r#loop() {}

fn main() {
    let payload = taskwright::codec::Payload {
        codec: taskwright::codec::Codec::Json,
        bytes: br#"{"type": "daily", "wait": 5, "recipient": "ada", "ignored": 0}"#.to_vec().into(),
    };
    let task: Report = payload.decode().unwrap();
    assert_eq!((task.copies, task.wait.as_secs(), task.to.as_str()), (0, 5, "ada"));
    assert_eq!(Task::unique_key(&task).as_deref(), Some("daily-ada"));
    let names: Vec<&str> = Report::DEFINITION.parameters.iter().map(|parameter| parameter.name).collect();
    assert_eq!(names, ["type", "copies", "wait", "recipient", "opaque", "ignored"]);
    assert!(Loop::DEFINITION.name.ends_with("::loop"));
}
