//! Peers that only polls speak of: a prefix that is announced between two polls is unknown until the next one. What that
//! costs, and which feeds to ask at once when a violation may be such a prefix. Never polls.
use std::collections::HashMap;
use std::time::Duration;

use filter_core::Reason;
use filter_engine::Violation;
use filter_lifecycle::route::{FeedId, PeerId};
use filter_lifecycle::{Side, SourceStatus, State};
use serde::Serialize;

use crate::config::{Config, Feed};

/// A side of a peer that is known only from polls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Polled {
    /// `sources` or `destinations`.
    side: &'static str,
    /// The kind of the feed that is asked most often.
    feed: &'static str,
    /// Its interval: so long at most, and the time a poll takes, good packets of a new prefix are dropped.
    seconds: u64,
}

/// The sides of a peer with these Adj-RIBs that no feed sends as they change.
pub(super) fn sides(config: &Config, ribs: &[SourceStatus]) -> Vec<Polled> {
    let of = |side| {
        let sent = ribs.iter().filter(|rib| {
            let has_routes = rib.routes > 0 && rib.state != State::Down;
            Side::of(rib.rib) == side && has_routes
        });
        let feeds = sent.filter_map(|rib| config.feeds.get(usize::from(rib.feed.0)));
        let feeds: Vec<&Feed> = feeds.collect();
        if feeds.iter().any(|feed| feed.is_push()) {
            return None;
        }
        let polls = feeds.into_iter();
        let polls = polls.filter_map(|feed| feed.interval().map(|every| (every, feed.kind())));
        let (every, feed): (Duration, _) = polls.min()?;
        Some(Polled {
            side: side.name(),
            feed,
            seconds: every.as_secs(),
        })
    };
    Side::ALL.into_iter().filter_map(of).collect()
}

/// How often a peer's violations ask for a poll at most.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// When each peer's violations asked for a poll last. The feeds themselves are asked no more than they bear.
#[derive(Debug, Default)]
pub(super) struct Asked(HashMap<PeerId, Duration>);

impl Asked {
    /// Peers have other numbers now.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }

    /// May this violation be a prefix that is new since the last poll? Then whose it is, and of which sides; a peer that
    /// asked just now does not ask again.
    pub(super) fn asks(
        &mut self,
        now: Duration,
        violation: &Violation,
    ) -> Option<(PeerId, Vec<Side>)> {
        let peer = violation.peer?;
        let sides = match violation.reason {
            Reason::SourceUnannounced => vec![Side::Sources],
            Reason::DestinationUnannounced => vec![Side::Destinations],
            Reason::BothUnannounced => Side::ALL.to_vec(),
            _ => return None,
        };
        let last = self.0.get(&peer);
        if last.is_some_and(|at| now < *at + ASK_EVERY) {
            return None;
        }
        self.0.insert(peer, now);
        Some((peer, sides))
    }
}

/// The feeds that report this side of a peer with these Adj-RIBs, if all of them are polled.
pub(super) fn feeds(config: &Config, ribs: &[SourceStatus], side: Side) -> Vec<FeedId> {
    let feed = |id: &FeedId| config.feeds.get(usize::from(id.0));
    let of_side = ribs
        .iter()
        .filter(|rib| Side::of(rib.rib) == side && rib.state != State::Down);
    let mut ids: Vec<FeedId> = of_side.map(|rib| rib.feed).collect();
    ids.sort_unstable();
    ids.dedup();
    if ids.iter().filter_map(feed).any(Feed::is_push) {
        return Vec::new();
    }
    ids.retain(|id| feed(id).is_some_and(|feed| feed.interval().is_some()));
    ids
}

#[cfg(test)]
mod tests {
    use filter_core::Family;
    use filter_lifecycle::route::{AdjRib, FeedId, Session};

    use super::*;

