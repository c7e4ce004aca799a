//! Numbered packets of the first peer, judged by the tables that the lifecycle produces now, with the classes that it
//! grants. The judge is that of every engine.
use std::sync::Arc;

use filter_core::layout::{Families, Interface, Network, Rules};
use filter_core::packet::{Mac, Vlans};
use filter_core::set::PrefixSet;
use filter_core::verdict::{self, Listed, Membership, Policy};
use filter_core::{Address, Classes, bogon};
use filter_lifecycle::route::PeerId;
use filter_loader::{InterfaceSpec, NetworkSpec};
use tests::frame;

use super::world::{World, prefix};

const PACKETS: usize = 20;

/// The first peer as the data plane would have it.
struct Tables {
    interface: Interface,
    network: Network,
    rules: Rules,
    in_force: Classes,
    sources: PrefixSet,
    destinations: PrefixSet,
    bogons: PrefixSet,
}

impl Policy for Tables {
    type Peer = ();

    fn interface(&self) -> &Interface {
        &self.interface
    }

    fn network(&self, _: Vlans) -> Option<&Network> {
        Some(&self.network)
    }

    fn peer(&self, _: Vlans, _: Mac) -> Option<()> {
        Some(())
    }

    fn rules(&self, (): ()) -> Rules {
        self.rules
    }

    fn membership(&self, (): (), source: Address, destination: Address) -> Membership {
        Membership {
            source: self.sources.contains(source),
            destination: self.destinations.contains(destination),
        }
    }

    fn listed(&self, address: Address) -> Listed {
        Listed {
            bogon: self.bogons.contains(address),
            ours: false,
        }
    }

    fn admits_icmp_error(&self, (): (), _: bool) -> bool {
        true
    }

    fn peer_in_force(&self, (): ()) -> Classes {
        self.in_force
    }

    fn interface_in_force(&self) -> Classes {
        Classes::NONE
    }
}

impl World {
    /// The first peer's packets from there to us pass.
    #[track_caller]
    pub fn passes(&mut self, source: &str) {
        let passed = self.passed(source);
        assert_eq!(passed, PACKETS, "from {source} at {:?}", self.now);
    }

    /// They are dropped.
    #[track_caller]
    pub fn drops(&mut self, source: &str) {
        assert_eq!(self.passed(source), 0, "from {source} at {:?}", self.now);
    }

    /// Of so many numbered packets from there, how many pass?
    fn passed(&mut self, source: &str) -> usize {
        let tables = self.tables();
        let frames = (1..=PACKETS).map(|number| {
            let text = format!("eth src=icrc dst=us / ipv4 {source} > 198.51.100.{number} / udp");
            frame::build(&text).unwrap()
        });
        let judged = frames.map(|frame| verdict::judge(frame.as_slice(), &tables));
        judged
            .filter(|judgement| !judgement.action.is_drop())
            .count()
    }

    fn tables(&mut self) -> Tables {
        let id = PeerId(0);
        let spec = Arc::clone(self.life.spec());
        let network = NetworkSpec {
            addresses: vec!["192.0.2.1".parse().unwrap()],
            lan: vec![prefix("192.0.2.0/24")],
            subnets: Vec::new(),
        };
        let link = InterfaceSpec {
            macs: vec!["02:00:00:00:00:01".parse().unwrap()],
            networks: [(Vlans::default(), network)].into(),
            ..InterfaceSpec::new("ixp0", Mac::from_bits(0))
        };
        let mut networks = link.network_records().unwrap();
        Tables {
            interface: link.record().unwrap(),
            network: networks.remove(&Vlans::default()).unwrap(),
            rules: Rules {
                families: Families::new(|family| spec.peers[0].families.contains(family)),
                known: self.life.known(id),
            },
            in_force: self.life.granted(self.now, id),
            sources: self.life.sources(id),
            destinations: self.life.destinations(id, &[]),
            bogons: bogon::bogons(&[]),
        }
    }
}
