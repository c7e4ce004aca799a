//! What the data plane knows of an interface, and of the network behind each of its VLANs. Never knows a peer.
use super::{MAX_LANS, MAX_OWN_ADDRESSES, MAX_OWN_MACS, MAX_SUBNETS};
use crate::address::{Address, Family};
use crate::packet::{Mac, Vlans};
use crate::prefix::Prefix;

/// What the data plane knows of one interface, whatever the VLAN.
///
/// | words | content |
/// |---|---|
/// | 0 | first own MAC in the low 48 bits; then bit 48 it is a `port`, 49 the class `lan` is none here, 50 frames without a tag have a network, 51 packets that pass are counted at tc |
/// | 1–7 | the other own MACs; where there are fewer, the first one again |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Interface(pub [u64; Interface::WORDS]);

const PORT_BIT: u32 = 48;
const PASSES_LAN_BIT: u32 = 49;
const UNTAGGED_BIT: u32 = 50;
const AT_TC_BIT: u32 = 51;

/// More entries than a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany {
    /// `lan`, `addresses`, `subnets` or `macs`.
    pub what: &'static str,
    /// The family that overflowed, if it is of one.
    pub family: Option<Family>,
    /// How many fit.
    pub limit: usize,
}

impl core::fmt::Display for TooMany {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { what, limit, .. } = self;
        match self.family {
            Some(family) => write!(
                f,
                "more than {limit} {family} entries in `{what}`: remove some or use a shorter prefix"
            ),
            None => write!(f, "more than {limit} entries in `{what}`: remove some"),
        }
    }
}

impl core::error::Error for TooMany {}

/// How an interface is to be taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traits {
    /// Kind `port`: one peer is behind it, whose MAC may be any, and no other's addresses are on the link.
    pub is_port: bool,
    /// What belongs to the class `lan` is no violation here.
    pub passes_lan: bool,
    /// Frames without a tag have a network of their own; else they are another VLAN's.
    pub has_untagged: bool,
}

impl Interface {
    /// Size in words.
    pub const WORDS: usize = MAX_OWN_MACS;

    /// An interface with these MACs of ours.
    ///
    /// # Errors
    /// [`TooMany`] beyond [`MAX_OWN_MACS`].
    pub fn new(macs: &[Mac], traits: Traits) -> Result<Self, TooMany> {
        let mut words = [macs.first().map_or(0, |mac| mac.bits()); Self::WORDS];
        if macs.len() > MAX_OWN_MACS {
            return Err(TooMany {
                what: "macs",
                family: None,
                limit: MAX_OWN_MACS,
            });
        }
        for (word, mac) in words.iter_mut().zip(macs) {
            *word = mac.bits();
        }
        words[0] |= (traits.is_port as u64) << PORT_BIT
            | (traits.passes_lan as u64) << PASSES_LAN_BIT
            | (traits.has_untagged as u64) << UNTAGGED_BIT;
        Ok(Self(words))
    }

    /// The same, with packets counted at tc or in XDP: while the program moves from one hook to the other it is on both, and a
    /// packet passes both of them.
    #[must_use]
    pub const fn counted_at_tc(mut self, at_tc: bool) -> Self {
        self.0[0] = self.0[0] & !(1 << AT_TC_BIT) | (at_tc as u64) << AT_TC_BIT;
        self
    }

    /// Are packets that pass counted at tc? What is dropped is counted where it is dropped.
    #[must_use]
    #[inline(always)]
    pub const fn is_counted_at_tc(&self) -> bool {
        self.0[0] >> AT_TC_BIT & 1 != 0
    }

    /// Is this one of the interface's own MACs?
    #[must_use]
    #[inline(always)]
    pub fn is_own_mac(&self, mac: Mac) -> bool {
        Mac::from_bits(self.0[0]) == mac || self.0[1..].iter().any(|&own| own == mac.bits())
    }

