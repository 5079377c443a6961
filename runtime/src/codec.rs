//! Payload bytes: MessagePack by field name, or JSON; every payload says which it is.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::fields::Slot;

/// How the bytes of a [`Payload`] are written.
///
/// Either reads values that are nested up to 127 levels deep, and refuses deeper ones before they can fill the stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Codec {
    /// MessagePack with named fields: compact, and open to new fields. The default.
    #[default]
    MessagePack,
    /// JSON, for payloads that other languages or people write.
    Json,
}

impl Codec {
    /// The number that stands for this codec in every store; never given to another.
    #[must_use]
    pub const fn tag(self) -> u8 {
        match self {
            Self::MessagePack => 1,
            Self::Json => 2,
        }
    }

    /// The codec of a stored number.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`] when no codec has this number: a newer version wrote it.
    pub fn from_tag(tag: u8) -> Result<Self> {
        match tag {
            1 => Ok(Self::MessagePack),
            2 => Ok(Self::Json),
            _ => Err(Error::new(
                ErrorKind::Codec,
                format!("payload codec {tag} is not known to this version; update this program"),
            )),
        }
    }
}

/// Encoded bytes together with how they are encoded: a task's parameters, or its result.
///
/// ```
/// use taskwright::codec::{Codec, Payload};
///
/// let payload = Payload::encode(Codec::Json, &(42, "ada"))?;
/// assert_eq!(&payload.bytes[..], br#"[42,"ada"]"#);
/// assert_eq!(payload.decode::<(u32, String)>()?, (42, "ada".to_owned()));
/// # Ok::<(), taskwright::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    /// How `bytes` is to be read.
    pub codec: Codec,
    /// The encoded value.
    pub bytes: Bytes,
}

impl Payload {
    /// Encodes `value`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`] when the value's `Serialize` refuses.
    pub fn encode<T: Serialize + ?Sized>(codec: Codec, value: &T) -> Result<Self> {
        Self::write(codec, &value, std::any::type_name::<T>())
    }

    /// Decodes the bytes as a `T`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`] when the bytes are not a `T`.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T> {
        // No combinators: each would be compiled for each task.
        let mut value = None;
        match (self.read(&mut value, std::any::type_name::<T>()), value) {
            (Ok(()), Some(value)) => Ok(value),
            (Ok(()), None) => Err(unread()),
            (Err(error), _) => Err(error),
        }
    }

    /// [`Payload::encode`] without its type, so that a type costs the compiler next to nothing.
    fn write(codec: Codec, value: &dyn erased_serde::Serialize, type_name: &str) -> Result<Self> {
        // As large as most are, so that most are written without moving.
        let mut bytes = Vec::with_capacity(256);
        let encoded = match codec {
            Codec::MessagePack => rmp_serde::encode::write_named(&mut bytes, value).map_err(|error| error.to_string()),
            Codec::Json => serde_json::to_writer(&mut bytes, value).map_err(|error| error.to_string()),
        };
        match encoded {
            // Copied, lest each payload keep the room that it has not used.
            Ok(()) => Ok(Self { codec, bytes: Bytes::copy_from_slice(&bytes) }),
            Err(cause) => {
                let message = format!("a {type_name} does not encode; check its Serialize");
                Err(Error::new(ErrorKind::Codec, message).because(cause))
            }
        }
    }

    /// [`Payload::decode`] without its type.
    fn read(&self, slot: &mut dyn Slot, type_name: &str) -> Result<()> {
        let read = match self.codec {
            Codec::MessagePack => read_message_pack(&self.bytes, slot),
            Codec::Json => read_json(&self.bytes, slot),
        };
        read.map_err(|cause| {
            Error::new(
                ErrorKind::Codec,
                format!(
                    "{} bytes of {:?} do not decode as {type_name}; new parameters need #[serde(default)]",
                    self.bytes.len(),
                    self.codec,
                ),
            )
            .because(cause)
        })
    }

    /// The payload as JSON for people to read; bytes that do not decode are shown as a string.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        self.decode().unwrap_or_else(|_| serde_json::Value::String(self.bytes.escape_ascii().to_string()))
    }
}

/// What `serde_json` stops at; MessagePack's own limit is eight times as high, and a worker's stack is not.
const DEEPEST: usize = 128;

fn read_message_pack(bytes: &[u8], slot: &mut dyn Slot) -> Result<(), String> {
    let mut reader = rmp_serde::Deserializer::from_read_ref(bytes);
    reader.set_max_depth(DEEPEST);
    slot.read(&mut <dyn erased_serde::Deserializer<'_>>::erase(&mut reader)).map_err(|error| error.to_string())
}

fn read_json(bytes: &[u8], slot: &mut dyn Slot) -> Result<(), String> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    slot.read(&mut <dyn erased_serde::Deserializer<'_>>::erase(&mut reader)).map_err(|error| error.to_string())?;
    reader.end().map_err(|error| error.to_string())
}

fn unread() -> Error {
    Error::new(ErrorKind::Codec, "a payload was decoded and is not there, which is a defect in taskwright")
}

/// Shows the size and never the content, which may be private.
impl std::fmt::Debug for Payload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Payload({:?}, {} bytes)", self.codec, self.bytes.len())
    }
}
