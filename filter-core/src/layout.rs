//! What the XDP program and the loader agree on: map keys, records and limits, as arrays of 64-bit integers in
//! host order (the two always run on the same machine). No pointers, no padding, no types with invalid values.
//!
//! Never read or written except through the types here; any change of meaning raises [`SCHEMA`].
use crate::address::{Address, Family};
use crate::packet::{Mac, Vlans};
use crate::prefix::Prefix;
use crate::reason::{Mode, NonIp, Reason};

mod peer;
pub mod record;
pub mod station;

pub use peer::{ANY_MAC, PeerKey, Station};

/// Version of everything in this file, of the compiled tables and of [`Reason`]'s numbers. A loader refuses
/// pinned state of another schema.
pub const SCHEMA: u32 = 3;

/// Interfaces one loader can serve. Counter slot 0 is for none, so one less than the table.
pub const MAX_INTERFACES: u32 = 64;
/// Interface indices above this cannot be attached: the table from index to slot is flat.
pub const MAX_IFINDEX: u32 = 65_535;
/// `lan` prefixes per interface and family.
pub const MAX_LANS: usize = 4;
/// Own addresses per interface and family.
pub const MAX_OWN_ADDRESSES: usize = 8;
/// Bytes of a sampled packet that are kept.
pub const SAMPLE_BYTES: usize = 128;

/// Names of the maps: the same in the object, on bpffs and in error messages.
pub mod map {
    /// ifindex → place of its record (high half) and its counter slot (low half); 0 if it is none of ours.
    pub const INTERFACE_SLOTS: &str = "if_slots";
    /// Place → [`super::Interface`]: two places per interface, so that a record is replaced by one store.
    pub const INTERFACES: &str = "interfaces";
    /// [`super::PeerKey`] → peer slot (u32): every station there is.
    pub const PEERS: &str = "peers";
    /// One [`super::station::Table`]: copies of `peers`' entries that are found without a helper.
    pub const STATIONS: &str = "stations";
    /// Counter index → packets, bytes; per CPU.
    pub const COUNTERS: &str = "counters";
    /// One [`super::SAMPLE_WORDS`] record per sampled violation.
    pub const SAMPLES: &str = "samples";
    /// Counter slot → when the next sample is due, nanoseconds.
    pub const SAMPLE_DUE: &str = "sample_due";
    /// Samples lost to a full ring; per CPU.
    pub const SAMPLES_LOST: &str = "samples_lost";
    /// One word: CLOCK_MONOTONIC nanoseconds until which enforcement stands.
    pub const LEASE: &str = "lease";
    /// Slot → schema and fingerprint (slot 0) or hash of the peer's name: what a restarted loader adopts by.
    pub const META: &str = "meta";
    /// The arena of the compiled tables.
    pub const TABLES: &str = "tables";
    /// Slot → [`super::record::Published`], 0 for none.
    pub const SLOTS: &str = "slots";
    /// The baseline engine's IPv4 trie.
    pub const LPM_V4: &str = "lpm_v4";
    /// The baseline engine's IPv6 trie.
    pub const LPM_V6: &str = "lpm_v6";
    /// The baseline engine's families and modes per slot.
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

/// What the data plane knows of one interface.
///
/// | words | content |
/// |---|---|
/// | 0 | own MAC in the low 48 bits; then bit 48 `non_ip` is a violation, 49 `unknown_peer` is enforced, 50 a peer may have any MAC |
/// | 1 | how many of each list below are used, a byte each: IPv4 LANs, IPv6 LANs, IPv4 own, IPv6 own |
/// | 2–5 | IPv4 LANs: address in the high half, mask in the low half |
/// | 6–21 | IPv6 LANs: address (2 words), mask (2 words) |
/// | 22–29 | own IPv4 addresses, in the high half |
/// | 30–45 | own IPv6 addresses, 2 words each |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Interface(pub [u64; Interface::WORDS]);

const LAN4: usize = 2;
const LAN6: usize = LAN4 + MAX_LANS;
const OWN4: usize = LAN6 + 4 * MAX_LANS;
const OWN6: usize = OWN4 + MAX_OWN_ADDRESSES;

const NON_IP_BIT: u32 = 48;
const ENFORCE_UNKNOWN_BIT: u32 = 49;
const ANY_MAC_BIT: u32 = 50;

/// More `lan` prefixes or addresses than an interface record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany {
    /// `lan` or `addresses`.
    pub what: &'static str,
    /// The family that overflowed.
    pub family: Family,
    /// How many fit.
    pub limit: usize,
}