    /// Is one peer behind it, whatever its MAC?
    #[must_use]
    #[inline(always)]
    pub fn is_port(&self) -> bool {
        self.0[0] >> PORT_BIT & 1 != 0
    }

    /// Is the class `lan` none here?
    #[must_use]
    #[inline(always)]
    pub fn passes_lan(&self) -> bool {
        self.0[0] >> PASSES_LAN_BIT & 1 != 0
    }

    /// Have frames without a tag a network?
    #[must_use]
    #[inline(always)]
    pub fn has_untagged(&self) -> bool {
        self.0[0] >> UNTAGGED_BIT & 1 != 0
    }
}

/// The network behind one interface and one pair of tags.
///
/// | words | content |
/// |---|---|
/// | 0 | how many of each list below are used, a byte each: LANs, subnets, own addresses, IPv4 before IPv6 |
/// | 1–4, 5–8 | IPv4 LANs, IPv4 subnets: address in the high half, mask in the low half |
/// | 9–24 | own IPv4 addresses, in the high half |
/// | 25–40, 41–56 | IPv6 LANs, IPv6 subnets: address (2 words), mask (2 words) |
/// | 57–88 | own IPv6 addresses, 2 words each |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Network(pub [u64; Network::WORDS]);

const LAN4: usize = 1;
const SUBNET4: usize = LAN4 + MAX_LANS;
const OWN4: usize = SUBNET4 + MAX_SUBNETS;
const LAN6: usize = OWN4 + MAX_OWN_ADDRESSES;
const SUBNET6: usize = LAN6 + 4 * MAX_LANS;
const OWN6: usize = SUBNET6 + 4 * MAX_SUBNETS;

const LANS: usize = 0;
const SUBNETS: usize = 2;
const OWN: usize = 4;

impl Default for Network {
    fn default() -> Self {
        Self([0; Self::WORDS])
    }
}

impl Network {
    /// Size in words.
    pub const WORDS: usize = OWN6 + 2 * MAX_OWN_ADDRESSES;

    /// Adds a `lan` prefix.
    ///
    /// # Errors
    /// [`TooMany`] beyond [`MAX_LANS`] of its family.
    pub fn add_lan(&mut self, lan: Prefix) -> Result<(), TooMany> {
        let index = self.take(LANS, MAX_LANS, "lan", lan.family())?;
        self.put([LAN4, LAN6], index, lan);
        Ok(())
    }

    /// Adds the subnet of an own address that lies outside `lan`: it is on the link only for what goes to us.
    ///
    /// # Errors
    /// [`TooMany`] beyond [`MAX_SUBNETS`] of its family.
    pub fn add_subnet(&mut self, subnet: Prefix) -> Result<(), TooMany> {
        let index = self.take(SUBNETS, MAX_SUBNETS, "subnets", subnet.family())?;
        self.put([SUBNET4, SUBNET6], index, subnet);
        Ok(())
    }

    /// Adds one of our own addresses.
    ///
    /// # Errors
    /// [`TooMany`] beyond [`MAX_OWN_ADDRESSES`] of its family.
    pub fn add_own_address(&mut self, address: Address) -> Result<(), TooMany> {
        let index = self.take(OWN, MAX_OWN_ADDRESSES, "addresses", address.family)?;
        match address.family {
            Family::Ipv4 => self.0[OWN4 + index] = address.hi,
            Family::Ipv6 => {
                self.0[OWN6 + 2 * index] = address.hi;
                self.0[OWN6 + 2 * index + 1] = address.lo;
            }
        }
        Ok(())
    }

    fn put(&mut self, [start4, start6]: [usize; 2], index: usize, prefix: Prefix) {
        let (first, last) = prefix.range();
        let mask = !(last ^ first);
        match prefix.family() {
            Family::Ipv4 => self.0[start4 + index] = (first >> 64) as u64 | (mask >> 96) as u64,
            Family::Ipv6 => {
                let words = [first >> 64, first, mask >> 64, mask].map(|w| w as u64);
                self.0[start6 + 4 * index..][..4].copy_from_slice(&words);
            }
        }
    }

