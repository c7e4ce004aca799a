//! Prints a configuration as TOML with every value, defaults included, so that nothing is left to guess, and that parses
//! back to the same configuration. Hides nothing but passwords: a comment shows that they are set.
use std::fmt::{self, Display, Formatter, Write};
use std::path::{Path, PathBuf};

use filter_core::{Classes, Family};

use super::duration::print as duration;
use super::parse::PEER_CLASSES;
use super::{Config, Feed, ShadowSession, output};
use filter_lifecycle::route::Vrf;
use filter_lifecycle::spec::{
    Attachment, Interface, InterfaceId, InterfaceKind, OnLeaseEnd, OnStale, Peer, PerFamily, Reach,
    RouteServer, Spec, View,
};

pub(super) fn write(config: &Config, f: &mut Formatter<'_>) -> fmt::Result {
    let Config {
        spec,
        feeds,
        exports,
        outputs,
        daemon,
    } = config;
    let Spec {
        router,
        interfaces,
        peers,
        route_servers,
        feeds: _, // follows from the feeds
        timers,
        limits,
    } = &**spec;
    writeln!(f, "[router]")?;
    writeln!(f, "asn = {}", router.asn)?;
    writeln!(f, "prefixes = {}", quoted(&router.prefixes))?;
    writeln!(f, "bogon_exceptions = {}", quoted(&router.bogon_exceptions))?;
    for (id, each) in (0..).map(InterfaceId).zip(interfaces) {
        interface(each, exports.get(&id), f)?;
    }
    for each in peers {
        peer(config, each, f)?;
    }
    for each in route_servers {
        route_server(config, each, f)?;
    }
    for each in feeds {
        feed(config, each, f)?;
    }
    writeln!(f, "\n[timers]")?;
    writeln!(f, "withdraw_hold = \"{}\"", duration(timers.withdraw_hold))?;
    writeln!(
        f,
        "peer_down_hold = \"{}\"",
        duration(timers.peer_down_hold)
    )?;
    writeln!(f, "restart_max = \"{}\"", duration(timers.restart_max))?;
    writeln!(f, "stale_hold = \"{}\"", duration(timers.stale_hold))?;
    writeln!(f, "settle_max = \"{}\"", duration(timers.settle_max))?;
    writeln!(f, "station_hold = \"{}\"", duration(timers.station_hold))?;
    writeln!(f, "lease = \"{}\"", duration(timers.lease))?;
    let on_lease_end = match timers.on_lease_end {
        OnLeaseEnd::Observe => "observe",
        OnLeaseEnd::Keep => "keep",
    };
    writeln!(f, "on_lease_end = \"{on_lease_end}\"")?;
    writeln!(f, "\n[limits]")?;
    writeln!(f, "max_peers = {}", limits.max_peers)?;
    writeln!(f, "table_memory_mib = {}", limits.table_memory_mib)?;
    writeln!(f, "samples_per_second = {}", limits.samples_per_second)?;
    let icmp_errors = limits.icmp_errors_per_second;
    writeln!(f, "icmp_errors_per_second = {icmp_errors}")?;
    output::write(outputs, f)?;
    writeln!(f, "\n[daemon]")?;
    writeln!(f, "socket = {}", path(&daemon.socket))?;
    writeln!(f, "pin_dir = {}", path(&daemon.pin_dir))?;
    writeln!(f, "state_file = {}", path(&daemon.state_file))
}

fn interface(
    interface: &Interface,
    export: Option<&PathBuf>,
    f: &mut Formatter<'_>,
) -> fmt::Result {
    writeln!(f, "\n[[interface]]")?;
    writeln!(f, "name = {}", text(&interface.name))?;
    let kind = match interface.kind {
        InterfaceKind::Port => "port",
        InterfaceKind::Lan => "lan",
    };
    writeln!(f, "kind = \"{kind}\"")?;
    writeln!(f, "lan = {}", quoted(&interface.lan))?;
    if let Some(mac) = interface.mac {
        writeln!(f, "mac = \"{mac}\"")?;
    }
    if let Some(addresses) = &interface.addresses {
        writeln!(f, "addresses = {}", quoted(addresses))?;
    }
    if let Some(file) = export {
        writeln!(f, "ixf = {}", path(file))?;
    }
    writeln!(f, "unknown_peer = \"{}\"", interface.unknown_peer)?;
    writeln!(f, "lan_rules = \"{}\"", interface.lan_rules)?;
    writeln!(f, "hook = \"{}\"", interface.hook.name())
}

