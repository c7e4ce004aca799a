//! The frames `bcp38 demo` sends, each with the verdict it is about.
use std::net::IpAddr;

use filter_core::frame;
use filter_core::packet::{ETHERTYPE_ARP, Mac, NEXT_HEADER_ICMPV6, PROTOCOL_ICMP};

/// The router's.
pub const ROUTER_MAC: Mac = Mac::from_bits(0x0200_0000_0001);
/// Of peer `icrc`, AS57965.
pub const ICRC_MAC: Mac = Mac::from_bits(0x0200_0000_0010);
/// Of peer `v6only`, AS214312.
pub const V6ONLY_MAC: Mac = Mac::from_bits(0x0200_0000_0020);
/// Of a device that is no peer's.
pub const STRANGER_MAC: Mac = Mac::from_bits(0x0200_0000_0099);

const BROADCAST: Mac = Mac::from_bits(0xffff_ffff_ffff);
const UDP: u8 = 17;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const UNREACHABLE: u8 = 3;
const FRAGMENTATION_NEEDED: u8 = 4;

/// One frame.
#[derive(Clone, Debug)]
pub struct Packet {
    /// What it is, for people.
    pub what: &'static str,
    /// Who sends it.
    pub source_mac: Mac,
    /// The reason it shall meet.
    pub expected: &'static str,
    /// The bytes.
    pub frame: Vec<u8>,
}

/// Permitted.
#[must_use]
pub fn good() -> Packet {
    ip(
        "good: from what icrc advertises to what we advertise",
        ICRC_MAC,
        "permitted",
        "45.146.194.1",
        "198.51.100.10",
    )
}

/// From an address that no peer announces.
#[must_use]
pub fn spoofed() -> Packet {
    ip(
        "spoofed source: no peer's 8.8.8.8",
        ICRC_MAC,
        "source-unannounced",
        "8.8.8.8",
        "198.51.100.10",
    )
}

/// All of them, in the order they are sent.
#[must_use]
#[expect(clippy::too_many_lines, reason = "a list of packets")]
pub fn all() -> Vec<Packet> {
    let (anyone, us) = ("45.146.194.1", "198.51.100.10");
    vec![
        good(),
        ip(
            "good, IPv6",
            V6ONLY_MAC,
            "permitted",
            "2a09:54c6:e010::1",
            "2001:db8:100::10",
        ),
        spoofed(),
        ip(
            "pointing default: to an address that is not ours",
            ICRC_MAC,
            "destination-unannounced",
            anyone,
            "1.1.1.1",
        ),
        ip(
            "spoofed and pointing default",
            ICRC_MAC,
            "both-unannounced",
            "8.8.8.8",
            "1.1.1.1",
        ),
        ip(
            "another peer's source",
            ICRC_MAC,
            "source-unannounced",
            "2a09:54c6:e010::1",
            "2001:db8:100::10",
        ),
        ip(
            "bogon source: private address",
            ICRC_MAC,
            "source-bogon",
            "10.1.2.3",
            us,
        ),
        ip(
            "our own address as source",
            ICRC_MAC,
            "source-ours",
            "198.51.100.77",
            us,
        ),
        ip(
            "IPv4 from the IPv6-only peer",
            V6ONLY_MAC,
            "family-not-peered",
            "192.0.2.1",
            us,
        ),
        too_big(),
        ip(
            "unknown source MAC",
            STRANGER_MAC,
            "unknown-peer",
            anyone,
            us,
        ),
        Packet {
            what: "ARP: who has 203.0.113.1?",
            source_mac: ICRC_MAC,
            expected: "arp",
            frame: frame::ethernet(BROADCAST, ICRC_MAC, ETHERTYPE_ARP, &arp_request()),
        },
        neighbour_solicitation(),
        ip(
            "BGP from its session address to ours",
            ICRC_MAC,
            "peering-lan",
            "203.0.113.10",
            "203.0.113.1",
        ),
    ]
}

fn ip(
    what: &'static str,
    source_mac: Mac,
    expected: &'static str,
    source: &str,
    destination: &str,
) -> Packet {
    let (source, destination) = (addr(source), addr(destination));
    let packet = frame::packet(source, destination, UDP, 64, &frame::udp(b"bcp38 demo"));
    Packet {
        what,
        source_mac,
        expected,
        frame: frame::ethernet(ROUTER_MAC, source_mac, frame::ethertype(source), &packet),
    }
}

/// Path MTU discovery: a router whose address no peer announces says that our packet to icrc was too big.
fn too_big() -> Packet {
    let ours = frame::packet(
        addr("198.51.100.10"),
        addr("45.146.195.7"),
        UDP,
        60,
        &frame::udp(b"large"),
    );
    let error = frame::icmp(UNREACHABLE, FRAGMENTATION_NEEDED, &ours);
    let packet = frame::packet(
        addr("192.0.2.254"),
        addr("198.51.100.10"),
        PROTOCOL_ICMP,
        60,
        &error,
    );
    Packet {
        what: "ICMP too big from an unannounced router, about a packet of ours",
        source_mac: ICRC_MAC,
        expected: "icmp-error",
        frame: frame::ethernet(
            ROUTER_MAC,
            ICRC_MAC,
            filter_core::packet::ETHERTYPE_IPV4,
            &packet,
        ),
    }
}

fn neighbour_solicitation() -> Packet {
    let (source, target) = (addr("2001:db8:ffff::10"), addr("2001:db8:ffff::1"));
    let mut message = vec![NEIGHBOUR_SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
    if let std::net::IpAddr::V6(v6) = target {
        message.extend_from_slice(&v6.octets());
    }
    let packet = frame::packet(
        source,
        addr("ff02::1:ff00:1"),
        NEXT_HEADER_ICMPV6,
        255,
        &message,
    );
    let multicast = Mac::from_bits(0x3333_ff00_0001);
    Packet {
        what: "neighbour solicitation (IPv6's ARP)",
        source_mac: ICRC_MAC,
        expected: "neighbour-discovery",
        frame: frame::ethernet(
            multicast,
            ICRC_MAC,
            filter_core::packet::ETHERTYPE_IPV6,
            &packet,
        ),
    }
}

/// RFC 826, for Ethernet and IPv4.
fn arp_request() -> Vec<u8> {
    let mut request = vec![0, 1, 8, 0, 6, 4, 0, 1];
    request.extend_from_slice(&ICRC_MAC.bytes());
    request.extend_from_slice(&[203, 0, 113, 10, 0, 0, 0, 0, 0, 0, 203, 0, 113, 1]);
    request
}

/// A constant of this file: the demo's own test judges every packet.
fn addr(text: &str) -> IpAddr {
    text.parse()
        .unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED))
}
