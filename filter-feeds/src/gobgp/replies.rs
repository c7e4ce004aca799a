//! What `gobgp -j` of GoBGP 3 writes, read into types. Never does I/O.
use std::collections::BTreeMap;
use std::net::IpAddr;

use filter_core::{Asn, Family, Prefix};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::json::{Members, Net, of_family};
use crate::poll::{Counted, Listed, Neighbour, State};
use crate::printed::Printed;
use filter_lifecycle::route::{AdjRib, Community, PathHead, Route};

/// A version of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    pub(crate) major: u32,
    pub(crate) minor: u32,
}

/// `gobgp version 3.10.0`
pub(crate) fn parse_version(text: &[u8]) -> Result<Version, String> {
    let text = String::from_utf8_lossy(text);
    let numbers = text
        .trim()
        .strip_prefix("gobgp version ")
        .and_then(|version| {
            let mut numbers = version.split('.');
            let major = numbers.next()?.parse().ok()?;
            let minor = numbers.next()?.parse().ok()?;
            Some(Version { major, minor })
        });
    numbers.ok_or_else(|| format!("no version: {}", Printed(text.trim())))
}

/// GoBGP's errors are objects with nothing but the error.
pub(crate) fn error_in(text: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Failed {
        error: String,
    }
    // Errors are short; a table is not read twice for this.
    let short = (text.len() < 4096).then_some(text)?;
    Some(serde_json::from_slice::<Failed>(short).ok()?.error)
}

