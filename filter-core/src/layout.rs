//! What the XDP program and the loader agree on: map keys, records and limits, as arrays of 64-bit integers in
//! host order (the two always run on the same machine). No pointers, no padding, no types with invalid values.
//!
//! Never read or written except through the types here; any change of meaning raises [`SCHEMA`].
use crate::address::{Address, Family};
use crate::reason::Reason;

mod evidence;
mod interface;
mod peer;
pub mod record;
mod sample;
mod sender;
pub mod station;
mod suspects;
mod switch;

pub use evidence::Evidence;
pub use interface::{
    Interface, Network, TooMany, Traits, from_interface_entry, from_tags_key, interface_entry,
    tags_key,
};
pub use peer::{ANY_MAC, PeerKey, SlotStation, Station};
pub use sample::{LinkLayer, SAMPLE_WORDS, Sample};
pub use sender::{SENDER_WORDS, Sender, SenderKey};
pub use suspects::{List, Suspects};
pub use switch::{FOREVER, LeaseEnd, ON_TRIAL, Rate, TICK_FRACTION_BITS, WHOLE_FILTER, Wanted};

/// Version of everything in this file, of the compiled tables and of [`Reason`]'s numbers. A loader refuses
/// pinned state of another schema.
pub const SCHEMA: u32 = 6;

/// Interfaces one loader can serve. Counter slot 0 is for none, so one less than the table.
pub const MAX_INTERFACES: u32 = 64;
/// Interface indices up to here are found without a helper; a hash has those above.
pub const NEAR_IFINDEX: u32 = 65_535;
/// Indices that lead to an interface of ours beyond [`NEAR_IFINDEX`]: devices and, of bonds, their members.
pub const MAX_FAR_INDICES: u32 = 256;
/// Devices without a record whose packets are counted one by one; those of more only all together.
pub const MAX_UNRECORDED: u32 = 256;
/// Own MACs of an interface: the device's, and those of what is stacked on it.
pub const MAX_OWN_MACS: usize = 8;
/// Tagged networks of all interfaces together.
pub const MAX_TAGGED_NETWORKS: u32 = 512;
/// `lan` prefixes per network and family.
pub const MAX_LANS: usize = 4;
/// Subnets of own addresses outside `lan`, per network and family.
pub const MAX_SUBNETS: usize = 4;
/// Own addresses per network and family.
pub const MAX_OWN_ADDRESSES: usize = 16;
/// Bytes of a sampled packet that are kept.
pub const SAMPLE_BYTES: usize = 128;
/// Places for [`Network`] records: two for each interface, so that a record is replaced by one store, and two for each
/// tagged network.
pub const NETWORK_PLACES: u32 = 2 * (MAX_INTERFACES + MAX_TAGGED_NETWORKS);

