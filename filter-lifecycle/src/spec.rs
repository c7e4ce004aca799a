//! What an operator wants, as plain types: who we are, where the filter stands, who the peers and route servers are,
//! what each feed can carry, timers and limits. Never text, files or sockets: whoever reads a configuration file turns
//! it into a [`Spec`], and whoever embeds the filter writes one by hand. Lists are numbered by their order.
use std::net::IpAddr;
use std::time::Duration;

use filter_core::layout::Families;
use filter_core::packet::{Mac, Vlans};
use filter_core::{Address, Asn, Classes, Family, LanRules, Mode, Prefix};

use crate::route::{AdjRib, PeerId, Session, Vrf};

/// Everything the filter is to enforce. The order of the lists is their numbering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Who we are.
    pub router: Router,
    /// The interfaces, by [`InterfaceId`].
    pub interfaces: Vec<Interface>,
    /// The peers, by [`PeerId`].
    pub peers: Vec<Peer>,
    /// The route servers, by their place.
    pub route_servers: Vec<RouteServer>,
    /// What each feed can carry, by [`FeedId`](crate::route::FeedId).
    pub feeds: Vec<Feed>,
    /// How long things are held.
    pub timers: Timers,
    /// How much of everything there may be.
    pub limits: Limits,
}

impl Spec {
    /// A router of this AS number with nothing else.
    #[must_use]
    pub fn new(asn: Asn) -> Self {
        Self {
            router: Router {
                asn,
                prefixes: Vec::new(),
                bogon_exceptions: Vec::new(),
            },
            interfaces: Vec::new(),
            peers: Vec::new(),
            route_servers: Vec::new(),
            feeds: Vec::new(),
            timers: Timers::default(),
            limits: Limits::default(),
        }
    }

    /// The peer of this name.
    #[must_use]
    pub fn peer_named(&self, name: &str) -> Option<(PeerId, &Peer)> {
        self.peer_ids().find(|(_, peer)| peer.name == name)
    }

    /// The peers with their ids.
    pub fn peer_ids(&self) -> impl Iterator<Item = (PeerId, &Peer)> {
        (0..).map(PeerId).zip(&self.peers)
    }

    /// One peer.
    #[must_use]
    pub fn peer(&self, id: PeerId) -> Option<&Peer> {
        self.peers.get(id.0 as usize)
    }

    /// The interfaces with their ids.
    pub fn interface_ids(&self) -> impl Iterator<Item = (InterfaceId, &Interface)> {
        (0..).map(InterfaceId).zip(&self.interfaces)
    }

    /// The interface of this name.
    #[must_use]
    pub fn interface_named(&self, name: &str) -> Option<(InterfaceId, &Interface)> {
        self.interface_ids()
            .find(|(_, interface)| interface.name == name)
    }

    /// One interface.
    #[must_use]
    pub fn interface(&self, id: InterfaceId) -> Option<&Interface> {
        self.interfaces.get(usize::from(id.0))
    }

    /// Does a shadow session carry this table of the session?
    #[must_use]
    pub fn has_shadow(&self, session: Session, rib: AdjRib) -> bool {
        self.feeds.iter().any(|feed| match feed {
            Feed::Shadow { carried } => carried.contains(&Carried { session, rib }),
            _ => false,
        })
    }
}

/// What a feed can carry, as far as its evidence goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Feed {
    /// Prefixes an operator wrote down: complete by definition.
    Static,
    /// A stream of routers' own tables (BMP, RFC 7854): any table of any session, but Adj-RIB-Out rarely.
    Stream,
    /// A file of tables (MRT, RFC 6396) of the global instance, all of this table.
    File {
        /// Which table was dumped.
        rib: AdjRib,
    },
    /// Whole tables of the global instance, asked for again and again.
    Poll,
    /// BGP sessions of its own that mirror tables of the router's.
    Shadow {
        /// What they mirror.
        carried: Vec<Carried>,
    },
}

/// One table of one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carried {
    /// The router's session.
    pub session: Session,
    /// Which of its tables.
    pub rib: AdjRib,
}

