//! From the specification to the loader's words and to the whole policy in memory, by which captures are judged and
//! single packets explained. Pure: no device is looked at.
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use filter_core::layout::{Known, MAX_OWN_ADDRESSES, MAX_OWN_MACS, MAX_SUBNETS, Rules};
use filter_core::packet::Vlans;
use filter_core::userspace::{self, Peering};
use filter_core::{Classes, Family, LanRules, Mode, Prefix};
use filter_lifecycle::policy::{Link, Routes, Withheld, destination_side, source_side, stations};
use filter_lifecycle::route::PeerId;
use filter_lifecycle::spec::{Interface, InterfaceId, InterfaceKind, Peer, Spec};
use filter_loader::{InterfaceSpec, NetworkSpec};

/// What the loader gets to know of an interface: one network behind all tags under which a peer or route server is
/// configured.
#[must_use]
pub fn interface_spec(spec: &Spec, id: InterfaceId, link: &Link) -> Option<InterfaceSpec> {
    let interface = spec.interface(id)?;
    let tags = tags(spec, id).into_iter();
    Some(InterfaceSpec {
        is_port: interface.kind == InterfaceKind::Port,
        passes_lan: interface.lan_rules == LanRules::Pass,
        networks: tags
            .map(|vlans| (vlans, network(interface, link, vlans)))
            .collect(),
        macs: link.macs.iter().copied().take(MAX_OWN_MACS).collect(),
        ..InterfaceSpec::new(&interface.name, link.mac)
    })
}

/// What is on the link under these tags: the configured addresses and those the device receives under them, as many of
/// each family as a record holds.
fn network(interface: &Interface, link: &Link, vlans: Vlans) -> NetworkSpec {
    let tagged = |address: &IpAddr| link.networks.contains_key(&(vlans, *address));
    let elsewhere = |address: &IpAddr| link.networks.keys().any(|(_, each)| each == address);
    let here = |address: &&IpAddr| tagged(address) || !elsewhere(address);
    let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = link
        .addresses
        .iter()
        .filter(here)
        .partition(|address| address.is_ipv4());
    let room = |addresses: Vec<IpAddr>| addresses.into_iter().take(MAX_OWN_ADDRESSES);
    let subnets: BTreeSet<Prefix> = link
        .networks
        .iter()
        .filter(|((tags, _), _)| *tags == vlans)
        .map(|(_, &subnet)| subnet)
        .filter(|&subnet| subnet != Prefix::host(subnet.address()))
        .filter(|subnet| !interface.lan.iter().any(|lan| lan.covers(*subnet)))
        .collect();
    NetworkSpec {
        addresses: room(v4).chain(room(v6)).collect(),
        lan: interface.lan.clone(),
        subnets: of_each_family(subnets, MAX_SUBNETS),
    }
}

fn of_each_family(prefixes: BTreeSet<Prefix>, room: usize) -> Vec<Prefix> {
    let of = |family| {
        let mine = prefixes
            .iter()
            .filter(move |prefix| prefix.family() == family);
        mine.copied().take(room)
    };
    of(Family::Ipv4).chain(of(Family::Ipv6)).collect()
}

/// The tags under which a peer or route server is configured; none where there is none.
fn tags(spec: &Spec, id: InterfaceId) -> BTreeSet<Vlans> {
    let attachments = spec.peers.iter().flat_map(|peer| &peer.attachments);
    let here = attachments.filter(|attachment| attachment.interface == id);
    let mut tags: BTreeSet<Vlans> = here.map(|attachment| attachment.vlans).collect();
    let mut servers = spec.route_servers.iter();
    if tags.is_empty() || servers.any(|server| server.interface == id) {
        tags.insert(Vlans::NONE);
    }
    tags
}

