//! OTLP's JSON, within the bounds of its protobuf form.
//!
//! The messages decode themselves ([`opentelemetry_proto`]): field names in lower camel case, trace and span ids in
//! hexadecimal digits, enums as numbers, integers of 64 bits as numbers or text, unknown fields skipped. This module
//! bounds what a body may expand to, and rejects what decoders disagree on.

use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// The most objects and lists of a body. An event has up to 14, so this is more than the 2,000 that a request may have.
/// An object takes up to 700 bytes until it is decoded, so this is 23 MB, less than the largest protobuf message takes.
const MAX_NODES: usize = 32_768;

/// A body that is not a message as OTLP's JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is not the JSON of its OTLP message")]
pub struct InvalidJson;

/// Decodes a message. A member that is null counts as absent, as in any JSON of protobuf.
///
/// Fails if `body` is not JSON, is nested more than 127 deep, has a key twice in one object, or has more than 32,768
/// objects and lists. The error says nothing of the body.
pub fn decode<M: DeserializeOwned>(body: &[u8]) -> Result<M, InvalidJson> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let mut nodes = 0;
    let value = Json { nodes: &mut nodes }.deserialize(&mut json).map_err(|_| InvalidJson)?;
    json.end().map_err(|_| InvalidJson)?;
    // A struct would be read from a list, too, by the positions of its fields.
    if value.is_object() { M::deserialize(value).map_err(|_| InvalidJson) } else { Err(InvalidJson) }
}

/// A value with unique keys and without null members.
struct Json<'a> {
    /// The number of objects and lists of the body so far.
    nodes: &'a mut usize,
}

impl Json<'_> {
    fn count_node<E: Error>(&mut self) -> Result<(), E> {
        *self.nodes += 1;
        if *self.nodes > MAX_NODES { Err(E::custom("too many objects and lists")) } else { Ok(()) }
    }
}

impl<'de> DeserializeSeed<'de> for Json<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Json<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<Value, A::Error> {
        self.count_node()?;
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(Json { nodes: self.nodes })? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut object: A) -> Result<Value, A::Error> {
        self.count_node()?;
        let mut members = Map::new();
        while let Some(key) = object.next_key::<String>()? {
            let value = object.next_value_seed(Json { nodes: self.nodes })?;
            if members.insert(key, value).is_some() {
                return Err(A::Error::custom("a key is there twice"));
            }
        }
        members.retain(|_, value| !value.is_null());
        Ok(Value::Object(members))
    }
}
