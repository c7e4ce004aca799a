//! Trials: classes of a peer that an operator switches on for a time only, and confirms, or not. A trial is marked in the
//! data plane's own word, so that `observe` ends it without a daemon, and a daemon that starts anew finds it. What was before is
//! what [`crate::Switched`] has: a trial changes nothing there until it is confirmed. Never knows how long one may last.
use std::collections::BTreeMap;
use std::time::Duration;

use filter_core::{Class, Mode};
use filter_lifecycle::PeerStatus;
use filter_lifecycle::route::PeerId;

use crate::Engine;
use crate::notice::Notice;
use crate::switched::{Permit, some_of};

/// The trials this process began: by the peer's name, what the configuration said of it then.
pub(crate) type Trials = BTreeMap<String, Mode>;

/// Why a trial ended without being confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrialEnd {
    /// Its time was over.
    NotConfirmed,
    /// This process is about to end.
    Stopping,
    /// The process that began it ended before.
    Interrupted,
    /// A new specification says another mode of the peer.
    Respecified,
}

impl Engine {
    /// Switches classes of a peer on until [`Engine::confirm_trial`] or [`Engine::end_trial`]; none named: all. While it
    /// lasts the lease's end observes, whatever `on_lease_end` is.
    pub fn begin_trial(&mut self, now: Duration, id: PeerId, only: &[Class]) -> PeerStatus {
        if let Some(peer) = self.fitted.spec().peer(id) {
            let permit = Permit {
                only: only.to_vec(),
                ..Permit::enforce()
            };
            self.trials.insert(peer.name.clone(), peer.mode);
            let slot = self.slots.of(id);
            self.filter.permit_on_trial(slot, permit.classes());
            self.publisher.again(id);
        }
        self.lifecycle.set_mode(id, Mode::Enforce);
        self.lifecycle.settle(now);
        self.standing(now, id)
    }

    /// Is what the data plane allows of the peer on trial?
    #[must_use]
    pub fn is_on_trial(&self, id: PeerId) -> bool {
        self.filter.is_on_trial(self.slots.of(id))
    }

    /// What is on trial stays. False if nothing is: it was switched anew since.
    pub fn confirm_trial(&mut self, now: Duration, id: PeerId) -> bool {
        if !self.is_on_trial(id) {
            return false;
        }
        let word = self.filter.allowed(self.slots.of(id)).unwrap_or_default();
        self.set_mode_only(now, id, Mode::Enforce, &some_of(word));
        self.publisher.again(id);
        true
    }

    /// What is on trial goes back to what operators switched before, or to the configuration. What was switched anew since
    /// stays as it is.
    pub fn end_trial(&mut self, now: Duration, id: PeerId, why: TrialEnd) {
        let is_on_trial = self.is_on_trial(id);
        if let Some(peer) = self.fitted.spec().peer(id) {
            self.trials.remove(&peer.name);
        }
        self.repeat_permit(id, !is_on_trial);
        self.publisher.again(id);
        self.lifecycle.settle(now);
        if is_on_trial {
            let mode = self.lifecycle.wanted_mode(id);
            let peer = id;
            self.notices.push(Notice::TrialEnded { peer, mode, why });
        }
    }

    /// A trial that the data plane has while a specification is taken in force: it goes on if this process began it, under the
    /// same mode of the peer.
    pub(crate) fn repeat_trial(&mut self, now: Duration, id: PeerId, begun: &Trials) {
        let Some(peer) = self.fitted.spec().peer(id) else {
            return;
        };
        match begun.get(&peer.name) {
            Some(&mode) if mode == peer.mode => {
                self.trials.insert(peer.name.clone(), mode);
                self.lifecycle.set_mode(id, Mode::Enforce);
            }
            Some(_) => self.end_trial(now, id, TrialEnd::Respecified),
            None => {
                self.narrow_if_forgotten(id);
                self.end_trial(now, id, TrialEnd::Interrupted);
            }
        }
    }

    /// Where it is not known what operators had switched before the trial, it goes back to nothing.
    fn narrow_if_forgotten(&mut self, id: PeerId) {
        if !self.is_memory_lost {
            return;
        }
        if let Some(peer) = self.fitted.spec().peer(id) {
            self.switched.set_peer(&peer.name, Permit::observe());
        }
    }
}