/// One configured `[[interface]]`, by its place in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InterfaceId(pub u16);

/// `[router]`: who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Router {
    /// `asn`: our AS number. Required.
    pub asn: Asn,
    /// `prefixes`: ours; never valid as a source from outside. Default: none.
    pub prefixes: Vec<Prefix>,
    /// `bogon_exceptions`: taken out of the bogon list. Default: none.
    pub bogon_exceptions: Vec<Prefix>,
}

/// What is behind an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterfaceKind {
    /// `port`: one peer per VLAN, whose MAC need not be known.
    Port,
    /// `lan`: an exchange's peering LAN, many peers, distinguished by MAC.
    Lan,
}

impl InterfaceKind {
    /// `lan_rules` unless configured.
    #[must_use]
    pub const fn lan_rules(self) -> LanRules {
        match self {
            Self::Port => LanRules::Pass,
            Self::Lan => LanRules::Observe,
        }
    }
}

/// At which hook the program is to be attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HookChoice {
    /// Native XDP where it runs before a packet's buffer is made, sees the tags it needs and is free, else tc. The default.
    #[default]
    Auto,
    /// XDP in the driver or not at all.
    XdpNative,
    /// XDP in the network stack: slower than both others.
    XdpGeneric,
    /// Traffic control, at ingress: where tags that the driver took out are seen, and beside XDP programs of others.
    Tc,
}

impl HookChoice {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Auto, Self::XdpNative, Self::XdpGeneric, Self::Tc];

    /// The name in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::XdpNative => "xdp-native",
            Self::XdpGeneric => "xdp-generic",
            Self::Tc => "tc",
        }
    }
}

/// `[[interface]]`: where the program is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// `name`: the device's name. Required.
    pub name: String,
    /// `kind`. Required.
    pub kind: InterfaceKind,
    /// `lan`: the prefixes on the link itself. Required for kind `lan`; default for `port`: none.
    pub lan: Vec<Prefix>,
    /// `mac`: our MAC on it. Default: read from the device.
    pub mac: Option<Mac>,
    /// `addresses`: ours on it. Default: read from the device.
    pub addresses: Option<Vec<IpAddr>>,
    /// `unknown_peer`: what packets meet that come from no known peer. Default `observe`.
    pub unknown_peer: Mode,
    /// `lan_rules`: what has no business on a peering LAN meets. Default `observe` on a `lan`, `pass` on a `port`.
    pub lan_rules: LanRules,
    /// `hook`. Default `auto`.
    pub hook: HookChoice,
}

impl Interface {
    /// One of this name and kind, everything else at its default.
    #[must_use]
    pub fn new(name: &str, kind: InterfaceKind) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            lan: Vec::new(),
            mac: None,
            addresses: None,
            unknown_peer: Mode::default(),
            lan_rules: kind.lan_rules(),
            hook: HookChoice::default(),
        }
    }
}

/// Which RIB says what a peer advertises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum View {
    /// Adj-RIB-In before import policy: the literal "currently advertise". The default.
    #[default]
    PrePolicy,
    /// After import policy.
    PostPolicy,
}

impl View {
    /// The table of a feed this is.
    #[must_use]
    pub const fn rib(self) -> AdjRib {
        match self {
            Self::PrePolicy => AdjRib::InPrePolicy,
            Self::PostPolicy => AdjRib::InPostPolicy,
        }
    }
}

/// What becomes of a peer's enforcement once its feed has been away for `stale_hold`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnStale {
    /// It degrades to `observe`. The default.
    #[default]
    Degrade,
    /// The last tables stay in force.
    Keep,
}

/// One value for each family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerFamily<T> {
    /// For IPv4.
    pub ipv4: T,
    /// For IPv6.
    pub ipv6: T,
}

impl<T> PerFamily<T> {
    /// That of one family.
    pub const fn get(&self, family: Family) -> &T {
        match family {
            Family::Ipv4 => &self.ipv4,
            Family::Ipv6 => &self.ipv6,
        }
    }
}

/// The shortest and the longest prefix length that is admitted, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The shortest.
    pub min: u8,
    /// The longest.
    pub max: u8,
}