/// Names of the maps: the same in the object, on bpffs and in error messages.
pub mod map {
    /// ifindex → [`super::interface_entry`]; 0 if it is none of ours.
    pub const INTERFACE_SLOTS: &str = "if_slots";
    /// The same for indices above [`super::NEAR_IFINDEX`].
    pub const FAR_INTERFACES: &str = "if_far";
    /// Place → [`super::Interface`]: two places per interface, so that a record is replaced by one store.
    pub const INTERFACES: &str = "interfaces";
    /// Place → [`super::Network`]: an interface's place has that of frames without a tag.
    pub const NETWORKS: &str = "networks";
    /// [`super::tags_key`] → place in `networks` (u32): every tagged network there is.
    pub const TAGS: &str = "tags";
    /// [`super::PeerKey`] → peer slot, and whether a frame was seen ([`super::station::SEEN`]): every station there is.
    pub const PEERS: &str = "peers";
    /// One [`super::station::Table`]: copies of `peers`' entries that are found without a helper.
    pub const STATIONS: &str = "stations";
    /// [`super::SenderKey`] → the tick of the last frame, 0 for none; and a word of user space's that the program never touches.
    pub const SENDERS: &str = "senders";
    /// Counter index → packets, bytes; per CPU.
    pub const COUNTERS: &str = "counters";
    /// Index of a device without a record → packets that came in on it: of as many devices as there is room for.
    pub const UNRECORDED: &str = "unrecorded";
    /// One [`super::SAMPLE_WORDS`] record per sampled violation.
    pub const SAMPLES: &str = "samples";
    /// Counter slot → when the next sample is due, in fractions of a tick.
    pub const SAMPLE_DUE: &str = "sample_due";
    /// Slot → when the next ICMP error, and the next Packet Too Big, is due, in fractions of a tick.
    pub const ICMP_DUE: &str = "icmp_due";
    /// Samples lost to a full ring; per CPU.
    pub const SAMPLES_LOST: &str = "samples_lost";
    /// One word: the tick (jiffy) at which enforcement ends.
    pub const LEASE: &str = "lease";
    /// Slot → [`super::Wanted`]: what the daemon wants to be in force.
    pub const WANTED: &str = "wanted";
    /// Slot → [`crate::Classes`]: what the operator allows to be in force; slot 0 is the whole filter's.
    pub const ALLOWED: &str = "allowed";
    /// Slot → schema and fingerprint (slot 0), or the hash of its holder's name and, of an interface, its index, of a
    /// peer, who it is: what a restarted loader adopts by.
    pub const META: &str = "meta";
    /// The arena of the compiled tables.
    pub const TABLES: &str = "tables";
    /// One [`super::Suspects`].
    pub const SUSPECTS: &str = "suspects";
    /// Slot → [`super::record::Published`], 0 for none.
    pub const SLOTS: &str = "slots";
    /// Slot → [`super::record::Published`] of what left the peer's sets although nothing withdrew it, 0 for nothing.
    pub const DEPARTED: &str = "departed";
    /// Slot → [`super::Evidence`].
    pub const EVIDENCE: &str = "evidence";
    /// One program: it judges the frames whose headers do not all lie in their first buffer.
    pub const SPLIT: &str = "split";
    /// The baseline engine's IPv4 trie.
    pub const LPM_V4: &str = "lpm_v4";
    /// The baseline engine's IPv6 trie.
    pub const LPM_V6: &str = "lpm_v6";
    /// The baseline engine's families and known sides per slot.
    pub const LPM_PEERS: &str = "lpm_peers";
}

/// Counter slot of a peer or an interface: interfaces hold 1 to [`MAX_INTERFACES`] − 1, peers what follows.
#[must_use]
#[inline(always)]
pub const fn counter_index(slot: u32, reason: Reason, dropped: bool) -> u32 {
    (slot * Reason::COUNT as u32 + reason as u32) * 2 + dropped as u32
}

/// Entries of the counter map for this many slots.
#[must_use]
pub const fn counter_entries(slots: u32) -> u32 {
    slots * Reason::COUNT as u32 * 2
}

/// Which families a peer is configured for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Families(u8);

impl Families {
    /// Both.
    pub const ALL: Self = Self(3);

    /// Those for which `peered` says yes.
    #[must_use]
    pub fn new(peered: impl Fn(Family) -> bool) -> Self {
        Self(
            Family::ALL
                .into_iter()
                .filter(|&f| peered(f))
                .fold(0, |bits, f| bits | 1 << f as u8),
        )
    }

    /// From the low two bits.
    #[must_use]
    #[inline(always)]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & 3)
    }

    /// Bit 0 is IPv4, bit 1 is IPv6.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Is this one among them?
    #[must_use]
    #[inline(always)]
    pub const fn contains(self, family: Family) -> bool {
        self.0 >> family as u8 & 1 != 0
    }
}

/// Which sides of a peer, S'(p) and D'(p), are known, per family. Nothing is judged by a side that is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Known(u8);

impl Known {
    /// All of them.
    pub const ALL: Self = Self(0b1111);
    /// None of them.
    pub const NONE: Self = Self(0);

    /// These families' source and destination sides.
    #[must_use]
    pub const fn new(sources: Families, destinations: Families) -> Self {
        Self(sources.bits() | destinations.bits() << 2)
    }

