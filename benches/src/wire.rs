//! The whole path beside what a user would pick today: frames over a veth pair, with nothing in the way, with nftables
//! interval sets, with ipset, with the kernel's tries and with this filter. In a namespace of its own, gone afterwards.
//!
//! Each is first shown to pass what it should and to drop what it should. Then they take turns: what is loaded stays
//! loaded, only the hook comes and goes, so that a busy moment of the machine hits all of them.
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Instant;

use filter_core::packet::Vlans;
use filter_core::{Address, Family, Prefix};
use filter_loader::{AttachMode, Attached, Counters, Engine, HookKind, InterfaceSpec, Station};
use tests::netns::{Namespace, ip};
use tests::wire::Wire;

use crate::measure::{Effort, Result, in_turns};
use crate::report::{Goal, Report, Row};
use crate::whole::{self, Loaded};
use crate::world::{self, OWN, World, frame};

pub(crate) const NEAR: &str = "near";
const FAR: &str = "far";
/// Turns for each of [`Effort::rounds`]: a tenth of the frames each time.
const TURNS: u32 = 5;
/// Frames of each kind that show what a filter does.
const SHOWN: usize = 100;

/// Extra nanoseconds per packet over the same path without a filter: for XDP programs, with an empty one.
///
/// # Errors
/// If a tool is missing or refuses, or a filter does not filter.
pub fn compare(report: &mut Report, effort: Effort) -> Result<()> {
    let (prefixes, count) = if effort.quick {
        (50_000, 20_000)
    } else {
        (250_000, 100_000)
    };
    let world = World::transit(Family::Ipv4, prefixes)?;
    let entries = world.packets(count * 10);
    let frames: Vec<Vec<u8>> = entries
        .iter()
        .map(|entry| with_checksum(frame(entry, 0)))
        .collect();
    let peer = world.peers.first().ok_or("a world without peers")?;
    let _namespace = Namespace::enter();
    let mac = peer.mac;
    ip(&format!(
        "link add {NEAR} address {OWN} type veth peer name {FAR} address {mac}"
    ));
    ip(&format!("link set {NEAR} up"));
    ip(&format!("link set {FAR} up"));
    let wire = Wire::on(FAR);
    let xdp = |engine, program| Hooked::new(&world, engine, program, AttachMode::Native);
    let (mut nothing, mut empty) = (Nothing, xdp(Engine::BenchTables, Some("empty"))?);
    let (mut ours, mut tries) = (xdp(Engine::Tables, None)?, xdp(Engine::Lpm, None)?);
    let mut at_tc = Hooked::new(&world, Engine::Tables, None, AttachMode::Tc)?;
    let (mut nft, mut ipset) = (
        Nft::new(&peer.sources, &peer.sources)?,
        Ipset::new(&peer.sources)?,
    );
    let shown = Shown::new(&world, &frames)?;
    shown.check(&wire, &mut nothing, false)?;
    shown.check(&wire, &mut empty, false)?;
    shown.check(&wire, &mut ours, true)?;
    shown.check(&wire, &mut at_tc, true)?;
    shown.check(&wire, &mut tries, true)?;
    shown.check(&wire, &mut nft, true)?;
    shown.check(&wire, &mut ipset, true)?;
    // Of an XDP program on veth most of the price is that there is one: the frame is copied, the device polls.
    let [bare, empty, ours, at_tc, tries, nft, ipset] = in_turns(
        effort.rounds * TURNS,
        [
            &mut |round| time(&wire, &frames, count, round, &mut nothing),
            &mut |round| time(&wire, &frames, count, round, &mut empty),
            &mut |round| time(&wire, &frames, count, round, &mut ours),
            &mut |round| time(&wire, &frames, count, round, &mut at_tc),
            &mut |round| time(&wire, &frames, count, round, &mut tries),
            &mut |round| time(&wire, &frames, count, round, &mut nft),
            &mut |round| time(&wire, &frames, count, round, &mut ipset),
        ],
    )?;
    let case = format!("extra on the wire (veth), {prefixes} prefixes on both sides, random");
    // Less than nothing is what a busy machine makes of very little.
    let mine = (ours - empty).max(0.0);
    for (name, extra) in [
        ("XDP with kernel LPM tries", tries - empty),
        ("nftables netdev, interval sets", nft - bare),
        ("ipset hash:net, iptables raw", ipset - bare),
    ] {
        report.add(Row::faster(1, &case, mine, name, extra, Goal::None));
    }
    let case = "all of it on the wire (veth), at tc";
    for (name, all) in [("no filter", bare), ("the same in native XDP", ours)] {
        report.add(Row::times(1, case, at_tc, name, all, Goal::None));
    }
    let case = "all of it on the wire (veth)";
    for (name, all) in [("an empty XDP program", empty), ("no filter", bare)] {
        report.add(Row::times(1, case, ours, name, all, Goal::None));
    }
    Ok(())
}

