//! The operator's hand on the switch, as the engine takes it: what is permitted goes into the data plane's own words, which
//! outlive this process, and is kept for those that the data plane will have to be given anew.
use std::collections::BTreeSet;
use std::time::Duration;

use filter_core::layout::ANY_MAC;
use filter_core::packet::Mac;
use filter_core::{Class, Classes, Mode};
use filter_lifecycle::route::PeerId;
use filter_lifecycle::spec::Peer;
use filter_loader::{PeerSlot, Target};

use crate::notice::Notice;
use crate::switched::{Permit, Switched, some_of};
use crate::{Engine, EngineError};

/// MACs that operators may accept for one peer; more belong in its configuration.
pub const MAX_ACCEPTED: usize = 16;

/// Why a MAC is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// The peer's frames are not distinguished by their MACs.
    #[error("the peer is on no interface of kind `lan`: on a `port` any mac is its")]
    NotOnLan,
    /// No frame comes from there.
    #[error("{0} is no address of a station: give a unicast mac")]
    NoStation(Mac),
    /// It is ours: frames from there that come in are none of a peer's.
    #[error("{0} is our own mac on that lan: no peer sends from it")]
    Own(Mac),
    /// It is another peer's, by the configuration or because it was accepted for it.
    #[error("{mac} is `{other}`'s: `macs` of the configuration says so, or it was accepted for it")]
    Taken {
        /// The MAC.
        mac: Mac,
        /// The other peer.
        other: String,
    },
    /// Too many.
    #[error("{MAX_ACCEPTED} macs were accepted for it: put them under its `macs`")]
    TooMany,
}

impl Engine {
    /// What operators switched before this process, as somebody kept it: for peers and interfaces of which the data plane
    /// itself knows nothing, as after a reboot. Before [`Engine::start`].
    pub fn remember(&mut self, switched: Switched) {
        self.placer.set_accepted(switched.accepted.clone());
        self.switched = switched;
    }

    /// What operators switched before this process cannot be had: the data plane's own words count, and what is on trial
    /// there goes back to observing. Before [`Engine::start`].
    pub const fn remember_nothing(&mut self) {
        self.is_memory_lost = true;
    }

    /// Is what operators switched before this process known?
    #[must_use]
    pub const fn remembers(&self) -> bool {
        !self.is_memory_lost
    }

    /// What operators switched at run time, to be kept.
    #[must_use]
    pub const fn switched(&self) -> &Switched {
        &self.switched
    }

    /// An operator changes a peer's mode.
    pub fn set_mode(
        &mut self,
        now: Duration,
        id: PeerId,
        mode: Mode,
    ) -> filter_lifecycle::PeerStatus {
        self.set_mode_only(now, id, mode, &[])
    }

    /// An operator changes a peer's mode, and names the classes that may be in force; none named: all.
    pub fn set_mode_only(
        &mut self,
        now: Duration,
        id: PeerId,
        mode: Mode,
        only: &[Class],
    ) -> filter_lifecycle::PeerStatus {
        if let Some(peer) = self.fitted.spec().peer(id) {
            let permit = Permit {
                mode,
                only: only.to_vec(),
                specified: Some(peer.mode),
            };
            let name = peer.name.clone();
            self.permit_by_operator(self.slots.of(id).into(), permit.classes());
            self.switched.set_peer(&name, permit);
            self.trials.remove(&name);
        }
        self.lifecycle.set_mode(id, mode);
        self.lifecycle.settle(now);
        self.standing(now, id)
    }

    /// An operator accepts a MAC as a peer's, wherever the peer is on a LAN.
    ///
    /// # Errors
    /// [`AcceptError`].
    pub fn accept_mac(&mut self, id: PeerId, mac: Mac) -> Result<(), AcceptError> {
        let spec = self.fitted.spec();
        let Some(peer) = spec.peer(id) else {
            return Err(AcceptError::NotOnLan);
        };
        if mac == ANY_MAC || mac.bytes()[0] & 1 != 0 {
            return Err(AcceptError::NoStation(mac));
        }
        let mut lans = peer.attachments.iter().map(|each| each.interface);
        if !lans.any(|lan| self.fitted.is_lan(lan)) {
            return Err(AcceptError::NotOnLan);
        }
        let mut links = self.fitted.links().values();
        if links.any(|link| link.macs.contains(&mac)) {
            return Err(AcceptError::Own(mac));
        }
        let has = |other: &&Peer| {
            let accepted = self.switched.accepted.get(&other.name);
            let mut configured = other.attachments.iter().flat_map(|each| &each.macs);
            accepted.is_some_and(|macs| macs.contains(&mac)) || configured.any(|each| *each == mac)
        };
        let mut others = spec.peers.iter().filter(|other| other.name != peer.name);
        if let Some(other) = others.find(has) {
            let other = other.name.clone();
            return Err(AcceptError::Taken { mac, other });
        }
        let macs = self.switched.accepted.entry(peer.name.clone()).or_default();
        if macs.len() >= MAX_ACCEPTED && !macs.contains(&mac) {
            return Err(AcceptError::TooMany);
        }
        macs.insert(mac);
        self.placer.set_accepted(self.switched.accepted.clone());
        Ok(())
    }