impl core::fmt::Display for TooMany {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self {
            what,
            family,
            limit,
        } = self;
        write!(
            f,
            "more than {limit} {family} entries in `{what}`: remove some or use a shorter prefix"
        )
    }
}

impl core::error::Error for TooMany {}

impl Interface {
    /// Size in words.
    pub const WORDS: usize = OWN6 + 2 * MAX_OWN_ADDRESSES;

    /// An interface without LANs and addresses.
    #[must_use]
    pub const fn new(mac: Mac, non_ip: NonIp, unknown_peer: Mode, any_mac: bool) -> Self {
        let mut words = [0; Self::WORDS];
        words[0] = mac.bits()
            | (non_ip as u64) << NON_IP_BIT
            | (unknown_peer as u64) << ENFORCE_UNKNOWN_BIT
            | (any_mac as u64) << ANY_MAC_BIT;
        Self(words)
    }

    /// Adds a `lan` prefix.
    ///
    /// # Errors
    /// [`TooMany`] beyond [`MAX_LANS`] of its family.
    pub fn add_lan(&mut self, lan: Prefix) -> Result<(), TooMany> {
        let family = lan.family();
        let index = self.take(family as usize, MAX_LANS, "lan", family)?;
        let (first, last) = lan.range();
        let mask = !(last ^ first);
        match family {
            Family::Ipv4 => self.0[LAN4 + index] = (first >> 64) as u64 | (mask >> 96) as u64,
            Family::Ipv6 => {
                let words = [first >> 64, first, mask >> 64, mask].map(|w| w as u64);
                self.0[LAN6 + 4 * index..][..4].copy_from_slice(&words);
            }
        }
        Ok(())
    }

    /// Adds one of our own addresses on the interface.
    ///
    /// # Errors
    /// [`TooMany`] beyond [`MAX_OWN_ADDRESSES`] of its family.
    pub fn add_own_address(&mut self, address: Address) -> Result<(), TooMany> {
        let family = address.family;
        let index = self.take(2 + family as usize, MAX_OWN_ADDRESSES, "addresses", family)?;
        match family {
            Family::Ipv4 => self.0[OWN4 + index] = address.hi,
            Family::Ipv6 => {
                self.0[OWN6 + 2 * index] = address.hi;
                self.0[OWN6 + 2 * index + 1] = address.lo;
            }
        }
        Ok(())
    }

    fn take(
        &mut self,
        list: usize,
        limit: usize,
        what: &'static str,
        family: Family,
    ) -> Result<usize, TooMany> {
        let used = self.used(list);
        if used == limit {
            return Err(TooMany {
                what,
                family,
                limit,
            });
        }
        self.0[1] += 1 << (8 * list);
        Ok(used)
    }

    #[inline(always)]
    fn used(&self, list: usize) -> usize {
        (self.0[1] >> (8 * list) & 0xff) as usize
    }

    /// Is this the interface's own MAC?
    #[must_use]
    #[inline(always)]
    pub fn is_own_mac(&self, mac: Mac) -> bool {
        Mac::from_bits(self.0[0]) == mac
    }

    /// What becomes of frames that are neither ARP nor IP.
    #[must_use]
    #[inline(always)]
    pub fn non_ip(&self) -> NonIp {
        if self.0[0] >> NON_IP_BIT & 1 == 0 {
            NonIp::Pass
        } else {
            NonIp::Violation
        }
    }

    /// The mode for packets of stations without a peer.
    #[must_use]
    #[inline(always)]
    pub fn unknown_peer(&self) -> Mode {
        if self.0[0] >> ENFORCE_UNKNOWN_BIT & 1 == 0 {
            Mode::Observe
        } else {
            Mode::Enforce
        }
    }

    /// May a peer be registered under [`ANY_MAC`]?
    #[must_use]
    #[inline(always)]
    pub fn any_mac(&self) -> bool {
        self.0[0] >> ANY_MAC_BIT & 1 != 0
    }

    /// Is the address within the LAN prefixes?
    #[must_use]
    #[inline(always)]
    pub fn is_lan(&self, address: Address) -> bool {
        match address.family {
            Family::Ipv4 => (0..MAX_LANS).take_while(|&i| i < self.used(0)).any(|i| {
                let lan = self.0[LAN4 + i];
                (address.hi ^ lan) >> 32 & lan & 0xffff_ffff == 0
            }),
            Family::Ipv6 => (0..MAX_LANS).take_while(|&i| i < self.used(1)).any(|i| {
                let at = LAN6 + 4 * i;
                (address.hi ^ self.0[at]) & self.0[at + 2]
                    | (address.lo ^ self.0[at + 1]) & self.0[at + 3]
                    == 0
            }),
        }
    }

