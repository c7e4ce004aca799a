//! What operators switched at run time, against the configuration, and what limits froze: as types, for whoever keeps it across a reboot. Across a
//! restart the data plane's own words keep it. Never read or written here.
use std::collections::BTreeMap;

use filter_core::{Class, Classes, Mode};

use crate::frozen::{Frozen, Measures};
use crate::place::AcceptedMacs;

/// See the file's head. What is not named here is as the configuration says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
pub struct Switched {
    /// Nothing is dropped anywhere (`observe --all`), whatever the rest says.
    pub all_off: bool,
    /// By the interface's name.
    pub interfaces: BTreeMap<String, Permit>,
    /// By the peer's name.
    pub peers: BTreeMap<String, Permit>,
    /// By the peer's name: the MACs that an operator accepted for it.
    #[cfg_attr(
        feature = "serde",
        serde(
            with = "written::accepted",
            skip_serializing_if = "AcceptedMacs::is_empty"
        )
    )]
    pub accepted: AcceptedMacs,
    /// By the peer's name: what no operator switched, but `max_prefixes` froze; its last good sources.
    #[cfg_attr(
        feature = "serde",
        serde(with = "written::frozen", skip_serializing_if = "Frozen::is_empty")
    )]
    pub frozen: Frozen,
    /// As above, of those that froze because of how much they cover.
    #[cfg_attr(
        feature = "serde",
        serde(with = "written::frozen", skip_serializing_if = "Frozen::is_empty")
    )]
    pub too_wide: Frozen,
    /// The last good sources of what nothing froze.
    #[cfg_attr(
        feature = "serde",
        serde(with = "written::frozen", skip_serializing_if = "Frozen::is_empty")
    )]
    pub good_sources: Frozen,
    /// What growth of their sources is measured against.
    #[cfg_attr(
        feature = "serde",
        serde(with = "written::measures", skip_serializing_if = "Measures::is_empty")
    )]
    pub measures: Measures,
}

/// What an operator permits for one peer or interface.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct Permit {
    /// `observe`: nothing; `enforce`: the classes of `only`.
    #[cfg_attr(feature = "serde", serde(with = "written::mode"))]
    pub mode: Mode,
    /// The classes that may be in force; none named: all.
    #[cfg_attr(
        feature = "serde",
        serde(
            default,
            with = "written::classes",
            skip_serializing_if = "Vec::is_empty"
        )
    )]
    pub only: Vec<Class>,
    /// What the configuration said of a peer then: `enforce` ends as soon as it says something else.
    #[cfg_attr(
        feature = "serde",
        serde(
            default,
            with = "written::optional_mode",
            skip_serializing_if = "Option::is_none"
        )
    )]
    pub specified: Option<Mode>,
}

impl Permit {
    /// Nothing is permitted.
    #[must_use]
    pub const fn observe() -> Self {
        Self {
            mode: Mode::Observe,
            only: Vec::new(),
            specified: None,
        }
    }

    /// Everything is permitted.
    #[must_use]
    pub const fn enforce() -> Self {
        Self {
            mode: Mode::Enforce,
            only: Vec::new(),
            specified: None,
        }
    }

    /// What the data plane's word for it must be.
    #[must_use]
    pub fn classes(&self) -> Classes {
        match (self.mode, self.only.as_slice()) {
            (Mode::Observe, _) => Classes::NONE,
            (Mode::Enforce, []) => Classes::ALL,
            (Mode::Enforce, only) => of(only),
        }
    }
}

impl Switched {
    /// What is permitted for a peer; nothing is kept that says what the configuration says anyway.
    pub fn set_peer(&mut self, name: &str, permit: Permit) {
        let is_default = Permit {
            specified: Some(Mode::Enforce),
            ..Permit::enforce()
        };
        if permit == is_default {
            self.peers.remove(name);
        } else {
            self.peers.insert(name.to_owned(), permit);
        }
    }

    /// Takes what limits froze, and measure growth against, from another.
    pub fn take_limits(&mut self, from: &mut Self) {
        self.frozen = std::mem::take(&mut from.frozen);
        self.too_wide = std::mem::take(&mut from.too_wide);
        self.good_sources = std::mem::take(&mut from.good_sources);
        self.measures = std::mem::take(&mut from.measures);
    }

    /// What is permitted for an interface.
    pub fn set_interface(&mut self, name: &str, permit: Permit) {
        if permit.mode == Mode::Enforce && permit.only.is_empty() {
            self.interfaces.remove(name);
        } else {
            self.interfaces.insert(name.to_owned(), permit);
        }
    }
}

/// All of these classes.
#[must_use]
pub fn of(classes: &[Class]) -> Classes {
    let each = classes.iter().map(|&class| Classes::of(class));
    each.fold(Classes::NONE, Classes::with)
}

/// The classes of a data plane's word, if they are fewer than all.
#[must_use]
pub fn some_of(word: Classes) -> Vec<Class> {
    if word == Classes::ALL {
        return Vec::new();
    }
    let each = Class::ALL.into_iter();
    each.filter(|&class| word.meets(Classes::of(class)))
        .collect()
}

#[cfg(feature = "serde")]
mod written {
    //! Modes and classes by their names.
    use filter_core::{Class, Mode};