    /// An operator allows what is wanted of an interface's own classes, or forbids it. With `enforce`, `only` names the
    /// classes that may be in force; none named: all.
    ///
    /// # Errors
    /// What the loader says.
    pub fn permit_interface(
        &mut self,
        interface: &str,
        mode: Mode,
        only: &[Class],
    ) -> Result<(), EngineError> {
        let permit = Permit {
            mode,
            only: only.to_vec(),
            specified: None,
        };
        let (target, classes) = (Target::Interface(interface), permit.classes());
        self.filter.permit(target, classes)?;
        self.permit_former(target, classes);
        self.switched.set_interface(interface, permit);
        Ok(())
    }

    /// An operator allows what is wanted anywhere, or forbids all of it.
    pub fn permit_all(&mut self, mode: Mode) {
        let classes = Classes::ALL.when(mode == Mode::Enforce);
        self.permit_by_operator(Target::WholeFilter, classes);
        self.switched.all_off = mode == Mode::Observe;
    }

    fn permit_by_operator(&mut self, target: Target<'_>, classes: Classes) {
        self.permit(target, classes);
        self.permit_former(target, classes);
    }

    fn permit(&mut self, target: Target<'_>, classes: Classes) {
        if let Err(error) = self.filter.permit(target, classes) {
            self.notices.push(Notice::KernelFailed(error));
        }
    }

    /// What the data plane keeps of the operators' words stays, and what it knows nothing of is given to it anew: `known` are
    /// the peers it did know, `is_new` says that it knew none at all.
    pub(crate) fn repeat_permits(
        &mut self,
        now: Duration,
        known: &BTreeSet<PeerSlot>,
        is_new: bool,
    ) {
        if is_new && self.switched.all_off {
            self.permit(Target::WholeFilter, Classes::NONE);
        }
        let all = self.filter.allowed(Target::WholeFilter);
        self.switched.all_off = all.is_ok_and(Classes::is_empty);
        let trials = std::mem::take(&mut self.trials);
        let peers: Vec<_> = self.slots.iter().collect();
        for (id, slot) in peers {
            if self.filter.is_on_trial(slot) {
                self.repeat_trial(now, id, &trials);
            } else {
                // Of a slot that is new, only what a version before was told to leave alone is forbidden.
                let is_off = self.filter.allowed(slot).is_ok_and(Classes::is_empty);
                self.repeat_permit(id, is_off || known.contains(&slot));
            }
        }
    }

    /// A peer is permitted what the data plane's word says if that is known to be of the operators, else what they last
    /// switched, else everything: then the configuration alone decides.
    pub(crate) fn repeat_permit(&mut self, id: PeerId, is_word_known: bool) {
        let Some(peer) = self.fitted.spec().peer(id) else {
            return;
        };
        let (name, specified, slot) = (peer.name.clone(), peer.mode, self.slots.of(id));
        let kept = self.switched.peers.remove(&name);
        if !is_word_known {
            let classes = kept.as_ref().map_or(Classes::ALL, Permit::classes);
            self.permit(slot.into(), classes);
        }
        let word = self.filter.allowed(slot).unwrap_or(Classes::NONE);
        // `enforce` against the configuration ends as soon as that says something else.
        let is_on = kept.is_some_and(|permit| {
            permit.mode == Mode::Enforce && permit.specified == Some(specified)
        });
        let permit = match (word, is_on) {
            (Classes::NONE, _) => Some(Permit {
                specified: Some(specified),
                ..Permit::observe()
            }),
            (Classes::ALL, false) => None,
            (word, is_on) => Some(Permit {
                only: some_of(word),
                specified: is_on.then_some(specified),
                ..Permit::enforce()
            }),
        };
        let mode = match &permit {
            Some(permit) if permit.mode == Mode::Observe => Mode::Observe,
            _ if is_on => Mode::Enforce,
            _ => specified,
        };
        if mode != self.lifecycle.wanted_mode(id) {
            self.lifecycle.set_mode(id, mode);
        }
        if let Some(permit) = permit {
            self.switched.set_peer(&name, permit);
        }
    }
}
