//! An exchange: FRR as router R (AS64500) on a LAN, and any peers there. R announces 198.51.100.0/24 and
//! 2001:db8:100::/40 to the members it is asked to, keeps what it receives unchanged, and sends it over BMP.
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use filter_core::Family;

use super::{BirdRouter, FrrRouter, Lan, Namespace, Peer, PeerConfig, R_ADDRESSES, R_ASN, Release};

/// What R announces.
pub const OURS: (&str, &str) = ("198.51.100.0/24", "2001:db8:100::/40");
/// Where R connects over BMP, inside its own namespace.
pub const BMP_LISTENER: &str = "127.0.0.1:11019";

/// A BGP session of R's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The other side's address; its family is the session's.
    pub address: IpAddr,
    /// Its AS number.
    pub asn: u32,
    /// It is a route server: its own AS does not come first in its paths.
    pub route_server: bool,
}

/// Who is at a place on the LAN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// What the lab calls it.
    pub name: &'static str,
    /// Its AS number.
    pub asn: u32,
    /// The host part of its addresses.
    pub host: u8,
}

/// The other end of a peer's sessions: R, or a route server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Speaker {
    /// Its AS number.
    pub asn: u32,
    /// Its IPv4 address.
    pub v4: Ipv4Addr,
    /// Its IPv6 address.
    pub v6: Ipv6Addr,
}

impl Speaker {
    /// R itself, as its peers know it.
    pub const ROUTER: Self = Self {
        asn: R_ASN,
        v4: R_ADDRESSES.0,
        v6: R_ADDRESSES.1,
    };
}

/// The exchange.
#[derive(Debug)]
pub struct Exchange {
    /// R's namespace; its interface is `eth0`.
    pub router: Namespace,
    /// The wire.
    pub lan: Lan,
    /// The release that R's daemon is from.
    pub release: Release,
}

impl Exchange {
    /// The LAN with R on it and nothing running.
    #[must_use]
    pub fn new() -> Self {
        let lan = Lan::new();
        let router = Namespace::new("r");
        let (v4, v6) = R_ADDRESSES;
        lan.plug(&router, "eth0", &[&format!("{v4}/24"), &format!("{v6}/64")]);
        Self {
            router,
            lan,
            release: Release::System,
        }
    }

    /// The addresses of the member with this host part.
    #[must_use]
    pub fn addresses(host: u8) -> (Ipv4Addr, Ipv6Addr) {
        // Written alike: ::11 and .11.
        let v6 = format!("2001:db8:ff::{host}");
        (
            Ipv4Addr::new(192, 0, 2, host),
            v6.parse().unwrap_or(Ipv6Addr::UNSPECIFIED),
        )
    }

    /// A namespace on the LAN.
    #[must_use]
    pub fn member(&self, name: &str, host: u8) -> Namespace {
        let namespace = Namespace::new(name);
        namespace.solicit_no_router();
        let (v4, v6) = Self::addresses(host);
        let addresses = [format!("{v4}/24"), format!("{v6}/64")];
        self.lan.plug(
            &namespace,
            "eth0",
            &addresses.each_ref().map(String::as_str),
        );
        namespace
    }

    /// A BIRD on the LAN that speaks BGP with R or a route server; `append` goes into its configuration.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn peer(&self, member: Member, announces: &[&str], towards: Speaker, append: &str) -> Peer {
        let Member { name, asn, host } = member;
        let (v4, v6) = Self::addresses(host);
        let config = PeerConfig {
            name,
            asn,
            v4,
            v6,
            announces: announces.iter().map(|text| text.parse().unwrap()).collect(),
            restart_time: None,
            extra: String::new(),
            append: append.to_owned(),
        };
        Peer::start(config, self.member(name, host), towards)
    }

    /// Starts FRR as R with these sessions.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start(&self, neighbours: &[Neighbour]) -> FrrRouter {
        FrrRouter::start_with(self.release, &self.router, &frr_conf(neighbours))
    }

    /// Starts BIRD as R with this [`Exchange::bird_conf`].
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start_bird(&self, conf: &str) -> BirdRouter {
        BirdRouter::start_with(self.release, &self.router, conf)
    }

    /// BIRD as R with these sessions; what it exports to route servers is scoped by `action`.
    #[must_use]
    pub fn bird_conf(neighbours: &[Neighbour], action: &str) -> String {
        bird_conf(neighbours, action)
    }

    /// The daemon's configuration up to its peers, with BMP and polls from FRR.
    #[must_use]
    pub fn config(frr: &FrrRouter, timers: &str) -> String {
        let socket = frr.socket();
        let feeds = format!(
            "[[feed]]\nkind = \"bmp\"\nlisten = \"{BMP_LISTENER}\"\n\n\
             [[feed]]\nkind = \"frr\"\nsocket = \"{}\"\ninterval = 1\n",
            socket.display()
        );
        Self::config_with(&feeds, timers)
    }

    /// As [`Exchange::config`] with other feeds.
    #[must_use]
    pub fn config_with(feeds: &str, timers: &str) -> String {
        format!(
            r#"
[router]
asn = {R_ASN}
prefixes = ["{v4}", "{v6}"]
bogon_exceptions = ["198.51.100.0/24", "198.18.0.0/15", "203.0.113.0/24", "100.64.0.0/10", "2001:db8::/32"]

[limits]
max_peers = 16
table_memory_mib = 8

[timers]
{timers}

[[interface]]
name = "eth0"
kind = "lan"
lan = ["192.0.2.0/24", "2001:db8:ff::/64"]

{feeds}
"#,
            v4 = OURS.0,
            v6 = OURS.1,
        )
    }
}

