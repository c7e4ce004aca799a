//! From the TOML tree to typed sections, in the order names are needed: interfaces, peers, the rest.
//! Each section by itself; what sections mean to each other is checked in [`super::check`].
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use filter_core::layout::{Families, MAX_INTERFACES};
use filter_core::packet::{Mac, Vlans};
use filter_core::{Class, Classes, LanRules};
use filter_lifecycle::spec::{
    Attachment, DEFAULT_BOUNDS, HookChoice, Interface, InterfaceId, InterfaceKind, Limits,
    OnLeaseEnd, OnStale, Peer, PerFamily, Reach, RouteServer, Router, Spec, Timers, View,
};
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Problem, Warning};
use super::section::{Item, Section, Source};
use super::values::{
    addresses, asn, bounds, device_name, families, free_name, identity, mac, mode, per_family,
    prefixes, vrf, warn_of_twins,
};
use super::{Config, Daemon, check, output, parse_feed};

const TOP: &[&str] = &[
    "router",
    "interface",
    "peer",
    "route_server",
    "feed",
    "timers",
    "limits",
    "metrics",
    "sflow",
    "daemon",
];
const ROUTER: &[&str] = &["asn", "prefixes", "bogon_exceptions"];
const INTERFACE: &[&str] = &[
    "name",
    "kind",
    "lan",
    "mac",
    "addresses",
    "ixf",
    "unknown_peer",
    "lan_rules",
    "hook",
];
const PEER: &[&str] = &[
    "name",
    "asn",
    "interface",
    "vlan",
    "inner_vlan",
    "addresses",
    "macs",
    "route_distinguisher",
    "attachment",
    "families",
    "max_prefixes",
    "prefix_bounds",
    "mode",
    "enforce",
    "view",
    "on_stale",
    "extra_sources",
    "extra_destinations",
];
const ATTACHMENT: &[&str] = &[
    "interface",
    "vlan",
    "inner_vlan",
    "addresses",
    "macs",
    "route_distinguisher",
];
const ROUTE_SERVER: &[&str] = &[
    "name",
    "asn",
    "interface",
    "addresses",
    "our_routes_reach",
    "route_distinguisher",
];
const TIMERS: &[&str] = &[
    "withdraw_hold",
    "peer_down_hold",
    "restart_max",
    "stale_hold",
    "settle_max",
    "station_hold",
    "lease",
    "on_lease_end",
];
const LIMITS: &[&str] = &[
    "max_peers",
    "table_memory_mib",
    "samples_per_second",
    "icmp_errors_per_second",
    "breaker",
];
/// What `enforce` may name, in the order in which it is printed.
pub(super) const PEER_CLASSES: [Class; 5] = [
    Class::Bogons,
    Class::Families,
    Class::Malformed,
    Class::Sources,
    Class::Destinations,
];
const DAEMON: &[&str] = &["socket", "pin_dir", "state_file"];

/// VLAN ids that name a VLAN (IEEE 802.1Q).
const VLAN_IDS: (u64, u64) = (1, 4094);
/// A lease is renewed each second; a shorter one would end while the daemon is merely busy.
const MIN_LEASE: Duration = Duration::from_secs(5);
/// A table is given as long as its quiet takes to be seen.
const MIN_SETTLE: Duration = Duration::from_secs(15);
/// More than any exchange has members.
const MAX_PEERS: u64 = 65_536;
const MAX_TABLE_MEMORY_MIB: u64 = 2048;
const MAX_SAMPLES_PER_SECOND: u64 = 1_000_000;
/// More than a link carries: no limit at all.
const MAX_ICMP_ERRORS_PER_SECOND: u64 = 1_000_000;

/// A section together with what was read from it, so that later checks can point at it.
pub(super) struct Read<'a, T> {
    pub(super) value: T,
    pub(super) section: Section<'a>,
}

