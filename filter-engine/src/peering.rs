//! From the specification to the loader's words and to the whole policy in memory, by which captures are judged and
//! single packets explained. Pure: no device is looked at.
use std::collections::BTreeMap;

use filter_core::layout::Interface as Record;
use filter_core::userspace::{self, Peering};
use filter_lifecycle::policy::{Link, Routes, Withheld, destination_side, source_side, stations};
use filter_lifecycle::route::PeerId;
use filter_lifecycle::spec::{Interface, InterfaceId, InterfaceKind, Peer, Spec};
use filter_loader::InterfaceSpec;

/// What the loader is told of an interface.
#[must_use]
pub fn interface_spec(link: &Link, interface: &Interface) -> InterfaceSpec {
    InterfaceSpec {
        name: interface.name.clone(),
        mac: link.mac,
        addresses: link.addresses.clone(),
        lan: interface.lan.clone(),
        non_ip: interface.non_ip,
        unknown_peer: interface.unknown_peer,
        any_mac: interface.kind == InterfaceKind::Port,
    }
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
