//! Reads Ethernet, VLAN, IPv4, IPv6 and the packet quoted in an ICMP error.
//!
//! Every read is bounds-checked through [`Bytes`]; nothing here slices, allocates, panics or trusts a length
//! field, so the kernel's verifier can follow it and any input is safe. It never decides anything.
use crate::address::{Address, Family};

mod mac;

pub use mac::{Mac, MacError};

/// Bounds-checked access to the bytes of one frame, first byte of the destination MAC at offset 0.
pub trait Bytes {
    /// The `N` bytes at `offset`, or `None` if any of them lies beyond the readable part of the frame.
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;

    /// Bytes of the whole frame, also where they cannot be read.
    fn length(&self) -> usize;

    /// Where the link-layer header is.
    #[inline(always)]
    fn framing(&self) -> Framing {
        Framing::Whole
    }

    /// What follows the tags of a frame that has one: see [`tagged`], which an implementation may call in a place of its
    /// own.
    #[inline(always)]
    fn tagged(&self) -> Result<Payload, Malformed> {
        tagged(self)
    }

    /// One byte.
    #[inline(always)]
    fn u8(&self, offset: usize) -> Option<u8> {
        Some(self.read::<1>(offset)?[0])
    }

    /// Two bytes, network order on the wire.
    #[inline(always)]
    fn u16(&self, offset: usize) -> Option<u16> {
        Some(u16::from_be_bytes(self.read(offset)?))
    }

    /// Eight bytes, network order on the wire.
    #[inline(always)]
    fn u64(&self, offset: usize) -> Option<u64> {
        Some(u64::from_be_bytes(self.read(offset)?))
    }

    /// `N` times eight bytes in a row, network order on the wire: one bounds check for a whole header.
    #[inline(always)]
    fn words<const N: usize>(&self, offset: usize) -> Option<[u64; N]> {
        let mut words = [0; N];
        for (i, word) in words.iter_mut().enumerate() {
            *word = self.u64(offset + 8 * i)?;
        }
        Some(words)
    }
}

impl Bytes for [u8] {
    #[inline]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.get(offset..)?.first_chunk().copied()
    }

    fn length(&self) -> usize {
        self.len()
    }
}

/// Where the link-layer header of a frame is: in its bytes, or partly or wholly beside them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// An Ethernet header, and every tag in the frame.
    #[default]
    Whole,
    /// An Ethernet header whose first tag was taken out, by the driver or by the network stack: its control information is
    /// beside the frame.
    Stripped(u16),
    /// No Ethernet header: the IP header comes first, and its ethertype is known from elsewhere.
    Bare(u16),
}

/// Ethertype of ARP (RFC 826).
pub const ETHERTYPE_ARP: u16 = 0x0806;
/// Ethertype of IPv4 (RFC 894).
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// Ethertype of IPv6 (RFC 2464).
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
/// Ethertype of slow protocols: LACP, OAM (IEEE 802.3 annex 57A).
pub const ETHERTYPE_SLOW: u16 = 0x8809;
/// Ethertype of port authentication (IEEE 802.1X).
pub const ETHERTYPE_EAPOL: u16 = 0x888e;
/// Tag protocol identifier of a customer VLAN tag (IEEE 802.1Q).
pub const TPID_CUSTOMER: u16 = 0x8100;
/// Tag protocol identifier of a service VLAN tag (IEEE 802.1ad).
pub const TPID_SERVICE: u16 = 0x88a8;

/// Length of an Ethernet header without tags, in bytes.
pub const ETHERNET_LEN: usize = 14;
/// Where the first ethertype lies.
const ETHERTYPE_AT: usize = 12;
/// Length of a VLAN tag, in bytes.
pub const TAG_LEN: usize = 4;
/// The bits of a tag's control information that are the VLAN id.
pub const VLAN_ID_MASK: u16 = 0x0fff;
/// Tags a frame may have, priority tags included.
pub const MAX_TAGS: usize = 4;

/// The MACs in a frame's Ethernet header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MacPair {
    /// The receiver's.
    pub destination: Mac,
    /// The sender's, as the sender claims.
    pub source: Mac,
}

/// The VLANs a frame belongs to. Zero is "no tag": a priority tag (VLAN id 0) counts as none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Vlans {
    /// The first tag with an id, 1–4095.
    pub outer: u16,
    /// The second one (QinQ), 1–4095.
    pub inner: u16,
}

