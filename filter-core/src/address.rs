//! IP addresses as the tables see them: left-aligned in two 64-bit words, so one comparison serves both
//! families. Never a socket address, never text on the data path.
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The two IP versions. The discriminant is the index of the family in records and counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Family {
    /// IPv4 (RFC 791).
    Ipv4 = 0,
    /// IPv6 (RFC 8200).
    Ipv6 = 1,
}

impl Family {
    /// Both, in index order.
    pub const ALL: [Self; 2] = [Self::Ipv4, Self::Ipv6];

    /// Address width in bits: 32 or 128.
    #[must_use]
    #[inline(always)]
    pub const fn bits(self) -> u8 {
        match self {
            Self::Ipv4 => 32,
            Self::Ipv6 => 128,
        }
    }

    /// The name used in configuration and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An IPv4 or IPv6 address, its first bit in the top bit of `hi`. For IPv4 the 96 bits after it are zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// Which family the bits belong to.
    pub family: Family,
    /// Bits 0–63, host order (bit 0 is the most significant).
    pub hi: u64,
    /// Bits 64–127, host order; zero for IPv4.
    pub lo: u64,
}

impl Address {
    /// From the four bytes of an IPv4 header field (network order).
    #[must_use]
    #[inline(always)]
    pub const fn from_v4(bytes: [u8; 4]) -> Self {
        Self {
            family: Family::Ipv4,
            hi: (u32::from_be_bytes(bytes) as u64) << 32,
            lo: 0,
        }
    }

    /// From the two halves of an IPv6 header field, host order.
    #[must_use]
    #[inline(always)]
    pub const fn from_v6(hi: u64, lo: u64) -> Self {
        Self {
            family: Family::Ipv6,
            hi,
            lo,
        }
    }

    /// All bits as one integer, left-aligned.
    #[must_use]
    pub const fn bits(self) -> u128 {
        (self.hi as u128) << 64 | self.lo as u128
    }

    /// The address whose left-aligned bits these are. For IPv4 the low 96 bits are dropped.
    #[must_use]
    pub const fn from_bits(family: Family, bits: u128) -> Self {
        match family {
            Family::Ipv4 => Self {
                family,
                hi: (bits >> 96 << 32) as u64,
                lo: 0,
            },
            Family::Ipv6 => Self {
                family,
                hi: (bits >> 64) as u64,
                lo: bits as u64,
            },
        }
    }
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(v4) => Self::from_v4(v4.octets()),
            IpAddr::V6(v6) => Self::from_bits(Family::Ipv6, v6.to_bits()),
        }
    }
}

impl From<Address> for IpAddr {
    fn from(address: Address) -> Self {
        match address.family {
            Family::Ipv4 => Self::V4(Ipv4Addr::from_bits((address.hi >> 32) as u32)),
            Family::Ipv6 => Self::V6(Ipv6Addr::from_bits(address.bits())),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        IpAddr::from(*self).fmt(f)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
