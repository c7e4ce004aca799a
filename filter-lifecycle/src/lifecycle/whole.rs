//! The lifecycle as others see it: one object, whose parts only this file joins. A part is given what it may touch.
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use filter_core::layout::{Families, Known};
use filter_core::set::PrefixSet;
use filter_core::{Address, Classes, Family, Mode, Prefix};

use super::breaker::BREAKER_HOLD;
use super::changes::{Changed, How, RouteChange};
use super::evidence::View;
use super::facts::Facts;
use super::feeds::Feeds;
use super::fold::{Fold, foreign_peers};
use super::grants::{self, Grants};
use super::outbox::Outbox;
use super::pending::Pending;
use super::reconcile::MAX_EXAMPLES;
use super::sources::Sources;
use super::wanted::Wanted;
use super::{
    ClassStatus, Coverage, Departed, Event, ListedPrefix, ListedRoute, Listing, Measure, Missing,
    PeerStatus, RecentlyValid, Side, SourceStatus,
};
use crate::route::{FeedId, PeerId, RouteEvent, Session};
use crate::spec::{Attachment, Spec};

/// See the module's head.
#[derive(Debug)]
pub struct Lifecycle {
    facts: Facts,
    feeds: Feeds,
    sources: Sources,
    wanted: Wanted,
    grants: Grants,
    pending: Pending,
    outbox: Outbox,
}

impl Lifecycle {
    /// Nothing received yet: every peer is syncing, and dirty.
    #[must_use]
    pub fn new(spec: Arc<Spec>) -> Self {
        let (peers, feeds) = (spec.peers.len(), spec.feeds.len());
        let facts = Facts::new(spec);
        Self {
            feeds: Feeds::new(feeds),
            sources: Sources::new(peers),
            wanted: Wanted::new(peers),
            grants: Grants::new(&facts),
            pending: Pending::all(facts.peers()),
            outbox: Outbox::default(),
            facts,
        }
    }

