//! What a sampled frame is, beyond its addresses: its protocol and ports, and which of the protocols that exchanges forbid
//! on a peering LAN. Pure, reads only the sampled bytes; names what it finds and never changes a verdict.
use std::fmt;

use filter_core::Family;
use filter_core::packet::{self, Bytes, Ip, Payload};

/// IP protocol numbers whose first four bytes are the two ports.
const WITH_PORTS: [u8; 5] = [TCP, UDP, 33, 132, 136];
const TCP: u8 = 6;
const UDP: u8 = 17;
/// Of the IPv4 header's second 32 bits.
const FRAGMENT_OFFSET_MASK: u16 = 0x1fff;
const IPV6_LEN: usize = 40;
/// Below it the field after the MACs is a length, and an LLC header follows (IEEE 802.3).
const FIRST_ETHERTYPE: u16 = 0x0600;
const CISCO: [u8; 3] = [0x00, 0x00, 0x0c];
const EXTREME: [u8; 3] = [0x00, 0xe0, 0x2b];

/// A packet's protocol, and its ports where it has some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transport {
    /// IPv4's protocol, or the next header after IPv6's fixed one.
    pub protocol: u8,
    /// None for protocols without ports, later fragments, and where the bytes end before them.
    pub ports: Option<Ports>,
}

/// The ports of TCP, UDP, UDP-Lite, SCTP or DCCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// The sender's.
    pub source: u16,
    /// The receiver's.
    pub destination: u16,
}

/// The transport header of a frame, if it holds an IP packet.
#[must_use]
pub fn transport(frame: &[u8]) -> Option<Transport> {
    let payload = packet::payload(frame).ok()?;
    let ip = ip(frame, payload)?;
    let ports = transport_at(frame, &ip).filter(|_| WITH_PORTS.contains(&ip.protocol));
    Some(Transport {
        protocol: ip.protocol,
        ports: ports.and_then(|at| {
            Some(Ports {
                source: frame.u16(at)?,
                destination: frame.u16(at + 2)?,
            })
        }),
    })
}

fn ip(frame: &[u8], payload: Payload) -> Option<Ip> {
    let family = match payload.ethertype {
        packet::ETHERTYPE_IPV4 => Family::Ipv4,
        packet::ETHERTYPE_IPV6 => Family::Ipv6,
        _ => return None,
    };
    packet::ip(frame, family, payload.offset).ok()
}

/// Where the header behind IP's starts; none in a later fragment.
fn transport_at(frame: &[u8], ip: &Ip) -> Option<usize> {
    match ip.source.family {
        Family::Ipv4 => {
            let header = usize::from(frame.u8(ip.start)? & 0x0f) * 4;
            let is_first = frame.u16(ip.start + 6)? & FRAGMENT_OFFSET_MASK == 0;
            is_first.then_some(ip.start + header)
        }
        Family::Ipv6 => Some(ip.start + IPV6_LEN),
    }
}

/// A protocol that has no business on a peering LAN: the union of what exchanges' port rules forbid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Forbidden {
    /// Spanning tree (IEEE 802.1D), Cisco's per-VLAN one included.
    Stp,
    /// Cisco Discovery Protocol.
    Cdp,
    /// Cisco VLAN Trunking Protocol.
    Vtp,
    /// Cisco Dynamic Trunking Protocol.
    Dtp,
    /// Unidirectional Link Detection (RFC 5171).
    Udld,
    /// Extreme Discovery Protocol.
    Edp,
    /// Link Layer Discovery Protocol (IEEE 802.1AB).
    Lldp,
    /// MikroTik Neighbor Discovery Protocol.
    Mndp,
    /// MikroTik RoMON.
    Romon,
    /// The loopback keepalive of old Ethernet (ethertype 0x9000).
    Keepalive,
    /// IS-IS (ISO 10589).
    IsIs,
    /// OSPF (RFC 2328, RFC 5340).
    Ospf,
    /// EIGRP (RFC 7868).
    Eigrp,
    /// PIM (RFC 7761).
    Pim,
    /// DVMRP (RFC 1075).
    Dvmrp,
    /// RIP (RFC 2453).
    Rip,
    /// RIPng (RFC 2080).
    Ripng,
    /// LDP (RFC 5036).
    Ldp,
    /// VRRP (RFC 9568).
    Vrrp,
    /// HSRP (RFC 2281).
    Hsrp,
    /// GLBP.
    Glbp,
    /// DHCP and BOOTP (RFC 2131).
    Dhcp,
    /// DHCPv6 (RFC 9915).
    Dhcpv6,
    /// Multicast DNS (RFC 6762).
    Mdns,
    /// LLMNR (RFC 4795).
    Llmnr,
    /// SSDP, of UPnP.
    Ssdp,
    /// NetBIOS over UDP (RFC 1002).
    Netbios,
    /// NTP to a group (RFC 5905).
    Ntp,
    /// PTP (IEEE 1588).
    Ptp,
    /// IPv6 router solicitation or advertisement (RFC 4861).
    RouterAdvertisement,
    /// ICMP redirect (RFC 792, RFC 4861).
    Redirect,
    /// MPLS (RFC 3032).
    Mpls,
    /// PPPoE (RFC 2516).
    Pppoe,
    /// Any other frame with an LLC header.
    Llc,
}

