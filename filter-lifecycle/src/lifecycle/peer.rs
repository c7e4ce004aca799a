//! One peer's prefixes: a ledger for each side, what is refused, and what its limits freeze. Knows no feed and no
//! session, and never decides what is missing.
use std::time::Duration;

use filter_core::set::{PrefixSet, Ranges};
use filter_core::{Address, Family, Prefix};

use super::address_set::{AddressSet, Valid};
use super::ledger::{Change, Departure, Expiry, Ledger, Moment};
use super::limits::{Leaves, Limited, Limits};
use super::refused::Refused;
use super::{Refusal, Side};

/// See the file's head.
#[derive(Debug, Default)]
pub(super) struct Peer {
    ledgers: [Ledger; 2],
    addresses: [AddressSet; 2],
    refused: Refused,
    limits: Limits,
}

impl Peer {
    fn ledger(&self, side: Side) -> &Ledger {
        &self.ledgers[side as usize]
    }

    /// Adds one holder of the prefix: a session's route or a static entry. Returns whether the side's valid prefixes
    /// changed.
    pub(super) fn add(&mut self, side: Side, prefix: Prefix, by_hand: bool) -> Change {
        let change = self.ledgers[side as usize].add(prefix, by_hand);
        if change == Change::Changed && !self.is_frozen(side, prefix.family()) {
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
        leaves_at: Moment,
    ) -> Option<Departure> {
        self.ledgers[side as usize].remove(prefix, by_hand, leaves_at)
    }

    /// The hold of a prefix is over. Returns also whether that changes what is wanted.
    pub(super) fn expire(&mut self, side: Side, prefix: Prefix, now: Moment) -> (Expiry, Change) {
        let expiry = self.ledgers[side as usize].expire(prefix, now);
        if expiry != Expiry::Gone {
            return (expiry, Change::Same);
        }
        let leaves = match side {
            Side::Sources => self.limits.leave(prefix),
            Side::Destinations => Leaves::AsReceived,
        };
        let len = self.len(side);
        let addresses = &mut self.addresses[side as usize];
        match leaves {
            Leaves::AsReceived => addresses.changed(prefix, len),
            Leaves::Good => addresses.all_changed(),
            Leaves::Not => return (expiry, Change::Same),
        }
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
        withheld: &PrefixSet,
        extras: &PrefixSet,
    ) -> (PrefixSet, Vec<(Family, bool)>) {
        let mut sources = self.update(Side::Sources, withheld, extras);
        let covers = self.limits.cover(&mut sources);
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

    /// Is this family of the side frozen at its last good prefixes?
    pub(super) fn is_frozen(&self, side: Side, family: Family) -> bool {
        side == Side::Sources && self.limits.good(family).is_some()
    }

    /// How many prefixes of a family the peer advertises by its feeds, admitted or not: what `max_prefixes` limits.
    pub(super) const fn advertised(&self, family: Family) -> u32 {
        self.ledgers[Side::Sources as usize].told(family) + self.refused.of_family(family)
    }

    /// Freezes or thaws a family's sources. What was there before `newest` is good, if it ever was a whole table.
    pub(super) fn limit(&mut self, family: Family, limit: u32, newest: Option<Prefix>) -> Limited {
        let is_over = self.advertised(family) > limit;
        let sources = self.ledgers[Side::Sources as usize].prefixes(family);
        let limited = self.limits.check(family, is_over, newest, sources);
        if limited != Limited::Unchanged {
            self.addresses[Side::Sources as usize].all_changed();
        }
        limited
    }

    /// The family's sources are complete; see [`Limits::completed`].
    pub(super) const fn completed(&mut self, family: Family) {
        self.limits.completed(family);
    }

    /// A freeze of the family that was not reported yet is now: how many prefixes the peer advertises.
    pub(super) fn report_limit(&mut self, family: Family) -> u32 {
        self.limits.reported(family);
        self.advertised(family)
    }

    /// The prefixes of a side and family as they are to be enforced, ascending.
    pub(super) fn enforced(
        &self,
        side: Side,
        family: Family,
    ) -> Box<dyn Iterator<Item = Prefix> + '_> {
        match self.limits.good(family) {
            Some(good) if side == Side::Sources => Box::new(good.keys().copied()),
            _ => Box::new(self.ledger(side).prefixes(family).map(|(prefix, _)| prefix)),
        }
    }

    /// The longest of them that covers this address.
    pub(super) fn covering(&self, side: Side, address: Address) -> Option<Prefix> {
        let host = Prefix::host(address);
        match self.limits.good(address.family) {
            Some(good) if side == Side::Sources => {
                let good = good.keys().filter(|good| good.covers(host));
                good.max_by_key(|good| good.len()).copied()
            }
            _ => self.ledger(side).covering(host),
        }
    }

    /// Does any route, or hold, stand in the ledger of this side and family, frozen or not?
    pub(super) fn has_any(&self, side: Side, family: Family) -> bool {
        self.ledger(side).len(family) > 0
    }

    /// How many prefixes of a side and family are to be enforced.
    pub(super) fn len_of(&self, side: Side, family: Family) -> usize {
        match self.limits.good(family) {
            Some(good) if side == Side::Sources => good.len(),
            _ => self.ledger(side).len(family),
        }
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
        // A frozen family is never looked at prefix by prefix.
        let ledger = self.peer.ledger(self.side);
        let covered = ledger.covering(prefix).map(|_| prefix);
        let inside = covered.is_none().then(|| ledger.within(prefix));
        covered.into_iter().chain(inside.into_iter().flatten())
    }
}
