//! What it costs to enforce a peer that only polls speak of: a prefix that is announced between two polls is unknown until
//! the next one. Says so; decides nothing.
use std::time::Duration;

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
}
