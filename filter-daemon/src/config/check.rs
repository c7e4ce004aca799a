//! What the sections of a configuration mean to each other: names and stations that collide, references, limits.
//! Only looks: nothing is changed or filled in here.
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use filter_core::layout::{ANY_MAC, MAX_LANS, MAX_OWN_ADDRESSES, TooMany};
use filter_core::packet::{Mac, Vlans};
use filter_core::{Address, Asn, Family, Mode, Prefix};

use super::error::{ConfigError, Oddity, Problem, Warning};
use super::parse::{Read, Sections};
use super::section::{Item, Section};
use super::{Config, Feed, parse_feed};
use filter_lifecycle::admission::{Provenance, admit};
use filter_lifecycle::policy::Withheld;
use filter_lifecycle::route::{AdjRib, Session, Vrf};
use filter_lifecycle::spec::{Attachment, Interface, InterfaceId, InterfaceKind, Peer, Reach};

pub(super) fn sections(
    sections: &Sections<'_>,
    warnings: &mut Vec<Warning>,
) -> Result<(), ConfigError> {
    router(sections, warnings)?;
    for interface in &sections.interfaces {
        fits(interface)?;
    }
    as_numbers(sections)?;
    session_addresses(sections, warnings)?;
    stations(sections, warnings)?;
    feeds(sections)?;
    let (found, limit) = (sections.peers.len(), sections.limits.max_peers as usize);
    match sections.peers.get(limit) {
        None => Ok(()),
        Some(first_over) => Err(first_over.section.error(
            None,
            Problem::Limit {
                found,
                limit,
                advice: "raise `max_peers` in [limits]",
            },
        )),
    }
}

