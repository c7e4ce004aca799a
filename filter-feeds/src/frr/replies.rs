//! What bgpd writes, FRR 8.4 and 10, read into types. Strict: a reply without its table is an error unless the
//! router's own counters of it are zero. Never does I/O.
use std::net::IpAddr;
use std::time::Duration;

use filter_core::Family;
use serde::Deserialize;
use serde_json::Value;

use crate::as_path;
use crate::json::{AsNumber, Members, Net, of_family};
use crate::poll::{Counted, Listed, Neighbour, State};
use filter_lifecycle::route::{AdjRib, DownCause, Route};

/// The neighbours by address.
pub(crate) type Neighbors = Listed<Neighbor>;

/// One neighbour in `show bgp neighbors json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Neighbor {
    remote_as: AsNumber,
    bgp_state: BgpState,
    connections_established: u64,
    connections_dropped: u64,
    last_reset_due_to: Option<String>,
    neighbor_capabilities: Option<Capabilities>,
    address_family_info: Option<AddressFamilyInfo>,
    host_local: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
enum BgpState {
    Idle,
    Connect,
    Active,
    OpenSent,
    OpenConfirm,
    Established,
    Clearing,
    Deleted,
    /// One that this version does not know yet: not established in any case.
    #[serde(other)]
    Other,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Capabilities {
    multiprotocol_extensions: Option<Multiprotocol>,
    add_path: Option<AddPaths>,
    graceful_restart: Option<String>,
    graceful_restart_remote_timer_msecs: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Multiprotocol {
    ipv4_unicast: Option<Negotiated>,
    ipv6_unicast: Option<Negotiated>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Negotiated {
    advertised_and_received: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AddPaths {
    ipv4_unicast: Option<AddPath>,
    ipv6_unicast: Option<AddPath>,
}

/// ADD-PATH as far as it lets several paths of a prefix through.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct AddPath {
    tx_advertised: bool,
    tx_advertised_and_received: bool,
    rx_advertised_and_received: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AddressFamilyInfo {
    ipv4_unicast: Option<FamilyInfo>,
    ipv6_unicast: Option<FamilyInfo>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FamilyInfo {
    #[serde(default)]
    inbound_soft_config_permit: bool,
    accepted_prefix_counter: Option<u64>,
    sent_prefix_counter: Option<u64>,
}

impl Neighbour for Neighbor {
    fn established(&self) -> bool {
        self.bgp_state == BgpState::Established
    }

    fn life(&self) -> String {
        let (up, down) = (self.connections_established, self.connections_dropped);
        format!("{} {up} {down}", self.established())
    }

    /// `PfxRcd` counts what was accepted, `PfxSnt` what was sent; with ADD-PATH paths, which says nothing.
    fn counts(&self) -> Vec<Counted> {
        let counted = self.families().flat_map(|(family, expected)| {
            let accepted = expected.accepted.filter(|_| !expected.several_in);
            let sent = expected.sent.filter(|_| !expected.several_out);
            [
                (AdjRib::InPostPolicy, accepted),
                (AdjRib::OutPostPolicy, sent),
            ]
            .map(|(rib, prefixes)| (rib, Some(family), prefixes))
        });
        counted
            .filter_map(|(rib, family, prefixes)| {
                Some(Counted {
                    rib,
                    family,
                    prefixes: prefixes?,
                })
            })
            .collect()
    }
}

impl Neighbor {
    pub(crate) fn state(&self) -> State {
        if !self.established() {
            return State::Down(self.down_cause());
        }
        let capabilities = self.neighbor_capabilities.as_ref();
        let restart = capabilities.filter(|capabilities| {
            capabilities.graceful_restart.as_deref() == Some("advertisedAndReceived")
        });
        State::Up {
            asn: Some(self.remote_as.0),
            restart_time: restart
                .and_then(|capabilities| capabilities.graceful_restart_remote_timer_msecs)
                .map(Duration::from_millis),
            families: Some(Family::ALL.map(|family| self.families().any(|(had, _)| had == family))),
            local: self.host_local.as_ref().and_then(|text| text.parse().ok()),
            life: self.life(),
        }
    }

    /// By FRR's sentence for it (bgpd `peer_down_str`). What is not surely a NOTIFICATION may be a graceful restart.
    fn down_cause(&self) -> DownCause {
        let why = self.last_reset_due_to.as_deref().unwrap_or_default();
        let notified = ["Notification", "shutdown", "User reset", "deleted"];
        if notified.iter().any(|word| why.contains(word)) {
            DownCause::Notification
        } else {
            DownCause::Lost
        }
    }

    /// The families both sides agreed on. FRR lists a family that only we configured as if it were there.
    pub(crate) fn families(&self) -> impl Iterator<Item = (Family, Expected)> {
        let info = self.address_family_info.as_ref();
        let capabilities = self.neighbor_capabilities.as_ref();
        let agreed = capabilities.and_then(|all| all.multiprotocol_extensions.as_ref());
        let paths = capabilities.and_then(|all| all.add_path.as_ref());
        Family::ALL.into_iter().filter_map(move |family| {
            let (info, agreed, paths) = match family {
                Family::Ipv4 => (
                    info?.ipv4_unicast.as_ref()?,
                    agreed?.ipv4_unicast.as_ref()?,
                    paths.and_then(|all| all.ipv4_unicast),
                ),
                Family::Ipv6 => (
                    info?.ipv6_unicast.as_ref()?,
                    agreed?.ipv6_unicast.as_ref()?,
                    paths.and_then(|all| all.ipv6_unicast),
                ),
            };
            let paths = paths.unwrap_or_default();
            let expected = Expected {
                keeps_received: info.inbound_soft_config_permit,
                accepted: info.accepted_prefix_counter,
                sent: info.sent_prefix_counter,
                several_in: paths.rx_advertised_and_received,
                several_out: paths.tx_advertised || paths.tx_advertised_and_received,
            };
            agreed.advertised_and_received.then_some((family, expected))
        })
    }
}

/// What its Adj-RIBs must be by the state of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Expected {
    /// With `soft-reconfiguration inbound`.
    pub(crate) keeps_received: bool,
    accepted: Option<u64>,
    sent: Option<u64>,
    several_in: bool,
    several_out: bool,
}

#[cfg(test)]
impl Expected {
    /// A session that counts this many routes in both directions.
    pub(crate) fn counting(routes: u64, several: bool) -> Self {
        Self {
            keeps_received: true,
            accepted: Some(routes),
            sent: Some(routes),
            several_in: several,
            several_out: several,
        }
    }
}

pub(crate) fn parse_neighbors(text: &[u8]) -> Result<Neighbors, String> {
    let Members(members): Members<String, Value> =
        serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let mut neighbors = Neighbors::default();
    for (name, value) in members {
        // Unnumbered sessions are named by their interface, and other members are none: no peer is found by either.
        let Ok(address) = name.parse() else {
            continue;
        };
        let neighbor = serde_json::from_value(value).map_err(|error| error.to_string());
        neighbors.add(address, neighbor);
    }
    Ok(neighbors)
}

/// A reply of `received-routes` or `advertised-routes`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AdjRoutes {
    received_routes: Option<Members<Net, AdjRoute>>,
    advertised_routes: Option<Members<Net, AdjRoute>>,
    total_prefix_counter: Option<u64>,
    warning: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AdjRoute {
    network: Option<Net>,
    next_hop: Option<IpAddr>,
    next_hop_global: Option<IpAddr>,
    path: Option<String>,
}

pub(crate) fn parse_received(
    text: &[u8],
    family: Family,
    expected: Expected,
) -> Result<Vec<Route>, String> {
    let reply: AdjRoutes = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let counted = (reply.total_prefix_counter, expected.accepted.unwrap_or(0));
    refuse_warning(&reply)?;
    adj_routes(reply.received_routes, counted, expected.several_in, family)
}

pub(crate) fn parse_advertised(
    text: &[u8],
    family: Family,
    expected: Expected,
) -> Result<Vec<Route>, String> {
    let reply: AdjRoutes = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let counted = (reply.total_prefix_counter, expected.sent.unwrap_or(0));
    refuse_warning(&reply)?;
    adj_routes(
        reply.advertised_routes,
        counted,
        expected.several_out,
        family,
    )
}

fn refuse_warning(reply: &AdjRoutes) -> Result<(), String> {
    reply.warning.clone().map_or(Ok(()), Err)
}

/// Checks the table against its own total and, if it is not there, against the session's counter. With ADD-PATH
/// the total counts paths, of which FRR shows one per prefix.
fn adj_routes(
    members: Option<Members<Net, AdjRoute>>,
    (total, counted): (Option<u64>, u64),
    several_paths: bool,
    family: Family,
) -> Result<Vec<Route>, String> {
    let Some(Members(members)) = members else {
        if total.unwrap_or(0) == 0 && counted == 0 {
            return Ok(Vec::new());
        }
        return Err(format!(
            "no table in it, but the router counts {counted} routes"
        ));
    };
    let listed = members.len();
    let total = total.ok_or("no totalPrefixCounter in it")?;
    let is_whole = if several_paths {
        total >= listed as u64
    } else {
        total == listed as u64
    };
    if !is_whole {
        return Err(format!("it lists {listed} routes and counts {total}"));
    }
    let mut routes = Vec::with_capacity(listed);
    for (Net(prefix), route) in members {
        if route.network.is_some_and(|network| network != Net(prefix)) {
            return Err(format!("{prefix} is described as another network"));
        }
        let mut bare = Route::bare(of_family(prefix, family)?);
        let next_hop = route
            .next_hop_global
            .or(route.next_hop)
            .map(|hop| hop.to_canonical());
        bare.next_hop = next_hop.filter(|address| !address.is_unspecified());
        bare.path_head = route.path.as_deref().map(as_path::head);
        routes.push(bare);
    }
    Ok(routes)
}

/// A reply of `routes`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AcceptedRoutes {
    routes: Members<Net, Vec<AcceptedPath>>,
    total_routes: Option<u64>,
}

#[derive(Deserialize)]
struct AcceptedPath {
    network: Option<Net>,
    #[serde(default)]
    nexthops: Vec<NextHop>,
    path: Option<String>,
}

#[derive(Deserialize)]
struct NextHop {
    ip: Option<IpAddr>,
    scope: Option<String>,
}

pub(crate) fn parse_routes(text: &[u8], family: Family) -> Result<Vec<Route>, String> {
    let reply: AcceptedRoutes = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let Members(members) = reply.routes;
    if reply
        .total_routes
        .is_some_and(|total| total != members.len() as u64)
    {
        return Err(format!(
            "it lists {} routes and counts another number",
            members.len()
        ));
    }
    let mut routes = Vec::with_capacity(members.len());
    for (Net(prefix), paths) in members {
        let prefix = of_family(prefix, family)?;
        if paths.is_empty() {
            return Err(format!("{prefix} is listed without a path"));
        }
        // FRR does not show path identifiers here; numbering them keeps all next hops.
        for (path, accepted) in (0..).zip(paths) {
            if accepted
                .network
                .is_some_and(|network| network != Net(prefix))
            {
                return Err(format!("{prefix} is described as another network"));
            }
            let global = |hop: &&NextHop| hop.scope.as_deref() != Some("link-local");
            let next_hop = accepted
                .nexthops
                .iter()
                .find(global)
                .and_then(|hop| hop.ip)
                .map(|hop| hop.to_canonical());
            routes.push(Route {
                path,
                next_hop,
                path_head: accepted.path.as_deref().map(as_path::head),
                ..Route::bare(prefix)
            });
        }
    }
    Ok(routes)
}
