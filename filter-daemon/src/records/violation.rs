//! A sampled violation as it is kept, answered and read again: names and text, whatever the configuration is by then.
//! Never decides what is one.
use std::borrow::Cow;
use std::net::IpAddr;

use filter_core::packet::{self, Mac};
use filter_core::{Classes, Family, Reason, frame};
use filter_engine::{Flow, Violation};
use filter_lifecycle::RecentlyValid;
use filter_lifecycle::protocol::{self, Forbidden, Ports, Transport};
use filter_lifecycle::violation::{DestinationStory, SourceStory};
use serde::{Deserialize, Serialize};

use crate::config::Config;

/// One sampled violation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ViolationRecord {
    /// Counts up, restarts of the daemon included.
    pub number: u64,
    /// When the daemon took it from the ring, seconds since 1970.
    pub time: f64,
    /// The peer it came from; none if it is of no peer.
    pub peer: Option<String>,
    /// Where it came in.
    pub interface: String,
    /// Where the program sat there.
    pub hook: Option<String>,
    /// The sender's MAC.
    pub source_mac: Option<String>,
    /// The receiver's MAC.
    pub destination_mac: Option<String>,
    /// The outer tag.
    pub vlan: Option<u16>,
    /// The inner tag.
    pub inner_vlan: Option<u16>,
    /// What the frame holds.
    pub ethertype: Option<u16>,
    /// Source address.
    pub source: Option<IpAddr>,
    /// Destination address.
    pub destination: Option<IpAddr>,
    /// IPv4's protocol, or IPv6's first next header.
    pub protocol: Option<u8>,
    /// Of TCP, UDP and their kin.
    pub source_port: Option<u16>,
    /// Of TCP, UDP and their kin.
    pub destination_port: Option<u16>,
    /// Why it is one.
    pub reason: String,
    /// Was it dropped?
    pub dropped: bool,
    /// Length of the frame, in bytes.
    pub length: u32,
    /// Which of the protocols that exchanges forbid.
    pub forbidden_protocol: Option<String>,
    /// The peers that announce the source: at most three.
    pub source_announced_by: Vec<String>,
    /// What the destination is to us: `advertised`, `ours-not-advertised` or `not-ours`.
    pub destination_is: Option<String>,
    /// How long ago the source was valid, if it was within the last day.
    #[serde(default)]
    pub source_valid_seconds_ago: Option<u64>,
    /// How long ago the destination was.
    #[serde(default)]
    pub destination_valid_seconds_ago: Option<u64>,
    /// All of that in a sentence.
    pub story: Option<String>,
    /// Does its header begin with that of Ethernet? On a device without Ethernet it begins with that of IP.
    #[serde(default = "yes")]
    pub is_ethernet: bool,
    /// The first bytes of the frame, hexadecimal.
    pub header: String,
}

const fn yes() -> bool {
    true
}

/// What only the daemon knows of a violation beside the engine's notice.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Its number.
    pub number: u64,
    /// Seconds since 1970.
    pub time: f64,
    /// Where the program sits on its interface.
    pub hook: Option<&'a str>,
}

