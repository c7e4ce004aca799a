//! The worlds the cases happen in: an interface, its peers, their routes, all as text, so that every engine
//! reads them with its own parser. Never holds anything compiled or derived.

/// One interface and everybody behind it.
#[derive(Debug)]
pub struct World {
    /// The section of the case file.
    pub name: &'static str,
    /// Has the interface a record at all?
    pub recorded: bool,
    /// Our MACs.
    pub macs: &'static [&'static str],
    /// The network behind each pair of tags.
    pub networks: &'static [Network],
    /// `[router] prefixes`.
    pub ours: &'static [&'static str],
    /// `[router] bogon_exceptions`.
    pub bogon_exceptions: &'static [&'static str],
    /// `lan_rules = "pass"`?
    pub passes_lan: bool,
    /// Kind `port`: a peer may have any MAC, and there is no LAN but us and it.
    pub is_port: bool,
    /// Who is there.
    pub peers: &'static [Peer],
    /// Stations that two peers claim, and nobody knows whose they are.
    pub contested: &'static [StationText],
}

/// Outer VLAN, inner VLAN, source MAC (`*` for any).
pub type StationText = (u16, u16, &'static str);

/// What is behind some tags.
#[derive(Debug)]
pub struct Network {
    /// Outer and inner VLAN.
    pub vlans: (u16, u16),
    /// Our addresses.
    pub addresses: &'static [&'static str],
    /// The peering LAN.
    pub lan: &'static [&'static str],
    /// Subnets of our addresses outside the LAN.
    pub subnets: &'static [&'static str],
}

/// One peer.
#[derive(Debug)]
pub struct Peer {
    /// As the case file calls it.
    pub name: &'static str,
    /// Which IP versions it is configured for.
    pub families: &'static [u8],
    /// Where its frames come from.
    pub stations: &'static [StationText],
    /// Families whose source side, and whose destination side, is known.
    pub known: (&'static [u8], &'static [u8]),
    /// The addresses of its sessions with us.
    pub sessions: &'static [&'static str],
    /// What it advertises to us.
    pub advertises: &'static [&'static str],
    /// `extra_sources`.
    pub extra_sources: &'static [&'static str],
    /// What we advertise to it.
    pub advertised: &'static [&'static str],
    /// `extra_destinations`.
    pub extra_destinations: &'static [&'static str],
}

/// Everything is known.
const KNOWN: (&[u8], &[u8]) = (&[4, 6], &[4, 6]);

/// Of no peer that anybody knows: of both families, and of neither side anything is known.
pub const UNKNOWN: &Peer = &Peer {
    name: "",
    families: &[4, 6],
    stations: &[],
    known: (&[], &[]),
    sessions: &[],
    advertises: &[],
    extra_sources: &[],
    advertised: &[],
    extra_destinations: &[],
};

const PEERS: &[Peer] = &[
    Peer {
        name: "icrc",
        families: &[4, 6],
        stations: &[(0, 0, "02:00:00:00:00:10"), (0, 0, "02:00:00:00:00:11")],
        known: KNOWN,
        sessions: &[],
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
        known: KNOWN,
        sessions: &[],
        advertises: &["193.0.24.0/21", "2a0f:85c1:2143::/48"],
        extra_sources: &[],
        advertised: &["198.51.100.0/24", "2001:db8:100::/40"],
        extra_destinations: &[],
    },
    Peer {
        name: "tagged",
        families: &[4, 6],
        stations: &[(100, 0, "02:00:00:00:00:30")],
        known: KNOWN,
        sessions: &[],
        advertises: &["193.0.0.0/21", "2001:67c:2e8::/48"],
        extra_sources: &[],
        advertised: &["198.51.100.0/25", "2001:db8:100::/48"],
        extra_destinations: &[],
    },
    Peer {
        name: "qinq",
        families: &[4],
        stations: &[(7, 9, "02:00:00:00:00:40")],
        known: KNOWN,
        sessions: &[],
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
        known: KNOWN,
        sessions: &[],
        advertises: &["193.0.12.0/23"],
        extra_sources: &[],
        advertised: &["198.51.100.0/24"],
        extra_destinations: &[],
    },
    // Announces what no peer may, and the operator configured parts of it by hand.
    Peer {
        name: "leaky",
        families: &[4, 6],
        stations: &[(0, 0, "02:00:00:00:00:50")],
        known: KNOWN,
        sessions: &[],
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
        known: KNOWN,
        sessions: &[],
        advertises: &[],
        extra_sources: &[],
        advertised: &[],
        extra_destinations: &[],
    },
    // Just configured: its routes come in, and nothing is known yet.
    Peer {
        name: "young",
        families: &[4, 6],
        stations: &[(0, 0, "02:00:00:00:00:70")],
        known: (&[], &[]),
        sessions: &[],
        advertises: &["45.147.0.0/16"],
        extra_sources: &[],
        advertised: &["198.51.100.0/25"],
        extra_destinations: &[],
    },
    // A feed that reports what it announces, and not what we announce to it; of IPv6 the other way round.
    Peer {
        name: "half",
        families: &[4, 6],
        stations: &[(0, 0, "02:00:00:00:00:80")],
        known: (&[4], &[6]),
        sessions: &[],
        advertises: &["45.148.0.0/16", "2a0f:1480::/32"],
        extra_sources: &[],
        advertised: &["198.51.100.0/25", "2001:db8:100::/48"],
        extra_destinations: &[],
    },
    Peer {
        name: "bilateral",
        families: &[4, 6],
        stations: &[(0, 0, "02:00:00:00:00:a0")],
        known: KNOWN,
        sessions: &["203.0.113.160", "2001:db8:ffff::a0"],
        advertises: &["45.149.0.0/16"],
        extra_sources: &[],
        advertised: &["198.51.100.0/24"],
        extra_destinations: &[],
    },
];

