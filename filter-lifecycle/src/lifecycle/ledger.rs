//! Which prefixes one side of one peer has, and how many routes hold each: one withdraw never removes another's permit.
//! Adds count at once, removals after their hold. Never knows which routes the holders are, or why they hold.
//!
//! Sorted, so that what a change of one prefix means for its addresses is found beside it.
use std::collections::BTreeMap;
use std::collections::btree_map;
use std::time::Duration;

use filter_core::{Family, Prefix};

use super::TICK;
use super::key::RouteKey;

/// One side of one peer.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    /// By family. Everything in it is valid: held, or waiting to leave.
    entries: [BTreeMap<RouteKey, Entry>; 2],
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    /// Routes that feeds report, and static entries.
    reported: u32,
    by_hand: u16,
    /// Not to leave before, if a holder has let go of it since it was last advertised.
    leaves_at: Option<Moment>,
    /// When it is looked at again: the [`Departure`] that counts, of those that are under way.
    due: Option<Moment>,
    /// How its last holder left.
    left: Left,
}

/// How a holder of a prefix left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Left {
    /// The route was withdrawn or replaced, its session ended, or the operator took it out of the configuration.
    #[default]
    Withdrawn,
    /// It was not there any more when the table was received again.
    Vanished,
}

/// How a prefix is held.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holder {
    /// By the operator's hand, not by a feed.
    pub by_hand: bool,
    /// It is advertised now: that ends every hold of it.
    pub is_new: bool,
}

impl Entry {
    const fn departs(&mut self, at: Moment) -> Departure {
        self.due = Some(at);
        Departure(at)
    }
}

/// A time in units of [`TICK`], counted from 1: a million of them cost a quarter of what [`Duration`]s do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Moment(std::num::NonZeroU32);

impl Moment {
    /// The first whole tick at or after `time`: a hold is never shorter than configured.
    pub(super) fn at_or_after(time: Duration) -> Self {
        Self::of(time.as_millis().div_ceil(TICK.as_millis()))
    }

    /// The last whole tick until `time`.
    pub(super) fn until(time: Duration) -> Self {
        Self::of(time.as_millis() / TICK.as_millis())
    }

    pub(super) const fn time(self) -> Duration {
        TICK.saturating_mul(self.0.get() - 1)
    }

    fn of(ticks: u128) -> Self {
        let ticks = u32::try_from(ticks.saturating_add(1)).unwrap_or(u32::MAX);
        Self(std::num::NonZeroU32::new(ticks).unwrap_or(std::num::NonZeroU32::MIN))
    }
}

/// Did the set of valid prefixes change?
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It did.
    Changed,
    /// It did not: one holder more or less, or a removal that waits.
    Same,
}

/// A holder of a prefix was removed: look again at this time, with [`Ledger::expire`].
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Departure(pub Moment);

/// What became of a prefix whose hold was over.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expiry {
    /// It is no longer valid.
    Gone(Left),
    /// A route holds it again, or still.
    Stays,
    /// Its hold was renewed meanwhile.
    Later(Departure),
}

impl Ledger {
    /// Adds one holder of the prefix: a session's route or a static entry.
    pub(super) fn add(&mut self, prefix: Prefix, holder: Holder) -> Change {
        let family = prefix.family() as usize;
        let (entry, change) = match self.entries[family].entry(RouteKey::new(prefix, 0)) {
            btree_map::Entry::Vacant(vacant) => (vacant.insert(Entry::default()), Change::Changed),
            btree_map::Entry::Occupied(known) => (known.into_mut(), Change::Same),
        };
        if holder.is_new {
            entry.leaves_at = None;
        }
        if holder.by_hand {
            entry.by_hand = entry.by_hand.saturating_add(1);
        } else {
            entry.reported += 1;
        }
        change
    }

