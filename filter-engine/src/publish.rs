//! From what the lifecycle wants to what the kernel has, peer by peer, and how often. Never decides what is wanted.
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use filter_core::layout::{Known, Rules};
use filter_core::{Address, Classes};
use filter_lifecycle::Lifecycle;
use filter_lifecycle::route::PeerId;
use filter_lifecycle::spec::OnLeaseEnd;
use filter_loader::sync::{Published, Step, Sync, Wanted};
use filter_loader::{Error, Filter, LeaseEnd, PeerSlot, PeerTables, Sessions, Wanted as Switched};

use crate::devices::Devices;
use crate::fitted::Fitted;
use crate::lease::Adopted;
use crate::slots::Slots;

/// A table that took longer than this to build, as while it streams in, is not built again before [`PAUSE`] times as
/// long is over: so little of the time do others wait for it.
const SLOW_BUILD: Duration = Duration::from_millis(5);
const PAUSE: u32 = 20;
/// But never longer than this.
const MAX_PAUSE: Duration = Duration::from_secs(2);
/// After publishing for t, process only routes for 2t, at most [`MAX_BREATH`]: a burst of changes of many peers does
/// not keep the feeds waiting.
const BREATH: u32 = 2;
const MAX_BREATH: Duration = Duration::from_millis(250);

/// What has been published, what is to be, and when.
#[derive(Debug, Default)]
pub(crate) struct Publisher {
    sync: Sync,
    pending: BTreeSet<PeerId>,
    /// By [`PeerId`]: not to be built before.
    not_before: Vec<Duration>,
    /// Nothing is published before: what it costs is shared by all routes that come meanwhile.
    at: Duration,
}

/// What publishing may touch and ask.
pub(crate) struct Hands<'a> {
    pub(crate) filter: &'a mut Filter,
    pub(crate) lifecycle: &'a mut Lifecycle,
    pub(crate) adopted: &'a mut Adopted,
    pub(crate) fitted: &'a Fitted,
    pub(crate) slots: &'a Slots,
    pub(crate) devices: &'a Devices,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Peers whose tables, or switch, could not be written.
    pub(crate) failed: Vec<(PeerId, Error)>,
    /// Peers for whose breaker there is no more evidence than samples.
    pub(crate) unwatched: Vec<(PeerId, Error)>,
}

impl Publisher {
    /// Another specification is coming: no peer's tables wait any more.
    pub(crate) fn forget_pending(&mut self) {
        self.pending.clear();
    }

    /// So many peers, none of them built yet.
    pub(crate) fn reset(&mut self, peers: usize) {
        self.not_before = vec![Duration::ZERO; peers];
    }

    /// What a peer's tables are made of has changed outside its routes.
    pub(crate) fn again(&mut self, id: PeerId) {
        self.pending.insert(id);
    }

    /// What an earlier process published for this slot.
    pub(crate) fn adopt(&mut self, slot: PeerSlot, generation: u32) {
        self.sync.adopt(slot, generation);
    }

    /// The slot is no peer's any more.
    pub(crate) fn forget(&mut self, slot: PeerSlot) {
        self.sync.forget(slot);
    }

    /// Publishes everyone whose tables changed, and retries those that failed, unless it is too soon.
    pub(crate) fn work(&mut self, now: Duration, hands: &mut Hands<'_>) -> Outcome {
        if now < self.at {
            return Outcome::default();
        }
        // Only what publishing itself costs is measured here; everything else goes by the caller's clock.
        let begin = Instant::now();
        let mut outcome = Outcome::default();
        self.pending.append(&mut hands.lifecycle.take_dirty());
        let due = self.sync.due(now).into_iter();
        self.pending
            .extend(due.filter_map(|slot| hands.slots.peer(slot)));
        for id in std::mem::take(&mut self.pending) {
            let keeps = hands.adopted.keeps(now, id, hands.lifecycle);
            // Off depends on no table.
            let live = switched(id, hands);
            let (add, keep) = if keeps {
                // What an earlier process left stays, as far as it is still wanted; what needs no routes need not wait.
                (FREE, hands.lifecycle.wanted(id))
            } else {
                (Classes::NONE, hands.lifecycle.granted(now, id))
            };
            let wanted = add.within(hands.lifecycle.wanted(id));
            switch(id, live.within(keep).with(wanted), hands, &mut outcome);
            if keeps || self.pauses(now, id) {
                self.pending.insert(id);
            } else if !self.sync.is_backing_off(hands.slots.of(id), now) {
                // Else it is due again when its back-off ends, whatever changes meanwhile.
                self.peer(now, id, hands, &mut outcome);
            }
        }
        let took = begin.elapsed();
        self.at = now + took + (BREATH * took).min(MAX_BREATH);
        outcome
    }

    /// Was its table slow to build just now?
    fn pauses(&self, now: Duration, id: PeerId) -> bool {
        now < self.not_before[id.0 as usize]
    }

