//! First bytes of addresses under which the shared lists, bogons and our own prefixes, hold anything at all: most sources
//! that a peer does not advertise are in neither, and need no look at them. Never says that an address is listed.
use crate::address::{Address, Family};

/// A bit for each first byte: 256 for IPv4, then 256 for IPv6.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Suspects(pub [u64; Suspects::WORDS]);

impl Suspects {
    /// Size in words.
    pub const WORDS: usize = 8;

    /// These and those.
    #[must_use]
    pub fn with(self, other: &Self) -> Self {
        Self(core::array::from_fn(|i| self.0[i] | other.0[i]))
    }

    /// Adds the first bytes of a range of left-aligned addresses.
    pub fn add(&mut self, family: Family, (first, last): (u128, u128)) {
        for byte in (first >> 120) as u8..=(last >> 120) as u8 {
            let (word, bit) = Self::place(family, byte);
            self.0[word] |= 1 << bit;
        }
    }

    /// Word and bit of a first byte.
    #[must_use]
    #[inline(always)]
    pub const fn place(family: Family, byte: u8) -> (usize, u32) {
        (
            (byte >> 6) as usize | (family as usize) << 2,
            byte as u32 & 63,
        )
    }

    /// Word and bit of an address.
    #[must_use]
    #[inline(always)]
    pub const fn of(address: Address) -> (usize, u32) {
        Self::place(address.family, (address.hi >> 56) as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_of_a_range_and_no_other_is_suspect() {
        let mut suspects = Suspects::default();
        suspects.add(Family::Ipv4, (10 << 120, (0xac << 120) - 1));
        suspects.add(Family::Ipv6, (0xff << 120, u128::MAX));
        let is_suspect = |family, byte: u8| {
            let (word, bit) = Suspects::place(family, byte);
            suspects.0[word] >> bit & 1 != 0
        };
        for byte in 0..=255 {
            assert_eq!(is_suspect(Family::Ipv4, byte), (10..0xac).contains(&byte));
            assert_eq!(is_suspect(Family::Ipv6, byte), byte == 0xff);
        }
        let address = Address::from_v4([171, 1, 2, 3]);
        assert_eq!(Suspects::of(address), Suspects::place(Family::Ipv4, 171));
    }
}