    /// Removes one holder. The prefix stays valid at least until `leaves_at`.
    pub(super) fn remove(
        &mut self,
        prefix: Prefix,
        by_hand: bool,
        (leaves_at, left): (Moment, Left),
    ) -> Option<Departure> {
        let family = prefix.family() as usize;
        let entry = self.entries[family].get_mut(&RouteKey::new(prefix, 0))?;
        if by_hand {
            entry.by_hand = entry.by_hand.checked_sub(1)?;
        } else {
            entry.reported = entry.reported.checked_sub(1)?;
        }
        let leaves_at = entry.leaves_at.map_or(leaves_at, |at| at.max(leaves_at));
        entry.leaves_at = Some(leaves_at);
        entry.left = left;
        let is_under_way = entry.due.is_some_and(|due| due <= leaves_at);
        (!is_under_way).then(|| entry.departs(leaves_at))
    }

    /// The prefix is valid until then, although no route holds it.
    pub(super) fn keep(&mut self, prefix: Prefix, until: Moment) -> (Change, Option<Departure>) {
        let entries = &mut self.entries[prefix.family() as usize];
        let btree_map::Entry::Vacant(vacant) = entries.entry(RouteKey::new(prefix, 0)) else {
            return (Change::Same, None);
        };
        let entry = vacant.insert(Entry {
            leaves_at: Some(until),
            ..Entry::default()
        });
        (Change::Changed, Some(entry.departs(until)))
    }

    /// The time of a [`Departure`] has come: that which was `due` then.
    pub(super) fn expire(&mut self, prefix: Prefix, due: Moment, now: Moment) -> Expiry {
        let entries = &mut self.entries[prefix.family() as usize];
        let btree_map::Entry::Occupied(mut entry) = entries.entry(RouteKey::new(prefix, 0)) else {
            return Expiry::Stays;
        };
        if entry.get().due != Some(due) {
            return Expiry::Stays; // an earlier one has taken its place
        }
        entry.get_mut().due = None;
        match entry.get().leaves_at {
            Some(later) if later > now => Expiry::Later(entry.get_mut().departs(later)),
            _ if entry.get().reported > 0 || entry.get().by_hand > 0 => {
                entry.get_mut().leaves_at = None;
                Expiry::Stays
            }
            _ => Expiry::Gone(entry.remove().left),
        }
    }