/// What frames meet on their way in.
pub(crate) trait InTheWay {
    /// For the error that says it does not filter.
    fn name(&self) -> String;
    /// From now on it is there.
    fn on(&mut self) -> Result<()>;
    /// From now on it is not; an error if it dropped a packet of those that [`time`] sends.
    fn off(&mut self, all_good: bool) -> Result<()>;
}

/// Nanoseconds per frame. A frame is received in the same system call that sends it.
fn time(
    wire: &Wire,
    frames: &[Vec<u8>],
    count: usize,
    round: u32,
    filter: &mut dyn InTheWay,
) -> Result<f64> {
    filter.on()?;
    let first = round as usize * count % frames.len();
    let mine = frames.get(first..first + count).ok_or("too few frames")?;
    // Whoever comes first shall not pay for frames that are in no cache yet, nor for a hook that never ran.
    std::hint::black_box(mine.iter().map(|frame| u64::from(frame[0])).sum::<u64>());
    mine.iter()
        .take(count / 20)
        .for_each(|frame| wire.send(frame));
    let start = Instant::now();
    mine.iter().for_each(|frame| wire.send(frame));
    let took = start.elapsed().as_secs_f64() * 1e9 / count as f64;
    filter.off(true)?;
    Ok(took)
}

/// Frames that show what a filter does.
struct Shown {
    good: Vec<Vec<u8>>,
    bad: Vec<Vec<u8>>,
}

impl Shown {
    /// Good ones, and the same with a source, and with a destination, that no peer announces.
    fn new(world: &World, frames: &[Vec<u8>]) -> Result<Self> {
        let nowhere: Address = std::net::IpAddr::from([240, 0, 0, 1]).into();
        if world::covers(&world.peers, nowhere) {
            return Err("the table holds 240.0.0.1".into());
        }
        let good: Vec<_> = frames.iter().take(SHOWN).cloned().collect();
        let bad = [26, 30].into_iter().flat_map(|at| {
            good.iter().map(move |frame| {
                let mut frame = frame.clone();
                frame[at..at + 4].copy_from_slice(&[240, 0, 0, 1]);
                with_checksum(frame)
            })
        });
        Ok(Self {
            bad: bad.collect(),
            good: good.clone(),
        })
    }

    /// Counts what comes through to a rule behind all of the filters.
    fn check(&self, wire: &Wire, filter: &mut dyn InTheWay, filters: bool) -> Result<()> {
        let rule = format!("PREROUTING -i {NEAR}");
        let table = |how: &str| feed("iptables", &words(&format!("-t mangle {how} {rule}")), "");
        filter.on()?;
        let mut came = Vec::new();
        for frames in [&self.good, &self.bad] {
            table("-A")?;
            frames.iter().for_each(|frame| wire.send(frame));
            came.push(counted()?);
            table("-D")?;
        }
        filter.off(false)?;
        let expected = [self.good.len(), if filters { 0 } else { self.bad.len() }];
        if came == expected {
            return Ok(());
        }
        let name = filter.name();
        Err(format!("{name}: {came:?} good and bad frames came through, not {expected:?}").into())
    }
}

/// Packets of the only rule in the mangle table.
fn counted() -> Result<usize> {
    let output = Command::new("iptables")
        .args(words("-t mangle -nvxL PREROUTING"))
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let rule = text.lines().nth(2).ok_or("iptables lists no rule")?;
    let packets = rule.split_whitespace().next();
    Ok(packets.ok_or("a rule without a counter")?.parse()?)
}

fn words(text: &str) -> Vec<&str> {
    text.split(' ').collect()
}

/// The path alone.
pub(crate) struct Nothing;

impl InTheWay for Nothing {
    fn name(&self) -> String {
        "no filter".to_owned()
    }

    fn on(&mut self) -> Result<()> {
        Ok(())
    }

    fn off(&mut self, _all_good: bool) -> Result<()> {
        Ok(())
    }
}

/// One of our programs, at one of the hooks.
pub(crate) struct Hooked<'a> {
    loaded: Loaded,
    world: &'a World,
    engine: Engine,
    mode: AttachMode,
    before: Vec<Counters>,
}

impl<'a> Hooked<'a> {
    pub(crate) fn new(
        world: &'a World,
        engine: Engine,
        program: Option<&'static str>,
        mode: AttachMode,
    ) -> Result<Self> {
        let mut loaded = Loaded::new(world, engine)?;
        if let Some(program) = program {
            loaded.filter.choose(program);
        }
        Ok(Self {
            loaded,
            world,
            engine,
            mode,
            before: Vec::new(),
        })
    }

    /// The hook where it goes, in its mode. It is off again.
    pub(crate) fn takes(mut self) -> Result<HookKind> {
        let attached = self.attach()?;
        self.loaded.filter.detach(NEAR)?;
        Ok(attached.kind)
    }