    const CONFIG: &str = r#"
[router]
asn = 64500
[[interface]]
name = "ixp0"
kind = "port"
[[peer]]
name = "p1"
asn = 64501
interface = "ixp0"
addresses = ["192.0.2.11"]
[[feed]]
kind = "frr"
interval = 30
[[feed]]
kind = "bird"
[[feed]]
kind = "bmp"
listen = "127.0.0.1:0"
[[feed]]
kind = "shadow"
listen = "127.0.0.1:1790"
asn = 64999
sessions = [{ address = "127.0.3.11", session = "192.0.2.11" }]
[[feed]]
kind = "static"
peer = "p1"
advertised_by_peer = ["45.146.194.0/23"]
"#;
    const FRR: u16 = 0;
    const BIRD: u16 = 1;
    const BMP: u16 = 2;
    const SHADOW: u16 = 3;
    const STATIC: u16 = 4;

    fn rib(feed: u16, rib: AdjRib, routes: usize) -> SourceStatus {
        SourceStatus {
            feed: FeedId(feed),
            session: Some(Session::global("192.0.2.11".parse().unwrap())),
            rib,
            family: Family::Ipv4,
            state: State::Synced,
            age: Duration::ZERO,
            routes,
            hold_left: None,
        }
    }

    fn polled(side: &'static str, feed: &'static str, seconds: u64) -> Polled {
        Polled {
            side,
            feed,
            seconds,
        }
    }

    #[test]
    fn a_side_that_only_polls_speak_of_costs_an_interval() {
        let (config, _) = Config::parse(CONFIG, "test").unwrap();
        let (sources, destinations) = (AdjRib::InPrePolicy, AdjRib::OutPostPolicy);
        let both = [rib(FRR, sources, 3), rib(FRR, destinations, 2)];
        let cases: [(&[SourceStatus], &[Polled]); 7] = [
            (&[], &[]),
            (
                &both,
                &[
                    polled("sources", "frr", 30),
                    polled("destinations", "frr", 30),
                ],
            ),
            (
                &[rib(BIRD, sources, 3), rib(FRR, sources, 3)],
                &[polled("sources", "frr", 30)],
            ),
            (&[rib(BIRD, sources, 3)], &[polled("sources", "bird", 60)]),
            (&[rib(FRR, sources, 3), rib(BMP, sources, 3)], &[]),
            // A side of which a stream has reported nothing is not known from it.
            (
                &[
                    rib(FRR, sources, 3),
                    rib(BMP, sources, 0),
                    rib(SHADOW, destinations, 1),
                ],
                &[polled("sources", "frr", 30)],
            ),
            (&[rib(STATIC, sources, 1)], &[]),
        ];
        for (ribs, expected) in cases {
            assert_eq!(sides(&config, ribs), expected, "{ribs:?}");
        }
    }
    #[test]
    fn a_violation_asks_the_feeds_that_alone_speak_of_its_side() {
        let (config, _) = Config::parse(CONFIG, "test").unwrap();
        let ribs = [
            rib(FRR, AdjRib::InPrePolicy, 3),
            rib(BIRD, AdjRib::InPrePolicy, 3),
            rib(STATIC, AdjRib::InPrePolicy, 1),
            rib(BIRD, AdjRib::OutPostPolicy, 3),
            rib(SHADOW, AdjRib::OutPostPolicy, 0),
        ];
        assert_eq!(
            feeds(&config, &ribs, Side::Sources),
            [FeedId(FRR), FeedId(BIRD)]
        );
        assert_eq!(feeds(&config, &ribs, Side::Destinations), []);

        let violation = |peer: u32, reason| Violation {
            peer: Some(PeerId(peer)),
            interface: String::new(),
            ifindex: 0,
            reason,
            dropped: true,
            length: 64,
            header: Vec::new(),
            flow: None,
        };
        let mut asked = Asked::default();
        let mut sides = |millis, peer, reason| {
            let asks = asked.asks(Duration::from_millis(millis), &violation(peer, reason));
            asks.map(|(_, sides)| sides)
        };
        assert_eq!(sides(0, 0, Reason::SourceBogon), None);
        assert_eq!(
            sides(0, 0, Reason::SourceUnannounced),
            Some(vec![Side::Sources])
        );
        assert_eq!(sides(999, 0, Reason::DestinationUnannounced), None);
        assert_eq!(
            sides(999, 1, Reason::BothUnannounced),
            Some(Side::ALL.to_vec())
        );
        let after = sides(1000, 0, Reason::DestinationUnannounced);
        assert_eq!(after, Some(vec![Side::Destinations]));
    }
}