    /// Everything of a family that is valid now, held or waiting to leave, ascending.
    pub(super) fn prefixes(&self, family: Family) -> impl Iterator<Item = Prefix> + '_ {
        self.entries[family as usize]
            .keys()
            .map(move |key| key.prefix(family))
    }

    /// Is it valid: held, or waiting to leave?
    pub(super) fn has(&self, prefix: Prefix) -> bool {
        self.entry(prefix).is_some()
    }

    /// When a prefix leaves that no route holds.
    pub(super) fn leaves_at(&self, prefix: Prefix) -> Option<Moment> {
        let entry = self.entry(prefix)?;
        let is_held = entry.reported > 0 || entry.by_hand > 0;
        entry.leaves_at.filter(|_| !is_held)
    }

    fn entry(&self, prefix: Prefix) -> Option<&Entry> {
        self.entries[prefix.family() as usize].get(&RouteKey::new(prefix, 0))
    }

    /// The longest valid prefix that covers this one, which may be the prefix itself.
    pub(super) fn covering(&self, prefix: Prefix) -> Option<Prefix> {
        let family = prefix.family();
        let entries = &self.entries[family as usize];
        let mut asked = prefix;
        loop {
            // Between a covering prefix and what it covers lie only prefixes it covers too.
            let (key, _) = entries.range(..=RouteKey::new(asked, 0)).next_back()?;
            let found = key.prefix(family);
            if found.covers(prefix) {
                return Some(found);
            }
            asked = asked.common(found);
        }
    }

    /// The valid prefixes that lie within this one, ascending; it itself too.
    pub(super) fn within(&self, prefix: Prefix) -> impl Iterator<Item = Prefix> + '_ {
        let family = prefix.family();
        self.entries[family as usize]
            .range(RouteKey::new(prefix, 0)..)
            .map(move |(key, _)| key.prefix(family))
            .take_while(move |found| prefix.covers(*found))
    }

    /// How many of a family are valid: held, or waiting to leave.
    pub(super) fn len(&self, family: Family) -> usize {
        self.entries[family as usize].len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::at_or_after(Duration::from_secs(seconds))
    }

    fn withdrawn(seconds: u64) -> (Moment, Left) {
        (at(seconds), Left::Withdrawn)
    }

    const BY_FEED: Holder = Holder {
        by_hand: false,
        is_new: true,
    };
    const REVIVED: Holder = Holder {
        by_hand: false,
        is_new: false,
    };
    const BY_HAND: Holder = Holder {
        by_hand: true,
        is_new: true,
    };

    fn departs(seconds: u64) -> Option<Departure> {
        Some(Departure(at(seconds)))
    }

    #[test]
    fn one_withdraw_never_removes_anothers_permit() {
        let mut ledger = Ledger::default();
        let prefix: Prefix = "192.0.2.0/24".parse().unwrap();
        assert_eq!(ledger.add(prefix, BY_FEED), Change::Changed);
        assert_eq!(ledger.add(prefix, BY_FEED), Change::Same);
        assert_eq!(ledger.remove(prefix, false, withdrawn(30)), departs(30));
        assert_eq!(ledger.expire(prefix, at(30), at(30)), Expiry::Stays);
        assert_eq!(ledger.expire(prefix, at(30), at(99)), Expiry::Stays);
        assert_eq!(ledger.remove(prefix, false, withdrawn(130)), departs(130));
        assert_eq!(
            ledger.remove(prefix, false, withdrawn(140)),
            None,
            "no route holds it"
        );
        assert_eq!(ledger.len(Family::Ipv4), 1);
        assert_eq!(
            ledger.expire(prefix, at(130), at(130)),
            Expiry::Gone(Left::Withdrawn)
        );
        assert_eq!(ledger.len(Family::Ipv4), 0);
    }

    #[test]
    fn a_short_hold_never_shortens_a_long_one_and_a_flap_queues_once() {
        let mut ledger = Ledger::default();
        let prefix: Prefix = "192.0.2.0/24".parse().unwrap();
        _ = ledger.add(prefix, BY_FEED);
        _ = ledger.add(prefix, BY_FEED);
        assert_eq!(ledger.remove(prefix, false, withdrawn(30)), departs(30));
        assert_eq!(
            ledger.remove(prefix, false, withdrawn(5)),
            None,
            "under way already"
        );
        for time in 31..99 {
            _ = ledger.add(prefix, BY_FEED);
            assert_eq!(ledger.remove(prefix, false, withdrawn(time)), None);
        }
        assert_eq!(
            ledger.expire(prefix, at(30), at(30)),
            Expiry::Later(Departure(at(98)))
        );
        assert_eq!(
            ledger.expire(prefix, at(98), at(98)),
            Expiry::Gone(Left::Withdrawn)
        );
    }

    #[test]
    fn being_advertised_again_ends_a_long_hold_and_revival_does_not() {
        let mut ledger = Ledger::default();
        let prefix: Prefix = "192.0.2.0/24".parse().unwrap();
        _ = ledger.add(prefix, BY_FEED);
        assert_eq!(ledger.remove(prefix, false, withdrawn(600)), departs(600));
        _ = ledger.add(prefix, REVIVED);
        assert_eq!(ledger.remove(prefix, false, withdrawn(30)), None);
        assert_eq!(ledger.expire(prefix, at(30), at(30)), Expiry::Stays);
        _ = ledger.add(prefix, BY_FEED);
        assert_eq!(ledger.remove(prefix, false, withdrawn(60)), departs(60));
        assert_eq!(
            ledger.expire(prefix, at(60), at(60)),
            Expiry::Gone(Left::Withdrawn)
        );
        _ = ledger.add(prefix, BY_FEED);
        assert_eq!(ledger.remove(prefix, false, withdrawn(630)), departs(630));
        assert_eq!(
            ledger.expire(prefix, at(600), at(600)),
            Expiry::Stays,
            "of a hold that has ended"
        );
        assert_eq!(
            ledger.expire(prefix, at(630), at(630)),
            Expiry::Gone(Left::Withdrawn)
        );
    }

    #[test]
    fn coming_back_within_the_hold_is_no_change() {
        let mut ledger = Ledger::default();
        let prefix: Prefix = "2001:db8::/32".parse().unwrap();
        assert_eq!(ledger.add(prefix, BY_FEED), Change::Changed);
        assert_eq!(ledger.remove(prefix, false, withdrawn(30)), departs(30));
        assert_eq!(ledger.add(prefix, BY_FEED), Change::Same);
        assert_eq!(ledger.expire(prefix, at(30), at(30)), Expiry::Stays);
        assert_eq!(ledger.prefixes(Family::Ipv6).collect::<Vec<_>>(), [prefix]);
        assert_eq!(ledger.remove(prefix, false, withdrawn(60)), departs(60));
    }

    #[test]
    fn what_covers_a_prefix_and_what_lies_within_it() {
        let mut ledger = Ledger::default();
        let prefix = |text: &str| text.parse::<Prefix>().unwrap();
        let all = [
            "10.0.0.0/8",
            "10.1.0.0/16",
            "10.1.0.0/24",
            "10.1.2.0/24",
            "10.2.0.0/16",
            "12.0.0.0/8",
        ]
        .map(prefix);
        for prefix in all {
            _ = ledger.add(prefix, BY_FEED);
        }
        for (asked, covering) in [
            ("10.1.2.3/32", Some("10.1.2.0/24")),
            ("10.1.3.0/24", Some("10.1.0.0/16")),
            ("10.1.0.0/16", Some("10.1.0.0/16")),
            ("10.3.0.0/16", Some("10.0.0.0/8")),
            ("10.0.0.0/7", None),
            ("11.0.0.0/8", None),
            ("9.0.0.0/8", None),
            ("13.0.0.0/32", None),
        ] {
            assert_eq!(
                ledger.covering(prefix(asked)),
                covering.map(prefix),
                "{asked}"
            );
        }
        assert_eq!(
            ledger.within(prefix("10.1.0.0/16")).collect::<Vec<_>>(),
            all[1..4]
        );
        assert_eq!(ledger.within(prefix("0.0.0.0/0")).collect::<Vec<_>>(), all);
        assert_eq!(ledger.within(prefix("10.1.3.0/24")).count(), 0);
    }

    #[test]
    fn what_is_held_by_hand_stays() {
        let mut ledger = Ledger::default();
        let prefix: Prefix = "192.0.2.0/24".parse().unwrap();
        assert_eq!(ledger.add(prefix, BY_HAND), Change::Changed);
        assert_eq!(ledger.add(prefix, BY_FEED), Change::Same);
        assert_eq!(ledger.remove(prefix, false, withdrawn(1)), departs(1));
        assert_eq!(ledger.expire(prefix, at(1), at(9)), Expiry::Stays);
    }

    #[test]
    fn a_hold_is_never_shorter_than_configured() {
        let ms = Duration::from_millis;
        assert!(Moment::until(ms(30_249)) < Moment::at_or_after(ms(30_001)));
        assert_eq!(Moment::until(ms(30_250)), Moment::at_or_after(ms(30_001)));
        assert_eq!(Moment::until(ms(0)), Moment::at_or_after(ms(0)));
        assert_eq!(size_of::<(RouteKey, Entry)>(), 40);
        _ = Moment::until(Duration::MAX);
    }
}
