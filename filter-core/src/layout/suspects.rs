//! First bytes of addresses under which the shared lists, bogons and our own prefixes, hold anything at all: most sources
//! that a peer does not advertise are in neither, and need no look at them. Never says that an address is listed.
use crate::address::{Address, Family};

/// One of the lists that all peers share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// The bogons, less the exceptions.
    Bogons = 0,
    /// `[router] prefixes`.
    Ours = 1,
}

/// For each list a bit for each first byte: 256 for IPv4, then 256 for IPv6.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Suspects(pub [u64; Suspects::WORDS]);

impl Suspects {
    /// Size in words.
    pub const WORDS: usize = 16;

    /// These and those.
    #[must_use]
    pub fn with(self, other: &Self) -> Self {
        Self(core::array::from_fn(|i| self.0[i] | other.0[i]))
    }

    /// Adds the first bytes of a range of left-aligned addresses.
    pub fn add(&mut self, list: List, family: Family, (first, last): (u128, u128)) {
        for byte in (first >> 120) as u8..=(last >> 120) as u8 {
            let (word, bit) = Self::place(list, family, byte);
            self.0[word] |= 1 << bit;
        }
    }

    /// Word and bit of a first byte.
    #[must_use]
    #[inline(always)]
    pub const fn place(list: List, family: Family, byte: u8) -> (usize, u32) {
        let word = (byte >> 6) as usize | (family as usize) << 2 | (list as usize) << 3;
        (word, byte as u32 & 63)
    }

    /// Word and bit of an address.
    #[must_use]
    #[inline(always)]
    pub const fn of(list: List, address: Address) -> (usize, u32) {
        Self::place(list, address.family, (address.hi >> 56) as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_of_a_range_and_no_other_is_suspect() {
        let mut suspects = Suspects::default();
        suspects.add(List::Bogons, Family::Ipv4, (10 << 120, (0xac << 120) - 1));
        suspects.add(List::Ours, Family::Ipv6, (0xff << 120, u128::MAX));
        let is_suspect = |list, family, byte: u8| {
            let (word, bit) = Suspects::place(list, family, byte);
            suspects.0[word] >> bit & 1 != 0
        };
        for byte in 0..=255 {
            let is_bogon = is_suspect(List::Bogons, Family::Ipv4, byte);
            assert_eq!(is_bogon, (10..0xac).contains(&byte));
            assert_eq!(is_suspect(List::Ours, Family::Ipv6, byte), byte == 0xff);
            assert!(!is_suspect(List::Bogons, Family::Ipv6, byte));
            assert!(!is_suspect(List::Ours, Family::Ipv4, byte));
        }
        let address = Address::from_v4([171, 1, 2, 3]);
        for list in [List::Bogons, List::Ours] {
            let place = Suspects::place(list, Family::Ipv4, 171);
            assert_eq!(Suspects::of(list, address), place);
        }
    }
}