impl Default for Exchange {
    fn default() -> Self {
        Self::new()
    }
}

fn frr_conf(neighbours: &[Neighbour]) -> String {
    let mut sessions = String::new();
    let mut families = String::new();
    for Neighbour {
        address,
        asn,
        route_server,
    } in neighbours
    {
        let _infallible = write!(
            sessions,
            " neighbor {address} remote-as {asn}\n neighbor {address} timers connect 1\n"
        );
        if *route_server {
            let _infallible = writeln!(sessions, " no neighbor {address} enforce-first-as");
        }
    }
    for (family, ours) in [(Family::Ipv4, OURS.0), (Family::Ipv6, OURS.1)] {
        let _infallible = write!(
            families,
            " address-family {family} unicast\n  network {ours}\n"
        );
        let same = |neighbour: &&Neighbour| neighbour.address.is_ipv4() == (family == Family::Ipv4);
        for neighbour in neighbours.iter().filter(same) {
            let address = neighbour.address;
            let _infallible = write!(
                families,
                "  neighbor {address} activate\n  neighbor {address} soft-reconfiguration inbound\n  \
                 neighbor {address} route-map ANY in\n  neighbor {address} route-map OURS out\n  \
                 neighbor {address} send-community all\n"
            );
        }
        families.push_str(" exit-address-family\n !\n");
    }
    let (ip, port) = BMP_LISTENER.split_once(':').unwrap_or_default();
    format!(
        "hostname R\n!\nbgp route-map delay-timer 1\nrouter bgp {R_ASN}\n bgp router-id {}\n \
         no bgp default ipv4-unicast\n no bgp network import-check\n{sessions}{families}\
         \x20bmp targets T1\n  bmp stats interval 5000\n  bmp monitor ipv4 unicast pre-policy\n  \
         bmp monitor ipv6 unicast pre-policy\n  \
         bmp connect {ip} port {port} min-retry 500 max-retry 2000\n exit\n!\n\
         ip prefix-list OURS seq 5 permit {}\nipv6 prefix-list OURS seq 5 permit {}\n\
         route-map ANY permit 10\n\
         route-map OURS permit 10\n match ip address prefix-list OURS\n\
         route-map OURS permit 15\n match ipv6 address prefix-list OURS\n!\n",
        R_ADDRESSES.0, OURS.0, OURS.1
    )
}

fn bird_conf(neighbours: &[Neighbour], action: &str) -> String {
    let (v4, v6) = R_ADDRESSES;
    let mut text = format!(
        "router id {v4};\nprotocol device {{}}\n\
         protocol static own_ipv4 {{ ipv4; route {} blackhole; }}\n\
         protocol static own_ipv6 {{ ipv6; route {} blackhole; }}\n",
        OURS.0, OURS.1
    );
    // It waits to be connected to: with timers this short two BIRDs that both connect collide again and again.
    for (number, neighbour) in neighbours.iter().enumerate() {
        let Neighbour {
            address,
            asn,
            route_server,
        } = neighbour;
        let (family, local) = match address {
            IpAddr::V4(_) => (Family::Ipv4, IpAddr::from(v4)),
            IpAddr::V6(_) => (Family::Ipv6, IpAddr::from(v6)),
        };
        let (first_as, action) = if *route_server {
            ("enforce first as off;", action)
        } else {
            ("", "")
        };
        let _infallible = writeln!(
            text,
            "protocol bgp n{number} {{ local {local} as {R_ASN}; neighbor {address} as {asn}; {first_as} passive on; \
             connect delay time 1; connect retry time 1; error wait time 1,1; {family} {{ \
             import table on; export table on; import all; \
             export filter {{ if proto != \"own_{family}\" then reject; {action} accept; }}; }}; }}"
        );
    }
    text
}
