//! What operators switched at run time, against the configuration: as types, for whoever keeps it across a reboot. Across a
//! restart the data plane's own words keep it. Never read or written here.
use std::collections::BTreeMap;

use filter_core::{Class, Classes, Mode};

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