impl ViolationRecord {
    /// Of an engine's notice.
    #[must_use]
    pub fn new(config: &Config, violation: &Violation, seen: Seen<'_>) -> Self {
        let frame = &*framed(violation);
        let macs = packet::mac_pair(frame)
            .ok()
            .filter(|_| violation.is_ethernet);
        let transport = protocol::transport(frame);
        let ports = transport.and_then(|it: Transport| it.ports);
        let flow = violation.flow.as_ref();
        let name = |id| config.spec.peer(id).map(|peer| peer.name.clone());
        Self {
            number: seen.number,
            time: seen.time,
            peer: violation.peer.and_then(name),
            interface: violation.interface.clone(),
            hook: seen.hook.map(str::to_owned),
            source_mac: macs.map(|macs| macs.source.to_string()),
            destination_mac: macs.map(|macs| macs.destination.to_string()),
            vlan: Some(violation.vlans.outer).filter(|&tag| tag != 0),
            inner_vlan: Some(violation.vlans.inner).filter(|&tag| tag != 0),
            ethertype: packet::payload(frame).ok().map(|it| it.ethertype),
            source: flow.map(|flow| flow.source.into()),
            destination: flow.map(|flow| flow.destination.into()),
            protocol: transport.map(|it| it.protocol),
            source_port: ports.map(|ports: Ports| ports.source),
            destination_port: ports.map(|ports| ports.destination),
            reason: violation.reason.name().to_owned(),
            dropped: violation.dropped,
            length: violation.length,
            forbidden_protocol: forbidden(violation.reason, frame).map(|it| it.to_string()),
            source_announced_by: match flow.map(|flow| &flow.source_story) {
                Some(SourceStory::AdvertisedBy(others)) => {
                    others.iter().filter_map(|&id| name(id)).collect()
                }
                _ => Vec::new(),
            },
            destination_is: flow.map(|flow| destination_is(flow.destination_story).to_owned()),
            source_valid_seconds_ago: flow.and_then(|flow| seconds_ago(flow.source_left)),
            destination_valid_seconds_ago: flow.and_then(|flow| seconds_ago(flow.destination_left)),
            story: flow.map(|flow| describe(config, flow)),
            is_ethernet: violation.is_ethernet,
            header: hexadecimal(&violation.header),
        }
    }

    /// The sampled bytes; those before the first that is none.
    #[must_use]
    pub fn frame(&self) -> Vec<u8> {
        let digits = self.header.as_bytes().chunks_exact(2);
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        digits.map_while(byte).collect()
    }
}

/// The packet with an Ethernet header: one without any is read as if it had one.
fn framed(violation: &Violation) -> Cow<'_, [u8]> {
    let header = violation.header.as_slice();
    let version = header.first().map(|first| first >> 4);
    let ethertype = match (violation.is_ethernet, version) {
        (false, Some(4)) => packet::ETHERTYPE_IPV4,
        (false, Some(6)) => packet::ETHERTYPE_IPV6,
        _ => return Cow::Borrowed(header),
    };
    let none = Mac::from_bits(0);
    Cow::Owned(frame::ethernet(none, none, ethertype, header))
}

/// Only what breaks the class `lan` is forbidden by what it is; everything else by its addresses.
fn forbidden(reason: Reason, frame: &[u8]) -> Option<Forbidden> {
    let broken = reason.breaks(Family::Ipv4, Classes::NONE);
    broken
        .meets(Classes::LAN)
        .then(|| protocol::forbidden(frame))
        .flatten()
}

fn seconds_ago(left: Option<RecentlyValid>) -> Option<u64> {
    left.map(|left| left.ago.as_secs())
}

const fn destination_is(story: DestinationStory) -> &'static str {
    match story {
        DestinationStory::Advertised => "advertised",
        DestinationStory::OursNotAdvertised => "ours-not-advertised",
        DestinationStory::NotOurs => "not-ours",
        DestinationStory::Unknown => "not-known",
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
    ];
    let digit = |value: u8| DIGITS[usize::from(value & 0x0f)];
    let digits = bytes
        .iter()
        .flat_map(|&byte| [digit(byte >> 4), digit(byte)]);
    digits.collect()
}

/// Both stories of a packet in one line.
#[must_use]
pub fn describe(config: &Config, flow: &Flow) -> String {
    let source = match &flow.source_story {
        SourceStory::Advertised => "source advertised by the peer".to_owned(),
        SourceStory::AdvertisedBy(others) => {
            let name = |&id| config.spec.peer(id).map_or("?", |peer| peer.name.as_str());
            let names: Vec<&str> = others.iter().map(name).collect();
            format!("source advertised by {}", names.join(", "))
        }
        SourceStory::NoPeer => "source advertised by no peer".to_owned(),
        SourceStory::Unknown => "who advertises the source was not known yet".to_owned(),
    };
    let destination = match flow.destination_story {
        DestinationStory::Advertised => "destination advertised to the peer",
        DestinationStory::OursNotAdvertised => "destination ours, not advertised to the peer",
        DestinationStory::NotOurs => "destination not ours",
        DestinationStory::Unknown => "whether the destination is advertised was not known yet",
    };
    let (source_left, destination_left) = (left(flow.source_left), left(flow.destination_left));
    format!("{source}{source_left}; {destination}{destination_left}")
}

