//! The UPDATE message (RFC 4271 section 4.3): which prefixes come, which go, over which next hop, with which
//! communities, and whom the AS path begins with. Everything else about a route is passed over: membership is what a
//! filter needs.
//!
//! An UPDATE is one unit: [`Update::check`] it before believing any prefix of it. One whose prefixes can be read and
//! whose attributes are wrong is read with a [flaw](Update::flaw): its routes are withdrawn (RFC 7606).
use super::super::{Malformed, Reader, WireError};
use super::{path, unicast};
use filter_core::{Address, Family, Prefix};
use filter_lifecycle::route::{Community, PathHead};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// Flags of a path attribute: the two bits for its kind, and the length of its length.
const OPTIONAL: u8 = 0x80;
const TRANSITIVE: u8 = 0x40;
const EXTENDED_LENGTH: u8 = 0x10;

/// Type codes of the attributes that are read.
const AS_PATH: u8 = 2;
const NEXT_HOP: u8 = 3;
const COMMUNITIES: u8 = 8;
const MP_REACH_NLRI: u8 = 14;
const MP_UNREACH_NLRI: u8 = 15;
const EXTENDED_COMMUNITIES: u8 = 16;
const AS4_PATH: u8 = 17;
const LARGE_COMMUNITIES: u8 = 32;

/// In which families prefixes are preceded by a path identifier (RFC 7911 section 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PathIds {
    /// Before IPv4 prefixes.
    pub ipv4: bool,
    /// Before IPv6 prefixes.
    pub ipv6: bool,
}

impl PathIds {
    /// In no family.
    pub const NONE: Self = Self {
        ipv4: false,
        ipv6: false,
    };

    /// In this one?
    #[must_use]
    pub const fn of(self, family: Family) -> bool {
        match family {
            Family::Ipv4 => self.ipv4,
            Family::Ipv6 => self.ipv6,
        }
    }
}

/// One entry of a list of prefixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nlri {
    /// The path identifier, 0 without ADD-PATH.
    pub path: u32,
    /// The destination block.
    pub prefix: Prefix,
}

/// One prefix that an UPDATE announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announced {
    /// The prefix and its path identifier.
    pub nlri: Nlri,
    /// Over which next hop. None if the message has no NEXT_HOP: the router has judged that already.
    pub next_hop: Option<IpAddr>,
}

/// An UPDATE, its fields found but its prefixes not yet read.
#[derive(Clone, Copy, Debug)]
pub struct Update<'a> {
    withdrawn: Reader<'a>,
    nlri: Reader<'a>,
    attributes: Attributes<'a>,
}

