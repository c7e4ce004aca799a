//! A peer's place in the maps, and who is meant by it. Never knows what is kept there.

/// A peer's place in the maps: its counters, its table and its samples go by this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerSlot(pub(crate) u32);

impl PeerSlot {
    /// The slot number, as samples carry it.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }
}

/// Who the peer of a name is: its AS number, and a hash of what else distinguishes it from another peer of that name. Kept beside
/// the name, so that a later process does not take one peer's state for another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity(u64);

impl Identity {
    /// The network with this AS number, and everything else that makes it this peer as one text.
    #[must_use]
    pub fn new(asn: u32, rest: &str) -> Self {
        Self(u64::from(asn) << 32 | fnv(rest) & u64::from(u32::MAX))
    }

    pub(crate) const fn from_word(word: u64) -> Self {
        Self(word)
    }

    pub(crate) const fn word(self) -> u64 {
        self.0
    }

    /// Is it the same network, whatever its sessions and MACs?
    #[must_use]
    pub const fn is_same_network(self, other: Self) -> bool {
        self.0 >> 32 == other.0 >> 32
    }
}

/// FNV-1a, 64 bits.
pub(crate) fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
