//! The rows of `docs/spec.md` once more, naively: its own parser over slices, lists scanned from end to end. Slow, and
//! obvious. Must never call the packet, verdict or set code it is there to check.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use filter_core::Reason;

use crate::engines::{Engine, Tally, is_dropped};
use crate::frame::station;
use crate::world::{Modes, Peer, World};

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
const LINK_SOURCES: &[&str] = &["fe80::/10", "169.254.0.0/16", "::/128"];
const LINK_DESTINATIONS: &[&str] = &[
    "fe80::/10",
    "ff01::/16",
    "ff02::/16",
    "169.254.0.0/16",
    "224.0.0.0/24",
];

/// The oracle.
pub struct Oracle {
    world: &'static World,
    modes: Modes,
    tally: Tally,
}

impl Oracle {
    /// For one world, observing.
    #[must_use]
    pub fn new(world: &'static World) -> Self {
        let modes = Modes::OBSERVE;
        Self {
            world,
            modes,
            tally: Tally::of(world),
        }
    }

    /// Whom a frame counts for, and why it gets its fate.
    ///
    /// # Panics
    /// Never, whatever the frame: the names of reasons below exist.
    #[must_use]
    pub fn verdict(&self, frame: &[u8]) -> (Option<&'static str>, Reason) {
        let (peer, name) = self.row(frame);
        let reason = Reason::from_name(name).expect("a reason's name");
        (peer.map(|peer| peer.name), reason)
    }

    fn row(&self, frame: &[u8]) -> (Option<&'static Peer>, &'static str) {
        if frame.len() < 14 {
            return (None, "malformed"); // 1
        }
        let (destination, source) = (&frame[0..6], &frame[6..12]);
        let foreign = destination[0] & 1 == 0 && destination != mac(self.world.mac);
        let Some((tags, ethertype, packet)) = untag(&frame[12..]) else {
            return (None, if foreign { "not-for-us" } else { "malformed" }); // 2, 3
        };
        let peer = self.peer(&tags, source);
        let name = match ethertype {
            _ if foreign => "not-for-us", // 2
            0x0806 => "arp",              // 4
            0x0800 | 0x86dd => match Packet::parse(ethertype, packet) {
                None => "malformed", // 6
                Some(packet) => self.ip_row(peer, &packet),
            },
            _ => "non-ip", // 5
        };
        (peer, name)
    }

    /// Rows 7 to 18.
    fn ip_row(&self, peer: Option<&'static Peer>, packet: &Packet) -> &'static str {
        let Packet {
            source,
            destination,
            ..
        } = *packet;
        if source.is_ipv6()
            && packet.hop_limit == 255
            && matches!(packet.icmp_type(), Some(133..=137))
        {
            return "neighbour-discovery"; // 7
        }
        if any(LINK_SOURCES, source) || any(self.world.lan, source) {
            if any(LINK_DESTINATIONS, destination) {
                return "link-local"; // 8
            }
            if self.is_own(destination) {
                return "peering-lan"; // 9
            }
        }
        let Some(peer) = peer else {
            return "unknown-peer"; // 10
        };
        if !peer
            .families
            .contains(if source.is_ipv4() { &4 } else { &6 })
        {
            return "family-not-peered"; // 11
        }
        let from = self.may_come_from(peer, source);
        let to = self.may_go_to(peer, destination);
        let quoted = packet.quoted();
        let answers = quoted.is_some_and(|(quoted_source, quoted_destination)| {
            quoted_source == destination && to && self.may_come_from(peer, quoted_destination)
        });
        match () {
            () if from && to => "permitted",                     // 12
            () if answers => "icmp-error",                       // 13
            () if self.is_bogon(source) => "source-bogon",       // 14
            () if any(self.world.ours, source) => "source-ours", // 15
            () if !from && !to => "both-unannounced",            // 16
            () if !from => "source-unannounced",                 // 17
            () => "destination-unannounced",                     // 18
        }
    }

    fn peer(&self, tags: &[u16], source: &[u8]) -> Option<&'static Peer> {
        let tags: Vec<u16> = tags.iter().copied().filter(|&id| id != 0).collect();
        let vlans = (
            tags.first().copied().unwrap_or(0),
            tags.get(1).copied().unwrap_or(0),
        );
        let at = |wanted: &dyn Fn(&str) -> bool| {
            self.world.peers.iter().find(|peer| {
                let mut stations = peer.stations.iter();
                stations.any(|&(outer, inner, mac)| (outer, inner) == vlans && wanted(mac))
            })
        };
        at(&|text| text != "*" && mac(text) == source)
            .or_else(|| at(&|text| text == "*" && self.world.any_mac))
    }

    fn is_own(&self, address: IpAddr) -> bool {
        self.world
            .addresses
            .iter()
            .any(|own| own.parse() == Ok(address))
    }

    fn is_bogon(&self, address: IpAddr) -> bool {
        let listed = any(BOGONS, address) && !any(REACHABLE, address);
        let foreign = address.is_ipv6() && !any(GLOBAL_UNICAST, address);
        (listed || foreign) && !any(self.world.bogon_exceptions, address)
    }

    /// S'(p).
    fn may_come_from(&self, peer: &Peer, source: IpAddr) -> bool {
        let withheld =
            self.is_bogon(source) || any(self.world.ours, source) || any(self.world.lan, source);
        any(peer.advertises, source) && !withheld || any(peer.extra_sources, source)
    }

    /// D'(p).
    fn may_go_to(&self, peer: &Peer, destination: IpAddr) -> bool {
        any(peer.advertised, destination)
            || self.is_own(destination)
            || any(peer.extra_destinations, destination)
    }
}

impl Engine for Oracle {
    fn name(&self) -> String {
        "oracle".to_owned()
    }

    fn set_modes(&mut self, modes: Modes) {
        self.modes = modes;
    }

    fn drops(&mut self, frame: &[u8]) -> bool {
        let (peer, reason) = self.verdict(frame);
        let dropped = is_dropped(self.world, self.modes, peer, reason);
        self.tally.count(peer, reason, dropped, frame);
        dropped
    }

    fn tally(&self) -> Tally {
        self.tally.clone()
    }
}

fn mac(text: &str) -> [u8; 6] {
    station(text).expect("a MAC")
}

/// VLAN ids, ethertype and what follows, from the first ethertype on. `None` for a third or a cut tag.
fn untag(mut rest: &[u8]) -> Option<(Vec<u16>, u16, &[u8])> {
    let mut tags = Vec::new();
    loop {
        let ethertype = number(rest.get(0..2)?);
        rest = &rest[2..];
        if ethertype != 0x8100 && ethertype != 0x88a8 {
            return Some((tags, ethertype, rest));
        }
        if tags.len() == 2 {
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
                icmp: (bytes[6] == 58).then(|| &bytes[40..]),
            });
        }
        let header = usize::from(bytes[0] & 15) * 4;
        if header < 20 || bytes.len() < header || usize::from(number(&bytes[2..4])) < header {
            return None;
        }
        let first = number(&bytes[6..8]) & 0x1fff == 0;
        Some(Self {
            source,
            destination,
            hop_limit: bytes[8],
            icmp: (bytes[9] == 1 && first).then(|| &bytes[header..]),
        })
    }

    fn icmp_type(&self) -> Option<u8> {
        self.icmp?.first().copied()
    }

    /// Source and destination an ICMP error quotes.
    fn quoted(&self) -> Option<(IpAddr, IpAddr)> {
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
