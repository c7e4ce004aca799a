//! The rows of `docs/spec.md` once more, naively: its own parser over slices, lists scanned from end to end. Slow, and
//! obvious. Must never call the packet, verdict or set code it is there to check.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use filter_core::{Classes, Reason};

use crate::engines::{Broken, Engine, Tally, breaks, is_dropped};
use crate::frame::station;
use crate::world::{Network, Peer, UNKNOWN, World};

/// The IANA special-purpose registries, read a second time: what is not globally reachable.
const BOGONS: &[&str] = &[
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/3",
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
];
/// Parts of them that are.
const REACHABLE: &[&str] = &[
    "192.0.0.9/32",
    "192.0.0.10/32",
    "2001:1::1/128",
    "2001:1::2/128",
    "2001:1::3/128",
    "2001:3::/32",
    "2001:4:112::/48",
    "2001:20::/28",
    "2001:30::/28",
];
const GLOBAL_UNICAST: &[&str] = &["2000::/3"];
const LINK_SOURCES: &[&str] = &["fe80::/10", "169.254.0.0/16", "::/128", "0.0.0.0/32"];
const LINK_GROUPS: &[&str] = &[
    "ff01::/16",
    "ff02::/16",
    "224.0.0.0/24",
    "255.255.255.255/32",
];
const LINK_UNICAST: &[&str] = &["fe80::/10", "169.254.0.0/16"];

/// The oracle.
pub struct Oracle {
    world: &'static World,
    in_force: Classes,
    tally: Tally,
}

/// What it says of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opinion {
    /// Whom it counts for.
    pub peer: Option<&'static str>,
    /// Why it gets its fate.
    pub reason: Reason,
    /// What it breaks.
    pub broken: Broken,
}

/// A row's reason, and the sides of the peer that the packet breaks.
type Row = (&'static str, Vec<&'static str>);

fn row(name: &'static str) -> Row {
    (name, Vec::new())
}

impl Oracle {
    /// For one world, observing.
    #[must_use]
    pub fn new(world: &'static World) -> Self {
        Self {
            world,
            in_force: Classes::NONE,
            tally: Tally::of(world),
        }
    }

    /// What becomes of a frame.
    ///
    /// # Panics
    /// Never, whatever the frame: the names of reasons below exist.
    #[must_use]
    pub fn verdict(&self, frame: &[u8]) -> Opinion {
        let (peer, (name, sides), family) = self.row(frame);
        let reason = Reason::from_name(name).expect("a reason's name");
        Opinion {
            peer: peer.map(|peer| peer.name),
            reason,
            broken: breaks(self.world, reason, family, &sides),
        }
    }

    fn row(&self, frame: &[u8]) -> (Option<&'static Peer>, Row, &'static str) {
        if !self.world.recorded {
            return (None, row("no-record"), ""); // 0
        }
        if frame.len() < 14 {
            return (None, row("malformed"), ""); // 1
        }
        let (destination, source) = (&frame[0..6], &frame[6..12]);
        let is_own = self.world.macs.iter().any(|own| destination == mac(own));
        let foreign = destination[0] & 1 == 0 && !is_own;
        let Some((tags, ethertype, packet)) = untag(&frame[12..]) else {
            let name = if foreign { "not-for-us" } else { "malformed" }; // 2, 3
            return (None, row(name), "");
        };
        let peer = self.peer(&tags, source);
        if foreign {
            return (peer, row("not-for-us"), ""); // 2
        }
        let vlans = vlans(&tags);
        let Some(network) = self.world.networks.iter().find(|each| each.vlans == vlans) else {
            return (peer, row("other-vlan"), ""); // 3a
        };
        let mut contested = self.world.contested.iter();
        let is_contested =
            contested.any(|&(outer, inner, text)| (outer, inner) == vlans && mac(text) == source);
        let sender = peer.or(is_contested.then_some(UNKNOWN));
        let row = match ethertype {
            0x0806 => row("arp"),                   // 4
            0x8809 | 0x888e => row("link-control"), // 4
            0x0800 | 0x86dd => match Packet::parse(ethertype, packet) {
                None => row("malformed"), // 6
                Some(packet) => self.ip_row(network, sender, &packet),
            },
            _ => row("non-ip"), // 5
        };
        let family = if ethertype == 0x0800 { "ipv4" } else { "ipv6" };
        (peer, row, family)
    }