/// Everything that was read, before it is one [`Config`].
pub(super) struct Sections<'a> {
    pub(super) router: Read<'a, Router>,
    pub(super) interfaces: Vec<Read<'a, Interface>>,
    pub(super) peers: Vec<Read<'a, Peer>>,
    /// For each peer, the sections of its attachments, in their order.
    pub(super) attachments: Vec<Vec<Section<'a>>>,
    pub(super) route_servers: Vec<Read<'a, RouteServer>>,
    pub(super) feeds: Vec<Read<'a, super::Feed>>,
    pub(super) limits: Limits,
}

pub(super) fn config(text: &str, file_name: &str) -> Result<(Config, Vec<Warning>), ConfigError> {
    let source = Source::new(text, file_name);
    let table = DeTable::parse(source.text()).map_err(|error| source.syntax(&error))?;
    let top = Section::open(&source, String::new(), table.get_ref(), 0, TOP)?;
    let mut warnings = Vec::new();
    let (timers, limits, daemon) = (timers(&top)?, limits(&top)?, daemon(&top)?);
    let outputs = output::outputs(&top)?;
    let router = router(&top, &mut warnings)?;
    let (interfaces, exports) = interfaces(&top, &mut warnings)?;
    check::names(&interfaces, |interface| &interface.name)?;
    let (peers, attachments) = peers(&top, &interfaces, &mut warnings)?;
    check::names(&peers, |peer| &peer.name)?;
    check::switchable(&peers, &interfaces)?;
    let route_servers = route_servers(&top, &interfaces, &mut warnings)?;
    check::names(&route_servers, |server| &server.name)?;
    let feeds = parse_feed::feeds(&top, &peers, &mut warnings)?;
    let sections = Sections {
        router,
        interfaces,
        peers,
        attachments,
        route_servers,
        feeds,
        limits,
    };
    check::sections(&sections, &mut warnings)?;
    let (peers, peer_sections) = split(sections.peers);
    let (feeds, feed_sections) = split(sections.feeds);
    let (route_servers, server_sections) = split(sections.route_servers);
    let spec = Spec {
        router: sections.router.value,
        interfaces: split(sections.interfaces).0,
        peers,
        route_servers,
        feeds: feeds.iter().map(super::Feed::carries).collect(),
        timers,
        limits,
    };
    let exports = (0..).map(InterfaceId).zip(exports);
    let config = Config {
        spec: Arc::new(spec),
        feeds,
        exports: exports.filter_map(|(id, path)| Some((id, path?))).collect(),
        outputs,
        daemon,
    };
    check::routes(&config, &peer_sections, &feed_sections, &mut warnings)?;
    check::scopes(&config, &server_sections, &mut warnings)?;
    warnings.sort_by_key(|warning| warning.at.line);
    Ok((config, warnings))
}

fn split<T>(read: Vec<Read<'_, T>>) -> (Vec<T>, Vec<Section<'_>>) {
    read.into_iter()
        .map(|read| (read.value, read.section))
        .unzip()
}

fn router<'a>(
    top: &Section<'a>,
    warnings: &mut Vec<Warning>,
) -> Result<Read<'a, Router>, ConfigError> {
    let section = top
        .require("router")?
        .section("[router]".to_owned(), ROUTER)?;
    let value = Router {
        asn: asn(&section.require("asn")?, warnings)?,
        prefixes: prefixes(&section, "prefixes", warnings)?,
        bogon_exceptions: prefixes(&section, "bogon_exceptions", warnings)?,
    };
    Ok(Read { value, section })
}

/// The interfaces, and the `ixf` of each.
type Interfaces<'a> = (Vec<Read<'a, Interface>>, Vec<Option<PathBuf>>);

fn interfaces<'a>(
    top: &Section<'a>,
    warnings: &mut Vec<Warning>,
) -> Result<Interfaces<'a>, ConfigError> {
    let sections = top.sections("interface", |n| format!("interface {n}"), INTERFACE)?;
    if sections.is_empty() {
        return Err(top.error(Some("interface"), Problem::NoSection("interface")));
    }
    let limit = MAX_INTERFACES as usize - 1;
    if let Some(first_over) = sections.get(limit) {
        return Err(first_over.error(
            None,
            Problem::Limit {
                found: sections.len(),
                limit,
                advice: "split them between two routers or instances",
            },
        ));
    }
    let one = |mut section: Section<'a>| {
        let item = section.require("name")?;
        let text = device_name(&item)?;
        section.rename(format!("interface \"{text}\""));
        let value = interface(text, &section, warnings)?;
        let export = section.optional("ixf", parse_feed::path)?;
        Ok((Read { value, section }, export))
    };
    let read: Vec<_> = sections.into_iter().map(one).collect::<Result<_, _>>()?;
    Ok(read.into_iter().unzip())
}

