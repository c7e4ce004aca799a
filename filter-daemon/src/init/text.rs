//! From what was found to a commented configuration. Pure.
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::IpAddr;

use filter_core::{Asn, Family, Prefix};
use filter_feeds::discover::Neighbour;

use super::{Device, Found};
use crate::config::toml_string;

/// Stands for an AS number that is not known: one for documentation, of which `check-config` warns.
const UNKNOWN_ASN: u32 = 64500;

/// One place of a peer: where, and its addresses there.
#[derive(Debug, Default)]
struct Place<'a> {
    device: Option<&'a Device>,
    neighbours: Vec<&'a Neighbour>,
}

/// The peers by AS number, and their places by the devices' order.
type Peers<'a> = BTreeMap<Asn, BTreeMap<usize, Place<'a>>>;

/// The configuration. It parses, and drops nothing.
#[must_use]
pub fn text(found: &Found) -> String {
    let ours = found.local_asn();
    let mut peers = Peers::new();
    let mut left_out = Vec::new();
    for neighbour in found.neighbours() {
        let mut devices = found.devices.iter().enumerate();
        let on = devices.find(|(_, device)| device.subnet_of(neighbour.address).is_some());
        match on {
            Some((index, device)) if ours != Some(neighbour.asn) => {
                let places = peers.entry(neighbour.asn).or_default();
                let place = places.entry(index).or_default();
                place.device = Some(device);
                let is_new = |other: &&Neighbour| other.address != neighbour.address;
                if place.neighbours.iter().all(is_new) {
                    place.neighbours.push(neighbour);
                }
            }
            Some(_) => left_out.push((neighbour, "our own AS: iBGP")),
            None => left_out.push((neighbour, "on no subnet of a device here: multihop or down")),
        }
    }
    let mut text = String::new();
    router(&mut text, found, ours);
    interfaces(&mut text, found, &peers);
    for (asn, places) in &peers {
        peer(&mut text, found, *asn, places);
    }
    for (neighbour, why) in left_out {
        let Neighbour { address, asn, .. } = neighbour;
        _ = writeln!(text, "\n# Left out: {address}, AS{asn}: {why}.");
    }
    feeds(&mut text, found);
    text
}

fn router(text: &mut String, found: &Found, ours: Option<Asn>) {
    let daemons: Vec<String> = found
        .routers
        .iter()
        .map(|router| format!("{} ({})", router.kind, router.socket.display()))
        .collect();
    let daemons = match daemons.as_slice() {
        [] => "no routing daemon was found".to_owned(),
        daemons => format!("sessions are those of {}", daemons.join(" and ")),
    };
    let asn_comment = match ours {
        Some(_) => "ours, as the sessions say",
        None => "CHANGE: ours; none of the sessions says it",
    };
    let asn = ours.unwrap_or(Asn::new(UNKNOWN_ASN));
    _ = write!(
        text,
        "# Written by `bcp38 init`: {daemons}. Nothing is dropped: every peer is observed.\n\
         # Look at what says CHANGE, then: bcp38 check-config FILE\n\n\
         [router]\n\
         asn = {asn}                                # {asn_comment}\n\
         prefixes = []                              # CHANGE: our own prefixes: never valid as a source from outside\n"
    );
}

/// Those that a peer is on, one section each: the VLANs of a trunk share it.
fn interfaces(text: &mut String, found: &Found, peers: &Peers<'_>) {
    let mut written: Vec<&str> = Vec::new();
    let used = |index: usize| peers.values().any(|places| places.contains_key(&index));
    let mut devices = found.devices.iter().enumerate();
    let any_used = devices.any(|(index, _)| used(index));
    for (index, device) in found.devices.iter().enumerate() {
        let name = device.name.as_str();
        if written.contains(&name) || (any_used && !used(index)) {
            continue;
        }
        written.push(name);
        let same = |&(_, other): &(usize, &Device)| other.name == device.name;
        let all: Vec<(usize, &Device)> = found.devices.iter().enumerate().filter(same).collect();
        let lans = lans(found, &all, peers);
        _ = write!(text, "\n[[interface]]\nname = {}\n", toml_string(name));
        if lans.is_empty() {
            _ = writeln!(
                text,
                "kind = \"port\"                              # one peer per VLAN"
            );
        } else {
            _ = writeln!(
                text,
                "kind = \"lan\"                               # several peers, which differ by their MACs"
            );
            _ = writeln!(text, "lan = {}", list(&lans));
            if let Some(export) = &found.exchange.export {
                _ = writeln!(text, "ixf = {}", toml_string(&export.display().to_string()));
            }
        }
        if !any_used {
            _ = writeln!(
                text,
                "# CHANGE: no session is on any device here; this is only the first device"
            );
            return;
        }
    }
    if written.is_empty() {
        _ = write!(
            text,
            "\n[[interface]]\nname = \"eth0\"                              # CHANGE: no device that is up was found\nkind = \"port\"\n"
        );
    }
}

