//! What `bgpctl -j` writes, read into types. Never does I/O.
use std::net::IpAddr;
use std::time::Duration;

use filter_core::Family;
use serde::Deserialize;

use crate::as_path;
use crate::json::{AsNumber, Net, of_family};
use crate::poll::{Counted, Listed, Neighbour, State};
use crate::printed::Printed;
use filter_lifecycle::route::{AdjRib, Community, Route};

#[derive(Deserialize)]
struct Neighbors {
    /// Missing if none is configured.
    neighbors: Option<Vec<serde_json::Value>>,
    /// Only there on errors.
    error: Option<String>,
}

/// One neighbour.
#[derive(Debug, Deserialize)]
pub(crate) struct Neighbor {
    remote_as: AsNumber,
    state: BgpState,
    stats: Stats,
    session: Option<Established>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
enum BgpState {
    None,
    Idle,
    Connect,
    Active,
    OpenSent,
    OpenConfirm,
    Established,
    /// One that this version does not know yet: not established in any case.
    #[serde(other)]
    Other,
}

#[derive(Debug, Deserialize)]
struct Stats {
    prefixes: BothWays<u64>,
    message: BothWays<Messages>,
}

#[derive(Debug, Deserialize)]
struct BothWays<T> {
    sent: T,
    received: T,
}

#[derive(Debug, Deserialize)]
struct Messages {
    open: u64,
    notifications: u64,
}

#[derive(Debug, Deserialize)]
struct Established {
    capabilities: Option<Capabilities>,
    local: Option<Local>,
}

#[derive(Debug, Deserialize)]
struct Local {
    address: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Capabilities {
    multiprotocol: Option<Vec<String>>,
    graceful_restart: Option<GracefulRestart>,
}

#[derive(Debug, Deserialize)]
struct GracefulRestart {
    timeout: Option<u64>,
}

impl Neighbour for Neighbor {
    fn established(&self) -> bool {
        self.state == BgpState::Established
    }

    /// OpenBGPD counts on over the lives of a session.
    fn life(&self) -> String {
        let message = &self.stats.message;
        let (received, sent) = (message.received.open, message.sent.open);
        format!("{} {received} {sent}", self.established())
    }

    fn counts(&self) -> Vec<Counted> {
        let family = match self.families().as_slice() {
            [family] => Some(*family),
            _ => None,
        };
        let BothWays { sent, received } = self.stats.prefixes;
        [
            (AdjRib::InPrePolicy, received),
            (AdjRib::OutPostPolicy, sent),
        ]
        .map(|(rib, prefixes)| Counted {
            rib,
            family,
            prefixes,
        })
        .to_vec()
    }
}

impl Neighbor {
    pub(crate) fn notifications(&self) -> u64 {
        let message = &self.stats.message;
        message.received.notifications + message.sent.notifications
    }

    pub(crate) fn up_state(&self) -> State {
        let restart = self
            .capabilities()
            .and_then(|all| all.graceful_restart.as_ref());
        State::Up {
            asn: Some(self.remote_as.0),
            restart_time: restart
                .and_then(|restart| restart.timeout)
                .filter(|seconds| *seconds > 0)
                .map(Duration::from_secs),
            families: Some(Family::ALL.map(|family| self.families().contains(&family))),
            local: self.local_address(),
            life: self.life(),
        }
    }

    fn local_address(&self) -> Option<IpAddr> {
        let local = self.session.as_ref()?.local.as_ref()?;
        local.address.as_ref()?.parse().ok()
    }

    fn capabilities(&self) -> Option<&Capabilities> {
        self.session.as_ref()?.capabilities.as_ref()
    }

    /// The families both sides agreed on; IPv4 if neither spoke of families (RFC 4760 section 8).
    pub(crate) fn families(&self) -> Vec<Family> {
        let agreed = self
            .capabilities()
            .and_then(|all| all.multiprotocol.as_ref());
        let Some(agreed) = agreed else {
            return vec![Family::Ipv4];
        };
        let names = [
            (Family::Ipv4, "IPv4 unicast"),
            (Family::Ipv6, "IPv6 unicast"),
        ];
        let is_agreed = |name: &str| agreed.iter().any(|agreed| agreed == name);
        let agreed = names.into_iter().filter(|(_, name)| is_agreed(name));
        agreed.map(|(family, _)| family).collect()
    }