/// One neighbour: `apipb.Peer` in JSON, where zero is left out.
#[derive(Debug, Deserialize)]
pub(crate) struct Neighbor {
    #[serde(default)]
    conf: Conf,
    #[serde(default)]
    route_server: RouteServer,
    state: PeerState,
    timers: Timers,
    #[serde(default)]
    transport: Transport,
    afi_safis: Vec<AfiSafi>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Transport {
    local_address: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Conf {
    vrf: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RouteServer {
    route_server_client: bool,
}

#[derive(Debug, Deserialize)]
struct PeerState {
    peer_asn: u32,
    session_state: u8,
    #[serde(default)]
    messages: Messages,
    #[serde(default)]
    remote_cap: Vec<Capability>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Messages {
    received: MessageCounts,
    sent: MessageCounts,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct MessageCounts {
    open: u64,
    notification: u64,
}

#[derive(Debug, Deserialize)]
struct Capability {
    type_url: String,
    #[serde(default)]
    value: String,
}

#[derive(Debug, Deserialize)]
struct Timers {
    state: TimersState,
}

#[derive(Debug, Deserialize)]
struct TimersState {
    uptime: Option<Timestamp>,
}

#[derive(Debug, Deserialize)]
struct Timestamp {
    #[serde(default)]
    seconds: i64,
}

#[derive(Debug, Deserialize)]
struct AfiSafi {
    state: AfiSafiState,
}

#[derive(Debug, Deserialize)]
struct AfiSafiState {
    family: AddressFamily,
    #[serde(default)]
    enabled: bool,
    #[serde(default)]
    received: u64,
}

#[derive(Debug, Deserialize)]
struct AddressFamily {
    afi: u16,
    safi: u8,
}

/// `apipb.PeerState.SessionState`: 1 idle to 6 established.
const ESTABLISHED: u8 = 6;
const MULTIPROTOCOL: &str = "type.googleapis.com/apipb.MultiProtocolCapability";

impl Neighbour for Neighbor {
    fn established(&self) -> bool {
        self.state.session_state == ESTABLISHED
    }

    fn life(&self) -> String {
        let since = self
            .timers
            .state
            .uptime
            .as_ref()
            .map_or(0, |time| time.seconds);
        let opens = self.state.messages.received.open;
        format!("{} {opens} {since}", self.established())
    }

    /// Only what was received is counted right: `accepted` leaves the global policy out in 3.10.
    fn counts(&self) -> Vec<Counted> {
        let counted = self.families().into_iter().filter_map(|family| {
            Some(Counted {
                rib: AdjRib::InPrePolicy,
                family: Some(family),
                prefixes: self.afi_safi(family)?.state.received,
            })
        });
        counted.collect()
    }
}

impl Neighbor {
    pub(crate) fn notifications(&self) -> u64 {
        let Messages { received, sent } = &self.state.messages;
        received.notification + sent.notification
    }

    pub(crate) fn up_state(&self) -> State {
        State::Up {
            asn: Some(Asn::new(self.state.peer_asn)),
            restart_time: None,
            families: Some(Family::ALL.map(|family| self.families().contains(&family))),
            local: self.transport.local_address.parse().ok(),
            life: self.life(),
        }
    }

    /// The families both sides agreed on; IPv4 if the peer spoke of none (RFC 4760 section 8).
    pub(crate) fn families(&self) -> Vec<Family> {
        let offered: Vec<_> = self
            .state
            .remote_cap
            .iter()
            .filter(|all| all.type_url == MULTIPROTOCOL)
            .collect();
        let is_offered = |family: Family| match offered.as_slice() {
            [] => family == Family::Ipv4,
            offered => offered
                .iter()
                .any(|capability| capability.value == capability_value(family)),
        };
        let agreed = Family::ALL.into_iter().filter(|family| {
            self.afi_safi(*family)
                .is_some_and(|ours| ours.state.enabled)
                && is_offered(*family)
        });
        agreed.collect()
    }

    fn afi_safi(&self, family: Family) -> Option<&AfiSafi> {
        let afi = match family {
            Family::Ipv4 => 1,
            Family::Ipv6 => 2,
        };
        let mut all = self.afi_safis.iter();
        all.find(|all| all.state.family.afi == afi && all.state.family.safi == 1)
    }

    /// Do its routes go to the global table? Route-server clients and VRFs have tables of their own.
    pub(crate) fn in_global_table(&self) -> bool {
        !self.route_server.route_server_client && self.conf.vrf.is_empty()
    }
}

/// `apipb.MultiProtocolCapability { family { afi, safi: 1 } }` as protobuf in base64.
const fn capability_value(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "CgQIARAB",
        Family::Ipv6 => "CgQIAhAB",
    }
}

pub(crate) fn parse_neighbors(text: &[u8]) -> Result<Listed<Neighbor>, String> {
    let listed: Vec<serde_json::Value> =
        serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let mut neighbors = Listed::default();
    for value in listed {
        let address = value
            .pointer("/state/neighbor_address")
            .and_then(serde_json::Value::as_str);
        let Some(Ok(address)) = address.map(str::parse) else {
            continue; // the neighbour of an interface: no peer is configured by one
        };
        let read = serde_json::from_value(value).map_err(|error| error.to_string());
        neighbors.add(address, read.and_then(known_state));
    }
    Ok(neighbors)
}

fn known_state(neighbor: Neighbor) -> Result<Neighbor, String> {
    let state = neighbor.state.session_state;
    if (1..=ESTABLISHED).contains(&state) {
        return Ok(neighbor);
    }
    Err(format!("it is in the unknown state {state}"))
}

#[derive(Deserialize)]
struct Path {
    nlri: Nlri,
    attrs: Vec<Attribute>,
}

/// The neighbour that a path of the global table is from.
#[derive(Deserialize)]
struct Owner {
    /// The neighbour it is from; none for our own routes.
    #[serde(rename = "neighbor-ip")]
    neighbor: Option<IpAddr>,
    #[serde(rename = "source-id")]
    source: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Nlri {
    prefix: Net,
}

#[derive(Deserialize)]
struct Attribute {
    #[serde(rename = "type")]
    kind: u8,
    nexthop: Option<IpAddr>,
    communities: Option<Vec<u32>>,
    value: Option<Value>,
    as_paths: Option<Vec<Segment>>,
}

/// A segment of an AS_PATH.
#[derive(Deserialize)]
struct Segment {
    segment_type: u8,
    asns: Vec<u32>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Value {
    Large(Vec<LargeCommunity>),
    Other(IgnoredAny),
}

#[derive(Deserialize)]
struct LargeCommunity {
    #[serde(rename = "ASN")]
    global: u32,
    #[serde(rename = "LocalData1")]
    first: u32,
    #[serde(rename = "LocalData2")]
    second: u32,
}

/// Path attribute codes (RFC 4271, 1997, 4760, 8092).
const AS_PATH: u8 = 2;
const NEXT_HOP: u8 = 3;
const COMMUNITIES: u8 = 8;
const MP_REACH_NLRI: u8 = 14;
const LARGE_COMMUNITIES: u8 = 32;

/// Types of segments of an AS_PATH (RFC 4271 section 4.3).
const AS_SET: u8 = 1;
const AS_SEQUENCE: u8 = 2;

/// Routes by the neighbour they are from, or why that neighbour's cannot be read.
pub(crate) type ByNeighbour = BTreeMap<IpAddr, Result<Vec<Route>, String>>;

/// A table of one neighbour.
pub(crate) fn parse_rib(text: &[u8], family: Family) -> Result<Vec<Route>, String> {
    let mut routes = Vec::new();
    each_path(text, family, |prefix, path| {
        push(&mut routes, prefix, read_path(prefix, path)?.attrs)
    })?;
    Ok(routes)
}

/// The global table, by the neighbour that a path is from. A path that cannot be read costs its neighbour's routes and
/// no other's.
pub(crate) fn parse_global(text: &[u8], family: Family) -> Result<ByNeighbour, String> {
    let mut routes = ByNeighbour::new();
    each_path(text, family, |prefix, path| {
        let owner: Owner = serde_json::from_str(path.get()).map_err(|error| error.to_string())?;
        let neighbor = match (owner.neighbor, owner.source) {
            (Some(neighbor), _) => neighbor.to_canonical(),
            (None, None) => return Ok(()),
            (None, Some(_)) => return Err(format!("{prefix} has a source but names no neighbour")),
        };
        let held = routes.entry(neighbor).or_insert_with(|| Ok(Vec::new()));
        if let Ok(of_neighbor) = held {
            let read =
                read_path(prefix, path).and_then(|path| push(of_neighbor, prefix, path.attrs));
            if let Err(why) = read {
                *held = Err(why);
            }
        }
        Ok(())
    })?;
    Ok(routes)
}

fn read_path(prefix: Prefix, path: &RawValue) -> Result<Path, String> {
    let path: Path =
        serde_json::from_str(path.get()).map_err(|error| format!("a path of {prefix}: {error}"))?;
    if path.nlri.prefix != Net(prefix) {
        return Err(format!("{prefix} is described as another network"));
    }
    Ok(path)
}

/// The paths of a table one by one, each as it stands there.
fn each_path(
    text: &[u8],
    family: Family,
    mut take: impl FnMut(Prefix, &RawValue) -> Result<(), String>,
) -> Result<(), String> {
    let Members(members): Members<Net, Vec<&RawValue>> =
        serde_json::from_slice(text).map_err(|error| error.to_string())?;
    for (Net(prefix), paths) in members {
        let prefix = of_family(prefix, family)?;
        if paths.is_empty() {
            return Err(format!("{prefix} is listed without a path"));
        }
        for path in paths {
            take(prefix, path)?;
        }
    }
    Ok(())
}

/// Identifiers are not shown: the paths of a prefix, which are listed together, are numbered to keep all next hops.
fn push(routes: &mut Vec<Route>, prefix: Prefix, attributes: Vec<Attribute>) -> Result<(), String> {
    let last = routes.last().filter(|last| last.prefix == prefix);
    let path = last.map_or(0, |last| last.path + 1);
    let bare = Route {
        path,
        ..Route::bare(prefix)
    };
    routes.push(route(bare, attributes)?);
    Ok(())
}

fn route(mut route: Route, attributes: Vec<Attribute>) -> Result<Route, String> {
    let mut communities = Vec::new();
    for attribute in attributes {
        let unreadable = || {
            format!(
                "attribute {} of {} is unreadable",
                attribute.kind, route.prefix
            )
        };
        match attribute.kind {
            NEXT_HOP | MP_REACH_NLRI => {
                let next_hop = attribute.nexthop.ok_or_else(unreadable)?.to_canonical();
                route.next_hop = Some(next_hop).filter(|address| !address.is_unspecified());
            }
            AS_PATH => {
                let segments = attribute.as_paths.unwrap_or_default();
                let in_front = segments
                    .iter()
                    .take_while(|each| each.segment_type != AS_SET);
                let sequence = in_front
                    .filter(|each| each.segment_type == AS_SEQUENCE)
                    .flat_map(|each| each.asns.iter().copied().map(Asn::new));
                route.path_head = Some(PathHead::of(sequence));
            }
            COMMUNITIES => {
                let listed = attribute.communities.ok_or_else(unreadable)?;
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "the two halves of a community"
                )]
                let halves = |all: u32| Community::Standard((all >> 16) as u16, all as u16);
                communities.extend(listed.into_iter().map(halves));
            }
            LARGE_COMMUNITIES => match attribute.value {
                Some(Value::Large(listed)) => communities.extend(
                    listed
                        .iter()
                        .map(|large| Community::Large(large.global, large.first, large.second)),
                ),
                Some(Value::Other(_)) | None => return Err(unreadable()),
            },
            _ => {}
        }
    }
    route.communities = Some(communities.into());
    Ok(route)
}