/// Our MACs, and the addresses and subnets of the device, that the interface's record has no room for.
#[must_use]
pub fn left_out(spec: &Spec, id: InterfaceId, link: &Link) -> Vec<String> {
    let (Some(interface), Some(given)) = (spec.interface(id), interface_spec(spec, id, link))
    else {
        return Vec::new();
    };
    let macs = link.macs.iter().filter(|mac| !given.macs.contains(mac));
    let mut left_out: Vec<String> = macs.map(ToString::to_string).collect();
    for (&(vlans, address), &subnet) in &link.networks {
        let Some(network) = given.networks.get(&vlans) else {
            continue; // of tags under which no peer is configured
        };
        if !network.addresses.contains(&address) {
            left_out.push(address.to_string());
        }
        let on_link = network.subnets.contains(&subnet) || subnet == Prefix::host(subnet.address());
        if !on_link && !interface.lan.iter().any(|lan| lan.covers(subnet)) {
            left_out.push(subnet.to_string());
        }
    }
    left_out
}

/// Is a peer or a route server of this interface distinguished by tags?
pub(crate) fn has_tags(spec: &Spec, id: InterfaceId) -> bool {
    tagged_networks(spec, id) > 0
}

/// The networks behind tags that an interface needs places for.
pub(crate) fn tagged_networks(spec: &Spec, id: InterfaceId) -> usize {
    tags(spec, id)
        .into_iter()
        .filter(|&vlans| vlans != Vlans::NONE)
        .count()
}

/// The classes that an interface's configuration enforces.
#[must_use]
pub fn interface_classes(interface: &Interface) -> Classes {
    let unknown = Classes::UNKNOWN
        .with(Classes::MALFORMED)
        .when(interface.unknown_peer == Mode::Enforce);
    unknown.with(Classes::LAN.when(interface.lan_rules == LanRules::Enforce))
}

/// The classes that a peer's configuration enforces.
#[must_use]
pub fn peer_classes(peer: &Peer) -> Classes {
    peer.enforce.when(peer.mode == Mode::Enforce)
}

/// The whole policy, for the interfaces there is a [`Link`] of. A peer's place in [`Peering::peers`] is its
/// [`PeerId`]; a peer without routes has only its extras and our own addresses.
///
/// # Errors
/// [`filter_loader::Error::InterfaceRecord`] if a device has more addresses than the data plane's record holds.
pub fn compile(
    spec: &Spec,
    routes: &BTreeMap<PeerId, Routes>,
    links: &BTreeMap<InterfaceId, Link>,
) -> Result<Peering, filter_loader::Error> {
    let withheld = Withheld::of(spec);
    let nothing = Routes::default();
    let peer = |(id, peer): (PeerId, &Peer)| {
        let routes = routes.get(&id).unwrap_or(&nothing);
        userspace::Peer {
            rules: Rules {
                families: peer.families,
                known: Known::ALL,
            },
            in_force: peer_classes(peer),
            source: source_side(peer, routes, &withheld),
            destination: destination_side(peer, routes, links),
        }
    };
    let interface = |(&id, link): (&InterfaceId, &Link)| {
        let interface = interface_in_force(spec, id, link)?;
        Some(interface.map(|interface| (link.ifindex, interface)))
    };
    Ok(Peering {
        peers: spec.peer_ids().map(peer).collect(),
        interfaces: links
            .iter()
            .filter_map(interface)
            .collect::<Result<_, _>>()?,
        stations: stations(spec, links)
            .into_iter()
            .map(|(station, id)| (station, id.0 as usize))
            .collect(),
        contested: [].into(), // only a running router learns of claims
        bogons: withheld.bogons,
        ours: withheld.ours,
    })
}

/// One interface as packets in user space find it.
pub(crate) fn interface_in_force(
    spec: &Spec,
    id: InterfaceId,
    link: &Link,
) -> Option<Result<userspace::Interface, filter_loader::Error>> {
    let given = interface_spec(spec, id, link)?;
    let in_force = interface_classes(spec.interface(id)?);
    let records = given.record().and_then(|record| {
        let networks = given.network_records()?;
        Ok(userspace::Interface {
            record,
            networks,
            in_force,
        })
    });
    Some(records)
}