    fn attach(&mut self) -> Result<Attached> {
        let spec = InterfaceSpec {
            name: NEAR.to_owned(),
            ..whole::interface()?
        };
        Ok(self.loaded.filter.attach(&spec, self.mode)?)
    }

    fn counters(&self) -> Result<Vec<Counters>> {
        let slots = self.loaded.slots.iter();
        let counters = slots.map(|&slot| Ok(self.loaded.filter.counters(slot)?));
        counters.collect()
    }
}

impl InTheWay for Hooked<'_> {
    fn name(&self) -> String {
        format!("{:?} at {}", self.engine, self.mode.name())
    }

    fn on(&mut self) -> Result<()> {
        self.before = self.counters()?;
        let attached = self.attach()?;
        for (&slot, peer) in self.loaded.slots.iter().zip(&self.world.peers) {
            let station = Station {
                ifindex: attached.ifindex,
                vlans: Vlans::default(),
                mac: peer.mac,
            };
            self.loaded.filter.set_stations(slot, &[station])?;
        }
        Ok(())
    }

    fn off(&mut self, all_good: bool) -> Result<()> {
        for (now, before) in self.counters()?.iter().zip(&self.before) {
            for (reason, counter) in now.since(before).nonzero() {
                if all_good && reason != filter_core::Reason::Permitted {
                    return Err(format!("{}: {reason}: {counter:?}", self.name()).into());
                }
            }
        }
        Ok(self.loaded.filter.detach(NEAR)?)
    }
}

/// nftables in the netdev family, interval sets.
pub(crate) struct Nft;

impl Nft {
    pub(crate) fn new(sources: &[Prefix], destinations: &[Prefix]) -> Result<Self> {
        let mut text = String::from("table netdev bench {\n");
        for (set, prefixes) in [("sources", sources), ("destinations", destinations)] {
            write!(
                text,
                "set {set} {{ type ipv4_addr; flags interval; auto-merge; elements = {{ "
            )?;
            prefixes
                .iter()
                .try_for_each(|prefix| write!(text, "{prefix}, "))?;
            text.push_str("} }\n");
        }
        text.push_str("}\n");
        feed("nft", &["-f", "-"], &text)?;
        Ok(Self)
    }
}

impl InTheWay for Nft {
    fn name(&self) -> String {
        "nftables".to_owned()
    }

    fn on(&mut self) -> Result<()> {
        let chain = format!(
            "add chain netdev bench in {{ type filter hook ingress device \"{NEAR}\" priority 0; policy drop; }}\n\
             add rule netdev bench in ip saddr @sources ip daddr @destinations accept\n"
        );
        feed("nft", &["-f", "-"], &chain)
    }

    fn off(&mut self, _all_good: bool) -> Result<()> {
        let gone = "flush chain netdev bench in\ndelete chain netdev bench in\n";
        feed("nft", &["-f", "-"], gone)
    }
}

/// ipset's hash:net, asked by iptables before connection tracking.
struct Ipset;

impl Ipset {
    fn new(prefixes: &[Prefix]) -> Result<Self> {
        let mut text = String::new();
        for set in ["sources", "destinations"] {
            writeln!(text, "create {set} hash:net maxelem 4000000")?;
            prefixes
                .iter()
                .try_for_each(|prefix| writeln!(text, "add {set} {prefix}"))?;
        }
        feed("ipset", &["restore"], &text)?;
        Ok(Self)
    }

    fn rules(&self, how: &str) -> Result<()> {
        for (set, side) in [("sources", "src"), ("destinations", "dst")] {
            let rule = format!(
                "-t raw {how} PREROUTING -i {NEAR} -m set ! --match-set {set} {side} -j DROP"
            );
            feed("iptables", &words(&rule), "")?;
        }
        Ok(())
    }
}

impl InTheWay for Ipset {
    fn name(&self) -> String {
        "ipset".to_owned()
    }

    fn on(&mut self) -> Result<()> {
        self.rules("-A")
    }

    fn off(&mut self, _all_good: bool) -> Result<()> {
        self.rules("-D")
    }
}

/// RFC 791 section 3.1: without it the kernel drops the frame before any rule sees it.
fn with_checksum(mut frame: Vec<u8>) -> Vec<u8> {
    frame[24..26].fill(0);
    let words = frame[14..34].chunks_exact(2);
    let sum: u32 = words
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    frame[24..26].copy_from_slice(&(!folded as u16).to_be_bytes());
    frame
}

/// Runs a program with a text as its input.
pub(crate) fn feed(program: &str, args: &[&str], text: &str) -> Result<()> {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot run `{program}`: {error}"))?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(text.as_bytes())?;
    }
    match child.wait()? {
        status if status.success() => Ok(()),
        status => Err(format!("`{program}` ended with {status}").into()),
    }
}

/// Is there such a program?
pub(crate) fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}