fn peer(config: &Config, peer: &Peer, f: &mut Formatter<'_>) -> fmt::Result {
    writeln!(f, "\n[[peer]]")?;
    writeln!(f, "name = {}", text(&peer.name))?;
    writeln!(f, "asn = {}", peer.asn)?;
    let mut attachments = peer.attachments.iter();
    if let Some(first) = attachments.next() {
        attachment(config, first, f)?;
    }
    let families = Family::ALL
        .into_iter()
        .filter(|&each| peer.families.contains(each));
    writeln!(f, "families = {}", quoted(&families.collect::<Vec<_>>()))?;
    let max_prefixes = families_with(|family| *peer.max_prefixes.get(family));
    if !max_prefixes.is_empty() {
        writeln!(f, "max_prefixes = {{ {max_prefixes} }}")?;
    }
    let bounds = families_with(|family| {
        let bounds = PerFamily::get(&peer.prefix_bounds, family);
        Some(format!("[{}, {}]", bounds.min, bounds.max))
    });
    writeln!(f, "prefix_bounds = {{ {bounds} }}")?;
    writeln!(f, "mode = \"{}\"", peer.mode)?;
    let classes = PEER_CLASSES
        .into_iter()
        .filter(|&class| peer.enforce.contains(Classes::of(class)));
    writeln!(f, "enforce = {}", quoted(&classes.collect::<Vec<_>>()))?;
    let view = match peer.view {
        View::PrePolicy => "pre-policy",
        View::PostPolicy => "post-policy",
    };
    writeln!(f, "view = \"{view}\"")?;
    let on_stale = match peer.on_stale {
        OnStale::Degrade => "degrade",
        OnStale::Keep => "keep",
    };
    writeln!(f, "on_stale = \"{on_stale}\"")?;
    writeln!(f, "extra_sources = {}", quoted(&peer.extra_sources))?;
    writeln!(
        f,
        "extra_destinations = {}",
        quoted(&peer.extra_destinations)
    )?;
    for each in attachments {
        writeln!(f, "\n[[peer.attachment]]")?;
        attachment(config, each, f)?;
    }
    Ok(())
}

fn attachment(config: &Config, attachment: &Attachment, f: &mut Formatter<'_>) -> fmt::Result {
    writeln!(
        f,
        "interface = {}",
        interface_name(config, attachment.interface)
    )?;
    if attachment.vlans.outer != 0 {
        writeln!(f, "vlan = {}", attachment.vlans.outer)?;
    }
    if attachment.vlans.inner != 0 {
        writeln!(f, "inner_vlan = {}", attachment.vlans.inner)?;
    }
    writeln!(f, "addresses = {}", quoted(&attachment.addresses))?;
    writeln!(f, "macs = {}", quoted(&attachment.macs))?;
    vrf(attachment.vrf, f)
}

/// Absent, it is the global instance, which has no name.
fn vrf(vrf: Option<Vrf>, f: &mut Formatter<'_>) -> fmt::Result {
    vrf.map_or(Ok(()), |vrf| writeln!(f, "route_distinguisher = \"{vrf}\""))
}

fn route_server(config: &Config, server: &RouteServer, f: &mut Formatter<'_>) -> fmt::Result {
    writeln!(f, "\n[[route_server]]")?;
    writeln!(f, "name = {}", text(&server.name))?;
    writeln!(f, "asn = {}", server.asn)?;
    writeln!(
        f,
        "interface = {}",
        interface_name(config, server.interface)
    )?;
    writeln!(f, "addresses = {}", quoted(&server.addresses))?;
    let our_routes_reach = match &server.our_routes_reach {
        Reach::All => "\"all\"".to_owned(),
        Reach::None => "\"none\"".to_owned(),
        Reach::Communities => "\"communities\"".to_owned(),
        Reach::Listed(asns) => list(asns.iter().map(ToString::to_string)),
    };
    writeln!(f, "our_routes_reach = {our_routes_reach}")?;
    vrf(server.vrf, f)
}

