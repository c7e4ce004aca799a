//! Taking another specification in force without letting go of the wire: tables, counters and the program stay while
//! the feeds report everything anew. Everything that can be refused is refused before anything is touched.
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use filter_core::layout::{MAX_INTERFACES, MAX_TAGGED_NETWORKS};
use filter_core::packet::Vlans;
use filter_lifecycle::Lifecycle;
use filter_lifecycle::spec::{InterfaceId, InterfaceKind, Peer, Spec};
use filter_loader::{Device, Error, NetworkSpec, PeerSlot, ethtool};

use crate::fitted::Fitted;
use crate::notice::Notice;
use crate::place::Exports;
use crate::{Engine, EngineError, fix, peering, slots};

impl Engine {
    /// Could this specification be taken in force? Asks only; a start asks the same.
    ///
    /// # Errors
    /// What the data plane has no room for, or a device it cannot be attached to.
    pub fn check(&self, fitted: &Fitted) -> Result<(), EngineError> {
        let spec = fitted.spec();
        let limit = self.filter.max_peers();
        if let Some(peer) = spec.peers.get(limit as usize) {
            let name = peer.name.clone();
            return Err(Error::TooManyPeers { name, limit }.into());
        }
        if let Some(interface) = spec.interfaces.get(MAX_INTERFACES as usize - 2) {
            return Err(Error::TooManyInterfaces(interface.name.clone()).into());
        }
        let mut tagged = 0;
        for (id, interface) in spec.interface_ids() {
            tagged += peering::tagged_networks(spec, id);
            if tagged > MAX_TAGGED_NETWORKS as usize {
                return Err(Error::TooManyTags(interface.name.clone()).into());
            }
            let lan = NetworkSpec {
                lan: interface.lan.clone(),
                ..NetworkSpec::default()
            };
            let overflow = |what| Error::InterfaceRecord {
                name: interface.name.clone(),
                what,
            };
            lan.record().map_err(overflow)?;
            if let Some(link) = fitted.links().get(&id) {
                match Device::at(link.ifindex, &interface.name) {
                    Ok(device) => {
                        device.check(fix::mode_of(interface.hook))?;
                        if !device.is_ethernet() {
                            refuse_macs(spec, id)?;
                        }
                        refuse_tags(spec, id, ethtool::is_vlan_device(&device.own_name))?;
                    }
                    Err(Error::UnknownInterface(_)) => {} // gone again: it is waited for
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// Takes another specification in force. The feeds, by their new numbers, are expected to report everything anew;
    /// until then the tables in force stay, as after a restart. Modes an operator set stay for peers
    /// whose specified mode is the same. Take the notices first: their ids are the former specification's.
    ///
    /// # Errors
    /// What was refused: nothing is changed then. A map of the data plane that could not be written, which may leave part of
    /// the new specification in force: apply the former one again.
    pub fn apply(
        &mut self,
        now: Duration,
        fitted: Fitted,
        exports: Exports,
    ) -> Result<(), EngineError> {
        self.check(&fitted)?;
        // Makes place for what it needs before the former lists go, or fails.
        self.publish_lists(fitted.spec())?;
        let (frozen, coverages) = (self.frozen(), self.coverages());
        let former = std::mem::replace(&mut self.fitted, fitted);
        self.lifecycle = Lifecycle::new(Arc::clone(self.fitted.spec()));
        self.publisher.forget_pending();
        self.feeds_down.clear();
        if let Err(error) = self.look_up_devices(now) {
            self.notices.push(Notice::NotLookedUp(error)); // looked at again within a second
        }
        self.let_go_of_others()?;
        let replaced = self.take_peers(now)?;
        self.restore_frozen(&frozen, &replaced);
        self.restore_coverages(coverages, &replaced);
        let spec = self.fitted.spec();
        let slots = &self.slots;
        self.placer.renumber(|old| {
            let name = &former.spec().peer(old)?.name;
            let (id, _) = spec.peer_named(name)?;
            (!replaced.contains(&slots.of(id))).then_some(id)
        });
        self.placer.inherit(&self.filter, &self.slots, &replaced);
        // What a device refuses is said of its interface, and tried again.
        if let Err(error) = self.attach(now) {
            self.notices.push(Notice::NotLookedUp(error));
        }
        self.placer.seed(exports);
        self.place_stations(now)?;
        self.follower.follow(self.devices.places());
        self.follower.again();
        Ok(())
    }

    /// Lets go of interfaces that are not specified, whoever attached them.
    pub(crate) fn let_go_of_others(&mut self) -> Result<(), EngineError> {
        let interfaces = self.fitted.spec().interfaces.iter();
        let names: Vec<&str> = interfaces.map(|each| each.name.as_str()).collect();
        Ok(self.filter.keep_only(&names)?)
    }

    /// The peers of the specification get their slots, and those of all others are given back. What the data plane holds for a
    /// peer stays, unless it was another of the same name; returns whose did not. Everything that is kept by a peer's number
    /// follows in one step that cannot fail: whatever fails later leaves no number without its peer.
    pub(crate) fn take_peers(&mut self, now: Duration) -> Result<BTreeSet<PeerSlot>, EngineError> {
        let spec = Arc::clone(self.fitted.spec());
        let names: Vec<&str> = spec.peers.iter().map(|peer| peer.name.as_str()).collect();
        let is_new = !self.filter.took_over() && self.slots.is_empty();
        for gone in self.filter.keep_only_peers(&names)? {
            self.publisher.forget(gone);
        }
        let (mut taken, mut known, mut replaced) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        for peer in &spec.peers {
            let is_known = self.filter.knows_peer(&peer.name);
            let slot = self.filter.add_peer(&peer.name)?;
            taken.push(slot);
            if is_known {
                known.insert(slot);
            }
            if self.filter.identify(slot, slots::identity(peer))? {
                self.publisher.forget(slot);
                replaced.insert(slot);
            }
        }
        self.take_slots(now, taken);
        self.repeat_permits(now, &known, is_new);
        Ok(replaced)
    }

    fn take_slots(&mut self, now: Duration, slots: Vec<PeerSlot>) {
        let until = now + self.fitted.spec().timers.stale_hold;
        let mut adopted = Vec::new();
        for &slot in &slots {
            let generation = self.filter.generation(slot);
            if let Some(generation) = generation {
                self.publisher.adopt(slot, generation);
            }
            adopted.push(generation.map(|_| until));
        }
        self.publisher.reset(slots.len());
        self.sampler.reset(slots.len());
        self.slots = slots::Slots::new(slots);
        self.adopted = crate::lease::Adopted::new(adopted);
        self.class_watch.forget();
        let interfaces = self.fitted.spec().interfaces.iter();
        self.wire
            .keep_only(&interfaces.map(|each| each.name.as_str()).collect());
    }
}

/// A device without an Ethernet header is a `port`, and knows its peer by neither MAC nor tag.
fn refuse_macs(spec: &Spec, id: InterfaceId) -> Result<(), EngineError> {
    let Some(interface) = spec.interface(id) else {
        return Ok(());
    };
    let refused = |key| EngineError::NoEthernet {
        interface: interface.name.clone(),
        key,
    };
    if interface.kind != InterfaceKind::Port {
        return Err(refused("kind = \"lan\""));
    }
    let peers = spec.peers.iter().flat_map(|peer| &peer.attachments);
    for here in peers.filter(|each| each.interface == id) {
        if !here.macs.is_empty() {
            return Err(refused("macs"));
        }
        if here.vlans != Vlans::NONE {
            return Err(refused("vlan"));
        }
    }
    Ok(())
}

/// No peer can be distinguished by a tag that the frames have lost.
fn refuse_tags(spec: &Spec, id: InterfaceId, is_vlan_device: bool) -> Result<(), EngineError> {
    let on_it = |peer: &&Peer| {
        let mut here = peer.attachments.iter();
        here.any(|each| each.interface == id && each.vlans != Vlans::NONE)
    };
    match spec.peers.iter().find(on_it) {
        Some(peer) if is_vlan_device => Err(EngineError::VlanDevice {
            interface: spec
                .interface(id)
                .map_or_else(String::new, |each| each.name.clone()),
            peer: peer.name.clone(),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use filter_core::Asn;
    use filter_core::packet::Mac;
    use filter_lifecycle::spec::{Attachment, Interface};

    use super::*;

    #[test]
    fn a_vlan_on_a_vlan_device_is_refused_with_the_reason() {
        let mut spec = Spec::new(Asn::new(64500));
        spec.interfaces = vec![Interface::new("ixp0.100", InterfaceKind::Lan)];
        let (id, tagged) = (
            InterfaceId(0),
            Vlans {
                outer: 100,
                inner: 0,
            },
        );
        let peer = |vlans| {
            let attachment = Attachment {
                vlans,
                ..Attachment::new(id, Vec::new())
            };
            vec![Peer::new("icrc", Asn::new(57965), attachment)]
        };
        spec.peers = peer(tagged);
        refuse_tags(&spec, id, false).unwrap();
        assert_eq!(
            refuse_tags(&spec, id, true).unwrap_err().to_string(),
            "interface `ixp0.100` is the device of one vlan, whose frames have lost their tag: take `vlan` out of `icrc`, or put it on the device below"
        );
        spec.peers = peer(Vlans::NONE);
        refuse_tags(&spec, id, true).unwrap();
    }

    #[test]
    fn without_an_ethernet_header_there_is_one_peer_without_mac_and_tag() {
        let id = InterfaceId(0);
        let spec = |kind, attachment| {
            let mut spec = Spec::new(Asn::new(64500));
            spec.interfaces = vec![Interface::new("tun0", kind)];
            spec.peers = vec![Peer::new("icrc", Asn::new(57965), attachment)];
            spec
        };
        let bare = || Attachment::new(id, Vec::new());
        refuse_macs(&spec(InterfaceKind::Port, bare()), id).unwrap();
        let said = |kind, attachment| {
            refuse_macs(&spec(kind, attachment), id)
                .unwrap_err()
                .to_string()
        };
        let text = |key| {
            format!(
                "interface `tun0` has no ethernet header: take `{key}` away; it is a `port` of one peer, without macs and tags"
            )
        };
        assert_eq!(said(InterfaceKind::Lan, bare()), text("kind = \"lan\""));
        let macs = Attachment {
            macs: vec![Mac::from_bits(2)],
            ..bare()
        };
        assert_eq!(said(InterfaceKind::Port, macs), text("macs"));
        let tagged = Attachment {
            vlans: Vlans { outer: 7, inner: 0 },
            ..bare()
        };
        assert_eq!(said(InterfaceKind::Port, tagged), text("vlan"));
    }
}