/// An exchange's LAN with many peers.
pub const LAN: World = World {
    name: "lan",
    recorded: true,
    // Its own, a macvlan device's on it, and a VRRP router's (RFC 9568).
    macs: &[
        "02:00:00:00:00:01",
        "02:00:00:00:00:03",
        "00:00:5e:00:01:0a",
    ],
    networks: &[
        Network {
            vlans: (0, 0),
            addresses: &[
                "203.0.113.1",
                "100.64.7.1",
                "2001:db8:ffff::1",
                "fe80::1",
                "fd07::1",
            ],
            lan: &["203.0.113.0/24", "2001:db8:ffff::/64"],
            subnets: &["100.64.7.0/24", "fd07::/64"],
        },
        Network {
            vlans: (100, 0),
            addresses: &["185.1.0.1", "2001:7f8::1"],
            lan: &["185.1.0.0/24", "2001:7f8::/64"],
            subnets: &[],
        },
        Network {
            vlans: (200, 0),
            addresses: &[],
            lan: &[],
            subnets: &[],
        },
        Network {
            vlans: (7, 9),
            addresses: &[],
            lan: &[],
            subnets: &[],
        },
    ],
    ours: &["198.51.100.0/24", "2001:db8:100::/40"],
    bogon_exceptions: &["198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32"],
    passes_lan: false,
    is_port: false,
    peers: PEERS,
    contested: &[(0, 0, "02:00:00:00:00:98")],
};

/// The same, but no special-purpose block is excepted, and what has no business on the LAN is no peer's violation.
pub const STRICT: World = World {
    name: "strict",
    bogon_exceptions: &[],
    passes_lan: true,
    ..LAN
};

/// An interface without a record: a device that came back, a member that has just joined a bond.
pub const BARE: World = World {
    name: "bare",
    recorded: false,
    networks: &[],
    peers: &[],
    contested: &[],
    ..LAN
};

/// A private interconnect: whoever sends is the one peer, except where a MAC is named.
pub const PORT: World = World {
    name: "port",
    recorded: true,
    macs: &["02:00:00:00:00:01"],
    networks: &[
        Network {
            vlans: (0, 0),
            addresses: &["203.0.113.2", "2001:db8:ffff::2"],
            lan: &["203.0.113.2/31", "2001:db8:ffff::2/127"],
            subnets: &[],
        },
        Network {
            vlans: (100, 0),
            addresses: &[],
            lan: &[],
            subnets: &[],
        },
    ],
    ours: &["198.51.100.0/24", "2001:db8:100::/40"],
    bogon_exceptions: &[],
    passes_lan: false,
    is_port: true,
    peers: &[
        Peer {
            name: "anybody",
            families: &[4, 6],
            stations: &[(0, 0, "*")],
            known: KNOWN,
            sessions: &[],
            advertises: &["45.146.194.0/23", "2a13:47c0:146::/48"],
            extra_sources: &[],
            advertised: &["198.51.100.0/24", "2001:db8:100::/40"],
            extra_destinations: &[],
        },
        Peer {
            name: "named",
            families: &[4],
            stations: &[(0, 0, "02:00:00:00:00:20")],
            known: KNOWN,
            sessions: &[],
            advertises: &["193.0.0.0/21"],
            extra_sources: &[],
            advertised: &["198.51.100.0/24"],
            extra_destinations: &[],
        },
        Peer {
            name: "tagged",
            families: &[4],
            stations: &[(100, 0, "*")],
            known: KNOWN,
            sessions: &[],
            advertises: &["193.0.10.0/23"],
            extra_sources: &[],
            advertised: &["198.51.100.0/24"],
            extra_destinations: &[],
        },
    ],
    contested: &[],
};

/// All worlds.
pub const ALL: [&World; 4] = [&LAN, &STRICT, &PORT, &BARE];

/// The world of this section.
#[must_use]
pub fn named(name: &str) -> Option<&'static World> {
    ALL.into_iter().find(|world| world.name == name)
}
