//! The worlds the cases happen in: an interface, its peers, their routes, all as text, so that every engine
//! reads them with its own parser. Never holds anything compiled or derived.

use filter_core::Mode;

/// One interface and everybody behind it.
#[derive(Debug)]
pub struct World {
    /// The section of the case file.
    pub name: &'static str,
    /// Our MAC.
    pub mac: &'static str,
    /// Our addresses on the interface.
    pub addresses: &'static [&'static str],
    /// The peering LAN.
    pub lan: &'static [&'static str],
    /// `[router] prefixes`.
    pub ours: &'static [&'static str],
    /// `[router] bogon_exceptions`.
    pub bogon_exceptions: &'static [&'static str],
    /// `non_ip = "violation"`?
    pub non_ip_violates: bool,
    /// Kind `port`: a peer may have any MAC.
    pub any_mac: bool,
    /// Who is there.
    pub peers: &'static [Peer],
}

/// One peer.
#[derive(Debug)]
pub struct Peer {
    /// As the case file calls it.
    pub name: &'static str,
    /// Which IP versions it is configured for.
    pub families: &'static [u8],
    /// Outer VLAN, inner VLAN, source MAC (`*` for any).
    pub stations: &'static [(u16, u16, &'static str)],
    /// What it advertises to us.
    pub advertises: &'static [&'static str],
    /// `extra_sources`.
    pub extra_sources: &'static [&'static str],
    /// What we advertise to it.
    pub advertised: &'static [&'static str],
    /// `extra_destinations`.
    pub extra_destinations: &'static [&'static str],
}

/// What violations meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Modes {
    /// Those of every peer.
    pub peers: Mode,
    /// Those of nobody known.
    pub unknown: Mode,
}

impl Modes {
    /// Everybody is observed.
    pub const OBSERVE: Self = Self::new(Mode::Observe, Mode::Observe);
    /// Everybody is held to the policy.
    pub const ENFORCE: Self = Self::new(Mode::Enforce, Mode::Enforce);
    /// Both modes, alike and mixed.
    pub const ALL: [Self; 4] = [
        Self::OBSERVE,
        Self::ENFORCE,
        Self::new(Mode::Observe, Mode::Enforce),
        Self::new(Mode::Enforce, Mode::Observe),
    ];

    const fn new(peers: Mode, unknown: Mode) -> Self {
        Self { peers, unknown }
    }
}

const PEERS: &[Peer] = &[
    Peer {
        name: "icrc",
        families: &[4, 6],
        stations: &[(0, 0, "02:00:00:00:00:10"), (0, 0, "02:00:00:00:00:11")],
        advertises: &["45.146.194.0/23", "2a13:47c0:146::/48"],
        extra_sources: &[],
        advertised: &["198.51.100.0/24", "2001:db8:100::/40"],
        extra_destinations: &[],
    },
    // AS214312 is IPv6-only; that its sets hold IPv4 as well shows that the family is asked first.
    Peer {
        name: "speed",
        families: &[6],
        stations: &[(0, 0, "02:00:00:00:00:20")],
        advertises: &["193.0.24.0/21", "2a0f:85c1:2143::/48"],
        extra_sources: &[],
        advertised: &["198.51.100.0/24", "2001:db8:100::/40"],
        extra_destinations: &[],
    },
    Peer {
        name: "tagged",
        families: &[4, 6],
        stations: &[(100, 0, "02:00:00:00:00:30")],
        advertises: &["193.0.0.0/21", "2001:67c:2e8::/48"],
        extra_sources: &[],
        advertised: &["198.51.100.0/25", "2001:db8:100::/48"],
        extra_destinations: &[],
    },
    Peer {
        name: "qinq",
        families: &[4],
        stations: &[(7, 9, "02:00:00:00:00:40")],
        advertises: &["193.0.10.0/23"],
        extra_sources: &[],
        advertised: &["198.51.100.0/24"],
        extra_destinations: &[],
    },
    // The MAC of `icrc` in another VLAN is somebody else.
    Peer {
        name: "twin",
        families: &[4],
        stations: &[(200, 0, "02:00:00:00:00:10")],
        advertises: &["193.0.12.0/23"],
        extra_sources: &[],
        advertised: &["198.51.100.0/24"],
        extra_destinations: &[],
    },
    // Announces what nobody may, and has an operator's word for parts of it.
    Peer {
        name: "leaky",
        families: &[4, 6],
        stations: &[(0, 0, "02:00:00:00:00:50")],
        advertises: &[
            "10.0.0.0/8",
            "198.51.100.0/25",
            "203.0.113.0/24",
            "45.146.196.0/24",
            "2001:db8::/32",
            "fc00::/7",
        ],
        extra_sources: &[
            "10.20.0.0/16",
            "198.51.100.64/28",
            "203.0.113.240/28",
            "2001:db8:100:40::/60",
            "fd00:20::/32",
        ],
        advertised: &["198.51.100.0/24", "2001:db8:100::/40"],
        extra_destinations: &["192.0.2.0/28", "2001:db8:dddd::/48"],
    },
    Peer {
        name: "empty",
        families: &[4, 6],
        stations: &[(0, 0, "02:00:00:00:00:60")],
        advertises: &[],
        extra_sources: &[],
        advertised: &[],
        extra_destinations: &[],
    },
];

/// An exchange's LAN with many peers.
pub const LAN: World = World {
    name: "lan",
    mac: "02:00:00:00:00:01",
    addresses: &["203.0.113.1", "2001:db8:ffff::1", "fe80::1"],
    lan: &["203.0.113.0/24", "2001:db8:ffff::/64"],
    ours: &["198.51.100.0/24", "2001:db8:100::/40"],
    bogon_exceptions: &["198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32"],
    non_ip_violates: false,
    any_mac: false,
    peers: PEERS,
};

/// The same, but only ARP and IP are welcome and no special-purpose block is excepted.
pub const STRICT: World = World {
    name: "strict",
    bogon_exceptions: &[],
    non_ip_violates: true,
    ..LAN
};

/// A private interconnect: whoever sends is the one peer, except where a MAC is named.
pub const PORT: World = World {
    name: "port",
    mac: "02:00:00:00:00:01",
    addresses: &["203.0.113.2", "2001:db8:ffff::2"],
    lan: &["203.0.113.2/31", "2001:db8:ffff::2/127"],
    ours: &["198.51.100.0/24", "2001:db8:100::/40"],
    bogon_exceptions: &[],
    non_ip_violates: false,
    any_mac: true,
    peers: &[
        Peer {
            name: "anybody",
            families: &[4, 6],
            stations: &[(0, 0, "*")],
            advertises: &["45.146.194.0/23", "2a13:47c0:146::/48"],
            extra_sources: &[],
            advertised: &["198.51.100.0/24", "2001:db8:100::/40"],
            extra_destinations: &[],
        },
        Peer {
            name: "named",
            families: &[4],
            stations: &[(0, 0, "02:00:00:00:00:20")],
            advertises: &["193.0.0.0/21"],
            extra_sources: &[],
            advertised: &["198.51.100.0/24"],
            extra_destinations: &[],
        },
        Peer {
            name: "tagged",
            families: &[4],
            stations: &[(100, 0, "*")],
            advertises: &["193.0.10.0/23"],
            extra_sources: &[],
            advertised: &["198.51.100.0/24"],
            extra_destinations: &[],
        },
    ],
};

/// All worlds.
pub const ALL: [&World; 3] = [&LAN, &STRICT, &PORT];

/// The world of this section.
#[must_use]
pub fn named(name: &str) -> Option<&'static World> {
    ALL.into_iter().find(|world| world.name == name)
}