/// `prefix_bounds` unless configured: what networks commonly accept (RFC 7454 section 6.1.3).
pub const DEFAULT_BOUNDS: PerFamily<Bounds> = PerFamily {
    ipv4: Bounds { min: 8, max: 24 },
    ipv6: Bounds { min: 16, max: 48 },
};

/// `[[peer]]`: one autonomous system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// `name`, in counters, output and commands. Required.
    pub name: String,
    /// `asn`: its AS number, a number or `"1.10"`. Required.
    pub asn: Asn,
    /// Where it is attached: the peer's own `interface`, `vlan`, `inner_vlan`, `addresses` and `macs`, then
    /// each `[[peer.attachment]]`. At least one.
    pub attachments: Vec<Attachment>,
    /// `families`. Default: both.
    pub families: Families,
    /// `max_prefixes = { ipv4 = 2, ipv6 = 2 }`. Default: no limit.
    pub max_prefixes: PerFamily<Option<u32>>,
    /// `prefix_bounds = { ipv4 = [8, 24], ipv6 = [16, 48] }`. Default: that.
    pub prefix_bounds: PerFamily<Bounds>,
    /// `mode`. Default `observe`.
    pub mode: Mode,
    /// `enforce`: the classes that mode `enforce` means. Default: all.
    pub enforce: Classes,
    /// `view`. Default `pre-policy`.
    pub view: View,
    /// `on_stale`. Default `degrade`.
    pub on_stale: OnStale,
    /// `extra_sources`: sources it may always use. Default: none.
    pub extra_sources: Vec<Prefix>,
    /// `extra_destinations`: destinations it may always use. Default: none.
    pub extra_destinations: Vec<Prefix>,
}

impl Peer {
    /// One that is attached here, everything else at its default.
    #[must_use]
    pub fn new(name: &str, asn: Asn, attachment: Attachment) -> Self {
        Self {
            name: name.to_owned(),
            asn,
            attachments: vec![attachment],
            families: Families::new(|_| true),
            max_prefixes: PerFamily::default(),
            prefix_bounds: DEFAULT_BOUNDS,
            mode: Mode::default(),
            enforce: Classes::PEER,
            view: View::default(),
            on_stale: OnStale::default(),
            extra_sources: Vec::new(),
            extra_destinations: Vec::new(),
        }
    }

    /// The addresses of its BGP sessions.
    pub fn session_addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let attachments = self.attachments.iter();
        attachments.flat_map(|attachment| attachment.addresses.iter().copied())
    }

    /// What is in S'(p) whatever the routes say: its session addresses, and what the operator adds.
    #[must_use]
    pub fn always_sources(&self) -> Vec<Prefix> {
        self.with_sessions(&self.extra_sources)
    }

    /// What is in D'(p) whatever the routes say, besides our own addresses: its session addresses (BFD's echo comes
    /// back by us), and what the operator adds.
    #[must_use]
    pub fn always_destinations(&self) -> Vec<Prefix> {
        self.with_sessions(&self.extra_destinations)
    }

    fn with_sessions(&self, extras: &[Prefix]) -> Vec<Prefix> {
        let sessions = self
            .session_addresses()
            .map(Address::from)
            .map(Prefix::host);
        extras.iter().copied().chain(sessions).collect()
    }
}

/// One place a peer is connected at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// `interface`. Required.
    pub interface: InterfaceId,
    /// `vlan` and `inner_vlan`, 1–4094. Default: untagged.
    pub vlans: Vlans,
    /// `addresses` of its BGP sessions; MACs are learned from the neighbour table. Default: none.
    pub addresses: Vec<IpAddr>,
    /// `macs`, added to the learned ones. Default: none; on a `port` that means any.
    pub macs: Vec<Mac>,
    /// `route_distinguisher` of the router its sessions are in, by its route distinguisher. Default: the global instance.
    pub vrf: Option<Vrf>,
}

