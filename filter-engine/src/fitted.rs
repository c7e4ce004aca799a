//! A specification and what this machine has for it: a link for each interface whose device is there, or whose
//! specification has all that would be read from a device.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use filter_core::Address;
use filter_lifecycle::policy::{DeviceFacts, Link, Withheld};
use filter_lifecycle::route::PeerId;
use filter_lifecycle::spec::{InterfaceId, InterfaceKind, Spec};
use filter_loader::{Device, Error};

use crate::EngineError;

/// See the file's head. Made before anything is touched, so that a specification that does not fit changes nothing.
#[derive(Clone, Debug)]
pub struct Fitted {
    spec: Arc<Spec>,
    links: BTreeMap<InterfaceId, Link>,
    withheld: Withheld,
}

impl Fitted {
    /// Looks the devices up, in this thread's network namespace. An interface whose device is not there has no link yet:
    /// the engine waits for it.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn new(spec: Arc<Spec>) -> Result<Self, EngineError> {
        let mut links = BTreeMap::new();
        for (id, interface) in spec.interface_ids() {
            let device = match Device::find(&interface.name) {
                Err(Error::UnknownInterface(_)) => continue,
                device => device?,
            };
            let facts = DeviceFacts::alone(device.ifindex, device.mac, device.addresses);
            links.insert(id, Link::new(interface, facts.ifindex, Some(&facts))?);
        }
        Ok(Self {
            withheld: Withheld::of(&spec),
            links,
            spec,
        })
    }

    /// An interface's device is there, or is otherwise than it was. Returns whether that changes its link.
    pub(crate) fn set_facts(&mut self, id: InterfaceId, facts: &DeviceFacts) -> bool {
        let interface = self.spec.interface(id);
        let link = interface.map(|interface| Link::new(interface, facts.ifindex, Some(facts)));
        // A device without a MAC has no record: it cannot be attached to either.
        let Some(Ok(link)) = link else {
            return self.remove_link(id);
        };
        let is_new = self.links.get(&id) != Some(&link);
        self.links.insert(id, link);
        is_new
    }

    /// An interface's device is gone. Returns whether it was there.
    pub(crate) fn remove_link(&mut self, id: InterfaceId) -> bool {
        self.links.remove(&id).is_some()
    }

    /// Peers that are attached to an interface.
    pub(crate) fn peers_on(&self, id: InterfaceId) -> Vec<PeerId> {
        let peers = self.spec.peer_ids();
        let here = peers.filter(|(_, peer)| {
            let mut attachments = peer.attachments.iter();
            attachments.any(|attachment| attachment.interface == id)
        });
        here.map(|(peer, _)| peer).collect()
    }

    /// What is wanted.
    #[must_use]
    pub const fn spec(&self) -> &Arc<Spec> {
        &self.spec
    }

    pub(crate) const fn links(&self) -> &BTreeMap<InterfaceId, Link> {
        &self.links
    }

    pub(crate) const fn withheld(&self) -> &Withheld {
        &self.withheld
    }

    /// Are peers distinguished by their MACs there?
    pub(crate) fn is_lan(&self, id: InterfaceId) -> bool {
        let interface = self.spec.interface(id);
        interface.is_some_and(|interface| interface.kind == InterfaceKind::Lan)
    }

    /// Our addresses on the interfaces the peer is attached to.
    pub(crate) fn own_addresses(&self, id: PeerId) -> Vec<Address> {
        let attachments = self.spec.peers[id.0 as usize].attachments.iter();
        let interfaces: BTreeSet<InterfaceId> =
            attachments.map(|attachment| attachment.interface).collect();
        let links = interfaces.iter().filter_map(|id| self.links.get(id));
        links
            .flat_map(|link| &link.addresses)
            .map(|&address| Address::from(address))
            .collect()
    }

    /// The name of the interface with this index.
    pub(crate) fn interface_name(&self, ifindex: u32) -> Option<&str> {
        let mut links = self.links.iter();
        let (&id, _) = links.find(|(_, link)| link.ifindex == ifindex)?;
        self.spec
            .interface(id)
            .map(|interface| interface.name.as_str())
    }
}
