//! The sessions that FRR or BIRD has configured, for a first configuration: asked once, read-only, over the same control
//! sockets that the feeds poll. Never reads a route, and never decides what is made of a session.
use std::net::IpAddr;
use std::path::Path;

use filter_core::Asn;
use serde::Deserialize;

use crate::Stop;
use crate::bird;
use crate::frr;
use crate::json::{AsNumber, Members};
use crate::poll::{PollConfig, PollError};

/// A session as its router has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The other side's address.
    pub address: IpAddr,
    /// Its AS number.
    pub asn: Asn,
    /// Ours in this session.
    pub local_asn: Option<Asn>,
    /// What the operator calls it.
    pub description: Option<String>,
    /// The limit of prefixes the router itself has, by family: IPv4, IPv6.
    pub max_prefixes: [Option<u32>; 2],
}

/// The sessions of the bgpd behind this vty socket.
///
/// # Errors
/// [`PollError`] if it cannot be asked, or its answer cannot be read.
pub fn frr(socket: &Path) -> Result<Vec<Neighbour>, PollError> {
    let (config, stop) = (PollConfig::default(), Stop::default());
    frr::ask_once(
        socket,
        &config,
        &stop,
        "show bgp neighbors json",
        frr_neighbours,
    )
}

/// The sessions of the BIRD behind this control socket.
///
/// # Errors
/// As [`frr()`].
pub fn bird(socket: &Path) -> Result<Vec<Neighbour>, PollError> {
    let (config, stop) = (PollConfig::default(), Stop::default());
    bird::ask_once(socket, &config, &stop, "show protocols all", |lines| {
        Ok(bird_neighbours(lines))
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FrrNeighbour {
    remote_as: AsNumber,
    local_as: Option<AsNumber>,
    nbr_desc: Option<String>,
    #[serde(default)]
    address_family_info: FrrFamilies,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct FrrFamilies {
    ipv4_unicast: FrrFamily,
    ipv6_unicast: FrrFamily,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct FrrFamily {
    prefix_allowed_max: Option<u32>,
}

/// Neighbours whose names are no addresses (unnumbered sessions), and those without an AS number, are left out.
fn frr_neighbours(text: &[u8]) -> Result<Vec<Neighbour>, String> {
    let all: Members<String, serde_json::Value> =
        serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let read = all.0.into_iter().filter_map(|(name, value)| {
        let address = name.parse().ok()?;
        let read: FrrNeighbour = serde_json::from_value(value).ok()?;
        let families = read.address_family_info;
        Some(Neighbour {
            address,
            asn: read.remote_as.0,
            local_asn: read.local_as.map(|asn| asn.0),
            description: read.nbr_desc,
            max_prefixes: [
                families.ipv4_unicast.prefix_allowed_max,
                families.ipv6_unicast.prefix_allowed_max,
            ],
        })
    });
    let known = read.filter(|neighbour| neighbour.asn != Asn::new(0));
    Ok(known.collect())
}

/// One BGP protocol of BIRD while its lines are read.
#[derive(Default)]
struct BirdProtocol {
    name: String,
    description: Option<String>,
    address: Option<IpAddr>,
    asn: Option<Asn>,
    local_asn: Option<Asn>,
    /// The family of the channel whose lines these are.
    channel: Option<usize>,
    max_prefixes: [Option<u32>; 2],
}

impl BirdProtocol {
    fn line(&mut self, text: &str) {
        let text = text.trim();
        if let Some(channel) = text.strip_prefix("Channel ") {
            self.channel = ["ipv4", "ipv6"].iter().position(|it| *it == channel);
            return;
        }
        let Some((key, value)) = text.split_once(':') else {
            return;
        };
        let value = value.trim();
        match key {
            "Description" => self.description = Some(value.to_owned()),
            "Neighbor address" => {
                // A link-local one has its interface behind it.
                self.address = value.split('%').next().and_then(|text| text.parse().ok());
            }
            "Neighbor AS" => self.asn = value.parse().ok(),
            "Local AS" => self.local_asn = value.parse().ok(),
            "Import limit" | "Receive limit" => {
                if let Some(limit) = self.channel.and_then(|at| self.max_prefixes.get_mut(at)) {
                    *limit = value.split_whitespace().next().and_then(|n| n.parse().ok());
                }
            }
            _ => {}
        }
    }

    fn neighbour(self) -> Option<Neighbour> {
        Some(Neighbour {
            address: self.address?,
            asn: self.asn?,
            local_asn: self.local_asn,
            description: self.description.or(Some(self.name)),
            max_prefixes: self.max_prefixes,
        })
    }
}

fn bird_neighbours(lines: &[(u16, &str)]) -> Vec<Neighbour> {
    let mut found = Vec::new();
    let mut current: Option<BirdProtocol> = None;
    for &(code, text) in lines {
        if code == 1002 {
            found.extend(current.take().and_then(BirdProtocol::neighbour));
            let mut columns = text.split_whitespace();
            let name = columns.next().unwrap_or_default().to_owned();
            let is_bgp = columns.next() == Some("BGP");
            current = is_bgp.then(|| BirdProtocol {
                name,
                ..BirdProtocol::default()
            });
        } else if let Some(protocol) = &mut current {
            protocol.line(text);
        }
    }
    found.extend(current.and_then(BirdProtocol::neighbour));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bird::replies::lines;

    fn neighbour(address: &str, asn: u32, local: u32, limits: [Option<u32>; 2]) -> Neighbour {
        Neighbour {
            address: address.parse().unwrap(),
            asn: Asn::new(asn),
            local_asn: Some(Asn::new(local)),
            description: None,
            max_prefixes: limits,
        }
    }

    #[test]
    fn frr_neighbours_are_read_and_odd_ones_left_out() {
        let text = br#"{
            "192.0.2.11": {"remoteAs": 64501, "localAs": 64500, "nbrDesc": "one", "addressFamilyInfo": {"ipv4Unicast": {"prefixAllowedMax": 50}}},
            "2001:db8::1": {"remoteAs": "1.10", "localAs": "64500"},
            "eth0": {"remoteAs": 64502}, "192.0.2.13": {"remoteAs": 0}, "192.0.2.14": 7}"#;
        let one = Neighbour {
            description: Some("one".to_owned()),
            ..neighbour("192.0.2.11", 64501, 64500, [Some(50), None])
        };
        let two = neighbour("2001:db8::1", 65546, 64500, [None; 2]);
        assert_eq!(frr_neighbours(text), Ok(vec![one, two]));
        assert!(frr_neighbours(b"% Unknown command").is_err());
        let real = include_bytes!("../../tests/fixtures/control/frr_neighbors_asdot.json");
        assert!(!frr_neighbours(real).unwrap().is_empty());
    }

    #[test]
    fn bird_neighbours_are_read_with_their_limits() {
        let captured = include_str!(
            "../../tests/fixtures/captures/bird-2.0.12/cli/socket_show_protocols_all.txt"
        );
        let found = bird_neighbours(&lines(captured).unwrap());
        assert!(!found.is_empty());
        for each in &found {
            assert_eq!(each.max_prefixes, [None; 2]);
            assert!(
                each.local_asn.is_some() && each.description.is_some(),
                "{each:?}"
            );
        }
        let limited = "1002-p1 BGP --- up 07:28:29.396 Established\n1006-  Description:    Example Net\n  BGP state: \
                       Established\n    Neighbor address: fe80::1%eth0\n    Neighbor AS: 64501\n    Local AS: 64500\n  \
                       Channel ipv6\n    Import limit: 100\n      Action: disable\n0000 \n";
        let expected = Neighbour {
            description: Some("Example Net".to_owned()),
            ..neighbour("fe80::1", 64501, 64500, [None, Some(100)])
        };
        assert_eq!(bird_neighbours(&lines(limited).unwrap()), [expected]);
    }
}