fn left(recent: Option<RecentlyValid>) -> String {
    recent.map_or_else(String::new, |RecentlyValid { prefix, ago }| {
        format!(", valid until {} s ago ({prefix})", ago.as_secs())
    })
}

#[cfg(test)]
mod tests {
    use filter_core::packet::Vlans;
    use filter_lifecycle::route::PeerId;

    use super::*;
    use crate::config::ONE_PEER;

    fn record(reason: Reason, header: Vec<u8>, flow: Option<Flow>) -> ViolationRecord {
        let (config, _) = Config::parse(ONE_PEER, "test").unwrap();
        let violation = Violation {
            peer: Some(PeerId(0)),
            interface: "ixp0".to_owned(),
            ifindex: 2,
            vlans: Vlans {
                outer: 100,
                inner: 0,
            },
            reason,
            dropped: true,
            length: 1500,
            time_ns: u64::MAX,
            header,
            is_ethernet: true,
            flow,
        };
        let seen = Seen {
            number: 7,
            time: 1.5,
            hook: Some("xdp-native"),
        };
        ViolationRecord::new(&config, &violation, seen)
    }

    #[test]
    fn a_packet_has_its_macs_tags_and_five_tuple() {
        let (source, destination): (IpAddr, IpAddr) =
            ("9.9.9.9".parse().unwrap(), "198.51.100.1".parse().unwrap());
        let packet = frame::packet(source, destination, 17, 64, &frame::udp(b"x"));
        let (to, from) = (
            Mac::from_bits(0x0200_0000_0001),
            Mac::from_bits(0x0200_0000_0010),
        );
        let header = frame::ethernet(to, from, 0x0800, &packet);
        let flow = Flow {
            source: source.into(),
            destination: destination.into(),
            source_story: SourceStory::AdvertisedBy(vec![PeerId(0)]),
            destination_story: DestinationStory::NotOurs,
            source_left: Some(RecentlyValid {
                prefix: "9.9.9.0/24".parse().unwrap(),
                ago: std::time::Duration::from_secs(40),
            }),
            destination_left: None,
        };
        let record = record(Reason::SourceUnannounced, header.clone(), Some(flow));
        assert_eq!(record.source_mac.as_deref(), Some("02:00:00:00:00:10"));
        assert_eq!(record.destination_mac.as_deref(), Some("02:00:00:00:00:01"));
        assert_eq!((record.vlan, record.inner_vlan), (Some(100), None));
        assert_eq!(
            (record.source, record.destination),
            (Some(source), Some(destination))
        );
        assert_eq!(record.protocol, Some(17));
        assert_eq!(
            (record.source_port, record.destination_port),
            (Some(0xc000), Some(9))
        );
        assert_eq!(record.source_announced_by, ["p1"]);
        assert_eq!(record.destination_is.as_deref(), Some("not-ours"));
        assert_eq!(record.source_valid_seconds_ago, Some(40));
        assert_eq!(record.destination_valid_seconds_ago, None);
        let story = record.story.as_deref().unwrap();
        assert!(
            story.contains("valid until 40 s ago (9.9.9.0/24)"),
            "{story}"
        );
        assert_eq!(record.forbidden_protocol, None);
        assert_eq!(record.frame(), header);
        let again: ViolationRecord =
            serde_json::from_str(&serde_json::to_string(&record).unwrap()).unwrap();
        assert_eq!(again, record);
    }

    #[test]
    fn only_what_breaks_the_lans_rules_is_named_as_forbidden() {
        let lldp = [&[0x01; 12][..], &[0x88, 0xcc, 2, 7]].concat();
        let name = |reason| record(reason, lldp.clone(), None).forbidden_protocol;
        assert_eq!(name(Reason::NonIp).as_deref(), Some("lldp"));
        assert_eq!(name(Reason::UnknownPeer), None);
        let cut = record(Reason::Malformed, vec![1, 2, 3], None);
        assert_eq!((cut.source_mac, cut.ethertype), (None, None));
        assert_eq!(cut.header, "010203");
    }
}