impl Vlans {
    /// No tag at all.
    pub const NONE: Self = Self { outer: 0, inner: 0 };

    /// Has the frame no tag with an id?
    #[must_use]
    #[inline(always)]
    pub const fn is_none(self) -> bool {
        self.outer == 0
    }
}

impl Vlans {
    /// With one more tag inside. One without an id counts for nothing; none if there are two with an id already.
    #[inline(always)]
    const fn inside(self, id: u16) -> Option<Self> {
        match (id, self.outer, self.inner) {
            (0, ..) => Some(self),
            (id, 0, _) => Some(Self {
                outer: id,
                inner: 0,
            }),
            (id, outer, 0) => Some(Self { outer, inner: id }),
            _ => None,
        }
    }
}

/// What follows the Ethernet header and its tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload {
    /// The VLANs of the tags in between.
    pub vlans: Vlans,
    /// What the payload says it is.
    pub ethertype: u16,
    /// Where it starts: 14, and 4 more for each tag in the frame; 0 without an Ethernet header.
    pub offset: usize,
}

/// The frame cannot be what it says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Destination and source MAC, if the frame has a whole Ethernet header. One without the header is for everybody on a link
/// that has no MACs: its source is no MAC at all.
#[inline(always)]
pub fn mac_pair<B: Bytes + ?Sized>(frame: &B) -> Result<MacPair, Malformed> {
    if let Framing::Bare(_) = frame.framing() {
        return Ok(MacPair {
            destination: Mac::from_bits(0xffff_ffff_ffff),
            source: Mac::from_bits(0),
        });
    }
    // One check for the whole header: the two eight-byte reads lie within it.
    frame.read::<ETHERNET_LEN>(0).ok_or(Malformed)?;
    Ok(MacPair {
        destination: Mac::from_bits(frame.u64(0).ok_or(Malformed)? >> 16),
        source: Mac::from_bits(frame.u64(6).ok_or(Malformed)? >> 16),
    })
}

/// Walks up to [`MAX_TAGS`] VLAN tags, up to two of them with an id. One more, or a cut one, is malformed. A tag that is
/// beside the frame is its first.
#[inline(always)]
pub fn payload<B: Bytes + ?Sized>(frame: &B) -> Result<Payload, Malformed> {
    let is_stripped = match frame.framing() {
        Framing::Bare(ethertype) => {
            return Ok(Payload {
                vlans: Vlans::NONE,
                ethertype,
                offset: 0,
            });
        }
        Framing::Stripped(_) => true,
        Framing::Whole => false,
    };
    let ethertype = frame.u16(ETHERTYPE_AT).ok_or(Malformed)?;
    if is_stripped || is_tag(ethertype) {
        return frame.tagged();
    }
    Ok(Payload {
        vlans: Vlans::NONE,
        ethertype,
        offset: ETHERNET_LEN,
    })
}

/// [`payload`], where there is a tag: in the frame, or beside it.
#[inline(always)]
pub fn tagged<B: Bytes + ?Sized>(frame: &B) -> Result<Payload, Malformed> {
    let (mut vlans, beside) = match frame.framing() {
        Framing::Stripped(control) => (Vlans::NONE.inside(control & VLAN_ID_MASK), 1),
        Framing::Whole | Framing::Bare(_) => (Some(Vlans::NONE), 0),
    };
    let mut ethertype = frame.u16(ETHERTYPE_AT).ok_or(Malformed)?;
    for place in 0..=MAX_TAGS {
        let offset = ETHERNET_LEN + place * TAG_LEN;
        let so_far = vlans.ok_or(Malformed)?;
        if !is_tag(ethertype) {
            return Ok(Payload {
                vlans: so_far,
                ethertype,
                offset,
            });
        }
        if place + beside >= MAX_TAGS {
            break;
        }
        let (id, next) = tag(frame, offset)?;
        vlans = so_far.inside(id);
        ethertype = next;
    }
    Err(Malformed)
}

impl Payload {
    /// As one word, which is not 0.
    #[must_use]
    #[inline(always)]
    pub const fn word(self) -> u64 {
        self.offset as u64
            | (self.ethertype as u64) << 16
            | (self.vlans.outer as u64) << 32
            | (self.vlans.inner as u64) << 48
    }