    /// Rows 7 to 22.
    fn ip_row(&self, network: &Network, peer: Option<&'static Peer>, packet: &Packet) -> Row {
        let (source, destination) = (packet.source, packet.destination);
        let is_own = network
            .addresses
            .iter()
            .any(|own| own.parse() == Ok(destination));
        let link_scope = any(LINK_GROUPS, destination) || any(LINK_UNICAST, destination);
        let to_lan = any(network.lan, destination);
        let from_link = any(LINK_SOURCES, source) || any(network.lan, source);
        let to_link = is_own || link_scope || to_lan && !self.world.is_port;
        if from_link && to_link || any(network.subnets, source) && is_own {
            match (source.is_ipv6(), packet.icmp_type()) {
                (true, Some(133 | 134)) => return row("router-advertisement"), // 7
                (true, Some(137)) | (false, Some(5)) => return row("redirect"), // 8
                (true, Some(135 | 136)) if packet.hop_limit == 255 => {
                    return row("neighbour-discovery"); // 9
                }
                _ if packet.is_hidden() => return row("lan-multicast"), // 10
                _ if any(LINK_GROUPS, destination) && !packet.is_of_hosts() => {
                    return row("lan-multicast"); // 10
                }
                _ if link_scope => return row("link-local"), // 11
                _ => return row("peering-lan"),              // 12
            }
        }
        let is_nd = source.is_ipv6() && matches!(packet.icmp_type(), Some(135 | 136));
        if is_nd && packet.hop_limit == 255 && (is_own || link_scope || to_lan) {
            return row("neighbour-discovery"); // 9
        }
        let Some(peer) = peer else {
            return row("unknown-peer"); // 13
        };
        self.peer_row(peer, packet)
    }

    /// Rows 14 to 22.
    fn peer_row(&self, peer: &Peer, packet: &Packet) -> Row {
        let (source, destination) = (packet.source, packet.destination);
        let family = if source.is_ipv4() { 4 } else { 6 };
        if !peer.families.contains(&family) {
            return row("family-not-peered"); // 14
        }
        let knows_sources = peer.known.0.contains(&family);
        let knows_destinations = peer.known.1.contains(&family);
        let from = self.may_come_from(peer, source);
        let to = self.may_go_to(peer, destination);
        if from && to {
            return row("permitted"); // 15
        }
        if let Some((quoted_source, quoted_destination)) = packet.quoted()
            && quoted_source == destination
            && (to || !knows_destinations)
            && (!knows_sources || self.may_come_from(peer, quoted_destination))
        {
            return row("icmp-error"); // 16
        }
        let mut sides = Vec::new();
        if knows_sources && !from {
            sides.push("sources");
        }
        if knows_destinations && !to {
            sides.push("destinations");
        }
        let name = match sides[..] {
            _ if !from && self.is_bogon(source) => "source-bogon", // 17
            _ if !from && any(self.world.ours, source) => "source-ours", // 18
            [] => "unjudged",                                      // 19
            [_, _] => "both-unannounced",                          // 20
            ["sources"] => "source-unannounced",                   // 21
            _ => "destination-unannounced",                        // 22
        };
        (name, sides)
    }

    fn peer(&self, tags: &[u16], source: &[u8]) -> Option<&'static Peer> {
        let vlans = vlans(tags);
        let at = |wanted: &dyn Fn(&str) -> bool| {
            self.world.peers.iter().find(|peer| {
                let mut stations = peer.stations.iter();
                stations.any(|&(outer, inner, mac)| (outer, inner) == vlans && wanted(mac))
            })
        };
        at(&|text| text != "*" && mac(text) == source)
            .or_else(|| at(&|text| text == "*" && self.world.is_port))
    }

    fn is_bogon(&self, address: IpAddr) -> bool {
        let listed = any(BOGONS, address) && !any(REACHABLE, address);
        let foreign = address.is_ipv6() && !any(GLOBAL_UNICAST, address);
        (listed || foreign) && !any(self.world.bogon_exceptions, address)
    }

    /// S'(p).
    fn may_come_from(&self, peer: &Peer, source: IpAddr) -> bool {
        let on_a_lan = || self.world.networks.iter().any(|each| any(each.lan, source));
        let withheld = self.is_bogon(source) || any(self.world.ours, source) || on_a_lan();
        any(peer.advertises, source) && !withheld
            || peer.sessions.iter().any(|each| each.parse() == Ok(source))
            || any(peer.extra_sources, source)
    }

    /// D'(p).
    fn may_go_to(&self, peer: &Peer, destination: IpAddr) -> bool {
        let mut networks = self.world.networks.iter();
        let has_own = networks.any(|network| {
            let mut stations = peer.stations.iter();
            stations.any(|&(outer, inner, _)| (outer, inner) == network.vlans)
                && network
                    .addresses
                    .iter()
                    .any(|own| own.parse() == Ok(destination))
        });
        any(peer.advertised, destination)
            || has_own
            || peer
                .sessions
                .iter()
                .any(|each| each.parse() == Ok(destination))
            || any(peer.extra_destinations, destination)
    }
}

impl Engine for Oracle {
    fn name(&self) -> String {
        "oracle".to_owned()
    }

    fn set_in_force(&mut self, classes: Classes) {
        self.in_force = classes;
    }

    fn drops(&mut self, frame: &[u8]) -> bool {
        let opinion = self.verdict(frame);
        let dropped = is_dropped(self.in_force, opinion.peer, &opinion.broken);
        self.tally
            .count(opinion.peer, opinion.reason, dropped, frame);
        dropped
    }

    fn tally(&self) -> Tally {
        self.tally.clone()
    }
}

/// Outer and inner VLAN: the ids that are not 0.
fn vlans(tags: &[u16]) -> (u16, u16) {
    let ids: Vec<u16> = tags.iter().copied().filter(|&id| id != 0).collect();
    (
        ids.first().copied().unwrap_or(0),
        ids.get(1).copied().unwrap_or(0),
    )
}

