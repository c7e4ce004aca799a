//! Bars 1, 2, 6 and 7: the whole program in the kernel, beside itself over the kernel's tries and beside nothing.
//! Never attaches anything.
use std::time::Duration;

use filter_core::layout::replay::Entry;
use filter_core::layout::{Families, Known, Rules};
use filter_core::packet::Vlans;
use filter_core::set::PrefixSet;
use filter_core::{Classes, Reason};
use filter_loader::{
    Engine, Filter, InterfaceSpec, LeaseEnd, NetworkSpec, Options, PeerSlot, PeerTables, Station,
    TEST_IFINDEX, Target, Wanted,
};

use crate::measure::{Effort, Result, in_turns};
use crate::report::{Goal, Report, Row};
use crate::world::{OWN, World, frame};

/// What a world asks: how much faster than the tries (random, hot), how many empty programs at most (random, hot).
#[derive(Clone, Copy, Debug)]
pub struct Goals {
    /// Against the tries, every packet another one.
    pub random: Goal,
    /// Against the tries, one packet.
    pub hot: Goal,
    /// Against the empty program, every packet another one.
    pub random_floor: Goal,
    /// Against the empty program, one packet.
    pub hot_floor: Goal,
}

/// Longer than any run: renewed, as a daemon does, so that the program asks its clock.
const LEASE: Duration = Duration::from_secs(24 * 3600);

/// A filter with one engine and a world's peers.
pub struct Loaded {
    /// The filter.
    pub filter: Filter,
    /// The peers' slots, in the world's order.
    pub slots: Vec<PeerSlot>,
}

impl Loaded {
    /// Loads and fills it. The tries get the prefixes as they are announced, as a user of them would do it.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn new(world: &World, engine: Engine) -> Result<Self> {
        let mut filter = Filter::load(&Options {
            max_peers: world.peers.len() as u32 + 1,
            table_memory_mib: 64,
            engine,
            ..Options::default()
        })?;
        filter.load_programs()?;
        let interface = interface()?;
        filter.set_interface(TEST_IFINDEX, &interface)?;
        let all = Wanted::new(Classes::ALL, LeaseEnd::Observe);
        filter.set_wanted(Target::Interface(&interface.name), all)?;
        filter.lease().renew(LEASE)?;
        let mut slots = Vec::new();
        for (i, peer) in world.peers.iter().enumerate() {
            let slot = filter.add_peer(&format!("peer{i}"))?;
            let station = Station {
                ifindex: TEST_IFINDEX,
                vlans: Vlans::default(),
                mac: peer.mac,
            };
            filter.set_stations(slot, &[station])?;
            let is_lpm = matches!(engine, Engine::Lpm | Engine::BenchLpm);
            if is_lpm {
                filter.insert(slot, &peer.sources, &peer.destinations)?;
            }
            let set = |prefixes: &[filter_core::Prefix]| match is_lpm {
                true => PrefixSet::default(),
                false => prefixes.iter().copied().collect(),
            };
            filter.publish(
                slot,
                &table(1, &set(&peer.sources), &set(&peer.destinations)),
            )?;
            filter.set_wanted(slot, all)?;
            slots.push(slot);
        }
        Ok(Self { filter, slots })
    }

    /// Were all packets so far permitted? A benchmark of drops would look fine and mean nothing.
    ///
    /// # Errors
    /// If one was not.
    pub fn check(&self, name: &str) -> Result<()> {
        for &slot in &self.slots {
            for (reason, counter) in self.filter.counters(slot)?.nonzero() {
                if reason != Reason::Permitted {
                    return Err(format!("{name}: {reason}: {counter:?}").into());
                }
            }
        }
        match self.filter.interface_counters("bench0")?.nonzero().next() {
            Some((reason, counter)) => Err(format!("{name}: {reason}: {counter:?}").into()),
            None => Ok(()),
        }
    }
}

/// A peer's table, both families, enforced.
#[must_use]
pub fn table<'a>(
    generation: u32,
    sources: &'a PrefixSet,
    destinations: &'a PrefixSet,
) -> PeerTables<'a> {
    PeerTables {
        rules: Rules {
            families: Families::new(|_| true),
            known: Known::ALL,
        },
        generation,
        sources,
        destinations,
    }
}

/// A port as at an exchange: one address and one LAN of either family.
///
/// # Errors
/// Never.
pub fn interface() -> Result<InterfaceSpec> {
    let mut interface = InterfaceSpec::new("bench0", OWN);
    *interface.network_mut(Vlans::NONE) = NetworkSpec {
        addresses: vec!["192.0.2.1".parse()?, "2001:db8::1".parse()?],
        lan: vec!["192.0.2.0/24".parse()?, "2001:db8::/64".parse()?],
        subnets: Vec::new(),
    };
    Ok(interface)
}