/// The LAN prefixes of a device: where an exchange says so, where several peers are, or a route server.
fn lans(found: &Found, devices: &[(usize, &Device)], peers: &Peers<'_>) -> Vec<Prefix> {
    let mut lans: Vec<Prefix> = Vec::new();
    for &(index, device) in devices {
        let members: Vec<(&Asn, &Place<'_>)> = peers
            .iter()
            .filter_map(|(asn, places)| Some((asn, places.get(&index)?)))
            .collect();
        let is_server = |(asn, _): &(&Asn, &Place<'_>)| found.exchange.route_servers.contains(asn);
        let is_shared = members.len() > 1 || members.iter().any(is_server);
        let neighbours = || members.iter().flat_map(|(_, place)| &place.neighbours);
        let subnets = device.subnets.iter().copied();
        for subnet in subnets.filter(|&it| !super::is_link_local(it)) {
            let has_peer = neighbours().any(|it| subnet.contains(it.address.into()));
            let is_lan = found.exchange.lans.contains(&subnet) || (is_shared && has_peer);
            if is_lan && !lans.contains(&subnet) {
                lans.push(subnet);
            }
        }
    }
    lans
}

fn peer(text: &mut String, found: &Found, asn: Asn, places: &BTreeMap<usize, Place<'_>>) {
    let all: Vec<&Neighbour> = places
        .values()
        .flat_map(|place| &place.neighbours)
        .copied()
        .collect();
    let is_server = found.exchange.route_servers.contains(&asn);
    let descriptions: Vec<&str> = all
        .iter()
        .filter_map(|it| it.description.as_deref())
        .collect();
    let comment = descriptions
        .first()
        .map(|text| printable(text))
        .unwrap_or_default();
    if is_server {
        for (number, place) in (1..).zip(places.values()) {
            // Names are unique, and one route server may be on several LANs.
            let more = if number > 1 {
                format!("-{number}")
            } else {
                String::new()
            };
            let comment = behind(&comment);
            _ = writeln!(
                text,
                "\n[[route_server]]\nname = \"rs{asn}{more}\"{comment}\nasn = {asn}"
            );
            attachment(text, place, false);
        }
        return;
    }
    _ = writeln!(
        text,
        "\n[[peer]]\nname = \"as{asn}\"{}\nasn = {asn}",
        behind(&comment)
    );
    let mut places = places.values();
    if let Some(first) = places.next() {
        attachment(text, first, true);
    }
    max_prefixes(text, found, asn, &all);
    _ = writeln!(text, "mode = \"observe\"");
    for place in places {
        _ = writeln!(text, "[[peer.attachment]]");
        attachment(text, place, true);
    }
}

fn behind(comment: &str) -> String {
    match comment {
        "" => String::new(),
        comment => format!("                              # {comment}"),
    }
}

fn attachment(text: &mut String, place: &Place<'_>, with_vlan: bool) {
    let Some(device) = place.device else { return };
    _ = writeln!(text, "interface = {}", toml_string(&device.name));
    let addresses: Vec<IpAddr> = place.neighbours.iter().map(|it| it.address).collect();
    _ = writeln!(text, "addresses = {}", list(&addresses));
    if let Some(vlan) = device.vlan.filter(|_| with_vlan) {
        _ = writeln!(text, "vlan = {vlan}");
    }
}

/// The sessions' own limits, else what the network advises.
fn max_prefixes(text: &mut String, found: &Found, asn: Asn, neighbours: &[&Neighbour]) {
    let advised = found.exchange.limits.get(&asn).copied().unwrap_or_default();
    let limit = |family: Family| {
        let own = neighbours
            .iter()
            .filter_map(|it| it.max_prefixes.get(family as usize).copied().flatten());
        own.max()
            .or(advised.get(family as usize).copied().flatten())
    };
    let limits: Vec<String> = Family::ALL
        .map(|family| Some(format!("{family} = {}", limit(family)?)))
        .into_iter()
        .flatten()
        .collect();
    if limits.is_empty() {
        _ = writeln!(
            text,
            "# max_prefixes = {{ ipv4 = 100, ipv6 = 100 }} # CHANGE: its sessions have no limit; none here: no limit"
        );
    } else {
        _ = writeln!(text, "max_prefixes = {{ {} }}", limits.join(", "));
    }
}

fn feeds(text: &mut String, found: &Found) {
    for router in &found.routers {
        _ = write!(
            text,
            "\n[[feed]]                                   # polled once a minute; `bmp` follows at once: docs/feeds.md\n\
             kind = \"{}\"\nsocket = {}\n",
            router.kind,
            toml_string(&router.socket.display().to_string())
        );
    }
    if found.routers.is_empty() {
        text.push_str(
            "\n[[feed]]                                   # CHANGE: where the routes come from\n\
             kind = \"bmp\"\nlisten = \"127.0.0.1:11019\"\n",
        );
    }
}

fn list<T: ToString>(elements: &[T]) -> String {
    let all: Vec<String> = elements
        .iter()
        .map(|each| toml_string(&each.to_string()))
        .collect();
    format!("[{}]", all.join(", "))
}

/// For a comment: one line, and nothing that a terminal obeys.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(80).collect()
}
