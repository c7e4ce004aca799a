//! The one prefix type: always canonical (no host bits), the only way into a set.
use core::fmt;
use core::net::IpAddr;
use core::str::FromStr;

use crate::address::{Address, Family};

/// An address block in canonical form: bits beyond the length are zero (RFC 4632 section 3.1).
///
/// Ordered by family, then address, then length, so a covering prefix sorts before what it covers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix {
    address: Address,
    len: u8,
}

/// Why a text or a length is not a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PrefixError {
    /// No `/` between address and length.
    NoLength,
    /// What stands before the `/` is not an IP address.
    Address,
    /// What stands after the `/` is not a number up to the family's width.
    Length(Family),
}

impl fmt::Display for PrefixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLength => f.write_str("not a prefix: write address/length"),
            Self::Address => f.write_str("not a prefix: the part before the / is no IP address"),
            Self::Length(family) => {
                write!(
                    f,
                    "not a prefix: an {family} length is a number from 0 to {}",
                    family.bits()
                )
            }
        }
    }
}

impl core::error::Error for PrefixError {}

impl Prefix {
    /// The block of `len` leading bits around `address`; host bits are cleared.
    ///
    /// # Errors
    /// [`PrefixError::Length`] if `len` is wider than the family.
    pub const fn new(address: Address, len: u8) -> Result<Self, PrefixError> {
        if len > address.family.bits() {
            return Err(PrefixError::Length(address.family));
        }
        let bits = address.bits() & !host_mask(len);
        Ok(Self {
            address: Address::from_bits(address.family, bits),
            len,
        })
    }

    /// The block that holds just this address.
    #[must_use]
    pub const fn host(address: Address) -> Self {
        Self {
            address,
            len: address.family.bits(),
        }
    }

    /// The first address, which with the length names the block.
    #[must_use]
    pub const fn address(self) -> Address {
        self.address
    }

    /// The number of leading bits all members share.
    #[must_use]
    #[expect(
        clippy::len_without_is_empty,
        reason = "a prefix length, not a collection's"
    )]
    pub const fn len(self) -> u8 {
        self.len
    }

    /// The family of its addresses.
    #[must_use]
    pub const fn family(self) -> Family {
        self.address.family
    }

    /// First and last member, left-aligned. For IPv4 the last one has its 96 padding bits set, so that
    /// neighbouring blocks are one apart in both families.
    #[must_use]
    pub const fn range(self) -> (u128, u128) {
        let first = self.address.bits();
        (first, first | host_mask(self.len))
    }

    /// Is the address a member?
    #[must_use]
    pub fn contains(self, address: Address) -> bool {
        self.family() == address.family
            && address.bits() & !host_mask(self.len) == self.address.bits()
    }

    /// Is every member of `other` a member of this one?
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        self.len <= other.len && self.contains(other.address)
    }

    /// The longest prefix that covers both this one and `other`, which is of the same family.
    #[must_use]
    pub fn common(self, other: Self) -> Self {
        let same = (self.address.bits() ^ other.address.bits()).leading_zeros() as u8;
        let len = same.min(self.len).min(other.len);
        Self {
            address: Address::from_bits(self.family(), self.address.bits() & !host_mask(len)),
            len,
        }
    }
}

/// The left-aligned bits after the first `len`.
const fn host_mask(len: u8) -> u128 {
    if len >= 128 { 0 } else { u128::MAX >> len }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let (address, len) = text.split_once('/').ok_or(PrefixError::NoLength)?;
        let address = Address::from(IpAddr::from_str(address).map_err(|_| PrefixError::Address)?);
        let digits = (1..=3).contains(&len.len()) && len.bytes().all(|b| b.is_ascii_digit());
        let len = if digits { len.parse().ok() } else { None };
        Self::new(address, len.ok_or(PrefixError::Length(address.family))?)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.len)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(feature = "std")]
mod ipnet_conversions {
    use super::{Address, Prefix};
    use ipnet::IpNet;

    impl From<IpNet> for Prefix {
        fn from(net: IpNet) -> Self {
            let net = net.trunc();
            Self {
                address: Address::from(net.addr()),
                len: net.prefix_len(),
            }
        }
    }

    impl From<Prefix> for IpNet {
        fn from(prefix: Prefix) -> Self {
            Self::new_assert(prefix.address.into(), prefix.len)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn host_bits_are_cleared() {
        assert_eq!(prefix("192.0.2.80/26").to_string(), "192.0.2.64/26");
        assert_eq!(prefix("2001:db8::1/32").to_string(), "2001:db8::/32");
        assert_eq!(prefix("255.255.255.255/0").to_string(), "0.0.0.0/0");
    }

    #[test]
    fn what_two_prefixes_have_in_common() {
        for (a, b, common) in [
            ("192.0.2.0/24", "192.0.3.0/24", "192.0.2.0/23"),
            ("192.0.2.0/24", "192.0.2.0/24", "192.0.2.0/24"),
            ("192.0.2.0/24", "192.0.2.128/25", "192.0.2.0/24"),
            ("10.0.0.0/8", "192.0.2.0/24", "0.0.0.0/0"),
            ("2001:db8::1/128", "2001:db8::/128", "2001:db8::/127"),
        ] {
            assert_eq!(prefix(a).common(prefix(b)), prefix(common), "{a} {b}");
            assert_eq!(prefix(b).common(prefix(a)), prefix(common), "{b} {a}");
        }
    }

    #[test]
    fn bad_text_names_what_is_wrong() {
        assert_eq!("192.0.2.0".parse::<Prefix>(), Err(PrefixError::NoLength));
        assert_eq!("192.0.2/24".parse::<Prefix>(), Err(PrefixError::Address));
        for len in ["33", "", "+8", "008888", "-1", "256", "x"] {
            let text = format!("192.0.2.0/{len}");
            assert_eq!(
                text.parse::<Prefix>(),
                Err(PrefixError::Length(Family::Ipv4)),
                "{text}"
            );
        }
        assert_eq!(
            "::/129".parse::<Prefix>(),
            Err(PrefixError::Length(Family::Ipv6))
        );
    }

    #[test]
    fn ranges_and_membership_at_the_edges() {
        let p = prefix("198.51.100.0/24");
        let (first, last) = p.range();
        assert!(p.contains(Address::from_bits(Family::Ipv4, first)));
        assert!(p.contains(Address::from_bits(Family::Ipv4, last)));
        assert!(!p.contains(Address::from_bits(Family::Ipv4, first - 1)));
        assert!(!p.contains(Address::from_bits(Family::Ipv4, last + 1)));
        assert!(!prefix("::/0").contains(Address::from_v4([0, 0, 0, 0])));
        assert!(prefix("0.0.0.0/0").covers(prefix("255.255.255.255/32")));
        assert!(!prefix("198.51.100.0/25").covers(p));
    }

    #[test]
    fn ipnet_there_and_back() {
        for text in [
            "0.0.0.0/0",
            "192.0.2.1/32",
            "::/0",
            "2001:db8::/33",
            "::1/128",
        ] {
            let p = prefix(text);
            assert_eq!(Prefix::from(ipnet::IpNet::from(p)), p);
            assert_eq!(p.to_string(), text);
        }
    }
}
