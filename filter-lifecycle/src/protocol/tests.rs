//! Frames as they are seen on peering LANs, and what they are called.
use std::collections::BTreeSet;

use filter_core::frame;
use filter_core::packet::Mac;

use super::*;

const GROUP: Mac = Mac::from_bits(0x0180_c200_000e);
const SENDER: Mac = Mac::from_bits(0x0200_0000_0010);

fn ethernet(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    frame::ethernet(GROUP, SENDER, ethertype, payload)
}

fn ip(source: &str, destination: &str, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
    let packet = frame::packet(source, destination, protocol, 1, payload);
    ethernet(frame::ethertype(source), &packet)
}

fn udp(port: u16) -> Vec<u8> {
    let mut datagram = 49_152_u16.to_be_bytes().to_vec();
    datagram.extend(port.to_be_bytes());
    datagram.extend([0, 8, 0, 0]);
    datagram
}

fn snap(organisation: [u8; 3], protocol: u16) -> Vec<u8> {
    let mut payload = vec![0xaa, 0xaa, 0x03];
    payload.extend(organisation);
    payload.extend(protocol.to_be_bytes());
    ethernet(payload.len() as u16, &payload)
}

/// One frame of each.
fn every() -> Vec<(Forbidden, Vec<u8>)> {
    let by_udp = |port| ip("203.0.113.10", "224.0.0.2", 17, &udp(port));
    let v6 = |next, payload: &[u8]| ip("fe80::1", "ff02::1", next, payload);
    vec![
        (Forbidden::Stp, ethernet(38, &[0x42, 0x42, 0x03, 0, 0])),
        (Forbidden::Cdp, snap(CISCO, 0x2000)),
        (Forbidden::Vtp, snap(CISCO, 0x2003)),
        (Forbidden::Dtp, snap(CISCO, 0x2004)),
        (Forbidden::Udld, snap(CISCO, 0x0111)),
        (Forbidden::Edp, snap(EXTREME, 0x00bb)),
        (Forbidden::Lldp, ethernet(0x88cc, &[2, 7])),
        (
            Forbidden::Mndp,
            ip("203.0.113.10", "255.255.255.255", 17, &udp(5678)),
        ),
        (Forbidden::Romon, ethernet(0x88bf, &[0])),
        (Forbidden::Keepalive, ethernet(0x9000, &[0])),
        (Forbidden::IsIs, ethernet(30, &[0xfe, 0xfe, 0x03, 0x83])),
        (
            Forbidden::Ospf,
            ip("203.0.113.10", "224.0.0.5", 89, &[2, 1]),
        ),
        (Forbidden::Eigrp, ip("203.0.113.10", "224.0.0.10", 88, &[2])),
        (
            Forbidden::Pim,
            ip("203.0.113.10", "224.0.0.13", 103, &[0x20]),
        ),
        (
            Forbidden::Dvmrp,
            ip("203.0.113.10", "224.0.0.4", 2, &[0x13]),
        ),
        (Forbidden::Rip, by_udp(520)),
        (Forbidden::Ripng, v6(17, &udp(521))),
        (Forbidden::Ldp, by_udp(646)),
        (
            Forbidden::Vrrp,
            ip("203.0.113.10", "224.0.0.18", 112, &[0x31]),
        ),
        (Forbidden::Hsrp, by_udp(1985)),
        (Forbidden::Glbp, by_udp(3222)),
        (
            Forbidden::Dhcp,
            ip("0.0.0.0", "255.255.255.255", 17, &udp(67)),
        ),
        (Forbidden::Dhcpv6, v6(17, &udp(547))),
        (Forbidden::Mdns, v6(17, &udp(5353))),
        (Forbidden::Llmnr, v6(17, &udp(5355))),
        (Forbidden::Ssdp, by_udp(1900)),
        (
            Forbidden::Netbios,
            ip("203.0.113.10", "203.0.113.255", 17, &udp(137)),
        ),
        (Forbidden::Ntp, by_udp(123)),
        (Forbidden::Ptp, ethernet(0x88f7, &[0])),
        (Forbidden::RouterAdvertisement, v6(58, &[134, 0])),
        (
            Forbidden::Redirect,
            ip("203.0.113.10", "203.0.113.1", 1, &[5, 1]),
        ),
        (Forbidden::Mpls, ethernet(0x8847, &[0])),
        (Forbidden::Pppoe, ethernet(0x8863, &[0])),
        (Forbidden::Llc, ethernet(3, &[0xe0, 0xe0, 0x03])),
    ]
}

#[test]
fn each_forbidden_protocol_is_named_with_and_without_a_tag() {
    let mut names = BTreeSet::new();
    for (expected, frame) in every() {
        assert_eq!(forbidden(&frame), Some(expected));
        let mut tagged = frame.clone();
        tagged.splice(12..12, [0x81, 0x00, 0x00, 0x64]);
        assert_eq!(forbidden(&tagged), Some(expected), "{expected} with a tag");
        names.insert(expected);
    }
    assert_eq!(names, BTreeSet::from(Forbidden::ALL), "one frame of each");
    let spelled: BTreeSet<&str> = Forbidden::ALL.map(Forbidden::name).into();
    assert_eq!(spelled.len(), Forbidden::ALL.len(), "a name of its own");
}

#[test]
fn other_traffic_is_none_of_them() {
    for frame in [
        ip("198.51.100.7", "203.0.113.1", 6, &[0, 179, 0, 179]),
        ip("198.51.100.7", "203.0.113.1", 17, &udp(53)),
        ip("fe80::1", "fe80::2", 58, &[135, 0]),
        ip("203.0.113.10", "224.0.0.22", 2, &[0x22]),
        ethernet(0x0806, &[0; 28]),
        vec![0; 13],
        Vec::new(),
    ] {
        assert_eq!(forbidden(&frame), None, "{frame:02x?}");
    }
}

/// Whatever was sampled of a frame: cut anywhere, it is named or it is not, and nothing panics.
#[test]
fn a_cut_frame_is_never_called_another_protocol() {
    for (expected, frame) in every() {
        for length in 0..frame.len() {
            let found = forbidden(&frame[..length]);
            let is_right = found.is_none_or(|found| found == expected || found == Forbidden::Llc);
            assert!(is_right, "{expected} cut to {length}: {found:?}");
            _ = transport(&frame[..length]);
        }
    }
}

#[test]
fn ports_are_those_of_the_first_fragment() {
    let frame = ip("198.51.100.7", "203.0.113.1", 17, &udp(53));
    let ports = Ports {
        source: 49_152,
        destination: 53,
    };
    let expected = |ports| {
        Some(Transport {
            protocol: 17,
            ports,
        })
    };
    assert_eq!(transport(&frame), expected(Some(ports)));
    let mut later = frame.clone();
    later[14 + 7] = 1;
    assert_eq!(transport(&later), expected(None), "a later fragment");
    assert_eq!(
        transport(&frame[..37]),
        expected(None),
        "cut before its ports"
    );
    let v6 = ip("2001:db8::7", "2001:db8::1", 6, &udp(179));
    assert_eq!(transport(&v6).unwrap().ports.unwrap().destination, 179);
    let icmp = ip("198.51.100.7", "203.0.113.1", 1, &[8, 0, 0, 0]);
    assert_eq!(
        transport(&icmp),
        Some(Transport {
            protocol: 1,
            ports: None
        })
    );
    assert_eq!(transport(&ethernet(0x0806, &[0; 28])), None);
}
