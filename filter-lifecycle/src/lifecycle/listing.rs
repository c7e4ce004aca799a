//! One side of one peer, prefix by prefix: what is received and from whom, what is admitted, what is refused and why, what
//! only a hold keeps. For operators who ask; changes nothing.
use std::collections::BTreeMap;
use std::time::Duration;

use filter_core::{Address, Family, Prefix};

use super::evidence::View;
use super::source::Counting;
use super::{ListedRoute, Refusal, Side, session_of};
use crate::route::PeerId;

/// Prefixes of one side that are listed, the lowest; whoever wants more asks for a part of them.
pub const MAX_LISTED: usize = 10_000;
/// Routes of each of them that are listed.
pub const MAX_LISTED_ROUTES: usize = 16;

/// How a prefix stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is valid, and a route or the operator holds it.
    Valid,
    /// It is valid until its hold is over.
    Held(Duration),
    /// It is received and not admitted.
    Refused(Refusal),
    /// It is received, and does not count, or not in whole: its session is over a limit or has another AS, or the sources
    /// cover too much of the address space.
    NotCounted,
}

/// One prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedPrefix {
    /// Which.
    pub prefix: Prefix,
    /// How it stands.
    pub standing: Standing,
    /// The routes of it: at most [`MAX_LISTED_ROUTES`].
    pub routes: Vec<ListedRoute>,
}

/// The lowest prefixes of all that are taken in, and their routes. Never holds more than it may list, however many there are.
#[derive(Default)]
struct Lowest {
    found: BTreeMap<Prefix, Vec<ListedRoute>>,
    has_more: bool,
}

impl Lowest {
    /// The routes of a prefix, if it is among the lowest so far.
    fn entry(&mut self, prefix: Prefix) -> Option<&mut Vec<ListedRoute>> {
        if self.found.len() >= MAX_LISTED && !self.found.contains_key(&prefix) {
            self.has_more = true;
            let highest = self.found.last_key_value().map(|(&highest, _)| highest)?;
            if prefix > highest {
                return None;
            }
            self.found.remove(&highest);
        }
        Some(self.found.entry(prefix).or_default())
    }

    fn take(&mut self, route: ListedRoute) {
        let Some(routes) = self.entry(route.prefix) else {
            return;
        };
        if routes.len() < MAX_LISTED_ROUTES {
            routes.push(route);
        } else if route.hold_left.is_none()
            && let Some(held) = routes.iter_mut().find(|it| it.hold_left.is_some())
        {
            *held = route; // by which the prefix stands longer than by a hold
        }
    }
}

/// A side, or the part of it that was asked for, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// At most [`MAX_LISTED`].
    pub prefixes: Vec<ListedPrefix>,
    /// Are there more?
    pub has_more: bool,
}