/// Where the attributes that matter are.
#[derive(Clone, Copy, Debug)]
struct Attributes<'a> {
    next_hop: Option<Ipv4Addr>,
    as_path: Option<&'a [u8]>,
    as4_path: Option<&'a [u8]>,
    reach: Option<(Family, IpAddr, Reader<'a>)>,
    unreach: Option<(Family, Reader<'a>)>,
    communities: &'a [u8],
    extended_communities: &'a [u8],
    large_communities: &'a [u8],
    count: usize,
    flaw: Option<WireError>,
    foreign: u32,
    repeated: u32,
}

impl<'a> Update<'a> {
    /// Reads the body of an UPDATE.
    #[inline]
    pub(super) fn read(body: &mut Reader<'a>) -> Result<Self, WireError> {
        let length = body.u16("the withdrawn routes length")?;
        let withdrawn = body.take(length.into(), "the withdrawn routes")?;
        let length = body.u16("the path attributes length")?;
        let attributes = body.take(length.into(), "the path attributes")?;
        let nlri = body.take(body.left(), "the announced routes")?;
        let attributes = Attributes::read(attributes)?;
        // A list of attributes that is cut may have hidden prefixes behind the cut.
        if let Some(
            flaw @ WireError {
                kind: Malformed::Cut { .. },
                ..
            },
        ) = attributes.flaw
            && nlri.is_empty()
            && attributes.reach.is_none()
        {
            return Err(flaw);
        }
        Ok(Self {
            withdrawn,
            nlri,
            attributes,
        })
    }

    /// What is wrong with an attribute although every prefix can be read: the routes announced are to be withdrawn
    /// ("treat-as-withdraw", RFC 7606 section 2).
    #[must_use]
    pub const fn flaw(&self) -> Option<WireError> {
        self.attributes.flaw
    }

    /// Can every prefix be read this way?
    ///
    /// # Errors
    /// What is wrong with the first that cannot.
    pub fn check(&self, path_ids: PathIds) -> Result<(), WireError> {
        for withdrawn in self.withdrawn(path_ids) {
            withdrawn?;
        }
        for announced in self.announced(path_ids) {
            announced?;
        }
        Ok(())
    }

    /// The prefixes that go. To be applied before those that come (RFC 4271 section 4.3, last paragraph).
    pub fn withdrawn(
        &self,
        path_ids: PathIds,
    ) -> impl Iterator<Item = Result<Nlri, WireError>> + use<'a> {
        let classic = Prefixes::new(self.withdrawn, Family::Ipv4, path_ids);
        let multiprotocol = self.attributes.unreach.into_iter();
        classic.chain(
            multiprotocol.flat_map(move |(family, list)| Prefixes::new(list, family, path_ids)),
        )
    }

    /// The prefixes that come.
    pub fn announced(
        &self,
        path_ids: PathIds,
    ) -> impl Iterator<Item = Result<Announced, WireError>> + use<'a> {
        let next_hop = self.attributes.next_hop.map(IpAddr::V4);
        let classic = Prefixes::new(self.nlri, Family::Ipv4, path_ids)
            .map(move |nlri| nlri.map(|nlri| Announced { nlri, next_hop }));
        let multiprotocol = self.attributes.reach.into_iter();
        classic.chain(multiprotocol.flat_map(move |(family, next_hop, list)| {
            let next_hop = Some(next_hop);
            Prefixes::new(list, family, path_ids)
                .map(move |nlri| nlri.map(|nlri| Announced { nlri, next_hop }))
        }))
    }

    /// The family whose initial table is complete, if this message is End-of-RIB (RFC 4724 section 2).
    #[must_use]
    pub fn end_of_rib(&self) -> Option<Family> {
        if !self.withdrawn.is_empty() || !self.nlri.is_empty() || self.flaw().is_some() {
            return None;
        }
        match (self.attributes.count, self.attributes.unreach) {
            (0, _) => Some(Family::Ipv4),
            (1, Some((family, list))) if list.is_empty() => Some(family),
            _ => None,
        }
    }

    /// Its communities, the message's one allocation; none if it has no such attribute.
    #[must_use]
    pub fn communities(&self) -> Option<Arc<[Community]>> {
        let (standard, _) = self.attributes.communities.as_chunks::<4>();
        let (extended, _) = self.attributes.extended_communities.as_chunks::<8>();
        let (large, _) = self.attributes.large_communities.as_chunks::<12>();
        if standard.is_empty() && extended.is_empty() && large.is_empty() {
            return None;
        }
        let standard = standard.iter().map(|&[a, b, c, d]| {
            Community::Standard(u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))
        });
        let extended = extended.iter().copied().filter_map(Community::extended);
        let large = large.iter().map(|bytes| {
            let (words, _) = bytes.as_chunks::<4>();
            let word = |index: usize| words.get(index).map_or(0, |word| u32::from_be_bytes(*word));
            Community::Large(word(0), word(1), word(2))
        });
        Some(standard.chain(extended).chain(large).collect())
    }

    /// Whom its AS_PATH begins with; none if it has no such attribute. One that cannot be read begins with no AS.
    #[must_use]
    pub fn path_head(&self) -> Option<PathHead> {
        let path = self.attributes.as_path?;
        Some(path::head(path, self.attributes.as4_path))
    }

    /// Attributes about families that are not read, skipped by design.
    #[must_use]
    pub const fn foreign(&self) -> u32 {
        self.attributes.foreign
    }

    /// Repeated attributes that were discarded as RFC 7606 section 3 g has it.
    #[must_use]
    pub const fn repeated(&self) -> u32 {
        self.attributes.repeated
    }
}