    /// The inverse of [`Payload::word`]; `None` of 0.
    #[must_use]
    #[inline(always)]
    pub const fn from_word(word: u64) -> Option<Self> {
        if word == 0 {
            return None;
        }
        Some(Self {
            vlans: Vlans {
                outer: (word >> 32) as u16,
                inner: (word >> 48) as u16,
            },
            ethertype: (word >> 16) as u16,
            offset: word as usize & 0x1f,
        })
    }
}

#[inline(always)]
fn is_tag(ethertype: u16) -> bool {
    ethertype == TPID_CUSTOMER || ethertype == TPID_SERVICE
}

/// VLAN id and following ethertype of the tag whose control information is at `offset`.
#[inline(always)]
fn tag<B: Bytes + ?Sized>(frame: &B, offset: usize) -> Result<(u16, u16), Malformed> {
    let [a, b, c, d] = frame.read(offset).ok_or(Malformed)?;
    let control = u16::from_be_bytes([a, b]);
    Ok((control & VLAN_ID_MASK, u16::from_be_bytes([c, d])))
}

/// IPv4 protocol number of ICMP (RFC 792).
pub const PROTOCOL_ICMP: u8 = 1;
/// IPv4 protocol number of IGMP (RFC 3376).
pub const PROTOCOL_IGMP: u8 = 2;
/// IPv6 next-header value of ICMPv6 (RFC 4443).
pub const NEXT_HEADER_ICMPV6: u8 = 58;
/// IPv6 next-header value of hop-by-hop options (RFC 8200 section 4.3).
pub const NEXT_HEADER_HOP_BY_HOP: u8 = 0;
/// IPv6 next-header value of a routing header (RFC 8200 section 4.4).
pub const NEXT_HEADER_ROUTING: u8 = 43;
/// IPv6 next-header value of destination options (RFC 8200 section 4.6).
pub const NEXT_HEADER_DESTINATION: u8 = 60;

const IPV4_LEN: usize = 20;
/// Length of IPv6's fixed header, in bytes.
pub const IPV6_LEN: usize = 40;
/// Type, code, checksum and the four bytes before the quoted packet, alike in ICMP and ICMPv6.
const ICMP_LEN: usize = 8;
/// In the header's first eight bytes.
const FRAGMENT_OFFSET_MASK: u64 = 0x1fff;

/// What the verdict needs from an IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ip {
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// Where an ICMP message starts, if this packet holds the start of one: IPv4 protocol 1 at fragment
    /// offset 0, or IPv6 next header 58 right after the fixed header.
    pub icmp: Option<usize>,
    /// IPv4 protocol, or the next header after IPv6's fixed one.
    pub protocol: u8,
    /// TTL or hop limit.
    pub hop_limit: u8,
    /// Where the header itself starts.
    pub start: usize,
}

/// Reads the IPv4 or IPv6 header at `offset`.
#[inline(always)]
pub fn ip<B: Bytes + ?Sized>(frame: &B, family: Family, offset: usize) -> Result<Ip, Malformed> {
    match family {
        Family::Ipv4 => ipv4(frame, offset),
        Family::Ipv6 => ipv6(frame, offset),
    }
}

/// A word of the source (0, 1) or the destination (2, 3), left-aligned, high half first; 0 of a frame that is not IP. Reads the
/// frame anew: for what happens rarely, so that the common packet need not carry its addresses along.
#[inline(always)]
pub fn address_word<B: Bytes + ?Sized>(frame: &B, index: u64) -> u64 {
    let Ok(payload) = payload(frame) else {
        return 0;
    };
    let family = match payload.ethertype {
        ETHERTYPE_IPV4 => Family::Ipv4,
        ETHERTYPE_IPV6 => Family::Ipv6,
        _ => return 0,
    };
    let Ok(ip) = ip(frame, family, payload.offset) else {
        return 0;
    };
    match index {
        0 => ip.source.hi,
        1 => ip.source.lo,
        2 => ip.destination.hi,
        _ => ip.destination.lo,
    }
}

