//! What the peer announces, and what the router has of it: routes, and the addresses of what goes through. Never touches the kernel.
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use filter_core::packet::Mac;
use filter_core::table::shapes::Random;
use filter_core::{Address, Family, Prefix, frame};

use crate::measure::Result;
use crate::world::{self, OWN, Peer, World};

/// The sender's device, the router's two, the receiver's.
pub const FAR: &str = "far";
pub const NEAR: &str = "near";
pub const OUT: &str = "out";
pub const SINK: &str = "sink";
/// The peer of the exchange that sends.
pub const PEER: Mac = Mac::from_bits(0x02_00_00_00_10_00);
pub const OUT_MAC: Mac = Mac::from_bits(0x02_00_00_00_00_02);
pub const SINK_MAC: Mac = Mac::from_bits(0x02_00_00_00_00_03);
/// The receiver's stack lets go of a frame for this MAC, which is none of its own.
pub const NO_MAC: Mac = Mac::from_bits(0x02_00_00_00_00_99);
/// Sender and receiver of streams.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(45, 146, 194, 1);
pub const SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 101, 2);
/// Where single packets go.
const TARGET: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));
/// No peer announces it, and no route leads there.
const SPOOFED: IpAddr = IpAddr::V4(Ipv4Addr::new(240, 0, 0, 1));
/// Whatever the generated table has of these is left out: the router's own networks, and what a stack never takes.
const LEFT_OUT: [&str; 10] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "192.0.2.0/24",
    "45.146.194.0/23",
    "198.51.100.0/23",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
];
/// As many flows as no cache of a processor has lines for.
const FLOWS: usize = 1 << 16;
/// Headers of TCP over IPv4 over Ethernet, without options.
pub const TCP_HEADERS: usize = 54;
const TCP: u8 = 6;
const UDP: u8 = 17;
const HEADERS: usize = 14 + 20 + 8;

/// One peer with a large table.
pub struct Table {
    pub world: World,
}

impl Table {
    /// With so many prefixes, or as many as are left.
    pub fn new(prefixes: usize) -> Result<Self> {
        let left_out: Vec<Prefix> = LEFT_OUT
            .iter()
            .map(|text| text.parse())
            .collect::<std::result::Result<_, _>>()?;
        let mut sources = world::table(Family::Ipv4, prefixes)?;
        sources.retain(|prefix| {
            !left_out
                .iter()
                .any(|out| out.covers(*prefix) || prefix.covers(*out))
        });
        sources.push("45.146.194.0/23".parse()?);
        let peer = Peer {
            mac: PEER,
            sources,
            destinations: vec!["198.51.100.0/23".parse()?],
        };
        let peers = vec![peer];
        if world::covers(&peers, SPOOFED.into()) {
            return Err(format!("the table holds {SPOOFED}").into());
        }
        Ok(Self {
            world: World {
                name: format!("{prefixes} prefixes"),
                family: Family::Ipv4,
                peers,
            },
        })
    }

    /// Its prefixes.
    pub fn sources(&self) -> &[Prefix] {
        self.world.peers.first().map_or(&[], |peer| &peer.sources)
    }

    /// What `ip -batch` reads: a route to each of them, by way of the peer.
    pub fn routes(&self) -> Result<String> {
        let mut text = String::new();
        for prefix in self.sources() {
            writeln!(text, "route add {prefix} via 192.0.2.2 dev {NEAR}")?;
        }
        Ok(text)
    }

    /// Frames of this length that are permitted: one, or many of random sources.
    pub fn good(&self, length: usize, is_many: bool) -> Vec<Vec<u8>> {
        let payload = vec![0; length.saturating_sub(HEADERS)];
        let mut random = Random(3);
        let mut draw = || {
            let source = random.pick(self.sources()).copied();
            source.map(|source| random.within(source))
        };
        let sources: Vec<Address> = match is_many {
            true => std::iter::from_fn(&mut draw).take(FLOWS).collect(),
            false => vec![IpAddr::V4(CLIENT).into()],
        };
        let frame = |source: Address| datagram(source.into(), &payload);
        sources.into_iter().map(frame).collect()
    }
}

/// A frame of 64 bytes with a source that the peer does not announce.
pub fn spoofed() -> Vec<u8> {
    datagram(SPOOFED, &[0; 64 - HEADERS])
}

/// A super-frame of TCP with this payload, as a guest's stack hands it over.
pub fn super_frame(payload: usize) -> Vec<u8> {
    let mut segment = vec![0; 20 + payload];
    segment[12] = 5 << 4; // words of the header
    ethernet(&frame::packet(CLIENT.into(), TARGET, TCP, 64, &segment))
}

fn datagram(source: IpAddr, payload: &[u8]) -> Vec<u8> {
    ethernet(&frame::packet(
        source,
        TARGET,
        UDP,
        64,
        &frame::udp(payload),
    ))
}

fn ethernet(packet: &[u8]) -> Vec<u8> {
    frame::ethernet(OWN, PEER, 0x0800, packet)
}
