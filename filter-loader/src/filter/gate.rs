//! Runs the self-test: the packets that [`crate::selftest`] chose, through the loaded program, in a slot and with an
//! interface record of its own. Never chooses packets, never lets go live what failed.
use std::collections::BTreeMap;

use aya::maps::Array;
use filter_core::layout::{LeaseEnd, Network, SlotStation, Wanted, interface_entry, map};
use filter_core::packet::Vlans;
use filter_core::{Classes, Reason};

use super::{Filter, SELF_TEST, TEST_IFINDEX};
use crate::device::InterfaceSpec;
use crate::error::Error;
use crate::selftest::{self, Probe};
use crate::slot::PeerSlot;
use crate::stats::{self, Counters};
use crate::tables::{PeerTables, TableStore};

impl Filter {
    /// The self-test's own station, and nothing left of a self-test that did not end.
    pub(super) fn prepare_self_test(&mut self) -> Result<(), Error> {
        if !self.self_test {
            return Ok(());
        }
        let station = SlotStation {
            slot: SELF_TEST,
            vlans: Vlans::NONE,
            mac: selftest::SOURCE,
        };
        self.stations.insert(&station.key(), SELF_TEST)?;
        self.switch.reset(SELF_TEST);
        self.switch
            .want(SELF_TEST, Wanted::new(Classes::ALL, LeaseEnd::Keep));
        // Never due: its violations are nothing to report.
        let mut due: Array<_, u64> = self.map_mut(map::SAMPLE_DUE)?;
        due.set(SELF_TEST, u64::MAX / 2, 0)
            .map_err(Error::map(map::SAMPLE_DUE))?;
        self.tables.retire(SELF_TEST)
    }

    /// Runs known packets through the program against these sets, in the self-test's slot, and if all is well lets
    /// them go live. Sets are shared by content, so what goes live are the very lines that were tested.
    pub(super) fn tested(
        &mut self,
        peer: PeerSlot,
        table: &PeerTables<'_>,
        go_live: impl FnOnce(&mut dyn TableStore) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if !self.self_test {
            return go_live(self.tables.as_mut());
        }
        #[cfg(feature = "test-hooks")]
        let planted = PeerTables {
            sources: table.destinations,
            ..*table
        };
        #[cfg(feature = "test-hooks")]
        let staged = if self.planted_bug { &planted } else { table };
        #[cfg(not(feature = "test-hooks"))]
        let staged = table;
        self.tables.publish(SELF_TEST, peer.0, staged)?;
        let done = self
            .run_probes(peer, table)
            .and_then(|()| go_live(self.tables.as_mut()));
        self.tables.retire(SELF_TEST)?;
        done
    }

    fn run_probes(&mut self, peer: PeerSlot, table: &PeerTables<'_>) -> Result<(), Error> {
        let spec = self.spec_of(peer);
        let record = spec.record()?;
        let network = spec
            .networks
            .get(&Vlans::NONE)
            .map_or_else(|| Ok(Network::default()), |network| network.record())
            .unwrap_or_default();
        let known = selftest::Known {
            interface: &spec,
            record: &record,
            network: &network,
            lists: &self.lists,
        };
        let probes = selftest::probes(&known, table);
        self.write_records(SELF_TEST, &record, &network)?;
        let before = self.set_entry(TEST_IFINDEX, interface_entry(SELF_TEST, SELF_TEST))?;
        let tested = self.run_each(peer, &probes);
        self.set_entry(TEST_IFINDEX, before)?;
        tested
    }

    /// The interface the peer is on, as frames without tags find it: packets of the self-test have none.
    fn spec_of(&self, peer: PeerSlot) -> InterfaceSpec {
        let mut stations = self.stations().filter(|&(_, owner)| owner == peer);
        let found = stations.find_map(|(station, _)| {
            let mut spec = self.specs.get(&station.ifindex)?.clone();
            let network = spec.networks.remove(&station.vlans)?;
            spec.networks = [(Vlans::NONE, network)].into();
            Some(spec)
        });
        found.unwrap_or_else(selftest::bare)
    }

    /// Every packet must have counted once, for the reason expected, and none for any other.
    fn run_each(&mut self, peer: PeerSlot, probes: &[Probe]) -> Result<(), Error> {
        let before = self.read_counters(SELF_TEST)?;
        let mut expected: BTreeMap<Reason, u64> = BTreeMap::new();
        for probe in probes {
            self.run(&probe.frame, 1)?;
            let packets = expected.entry(probe.expected).or_default();
            *packets += 1;
            let now = stats::read_one(&self.counter_map()?, SELF_TEST, probe.expected)?;
            if now.packets() != before.packets(probe.expected) + *packets {
                return Err(self.wrong(peer, probe, &before, &expected));
            }
        }
        let counted = self.read_counters(SELF_TEST)?.since(&before);
        match probes.last() {
            Some(last) if counted.total().packets() != probes.len() as u64 => {
                Err(self.wrong(peer, last, &before, &expected))
            }
            _ => Ok(()),
        }
    }

    /// Names what a packet counted for instead.
    fn wrong(
        &self,
        peer: PeerSlot,
        probe: &Probe,
        before: &Counters,
        expected: &BTreeMap<Reason, u64>,
    ) -> Error {
        let counted = match self.read_counters(SELF_TEST) {
            Ok(now) => now.since(before),
            Err(error) => return error,
        };
        let surplus = |&(reason, fates): &(Reason, stats::Fates)| {
            fates.packets() > expected.get(&reason).copied().unwrap_or(0)
        };
        let got = counted.nonzero().find(surplus);
        Error::SelfTest {
            slot: peer.0,
            what: probe.what.clone(),
            expected: probe.expected,
            got: got.map_or("nothing", |(reason, _)| reason.name()),
        }
    }

    /// Makes every table come out wrong, as a mistake of the compiler would.
    #[cfg(feature = "test-hooks")]
    #[doc(hidden)]
    pub fn plant_bug(&mut self, planted: bool) {
        self.planted_bug = planted;
    }
}