    /// From the low four bits.
    #[must_use]
    #[inline(always)]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & 0b1111)
    }

    /// Bits 0 and 1 are the source sides of IPv4 and IPv6, 2 and 3 the destination sides.
    #[must_use]
    #[inline(always)]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Is S'(p) known for this family?
    #[must_use]
    #[inline(always)]
    pub const fn source(self, family: Family) -> bool {
        self.0 >> family as u8 & 1 != 0
    }

    /// Is D'(p) known for this family?
    #[must_use]
    #[inline(always)]
    pub const fn destination(self, family: Family) -> bool {
        self.0 >> (2 + family as u8) & 1 != 0
    }
}

/// What the verdict asks about a peer before it asks about addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// The families it is configured for.
    pub families: Families,
    /// Its known sides.
    pub known: Known,
}

impl Rules {
    /// From the low six bits.
    #[must_use]
    #[inline(always)]
    pub const fn from_bits(bits: u8) -> Self {
        Self {
            families: Families::from_bits(bits),
            known: Known::from_bits(bits >> 2),
        }
    }

    /// Families in bits 0 and 1, known sides in bits 2 to 5.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.families.bits() | self.known.bits() << 2
    }
}

/// The baseline engine's tries: every set of every peer in one trie per family, distinguished by a leading
/// 32-bit set number.
pub mod lpm {
    use super::{Address, Rules};

    /// Set number of the bogons: slot 0 is no interface's and no peer's.
    pub const BOGONS: u32 = 0;
    /// Set number of our own prefixes.
    pub const OURS: u32 = 1;

    /// Set number of S'(p).
    #[must_use]
    #[inline(always)]
    pub const fn source(slot: u32) -> u32 {
        slot << 1
    }

    /// Set number of D'(p).
    #[must_use]
    #[inline(always)]
    pub const fn destination(slot: u32) -> u32 {
        slot << 1 | 1
    }

    /// What the engine keeps per slot: the rules, and bit 31 "published".
    #[must_use]
    pub const fn peer(rules: Rules) -> u32 {
        rules.bits() as u32 | 1 << 31
    }

    /// Trie key: set number, then the address, each word in network order.
    #[must_use]
    #[inline(always)]
    pub const fn key_v4(set: u32, address: Address) -> [u32; 2] {
        [set.to_be(), ((address.hi >> 32) as u32).to_be()]
    }

    /// Trie key: set number, then the address, each word in network order.
    #[must_use]
    #[inline(always)]
    pub const fn key_v6(set: u32, address: Address) -> [u32; 5] {
        let Address { hi, lo, .. } = address;
        [
            set.to_be(),
            ((hi >> 32) as u32).to_be(),
            (hi as u32).to_be(),
            ((lo >> 32) as u32).to_be(),
            (lo as u32).to_be(),
        ]
    }
}

/// What benchmarks and their programs agree on: a list of frames to be judged one after the other. A frame of that
/// list is untagged, [`replay::LEN`] bytes long and IPv4 without options or IPv6.
pub mod replay {
    /// Name of the map: place → [`Entry`].
    pub const FRAMES: &str = "frames";
    /// How many there are. A power of two.
    pub const ENTRIES: u32 = 1 << 20;
    /// What changes from frame to frame, as it lies in the frame: source MAC and ethertype, then source and
    /// destination address (one word for IPv4, four for IPv6).
    pub type Entry = [u64; 5];
    /// Bytes in a frame.
    pub const LEN: usize = 64;
    /// Where source MAC and ethertype lie.
    pub const HEAD: usize = 6;
    /// Where the addresses lie in IPv4.
    pub const IPV4_ADDRESSES: usize = 14 + 12;
    /// Where the addresses lie in IPv6.
    pub const IPV6_ADDRESSES: usize = 14 + 8;
    /// Where the frame's own number in the list lies, host order, 32 bits: behind every header.
    pub const CURSOR: usize = 56;
}