impl View<'_> {
    /// The prefixes of a side of a peer that lie within this one, if one is given.
    pub(super) fn listing(self, id: PeerId, side: Side, within: Option<Prefix>) -> Listing {
        let is_asked = |prefix: Prefix| within.is_none_or(|within| within.covers(prefix));
        let mut lowest = Lowest::default();
        for family in Family::ALL {
            self.received(id, side, family, is_asked)
                .for_each(|route| lowest.take(route));
        }
        let peer = self.wanted.peer(id);
        for prefix in peer.all(side).filter(|&prefix| is_asked(prefix)) {
            _ = lowest.entry(prefix);
        }
        let Lowest { found, has_more } = lowest;
        let prefixes = found.into_iter().map(|(prefix, routes)| ListedPrefix {
            prefix,
            standing: self.stands(id, side, (prefix, &routes)),
            routes,
        });
        Listing {
            prefixes: prefixes.collect(),
            has_more,
        }
    }

    /// How one prefix of a side stands.
    fn stands(
        self,
        id: PeerId,
        side: Side,
        (prefix, routes): (Prefix, &[ListedRoute]),
    ) -> Standing {
        let peer = self.wanted.peer(id);
        let withheld = self.facts.withheld();
        if side == Side::Sources
            && peer.has(side, prefix)
            && peer.limits().withholds_some_of(prefix, withheld)
        {
            return Standing::NotCounted;
        }
        if let Some(left) = peer.hold_left(self.now, side, prefix) {
            return Standing::Held(left);
        }
        if peer.has(side, prefix) {
            // Where the sessions of all its routes have ended, it counts as long as the last of them.
            let holds: Option<Vec<Duration>> = routes.iter().map(|route| route.hold_left).collect();
            let last = holds.and_then(|holds| holds.into_iter().max());
            return last.map_or(Standing::Valid, Standing::Held);
        }
        let refused = peer.refused().why(prefix).filter(|_| side == Side::Sources);
        refused.map_or(Standing::NotCounted, Standing::Refused)
    }

    /// The routes of a side and family, admitted or not.
    pub(super) fn received(
        self,
        id: PeerId,
        side: Side,
        family: Family,
        is_asked: impl Fn(Prefix) -> bool,
    ) -> impl Iterator<Item = ListedRoute> {
        let keys = self.sources.of_side(id, side, family);
        let sources = keys.filter_map(move |key| Some((key, self.sources.get(key)?)));
        let routes = sources.flat_map(|(key, source)| {
            source
                .counting()
                .map(move |counting| (key, source.owner(), counting))
        });
        routes.filter_map(move |(key, owner, counting)| {
            let Counting {
                route,
                since,
                hold_until,
            } = counting;
            let targets = |scope| self.facts.targets(key, owner, scope);
            let is_its = is_asked(route.prefix) && targets(&route.scope).contains(id);
            is_its.then(|| ListedRoute {
                prefix: route.prefix,
                feed: key.feed,
                session: session_of(key.origin),
                rib: key.rib,
                age: self.now.saturating_sub(since),
                hold_left: hold_until.map(|until| until.saturating_sub(self.now)),
            })
        })
    }

    /// The longest prefix of a side that covers this address and does not count, or counts only until its hold is over.
    pub(super) fn odd(self, id: PeerId, side: Side, address: Address) -> Option<ListedPrefix> {
        let covers = |prefix: Prefix| prefix.contains(address);
        let mut received: BTreeMap<Prefix, Vec<ListedRoute>> = BTreeMap::new();
        for route in self.received(id, side, address.family, covers) {
            received.entry(route.prefix).or_default().push(route);
        }
        if let Some(prefix) = self.wanted.peer(id).covering(side, address) {
            received.entry(prefix).or_default();
        }
        let listed = received.into_iter().map(|(prefix, routes)| ListedPrefix {
            prefix,
            standing: self.stands(id, side, (prefix, &routes)),
            routes,
        });
        let odd = listed.filter(|it| it.standing != Standing::Valid);
        odd.max_by_key(|it| it.prefix.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::{AdjRib, FeedId};

    fn route(number: u32) -> ListedRoute {
        let address = std::net::Ipv4Addr::from(number << 8);
        ListedRoute {
            prefix: Prefix::new(std::net::IpAddr::from(address).into(), 24).unwrap(),
            feed: FeedId(0),
            session: None,
            rib: AdjRib::InPrePolicy,
            age: Duration::ZERO,
            hold_left: None,
        }
    }

    #[test]
    fn of_many_prefixes_and_routes_only_those_that_are_listed_are_held() {
        let all = MAX_LISTED as u32;
        let mut lowest = Lowest::default();
        for number in (1..=all).rev() {
            lowest.take(route(number));
        }
        assert!(!lowest.has_more, "at the limit");
        for number in [all + 1, 0, 1] {
            lowest.take(route(number));
            assert_eq!(lowest.found.len(), MAX_LISTED);
        }
        assert!(lowest.has_more);
        let held: Vec<Prefix> = lowest.found.keys().copied().collect();
        assert_eq!(
            held,
            (0..all)
                .map(|number| route(number).prefix)
                .collect::<Vec<_>>()
        );
        assert_eq!(lowest.found[&route(1).prefix].len(), 2);
        for _ in 0..2 * MAX_LISTED_ROUTES {
            lowest.take(route(2));
        }
        assert_eq!(lowest.found[&route(2).prefix].len(), MAX_LISTED_ROUTES);
        // One whose session is up is listed, however many there are that only a hold keeps.
        let held = |number| ListedRoute {
            hold_left: Some(Duration::ZERO),
            ..route(number)
        };
        for _ in 0..2 * MAX_LISTED_ROUTES {
            lowest.take(held(3));
        }
        lowest.take(route(3));
        let routes = &lowest.found[&route(3).prefix];
        let up = routes.iter().filter(|it| it.hold_left.is_none());
        assert_eq!((routes.len(), up.count()), (MAX_LISTED_ROUTES, 2));
    }
}
