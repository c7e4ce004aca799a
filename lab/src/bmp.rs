//! A stand-in for a router: sends over BMP (RFC 7854, 8671) what its peers advertise and what it
//! advertises to them, and sends no packet. A real router's own BMP replaces it in production.
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use filter_core::{Address, Asn, Family, Prefix};

/// The session that a message is about.
#[derive(Clone, Copy, Debug)]
pub struct Neighbour {
    /// Its session address.
    pub address: IpAddr,
    /// Its AS number.
    pub asn: Asn,
}

/// Which direction a route goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The peer advertises it to us: Adj-RIB-In, before policy.
    Received,
    /// We advertise it to the peer: Adj-RIB-Out, after policy.
    Advertised,
}

/// The router's BMP connection to the daemon, or whatever else its bytes go to.
#[derive(Debug)]
pub struct Router<W = TcpStream> {
    stream: W,
    asn: Asn,
    local: IpAddr,
}

const INITIATION: u8 = 4;
const PEER_UP: u8 = 3;
const ROUTE_MONITORING: u8 = 0;

const FLAG_IPV6: u8 = 0x80;
const FLAG_POST_POLICY: u8 = 0x40;
const FLAG_ADJ_OUT: u8 = 0x10;

const SAFI_UNICAST: u8 = 1;

impl Router {
    /// Connects and introduces itself by this name.
    ///
    /// # Errors
    /// If there is no listener.
    pub fn connect(
        listener: SocketAddr,
        name: &str,
        asn: Asn,
        local: IpAddr,
    ) -> std::io::Result<Self> {
        let stream = TcpStream::connect_timeout(&listener, Duration::from_secs(5))?;
        stream.set_nodelay(true)?; // a route that waits for an acknowledgement is late
        let mut router = Self { stream, asn, local };
        let mut tlvs = Vec::new();
        for (kind, text) in [(1u16, "bcp38 demo"), (2, name)] {
            tlvs.extend_from_slice(&kind.to_be_bytes());
            tlvs.extend_from_slice(&(text.len() as u16).to_be_bytes());
            tlvs.extend_from_slice(text.as_bytes());
        }
        router.message(INITIATION, &tlvs)?;
        Ok(router)
    }

    /// Sends messages that are written already.
    ///
    /// # Errors
    /// If the connection is gone.
    pub fn send(&mut self, messages: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(messages)
    }

    /// Its connection.
    #[must_use]
    pub const fn stream(&self) -> &TcpStream {
        &self.stream
    }
}

impl Router<Vec<u8>> {
    /// Writes into memory what is to be sent later.
    #[must_use]
    pub const fn in_memory(asn: Asn, local: IpAddr) -> Self {
        Self {
            stream: Vec::new(),
            asn,
            local,
        }
    }

    /// What it wrote.
    #[must_use]
    pub fn into_messages(self) -> Vec<u8> {
        self.stream
    }
}

impl<W: Write> Router<W> {
    /// The session with this neighbour is established, for the family of its address.
    ///
    /// # Errors
    /// If the connection is gone.
    pub fn peer_up(&mut self, neighbour: Neighbour) -> std::io::Result<()> {
        let family = Address::from(neighbour.address).family;
        self.peer_up_for(neighbour, &[family])
    }

    /// The session with this neighbour is established, for these families.
    ///
    /// # Errors
    /// If the connection is gone.
    pub fn peer_up_for(
        &mut self,
        neighbour: Neighbour,
        families: &[Family],
    ) -> std::io::Result<()> {
        let mut body = per_peer(neighbour, 0);
        body.extend_from_slice(&sixteen(self.local));
        body.extend_from_slice(&[0, 179, 0, 179]);
        body.extend_from_slice(&open(self.asn, families));
        body.extend_from_slice(&open(neighbour.asn, families));
        self.message(PEER_UP, &body)
    }

    /// These prefixes, of one family, are announced.
    ///
    /// # Errors
    /// If the connection is gone.
    pub fn announce(
        &mut self,
        neighbour: Neighbour,
        direction: Direction,
        prefixes: &[Prefix],
    ) -> std::io::Result<()> {
        let Some(first) = prefixes.first() else {
            return Ok(());
        };
        let (asn, next_hop) = match direction {
            Direction::Received => (neighbour.asn, neighbour.address),
            Direction::Advertised => (self.asn, self.local),
        };
        let mut attributes = vec![0x40, 1, 1, 0]; // ORIGIN igp
        attributes.extend_from_slice(&[0x40, 2, 6, 2, 1]); // AS_PATH, one sequence of one
        attributes.extend_from_slice(&asn.get().to_be_bytes());
        let nlri: Vec<u8> = prefixes.iter().flat_map(|&prefix| encode(prefix)).collect();
        let update = match first.family() {
            Family::Ipv4 => {
                let v4 = if let IpAddr::V4(v4) = next_hop {
                    v4
                } else {
                    Ipv4Addr::UNSPECIFIED
                };
                attributes.extend_from_slice(&[0x40, 3, 4]);
                attributes.extend_from_slice(&v4.octets());
                update(&[], &attributes, &nlri)
            }
            Family::Ipv6 => {
                let mut reach = vec![0, 2, SAFI_UNICAST, 16];
                reach.extend_from_slice(&sixteen(next_hop));
                reach.push(0);
                reach.extend_from_slice(&nlri);
                attributes.extend_from_slice(&attribute(14, &reach));
                update(&[], &attributes, &[])
            }
        };
        self.monitor(neighbour, direction, &update)
    }

