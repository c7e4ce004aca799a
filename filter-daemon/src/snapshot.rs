//! What a configuration's lists and files hold: the routes a capture is replayed by. The lifecycle
//! decides whose they are and what is admitted, as in the running daemon. Reads files; speaks to no router, and knows
//! no time.
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{Config, Feed};
use crate::runtime::Journal;
use filter_core::layout::Known;
use filter_feeds::mrt::{MrtConfig, MrtError, MrtFeed};
use filter_feeds::static_::{StaticFeed, StaticPeer};
use filter_lifecycle::policy::Routes;
use filter_lifecycle::route::{FeedId, Origin, PeerId, RouteEvent, Session};
use filter_lifecycle::{
    Directory, Event, Lifecycle, MAX_REFUSED_LISTED, Owner, RefusedPrefix, Side,
};

/// Why the routes are not to be had.
#[derive(Debug, thiserror::Error)]
#[error("MRT file {}: {error}", path.display())]
pub struct SnapshotError {
    /// Which file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub error: MrtError,
}

/// The routes.
#[derive(Debug)]
pub struct Snapshot {
    /// By peer; one without routes has none.
    pub routes: BTreeMap<PeerId, Routes>,
    /// By peer: the sides that these lists and files report. Nothing is judged by the others.
    pub known: BTreeMap<PeerId, Known>,
    /// What is odd about them, a line each.
    pub notes: Vec<String>,
}

/// Reads everything that `static` and `mrt` feeds report.
///
/// # Errors
/// A file that cannot be read, or not be believed.
pub fn read(config: &Arc<Config>) -> Result<Snapshot, SnapshotError> {
    let mut life = Lifecycle::new(Arc::clone(&config.spec));
    let directory = Directory::new(&config.spec);
    let mut notes = Vec::new();
    for (feed, id) in config.feeds.iter().zip((0..).map(FeedId)) {
        notes.extend(unasked(config, feed));
        let events = events(feed)?;
        notes.extend(unused(config, &directory, feed, &events));
        for event in &events {
            life.event(Duration::ZERO, id, event);
            let events = life.take_events();
            let noted = events.iter().filter(|event| is_worth_a_note(event));
            notes.extend(noted.map(|event| Journal::describe(config, event)));
        }
    }
    life.settle(Duration::ZERO);
    let (mut routes, mut known) = (BTreeMap::new(), BTreeMap::new());
    for (id, peer) in config.spec.peer_ids() {
        let status = life.status(Duration::ZERO, id);
        for RefusedPrefix { prefix, why } in &status.refused_list {
            let name = &peer.name;
            notes.push(format!(
                "peer \"{name}\": {prefix} is not admitted: it is {why}"
            ));
        }
        if status.refused > MAX_REFUSED_LISTED {
            let (name, more) = (&peer.name, status.refused - MAX_REFUSED_LISTED);
            notes.push(format!(
                "peer \"{name}\": {more} more prefixes are not admitted"
            ));
        }
        let prefixes = |side| life.prefixes(id, side).collect();
        let of_peer = Routes {
            sources: prefixes(Side::Sources),
            destinations: prefixes(Side::Destinations),
        };
        if of_peer != Routes::default() {
            routes.insert(id, of_peer);
        }
        known.insert(id, life.known(id));
    }
    Ok(Snapshot {
        routes,
        known,
        notes,
    })
}

/// What a feed reports without a router; nothing if it would have to ask one.
fn events(feed: &Feed) -> Result<Vec<RouteEvent>, SnapshotError> {
    match feed {
        Feed::Static {
            peer,
            advertised_by_peer,
            advertised_to_peer,
        } => Ok(StaticFeed::new(vec![StaticPeer {
            peer: *peer,
            advertised_by_peer: advertised_by_peer.clone(),
            advertised_to_peer: advertised_to_peer.clone(),
        }])
        .events()),
        Feed::Mrt { path, rib } => {
            let feed = MrtFeed::new(MrtConfig {
                rib: *rib,
                ..MrtConfig::new(path.clone())
            });
            feed.load().map_err(|error| SnapshotError {
                path: path.clone(),
                error,
            })
        }
        _ => Ok(Vec::new()),
    }
}

/// A feed that would have to ask a router: what only it has is not in the tables.
fn unasked(config: &Config, feed: &Feed) -> Option<String> {
    let is_read = matches!(feed, Feed::Static { .. } | Feed::Mrt { .. });
    let name = feed.name(&config.spec);
    (!is_read).then(|| {
        format!(
            "the {} feed {name} asks a router, which replay does not: its routes are not known here; give an `mrt` feed or `static` lists",
            feed.kind()
        )
    })
}

/// Adj-RIBs of a file that count for no peer: of sessions of no peer, and those that the peer's view does not look at.
fn unused(
    config: &Config,
    directory: &Directory,
    feed: &Feed,
    events: &[RouteEvent],
) -> Vec<String> {
    let (mut strangers, mut others): (BTreeSet<Session>, BTreeSet<PeerId>) = Default::default();
    for event in events {
        let RouteEvent::Snapshot {
            origin: Origin::Session(session),
            rib,
            routes,
            ..
        } = event
        else {
            continue;
        };
        match directory.owner(*session) {
            None => _ = strangers.insert(*session),
            Some(Owner::Peer(id)) => {
                let view = config.spec.peer(id).map(|peer| peer.view.rib());
                if view != Some(*rib) && !routes.is_empty() {
                    others.insert(id);
                }
            }
            Some(Owner::RouteServer(_)) => {}
        }
    }
    let name = |id: &PeerId| config.spec.peer(*id).map_or("?", |peer| peer.name.as_str());
    let others = others.iter().map(|id| {
        format!(
            "peer \"{}\": its `view` is not the Adj-RIB that the {} feed reports, so that its routes there do not count: set the peer's `view`, or the feed's `rib`",
            name(id),
            feed.kind()
        )
    });
    let strangers = strangers.first().map(|first| {
        format!(
            "the {} feed has routes of {} sessions that no peer and no route server has, the first is {first}",
            feed.kind(),
            strangers.len()
        )
    });
    others.chain(strangers).collect()
}

/// Everything else is of sessions, feeds and time, which there are none of here.
const fn is_worth_a_note(event: &Event) -> bool {
    matches!(
        event,
        Event::MaxPrefixExceeded { .. } | Event::NextHopRewritten(..) | Event::NextHopUnknown(..)
    )
}