    fn read_mode(name: &str) -> Option<Mode> {
        let mut modes = [Mode::Observe, Mode::Enforce].into_iter();
        modes.find(|mode| mode.name() == name)
    }

    pub(super) mod mode {
        use filter_core::Mode;
        use serde::de::Error as _;
        use serde::{Deserialize as _, Deserializer, Serializer};

        #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
        pub(crate) fn serialize<S: Serializer>(mode: &Mode, to: S) -> Result<S::Ok, S::Error> {
            to.serialize_str(mode.name())
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Mode, D::Error> {
            let name = String::deserialize(from)?;
            super::read_mode(&name).ok_or_else(|| D::Error::custom(format!("`{name}` is no mode")))
        }
    }

    pub(super) mod optional_mode {
        use filter_core::Mode;
        use serde::{Deserializer, Serializer};

        #[expect(
            clippy::ref_option,
            clippy::trivially_copy_pass_by_ref,
            reason = "serde's signature"
        )]
        pub(crate) fn serialize<S: Serializer>(
            mode: &Option<Mode>,
            to: S,
        ) -> Result<S::Ok, S::Error> {
            match mode {
                Some(mode) => super::mode::serialize(mode, to),
                None => to.serialize_none(),
            }
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
            from: D,
        ) -> Result<Option<Mode>, D::Error> {
            super::mode::deserialize(from).map(Some)
        }
    }

    /// Lists by name, of what is written as text.
    mod lists {
        use std::collections::BTreeMap;
        use std::fmt::Display;
        use std::str::FromStr;

        use serde::de::Error as _;
        use serde::{Deserialize as _, Deserializer, Serializer};

        pub(super) fn serialize<'a, L, S>(
            lists: impl IntoIterator<Item = (&'a String, L)>,
            to: S,
        ) -> Result<S::Ok, S::Error>
        where
            L: IntoIterator<Item: Display>,
            S: Serializer,
        {
            let texts = |list: L| {
                list.into_iter()
                    .map(|each| each.to_string())
                    .collect::<Vec<_>>()
            };
            let lists = lists.into_iter();
            to.collect_map(lists.map(|(name, list)| (name, texts(list))))
        }

        pub(super) fn deserialize<'de, T, L, D>(from: D) -> Result<BTreeMap<String, L>, D::Error>
        where
            T: FromStr<Err: Display>,
            L: FromIterator<T>,
            D: Deserializer<'de>,
        {
            let read = |text: String| {
                let value = text.parse::<T>();
                value.map_err(|error| D::Error::custom(format!("`{text}`: {error}")))
            };
            let texts = BTreeMap::<String, Vec<String>>::deserialize(from)?.into_iter();
            let lists = texts.map(|(name, list)| {
                let list: Result<L, D::Error> = list.into_iter().map(read).collect();
                Ok((name, list?))
            });
            lists.collect()
        }
    }

    pub(super) mod frozen {
        use serde::{Deserializer, Serializer};

        use super::lists;
        use crate::frozen::Frozen;

        pub(crate) fn serialize<S: Serializer>(frozen: &Frozen, to: S) -> Result<S::Ok, S::Error> {
            lists::serialize(frozen, to)
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Frozen, D::Error> {
            lists::deserialize(from)
        }
    }

    pub(super) mod measures {
        use serde::{Deserializer, Serializer};

        use super::lists;
        use crate::frozen::Measures;

        pub(crate) fn serialize<S: Serializer>(it: &Measures, to: S) -> Result<S::Ok, S::Error> {
            lists::serialize(it, to)
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
            from: D,
        ) -> Result<Measures, D::Error> {
            lists::deserialize(from)
        }
    }

    pub(super) mod accepted {
        use serde::{Deserializer, Serializer};

        use super::lists;
        use crate::place::AcceptedMacs;

        pub(crate) fn serialize<S: Serializer>(
            accepted: &AcceptedMacs,
            to: S,
        ) -> Result<S::Ok, S::Error> {
            lists::serialize(accepted, to)
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
            from: D,
        ) -> Result<AcceptedMacs, D::Error> {
            lists::deserialize(from)
        }
    }

    pub(super) mod classes {
        use super::Class;
        use serde::de::Error as _;
        use serde::{Deserialize as _, Deserializer, Serializer};

        pub(crate) fn serialize<S: Serializer>(
            classes: &[Class],
            to: S,
        ) -> Result<S::Ok, S::Error> {
            to.collect_seq(classes.iter().map(|class| class.name()))
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
            from: D,
        ) -> Result<Vec<Class>, D::Error> {
            let read = |name: String| {
                Class::from_name(&name)
                    .ok_or_else(|| D::Error::custom(format!("`{name}` is no class")))
            };
            let names = Vec::<String>::deserialize(from)?;
            names.into_iter().map(read).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_is_a_word_of_the_data_plane() {
        let enforce = |only: &[Class]| Permit {
            mode: Mode::Enforce,
            only: only.to_vec(),
            specified: None,
        };
        assert_eq!(Permit::observe().classes(), Classes::NONE);
        assert_eq!(enforce(&[]).classes(), Classes::ALL);
        let two = [Class::Bogons, Class::Malformed];
        let word = Classes::BOGONS.with(Classes::MALFORMED);
        assert_eq!(enforce(&two).classes(), word);
        assert_eq!(some_of(word), two);
        assert_eq!(some_of(Classes::ALL), []);
    }
}
