//! What can be asked of the daemon, and how it is written on the socket. Names of classes, modes and MACs are those of the
//! configuration. Asks nothing itself.
use std::net::IpAddr;

use filter_core::packet::Mac;
use filter_core::{Class, Mode, Prefix};
use serde::{Deserialize, Serialize};

/// Longest note of an operator, in bytes.
pub const MAX_NOTE: usize = 1024;

/// What can be asked of the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Request {
    /// Everything about everyone.
    Status,
    /// The daemon's version, and where its records are: cheap.
    About,
    /// What would become of a packet, and why.
    Explain {
        /// The peer's name.
        peer: String,
        /// Its source address.
        source: IpAddr,
        /// Its destination address.
        destination: IpAddr,
    },
    /// The prefixes of a peer: received, admitted, refused, advertised.
    Prefixes {
        /// The peer's name.
        peer: String,
        /// Only those that lie in this one.
        #[serde(default, with = "prefix", skip_serializing_if = "Option::is_none")]
        within: Option<Prefix>,
    },
    /// An operator says that what a peer's sources grew to is right, however much of the address space it covers.
    AcceptGrowth {
        /// The peer's name.
        peer: String,
    },
    /// Change a peer's mode, or that of an interface's own classes.
    SetMode {
        /// The peer's name, or the interface's.
        peer: String,
        /// The new one.
        #[serde(with = "mode")]
        mode: Mode,
        /// With `enforce`: the classes that may be in force; none named: all.
        #[serde(default, with = "classes", skip_serializing_if = "Vec::is_empty")]
        only: Vec<Class>,
    },
    /// Enforce a peer for a time: what is not confirmed by then is as it was.
    Try {
        /// The peer's name.
        peer: String,
        /// The classes that may be in force; none named: all.
        #[serde(default, with = "classes", skip_serializing_if = "Vec::is_empty")]
        only: Vec<Class>,
        /// For how long.
        seconds: u64,
    },
    /// What is on trial stays.
    Confirm {
        /// The peer's name.
        peer: String,
    },
    /// Note that somebody answered for a peer.
    Acknowledge {
        /// The peer's name.
        peer: String,
        /// What was answered: at most [`MAX_NOTE`] bytes.
        note: String,
    },
    /// Let everything be in force that is wanted, or nothing at all.
    SetModeOfAll {
        /// The mode.
        #[serde(with = "mode")]
        mode: Mode,
    },
    /// Events after this number.
    Events {
        /// The last number the client has seen; 0 for all that are kept.
        after: u64,
    },
    /// Sampled violations after this number: they have numbers of their own.
    Violations {
        /// The last number the client has seen; 0 for all that are kept.
        after: u64,
    },
    /// From where a peer's frames come.
    Macs {
        /// The peer's name.
        peer: String,
    },
    /// An operator says that a MAC is a peer's.
    AcceptMac {
        /// The peer's name.
        peer: String,
        /// The MAC.
        #[serde(with = "mac")]
        mac: Mac,
    },
    /// Read the configuration again.
    Reload,
    /// Detach from an interface.
    Detach {
        /// Its name.
        interface: String,
    },
}

/// Prefixes as text.
mod prefix {
    use filter_core::Prefix;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    #[expect(clippy::ref_option, reason = "serde's signature")]
    pub(super) fn serialize<S: Serializer>(
        prefix: &Option<Prefix>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match prefix {
            Some(prefix) => serializer.collect_str(prefix),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Prefix>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| text.parse().map_err(D::Error::custom))
            .transpose()
    }
}

/// Classes by their names.
mod classes {
    use filter_core::Class;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        classes: &[Class],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(classes.iter().map(|class| class.name()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<Class>, D::Error> {
        let read = |name: String| {
            let unknown = || D::Error::custom(format!("unknown class `{name}`"));
            Class::from_name(&name).ok_or_else(unknown)
        };
        let names = Vec::<String>::deserialize(deserializer)?;
        names.into_iter().map(read).collect()
    }
}

/// MACs as text.
mod mac {
    use filter_core::packet::Mac;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    pub(super) fn serialize<S: Serializer>(mac: &Mac, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(mac)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Mac, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

/// Modes by their names.
mod mode {
    use filter_core::Mode;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    pub(super) fn serialize<S: Serializer>(mode: &Mode, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(mode.name())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Mode, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "observe" => Ok(Mode::Observe),
            "enforce" => Ok(Mode::Enforce),
            other => Err(D::Error::custom(format!(
                "unknown mode `{other}`: write observe or enforce"
            ))),
        }
    }
}