impl Attachment {
    /// Untagged on this interface, with sessions at these addresses.
    #[must_use]
    pub fn new(interface: InterfaceId, addresses: Vec<IpAddr>) -> Self {
        Self {
            interface,
            vlans: Vlans::default(),
            addresses,
            macs: Vec::new(),
            vrf: None,
        }
    }

    /// Its BGP sessions.
    pub fn sessions(&self) -> impl Iterator<Item = Session> + '_ {
        sessions(&self.addresses, self.vrf)
    }
}

fn sessions(addresses: &[IpAddr], vrf: Option<Vrf>) -> impl Iterator<Item = Session> + '_ {
    addresses
        .iter()
        .map(move |&address| Session::of(address, vrf))
}

/// Whom our announcements to a route server reach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// Every peer on its interface. The default.
    #[default]
    All,
    /// Nobody: its routes count as sources only.
    None,
    /// These networks.
    Listed(Vec<Asn>),
    /// Whom the communities of each announcement name (`0:peer`, `rs:peer`).
    Communities,
}

/// `[[route_server]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteServer {
    /// `name`. Required.
    pub name: String,
    /// `asn`. Required.
    pub asn: Asn,
    /// `interface` of the exchange. Required.
    pub interface: InterfaceId,
    /// `addresses` of its BGP sessions. Required.
    pub addresses: Vec<IpAddr>,
    /// `our_routes_reach`. Default `all`.
    pub our_routes_reach: Reach,
    /// `route_distinguisher` of the router its sessions are in. Default: the global instance.
    pub vrf: Option<Vrf>,
}

impl RouteServer {
    /// Its BGP sessions.
    pub fn sessions(&self) -> impl Iterator<Item = Session> + '_ {
        sessions(&self.addresses, self.vrf)
    }
}

/// What happens when the daemon has not renewed the lease for its whole length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnLeaseEnd {
    /// Every peer falls back to `observe`. The default.
    #[default]
    Observe,
    /// Enforcement stays.
    Keep,
}

/// `[timers]`: seconds, or `"30s"`, `"10m"`, `"1h"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// `withdraw_hold`: how long a withdrawn prefix stays valid. Default 30 s.
    pub withdraw_hold: Duration,
    /// `peer_down_hold`: how long a peer's sets outlive its sessions. Default 120 s.
    pub peer_down_hold: Duration,
    /// `restart_max`: how long a peer's sets outlive its sessions at most where graceful restart asks for more than
    /// `peer_down_hold`. Default 600 s.
    pub restart_max: Duration,
    /// `stale_hold`: how long tables outlive their feed. Default 300 s.
    pub stale_hold: Duration,
    /// `settle_max`: how long a table that is being received is waited for at most, once anything of it came. Default
    /// 300 s.
    pub settle_max: Duration,
    /// `station_hold`: how long a MAC stays a peer's after the peer's address left it, and after its last frame. Default 24 h.
    pub station_hold: Duration,
    /// `lease`: how long enforcement outlives the daemon. Default 60 s, at least 5 s.
    pub lease: Duration,
    /// `on_lease_end`. Default `observe`.
    pub on_lease_end: OnLeaseEnd,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            withdraw_hold: Duration::from_secs(30),
            peer_down_hold: Duration::from_secs(120),
            restart_max: Duration::from_secs(600),
            stale_hold: Duration::from_secs(300),
            settle_max: Duration::from_secs(300),
            station_hold: Duration::from_secs(24 * 3600),
            lease: Duration::from_secs(60),
            on_lease_end: OnLeaseEnd::Observe,
        }
    }
}

/// `[limits]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `max_peers` the maps are made for. Default 1024.
    pub max_peers: u32,
    /// `table_memory_mib`: memory of the compiled tables, in MiB. Default 64.
    pub table_memory_mib: u32,
    /// `samples_per_second` and peer. Default 10; 0 for none.
    pub samples_per_second: u32,
    /// `icmp_errors_per_second` that may pass to a peer's account, and as many that say "packet too big". Default 1,000;
    /// 0 for none.
    pub icmp_errors_per_second: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_peers: 1024,
            table_memory_mib: 64,
            samples_per_second: 10,
            icmp_errors_per_second: 1_000,
        }
    }
}