    /// Is it one of our addresses?
    #[must_use]
    #[inline(always)]
    pub fn is_own_address(&self, address: Address) -> bool {
        match address.family {
            Family::Ipv4 => (0..MAX_OWN_ADDRESSES)
                .take_while(|&i| i < self.used(2))
                .any(|i| self.0[OWN4 + i] == address.hi),
            Family::Ipv6 => (0..MAX_OWN_ADDRESSES)
                .take_while(|&i| i < self.used(3))
                .any(|i| {
                    self.0[OWN6 + 2 * i] == address.hi && self.0[OWN6 + 2 * i + 1] == address.lo
                }),
        }
    }
}

/// Words of one ring buffer record; see [`Sample`].
pub const SAMPLE_WORDS: usize = 4 + SAMPLE_BYTES / 8;

/// One sampled violation, as the ring buffer carries it. The MACs are the first bytes of `data`.
///
/// | words | content |
/// |---|---|
/// | 0 | CLOCK_MONOTONIC nanoseconds |
/// | 1 | ifindex, counter slot (32 bits each, high first) |
/// | 2 | frame length in bytes, bytes kept (32 bits each) |
/// | 3 | outer VLAN, inner VLAN, reason (16 bits each), mode, dropped (8 bits each) |
/// | 4– | the first bytes of the frame |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When, CLOCK_MONOTONIC nanoseconds.
    pub time_ns: u64,
    /// Where it came in.
    pub ifindex: u32,
    /// The peer's, or the interface's, counter slot.
    pub slot: u32,
    /// Frame length on the wire, in bytes, without the checksum.
    pub length: u32,
    /// How many bytes of `data` are the frame's.
    pub captured: u32,
    /// Its VLANs.
    pub vlans: Vlans,
    /// Why it is a violation.
    pub reason: Reason,
    /// Under which mode.
    pub mode: Mode,
    /// Was it dropped?
    pub dropped: bool,
    /// The first bytes of the frame, zeros after `captured`.
    pub data: [u8; SAMPLE_BYTES],
}

impl Sample {
    /// The four words before the data.
    #[must_use]
    #[inline(always)]
    pub fn header(&self) -> [u64; 4] {
        [
            self.time_ns,
            u64::from(self.ifindex) << 32 | u64::from(self.slot),
            u64::from(self.length) << 32 | u64::from(self.captured),
            u64::from(self.vlans.outer) << 48
                | u64::from(self.vlans.inner) << 32
                | (self.reason as u64) << 16
                | (self.mode as u64) << 8
                | u64::from(self.dropped),
        ]
    }

    /// Reads a ring buffer record; `None` if its length or reason is not of this schema.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (header, data) = bytes.split_at_checked(32)?;
        let word = |i: usize| Some(u64::from_ne_bytes(*header.get(8 * i..)?.first_chunk()?));
        let [time_ns, place, length, what] = [word(0)?, word(1)?, word(2)?, word(3)?];
        Some(Self {
            time_ns,
            ifindex: (place >> 32) as u32,
            slot: place as u32,
            length: (length >> 32) as u32,
            captured: (length as u32).min(SAMPLE_BYTES as u32),
            vlans: Vlans {
                outer: (what >> 48) as u16,
                inner: (what >> 32) as u16,
            },
            reason: Reason::from_index((what >> 16) as usize & 0xffff)?,
            mode: if what >> 8 & 0xff == 0 {
                Mode::Observe
            } else {
                Mode::Enforce
            },
            dropped: what & 0xff != 0,
            data: data.try_into().ok()?,
        })
    }
}

/// The baseline engine's tries: every set of every peer in one trie per family, told apart by a leading
/// 32-bit set number.
pub mod lpm {
    use super::{Address, Families, Mode};

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

    /// What the engine keeps per slot: families in bits 0–1, mode in bit 8, bit 31 "published".
    #[must_use]
    pub const fn peer(families: Families, mode: Mode) -> u32 {
        families.bits() as u32 | (mode as u32) << 8 | 1 << 31
    }

    /// The mode in a [`peer`] word.
    #[must_use]
    #[inline(always)]
    pub const fn mode(word: u32) -> Mode {
        if word >> 8 & 1 == 0 {
            Mode::Observe
        } else {
            Mode::Enforce
        }
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