fn interface(
    name: String,
    section: &Section<'_>,
    warnings: &mut Vec<Warning>,
) -> Result<Interface, ConfigError> {
    let kind = section
        .require("kind")?
        .choice(&["port", "lan"], &[InterfaceKind::Port, InterfaceKind::Lan])?;
    let lan = prefixes(section, "lan", warnings)?;
    if kind == InterfaceKind::Lan && lan.is_empty() {
        return Err(match section.get("lan") {
            Some(item) => item.error(Problem::Empty),
            None => section.missing("lan"),
        });
    }
    if let (InterfaceKind::Port, Some(item)) = (kind, section.get("ixf")) {
        return Err(item.error(Problem::OnPort {
            interface: name,
            what: "an exchange's members",
        }));
    }
    Ok(Interface {
        name,
        kind,
        lan,
        mac: section.optional("mac", mac)?,
        addresses: section.optional("addresses", |_| addresses(section, "addresses", warnings))?,
        unknown_peer: section.optional("unknown_peer", mode)?.unwrap_or_default(),
        lan_rules: section
            .optional("lan_rules", |item| {
                let values = [LanRules::Pass, LanRules::Observe, LanRules::Enforce];
                item.choice(&["pass", "observe", "enforce"], &values)
            })?
            .unwrap_or(kind.lan_rules()),
        hook: section
            .optional("hook", |item| {
                let names = &["auto", "xdp-native", "xdp-generic", "tc"];
                item.choice(names, &HookChoice::ALL)
            })?
            .unwrap_or_default(),
    })
}

type Peers<'a> = (Vec<Read<'a, Peer>>, Vec<Vec<Section<'a>>>);

fn peers<'a>(
    top: &Section<'a>,
    interfaces: &[Read<'_, Interface>],
    warnings: &mut Vec<Warning>,
) -> Result<Peers<'a>, ConfigError> {
    let one = |mut section: Section<'a>| {
        let name = free_name(&section.require("name")?)?;
        section.rename(format!("peer \"{name}\""));
        let places = attachment_sections(&section)?;
        let attachments = places
            .iter()
            .map(|place| attachment(place, interfaces, warnings))
            .collect::<Result<_, _>>()?;
        let value = peer(name, attachments, &section, warnings)?;
        Ok((Read { value, section }, places))
    };
    let sections = top.sections("peer", |n| format!("peer {n}"), PEER)?;
    let read: Vec<_> = sections.into_iter().map(one).collect::<Result<_, _>>()?;
    Ok(read.into_iter().unzip())
}

/// The peer's own section, if it is attached there, and each `[[peer.attachment]]`.
fn attachment_sections<'a>(section: &Section<'a>) -> Result<Vec<Section<'a>>, ConfigError> {
    let place = section.place();
    let mut places = section.sections(
        "attachment",
        |n| format!("{place}: attachment {n}"),
        ATTACHMENT,
    )?;
    if section.get("interface").is_some() {
        places.insert(0, section.clone());
    } else if let Some(item) = ATTACHMENT.iter().find_map(|key| section.get(key)) {
        return Err(item.error(Problem::NoInterface));
    }
    if places.is_empty() {
        return Err(section.missing("interface"));
    }
    Ok(places)
}