impl<'a> Attributes<'a> {
    #[inline]
    fn read(mut list: Reader<'a>) -> Result<Self, WireError> {
        let mut attributes = Self {
            next_hop: None,
            as_path: None,
            as4_path: None,
            reach: None,
            unreach: None,
            communities: &[],
            extended_communities: &[],
            large_communities: &[],
            count: 0,
            flaw: None,
            foreign: 0,
            repeated: 0,
        };
        let mut seen = [0u64; 4];
        while !list.is_empty() {
            let (place, code, flags, value) = match head(&mut list) {
                Ok(head) => head,
                // Where the next attribute starts is not known (RFC 7606 section 4).
                Err(cut) => {
                    attributes.flaw.get_or_insert(cut);
                    break;
                }
            };
            attributes.count += 1;
            let bit = 1 << (code % 64);
            let word = &mut seen[usize::from(code / 64)];
            if *word & bit != 0 {
                if matches!(code, MP_REACH_NLRI | MP_UNREACH_NLRI) {
                    return Err(place.error(Malformed::RepeatedAttribute(code)));
                }
                attributes.repeated += 1;
                continue;
            }
            *word |= bit;
            if let Err(flaw) = check_flags(&place, code, flags) {
                attributes.flaw.get_or_insert(flaw);
            }
            match code {
                MP_REACH_NLRI | MP_UNREACH_NLRI => attributes.multiprotocol(code, value)?,
                _ => {
                    if let Err(flaw) = attributes.attribute(code, value) {
                        attributes.flaw.get_or_insert(flaw);
                    }
                }
            }
        }
        Ok(attributes)
    }

    /// Remembers an attribute that concerns the routes.
    fn attribute(&mut self, code: u8, mut value: Reader<'a>) -> Result<(), WireError> {
        let place = value;
        let whole = |size: usize, what| {
            let length = place.left();
            if length.is_multiple_of(size) {
                return Ok(place.bytes());
            }
            Err(place.error(Malformed::Length { what, length }))
        };
        match code {
            NEXT_HOP => {
                let next_hop = value.array("the next hop")?;
                value.end("the next hop")?;
                self.next_hop = Some(Ipv4Addr::from(next_hop));
            }
            AS_PATH => self.as_path = Some(place.bytes()),
            AS4_PATH => self.as4_path = Some(place.bytes()),
            COMMUNITIES => self.communities = whole(4, "the communities attribute")?,
            EXTENDED_COMMUNITIES => {
                self.extended_communities = whole(8, "the extended communities attribute")?;
            }
            LARGE_COMMUNITIES => {
                self.large_communities = whole(12, "the large communities attribute")?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Remembers an attribute that holds prefixes. An error leaves them unknown, and with them what the UPDATE says.
    fn multiprotocol(&mut self, code: u8, mut value: Reader<'a>) -> Result<(), WireError> {
        if code == MP_REACH_NLRI {
            self.reach = reach(&mut value)?;
            self.foreign += u32::from(self.reach.is_none());
        } else {
            let afi = value.u16("the withdrawn family")?;
            let safi = value.u8("the withdrawn subsequent family")?;
            self.unreach = unicast(afi, safi).map(|family| (family, value));
            self.foreign += u32::from(self.unreach.is_none());
        }
        Ok(())
    }
}

/// Where an attribute starts, its type and flags, and its value.
#[inline]
fn head<'a>(list: &mut Reader<'a>) -> Result<(Reader<'a>, u8, u8, Reader<'a>), WireError> {
    let place = *list;
    let flags = list.u8("the attribute flags")?;
    let code = list.u8("the attribute type")?;
    let length = if flags & EXTENDED_LENGTH == 0 {
        list.u8("the attribute length")?.into()
    } else {
        list.u16("the attribute length")?.into()
    };
    Ok((place, code, flags, list.take(length, "a path attribute")?))
}

/// The Optional and Transitive bits of the attributes we read (RFC 7606 section 3 c).
fn check_flags(place: &Reader<'_>, attribute: u8, flags: u8) -> Result<(), WireError> {
    let wanted = match attribute {
        NEXT_HOP => TRANSITIVE,
        COMMUNITIES | EXTENDED_COMMUNITIES | LARGE_COMMUNITIES => OPTIONAL | TRANSITIVE,
        MP_REACH_NLRI | MP_UNREACH_NLRI => OPTIONAL,
        _ => return Ok(()),
    };
    if flags & (OPTIONAL | TRANSITIVE) == wanted {
        return Ok(());
    }
    Err(place.error(Malformed::AttributeFlags { attribute, flags }))
}

/// MP_REACH_NLRI (RFC 4760 section 3); IPv4 may have an IPv6 next hop (RFC 8950). None for families not read.
fn reach<'a>(value: &mut Reader<'a>) -> Result<Option<(Family, IpAddr, Reader<'a>)>, WireError> {
    let afi = value.u16("the announced family")?;
    let safi = value.u8("the announced subsequent family")?;
    let Some(family) = unicast(afi, safi) else {
        return Ok(None);
    };
    let place = *value;
    let length = value.u8("the next hop length")?;
    let mut next_hop = value.take(length.into(), "the next hop")?;
    value.u8("the reserved byte after the next hop")?;
    let next_hop = match (family, length) {
        (Family::Ipv4, 4) => Ipv4Addr::from(next_hop.array("the next hop")?).into(),
        (_, 16) => Ipv6Addr::from(next_hop.array("the next hop")?).into(),
        (_, 32) => {
            // The global address and the link-local one (RFC 2545 section 3). The global one counts, unless the
            // neighbour has none.
            let global = Ipv6Addr::from(next_hop.array("the next hop")?);
            let link_local = Ipv6Addr::from(next_hop.array("the next hop")?);
            IpAddr::from(if global.is_unspecified() {
                link_local
            } else {
                global
            })
        }
        _ => {
            return Err(place.error(Malformed::Length {
                what: "the next hop",
                length: length.into(),
            }));
        }
    };
    Ok(Some((family, next_hop.to_canonical(), *value)))
}

/// Reads a list of prefixes; ends after the first error.
#[derive(Clone, Debug)]
pub struct Prefixes<'a> {
    list: Reader<'a>,
    family: Family,
    path_ids: bool,
    defaults: u8,
}

