//! Runs the self-test of a staged table: has it read back, then asks the questions that [`crate::selftest`] chose
//! through the loaded program, in a slot and with an interface record of the self-test's own. Never chooses questions,
//! never lets go live what failed.
use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};

use aya::maps::Array;
use filter_core::Classes;
use filter_core::layout::{LeaseEnd, SlotStation, Wanted, interface_entry, map, record};
use filter_core::packet::{Mac, Vlans};
use filter_core::set::Ranges;

use super::{Filter, LISTS, SELF_TEST, TEST_IFINDEX};
use crate::device::InterfaceSpec;
use crate::error::Error;
use crate::object::{self, Shell};
use crate::selftest::{self, Change, Packet, Place, Policies, Question, Sessions};
use crate::slot::PeerSlot;
use crate::stats::{self, Counters, Fates};
use crate::tables::PeerTables;
use crate::testrun;

/// The operator may switch something off while questions are asked: so often they are asked once more.
const TRIES: usize = 3;

/// What the self-test knows of a slot's holder besides its table.
#[derive(Debug, Default)]
pub(super) struct Tested {
    pub(super) name: String,
    sessions: Sessions,
    /// The sets that are live, as they were asked for. None of a table that an earlier process left.
    live: Option<[Ranges; record::SETS]>,
    /// The programs that were asked about it.
    asked: BTreeSet<Shell>,
}

impl Tested {
    /// Nothing is live any more.
    pub(super) fn retire(&mut self) {
        self.live = None;
    }
}

/// A program that is asked.
struct Program {
    shell: Shell,
    fd: OwnedFd,
}

impl Program {
    fn drops(&self, frame: &[u8]) -> Result<bool, Error> {
        let answer = testrun::run(self.fd.as_fd(), frame, &mut [], 1)?;
        Ok(self.shell.is_drop(answer))
    }
}

/// Mistakes that tests plant.
#[cfg(feature = "test-hooks")]
#[derive(Debug, Default)]
pub(super) struct Planted {
    /// Every table is staged with its destinations as its sources.
    swapped: bool,
    /// Nothing is read back: only packets are asked.
    only_packets: bool,
}

impl Filter {
    /// From now on no table of this peer goes live that would drop packets of these sessions, as far as
    /// [`selftest::MAX_SESSIONS`] go.
    pub fn set_sessions(&mut self, peer: PeerSlot, sessions: Sessions) {
        self.tested.entry(peer.0).or_default().sessions = sessions;
    }

    /// What errors call the holder of this slot.
    fn holder(&self, slot: u32) -> String {
        match self.tested.get(&slot) {
            Some(tested) if !tested.name.is_empty() => format!("peer `{}`", tested.name),
            _ if slot == LISTS => "the bogons and our own prefixes".to_owned(),
            _ => format!("the peer in slot {slot}"),
        }
    }

    /// The self-test's own station, and nothing left of a self-test that did not end.
    pub(super) fn prepare_self_test(&mut self) -> Result<(), Error> {
        if !self.self_test {
            return Ok(());
        }
        // The second one is that of packets without an Ethernet header.
        for mac in [selftest::SOURCE, Mac::from_bits(0)] {
            let station = SlotStation {
                slot: SELF_TEST,
                vlans: Vlans::NONE,
                mac,
            };
            self.stations.insert(&station.key(), SELF_TEST)?;
        }
        self.switch.reset(SELF_TEST);
        // Never due: its violations are nothing to report.
        let mut due: Array<_, u64> = self.map_mut(map::SAMPLE_DUE)?;
        due.set(SELF_TEST, u64::MAX / 2, 0)
            .map_err(Error::map(map::SAMPLE_DUE))
    }

    /// Stages a slot's table, and makes it live if it passes its self-test.
    pub(super) fn replace(&mut self, slot: u32, table: &PeerTables<'_>) -> Result<(), Error> {
        self.stage(slot, table)?;
        self.tables.commit()?;
        let asked = self.shells();
        let tested = self.tested.entry(slot).or_default();
        tested.live = Some(table.sets().map(Clone::clone));
        tested.asked = asked;
        Ok(())
    }

    /// Asks about a table that is live once more if a hook came into use since it went live, whose program was never asked: as
    /// for a publish that changes nothing, and nothing is published.
    ///
    /// That proves that the program of the new hook finds the table and judges by it: ARP, neighbour discovery, every session,
    /// some edges of each set, and what lies outside. The boundaries are not asked again, of which there may be a hundred thousand
    /// for each peer: they were when the table went live, of a program that looks addresses up by the same code.
    ///
    /// # Errors
    /// [`Error::SelfTest`], [`Error::Session`], map errors; the table stays live, and is asked about again the next time.
    pub fn test_again(&mut self, peer: PeerSlot, table: &PeerTables<'_>) -> Result<(), Error> {
        let now = self.shells();
        let asked = self.tested.get(&peer.0).map(|tested| &tested.asked);
        if !self.self_test || asked.is_some_and(|asked| now.is_subset(asked)) {
            return Ok(());
        }
        self.stage(peer.0, table)?;
        self.tables.discard();
        self.tested.entry(peer.0).or_default().asked = now;
        Ok(())
    }

