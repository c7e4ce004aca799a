//! Peers, their prefixes and the packets they send: generated, or from a real table. Never touches the kernel.
use filter_core::layout::replay::{self, Entry};
use filter_core::packet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, Mac};
use filter_core::table::shapes::{self, Random};
use filter_core::{Address, Family, Prefix};

use crate::measure::Result;

/// One peer: prefixes as they are announced, in both directions.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Where its frames come from.
    pub mac: Mac,
    /// What it announces.
    pub sources: Vec<Prefix>,
    /// What it is sent.
    pub destinations: Vec<Prefix>,
}

/// A number of peers on one port.
#[derive(Clone, Debug)]
pub struct World {
    /// For the table of results.
    pub name: String,
    /// Of every packet.
    pub family: Family,
    /// All of them.
    pub peers: Vec<Peer>,
}

/// Our own MAC.
pub const OWN: Mac = Mac::from_bits(0x02_00_00_00_00_01);
const FIRST_PEER: u64 = 0x02_00_00_00_10_00;
/// What we send every peer at an exchange: our own prefixes and our customers'.
const EXCHANGE_DESTINATIONS: usize = 100;

/// Prefixes of a real table if `BCP38_TABLE` names a file of them, one per line; else generated ones.
///
/// # Errors
/// If the file cannot be read or holds anything but prefixes.
pub fn table(family: Family, count: usize) -> Result<Vec<Prefix>> {
    let Some(path) = std::env::var_os("BCP38_TABLE") else {
        return Ok(shapes::full_table(family, count, 7));
    };
    let text = std::fs::read_to_string(path)?;
    let mut prefixes = Vec::new();
    for line in text.lines() {
        let prefix: Prefix = line.parse()?;
        if prefix.family() == family {
            prefixes.push(prefix);
        }
    }
    prefixes.truncate(count);
    Ok(prefixes)
}

impl World {
    /// One peer with a full table in both directions, as a transit has.
    ///
    /// # Errors
    /// As [`table`].
    pub fn transit(family: Family, count: usize) -> Result<Self> {
        let prefixes = table(family, count)?;
        let name = format!("{family}, {} prefixes on both sides", prefixes.len());
        let peer = Peer {
            mac: Mac::from_bits(FIRST_PEER),
            sources: prefixes.clone(),
            destinations: prefixes,
        };
        Ok(Self {
            name,
            family,
            peers: vec![peer],
        })
    }

    /// Many peers of very different size.
    #[must_use]
    pub fn exchange(family: Family, peers: usize, largest: usize) -> Self {
        let name = format!("{peers} peers, {family}");
        let destinations = shapes::full_table(family, EXCHANGE_DESTINATIONS, 11);
        let sets = shapes::exchange(family, peers, largest, 5);
        let mut macs = Random(13);
        let peers = sets.into_iter().map(|sources| Peer {
            // As among routers of many vendors: nothing about the MACs is in order.
            mac: Mac::from_bits(FIRST_PEER & 0xff << 40 | macs.word() >> 24),
            sources,
            destinations: destinations.clone(),
        });
        Self {
            name,
            family,
            peers: peers.collect(),
        }
    }

    /// The smallest network: AS57965 and its two prefixes.
    ///
    /// # Errors
    /// Never.
    pub fn smallest() -> Result<Self> {
        let peer = Peer {
            mac: Mac::from_bits(FIRST_PEER),
            sources: vec!["45.146.194.0/23".parse()?, "2a13:47c0:146::/48".parse()?],
            destinations: vec!["198.51.100.0/24".parse()?, "2001:db8:100::/48".parse()?],
        };
        Ok(Self {
            name: "two-prefix peer".to_owned(),
            family: Family::Ipv4,
            peers: vec![peer],
        })
    }

    /// Prefixes of all peers, both directions.
    #[must_use]
    pub fn prefixes(&self) -> usize {
        let count = |peer: &Peer| peer.sources.len() + peer.destinations.len();
        self.peers.iter().map(count).sum()
    }

    /// Packets within the policy: any announced prefix is as likely as any other, any address in it too.
    #[must_use]
    pub fn packets(&self, count: usize) -> Vec<Entry> {
        let mut random = Random(3);
        let of_family = |prefixes: &[Prefix]| -> Vec<Prefix> {
            let mine = prefixes
                .iter()
                .filter(|prefix| prefix.family() == self.family);
            mine.copied().collect()
        };
        let sets: Vec<_> = self
            .peers
            .iter()
            .map(|peer| {
                (
                    peer.mac,
                    of_family(&peer.sources),
                    of_family(&peer.destinations),
                )
            })
            .collect();
        let owners: Vec<usize> = sets
            .iter()
            .enumerate()
            .flat_map(|(i, (_, sources, _))| std::iter::repeat_n(i, sources.len()))
            .collect();
        let draw = |_| {
            let (mac, sources, destinations) = &sets[*random.pick(&owners)?];
            let source = *random.pick(sources)?;
            let destination = *random.pick(destinations)?;
            Some(entry(
                *mac,
                random.within(source),
                random.within(destination),
            ))
        };
        (0..count).filter_map(draw).collect()
    }
}

/// Does any of them announce it, or is any sent it?
#[must_use]
pub fn covers(peers: &[Peer], address: Address) -> bool {
    let holds = |prefixes: &[Prefix]| {
        let set: filter_core::set::PrefixSet = prefixes.iter().copied().collect();
        set.contains(address)
    };
    peers
        .iter()
        .any(|peer| holds(&peer.sources) || holds(&peer.destinations))
}

/// Source MAC, ethertype and addresses as they lie in a frame.
fn entry(mac: Mac, source: Address, destination: Address) -> Entry {
    let ethertype = match source.family {
        Family::Ipv4 => ETHERTYPE_IPV4,
        Family::Ipv6 => ETHERTYPE_IPV6,
    };
    let head = (mac.bits() << 16 | u64::from(ethertype)).to_be();
    match source.family {
        Family::Ipv4 => [head, (source.hi | destination.hi >> 32).to_be(), 0, 0, 0],
        Family::Ipv6 => {
            let [a, b, c, d] =
                [source.hi, source.lo, destination.hi, destination.lo].map(u64::to_be);
            [head, a, b, c, d]
        }
    }
}

/// The frame of one entry, with its cursor at the next.
#[must_use]
pub fn frame(entry: &Entry, cursor: u32) -> Vec<u8> {
    let mut frame = vec![0; replay::LEN];
    let mut put = |at: usize, bytes: &[u8]| frame[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &OWN.bytes());
    put(replay::HEAD, &entry[0].to_ne_bytes());
    if (entry[0] >> 48) as u16 == ETHERTYPE_IPV6.to_be() {
        // No next header, hop limit 64 (RFC 8200 section 4.7).
        put(14, &[0x60, 0, 0, 0, 0, 10, 59, 64]);
        for (i, word) in entry[1..].iter().enumerate() {
            put(replay::IPV6_ADDRESSES + 8 * i, &word.to_ne_bytes());
        }
    } else {
        put(14, &[0x45, 0, 0, 50, 0, 0, 0, 0, 64, 17, 0, 0]);
        put(replay::IPV4_ADDRESSES, &entry[1].to_ne_bytes());
    }
    put(replay::CURSOR, &cursor.to_ne_bytes());
    frame
}
