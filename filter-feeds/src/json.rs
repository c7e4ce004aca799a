//! Typed pieces of daemons' JSON: prefixes as keys, objects whose keys may repeat. Strict: what is not exactly a
//! prefix is an error. Never holds an untyped document.
use crate::printed::Printed;
use std::fmt;
use std::marker::PhantomData;

use filter_core::{Asn, Family, Prefix};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

/// Reads a prefix as a router writes it: with a length, without host bits.
pub(super) fn prefix(text: &str) -> Result<Prefix, String> {
    let parsed: Prefix = text
        .parse()
        .map_err(|error| format!("{}: {error}", Printed(text)))?;
    let address = text
        .split_once('/')
        .and_then(|(address, _)| address.parse().ok());
    let written: Option<std::net::IpAddr> = address;
    if written.map(filter_core::Address::from) == Some(parsed.address()) {
        Ok(parsed)
    } else {
        Err(format!(
            "{} has host bits: no router writes that",
            Printed(text)
        ))
    }
}

/// Is the prefix of the family asked for?
pub(super) fn of_family(prefix: Prefix, family: Family) -> Result<Prefix, String> {
    if prefix.family() == family {
        Ok(prefix)
    } else {
        Err(format!("{prefix} stands in an {family} table"))
    }
}

/// A prefix in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Net(pub(super) Prefix);

impl<'de> Deserialize<'de> for Net {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Net;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a prefix")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Net, E> {
                prefix(text).map(Net).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// An AS number as routers write it: a number or text, asplain or asdot (FRR `as-notation`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AsNumber(pub(super) Asn);

impl<'de> Deserialize<'de> for AsNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = AsNumber;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an AS number")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<AsNumber, E> {
                let number = u32::try_from(number).map_err(E::custom)?;
                Ok(AsNumber(Asn::new(number)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<AsNumber, E> {
                text.parse().map(AsNumber).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// The members of an object in order, repeated keys kept: a map would drop routes silently.
#[derive(Clone, Debug)]
pub(super) struct Members<K, V>(pub(super) Vec<(K, V)>);

impl<'de, K: Deserialize<'de>, V: Deserialize<'de>> Deserialize<'de> for Members<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object<K, V>(PhantomData<(K, V)>);
        impl<'de, K: Deserialize<'de>, V: Deserialize<'de>> Visitor<'de> for Object<K, V> {
            type Value = Members<K, V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object(PhantomData))
    }
}