#[expect(clippy::too_many_lines, reason = "one arm for each kind of feed")]
fn feed(config: &Config, feed: &Feed, f: &mut Formatter<'_>) -> fmt::Result {
    writeln!(f, "\n[[feed]]\nkind = \"{}\"", feed.kind())?;
    match feed {
        Feed::Static {
            peer,
            advertised_by_peer,
            advertised_to_peer,
        } => {
            let name = config.spec.peer(*peer).map_or("", |peer| &peer.name);
            writeln!(f, "peer = {}", text(name))?;
            writeln!(f, "advertised_by_peer = {}", quoted(advertised_by_peer))?;
            writeln!(f, "advertised_to_peer = {}", quoted(advertised_to_peer))
        }
        Feed::Bmp {
            listen,
            allow,
            max_routers,
            idle,
            password,
        } => {
            writeln!(f, "listen = \"{listen}\"")?;
            writeln!(f, "allow = {}", quoted(allow))?;
            writeln!(f, "max_routers = {max_routers}")?;
            if let Some(idle) = idle {
                writeln!(f, "idle = \"{}\"", duration(*idle))?;
            }
            match password {
                Some(_) => writeln!(f, "# password: set"),
                None => Ok(()),
            }
        }
        Feed::Mrt { path: file, rib } => {
            writeln!(f, "path = {}", path(file))?;
            writeln!(f, "rib = \"{rib}\"")
        }
        Feed::Frr { socket, interval } | Feed::Bird { socket, interval } => {
            writeln!(f, "socket = {}", path(socket))?;
            writeln!(f, "interval = \"{}\"", duration(*interval))
        }
        Feed::OpenBgpd {
            command,
            socket,
            interval,
        } => {
            writeln!(f, "command = {}", path(command))?;
            if let Some(socket) = socket {
                writeln!(f, "socket = {}", path(socket))?;
            }
            writeln!(f, "interval = \"{}\"", duration(*interval))
        }
        Feed::GoBgp {
            command,
            server,
            interval,
        } => {
            writeln!(f, "command = {}", path(command))?;
            if let Some(server) = server {
                writeln!(f, "server = \"{server}\"")?;
            }
            writeln!(f, "interval = \"{}\"", duration(*interval))
        }
        Feed::Shadow {
            listen,
            asn,
            sessions,
        } => {
            writeln!(f, "listen = \"{listen}\"\nasn = {asn}")?;
            writeln!(f, "sessions = [")?;
            for each in sessions {
                shadow_session(each, f)?;
            }
            writeln!(f, "]")
        }
    }
}

/// A line of its own, so that a comment fits behind it.
fn shadow_session(shadow: &ShadowSession, f: &mut Formatter<'_>) -> fmt::Result {
    let (address, session) = (shadow.address, shadow.session);
    let rib = shadow.rib;
    let vrf = shadow.vrf.map_or(String::new(), |vrf| {
        format!(", route_distinguisher = \"{vrf}\"")
    });
    let password = match shadow.password {
        Some(_) => " # password: set",
        None => "",
    };
    writeln!(
        f,
        "  {{ address = \"{address}\", session = \"{session}\"{vrf}, rib = \"{rib}\" }},{password}"
    )
}

fn families_with<T: Display>(value: impl Fn(Family) -> Option<T>) -> String {
    let one = |family| value(family).map(|value| format!("{family} = {value}"));
    let all: Vec<String> = Family::ALL.into_iter().filter_map(one).collect();
    all.join(", ")
}

fn interface_name(config: &Config, id: InterfaceId) -> String {
    text(
        config
            .spec
            .interface(id)
            .map_or("", |interface| &interface.name),
    )
}

fn list(elements: impl Iterator<Item = String>) -> String {
    format!("[{}]", elements.collect::<Vec<_>>().join(", "))
}

fn quoted<T: Display>(elements: &[T]) -> String {
    list(elements.iter().map(|each| format!("\"{each}\"")))
}

/// A path the parser took from text, so nothing is lost.
fn path(path: &Path) -> String {
    text(&path.to_string_lossy())
}

/// A TOML basic string (TOML 1.0, section "String").
pub(crate) fn text(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => _ = write!(quoted, "\\U{:08X}", u32::from(c)),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
