//! One peer's prefixes: a ledger for each side, what is refused, and what its limits freeze. Knows no feed and no
//! session, and never decides what is missing.
use std::time::Duration;

use filter_core::layout::Families;
use filter_core::set::{PrefixSet, Ranges};
use filter_core::{Address, Family, Prefix};

use super::address_set::{AddressSet, Valid};
use super::breaker::Breaker;
use super::ledger::{Change, Departure, Expiry, Holder, Ledger, Left, Moment};
use super::limits::Limits;
use super::recent::{Recent, RecentlyValid};
use super::refused::Refused;
use super::{Refusal, Side};

/// See the file's head.
#[derive(Debug, Default)]
pub(super) struct Peer {
    ledgers: [Ledger; 2],
    addresses: [AddressSet; 2],
    refused: Refused,
    limits: Limits,
    recent: Recent,
    breaker: Breaker,
}

impl Peer {
    fn ledger(&self, side: Side) -> &Ledger {
        &self.ledgers[side as usize]
    }

    /// Adds one holder of the prefix: a session's route or a static entry. Returns whether the side's valid prefixes
    /// changed.
    pub(super) fn add(&mut self, side: Side, prefix: Prefix, holder: Holder) -> Change {
        let change = self.ledgers[side as usize].add(prefix, holder);
        if change == Change::Changed {
            let len = self.len(side);
            self.addresses[side as usize].changed(prefix, len);
        }
        change
    }

    /// Removes one holder of the prefix; see [`Ledger::remove`].
    pub(super) fn remove(
        &mut self,
        side: Side,
        prefix: Prefix,
        by_hand: bool,
        leaves: (Moment, Left),
    ) -> Option<Departure> {
        self.ledgers[side as usize].remove(prefix, by_hand, leaves)
    }

    /// A packet from there, or to there, was dropped: did the address leave the side lately, although nothing withdrew it?
    pub(super) fn is_evidence(&mut self, now: Duration, side: Side, address: Address) -> bool {
        // Else it was dropped before it came back.
        !self.counts(side, address) && self.breaker.is_evidence(now, side, address)
    }

    pub(super) const fn breaker_mut(&mut self) -> &mut Breaker {
        &mut self.breaker
    }

    /// A packet was dropped for what left this side and family lately, although nothing withdrew it: all that left so is valid
    /// until then. Returns when to look at it again.
    pub(super) fn trip(
        &mut self,
        now: Duration,
        (side, family): (Side, Family),
        until: Moment,
    ) -> Vec<(Prefix, Departure)> {
        let mut back = Vec::new();
        for prefix in self.breaker.trip(now, side, family) {
            let (change, departure) = self.ledgers[side as usize].keep(prefix, until);
            if change == Change::Changed {
                let len = self.len(side);
                self.addresses[side as usize].changed(prefix, len);
            }
            back.extend(departure.map(|departure| (prefix, departure)));
        }
        back
    }

    /// The hold of a prefix is over. Returns also whether that changes what is wanted.
    pub(super) fn expire(
        &mut self,
        side: Side,
        prefix: Prefix,
        due: Moment,
        now: Moment,
    ) -> (Expiry, Change) {
        let expiry = self.ledgers[side as usize].expire(prefix, due, now);
        let Expiry::Gone(left) = expiry else {
            return (expiry, Change::Same);
        };
        if left == Left::Vanished {
            self.breaker.vanished(now.time(), side, prefix);
        }
        let len = self.len(side);
        self.addresses[side as usize].changed(prefix, len);
        self.recent.left(now.time(), side, prefix);
        (expiry, Change::Changed)
    }

    /// A route is not admitted. Returns whether that is to be reported.
    pub(super) fn refuse(&mut self, now: Duration, prefix: Prefix, refusal: Refusal) -> bool {
        self.refused.add(now, prefix, refusal)
    }

    /// A route that was not admitted is gone.
    pub(super) fn forget_refused(&mut self, prefix: Prefix) {
        self.refused.remove(prefix);
    }

    pub(super) const fn refused(&self) -> &Refused {
        &self.refused
    }