    fn peer(&mut self, now: Duration, id: PeerId, hands: &mut Hands<'_>, outcome: &mut Outcome) {
        let begin = Instant::now();
        let want = want(id, hands);
        let known = want.rules.known;
        let slot = hands.slots.of(id);
        let sessions = sessions(id, hands.fitted, hands.lifecycle);
        hands.filter.set_sessions(slot, sessions);
        watch(id, hands, outcome);
        let had_failed = self.sync.dirty(slot).is_some();
        let applied = self.sync.apply(hands.filter, slot, want, now);
        let took = begin.elapsed();
        if took > SLOW_BUILD {
            self.not_before[id.0 as usize] = now + (PAUSE * took).min(MAX_PAUSE);
        }
        match applied {
            Ok(Published { step, .. }) => {
                if step != Step::Keep || had_failed {
                    hands.lifecycle.published(now, id, Ok(()));
                }
                // On only now that the table it relies on is live.
                switch(id, hands.lifecycle.granted(now, id), hands, outcome);
            }
            Err(error) => {
                if !self.stands(slot, &error, known) {
                    hands.lifecycle.published(now, id, Err(error.to_string()));
                }
                outcome.failed.push((id, error));
            }
        }
        hands.lifecycle.settle(now);
    }

    /// Does all that is judged stay so, although the peer's table could not be replaced? Where it alone is too large, only its
    /// growth waits: what it announces without end must not open the filter for it.
    fn stands(&self, slot: PeerSlot, error: &Error, known: Known) -> bool {
        let have = self.sync.have(slot).map(|have| have.rules.known.bits());
        let is_there = have.is_some_and(|bits| bits & known.bits() == known.bits());
        is_there && matches!(error, Error::TableTooLarge { .. })
    }

    /// Nothing is published before.
    pub(crate) const fn at(&self) -> Duration {
        self.at
    }

    pub(crate) fn is_pending(&self, id: PeerId) -> bool {
        self.pending.contains(&id)
    }

    pub(crate) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// What was published last, since the start.
    pub(crate) fn have(&self, slot: PeerSlot) -> Option<&Wanted> {
        self.sync.have(slot)
    }

    pub(crate) fn generation(&self, slot: PeerSlot) -> u32 {
        self.sync.generation(slot)
    }

    /// Why the last publish failed, if it did.
    pub(crate) fn error(&self, slot: PeerSlot) -> Option<&str> {
        self.sync.dirty(slot).map(|dirty| dirty.why.as_str())
    }
}

/// Has packets watched for what left the peer's sets although nothing withdrew it, before the table is live that lacks it.
fn watch(id: PeerId, hands: &mut Hands<'_>, outcome: &mut Outcome) {
    let Some(departed) = hands.lifecycle.take_departed(id) else {
        return;
    };
    let tables = PeerTables {
        sources: &departed.sources,
        destinations: &departed.destinations,
        ..PeerTables::default()
    };
    if let Err(error) = hands.filter.watch(hands.slots.of(id), &tables) {
        outcome.unwatched.push((id, error));
    }
}

/// The classes that need no routes.
const FREE: Classes = Classes::BOGONS
    .with(Classes::FAMILIES)
    .with(Classes::MALFORMED);

/// What the data plane's switch has as wanted.
fn switched(id: PeerId, hands: &Hands<'_>) -> Classes {
    let wanted = hands.filter.wanted(hands.slots.of(id));
    wanted.map_or(Classes::NONE, Switched::classes)
}

/// Sets what is wanted in the data plane's switch.
fn switch(id: PeerId, classes: Classes, hands: &Hands<'_>, outcome: &mut Outcome) {
    let slot = hands.slots.of(id);
    let attachments = hands.fitted.spec().peers[id.0 as usize].attachments.iter();
    let judged = attachments.map(|each| hands.devices.judged(each.interface));
    let classes = judged.fold(classes, Classes::within);
    let end = match hands.fitted.spec().timers.on_lease_end {
        OnLeaseEnd::Observe => LeaseEnd::Observe,
        OnLeaseEnd::Keep if hands.filter.is_on_trial(slot) => LeaseEnd::Observe,
        OnLeaseEnd::Keep => LeaseEnd::Keep,
    };
    let wanted = match classes {
        Classes::NONE => Switched::NONE,
        classes => Switched::new(classes, end),
    };
    if hands.filter.wanted(slot).ok() == Some(wanted) {
        return;
    }
    if let Err(error) = hands.filter.set_wanted(slot, wanted) {
        outcome.failed.push((id, error));
    }
}

/// Our addresses where the peer is attached, and those of its sessions.
pub(crate) fn own_addresses(id: PeerId, fitted: &Fitted, lifecycle: &Lifecycle) -> Vec<Address> {
    let mut addresses = fitted.own_addresses(id);
    addresses.extend(lifecycle.own_session_addresses(id));
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// The peer's session addresses, and ours.
fn sessions(id: PeerId, fitted: &Fitted, lifecycle: &Lifecycle) -> Sessions {
    let peer = &fitted.spec().peers[id.0 as usize];
    let ours = own_addresses(id, fitted, lifecycle).into_iter();
    Sessions {
        theirs: peer.session_addresses().collect(),
        ours: ours.map(IpAddr::from).collect(),
    }
}

/// S'(p), D'(p) and the rules, as they should be now.
fn want(id: PeerId, hands: &mut Hands<'_>) -> Wanted {
    let own_addresses = own_addresses(id, hands.fitted, hands.lifecycle);
    Wanted {
        rules: Rules {
            families: hands.fitted.spec().peers[id.0 as usize].families,
            known: hands.lifecycle.known(id),
        },
        sources: hands.lifecycle.sources(id),
        destinations: hands.lifecycle.destinations(id, &own_addresses),
    }
}
