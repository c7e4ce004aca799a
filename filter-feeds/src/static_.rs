//! Prefixes by hand: the embedded default, and a supplement to other feeds. Sent once at the start; never changes,
//! never fails.
use std::collections::BTreeMap;
use std::time::Duration;

use filter_core::Prefix;

use super::{Feed, MAX_BATCH_EVENTS, Outlet, Stopped};
use filter_lifecycle::route::{AdjRib, PeerId, RouteEvent};

/// Between two looks at whether to stop, which [`super::Stop`] interrupts anyway.
const IDLE: Duration = Duration::from_secs(3600);

/// The prefixes of one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticPeer {
    /// The peer.
    pub peer: PeerId,
    /// What it advertises to us.
    pub advertised_by_peer: Vec<Prefix>,
    /// What we advertise to it.
    pub advertised_to_peer: Vec<Prefix>,
}

/// A feed of configured prefixes.
#[derive(Clone, Debug)]
pub struct StaticFeed {
    peers: Vec<StaticPeer>,
}

impl StaticFeed {
    /// Of these peers. Entries of one peer are added up.
    #[must_use]
    pub const fn new(peers: Vec<StaticPeer>) -> Self {
        Self { peers }
    }

    /// Everything it will ever report: both directions and families of each peer, empty ones too.
    #[must_use]
    pub fn events(&self) -> Vec<RouteEvent> {
        let mut ribs: BTreeMap<(PeerId, AdjRib), Vec<Prefix>> = BTreeMap::new();
        for entry in &self.peers {
            for (rib, prefixes) in [
                (AdjRib::InPrePolicy, &entry.advertised_by_peer),
                (AdjRib::OutPostPolicy, &entry.advertised_to_peer),
            ] {
                ribs.entry((entry.peer, rib)).or_default().extend(prefixes);
            }
        }
        let listed = ribs.into_iter();
        let snapshots =
            listed.flat_map(|((peer, rib), prefixes)| RouteEvent::listed(peer, rib, prefixes));
        std::iter::once(RouteEvent::FeedUp)
            .chain(snapshots)
            .collect()
    }

    fn run_until_stopped(&self, outlet: &Outlet) -> Result<(), Stopped> {
        for batch in self.events().chunks(MAX_BATCH_EVENTS) {
            outlet.send(batch.to_vec())?;
        }
        loop {
            outlet.stop().sleep(IDLE)?;
        }
    }
}

impl Feed for StaticFeed {
    fn run(self: Box<Self>, outlet: &Outlet) {
        // The only way out is a stop.
        let Err(Stopped) = self.run_until_stopped(outlet) else {
            return;
        };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;
    use std::thread;

    use filter_core::Family;
    use filter_lifecycle::route::{FeedId, Origin, Route};

    use super::*;
    use crate::Stop;

    fn prefixes(texts: &[&str]) -> Vec<Prefix> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn tells_each_table_once_and_waits() {
        let feed = StaticFeed::new(vec![
            StaticPeer {
                peer: PeerId(7),
                advertised_by_peer: prefixes(&["45.146.194.0/23", "2a13:47c0:146::/48"]),
                advertised_to_peer: prefixes(&["198.51.100.0/24"]),
            },
            StaticPeer {
                peer: PeerId(7),
                advertised_by_peer: prefixes(&["45.146.194.0/23", "192.0.2.0/24"]),
                advertised_to_peer: Vec::new(),
            },
        ]);
        let (sender, receiver) = sync_channel(1);
        let stop = Stop::default();
        let outlet = Outlet::new(FeedId(3), sender, stop.clone());
        let thread = thread::spawn(move || Box::new(feed).run(&outlet));
        let batch = receiver.recv().unwrap();
        assert_eq!(batch.feed, FeedId(3));
        let snapshot = |rib, family, texts: &[&str]| RouteEvent::Snapshot {
            origin: Origin::Peer(PeerId(7)),
            rib,
            family,
            routes: prefixes(texts).into_iter().map(Route::bare).collect(),
        };
        assert_eq!(
            batch.events,
            [
                RouteEvent::FeedUp,
                snapshot(
                    AdjRib::InPrePolicy,
                    Family::Ipv4,
                    &["45.146.194.0/23", "192.0.2.0/24"]
                ),
                snapshot(AdjRib::InPrePolicy, Family::Ipv6, &["2a13:47c0:146::/48"]),
                snapshot(AdjRib::OutPostPolicy, Family::Ipv4, &["198.51.100.0/24"]),
                snapshot(AdjRib::OutPostPolicy, Family::Ipv6, &[]),
            ]
        );
        stop.stop();
        thread.join().unwrap();
        assert!(receiver.try_recv().is_err(), "said more than once");
    }
}
