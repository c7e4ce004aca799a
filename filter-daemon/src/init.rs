//! A first configuration from what is there: devices and their addresses, sessions of FRR and BIRD, an exchange's files. It
//! only observes, says in comments what it does not know, and passes `check-config`. Looks and reads; changes nothing.
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use filter_core::{Address, Asn, Prefix};
use filter_feeds::discover::{self, Neighbour};
use filter_feeds::poll::PollError;
use filter_feeds::{bird, frr};

pub mod devices;
pub mod exchange;
mod text;

pub use text::text;

/// What is there.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The devices that packets can come in on, loopback left out.
    pub devices: Vec<Device>,
    /// The daemons that were asked, and their sessions.
    pub routers: Vec<Router>,
    /// What the exchanges' files say.
    pub exchange: exchange::Exchange,
}

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its name; of the trunk below, for a VLAN device.
    pub name: String,
    /// The tag, for a VLAN device.
    pub vlan: Option<u16>,
    /// Its addresses.
    pub addresses: Vec<Address>,
    /// Their subnets, in the same order.
    pub subnets: Vec<Prefix>,
}

impl Device {
    /// The subnet of ours that this address is in; link-local ones are everywhere.
    fn subnet_of(&self, address: IpAddr) -> Option<Prefix> {
        let is_inside = |subnet: &&Prefix| subnet.contains(address.into());
        let mut subnets = self.subnets.iter().filter(is_inside);
        subnets.find(|subnet| !is_link_local(**subnet)).copied()
    }
}

fn is_link_local(prefix: Prefix) -> bool {
    match IpAddr::from(prefix.address()) {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// A routing daemon.
#[derive(Clone, Debug)]
pub struct Router {
    /// The kind of the feed that polls it.
    pub kind: &'static str,
    /// Its control socket.
    pub socket: PathBuf,
    /// Its sessions.
    pub neighbours: Vec<Neighbour>,
}

impl Found {
    /// Our AS number, as the first session has it.
    #[must_use]
    pub fn local_asn(&self) -> Option<Asn> {
        self.neighbours().find_map(|neighbour| neighbour.local_asn)
    }

    fn neighbours(&self) -> impl Iterator<Item = &Neighbour> {
        self.routers.iter().flat_map(|router| &router.neighbours)
    }
}

/// Which daemons to ask.
#[derive(Clone, Debug, Default)]
pub struct Sockets {
    /// FRR's; none: the usual place, if something is there.
    pub frr: Option<PathBuf>,
    /// BIRD's; likewise.
    pub bird: Option<PathBuf>,
}

/// Asks the routing daemons. One that was named must answer; one that is only at its usual place may not, which becomes a
/// warning.
///
/// # Errors
/// [`PollError`] of a daemon that was named.
pub fn routers(sockets: &Sockets, warnings: &mut Vec<String>) -> Result<Vec<Router>, PollError> {
    type Ask = fn(&Path) -> Result<Vec<Neighbour>, PollError>;
    let kinds: [(&'static str, &Option<PathBuf>, &str, Ask); 2] = [
        ("frr", &sockets.frr, frr::DEFAULT_SOCKET, discover::frr),
        ("bird", &sockets.bird, bird::DEFAULT_SOCKET, discover::bird),
    ];
    let mut routers = Vec::new();
    for (kind, named, usual, ask) in kinds {
        let socket = named.clone().unwrap_or_else(|| PathBuf::from(usual));
        if named.is_none() && !socket.exists() {
            continue;
        }
        match ask(&socket) {
            Ok(neighbours) => routers.push(Router {
                kind,
                socket,
                neighbours,
            }),
            Err(error) if named.is_some() => return Err(error),
            Err(error) => warnings.push(error.to_string()),
        }
    }
    Ok(routers)
}