    /// Stages a slot's table, and leaves it staged if it passes its self-test.
    fn stage(&mut self, slot: u32, table: &PeerTables<'_>) -> Result<(), Error> {
        let shown = (self.self_test && slot != LISTS).then_some(SELF_TEST);
        #[cfg(feature = "test-hooks")]
        let staged = PeerTables {
            sources: match self.planted.swapped || crate::hooks::swaps_sides() {
                true => table.destinations,
                false => table.sources,
            },
            ..*table
        };
        #[cfg(not(feature = "test-hooks"))]
        let staged = *table;
        let made = self.tables.stage(slot, shown, &staged);
        made.map_err(|error| error.of(&self.holder(slot)))?;
        if let Err(error) = self.passes(slot, table) {
            self.tables.discard();
            return Err(error);
        }
        Ok(())
    }

    fn passes(&mut self, slot: u32, table: &PeerTables<'_>) -> Result<(), Error> {
        if !self.self_test {
            return Ok(());
        }
        let live = self
            .tested
            .get(&slot)
            .and_then(|tested| tested.live.as_ref());
        let change = Change::new(live, table);
        self.read_back(slot, table, &change.changed)?;
        match slot {
            LISTS => Ok(()),
            _ => self.ask_packets(slot, table, &change),
        }
    }

    fn read_back(
        &self,
        slot: u32,
        table: &PeerTables<'_>,
        changed: &[Ranges; record::SETS],
    ) -> Result<(), Error> {
        #[cfg(feature = "test-hooks")]
        if self.planted.only_packets {
            return Ok(());
        }
        let checked = self.tables.check(table, changed);
        checked.map_err(|fault| Error::SelfTest {
            of: self.holder(slot),
            what: fault.what,
            expected: fault.expected.to_owned(),
            got: fault.found.to_owned(),
        })
    }

    /// Every question as if every class were in force, and those that do not follow the change once more under the
    /// classes that are wanted for the peer now: of the program of each hook that is in use.
    fn ask_packets(
        &mut self,
        slot: u32,
        table: &PeerTables<'_>,
        change: &Change,
    ) -> Result<(), Error> {
        let place = Place::new(self.spec_of(slot).as_ref())?;
        let before = self.set_entry(TEST_IFINDEX, interface_entry(SELF_TEST, SELF_TEST))?;
        let now = self.switch.wanted(slot).classes();
        let mut asked = Ok(());
        for shell in self.shells() {
            let record = place.record.counted_at_tc(shell != Shell::Xdp);
            asked = asked.and_then(|()| self.write_records(SELF_TEST, &record, &place.network));
            let program = self.program_at(shell);
            for (classes, change) in [(Classes::ALL, Some(change)), (now, None)] {
                let wanted = Wanted::new(classes, LeaseEnd::Keep);
                self.switch.want(SELF_TEST, wanted);
                asked = asked.and_then(|()| match &program {
                    Ok(program) => self.ask_round(program, slot, (&place, table), change),
                    Err(error) => Err(Error::Load(error.to_string())),
                });
            }
        }
        self.switch.want(SELF_TEST, Wanted::NONE);
        self.set_entry(TEST_IFINDEX, before)?;
        asked
    }

    /// What the programs that packets go through are made for; what test runs go through if there are none.
    fn shells(&self) -> BTreeSet<Shell> {
        let hooks = self.hooks.values();
        let in_use: BTreeSet<Shell> = hooks.map(|hook| hook.shell).collect();
        match in_use.is_empty() {
            true => [self.tested_at].into(),
            false => in_use,
        }
    }

    fn program_at(&mut self, shell: Shell) -> Result<Program, Error> {
        let fd = object::descriptor(&mut self.ebpf, self.programs.name(shell))?;
        Ok(Program { shell, fd })
    }

