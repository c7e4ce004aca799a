//! What enforcement is switched on for, class by class and family by family: the words of the switch, and what a packet
//! breaks. Never decides which class a packet breaks: that is [`crate::Reason::breaks`].
use core::fmt;

use crate::address::Family;

/// One kind of promise that a packet can break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Sources from the special-purpose registries, and from our own prefixes. Per family.
    Bogons,
    /// Sources that the peer does not advertise. Per family.
    Sources,
    /// Destinations that we do not advertise to the peer. Per family.
    Destinations,
    /// An IP version that the peer is not configured for.
    Families,
    /// Frames that cannot be what they say they are.
    Malformed,
    /// What has no business on a peering LAN: router advertisements, redirects, OSPF, LLDP, … An interface's.
    Lan,
    /// Stations that belong to no peer. An interface's.
    Unknown,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Bogons,
        Self::Sources,
        Self::Destinations,
        Self::Families,
        Self::Malformed,
        Self::Lan,
        Self::Unknown,
    ];

    /// The name in configuration and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bogons => "bogons",
            Self::Sources => "sources",
            Self::Destinations => "destinations",
            Self::Families => "families",
            Self::Malformed => "malformed",
            Self::Lan => "lan",
            Self::Unknown => "unknown",
        }
    }

    /// The class of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.name() == name)
    }

    /// Is it switched for each family by itself?
    #[must_use]
    pub const fn is_per_family(self) -> bool {
        matches!(self, Self::Bogons | Self::Sources | Self::Destinations)
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A set of classes, those that are per family for each family. Its bits are the words of the switch: part of the
/// data-plane layout.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Classes(u32);

impl Classes {
    /// None at all.
    pub const NONE: Self = Self(0);
    /// `families`.
    pub const FAMILIES: Self = Self(1 << 6);
    /// `malformed`.
    pub const MALFORMED: Self = Self(1 << 7);
    /// `lan`.
    pub const LAN: Self = Self(1 << 8);
    /// `unknown`.
    pub const UNKNOWN: Self = Self(1 << 9);
    /// `bogons` of both families.
    pub const BOGONS: Self = Self(0b11);
    /// `sources` of both families.
    pub const SOURCES: Self = Self(0b11 << 2);
    /// `destinations` of both families.
    pub const DESTINATIONS: Self = Self(0b11 << 4);
    /// Every class of a peer.
    pub const PEER: Self = Self(0xff);
    /// Every class of an interface; `malformed` is for frames of no peer.
    pub const INTERFACE: Self = Self(0b111 << 7);
    /// Every class there is.
    pub const ALL: Self = Self(0x3ff);

    /// `bogons` of one family.
    #[must_use]
    #[inline(always)]
    pub const fn bogons(family: Family) -> Self {
        Self(1 << family as u32)
    }

    /// `sources` of one family.
    #[must_use]
    #[inline(always)]
    pub const fn sources(family: Family) -> Self {
        Self(1 << (2 + family as u32))
    }

    /// `destinations` of one family.
    #[must_use]
    #[inline(always)]
    pub const fn destinations(family: Family) -> Self {
        Self(1 << (4 + family as u32))
    }

    /// One class, of both families.
    #[must_use]
    pub const fn of(class: Class) -> Self {
        match class {
            Class::Bogons => Self::BOGONS,
            Class::Sources => Self::SOURCES,
            Class::Destinations => Self::DESTINATIONS,
            Class::Families => Self::FAMILIES,
            Class::Malformed => Self::MALFORMED,
            Class::Lan => Self::LAN,
            Class::Unknown => Self::UNKNOWN,
        }
    }

    /// One class of one family, or one without.
    #[must_use]
    pub const fn of_family(class: Class, family: Family) -> Self {
        match class {
            Class::Bogons => Self::bogons(family),
            Class::Sources => Self::sources(family),
            Class::Destinations => Self::destinations(family),
            class => Self::of(class),
        }
    }

    /// From a word of the switch; bits that are no class are dropped.
    #[must_use]
    #[inline(always)]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits & Self::ALL.0)
    }

    /// A bit for each class, as above.
    #[must_use]
    #[inline(always)]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Is there none?
    #[must_use]
    #[inline(always)]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Have the two any in common?
    #[must_use]
    #[inline(always)]
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Are all of the other's among these?
    #[must_use]
    #[inline(always)]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// These and those.
    #[must_use]
    #[inline(always)]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those of these that are among the other.
    #[must_use]
    #[inline(always)]
    pub const fn within(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// These less those.
    #[must_use]
    #[inline(always)]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// These if it is so, else none. By arithmetic: a branch would be one more for the verifier to follow.
    #[must_use]
    #[inline(always)]
    pub const fn when(self, is_so: bool) -> Self {
        Self(self.0 * is_so as u32)
    }

    /// Each class, with its family where there is one, in a fixed order.
    pub fn iter(self) -> impl Iterator<Item = (Class, Option<Family>)> {
        let each = Class::ALL.into_iter().flat_map(|class| {
            let families = if class.is_per_family() {
                [Some(Family::Ipv4), Some(Family::Ipv6)]
            } else {
                [None, None]
            };
            let count = if class.is_per_family() { 2 } else { 1 };
            families
                .into_iter()
                .take(count)
                .map(move |family| (class, family))
        });
        each.filter(move |&(class, family)| {
            self.meets(Self::of_family(class, family.unwrap_or(Family::Ipv4)))
        })
    }
}

impl core::ops::BitOr for Classes {
    type Output = Self;

    #[inline(always)]
    fn bitor(self, other: Self) -> Self {
        self.with(other)
    }
}

impl FromIterator<Class> for Classes {
    fn from_iter<I: IntoIterator<Item = Class>>(classes: I) -> Self {
        classes
            .into_iter()
            .fold(Self::NONE, |all, class| all.with(Self::of(class)))
    }
}

/// `bogons ipv4, families`; `none`.
impl fmt::Display for Classes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("none");
        }
        for (place, (class, family)) in self.iter().enumerate() {
            if place > 0 {
                f.write_str(", ")?;
            }
            f.write_str(class.name())?;
            if let Some(family) = family {
                write!(f, " {family}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Classes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_a_bit_of_its_own_for_each_of_its_families() {
        let mut bits = 0;
        let mut count = 0;
        for (class, family) in Classes::ALL.iter() {
            let one = Classes::of_family(class, family.unwrap_or(Family::Ipv6));
            assert_eq!(one.bits().count_ones(), 1, "{class}");
            assert_eq!(bits & one.bits(), 0, "{class}");
            assert!(Classes::of(class).contains(one), "{class}");
            assert_eq!(Class::from_name(class.name()), Some(class));
            bits |= one.bits();
            count += 1;
        }
        assert_eq!((bits, count), (Classes::ALL.bits(), 10));
        assert_eq!(Classes::PEER | Classes::INTERFACE, Classes::ALL);
        assert_eq!(Classes::PEER.within(Classes::INTERFACE), Classes::MALFORMED);
        assert_eq!(Class::from_name("all"), None);
    }

    #[test]
    fn they_are_named_with_their_family() {
        let some = Classes::bogons(Family::Ipv6) | Classes::FAMILIES;
        assert_eq!(some.to_string(), "bogons ipv6, families");
        assert_eq!(Classes::NONE.to_string(), "none");
        assert_eq!(Classes::from_bits(u32::MAX), Classes::ALL);
        let both: Classes = [Class::Sources, Class::Lan].into_iter().collect();
        assert_eq!(both, Classes::SOURCES | Classes::LAN);
        assert_eq!(Classes::PEER.when(false), Classes::NONE);
    }
}