    /// This prefix is withdrawn.
    ///
    /// # Errors
    /// If the connection is gone.
    pub fn withdraw(
        &mut self,
        neighbour: Neighbour,
        direction: Direction,
        prefix: Prefix,
    ) -> std::io::Result<()> {
        let update = match prefix.family() {
            Family::Ipv4 => update(&encode(prefix), &[], &[]),
            Family::Ipv6 => {
                let mut unreach = vec![0, 2, SAFI_UNICAST];
                unreach.extend_from_slice(&encode(prefix));
                update(&[], &attribute(15, &unreach), &[])
            }
        };
        self.monitor(neighbour, direction, &update)
    }

    /// The Adj-RIB of this family has been sent in full.
    ///
    /// # Errors
    /// If the connection is gone.
    pub fn end_of_rib(
        &mut self,
        neighbour: Neighbour,
        direction: Direction,
        family: Family,
    ) -> std::io::Result<()> {
        let update = match family {
            Family::Ipv4 => update(&[], &[], &[]),
            Family::Ipv6 => update(&[], &attribute(15, &[0, 2, SAFI_UNICAST]), &[]),
        };
        self.monitor(neighbour, direction, &update)
    }

    fn monitor(
        &mut self,
        neighbour: Neighbour,
        direction: Direction,
        update: &[u8],
    ) -> std::io::Result<()> {
        let flags = match direction {
            Direction::Received => 0,
            Direction::Advertised => FLAG_ADJ_OUT | FLAG_POST_POLICY,
        };
        let mut body = per_peer(neighbour, flags);
        body.extend_from_slice(update);
        self.message(ROUTE_MONITORING, &body)
    }

    /// The common header of RFC 7854 section 4.1, then the body.
    fn message(&mut self, kind: u8, body: &[u8]) -> std::io::Result<()> {
        let mut message = vec![3];
        message.extend_from_slice(&(6 + body.len() as u32).to_be_bytes());
        message.push(kind);
        message.extend_from_slice(body);
        self.stream.write_all(&message)
    }
}

/// The per-peer header of RFC 7854 section 4.2.
fn per_peer(neighbour: Neighbour, flags: u8) -> Vec<u8> {
    let family = if neighbour.address.is_ipv6() {
        FLAG_IPV6
    } else {
        0
    };
    let mut header = vec![0, flags | family];
    header.extend_from_slice(&[0; 8]); // distinguisher: the global instance
    header.extend_from_slice(&sixteen(neighbour.address));
    header.extend_from_slice(&neighbour.asn.get().to_be_bytes());
    header.extend_from_slice(&[192, 0, 2, 1]); // BGP identifier
    header.extend_from_slice(&[0; 8]); // no time
    header
}

/// An OPEN (RFC 4271 section 4.2) with these families and four-octet AS numbers.
fn open(asn: Asn, families: &[Family]) -> Vec<u8> {
    let mut capabilities = Vec::new();
    for family in families {
        let afi = match family {
            Family::Ipv4 => 1,
            Family::Ipv6 => 2,
        };
        capabilities.extend_from_slice(&[1, 4, 0, afi, 0, SAFI_UNICAST]);
    }
    capabilities.extend_from_slice(&[65, 4]);
    capabilities.extend_from_slice(&asn.get().to_be_bytes());
    let two_octets = u16::try_from(asn.get()).unwrap_or(23456);
    let mut body = vec![4];
    body.extend_from_slice(&two_octets.to_be_bytes());
    body.extend_from_slice(&[0, 180, 192, 0, 2, 1]);
    body.extend_from_slice(&[capabilities.len() as u8 + 2, 2, capabilities.len() as u8]);
    body.extend_from_slice(&capabilities);
    bgp(1, &body)
}

/// An UPDATE (RFC 4271 section 4.3).
fn update(withdrawn: &[u8], attributes: &[u8], nlri: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend_from_slice(&(withdrawn.len() as u16).to_be_bytes());
    body.extend_from_slice(withdrawn);
    body.extend_from_slice(&(attributes.len() as u16).to_be_bytes());
    body.extend_from_slice(attributes);
    body.extend_from_slice(nlri);
    bgp(2, &body)
}

fn bgp(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![0xff; 16];
    message.extend_from_slice(&(19 + body.len() as u16).to_be_bytes());
    message.push(kind);
    message.extend_from_slice(body);
    message
}

/// An optional attribute with a two-byte length.
fn attribute(kind: u8, value: &[u8]) -> Vec<u8> {
    let mut attribute = vec![0x90, kind];
    attribute.extend_from_slice(&(value.len() as u16).to_be_bytes());
    attribute.extend_from_slice(value);
    attribute
}

/// Length, then as many bytes as it needs (RFC 4271 section 4.3).
fn encode(prefix: Prefix) -> Vec<u8> {
    let mut nlri = vec![prefix.len()];
    let bits = prefix.address().bits().to_be_bytes();
    nlri.extend_from_slice(&bits[..usize::from(prefix.len()).div_ceil(8)]);
    nlri
}

/// An address in 16 bytes; an IPv4 one in the last four (RFC 7854 section 4.2).
fn sixteen(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => {
            let mut bytes = [0; 16];
            bytes[12..].copy_from_slice(&v4.octets());
            bytes
        }
        IpAddr::V6(v6) => v6.octets(),
    }
}