    fn take(
        &mut self,
        lists: usize,
        limit: usize,
        what: &'static str,
        family: Family,
    ) -> Result<usize, TooMany> {
        let list = lists + family as usize;
        let used = self.used(list);
        if used == limit {
            return Err(TooMany {
                what,
                family: Some(family),
                limit,
            });
        }
        self.0[0] += 1 << (8 * list);
        Ok(used)
    }

    #[inline(always)]
    fn used(&self, list: usize) -> usize {
        (self.0[0] >> (8 * list) & 0xff) as usize
    }

    /// Is the address within the LAN prefixes?
    #[must_use]
    #[inline(always)]
    pub fn is_lan(&self, address: Address) -> bool {
        self.is_within::<MAX_LANS>(LANS, [LAN4, LAN6], address)
    }

    /// Is it in a subnet of ours outside the LAN?
    #[must_use]
    #[inline(always)]
    pub fn is_subnet(&self, address: Address) -> bool {
        self.is_within::<MAX_SUBNETS>(SUBNETS, [SUBNET4, SUBNET6], address)
    }

    #[inline(always)]
    fn is_within<const MAX: usize>(
        &self,
        lists: usize,
        [start4, start6]: [usize; 2],
        address: Address,
    ) -> bool {
        let used = self.used(lists + address.family as usize);
        // All places are looked at: a loop that ends at `used` is one that Linux 5.10's verifier cannot bound.
        match address.family {
            Family::Ipv4 => (0..MAX).any(|i| {
                let prefix = self.0[start4 + i];
                (address.hi ^ prefix) >> 32 & prefix & 0xffff_ffff == 0 && i < used
            }),
            Family::Ipv6 => (0..MAX).any(|i| {
                let at = start6 + 4 * i;
                let differ = (address.hi ^ self.0[at]) & self.0[at + 2]
                    | (address.lo ^ self.0[at + 1]) & self.0[at + 3];
                differ == 0 && i < used
            }),
        }
    }

    /// Is it one of our addresses?
    #[must_use]
    #[inline(always)]
    pub fn is_own_address(&self, address: Address) -> bool {
        let used = self.used(OWN + address.family as usize);
        match address.family {
            // As above.
            Family::Ipv4 => {
                (0..MAX_OWN_ADDRESSES).any(|i| self.0[OWN4 + i] == address.hi && i < used)
            }
            Family::Ipv6 => (0..MAX_OWN_ADDRESSES).any(|i| {
                self.0[OWN6 + 2 * i] == address.hi
                    && self.0[OWN6 + 2 * i + 1] == address.lo
                    && i < used
            }),
        }
    }
}

/// Key of the map of tagged networks: the interface's slot, and both VLANs.
#[must_use]
#[inline(always)]
pub const fn tags_key(slot: u32, vlans: Vlans) -> u64 {
    (slot as u64) << 32 | (vlans.outer as u64) << 16 | vlans.inner as u64
}

/// The inverse of [`tags_key`].
#[must_use]
pub const fn from_tags_key(key: u64) -> (u32, Vlans) {
    let vlans = Vlans {
        outer: (key >> 16) as u16,
        inner: key as u16,
    };
    ((key >> 32) as u32, vlans)
}

/// What the program knows of an interface index: the place of its record, and its slot. Zero is no interface of ours.
#[must_use]
#[inline(always)]
pub const fn interface_entry(place: u32, slot: u32) -> u32 {
    place << 16 | slot
}

/// Place and slot of an [`interface_entry`].
#[must_use]
#[inline(always)]
pub const fn from_interface_entry(entry: u32) -> (u32, u32) {
    (entry >> 16, entry & 0xffff)
}