    const fn fold(&mut self, now: Duration) -> Fold<'_> {
        Fold {
            now,
            facts: &self.facts,
            feeds: &mut self.feeds,
            sources: &mut self.sources,
            wanted: &mut self.wanted,
            pending: &mut self.pending,
            outbox: &mut self.outbox,
        }
    }

    const fn view(&self, now: Duration) -> View<'_> {
        View {
            now,
            facts: &self.facts,
            feeds: &self.feeds,
            sources: &self.sources,
            wanted: &self.wanted,
        }
    }

    /// Takes in one event of a feed. Call [`Lifecycle::settle`] after a batch.
    pub fn event(&mut self, now: Duration, feed: FeedId, event: &RouteEvent) {
        self.fold(now).event(feed, event);
    }

    /// Ends holds whose time has come and completes Adj-RIBs that have gone quiet.
    pub fn tick(&mut self, now: Duration) {
        self.fold(now).tick();
        let stale_hold = self.facts.timers().stale_hold;
        for id in self.grants.newly_late(now, stale_hold) {
            self.pending.publish(id);
            self.pending.settle(id);
        }
        self.pending.settle_all(self.grants.waiting());
        self.settle(now);
    }

    /// Looks at the peers of which anything changed: takes note of what is known of them, and reports those whose state is
    /// another one.
    pub fn settle(&mut self, now: Duration) {
        self.wanted.look(now);
        for id in self.pending.take_unsettled() {
            // Not `self.view`: what is granted changes while this looks at the rest.
            let view = View {
                now,
                facts: &self.facts,
                feeds: &self.feeds,
                sources: &self.sources,
                wanted: &self.wanted,
            };
            let settled = self.grants.settle(view, id);
            if settled.changed {
                self.pending.publish(id);
            }
            if let Some((state, missing)) = settled.state {
                self.outbox.push(Event::PeerState(id, state, missing));
            }
        }
    }

    /// Peers whose wanted sets, classes or mode may have changed since the last call.
    pub fn take_dirty(&mut self) -> BTreeSet<PeerId> {
        self.pending.take_dirty()
    }

    /// Does any peer's table wait to be taken?
    #[must_use]
    pub fn has_dirty(&self) -> bool {
        self.pending.has_dirty()
    }

    /// Have this peer's tables changed since?
    #[must_use]
    pub fn is_dirty(&self, peer: PeerId) -> bool {
        self.pending.is_dirty(peer)
    }

    /// The mode the operator wants for this peer.
    #[must_use]
    pub fn wanted_mode(&self, id: PeerId) -> Mode {
        self.grants.mode(id)
    }

    /// The classes that the peer's operator wants: none while its mode is `observe`.
    #[must_use]
    pub fn wanted(&self, id: PeerId) -> Classes {
        self.grants.wanted(&self.facts, id)
    }

    /// The classes that `enforce` means for this peer.
    #[must_use]
    pub fn configured(&self, id: PeerId) -> Classes {
        grants::configured(&self.facts, id)
    }

    /// The classes that may be in force: of those that are wanted, the ones that need no routes, and of each side and
    /// family that is known the one that relies on it. No side, family or peer holds back another.
    #[must_use]
    pub fn granted(&self, now: Duration, id: PeerId) -> Classes {
        self.grants.granted(self.view(now), id)
    }

    /// The sides of the peer that are known: nothing is judged by the others.
    #[must_use]
    pub fn known(&self, id: PeerId) -> Known {
        self.grants.known(id)
    }

    /// Every class of the peer.
    #[must_use]
    pub fn class_status(&self, now: Duration, id: PeerId) -> Vec<ClassStatus> {
        self.grants.class_status(self.view(now), id)
    }

    /// The first thing that keeps a class of the peer's from being in force.
    #[must_use]
    pub fn missing(&self, now: Duration, id: PeerId) -> Option<Missing> {
        self.grants.missing(self.view(now), id)
    }

    /// What keeps a side from being complete now, whether or not it was before.
    #[must_use]
    pub fn incomplete(
        &self,
        now: Duration,
        id: PeerId,
        side: Side,
        family: Family,
    ) -> Option<Missing> {
        self.view(now).incomplete(id, side, family)
    }

    /// May an Adj-RIB of this side of which nothing was received yet still come? Not once feeds report of every session
    /// that could carry it that it is down, or that the router does not have it.
    #[must_use]
    pub fn is_awaited(&self, id: PeerId, side: Side, family: Family) -> bool {
        self.view(Duration::ZERO).is_awaited(id, side, family)
    }

    /// S'(p): the admitted routes of S(p), less what no announcement can claim, and what is in it always. Works out
    /// anew only what changed since the last call. A family that covers too much of the address space stops growing.
    pub fn sources(&mut self, id: PeerId) -> PrefixSet {
        let always: PrefixSet = self.facts.peer(id).always_sources().into_iter().collect();
        let now = self.wanted.now();
        let known = self.grants.known(id);
        let known = Families::new(|family| known.source(family));
        let peer = self.wanted.peer_mut(id);
        let (sources, covers) = peer.source_addresses(now, known, self.facts.withheld(), &always);
        for (family, is_too_wide) in covers {
            self.outbox.push(if is_too_wide {
                Event::CoverageExceeded(id, family)
            } else {
                Event::CoverageCleared(id, family)
            });
        }
        sources
    }

    /// Our addresses of the peer's sessions, as the feeds report them: those of multihop sessions may be on any device.
    #[must_use]
    pub fn own_session_addresses(&self, id: PeerId) -> Vec<Address> {
        let attachments = self.facts.peer(id).attachments.iter();
        let sessions = attachments.flat_map(Attachment::sessions);
        let locals = sessions.flat_map(|session| self.feeds.locals(session));
        locals.map(Address::from).collect()
    }

    /// D'(p): the routes of D(p), `own_addresses`, which are ours where the peer is attached and those of its sessions,
    /// and what is in it always. Works out anew only what changed since the last call.
    pub fn destinations(&mut self, id: PeerId, own_addresses: &[Address]) -> PrefixSet {
        let always = self.facts.peer(id).always_destinations();
        let own = own_addresses.iter().copied().map(Prefix::host);
        let always: PrefixSet = always.into_iter().chain(own).collect();
        self.wanted.peer_mut(id).destination_addresses(&always)
    }

    /// The announced prefixes of a side that count, ascending by family.
    pub fn prefixes(&self, id: PeerId, side: Side) -> impl Iterator<Item = Prefix> + '_ {
        let peer = self.wanted.peer(id);
        Family::ALL
            .into_iter()
            .flat_map(move |family| peer.enforced(side, family))
    }

    /// The longest of them that covers this address.
    #[must_use]
    pub fn covering(&self, id: PeerId, side: Side, address: Address) -> Option<Prefix> {
        self.wanted.peer(id).covering(side, address)
    }

    /// The longest prefix that left this side within the last day and covers this address; nothing if it is valid now.
    #[must_use]
    pub fn recently_valid(
        &self,
        now: Duration,
        id: PeerId,
        side: Side,
        address: Address,
    ) -> Option<RecentlyValid> {
        let peer = self.wanted.peer(id);
        let is_valid = peer.counts(side, address);
        let recent = peer.recently_valid(now, side, address);
        recent.filter(|_| !is_valid)
    }

    /// A packet of the peer was dropped, as a sample of the data plane shows. If an address of it left the peer's tables
    /// lately and nothing withdrew it, that is as [`Lifecycle::dropped_for`].
    pub fn dropped(&mut self, now: Duration, id: PeerId, source: Address, destination: Address) {
        for (side, address) in [(Side::Sources, source), (Side::Destinations, destination)] {
            let peer = self.wanted.peer_mut(id);
            if peer.is_evidence(now, side, address) {
                self.dropped_for(now, id, side, address.family);
            }
        }
    }

    /// A packet of the peer was dropped for what left this side and family lately although nothing withdrew it: that is valid
    /// again for [`BREAKER_HOLD`].
    pub fn dropped_for(&mut self, now: Duration, id: PeerId, side: Side, family: Family) {
        let until = now + BREAKER_HOLD;
        let mut back = self.wanted.trip(now, id, (side, family), until);
        if back.is_empty() {
            return;
        }
        self.pending.publish(id);
        self.pending.settle(id);
        for &prefix in &back {
            let (how, by) = (How::Revived, None);
            let revived = Changed::Prefix { prefix, how, by };
            self.pending.changes.push(now, (id, side), revived);
        }
        let prefixes = back.len();
        back.truncate(MAX_EXAMPLES);
        self.outbox.push(Event::Breaker {
            peer: id,
            side,
            family,
            prefixes,
            examples: back,
        });
    }

    /// What packets of the peer are to be watched for, if that changed since the last call: packets that are dropped for it are
    /// to be told by [`Lifecycle::dropped_for`]. To be watched for before the tables are published that lack it.
    pub fn take_departed(&mut self, id: PeerId) -> Option<Departed> {
        self.wanted.peer_mut(id).breaker_mut().take_departed()
    }

    /// The last good sources of the peer's sessions that are over `max_prefixes`: what keeps across a restart, or a reload,
    /// that nothing else counts.
    #[must_use]
    pub fn frozen(&self, id: PeerId) -> BTreeSet<Prefix> {
        let limits = self.wanted.peer(id).limits();
        let limited = Family::ALL
            .map(|family| (family, self.facts.max_prefixes(id, family)))
            .into_iter();
        limited
            .filter_map(|(family, limit)| Some(limits.good(family, limit?)))
            .flatten()
            .collect()
    }

    /// What [`Lifecycle::frozen`] returned before. To be called before anything is received.
    pub fn restore_frozen(&mut self, id: PeerId, good: impl IntoIterator<Item = Prefix>) {
        self.wanted.peer_mut(id).limits_mut().restore(good);
    }

    /// The last good sources of the peer's families that are frozen because of how much they cover. They, the other families'
    /// and what growth is measured against are what [`Coverage::recalled`] asks for.
    #[must_use]
    pub fn too_wide(&self, id: PeerId) -> Vec<Prefix> {
        self.wanted.peer(id).limits().narrow()
    }

    /// The last good sources of the other families that are known.
    #[must_use]
    pub fn good_sources(&self, id: PeerId) -> Vec<Prefix> {
        self.wanted.peer(id).limits().good_sources()
    }

    /// No fewer prefixes than this are in them: told without making a list of them.
    #[must_use]
    pub fn good_ranges(&self, id: PeerId) -> usize {
        self.wanted.peer(id).limits().good_ranges()
    }

    /// What growth of the peer's sources is measured against, to be kept across a restart.
    #[must_use]
    pub fn measures(&self, now: Duration, id: PeerId) -> Vec<Measure> {
        self.wanted.peer(id).limits().coverage().measures(now)
    }

    /// By family: the most that counts of it now.
    #[must_use]
    pub fn most_stood(&self, now: Duration, id: PeerId) -> [u128; 2] {
        self.wanted.peer(id).limits().coverage().most(now)
    }

    /// An operator says that what covers too much is right: it counts, and further growth is measured against it. Returns
    /// the families of which that is true.
    pub fn accept_growth(&mut self, id: PeerId) -> Vec<Family> {
        let accepted = self.wanted.peer_mut(id).limits_mut().accept_growth();
        for &family in &accepted {
            self.outbox.push(Event::GrowthAccepted(id, family));
        }
        if !accepted.is_empty() {
            self.pending.publish(id);
        }
        accepted
    }

    /// What growth of the peer's sources is measured against.
    #[must_use]
    pub fn coverage(&self, id: PeerId) -> Coverage {
        self.wanted.peer(id).limits().coverage().clone()
    }

    /// What [`Lifecycle::coverage`] returned of the peer before. To be called before anything is received.
    pub fn restore_coverage(&mut self, id: PeerId, coverage: Coverage) {
        let limits = self.wanted.peer_mut(id).limits_mut();
        limits.restore_coverage(coverage);
    }

    /// The peer's tables were published, or could not be.
    pub fn published(&mut self, now: Duration, id: PeerId, result: Result<(), String>) {
        self.grants.published(now, id, result);
        self.pending.settle(id);
    }

    /// An operator changes the mode.
    pub fn set_mode(&mut self, id: PeerId, mode: Mode) {
        self.grants.set_mode(id, mode);
        self.pending.settle(id);
        self.pending.publish(id);
        self.outbox.push(Event::ModeChanged(id, mode));
    }

    /// Events since the last call, oldest first.
    pub fn take_events(&mut self) -> Vec<Event> {
        self.outbox.take()
    }

    /// How the valid prefixes of the peers changed since the last call, oldest first.
    pub fn take_changes(&mut self, now: Duration) -> Vec<RouteChange> {
        self.pending.changes.take(now)
    }

    /// As [`Lifecycle::take_changes`], with what is still being counted.
    pub fn take_all_changes(&mut self, now: Duration) -> Vec<RouteChange> {
        self.pending.changes.take_all(now)
    }

    /// All of a side's valid prefixes that cover an address, longest first.
    #[must_use]
    pub fn all_covering(&self, id: PeerId, side: Side, address: Address) -> Vec<Prefix> {
        let peer = self.wanted.peer(id);
        let lens = (0..=address.family.bits()).rev();
        let prefixes = lens.filter_map(|len| Prefix::new(address, len).ok());
        prefixes.filter(|&prefix| peer.has(side, prefix)).collect()
    }

    /// Events that were pushed out unread.
    #[must_use]
    pub const fn events_lost(&self) -> u64 {
        self.outbox.lost()
    }

    /// The configuration it follows.
    #[must_use]
    pub const fn spec(&self) -> &Arc<Spec> {
        self.facts.spec()
    }

    /// A peer's status.
    #[must_use]
    pub fn status(&self, now: Duration, id: PeerId) -> PeerStatus {
        self.view(now).status(&self.grants, id)
    }

    /// Does a feed report that the session is up?
    #[must_use]
    pub fn is_up(&self, session: Session) -> bool {
        self.feeds.is_up(session)
    }

    /// Every source that matters for a peer.
    #[must_use]
    pub fn ribs(&self, now: Duration, id: PeerId) -> Vec<SourceStatus> {
        self.view(now).ribs(id)
    }

    /// The routes that make an address valid on one side of a peer, longest first.
    #[must_use]
    pub fn routes_over(
        &self,
        now: Duration,
        id: PeerId,
        side: Side,
        address: Address,
    ) -> Vec<ListedRoute> {
        self.view(now).routes_over(id, side, address)
    }

    /// The prefixes of a side of a peer, those that do not count too; with `within`, only those that lie in it.
    #[must_use]
    pub fn listing(
        &self,
        now: Duration,
        id: PeerId,
        side: Side,
        within: Option<Prefix>,
    ) -> Listing {
        self.view(now).listing(id, side, within)
    }

    /// The longest prefix of a side that covers this address and does not count, or counts only until its hold is over.
    #[must_use]
    pub fn odd(
        &self,
        now: Duration,
        id: PeerId,
        side: Side,
        address: Address,
    ) -> Option<ListedPrefix> {
        self.view(now).odd(id, side, address)
    }

    /// Is the feed connected, and for how long has it been so or not?
    #[must_use]
    pub fn feed(&self, now: Duration, feed: FeedId) -> (bool, Option<Duration>) {
        self.feeds.status(now, feed)
    }

    /// How many peers and route servers have another AS by this feed, if that is why it counts as lost.
    #[must_use]
    pub fn foreign(&self, feed: FeedId) -> Option<usize> {
        self.feeds.foreign_since(feed)?;
        Some(foreign_peers(&self.facts, &self.feeds, feed))
    }

    /// Events about sessions of no peer, so far.
    #[must_use]
    pub const fn unknown_sessions(&self) -> u64 {
        self.outbox.unknown_sessions()
    }

    /// Adj-RIBs that were not taken in, because there are too many.
    #[must_use]
    pub const fn refused_sources(&self) -> u64 {
        self.sources.refused()
    }
}
