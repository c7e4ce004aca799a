//! `[[feed]]` sections: one reader per kind. What kinds there are and what they default to is [`Feed`]'s.
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use filter_core::Prefix;
use filter_feeds::bmp::loopback;
use filter_feeds::shadow::Password;
use filter_lifecycle::route::{AdjRib, PeerId, Session};
use filter_lifecycle::spec::Peer;

use super::error::{ConfigError, Problem, Warning};
use super::feed::{Feed, ShadowSession};
use super::parse::Read;
use super::section::{Item, Section};
use super::values::{address, identity, prefixes, vrf};

const KINDS: &[&str] = &[
    "static", "bmp", "mrt", "frr", "bird", "openbgpd", "gobgp", "shadow",
];
/// The keys of each kind, in the order of [`KINDS`].
const KEYS: [&[&str]; 8] = [
    &["kind", "peer", "advertised_by_peer", "advertised_to_peer"],
    &["kind", "listen", "allow", "max_routers", "idle", "password"],
    &["kind", "path", "rib"],
    &["kind", "socket", "interval"],
    &["kind", "socket", "interval"],
    &["kind", "command", "socket", "interval"],
    &["kind", "command", "server", "interval"],
    &["kind", "listen", "asn", "password", "sessions"],
];
const SESSION: &[&str] = &[
    "address",
    "session",
    "route_distinguisher",
    "rib",
    "password",
];

const DEFAULT_INTERVAL: Duration = Duration::from_secs(60);
const MIN_INTERVAL: Duration = Duration::from_secs(1);
const DEFAULT_MAX_ROUTERS: u16 = 16;
/// No router need speak more often.
const MIN_IDLE: Duration = Duration::from_secs(10);

/// Longest path of a Unix socket, and more than any sane path here.
const MAX_PATH: usize = 4095;

pub(super) fn feeds<'a>(
    top: &Section<'a>,
    peers: &[Read<'_, Peer>],
    warnings: &mut Vec<Warning>,
) -> Result<Vec<Read<'a, Feed>>, ConfigError> {
    let mut feeds = Vec::new();
    for (item, number) in top.list("feed")?.into_iter().zip(1..) {
        let place = format!("feed {number}");
        let kind: usize = item.kind(&place, KINDS)?;
        let section = item.section(format!("{place} ({})", KINDS[kind]), KEYS[kind])?;
        let value = feed(KINDS[kind], &section, peers, warnings)?;
        feeds.push(Read { value, section });
    }
    Ok(feeds)
}

fn feed(
    kind: &str,
    section: &Section<'_>,
    peers: &[Read<'_, Peer>],
    warnings: &mut Vec<Warning>,
) -> Result<Feed, ConfigError> {
    let or = |key, default: &str| {
        let read = section.optional(key, path)?;
        Ok(read.unwrap_or_else(|| PathBuf::from(default)))
    };
    let interval = || {
        let read = section.optional("interval", |item| item.duration(MIN_INTERVAL))?;
        Ok(read.unwrap_or(DEFAULT_INTERVAL))
    };
    Ok(match kind {
        "static" => fixed(section, peers, warnings)?,
        "bmp" => Feed::Bmp {
            listen: socket(&section.require("listen")?)?,
            max_routers: section
                .optional("max_routers", |item| item.integer(1, 1024))?
                .unwrap_or(DEFAULT_MAX_ROUTERS),
            allow: allow(section)?,
            idle: section.optional("idle", |item| item.duration(MIN_IDLE))?,
            password: section.optional("password", password)?,
        },
        "mrt" => Feed::Mrt {
            path: path(&section.require("path")?)?,
            rib: section
                .optional("rib", |item| {
                    let values = [AdjRib::InPostPolicy, AdjRib::InPrePolicy];
                    item.choice(
                        &["adj-rib-in-post-policy", "adj-rib-in-pre-policy"],
                        &values,
                    )
                })?
                .unwrap_or(AdjRib::InPostPolicy),
        },
        "frr" => Feed::Frr {
            socket: or("socket", "/var/run/frr/bgpd.vty")?,
            interval: interval()?,
        },
        "bird" => Feed::Bird {
            socket: or("socket", "/run/bird/bird.ctl")?,
            interval: interval()?,
        },
        "openbgpd" => Feed::OpenBgpd {
            command: or("command", "bgpctl")?,
            socket: section.optional("socket", path)?,
            interval: interval()?,
        },
        "gobgp" => Feed::GoBgp {
            command: or("command", "gobgp")?,
            server: section.optional("server", socket)?,
            interval: interval()?,
        },
        _ => Feed::Shadow {
            listen: socket(&section.require("listen")?)?,
            asn: identity(&section.require("asn")?)?,
            sessions: sessions(section)?,
        },
    })
}

/// Who may connect: addresses, or prefixes.
fn allow(section: &Section<'_>) -> Result<Vec<Prefix>, ConfigError> {
    let Some(list) = section.get("allow") else {
        return Ok(loopback());
    };
    let items = section.list("allow")?;
    if items.is_empty() {
        return Err(list.error(Problem::Empty));
    }
    let one = |item: Item<'_>| match address(&item) {
        Ok(host) => Ok(Prefix::host(host.into())),
        Err(_) => item.parse(),
    };
    items.into_iter().map(one).collect()
}