impl<'a> Prefixes<'a> {
    const fn new(list: Reader<'a>, family: Family, path_ids: PathIds) -> Self {
        Self {
            list,
            family,
            path_ids: path_ids.of(family),
            defaults: 0,
        }
    }

    #[inline]
    fn entry(&mut self) -> Result<Nlri, WireError> {
        let path = if self.path_ids {
            self.list.u32("a path identifier")?
        } else {
            0
        };
        let place = self.list;
        let length = self.list.u8("a prefix length")?;
        if length > self.family.bits() {
            let family = self.family;
            return Err(place.error(Malformed::PrefixLength { family, length }));
        }
        let bytes = self.list.take(length.div_ceil(8).into(), "a prefix")?;
        // At most 16: the length was checked. A loop, since a copy of unknown length is a function call.
        let mut bits = 0;
        for &byte in bytes.bytes() {
            bits = bits << 8 | u128::from(byte);
        }
        let bits = bits.checked_shl(128 - 8 * bytes.left() as u32).unwrap_or(0);
        let address = Address::from_bits(self.family, bits);
        let Ok(prefix) = Prefix::new(address, length) else {
            let family = self.family;
            return Err(place.error(Malformed::PrefixLength { family, length }));
        };
        if length == 0 && !self.path_ids {
            self.defaults += 1;
            if self.defaults > 1 {
                return Err(place.error(Malformed::RepeatedDefault));
            }
        }
        Ok(Nlri { path, prefix })
    }
}

impl Iterator for Prefixes<'_> {
    type Item = Result<Nlri, WireError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.list.is_empty() {
            return None;
        }
        let entry = self.entry();
        if entry.is_err() {
            self.list = Reader::new(&[]);
        }
        Some(entry)
    }
}
