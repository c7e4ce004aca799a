//! From the specification to the loader's words and to the whole policy in memory, by which captures are judged and
//! single packets explained. Pure: no device is looked at.
use std::collections::BTreeMap;
use std::net::IpAddr;

use filter_core::layout::{Interface as Record, MAX_LANS, MAX_OWN_ADDRESSES};
use filter_core::packet::Vlans;
use filter_core::userspace::{self, Peering};
use filter_lifecycle::policy::{Link, Routes, Withheld, destination_side, source_side, stations};
use filter_lifecycle::route::PeerId;
use filter_lifecycle::spec::{Interface, InterfaceId, InterfaceKind, Peer, Spec};
use filter_loader::InterfaceSpec;

/// What the loader is told of an interface.
#[must_use]
pub fn interface_spec(link: &Link, interface: &Interface) -> InterfaceSpec {
    let is_port = interface.kind == InterfaceKind::Port;
    InterfaceSpec {
        name: interface.name.clone(),
        mac: link.mac,
        addresses: as_many_as_fit(link),
        // Behind a port without `lan`, what our own addresses' subnets hold is on the link: a /31 is all there is.
        lan: match interface.lan.as_slice() {
            [] if is_port => link.subnets().into_iter().take(MAX_LANS).collect(),
            lan => lan.to_vec(),
        },
        non_ip: interface.non_ip,
        unknown_peer: interface.unknown_peer,
        any_mac: is_port,
    }
}

/// The record has one list for all tags: configured and untagged addresses come first, what does not fit of those
/// behind tags is left out.
fn as_many_as_fit(link: &Link) -> Vec<IpAddr> {
    let untagged = |address: &IpAddr| {
        let mut tagged = link.networks.keys().filter(|(_, each)| each == address);
        tagged.all(|(vlans, _)| *vlans == Vlans::default())
    };
    let (first, mut tagged): (Vec<IpAddr>, Vec<IpAddr>) = link
        .addresses
        .iter()
        .partition(|&address| untagged(address));
    for is_v4 in [true, false] {
        let mut room = MAX_OWN_ADDRESSES;
        room = room.saturating_sub(first.iter().filter(|each| each.is_ipv4() == is_v4).count());
        tagged.retain(|address| {
            let fits = address.is_ipv4() != is_v4 || room > 0;
            room -= usize::from(fits && address.is_ipv4() == is_v4);
            fits
        });
    }
    [first, tagged].concat()
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
            families: peer.families,
            mode: peer.mode,
            source: source_side(peer, routes, &withheld),
            destination: destination_side(peer, routes, links),
        }
    };
    let record = |(id, link): (&InterfaceId, &Link)| -> Option<Result<(u32, Record), _>> {
        let told = interface_spec(link, spec.interface(*id)?);
        Some(told.record().map(|record| (link.ifindex, record)))
    };
    Ok(Peering {
        peers: spec.peer_ids().map(peer).collect(),
        interfaces: links.iter().filter_map(record).collect::<Result<_, _>>()?,
        stations: stations(spec, links)
            .into_iter()
            .map(|(station, id)| (station, id.0 as usize))
            .collect(),
        bogons: withheld.bogons,
        ours: withheld.ours,
    })
}