/// One world: random and hot, ours, the tries', the floor.
///
/// # Errors
/// What the kernel says.
pub fn compare(report: &mut Report, effort: Effort, world: &World, goals: Goals) -> Result<()> {
    let packets = world.packets(if effort.quick { 1 << 18 } else { 1 << 20 });
    let ours = Loaded::new(world, Engine::BenchTables)?;
    let tries = Loaded::new(world, Engine::BenchLpm)?;
    ours.filter.set_frames(&packets)?;
    tries.filter.set_frames(&packets)?;
    let run = |loaded: &Loaded, program: &str, frame: &[u8], repeat: u32| {
        Ok(loaded.filter.timed(program)?.run(frame, repeat)?)
    };
    let many = effort.packets;
    let start = |round: u32| -> Vec<u8> {
        let cursor = round * 100_003 % packets.len() as u32;
        frame(&packets[cursor as usize], cursor + 1)
    };
    let [empty, control, random, random_lpm, hot, hot_lpm] = in_turns(
        effort.rounds,
        [
            &mut |round| run(&ours, "empty", &start(round), many),
            &mut |round| run(&ours, "control_replay", &start(round), many),
            &mut |round| run(&ours, "tables_replay", &start(round), many),
            &mut |round| run(&tries, "lpm_replay", &start(round), many / 5),
            &mut |round| run(&ours, "tables_hot", &start(round), many),
            &mut |round| run(&tries, "lpm_hot", &start(round), many / 5),
        ],
    )?;
    ours.check(&world.name)?;
    tries.check(&world.name)?;
    let name = |how: &str| format!("{}, {how}", world.name);
    report.add(Row::faster(
        1,
        &name("random"),
        random,
        "kernel LPM tries",
        random_lpm,
        goals.random,
    ));
    report.add(Row::times(
        1,
        &name("random"),
        random,
        "empty program",
        empty,
        goals.random_floor,
    ));
    report.add(Row::times(
        1,
        &name("random: only the rewriting"),
        control,
        "empty program",
        empty,
        Goal::None,
    ));
    report.add(Row::faster(
        1,
        &name("hot"),
        hot,
        "kernel LPM tries",
        hot_lpm,
        goals.hot,
    ));
    report.add(Row::times(
        1,
        &name("hot"),
        hot,
        "empty program",
        empty,
        goals.hot_floor,
    ));
    Ok(())
}

/// Bar 2: the smallest network, one packet over and over.
///
/// # Errors
/// What the kernel says.
pub fn smallest(report: &mut Report, effort: Effort) -> Result<()> {
    let world = World::smallest()?;
    let packets: Vec<Entry> = world.packets(64);
    let ours = Loaded::new(&world, Engine::BenchTables)?;
    let tries = Loaded::new(&world, Engine::BenchLpm)?;
    let timed = |loaded: &Loaded, program: &str, round: u32| {
        let frame = frame(&packets[round as usize % packets.len()], 0);
        Ok(loaded.filter.timed(program)?.run(&frame, effort.packets)?)
    };
    let [empty, parse, hot, hot_lpm] = in_turns(
        2 * effort.rounds,
        [
            &mut |round| timed(&ours, "empty", round),
            &mut |round| timed(&ours, "parse", round),
            &mut |round| timed(&ours, "tables_hot", round),
            &mut |round| timed(&tries, "lpm_hot", round),
        ],
    )?;
    ours.check(&world.name)?;
    tries.check(&world.name)?;
    report.add(Row::times(
        2,
        "two-prefix peer, hot",
        hot,
        "empty program",
        empty,
        Goal::AtMost(5.0),
    ));
    report.add(Row::times(
        2,
        "two-prefix peer, hot",
        hot,
        "parser only",
        parse,
        Goal::None,
    ));
    report.add(Row::faster(
        2,
        "two-prefix peer, hot",
        hot,
        "kernel LPM tries",
        hot_lpm,
        Goal::None,
    ));
    Ok(())
}

/// Where the time goes: frames that are settled earlier and earlier.
///
/// # Errors
/// What the kernel says.
pub fn stages(report: &mut Report, effort: Effort) -> Result<()> {
    let world = World::smallest()?;
    let ours = Loaded::new(&world, Engine::BenchTables)?;
    let permitted = frame(&world.packets(1)[0], 0);
    let mut arp = permitted.clone();
    arp[12..14].copy_from_slice(&[0x08, 0x06]);
    let mut session = permitted.clone();
    session[26..34].copy_from_slice(&[192, 0, 2, 9, 192, 0, 2, 1]);
    let run =
        |program: &str, frame: &[u8]| Ok(ours.filter.timed(program)?.run(frame, effort.packets)?);
    let [empty, parse, arp, session, permitted] = in_turns(
        2 * effort.rounds,
        [
            &mut |_| run("empty", &permitted),
            &mut |_| run("parse", &permitted),
            &mut |_| run("tables_hot", &arp),
            &mut |_| run("tables_hot", &session),
            &mut |_| run("tables_hot", &permitted),
        ],
    )?;
    let steps = [
        ("parser only", parse),
        ("ARP: interface, MACs, peer hash, counter", arp),
        (
            "peering LAN: and the IP header, the LAN's prefixes",
            session,
        ),
        ("permitted: and both lookups", permitted),
    ];
    for (case, time) in steps {
        report.add(Row::times(
            2,
            case,
            time,
            "empty program",
            empty,
            Goal::None,
        ));
    }
    Ok(())
}

/// What the verifier and the compiler make of each program.
///
/// # Errors
/// What the kernel says.
pub fn costs(_report: &mut Report, _effort: Effort) -> Result<()> {
    let loaded = Loaded::new(&World::smallest()?, Engine::BenchTables)?;
    for name in ["empty", "parse", "tables_hot", "lpm_hot", "tables_replay"] {
        let (verified, translated, native) = loaded.filter.timed(name)?.cost()?;
        println!(
            "{name}: {verified} instructions verified, {translated} bytes translated, {native} native"
        );
    }
    Ok(())
}