fn fixed(
    section: &Section<'_>,
    peers: &[Read<'_, Peer>],
    warnings: &mut Vec<Warning>,
) -> Result<Feed, ConfigError> {
    let peer = peer_id(&section.require("peer")?, peers)?;
    let advertised_by_peer = prefixes(section, "advertised_by_peer", warnings)?;
    let advertised_to_peer = prefixes(section, "advertised_to_peer", warnings)?;
    if advertised_by_peer.is_empty() && advertised_to_peer.is_empty() {
        return Err(match section.get("advertised_by_peer") {
            Some(item) => item.error(Problem::Empty),
            None => section.missing("advertised_by_peer"),
        });
    }
    Ok(Feed::Static {
        peer,
        advertised_by_peer,
        advertised_to_peer,
    })
}

fn sessions(section: &Section<'_>) -> Result<Vec<ShadowSession>, ConfigError> {
    let list = section.require("sessions")?;
    let place = |n| format!("{}: session {n}", section.place());
    let of_all = section.optional("password", password)?;
    let one = |section: Section<'_>| {
        Ok(ShadowSession {
            password: section
                .optional("password", password)?
                .or_else(|| of_all.clone()),
            address: address(&section.require("address")?)?,
            session: address(&section.require("session")?)?,
            vrf: section.optional("route_distinguisher", vrf)?,
            rib: section
                .optional("rib", |item| {
                    let values = [
                        AdjRib::OutPostPolicy,
                        AdjRib::InPrePolicy,
                        AdjRib::InPostPolicy,
                    ];
                    item.choice(
                        &[
                            "adj-rib-out-post-policy",
                            "adj-rib-in-pre-policy",
                            "adj-rib-in-post-policy",
                        ],
                        &values,
                    )
                })?
                .unwrap_or(AdjRib::OutPostPolicy),
        })
    };
    let sections = section.sections("sessions", place, SESSION)?;
    if sections.is_empty() {
        return Err(list.error(Problem::Empty));
    }
    sections.into_iter().map(one).collect()
}

fn password(item: &Item<'_>) -> Result<Password, ConfigError> {
    Password::new(item.text()?.as_bytes()).ok_or_else(|| item.error(Problem::Password))
}

fn peer_id(item: &Item<'_>, peers: &[Read<'_, Peer>]) -> Result<PeerId, ConfigError> {
    let text = item.text()?;
    let mut ids = (0..).map(PeerId).zip(peers);
    let found = ids.find(|(_, read)| read.value.name == text);
    found.map(|(id, _)| id).ok_or_else(|| {
        let names = peers.iter().map(|read| read.value.name.clone());
        item.error(Problem::UnknownPeer(names.collect()))
    })
}

/// A path that is not empty.
pub(super) fn path(item: &Item<'_>) -> Result<PathBuf, ConfigError> {
    let text = item.text()?;
    if text.is_empty() {
        return Err(item.error(Problem::Empty));
    }
    if text.len() > MAX_PATH || text.contains('\0') {
        return Err(item.error(Problem::Name {
            max: MAX_PATH,
            of: "without null bytes",
        }));
    }
    Ok(PathBuf::from(text))
}

/// A path that means the same to the daemon and to commands that run in another directory.
pub(super) fn absolute_path(item: &Item<'_>) -> Result<PathBuf, ConfigError> {
    let path = path(item)?;
    match path.is_absolute() {
        true => Ok(path),
        false => Err(item.error(Problem::Relative)),
    }
}

pub(super) fn socket(item: &Item<'_>) -> Result<SocketAddr, ConfigError> {
    item.text()?
        .parse()
        .map_err(|_| item.error(Problem::Socket))
}

/// The sessions a feed names.
pub(super) fn named_sessions(feed: &Feed) -> impl Iterator<Item = Session> + '_ {
    let sessions = match feed {
        Feed::Shadow { sessions, .. } => sessions.as_slice(),
        _ => &[],
    };
    sessions.iter().map(ShadowSession::mirrors)
}

/// The `session` key of one session of a `shadow` feed.
pub(super) fn session_item<'a>(
    section: &Section<'a>,
    index: usize,
) -> Result<Item<'a>, ConfigError> {
    let place = |n| format!("{}: session {n}", section.place());
    let sessions = section.sections("sessions", place, SESSION)?;
    match sessions.get(index) {
        Some(session) => session.require("session"),
        None => section.require("sessions"),
    }
}