    fn ask_round(
        &self,
        program: &Program,
        slot: u32,
        (place, table): (&Place, &PeerTables<'_>),
        change: Option<&Change>,
    ) -> Result<(), Error> {
        let none = Sessions::default();
        let sessions = self.tested.get(&slot).map(|tested| &tested.sessions);
        let mut asked = Ok(());
        for _ in 0..TRIES {
            // What the operator forbids is not in force here either.
            let in_force = self.switch.in_force(SELF_TEST, true);
            let policies = Policies {
                place,
                table,
                lists: &self.lists,
                in_force,
            };
            let questions = policies.questions(sessions.unwrap_or(&none), change);
            asked = self.ask_all(program, slot, place, &questions);
            if asked.is_ok() || self.switch.in_force(SELF_TEST, true) == in_force {
                break;
            }
        }
        asked
    }

    /// The interface the peer is on, as frames without tags find it: packets of the self-test have none.
    fn spec_of(&self, slot: u32) -> Option<InterfaceSpec> {
        let mut stations = self.stations().filter(|&(_, owner)| owner.0 == slot);
        stations.find_map(|(station, _)| {
            let mut spec = self.specs.get(&station.ifindex)?.clone();
            let network = spec.networks.remove(&station.vlans)?;
            spec.networks = [(Vlans::NONE, network)].into();
            Some(spec)
        })
    }

    /// Questions come by their answers. Each packet's action is what the program returns; its reason shows in the
    /// counters, which are read once for all packets with the same answer.
    fn ask_all(
        &self,
        program: &Program,
        slot: u32,
        place: &Place,
        questions: &[Question],
    ) -> Result<(), Error> {
        let mut frames = place.frames();
        let before = self.read_counters(SELF_TEST)?;
        for alike in questions.chunk_by(|a, b| a.expected == b.expected) {
            let expected = alike[0].expected;
            let counted = self.counted(expected.reason)?;
            for question in alike {
                self.must_pass_if_session(slot, question)?;
                if program.drops(frames.frame(question.packet))? != expected.is_dropped {
                    return Err(self.wrong(program, slot, place, alike));
                }
            }
            let now = self.counted(expected.reason)?;
            let (other, right) = match expected.is_dropped {
                true => (now.passed - counted.passed, now.dropped - counted.dropped),
                false => (now.dropped - counted.dropped, now.passed - counted.passed),
            };
            if (other.packets, right.packets) != (0, alike.len() as u64) {
                return Err(self.wrong(program, slot, place, alike));
            }
        }
        let counted = self.read_counters(SELF_TEST)?.since(&before);
        if counted.total().packets() == questions.len() as u64 {
            return Ok(());
        }
        Err(self.wrong(program, slot, place, questions))
    }

    fn must_pass_if_session(&self, slot: u32, question: &Question) -> Result<(), Error> {
        match question.packet {
            Packet::Session(..) if question.expected.is_dropped => Err(Error::Session {
                of: self.holder(slot),
                session: question.packet.to_string(),
                got: question.expected.to_string(),
            }),
            _ => Ok(()),
        }
    }

    fn counted(&self, reason: filter_core::Reason) -> Result<Fates, Error> {
        stats::read_one(&self.counter_map()?, SELF_TEST, reason)
    }

    /// Asks one by one, and names the first that comes out otherwise.
    fn wrong(&self, program: &Program, slot: u32, place: &Place, questions: &[Question]) -> Error {
        let mut frames = place.frames();
        let mut differs = |question: &Question| -> Result<Option<String>, Error> {
            let before = self.read_counters(SELF_TEST)?;
            let is_dropped = program.drops(frames.frame(question.packet))?;
            let counted = self.read_counters(SELF_TEST)?.since(&before);
            let fate = |dropped| match dropped {
                true => "dropped",
                false => "passed",
            };
            let got = format!("{}, {}", reasons(&counted), fate(is_dropped));
            Ok((got != question.expected.to_string()).then_some(got))
        };
        let mut found = Error::SelfTest {
            of: self.holder(slot),
            what: format!("one of {} packets", questions.len()),
            expected: questions
                .first()
                .map_or_else(String::new, |question| question.expected.to_string()),
            got: "something else, once".to_owned(),
        };
        for question in questions {
            match differs(question) {
                Ok(None) => {}
                Ok(Some(got)) => {
                    found = Error::SelfTest {
                        of: self.holder(slot),
                        what: question.packet.to_string(),
                        expected: question.expected.to_string(),
                        got,
                    };
                    break;
                }
                Err(error) => return error,
            }
        }
        found
    }

    /// Stages every table with its destinations as its sources, as a mistake of the compiler would.
    #[cfg(feature = "test-hooks")]
    #[doc(hidden)]
    pub fn plant_bug(&mut self, planted: bool) {
        self.planted.swapped = planted;
    }

    /// Leaves it to packets alone to find what is wrong with a table.
    #[cfg(feature = "test-hooks")]
    #[doc(hidden)]
    pub fn ask_only_packets(&mut self, only: bool) {
        self.planted.only_packets = only;
    }

    /// From now on every table that is staged is damaged so.
    #[cfg(feature = "test-hooks")]
    #[doc(hidden)]
    pub fn damage(&mut self, damage: Option<crate::hooks::Damage>) {
        self.tables.damage(damage);
    }

    /// Was the last table that was staged damaged?
    #[cfg(feature = "test-hooks")]
    #[doc(hidden)]
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.tables.is_damaged()
    }
}

/// The reasons that something was counted for.
fn reasons(counted: &Counters) -> String {
    let names: Vec<&str> = counted.nonzero().map(|(reason, _)| reason.name()).collect();
    match names.as_slice() {
        [] => "counted for nothing".to_owned(),
        names => names.join(" and "),
    }
}