/// Reads the IPv4 header at `offset`, RFC 791 section 3.1. Options are stepped over, never read.
#[inline(always)]
pub fn ipv4<B: Bytes + ?Sized>(frame: &B, offset: usize) -> Result<Ip, Malformed> {
    let [head, second] = frame.words(offset).ok_or(Malformed)?;
    let header_len = (head >> 56 & 0x0f) as usize * 4;
    let total_len = (head >> 32 & 0xffff) as usize;
    if head >> 60 != 4 || header_len < IPV4_LEN {
        return Err(Malformed);
    }
    // A super-frame of more than 64 KiB says 0 (BIG TCP).
    if total_len < header_len && total_len != 0 {
        return Err(Malformed);
    }
    if header_len > IPV4_LEN {
        frame.u8(offset + header_len - 1).ok_or(Malformed)?;
    }
    let [hop_limit, protocol, ..] = second.to_be_bytes();
    let [source, destination] = ipv4_addresses(frame, offset).ok_or(Malformed)?;
    Ok(Ip {
        source,
        destination,
        icmp: if protocol == PROTOCOL_ICMP && head & FRAGMENT_OFFSET_MASK == 0 {
            Some(offset + header_len)
        } else {
            None
        },
        protocol,
        hop_limit,
        start: offset,
    })
}

/// Reads the IPv6 header at `offset`, RFC 8200 section 3. Extension headers are not followed: only addresses decide.
#[inline(always)]
pub fn ipv6<B: Bytes + ?Sized>(frame: &B, offset: usize) -> Result<Ip, Malformed> {
    let header: [u64; IPV6_LEN / 8] = frame.words(offset).ok_or(Malformed)?;
    let [version, .., next_header, hop_limit] = header[0].to_be_bytes();
    if version >> 4 != 6 {
        return Err(Malformed);
    }
    let [source, destination] = ipv6_addresses(&header);
    Ok(Ip {
        source,
        destination,
        icmp: if next_header == NEXT_HEADER_ICMPV6 {
            Some(offset + IPV6_LEN)
        } else {
            None
        },
        protocol: next_header,
        hop_limit,
        start: offset,
    })
}

/// Source and destination: the last eight bytes of the fixed header at `offset`.
#[inline(always)]
fn ipv4_addresses<B: Bytes + ?Sized>(frame: &B, offset: usize) -> Option<[Address; 2]> {
    let [both] = frame.words(offset + IPV4_LEN - 8)?;
    Some([both >> 32 << 32, both << 32].map(|hi| Address {
        family: Family::Ipv4,
        hi,
        lo: 0,
    }))
}

/// Source and destination of a fixed header.
#[inline(always)]
const fn ipv6_addresses(&[_, a, b, c, d]: &[u64; IPV6_LEN / 8]) -> [Address; 2] {
    [Address::from_v6(a, b), Address::from_v6(c, d)]
}

/// Is it a neighbour solicitation or advertisement (RFC 4861 section 4), sent on this link (hop limit 255)?
#[inline(always)]
pub fn is_neighbour_discovery<B: Bytes + ?Sized>(frame: &B, ip: &Ip) -> bool {
    match ip.icmp {
        Some(at) if ip.source.family == Family::Ipv6 && ip.hop_limit == 255 => {
            matches!(frame.u8(at), Some(135 | 136))
        }
        _ => false,
    }
}

/// What an ICMP message asks of the hosts and routers on the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routing {
    /// A router solicitation or advertisement (RFC 4861 sections 4.1 and 4.2).
    Advertisement,
    /// A redirect (RFC 4861 section 4.5, RFC 792).
    Redirect,
}

/// The message, if it is one of those.
#[inline(always)]
pub fn routing<B: Bytes + ?Sized>(frame: &B, ip: &Ip) -> Option<Routing> {
    match (ip.source.family, frame.u8(ip.icmp?)?) {
        (Family::Ipv6, 133 | 134) => Some(Routing::Advertisement),
        (Family::Ipv6, 137) | (Family::Ipv4, 5) => Some(Routing::Redirect),
        _ => None,
    }
}

/// Is it multicast listener discovery (RFC 2710, 3810): hop-by-hop options of 8 bytes, then ICMPv6 130–132 or 143?
#[inline(always)]
pub fn is_listener_discovery<B: Bytes + ?Sized>(frame: &B, ip: &Ip) -> bool {
    let options = ip.start + IPV6_LEN;
    ip.source.family == Family::Ipv6
        && ip.protocol == NEXT_HEADER_HOP_BY_HOP
        && frame.read(options) == Some([NEXT_HEADER_ICMPV6, 0])
        && matches!(frame.u8(options + 8), Some(130..=132 | 143))
}