fn attachment(
    section: &Section<'_>,
    interfaces: &[Read<'_, Interface>],
    warnings: &mut Vec<Warning>,
) -> Result<Attachment, ConfigError> {
    let vlan = |item: &Item<'_>| item.integer(VLAN_IDS.0, VLAN_IDS.1);
    let outer = section.optional("vlan", vlan)?;
    if let (None, Some(inner)) = (outer, section.get("inner_vlan")) {
        return Err(inner.error(Problem::InnerWithoutOuter));
    }
    let macs: Vec<Mac> = section
        .list("macs")?
        .iter()
        .map(mac)
        .collect::<Result<_, _>>()?;
    warn_of_twins(&section.list("macs")?, &macs, warnings);
    Ok(Attachment {
        interface: interface_id(&section.require("interface")?, interfaces)?,
        vlans: Vlans {
            outer: outer.unwrap_or(0),
            inner: section.optional("inner_vlan", vlan)?.unwrap_or(0),
        },
        addresses: addresses(section, "addresses", warnings)?,
        macs,
        vrf: section.optional("route_distinguisher", vrf)?,
    })
}

fn peer(
    name: String,
    attachments: Vec<Attachment>,
    section: &Section<'_>,
    warnings: &mut Vec<Warning>,
) -> Result<Peer, ConfigError> {
    Ok(Peer {
        name,
        asn: asn(&section.require("asn")?, warnings)?,
        attachments,
        families: section
            .optional("families", families)?
            .unwrap_or(Families::new(|_| true)),
        max_prefixes: section
            .optional("max_prefixes", |item| {
                let read = |item: &Item<'_>| item.integer(0, u64::from(u32::MAX)).map(Some);
                per_family(item, section, PerFamily::default(), |_, item| read(item))
            })?
            .unwrap_or_default(),
        prefix_bounds: section
            .optional("prefix_bounds", |item| {
                per_family(item, section, DEFAULT_BOUNDS, bounds)
            })?
            .unwrap_or(DEFAULT_BOUNDS),
        mode: section.optional("mode", mode)?.unwrap_or_default(),
        enforce: section
            .optional("enforce", classes)?
            .unwrap_or(Classes::PEER),
        view: section
            .optional("view", |item| {
                let values = [View::PrePolicy, View::PostPolicy];
                item.choice(&["pre-policy", "post-policy"], &values)
            })?
            .unwrap_or_default(),
        on_stale: section
            .optional("on_stale", |item| {
                item.choice(&["degrade", "keep"], &[OnStale::Degrade, OnStale::Keep])
            })?
            .unwrap_or_default(),
        extra_sources: prefixes(section, "extra_sources", warnings)?,
        extra_destinations: prefixes(section, "extra_destinations", warnings)?,
    })
}

fn route_servers<'a>(
    top: &Section<'a>,
    interfaces: &[Read<'_, Interface>],
    warnings: &mut Vec<Warning>,
) -> Result<Vec<Read<'a, RouteServer>>, ConfigError> {
    let one = |mut section: Section<'a>| {
        let name = free_name(&section.require("name")?)?;
        section.rename(format!("route server \"{name}\""));
        let list = section.require("addresses")?;
        if list.list()?.is_empty() {
            return Err(list.error(Problem::Empty));
        }
        let value = RouteServer {
            name,
            asn: asn(&section.require("asn")?, warnings)?,
            interface: interface_id(&section.require("interface")?, interfaces)?,
            addresses: addresses(&section, "addresses", warnings)?,
            our_routes_reach: section
                .optional("our_routes_reach", our_routes_reach)?
                .unwrap_or_default(),
            vrf: section.optional("route_distinguisher", vrf)?,
        };
        Ok(Read { value, section })
    };
    let sections = top.sections(
        "route_server",
        |n| format!("route server {n}"),
        ROUTE_SERVER,
    )?;
    sections.into_iter().map(one).collect()
}

fn our_routes_reach(item: &Item<'_>) -> Result<Reach, ConfigError> {
    match item.value() {
        DeValue::Array(_) => {
            let members = item.list()?;
            let asns = members.iter().map(identity).collect::<Result<_, _>>()?;
            Ok(Reach::Listed(asns))
        }
        DeValue::String(text) => match text.as_ref() {
            "all" => Ok(Reach::All),
            "none" => Ok(Reach::None),
            "communities" => Ok(Reach::Communities),
            _ => Err(item.error(Problem::Choice(&["all", "none", "communities", "[asn, …]"]))),
        },
        _ => Err(item.wrong_type("\"all\", \"none\", \"communities\" or a list of as numbers")),
    }
}