    /// May a reply without a table stand for an empty one? The counters are over all families: only a session of
    /// several can have an empty table beside a count.
    pub(crate) fn may_be_empty(&self, rib: AdjRib) -> bool {
        let prefixes = &self.stats.prefixes;
        match rib {
            _ if self.families().len() > 1 => true,
            AdjRib::InPrePolicy => prefixes.received == 0,
            AdjRib::InPostPolicy => true,
            AdjRib::OutPostPolicy => prefixes.sent == 0,
        }
    }
}

pub(crate) fn parse_neighbors(text: &[u8]) -> Result<Listed<Neighbor>, String> {
    let reply: Neighbors = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let mut neighbors = Listed::default();
    if let Some(error) = reply.error {
        return Err(error);
    }
    for value in reply.neighbors.ok_or("no neighbors in it")? {
        // Templates are networks, and a link-local neighbour carries its interface: neither names a peer.
        let address = value.get("remote_addr").and_then(serde_json::Value::as_str);
        let Some(Ok(address)) = address.map(str::parse) else {
            continue;
        };
        let read = serde_json::from_value(value).map_err(|error| error.to_string());
        neighbors.add(address, read);
    }
    Ok(neighbors)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rib {
    rib: Option<Vec<RibEntry>>,
    status: Option<String>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct RibEntry {
    prefix: Net,
    exit_nexthop: Option<IpAddr>,
    aspath: Option<String>,
    neighbor: EntryNeighbor,
    #[serde(default)]
    communities: Vec<String>,
    #[serde(default)]
    large_communities: Vec<String>,
}

#[derive(Deserialize)]
struct EntryNeighbor {
    remote_addr: IpAddr,
}

pub(crate) fn parse_rib(
    text: &[u8],
    neighbor: IpAddr,
    family: Family,
    may_be_empty: bool,
) -> Result<Vec<Route>, String> {
    let reply: Rib = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    if reply.status.is_some() || reply.error.is_some() {
        return Err(reply
            .error
            .unwrap_or_else(|| "it failed without a reason".to_owned()));
    }
    let Some(entries) = reply.rib else {
        if may_be_empty {
            return Ok(Vec::new());
        }
        return Err("no table in it, but the router counts routes".to_owned());
    };
    let mut routes: Vec<Route> = Vec::with_capacity(entries.len());
    for entry in entries {
        let Net(prefix) = entry.prefix;
        if entry.neighbor.remote_addr != neighbor {
            return Err(format!(
                "{prefix} is of neighbor {}",
                entry.neighbor.remote_addr
            ));
        }
        // Paths of one prefix stand together; they carry no identifiers.
        let former = routes.last().filter(|former| former.prefix == prefix);
        let path = former.map_or(0, |former| former.path.saturating_add(1));
        routes.push(Route {
            path,
            next_hop: entry
                .exit_nexthop
                .map(|hop| hop.to_canonical())
                .filter(|address| !address.is_unspecified()),
            path_head: entry.aspath.as_deref().map(as_path::head),
            communities: Some(communities(&entry.communities, &entry.large_communities)?.into()),
            ..Route::bare(of_family(prefix, family)?)
        });
    }
    Ok(routes)
}

/// `64500:1` and `64500:1:2`. Well-known ones stand by name (`NO_EXPORT`): none of them scopes a route server.
fn communities(standard: &[String], large: &[String]) -> Result<Vec<Community>, String> {
    let mut all = Vec::new();
    for text in standard {
        let is_name = |text: &str| text.chars().all(|c| c.is_ascii_uppercase() || c == '_');
        if is_name(text) {
            continue;
        }
        let halves = text.split_once(':').and_then(|(high, low)| {
            Some(Community::Standard(high.parse().ok()?, low.parse().ok()?))
        });
        all.push(halves.ok_or_else(|| format!("no community: {}", Printed(text)))?);
    }
    for text in large {
        let numbers: Result<Vec<u32>, _> = text.split(':').map(str::parse).collect();
        match numbers.as_deref() {
            Ok([global, first, second]) => all.push(Community::Large(*global, *first, *second)),
            _ => return Err(format!("no large community: {}", Printed(text))),
        }
    }
    Ok(all)
}