fn mac(text: &str) -> [u8; 6] {
    station(text).expect("a MAC")
}

/// VLAN ids, ethertype and what follows, from the first ethertype on. `None` for a third id, a fifth tag or a cut one.
fn untag(mut rest: &[u8]) -> Option<(Vec<u16>, u16, &[u8])> {
    let mut tags = Vec::new();
    loop {
        let ethertype = number(rest.get(0..2)?);
        rest = &rest[2..];
        if ethertype != 0x8100 && ethertype != 0x88a8 {
            let ids = tags.iter().filter(|&&id| id != 0).count();
            return (ids <= 2).then_some((tags, ethertype, rest));
        }
        if tags.len() == 4 {
            return None;
        }
        tags.push(number(rest.get(0..2)?) & 0xfff);
        rest = &rest[2..];
    }
}

fn number(two: &[u8]) -> u16 {
    u16::from(two[0]) << 8 | u16::from(two[1])
}

struct Packet<'a> {
    source: IpAddr,
    destination: IpAddr,
    hop_limit: u8,
    /// The protocol, or the first next header.
    protocol: u8,
    /// All of it, with what pads it.
    bytes: &'a [u8],
    /// The ICMP message, if it starts in this packet.
    icmp: Option<&'a [u8]>,
}

impl<'a> Packet<'a> {
    fn parse(ethertype: u16, bytes: &'a [u8]) -> Option<Self> {
        let (source, destination) = addresses(bytes, ethertype)?;
        if ethertype == 0x86dd {
            return Some(Self {
                source,
                destination,
                hop_limit: bytes[7],
                protocol: bytes[6],
                bytes,
                icmp: (bytes[6] == 58).then(|| &bytes[40..]),
            });
        }
        let header = usize::from(bytes[0] & 15) * 4;
        let total = usize::from(number(&bytes[2..4]));
        if header < 20 || bytes.len() < header || total < header && total != 0 {
            return None;
        }
        let first = number(&bytes[6..8]) & 0x1fff == 0;
        Some(Self {
            source,
            destination,
            hop_limit: bytes[8],
            protocol: bytes[9],
            bytes,
            icmp: (bytes[9] == 1 && first).then(|| &bytes[header..]),
        })
    }

    fn icmp_type(&self) -> Option<u8> {
        self.icmp?.first().copied()
    }

    /// Multicast listener discovery: 8 bytes of hop-by-hop options, then one of four types of ICMPv6.
    fn is_mld(&self) -> bool {
        self.source.is_ipv6()
            && self.protocol == 0
            && self.bytes.get(40..42) == Some(&[58, 0])
            && matches!(self.bytes.get(48), Some(130 | 131 | 132 | 143))
    }

    /// Extension headers behind which anything may be.
    fn is_hidden(&self) -> bool {
        self.source.is_ipv6() && matches!(self.protocol, 0 | 43 | 60) && !self.is_mld()
    }

    /// What hosts say to groups of the link.
    fn is_of_hosts(&self) -> bool {
        match self.source.is_ipv4() {
            true => matches!(self.protocol, 1 | 2),
            false => self.protocol == 58 || self.is_mld(),
        }
    }

    /// Source and destination an ICMP error quotes.
    fn quoted(&self) -> Option<(IpAddr, IpAddr)> {
        if self.bytes.len() > 1280 {
            return None;
        }
        let (types, ethertype): (&[u8], _) = if self.source.is_ipv4() {
            (&[3, 11, 12], 0x0800)
        } else {
            (&[1, 2, 3, 4], 0x86dd)
        };
        if !types.contains(&self.icmp_type()?) {
            return None;
        }
        addresses(self.icmp?.get(8..)?, ethertype)
    }
}

/// Source and destination of a whole fixed header of the version the ethertype says.
fn addresses(bytes: &[u8], ethertype: u16) -> Option<(IpAddr, IpAddr)> {
    let (version, source, destination) = if ethertype == 0x0800 {
        (4, 12..16, 16..20)
    } else {
        (6, 8..24, 24..40)
    };
    if *bytes.first()? / 16 != version {
        return None;
    }
    Some((
        address(bytes.get(source)?)?,
        address(bytes.get(destination)?)?,
    ))
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        _ => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
    }
}

/// Does any of the prefixes contain the address?
fn any(prefixes: &[&str], address: IpAddr) -> bool {
    prefixes.iter().any(|prefix| contains(prefix, address))
}

fn contains(prefix: &str, address: IpAddr) -> bool {
    let (network, length) = prefix.split_once('/').expect("a prefix");
    let network: IpAddr = network.parse().expect("a prefix");
    let length: usize = length.parse().expect("a prefix");
    network.is_ipv4() == address.is_ipv4() && bits(network)[..length] == bits(address)[..length]
}

/// One character per bit: nothing to shift wrongly.
fn bits(address: IpAddr) -> String {
    let octets = match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    octets.iter().map(|octet| format!("{octet:08b}")).collect()
}
