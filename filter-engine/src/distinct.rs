//! Whether frames of no peer may be dropped on an interface: only while every peer there is distinguished by its MACs. Never
//! decides which MAC is whose.
use std::collections::BTreeSet;

use filter_core::Classes;
use filter_lifecycle::route::{PeerId, Session};
use filter_lifecycle::spec::{InterfaceId, Peer};
use filter_loader::{LeaseEnd, Target, Wanted};

use crate::notice::Notice;
use crate::{Engine, peering};

/// The interfaces on which some peer is not distinguished by its MACs.
pub(crate) type Mixed = BTreeSet<InterfaceId>;

impl Engine {
    /// What an interface's own classes are as far as the program sees enough for them.
    pub(crate) fn interface_wanted(&self, id: InterfaceId) -> Classes {
        self.interface_granted(id).within(self.devices.judged(id))
    }

    /// The same where the program sees all tags.
    pub(crate) fn interface_granted(&self, id: InterfaceId) -> Classes {
        let interface = &self.fitted.spec().interfaces[usize::from(id.0)];
        let unknown = Classes::UNKNOWN.when(self.mixed.contains(&id));
        peering::interface_classes(interface).without(unknown)
    }

    /// Writes them.
    pub(crate) fn switch_interface(&mut self, id: InterfaceId) {
        let name = self.fitted.spec().interfaces[usize::from(id.0)]
            .name
            .clone();
        let wanted = Wanted::new(self.interface_wanted(id), LeaseEnd::Observe);
        let target = Target::Interface(&name);
        if self.filter.knows_interface(&name)
            && self.filter.wanted(target).ok() != Some(wanted)
            && let Err(error) = self.filter.set_wanted(target, wanted)
        {
            self.notices.push(Notice::KernelFailed(error));
        }
    }

    /// Looks whether every peer is distinguished by its MACs now; where that changed, so does what meets frames of no peer.
    pub(crate) fn follow_stations(&mut self) {
        let lifecycle = &self.lifecycle;
        let is_up = |peer: &Peer, address| {
            let mut vrfs = peer.attachments.iter().map(|each| each.vrf);
            vrfs.any(|vrf| lifecycle.is_up(Session::of(address, vrf)))
        };
        let interfaces = self.fitted.spec().interface_ids().map(|(id, _)| id);
        let mixed: Mixed = interfaces
            .filter(|&id| !self.placer.are_whole(&self.fitted, id, is_up))
            .collect();
        let changed: Vec<InterfaceId> = self.mixed.symmetric_difference(&mixed).copied().collect();
        self.mixed = mixed;
        for id in changed {
            self.switch_interface(id);
        }
    }

    /// Does a packet of another MAC than the peer's own pass, although the peer is enforced, because frames of no peer pass
    /// on its interface?
    pub(crate) fn is_bypassed(&self, id: PeerId) -> bool {
        let slot = self.slots.of(id);
        let is_enforced = self
            .filter
            .in_force(slot)
            .is_ok_and(|classes| !classes.is_empty());
        let peer = &self.fitted.spec().peers[id.0 as usize];
        let passes = |interface: InterfaceId| {
            let interface = &self.fitted.spec().interfaces[usize::from(interface.0)];
            let in_force = self.filter.in_force(Target::Interface(&interface.name));
            !in_force.is_ok_and(|classes| classes.meets(Classes::UNKNOWN))
        };
        let mut lans = peer
            .attachments
            .iter()
            .map(|each| each.interface)
            .filter(|&id| self.fitted.is_lan(id));
        is_enforced && lans.any(passes)
    }
}
