//! What it costs to enforce a peer that is known from polls only: a prefix that is announced between two polls is unknown
//! until the next one. Decides nothing.
use std::collections::BTreeMap;
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
    /// The time between two of its polls: so long at most, and the time a poll takes, good packets of a new prefix are dropped.
    seconds: u64,
}

/// The sides of a peer with these Adj-RIBs that no feed sends as they change. `every` is the time between two polls of a
/// feed, if it polls.
pub(super) fn sides(
    config: &Config,
    ribs: &[SourceStatus],
    every: impl Fn(FeedId) -> Option<Duration>,
) -> Vec<Polled> {
    let of = |side| {
        let sent = ribs.iter().filter(|rib| {
            let has_routes = rib.routes > 0 && rib.state != State::Down;
            Side::of(rib.rib) == side && has_routes
        });
        let feed = |id: FeedId| Some((id, config.feeds.get(usize::from(id.0))?));
        let feeds: Vec<(FeedId, &Feed)> = sent.filter_map(|rib| feed(rib.feed)).collect();
        if feeds.iter().any(|(_, feed)| feed.is_push()) {
            return None;
        }
        let polls = feeds
            .into_iter()
            .filter_map(|(id, feed)| every(id).map(|every| (every, feed.kind())));
        let (every, feed): (Duration, _) = polls.min()?;
        Some(Polled {
            side: side.name(),
            feed,
            seconds: every.as_secs(),
        })
    };
    Side::ALL.into_iter().filter_map(of).collect()
}

/// How long it is remembered which sides of a peer are known from polls only: a flood of samples does not look it up anew.
const REMEMBERED: Duration = Duration::from_secs(5);

/// Which sides of whom are known from polls only, by peer and when it was looked up.
#[derive(Debug, Default)]
pub(super) struct PolledSides(BTreeMap<PeerId, (Duration, Vec<Polled>)>);

impl PolledSides {
    /// May a sampled packet be of a prefix that was announced since the last poll? `look` finds the peer's sides that are
    /// known from polls only.
    pub(super) fn may_be_announced(
        &mut self,
        now: Duration,
        violation: &Violation,
        look: impl FnOnce(PeerId) -> Vec<Polled>,
    ) -> bool {
        let sides: &[Side] = match violation.reason {
            Reason::SourceUnannounced => &[Side::Sources],
            Reason::DestinationUnannounced => &[Side::Destinations],
            Reason::BothUnannounced => &Side::ALL,
            _ => return false,
        };
        let Some(id) = violation.peer else {
            return false;
        };
        let known = self.0.entry(id);
        let (at, polled) = known.or_insert_with(|| (Duration::ZERO, Vec::new()));
        if at.is_zero() || now >= *at + REMEMBERED {
            (*at, *polled) = (now, look(id));
        }
        let is_polled = |side: &Side| polled.iter().any(|each| each.side == side.name());
        sides.iter().any(is_polled)
    }
}

#[cfg(test)]
mod tests {
    use filter_core::Family;
    use filter_lifecycle::route::{AdjRib, Session};

    use super::*;
    use crate::config::ONE_PEER;

    const FEEDS: &str = r#"
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
    fn a_side_that_is_known_from_polls_only_costs_an_interval() {
        let (config, _) = Config::parse(&format!("{ONE_PEER}{FEEDS}"), "test").unwrap();
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
            let interval = |id: FeedId| config.feeds[usize::from(id.0)].interval();
            assert_eq!(sides(&config, ribs, interval), expected, "{ribs:?}");
        }
        // A router that answers slowly is asked less often than configured.
        let slow = |_| Some(Duration::from_secs(190));
        let expected = [polled("sources", "frr", 190)];
        assert_eq!(sides(&config, &[rib(FRR, sources, 3)], slow), expected);
    }

    #[test]
    fn an_unannounced_packet_asks_for_a_poll_where_only_polls_know() {
        let sampled = |reason, peer| Violation {
            peer,
            interface: "ixp0".to_owned(),
            vlans: filter_core::packet::Vlans::NONE,
            ifindex: 7,
            reason,
            dropped: true,
            time_ns: u64::MAX,
            length: 64,
            header: Vec::new(),
            is_ethernet: true,
            flow: None,
        };
        let (peer, now) = (Some(PeerId(0)), Duration::from_secs(1));
        let asks = |known: &mut PolledSides, now, reason, peer, side: Option<&'static str>| {
            let look = |_| {
                side.map(|side| polled(side, "frr", 30))
                    .into_iter()
                    .collect()
            };
            known.may_be_announced(now, &sampled(reason, peer), look)
        };
        for reason in Reason::ALL {
            for (side, matching) in [
                (None, &[][..]),
                (Some("sources"), &["source-unannounced", "both-unannounced"]),
                (
                    Some("destinations"),
                    &["destination-unannounced", "both-unannounced"],
                ),
            ] {
                let known = &mut PolledSides::default();
                assert!(!asks(known, now, reason, None, side));
                let expected = matching.contains(&reason.name());
                let asked = asks(known, now, reason, peer, side);
                assert_eq!(asked, expected, "{} {side:?}", reason.name());
            }
        }
        // A stream that comes is seen once what is remembered is old.
        let reason = Reason::SourceUnannounced;
        let known = &mut PolledSides::default();
        assert!(asks(known, now, reason, peer, Some("sources")));
        let just_before = now + REMEMBERED - Duration::from_millis(1);
        assert!(asks(known, just_before, reason, peer, None));
        assert!(!asks(known, now + REMEMBERED, reason, peer, None));
    }
}
