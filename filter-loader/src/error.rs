//! What can go wrong between us and the kernel. Every error names the thing and what to do about it.
use std::io;
use std::path::PathBuf;

use filter_core::layout::{
    MAX_FAR_INDICES, MAX_INTERFACES, MAX_TAGGED_NETWORKS, NEAR_IFINDEX, TooMany,
};
use filter_core::packet::Mac;

use crate::occupant::{Busy, Occupant};
use crate::slot::PeerSlot;

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No such network device in this network namespace.
    #[error("unknown interface `{0}`: see `ip link` for the names in this network namespace")]
    UnknownInterface(String),
    /// The device's frames do not start with an Ethernet header, so in XDP their first bytes are the sender's choice.
    #[error(
        "interface `{name}` has no ethernet header (hardware type {kind}, {link_type}): xdp needs one; hook = \"tc\" works on tun, wireguard, gre, sit, ip-in-ip and ppp devices"
    )]
    NotEthernet {
        /// The device.
        name: String,
        /// Its ARPHRD type, see include/uapi/linux/if_arp.h.
        kind: u16,
        /// What the type is called.
        link_type: &'static str,
    },
    /// What the device's frames start with is not known.
    #[error(
        "interface `{name}` is of hardware type {kind}, whose frames this program cannot read: attach to the device below or above it"
    )]
    UnknownLinkType {
        /// The device.
        name: String,
        /// Its ARPHRD type, see include/uapi/linux/if_arp.h.
        kind: u16,
    },
    /// The filter's program was on no device of this network namespace, and is loaded all the same.
    #[error(
        "the filter of interface `{name}` (program {program}) is on no device of this network namespace, and still loaded: if the interface is in another one, run `bcp38 detach {name}` there"
    )]
    Elsewhere {
        /// The interface, as it was called.
        name: String,
        /// The program's number in the kernel.
        program: u32,
    },
    /// Another program holds the hook.
    #[error("{}", Busy(name, occupant.as_ref()))]
    Busy {
        /// The device.
        name: String,
        /// Which program it is, if that was asked.
        occupant: Option<Occupant>,
    },
    /// An older kernel that is built without what it needs at tc.
    #[error(
        "interface `{0}`: this kernel has neither tcx (Linux 6.6) nor `bpf` filters of the `clsact` qdisc: choose a hook in xdp"
    )]
    NoClsact(String),
    /// The kernel refused to attach in any allowed mode.
    #[error("cannot attach to interface `{name}`: {why}")]
    Attach {
        /// The device.
        name: String,
        /// What the kernel said, for each mode that was tried.
        why: String,
    },
    /// Not root and no capabilities.
    #[error(
        "missing privileges: loading an xdp program needs root, or CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"
    )]
    Privileges,
    /// The kernel refused the program or a map.
    #[error("cannot load the xdp program: {0}")]
    Load(String),
    /// Reading or writing a map failed.
    #[error("cannot access map `{map}`: {why}")]
    Map {
        /// Which map.
        map: &'static str,
        /// What the kernel said.
        why: String,
    },
    /// More interfaces than the layout has slots for.
    #[error("no slot left for interface `{0}`: at most {max} interfaces can be attached", max = MAX_INTERFACES - 2)]
    TooManyInterfaces(String),
    /// The table of large indices is full.
    #[error(
        "interface `{name}` has index {index}: at most {MAX_FAR_INDICES} interfaces with indices above {NEAR_IFINDEX} can be attached; detach others first"
    )]
    TooManyFarIndices {
        /// The device.
        name: String,
        /// Its index.
        index: u32,
    },
    /// More tags than there are places.
    #[error(
        "no place left for the tags of interface `{0}`: at most {MAX_TAGGED_NETWORKS} of all interfaces together"
    )]
    TooManyTags(String),
    /// A station on an interface that was never set.
    #[error("interface index {0} has no record: set the interface before the stations on it")]
    NoRecord(u32),
    /// No peer and no interface of this name is pinned.
    #[error("`{path}` has no peer and no interface `{name}`: see `bcp38 status` for the names")]
    UnknownName {
        /// The name.
        name: String,
        /// The directory of the pins.
        path: PathBuf,
    },
    /// There is no filter to switch.
    #[error(
        "no filter is pinned in `{path}`: name its directory with `--pin-dir`, or the configuration that does with `--config`"
    )]
    NothingPinned {
        /// The directory.
        path: PathBuf,
    },
    /// More peers than the maps were made for.
    #[error(
        "no slot left for peer `{name}`: the maps hold {limit} peers; raise `max_peers` and restart"
    )]
    TooManyPeers {
        /// The peer.
        name: String,
        /// How many fit.
        limit: u32,
    },
    /// Another peer already sends from there.
    #[error("source mac {mac} belongs to another peer (slot {}): remove it there first", owner.number())]
    StationTaken {
        /// The MAC.
        mac: Mac,
        /// Who has it.
        owner: PeerSlot,
    },
    /// An interface record overflows.
    #[error("interface `{name}`: {what}")]
    InterfaceRecord {
        /// The device.
        name: String,
        /// What overflowed.
        what: TooMany,
    },
    /// The staged table says otherwise than the sets it was to be made of.
    #[error(
        "the self-test of {of} failed: {what} must be {expected}, the filter says {got}; the old table stays: please report this with the peer's prefixes"
    )]
    SelfTest {
        /// The peer, or the lists, that the table is of.
        of: String,
        /// Which packet, or which part of the table.
        what: String,
        /// What the sets say: reason and action of a packet.
        expected: String,
        /// What the staged table says.
        got: String,
    },
    /// Packets of a BGP session would be dropped, whatever the table's prefixes.
    #[error(
        "the table of {of} would drop packets of its own session, {session}: {got}; the old table stays: check the peer's `addresses` and `families`"
    )]
    Session {
        /// The peer, or the lists, that the table is of.
        of: String,
        /// Its address and ours.
        session: String,
        /// What would become of the packets.
        got: String,
    },
    /// A compiled table does not fit.
    #[error("the table of {of} does not fit: {why}; the old one stays")]
    TableTooLarge {
        /// The peer, or the lists, that the table is of.
        of: String,
        /// With the numbers.
        why: String,
    },
    /// bpffs is not there, or the directory cannot be made.
    #[error("cannot keep state in `{path}`: {why}; mount it with `mount -t bpf bpf /sys/fs/bpf`")]
    Pin {
        /// The file or directory.
        path: PathBuf,
        /// What failed.
        why: String,
    },
    /// Pinned state that is not ours to adopt.
    #[error(
        "pinned state in `{path}` does not match: {why}; run `bcp38 detach --all` to start afresh"
    )]
    ForeignState {
        /// The file or directory.
        path: PathBuf,
        /// What differs.
        why: String,
    },
    /// Another process writes the same tables.
    #[error("`{path}` is held by another process: only one may write the tables; stop it first")]
    SecondWriter {
        /// The directory that is locked.
        path: PathBuf,
    },
    /// Anything the operating system says.
    #[error("{what}: {source}")]
    Os {
        /// What was tried.
        what: String,
        /// What came back.
        source: io::Error,
    },
}

impl Error {
    /// Names whose table does not fit.
    pub(crate) fn of(self, of: &str) -> Self {
        match self {
            Self::TableTooLarge { why, .. } => Self::TableTooLarge {
                of: of.to_owned(),
                why,
            },
            other => other,
        }
    }

    /// For `map_err` on map accesses.
    pub(crate) fn map(map: &'static str) -> impl FnOnce(aya::maps::MapError) -> Self {
        move |error| Self::Map {
            map,
            why: error.to_string(),
        }
    }

    /// For `map_err` on system calls.
    pub(crate) fn os<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> Self {
        move |source| Self::Os {
            what: what.into(),
            source: source.into(),
        }
    }
}

/// The whole chain of an error in one line: aya hides the kernel's words in sources.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// The operating system's error number somewhere in the chain.
pub(crate) fn os_error(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(code) = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::raw_os_error)
        {
            return Some(code);
        }
        next = error.source();
    }
    None
}
