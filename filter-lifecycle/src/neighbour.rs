//! At which MAC each address on a link answers, by the kernel's neighbour table, and what an exchange's member export
//! lists. Facts and their memory only: [`crate::stations`] decides which peer a MAC belongs to.
use std::collections::BTreeMap;
use std::net::IpAddr;

use filter_core::Asn;
use filter_core::packet::Mac;

/// MACs remembered per address; the one unseen for longest goes first.
pub const MAX_MACS_PER_ADDRESS: usize = 16;

/// A change of the kernel's neighbour table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighbourEvent {
    /// The address answers at this MAC: new, or another one than before.
    Known {
        /// Index of the interface it is on.
        link: u32,
        /// The neighbour's address.
        address: IpAddr,
        /// Where it answers.
        mac: Mac,
    },
    /// The kernel's entry is gone: removed, or the neighbour did not answer. Frames from its last MAC may still come.
    Gone {
        /// Index of the interface it was on.
        link: u32,
        /// The neighbour's address.
        address: IpAddr,
    },
    /// The whole table has been listed, at the start or after messages were lost.
    Complete,
}

/// One member's connection to one of an exchange's LANs, from the member export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberSeed {
    /// The member.
    pub asn: Asn,
    /// Its addresses on the LAN.
    pub addresses: Vec<IpAddr>,
    /// Its MACs there.
    pub macs: Vec<Mac>,
}

/// Every MAC an address was seen at, latest last. A MAC outlives its neighbour entry: the kernel forgets silent
/// neighbours, whose frames still come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Macs(BTreeMap<(u32, IpAddr), Vec<Mac>>);

impl Macs {
    /// Learns from an event; true if the address was never seen at this MAC.
    pub fn learn(&mut self, event: &NeighbourEvent) -> bool {
        let NeighbourEvent::Known { link, address, mac } = *event else {
            return false;
        };
        let macs = self.0.entry((link, address)).or_default();
        let known = macs.iter().position(|known| *known == mac);
        if let Some(at) = known {
            macs.remove(at);
        }
        macs.push(mac);
        if macs.len() > MAX_MACS_PER_ADDRESS {
            macs.remove(0);
        }
        known.is_none()
    }

    /// Where the address was seen on this interface, latest last.
    #[must_use]
    pub fn of(&self, link: u32, address: IpAddr) -> &[Mac] {
        self.0.get(&(link, address)).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(last: u8) -> NeighbourEvent {
        let address = "192.0.2.11".parse().unwrap();
        NeighbourEvent::Known {
            link: 2,
            address,
            mac: Mac::from_bytes([2, 0, 0, 0, 0, last]),
        }
    }

    #[test]
    fn macs_of_an_address_add_up_bounded() {
        let mut macs = Macs::default();
        let address = "192.0.2.11".parse().unwrap();
        assert!(macs.learn(&known(1)) && macs.learn(&known(2)));
        assert!(!macs.learn(&known(1)), "it came back");
        assert!(!macs.learn(&NeighbourEvent::Gone { link: 2, address }));
        let last_bytes = |macs: &Macs| -> Vec<u8> {
            macs.of(2, address)
                .iter()
                .map(|mac| mac.bytes()[5])
                .collect()
        };
        assert_eq!(last_bytes(&macs), [2, 1]);
        assert_eq!(macs.of(3, address), []);
        (3..30).for_each(|last| assert!(macs.learn(&known(last))));
        assert_eq!(last_bytes(&macs), (14..30).collect::<Vec<_>>());
    }
}