/// Before anything refers to them by name.
pub(super) fn names<T>(read: &[Read<'_, T>], name: impl Fn(&T) -> &str) -> Result<(), ConfigError> {
    let mut lines = BTreeMap::new();
    for Read { value, section } in read {
        if let Some(line) = lines.insert(name(value), section.line()) {
            let what = "name";
            let item = section.require("name")?;
            return Err(item.error(Problem::Duplicate { what, line }));
        }
    }
    Ok(())
}

/// `observe` and `enforce` take the name of a peer or of an interface: no name is of both.
pub(super) fn switchable(
    peers: &[Read<'_, Peer>],
    interfaces: &[Read<'_, Interface>],
) -> Result<(), ConfigError> {
    for Read { value, section } in peers {
        let mut others = interfaces.iter();
        if let Some(other) = others.find(|other| other.value.name == value.name) {
            let line = other.section.line();
            return Err(section
                .require("name")?
                .error(Problem::InterfaceName { line }));
        }
    }
    Ok(())
}

fn router(sections: &Sections<'_>, warnings: &mut Vec<Warning>) -> Result<(), ConfigError> {
    let Read { value, section } = &sections.router;
    refuse_everything(section, "prefixes", &value.prefixes)?;
    if value.prefixes.is_empty() {
        warnings.push(section.warning_of("prefixes", Oddity::NoPrefixes));
    }
    Ok(())
}

/// A default route in these lists would void every peer's sources.
fn refuse_everything(
    section: &Section<'_>,
    key: &'static str,
    prefixes: &[Prefix],
) -> Result<(), ConfigError> {
    let mut read = section.list(key)?.into_iter().zip(prefixes);
    match read.find(|(_, prefix)| prefix.len() == 0) {
        Some((item, _)) => Err(item.error(Problem::DefaultRoute)),
        None => Ok(()),
    }
}

/// Do the lists of an interface fit into the data plane's record?
fn fits(read: &Read<'_, Interface>) -> Result<(), ConfigError> {
    let Read { value, section } = read;
    refuse_everything(section, "lan", &value.lan)?;
    let lan = value.lan.iter().map(|lan| lan.family());
    fits_in(section, "lan", lan, MAX_LANS)?;
    let addresses = value
        .addresses
        .iter()
        .flatten()
        .map(|&address| Address::from(address).family);
    fits_in(section, "addresses", addresses, MAX_OWN_ADDRESSES)
}

fn fits_in(
    section: &Section<'_>,
    what: &'static str,
    families: impl Iterator<Item = Family>,
    limit: usize,
) -> Result<(), ConfigError> {
    let mut used = [0; Family::ALL.len()];
    for (family, item) in families.zip(section.list(what)?) {
        used[family as usize] += 1;
        if used[family as usize] > limit {
            return Err(item.error(Problem::TooMany(TooMany {
                what,
                family: Some(family),
                limit,
            })));
        }
    }
    Ok(())
}

fn as_numbers(sections: &Sections<'_>) -> Result<(), ConfigError> {
    let ours = sections.router.value.asn;
    let mut peers: BTreeMap<Asn, &str> = BTreeMap::new();
    for Read { value, section } in &sections.peers {
        let item = section.require("asn")?;
        if value.asn == ours {
            return Err(item.error(Problem::OwnAsn));
        }
        if let Some(other) = peers.insert(value.asn, section.place()) {
            let other = other.to_owned();
            return Err(item.error(Problem::SameAsn { other }));
        }
    }
    let servers = sections
        .route_servers
        .iter()
        .map(|read| (read.value.asn, &read.section));
    let shadows = sections.feeds.iter().filter_map(|read| match read.value {
        Feed::Shadow { asn, .. } => Some((asn, &read.section)),
        _ => None,
    });
    match servers.chain(shadows).find(|(asn, _)| *asn == ours) {
        Some((_, section)) => Err(section.require("asn")?.error(Problem::OwnAsn)),
        None => Ok(()),
    }
}

/// Every address names one thing in its VRF: ours on an interface, or a session of one peer or route server. A
/// link-local one does so per interface.
#[derive(Default)]
struct Addresses(BTreeMap<(Session, Option<InterfaceId>), String>);

impl Addresses {
    fn claim(
        &mut self,
        session: Session,
        interface: InterfaceId,
        item: &Item<'_>,
        owner: &str,
    ) -> Result<(), ConfigError> {
        let scope = is_link_local(session.address).then_some(interface);
        match self.0.insert((session, scope), owner.to_owned()) {
            Some(other) if other != owner => Err(item.error(Problem::SameAddress { other })),
            _ => Ok(()),
        }
    }
}

/// On one wire an address is one neighbour's, whatever the VRFs: frames of two would look alike.
#[derive(Default)]
struct Neighbours<'a>(BTreeMap<(IpAddr, InterfaceId, Vlans), &'a str>);

impl<'a> Neighbours<'a> {
    fn claim(
        &mut self,
        address: IpAddr,
        attachment: &Attachment,
        item: &Item<'_>,
        owner: &'a str,
    ) -> Result<(), ConfigError> {
        let wire = (address, attachment.interface, attachment.vlans);
        match self.0.insert(wire, owner) {
            Some(other) if other != owner => {
                let other = other.to_owned();
                Err(item.error(Problem::SameAddress { other }))
            }
            _ => Ok(()),
        }
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

fn session_addresses(
    sections: &Sections<'_>,
    warnings: &mut Vec<Warning>,
) -> Result<(), ConfigError> {
    let mut claimed = Addresses::default();
    let mut neighbours = Neighbours::default();
    for (id, Read { value, section }) in (0..).map(InterfaceId).zip(&sections.interfaces) {
        let vrfs = vrfs_of(sections, id);
        let addresses = value.addresses.iter().flatten();
        for (&address, item) in addresses.zip(section.list("addresses")?) {
            // The same address on several of our interfaces (unnumbered links) is no mistake.
            let scope = is_link_local(address).then_some(id);
            for &vrf in &vrfs {
                let ours = Session::of(address, vrf);
                claimed.0.insert((ours, scope), section.place().to_owned());
            }
            warn_outside_lan(value, address, &item, warnings);
        }
    }
    let peers = sections.peers.iter().zip(&sections.attachments);
    for (peer, places) in peers {
        let owner = peer.section.place();
        warn_of_other_family(peer, warnings)?;
        for (attachment, section) in peer.value.attachments.iter().zip(places) {
            let interface = &sections.interfaces[usize::from(attachment.interface.0)].value;
            for (session, item) in attachment.sessions().zip(section.list("addresses")?) {
                claimed.claim(session, attachment.interface, &item, owner)?;
                neighbours.claim(session.address, attachment, &item, owner)?;
                warn_outside_lan(interface, session.address, &item, warnings);
            }
        }
    }
    for Read { value, section } in &sections.route_servers {
        let interface = &sections.interfaces[usize::from(value.interface.0)].value;
        if interface.kind == InterfaceKind::Port {
            let item = section.require("interface")?;
            return Err(item.error(Problem::OnPort {
                interface: interface.name.clone(),
                what: "route servers",
            }));
        }
        for (session, item) in value.sessions().zip(section.list("addresses")?) {
            claimed.claim(session, value.interface, &item, section.place())?;
            warn_outside_lan(interface, session.address, &item, warnings);
        }
    }
    Ok(())
}

/// The global instance, and the VRFs of whoever is on the interface.
fn vrfs_of(sections: &Sections<'_>, id: InterfaceId) -> BTreeSet<Option<Vrf>> {
    let peers = sections.peers.iter();
    let attachments = peers.flat_map(|peer| &peer.value.attachments);
    let here = attachments.map(|each| (each.interface, each.vrf));
    let servers = sections
        .route_servers
        .iter()
        .map(|server| (server.value.interface, server.value.vrf));
    let here = here.chain(servers).filter(|(on, _)| *on == id);
    here.map(|(_, vrf)| vrf).chain([None]).collect()
}

fn warn_outside_lan(
    interface: &Interface,
    address: IpAddr,
    item: &Item<'_>,
    warnings: &mut Vec<Warning>,
) {
    let is_inside = |lan: &Prefix| lan.contains(address.into());
    if !interface.lan.is_empty() && !interface.lan.iter().any(is_inside) && !is_link_local(address)
    {
        warnings.push(item.warning(Oddity::OutsideLan(interface.name.clone())));
    }
}

/// A peer of one family whose session addresses are all of the other: routes of its family arrive over sessions of
/// that family, unless an operator has configured otherwise on both sides.
fn warn_of_other_family(
    peer: &Read<'_, Peer>,
    warnings: &mut Vec<Warning>,
) -> Result<(), ConfigError> {
    let has = |family| peer.value.families.contains(family);
    let (families, sessions) = match Family::ALL.map(has) {
        [true, false] => (Family::Ipv4, Family::Ipv6),
        [false, true] => (Family::Ipv6, Family::Ipv4),
        _ => return Ok(()),
    };
    let attachments = peer.value.attachments.iter();
    let mut addresses = attachments.flat_map(|each| &each.addresses).peekable();
    let is_other = |&&address: &&IpAddr| Prefix::host(address.into()).family() == sessions;
    if addresses.peek().is_some() && addresses.by_ref().all(|address| is_other(&address)) {
        let item = peer.section.require("families")?;
        warnings.push(item.warning(Oddity::SessionsOfOtherFamily { families, sessions }));
    }
    Ok(())
}

/// Does every frame belong to one peer?
fn stations(sections: &Sections<'_>, warnings: &mut Vec<Warning>) -> Result<(), ConfigError> {
    let mut stations: BTreeMap<(InterfaceId, Vlans, Mac), &str> = BTreeMap::new();
    let peers = sections.peers.iter().zip(&sections.attachments);
    for (peer, places) in peers {
        for (attachment, section) in peer.value.attachments.iter().zip(places) {
            let interface = &sections.interfaces[usize::from(attachment.interface.0)].value;
            let is_any = attachment.macs.is_empty() && interface.kind == InterfaceKind::Port;
            if attachment.macs.is_empty() && attachment.addresses.is_empty() && !is_any {
                warnings.push(section.warning(Oddity::NoStation));
            }
            let any = [ANY_MAC];
            let macs = if is_any { &any[..] } else { &attachment.macs };
            let items = if is_any {
                Vec::new()
            } else {
                section.list("macs")?
            };
            let place = peer.section.place();
            for (index, &mac) in macs.iter().enumerate() {
                let item = items.get(index);
                if let Some(item) = item.filter(|_| interface.mac == Some(mac)) {
                    return Err(item.error(Problem::OwnMac(interface.name.clone())));
                }
                let key = (attachment.interface, attachment.vlans, mac);
                if let Some(other) = stations.insert(key, place).filter(|&other| other != place) {
                    let problem = same_station(other, &interface.name, attachment);
                    return Err(match item {
                        Some(item) => item.error(problem),
                        None => section.require("interface")?.error(problem),
                    });
                }
            }
        }
    }
    Ok(())
}

fn same_station(other: &str, interface: &str, attachment: &Attachment) -> Problem {
    let Vlans { outer, inner } = attachment.vlans;
    Problem::SameStation {
        other: other.to_owned(),
        interface: interface.to_owned(),
        vlans: match (outer, inner) {
            (0, _) => "untagged".to_owned(),
            (outer, 0) => format!("vlan {outer}"),
            (outer, inner) => format!("vlan {outer}.{inner}"),
        },
    }
}

fn feeds(sections: &Sections<'_>) -> Result<(), ConfigError> {
    let mut listening = BTreeMap::new();
    let peers = sections.peers.iter();
    let attachments = peers.flat_map(|read| &read.value.attachments);
    let servers = sections
        .route_servers
        .iter()
        .flat_map(|read| read.value.sessions());
    let known: BTreeSet<Session> = attachments
        .flat_map(Attachment::sessions)
        .chain(servers)
        .collect();
    for Read { value, section } in &sections.feeds {
        if let Some(listen) = value.listens()
            && let Some(line) = listening.insert(listen, section.line())
        {
            let what = "`listen`";
            let item = section.require("listen")?;
            return Err(item.error(Problem::Duplicate { what, line }));
        }
        let mut named = parse_feed::named_sessions(value).zip(0..);
        if let Some((_, index)) = named.find(|(session, _)| !known.contains(session)) {
            return Err(parse_feed::session_item(section, index)?.error(Problem::UnknownSession));
        }
    }
    Ok(())
}

/// Warns of announcements to route servers whose communities FRR leaves out and no shadow session has.
pub(super) fn scopes(
    config: &Config,
    servers: &[Section<'_>],
    warnings: &mut Vec<Warning>,
) -> Result<(), ConfigError> {
    if !config.feeds.iter().any(|feed| feed.kind() == "frr") {
        return Ok(());
    }
    for (server, section) in config.spec.route_servers.iter().zip(servers) {
        let mut sessions = server.sessions().filter(|session| session.vrf.is_none());
        let unseen =
            sessions.find(|&session| !config.spec.has_shadow(session, AdjRib::OutPostPolicy));
        if let (Reach::Communities, Some(session)) = (&server.our_routes_reach, unseen) {
            let item = section.require("our_routes_reach")?;
            warnings.push(item.warning(Oddity::NoCommunities(session.address)));
        }
    }
    Ok(())
}

/// Warns of what the finished configuration cannot do: static routes that are refused or useless, peers that
/// nothing is known of.
pub(super) fn routes(
    config: &Config,
    peers: &[Section<'_>],
    feeds: &[Section<'_>],
    warnings: &mut Vec<Warning>,
) -> Result<(), ConfigError> {
    let withheld = Withheld::of(&config.spec);
    let mut is_fed = vec![false; config.spec.peers.len()];
    for (feed, section) in config.feeds.iter().zip(feeds) {
        let Feed::Static {
            peer,
            advertised_by_peer,
            advertised_to_peer,
        } = feed
        else {
            is_fed.fill(true);
            continue;
        };
        let peer_id = peer.0 as usize;
        is_fed[peer_id] = true;
        let peer = &config.spec.peers[peer_id];
        let context = withheld.context(peer);
        for (&prefix, item) in advertised_by_peer
            .iter()
            .zip(section.list("advertised_by_peer")?)
        {
            if let Err(refusal) = admit(prefix, &context, Provenance::Static) {
                warnings.push(item.warning(Oddity::Refused(refusal.to_string())));
            }
        }
        let lists = [
            ("advertised_by_peer", advertised_by_peer),
            ("advertised_to_peer", advertised_to_peer),
        ];
        for (key, prefixes) in lists {
            warn_of_families(peer, section, key, prefixes, warnings)?;
        }
    }
    for ((peer, section), is_fed) in config.spec.peers.iter().zip(peers).zip(is_fed) {
        warn_of_families(
            peer,
            section,
            "extra_sources",
            &peer.extra_sources,
            warnings,
        )?;
        let destinations = &peer.extra_destinations;
        warn_of_families(peer, section, "extra_destinations", destinations, warnings)?;
        if !is_fed && peer.mode == Mode::Enforce {
            warnings.push(section.require("mode")?.warning(Oddity::NoFeed));
        }
    }
    Ok(())
}

fn warn_of_families(
    peer: &Peer,
    section: &Section<'_>,
    key: &'static str,
    prefixes: &[Prefix],
    warnings: &mut Vec<Warning>,
) -> Result<(), ConfigError> {
    for (prefix, item) in prefixes.iter().zip(section.list(key)?) {
        if !peer.families.contains(prefix.family()) {
            warnings.push(item.warning(Oddity::FamilyNotPeered(prefix.family())));
        }
    }
    Ok(())
}
