//! Lenient decoding of JSON: a value of an unexpected type is marked as unreadable and does not fail the document.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A field that may be absent or hold a value of an unexpected type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Lenient<T> {
    #[default]
    Absent,
    Read(T),
    Unreadable,
}

/// A type that can be decoded from a JSON string, object or array. By default each of them is unreadable.
pub(super) trait Readable<'de>: Sized {
    fn from_text(_: &str) -> Lenient<Self> {
        Lenient::Unreadable
    }

    fn from_object<A: MapAccess<'de>>(mut object: A) -> Result<Lenient<Self>, A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Lenient::Unreadable)
    }

    fn from_array<A: SeqAccess<'de>>(mut array: A) -> Result<Lenient<Self>, A::Error> {
        while array.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Lenient::Unreadable)
    }
}

/// Implements [`Readable`] for types that are objects, by their derived `Deserialize`.
macro_rules! readable_objects {
    ($($object:ty),* $(,)?) => {
        $(impl<'de> $crate::agent::kubernetes::lenient::Readable<'de> for $object {
            fn from_object<A: serde::de::MapAccess<'de>>(
                object: A,
            ) -> Result<$crate::agent::kubernetes::lenient::Lenient<Self>, A::Error> {
                let object = serde::de::value::MapAccessDeserializer::new(object);
                Self::deserialize(object).map($crate::agent::kubernetes::lenient::Lenient::Read)
            }
        })*
    };
}
pub(super) use readable_objects;

impl<T> Lenient<T> {
    pub(super) fn map<U>(self, convert: impl FnOnce(T) -> U) -> Lenient<U> {
        match self {
            Self::Absent => Lenient::Absent,
            Self::Read(value) => Lenient::Read(convert(value)),
            Self::Unreadable => Lenient::Unreadable,
        }
    }

    pub(super) fn ok(self) -> Option<T> {
        match self {
            Self::Read(value) => Some(value),
            Self::Absent | Self::Unreadable => None,
        }
    }

    /// Returns the value, `absent` if there is no field, or `None` if the field is unreadable.
    pub(super) fn or_absent(self, absent: T) -> Option<T> {
        match self {
            Self::Absent => Some(absent),
            Self::Read(value) => Some(value),
            Self::Unreadable => None,
        }
    }
}

impl<T> Lenient<Lenient<T>> {
    pub(super) fn flatten(self) -> Lenient<T> {
        match self {
            Self::Absent => Lenient::Absent,
            Self::Read(inner) => inner,
            Self::Unreadable => Lenient::Unreadable,
        }
    }
}

impl<T, U> Lenient<(T, U)> {
    pub(super) fn split(self) -> (Lenient<T>, Lenient<U>) {
        match self {
            Self::Absent => (Lenient::Absent, Lenient::Absent),
            Self::Read((left, right)) => (Lenient::Read(left), Lenient::Read(right)),
            Self::Unreadable => (Lenient::Unreadable, Lenient::Unreadable),
        }
    }
}

impl<'de, T: Readable<'de>> Deserialize<'de> for Lenient<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LenientVisitor(PhantomData))
    }
}

struct LenientVisitor<T>(PhantomData<T>);

impl<'de, T: Readable<'de>> Visitor<'de> for LenientVisitor<T> {
    type Value = Lenient<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(T::from_text(text))
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Self::Value, A::Error> {
        T::from_object(object)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Lenient::Absent)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, array: A) -> Result<Self::Value, A::Error> {
        T::from_array(array)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Lenient::Unreadable)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Lenient::Unreadable)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Lenient::Unreadable)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Lenient::Unreadable)
    }
}