impl Forbidden {
    /// All of them, for the document and its test.
    pub const ALL: [Self; 34] = [
        Self::Stp,
        Self::Cdp,
        Self::Vtp,
        Self::Dtp,
        Self::Udld,
        Self::Edp,
        Self::Lldp,
        Self::Mndp,
        Self::Romon,
        Self::Keepalive,
        Self::IsIs,
        Self::Ospf,
        Self::Eigrp,
        Self::Pim,
        Self::Dvmrp,
        Self::Rip,
        Self::Ripng,
        Self::Ldp,
        Self::Vrrp,
        Self::Hsrp,
        Self::Glbp,
        Self::Dhcp,
        Self::Dhcpv6,
        Self::Mdns,
        Self::Llmnr,
        Self::Ssdp,
        Self::Netbios,
        Self::Ntp,
        Self::Ptp,
        Self::RouterAdvertisement,
        Self::Redirect,
        Self::Mpls,
        Self::Pppoe,
        Self::Llc,
    ];

    /// The name in JSON and tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stp => "stp",
            Self::Cdp => "cdp",
            Self::Vtp => "vtp",
            Self::Dtp => "dtp",
            Self::Udld => "udld",
            Self::Edp => "edp",
            Self::Lldp => "lldp",
            Self::Mndp => "mndp",
            Self::Romon => "romon",
            Self::Keepalive => "keepalive",
            Self::IsIs => "is-is",
            Self::Ospf => "ospf",
            Self::Eigrp => "eigrp",
            Self::Pim => "pim",
            Self::Dvmrp => "dvmrp",
            Self::Rip => "rip",
            Self::Ripng => "ripng",
            Self::Ldp => "ldp",
            Self::Vrrp => "vrrp",
            Self::Hsrp => "hsrp",
            Self::Glbp => "glbp",
            Self::Dhcp => "dhcp",
            Self::Dhcpv6 => "dhcpv6",
            Self::Mdns => "mdns",
            Self::Llmnr => "llmnr",
            Self::Ssdp => "ssdp",
            Self::Netbios => "netbios",
            Self::Ntp => "ntp",
            Self::Ptp => "ptp",
            Self::RouterAdvertisement => "router-advertisement",
            Self::Redirect => "redirect",
            Self::Mpls => "mpls",
            Self::Pppoe => "pppoe",
            Self::Llc => "llc",
        }
    }
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Which forbidden protocol a frame of the class `lan` is; none if it is none of the known ones.
#[must_use]
pub fn forbidden(frame: &[u8]) -> Option<Forbidden> {
    let payload = packet::payload(frame).ok()?;
    match ip(frame, payload) {
        Some(ip) => by_ip(frame, &ip),
        None if payload.ethertype < FIRST_ETHERTYPE => Some(by_llc(frame, payload.offset)),
        None => by_ethertype(payload.ethertype),
    }
}

const fn by_ethertype(ethertype: u16) -> Option<Forbidden> {
    Some(match ethertype {
        0x88cc => Forbidden::Lldp,
        0x88bf => Forbidden::Romon,
        0x9000 => Forbidden::Keepalive,
        0x88f7 => Forbidden::Ptp,
        0x8847 | 0x8848 => Forbidden::Mpls,
        0x8863 | 0x8864 => Forbidden::Pppoe,
        _ => return None,
    })
}

/// By the LLC header (IEEE 802.2), and SNAP's organisation and protocol behind it.
fn by_llc(frame: &[u8], at: usize) -> Forbidden {
    let access_points = frame.read(at).unwrap_or([0, 0]);
    let organisation: [u8; 3] = frame.read(at + 3).unwrap_or([0; 3]);
    let protocol = frame.u16(at + 6).unwrap_or(0);
    match (access_points, organisation, protocol) {
        ([0x42, 0x42], ..) | ([0xaa, 0xaa], CISCO, 0x010b) => Forbidden::Stp,
        ([0xfe, 0xfe], ..) => Forbidden::IsIs,
        ([0xaa, 0xaa], CISCO, 0x2000) => Forbidden::Cdp,
        ([0xaa, 0xaa], CISCO, 0x2003) => Forbidden::Vtp,
        ([0xaa, 0xaa], CISCO, 0x2004) => Forbidden::Dtp,
        ([0xaa, 0xaa], CISCO, 0x0111) => Forbidden::Udld,
        ([0xaa, 0xaa], EXTREME, 0x00bb) => Forbidden::Edp,
        _ => Forbidden::Llc,
    }
}

fn by_ip(frame: &[u8], ip: &Ip) -> Option<Forbidden> {
    match packet::routing(frame, ip) {
        Some(packet::Routing::Advertisement) => return Some(Forbidden::RouterAdvertisement),
        Some(packet::Routing::Redirect) => return Some(Forbidden::Redirect),
        None => {}
    }
    let at = transport_at(frame, ip);
    Some(match ip.protocol {
        88 => Forbidden::Eigrp,
        89 => Forbidden::Ospf,
        103 => Forbidden::Pim,
        112 => Forbidden::Vrrp,
        packet::PROTOCOL_IGMP if frame.u8(at?) == Some(0x13) => Forbidden::Dvmrp,
        UDP => by_port(frame.u16(at? + 2)?)?,
        _ => return None,
    })
}

const fn by_port(port: u16) -> Option<Forbidden> {
    Some(match port {
        67 | 68 => Forbidden::Dhcp,
        123 => Forbidden::Ntp,
        137 | 138 => Forbidden::Netbios,
        319 | 320 => Forbidden::Ptp,
        520 => Forbidden::Rip,
        521 => Forbidden::Ripng,
        546 | 547 => Forbidden::Dhcpv6,
        646 => Forbidden::Ldp,
        1900 => Forbidden::Ssdp,
        1985 | 2029 => Forbidden::Hsrp,
        3222 => Forbidden::Glbp,
        5353 => Forbidden::Mdns,
        5355 => Forbidden::Llmnr,
        5678 => Forbidden::Mndp,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
