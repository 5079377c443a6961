//! Structs of named fields, read and written through serde without code of their own.
//!
//! Serde's derive writes a visitor for each struct, and the compiler makes it anew for each format: most of what a task
//! costs to compile. Here it stands once, over [`erased_serde`]; a struct only lists its fields, and what is compiled
//! for it is that list. On the wire there is no difference, nor in what is refused: `tests/fields.rs` compares them.

use std::fmt;

use erased_serde::{Deserializer as ErasedDeserializer, Serialize as ErasedSerialize};
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;
use serde::ser::{SerializeStruct, Serializer};

/// Writes a struct, as a derived `Serialize` does.
pub fn write<S: Serializer>(
    serializer: S,
    name: &'static str,
    fields: &[(&'static str, &dyn ErasedSerialize)],
) -> Result<S::Ok, S::Error> {
    let mut written = serializer.serialize_struct(name, fields.len())?;
    for (field, value) in fields {
        written.serialize_field(field, value)?;
    }
    written.end()
}

/// Reads a struct into the slots of its fields, as a derived `Deserialize` does: unknown fields are passed over, and
/// what may be missing is an `Option`.
///
/// When it returns without an error, every slot is filled.
pub fn read<'de, D: Deserializer<'de>>(
    deserializer: D,
    name: &'static str,
    fields: &'static [&'static str],
    slots: &mut [&mut dyn Slot],
) -> Result<(), D::Error> {
    deserializer.deserialize_struct(name, fields, Struct { name, fields, slots })
}

/// The value of a slot that [`read`] has filled.
pub fn filled<T, E: Error>(slot: Option<T>) -> Result<T, E> {
    slot.ok_or_else(unfilled)
}

fn unfilled<E: Error>() -> E {
    E::custom("a field was read and is not there, which is a defect in taskwright")
}

/// Where a value goes when it is read, whatever its type.
pub trait Slot {
    /// Reads the value.
    fn read(&mut self, deserializer: &mut dyn ErasedDeserializer<'_>) -> Result<(), erased_serde::Error>;

    /// Whether it has been read.
    fn is_filled(&self) -> bool;
}

impl<T: DeserializeOwned> Slot for Option<T> {
    fn read(&mut self, deserializer: &mut dyn ErasedDeserializer<'_>) -> Result<(), erased_serde::Error> {
        // Without `?`, which would be compiled for each type.
        match T::deserialize(deserializer) {
            Ok(value) => *self = Some(value),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn is_filled(&self) -> bool {
        self.is_some()
    }
}

/// What a format is given to read a struct.
struct Struct<'a, 'b> {
    name: &'static str,
    fields: &'static [&'static str],
    slots: &'a mut [&'b mut dyn Slot],
}

impl<'de> Visitor<'de> for Struct<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "struct {}", self.name)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { fields, slots, .. } = self;
        while let Some(place) = map.next_key_seed(Place(fields))? {
            match place {
                None => drop(map.next_value::<IgnoredAny>()?),
                Some(place) if slots[place].is_filled() => return Err(A::Error::duplicate_field(fields[place])),
                Some(place) => map.next_value_seed(Fill(slots[place]))?,
            }
        }
        for (field, slot) in fields.iter().zip(slots).filter(|(_, slot)| !slot.is_filled()) {
            Fill(*slot).deserialize(Missing(field)).map_err(A::Error::custom)?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self { name, fields, slots } = self;
        for (place, slot) in slots.iter_mut().enumerate() {
            if seq.next_element_seed(Fill(*slot))?.is_none() {
                let plural = if fields.len() == 1 { "" } else { "s" };
                let expected = format!("struct {name} with {} element{plural}", fields.len());
                return Err(A::Error::invalid_length(place, &expected.as_str()));
            }
        }
        Ok(())
    }
}

/// Reads a field's name as its place among the fields; none when there is no such field.
struct Place(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Place {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<usize>, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Place {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("field identifier")
    }

    fn visit_u64<E: Error>(self, place: u64) -> Result<Option<usize>, E> {
        Ok(usize::try_from(place).ok().filter(|place| *place < self.0.len()))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Option<usize>, E> {
        self.visit_bytes(name.as_bytes())
    }

    fn visit_bytes<E: Error>(self, name: &[u8]) -> Result<Option<usize>, E> {
        Ok(self.0.iter().position(|field| field.as_bytes() == name))
    }
}

/// Reads a field's value into its slot.
struct Fill<'a>(&'a mut dyn Slot);

impl<'de> DeserializeSeed<'de> for Fill<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.0.read(&mut <dyn ErasedDeserializer<'_>>::erase(deserializer)).map_err(D::Error::custom)
    }
}

/// The value of a field that is not there: `None` where that is a value, and else an error.
struct Missing(&'static str);

impl<'de> Deserializer<'de> for Missing {
    type Error = serde::de::value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(Error::missing_field(self.0))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_none()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}