    /// S'(p) as it is now: without `withheld`, with `extras`. Returns also the families that now cover too much of the
    /// address space, or do not any more.
    pub(super) fn source_addresses(
        &mut self,
        now: Duration,
        known: Families,
        withheld: &PrefixSet,
        extras: &PrefixSet,
    ) -> (PrefixSet, Vec<(Family, bool)>) {
        let mut sources = self.update(Side::Sources, withheld, extras);
        let covers = self.limits.cover(now, known, (&mut sources, extras));
        (sources, covers)
    }

    /// D'(p) as it is now, with what `always` has.
    pub(super) fn destination_addresses(&mut self, always: &PrefixSet) -> PrefixSet {
        self.update(Side::Destinations, PrefixSet::empty(), always)
    }

    fn update(&mut self, side: Side, withheld: &PrefixSet, always: &PrefixSet) -> PrefixSet {
        let mut addresses = std::mem::take(&mut self.addresses[side as usize]);
        let set = addresses.update(&Enforced { peer: self, side }, withheld, always);
        self.addresses[side as usize] = addresses;
        set
    }

    pub(super) const fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(super) const fn limits_mut(&mut self) -> &mut Limits {
        &mut self.limits
    }

    /// The prefixes of a side and family as they are to be enforced, ascending.
    pub(super) fn enforced(&self, side: Side, family: Family) -> impl Iterator<Item = Prefix> + '_ {
        self.ledger(side).prefixes(family)
    }

    /// The longest of them that covers this address.
    pub(super) fn covering(&self, side: Side, address: Address) -> Option<Prefix> {
        self.ledger(side).covering(Prefix::host(address))
    }

    /// Is this address valid? Not one that a side covers only by what it grew to beyond its limit.
    pub(super) fn counts(&self, side: Side, address: Address) -> bool {
        let is_withheld = side == Side::Sources && self.limits.withholds(address);
        self.covering(side, address).is_some() && !is_withheld
    }

    /// Every valid prefix of a side, ascending by family.
    pub(super) fn all(&self, side: Side) -> impl Iterator<Item = Prefix> + '_ {
        let of = move |family| self.ledger(side).prefixes(family);
        Family::ALL.into_iter().flat_map(of)
    }

    pub(super) fn has(&self, side: Side, prefix: Prefix) -> bool {
        self.ledger(side).has(prefix)
    }

    /// How long a prefix is still valid that no route holds.
    pub(super) fn hold_left(&self, now: Duration, side: Side, prefix: Prefix) -> Option<Duration> {
        let leaves_at = self.ledger(side).leaves_at(prefix)?;
        Some(leaves_at.time().saturating_sub(now))
    }

    /// The longest prefix that left this side within the last day and covers this address.
    pub(super) fn recently_valid(
        &self,
        now: Duration,
        side: Side,
        address: Address,
    ) -> Option<RecentlyValid> {
        self.recent.covering(now, side, address)
    }

    /// How many prefixes of a side and family are to be enforced: held by a route, or until their hold is over.
    pub(super) fn len_of(&self, side: Side, family: Family) -> usize {
        self.ledger(side).len(family)
    }

    /// How many prefixes of a side are to be enforced.
    pub(super) fn len(&self, side: Side) -> usize {
        Family::ALL
            .into_iter()
            .map(|family| self.len_of(side, family))
            .sum()
    }
}

/// One side's prefixes as they are to be enforced.
struct Enforced<'a> {
    peer: &'a Peer,
    side: Side,
}

impl Valid for Enforced<'_> {
    fn all(&self) -> PrefixSet {
        let ranges =
            |family| Ranges::ascending(self.peer.enforced(self.side, family).map(Prefix::range));
        PrefixSet {
            ipv4: ranges(Family::Ipv4),
            ipv6: ranges(Family::Ipv6),
        }
    }

    fn within(&self, prefix: Prefix) -> impl Iterator<Item = Prefix> {
        let ledger = self.peer.ledger(self.side);
        let covered = ledger.covering(prefix).map(|_| prefix);
        let inside = covered.is_none().then(|| ledger.within(prefix));
        covered.into_iter().chain(inside.into_iter().flatten())
    }
}