fn timers(top: &Section<'_>) -> Result<Timers, ConfigError> {
    let default = Timers::default();
    let Some(item) = top.get("timers") else {
        return Ok(default);
    };
    let section = item.section("[timers]".to_owned(), TIMERS)?;
    let timer = |key, least, default| {
        let read = section.optional(key, |item| item.duration(least))?;
        Ok(read.unwrap_or(default))
    };
    Ok(Timers {
        withdraw_hold: timer("withdraw_hold", Duration::ZERO, default.withdraw_hold)?,
        peer_down_hold: timer("peer_down_hold", Duration::ZERO, default.peer_down_hold)?,
        restart_max: timer("restart_max", Duration::ZERO, default.restart_max)?,
        stale_hold: timer("stale_hold", Duration::ZERO, default.stale_hold)?,
        settle_max: timer("settle_max", MIN_SETTLE, default.settle_max)?,
        station_hold: timer("station_hold", Duration::ZERO, default.station_hold)?,
        lease: timer("lease", MIN_LEASE, default.lease)?,
        on_lease_end: section
            .optional("on_lease_end", |item| {
                item.choice(
                    &["observe", "keep"],
                    &[OnLeaseEnd::Observe, OnLeaseEnd::Keep],
                )
            })?
            .unwrap_or_default(),
    })
}

fn limits(top: &Section<'_>) -> Result<Limits, ConfigError> {
    let default = Limits::default();
    let Some(item) = top.get("limits") else {
        return Ok(default);
    };
    let section = item.section("[limits]".to_owned(), LIMITS)?;
    let limit = |key, min, max, default| {
        let read = section.optional(key, |item| item.integer(min, max))?;
        Ok(read.unwrap_or(default))
    };
    if let Some(item) = section.get("breaker") {
        return Err(item.error(Problem::BreakerIsGone));
    }
    Ok(Limits {
        max_peers: limit("max_peers", 1, MAX_PEERS, default.max_peers)?,
        table_memory_mib: limit(
            "table_memory_mib",
            4,
            MAX_TABLE_MEMORY_MIB,
            default.table_memory_mib,
        )?,
        samples_per_second: limit(
            "samples_per_second",
            0,
            MAX_SAMPLES_PER_SECOND,
            default.samples_per_second,
        )?,
        icmp_errors_per_second: limit(
            "icmp_errors_per_second",
            0,
            MAX_ICMP_ERRORS_PER_SECOND,
            default.icmp_errors_per_second,
        )?,
    })
}

/// The classes that mode `enforce` means for a peer.
fn classes(item: &Item<'_>) -> Result<Classes, ConfigError> {
    const NAMES: &[&str] = &["bogons", "families", "malformed", "sources", "destinations"];
    let list = item.list()?;
    if list.is_empty() {
        return Err(item.error(Problem::Empty));
    }
    let read = list.iter().map(|item| item.choice(NAMES, &PEER_CLASSES));
    read.collect()
}

fn daemon(top: &Section<'_>) -> Result<Daemon, ConfigError> {
    let default = Daemon::default();
    let Some(item) = top.get("daemon") else {
        return Ok(default);
    };
    let section = item.section("[daemon]".to_owned(), DAEMON)?;
    Ok(Daemon {
        socket: section
            .optional("socket", parse_feed::absolute_path)?
            .unwrap_or(default.socket),
        pin_dir: section
            .optional("pin_dir", parse_feed::absolute_path)?
            .unwrap_or(default.pin_dir),
        state_file: section
            .optional("state_file", parse_feed::absolute_path)?
            .unwrap_or(default.state_file),
    })
}

fn interface_id(
    item: &Item<'_>,
    interfaces: &[Read<'_, Interface>],
) -> Result<InterfaceId, ConfigError> {
    let text = item.text()?;
    let mut ids = (0..).map(InterfaceId).zip(interfaces);
    let found = ids.find(|(_, read)| read.value.name == text);
    found.map(|(id, _)| id).ok_or_else(|| {
        let names = interfaces.iter().map(|read| read.value.name.clone());
        item.error(Problem::UnknownInterface(names.collect()))
    })
}
