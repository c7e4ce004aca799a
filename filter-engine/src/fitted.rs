//! A specification that fits this machine: every interface has a device, or says itself what a device would tell.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use filter_core::Address;
use filter_lifecycle::policy::{DeviceFacts, Link, Withheld};
use filter_lifecycle::route::PeerId;
use filter_lifecycle::spec::{InterfaceId, Spec};
use filter_loader::Device;

use crate::EngineError;

/// See the file's head. Made before anything is touched, so that a specification that does not fit changes nothing.
#[derive(Clone, Debug)]
pub struct Fitted {
    spec: Arc<Spec>,
    links: BTreeMap<InterfaceId, Link>,
    withheld: Withheld,
}

impl Fitted {
    /// Looks the devices up, in this thread's network namespace.
    ///
    /// # Errors
    /// A device that is not there, or that leaves open what the specification leaves open too.
    pub fn new(spec: Arc<Spec>) -> Result<Self, EngineError> {
        let mut links = BTreeMap::new();
        for (id, interface) in spec.interface_ids() {
            let device = Device::find(&interface.name)?;
            let facts = DeviceFacts {
                ifindex: device.ifindex,
                mac: device.mac,
                addresses: device.addresses,
            };
            links.insert(id, Link::new(interface, facts.ifindex, Some(&facts))?);
        }
        Ok(Self {
            withheld: Withheld::of(&spec),
            links,
            spec,
        })
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
