//! `replay --daemon`: the routes, the MACs and what is in force as the running daemon has them now. Asks it a few times, and
//! changes nothing.
use std::collections::BTreeMap;

use filter_core::layout::{ANY_MAC, Families, Known, Station};
use filter_core::packet::{Mac, Vlans};
use filter_core::{Class, Classes, Family, Prefix};
use filter_lifecycle::policy::{Link, Routes};
use filter_lifecycle::route::PeerId;
use filter_lifecycle::spec::InterfaceId;
use serde_json::Value;

use crate::cli::Failure;
use crate::cli::client::Daemon;
use crate::cli::table::{array, text};
use crate::config::Config;
use crate::control::Request;
use filter_core::userspace::Peering;

/// What the daemon has.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) routes: BTreeMap<PeerId, Routes>,
    known: BTreeMap<PeerId, Known>,
    status: Value,
}

impl Tables {
    /// Of the daemon that this configuration is of.
    ///
    /// # Errors
    /// It does not answer, has no such peer, or has more prefixes than it lists.
    pub(super) fn ask(config: &Config) -> Result<Self, Failure> {
        let daemon = Daemon::of(None, config.daemon.socket.clone());
        let status = daemon.ask(&Request::Status)?;
        let (mut routes, mut known) = (BTreeMap::new(), BTreeMap::new());
        for (id, peer) in config.spec.peer_ids() {
            let request = Request::Prefixes {
                peer: peer.name.clone(),
                within: None,
            };
            let answer = daemon.ask(&request)?;
            let side = |side: &str| valid(&answer[side], &peer.name);
            let of_peer = Routes {
                sources: side("sources")?,
                destinations: side("destinations")?,
            };
            routes.insert(id, of_peer);
            let sides = (
                known_families(&answer["sources"]),
                known_families(&answer["destinations"]),
            );
            known.insert(id, Known::new(sides.0, sides.1));
        }
        Ok(Self {
            routes,
            known,
            status,
        })
    }

    /// Puts the daemon's MACs, what it knows, and what is in force into the policy.
    pub(super) fn apply(
        &self,
        config: &Config,
        links: &BTreeMap<InterfaceId, Link>,
        peering: &mut Peering,
    ) {
        let index = |name: &str| {
            let (id, _) = config.spec.interface_named(name)?;
            Some(links.get(&id)?.ifindex)
        };
        peering.stations.clear();
        peering.contested.clear();
        for (id, peer) in config.spec.peer_ids() {
            let place = id.0 as usize;
            let mut all = array(&self.status, "peers").iter();
            let Some(found) = all.find(|it| text(it, "name") == peer.name) else {
                continue;
            };
            peering.peers[place].in_force = in_force(found);
            peering.peers[place].rules.known = self.known.get(&id).copied().unwrap_or(Known::NONE);
            let stations = array(found, "stations")
                .iter()
                .filter_map(|it| station(it, index(text(it, "interface"))?));
            peering
                .stations
                .extend(stations.map(|station| (station, place)));
        }
        for interface in array(&self.status, "interfaces") {
            let found = index(text(interface, "name"));
            if let Some(here) = found.and_then(|index| peering.interfaces.get_mut(&index)) {
                here.in_force = in_force(interface);
            }
            let contested = array(interface, "contested")
                .iter()
                .filter_map(|it| station(it, found?));
            peering.contested.extend(contested);
        }
    }
}

/// The prefixes of a side that count.
fn valid(side: &Value, peer: &str) -> Result<Vec<Prefix>, Failure> {
    if side["has_more"] == true {
        return Err(Failure::failed(format!(
            "peer `{peer}` has more prefixes than the daemon lists: replay by the dump of an `mrt` feed instead"
        )));
    }
    let counts = |it: &&Value| matches!(text(it, "standing"), "valid" | "held");
    let listed = array(side, "prefixes").iter().filter(counts);
    let prefixes = listed.map(|it| text(it, "prefix").parse());
    prefixes.collect::<Result<_, _>>().map_err(Failure::failed)
}

fn known_families(side: &Value) -> Families {
    let known: Vec<&str> = array(side, "known")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    Families::new(|family| known.contains(&family.name()))
}

fn in_force(holder: &Value) -> Classes {
    let on = array(holder, "classes")
        .iter()
        .filter(|it| it["in_force"] == true);
    let classes = on.filter_map(|it| {
        let class = Class::from_name(text(it, "class"))?;
        let mut families = Family::ALL.into_iter();
        Some(
            match families.find(|family| it["family"] == family.name()) {
                Some(family) => Classes::of_family(class, family),
                None => Classes::of(class),
            },
        )
    });
    classes.fold(Classes::NONE, Classes::with)
}

fn station(station: &Value, ifindex: u32) -> Option<Station> {
    let tag = |key: &str| {
        station[key]
            .as_u64()
            .and_then(|tag| u16::try_from(tag).ok())
            .unwrap_or(0)
    };
    let mac: Mac = match station["mac"].as_str() {
        Some(mac) => mac.parse().ok()?,
        None => ANY_MAC,
    };
    Some(Station {
        ifindex,
        vlans: Vlans {
            outer: tag("vlan"),
            inner: tag("inner_vlan"),
        },
        mac,
    })
}