/// The addresses of the packet an ICMP error quotes (RFC 792, RFC 4443 section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// Who sent the packet the error is about.
    pub source: Address,
    /// Where it was going.
    pub destination: Address,
    /// Does the error say that it was too big: what path MTU discovery (RFC 1191, RFC 8201) waits for?
    pub too_big: bool,
}

/// The longest ICMP error that may pass, in bytes of IP: no router need send more (RFC 4443 section 2.4).
pub const MAX_ICMP_ERROR: usize = 1_280;

/// What an ICMP error quotes: IPv4 types 3, 11, 12; IPv6 types 1–4. `None` for anything else, for a
/// quotation without a whole fixed header of the same family, and for more than [`MAX_ICMP_ERROR`] bytes.
#[inline(always)]
pub fn quoted<B: Bytes + ?Sized>(frame: &B, ip: &Ip) -> Option<Quoted> {
    let at = ip.icmp?;
    let [kind, code] = frame.read(at)?;
    let inner = at + ICMP_LEN;
    if frame.length() > ip.start + MAX_ICMP_ERROR {
        return None;
    }
    let [source, destination] = match ip.source.family {
        Family::Ipv4 => {
            if !matches!(kind, 3 | 11 | 12) || frame.u8(inner)? >> 4 != 4 {
                return None;
            }
            ipv4_addresses(frame, inner)?
        }
        Family::Ipv6 => {
            let header = frame.words(inner)?;
            if !matches!(kind, 1..=4) || header[0] >> 60 != 6 {
                return None;
            }
            ipv6_addresses(&header)
        }
    };
    let too_big = match ip.source.family {
        Family::Ipv4 => kind == 3 && code == 4,
        Family::Ipv6 => kind == 2,
    };
    Some(Quoted {
        source,
        destination,
        too_big,
    })
}

/// IPv4 protocol number and IPv6 next-header value of TCP (RFC 9293).
const PROTOCOL_TCP: u8 = 6;
/// Where a TCP header has its length, in words of four bytes, in the high half.
const TCP_OFFSET_AT: usize = 12;
/// IPv4 protocol number and IPv6 next-header value of UDP (RFC 768).
const PROTOCOL_UDP: u8 = 17;
const UDP_LEN: usize = 8;

/// The bytes before the payload of a TCP segment or a UDP datagram, which every segment of a super-frame has: those of all
/// headers in the frame. `None` of any other packet, and where a header cannot be read.
#[inline(always)]
pub fn headers_len<B: Bytes + ?Sized>(frame: &B) -> Option<usize> {
    let payload = payload(frame).ok()?;
    let (protocol, at) = match payload.ethertype {
        ETHERTYPE_IPV4 => {
            let words = frame.u8(payload.offset)? & 0x0f;
            let protocol = frame.u8(payload.offset + 9)?;
            (protocol, payload.offset + 4 * usize::from(words))
        }
        ETHERTYPE_IPV6 => (frame.u8(payload.offset + 6)?, payload.offset + IPV6_LEN),
        _ => return None,
    };
    match protocol {
        PROTOCOL_TCP => Some(at + 4 * usize::from(frame.u8(at + TCP_OFFSET_AT)? >> 4)),
        PROTOCOL_UDP => Some(at + UDP_LEN),
        _ => None,
    }
}

/// Packets and bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Packets on the wire.
    pub packets: u64,
    /// Their bytes, without the checksum of the link.
    pub bytes: u64,
}

/// A frame that the network stack, or a network card, made of several segments of one flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SuperFrame {
    /// Its bytes, a tag that was taken out of it included.
    pub length: u64,
    /// The bytes that every segment has once more; 0 if they are not known.
    pub headers: u64,
    /// Payload of each segment, in bytes. Not 0.
    pub segment: u64,
    /// How many segments it is, as its maker counted; 0 if it did not.
    pub segments: u64,
}

impl SuperFrame {
    /// What it was on the wire, or will be.
    #[must_use]
    #[inline(always)]
    pub const fn size(self) -> Size {
        let payload = self.length.saturating_sub(self.headers);
        let counted = payload.div_ceil(self.segment);
        let packets = match (self.segments, counted) {
            (0, 0) => 1,
            (0, counted) => counted,
            (segments, _) => segments,
        };
        Size {
            packets,
            bytes: self.length + (packets - 1) * self.headers,
        }
    }
}

#[cfg(test)]
mod tests;
