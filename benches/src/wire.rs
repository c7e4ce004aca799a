//! The whole path beside what a user would pick today: frames over a veth pair, with nothing in the way, with nftables
//! interval sets, with ipset, with the kernel's tries and with this filter. In a namespace of its own, gone afterwards.
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Instant;

use filter_core::packet::Vlans;
use filter_core::{Family, Prefix};
use filter_loader::{AttachMode, Engine, InterfaceSpec, Station};
use tests::netns::{Namespace, ip};
use tests::wire::Wire;

use crate::measure::{Effort, Result, median};
use crate::report::{Goal, Report, Row};
use crate::whole::{self, Loaded};
use crate::world::{OWN, World, frame};

const NEAR: &str = "near";
const FAR: &str = "far";

/// Extra nanoseconds per packet over the same path without a filter: for XDP programs, with an empty one.
///
/// # Errors
/// If a tool is missing or refuses.
pub fn compare(report: &mut Report, effort: Effort) -> Result<()> {
    let (prefixes, count) = if effort.quick {
        (50_000, 100_000)
    } else {
        (250_000, 1_000_000)
    };
    let world = World::transit(Family::Ipv4, prefixes)?;
    let frames: Vec<Vec<u8>> = world
        .packets(count)
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
    let rounds = effort.rounds;
    let mut bare = times(&wire, &frames, rounds);
    // Of an XDP program on veth most of the price is that there is one: the frame is copied, the device polls.
    let empty = attached(
        &wire,
        &frames,
        rounds,
        &world,
        Engine::BenchTables,
        Some("empty"),
    )?;
    let ours = attached(&wire, &frames, rounds, &world, Engine::Tables, None)?;
    let tries = attached(&wire, &frames, rounds, &world, Engine::Lpm, None)?;
    nft(&peer.sources)?;
    let nft = median(&times(&wire, &frames, rounds));
    feed("nft", &["-f", "-"], "delete table netdev bench\n")?;
    ipset(&peer.sources)?;
    let ipset = median(&times(&wire, &frames, rounds));
    feed("iptables", &["-t", "raw", "-F"], "")?;
    bare.extend(times(&wire, &frames, rounds));
    let bare = median(&bare);
    let case = format!("extra on the wire (veth), {prefixes} prefixes on both sides, random");
    for (name, extra) in [
        ("XDP with kernel LPM tries", tries - empty),
        ("nftables netdev, interval sets", nft - bare),
        ("ipset hash:net, iptables raw", ipset - bare),
    ] {
        report.add(Row::faster(1, &case, ours - empty, name, extra, Goal::None));
    }
    let case = "all of it on the wire (veth)";
    report.add(Row::times(
        1,
        case,
        ours,
        "an empty XDP program",
        empty,
        Goal::None,
    ));
    report.add(Row::times(1, case, ours, "no filter", bare, Goal::None));
    Ok(())
}

/// RFC 791 section 3.1: without it the kernel drops the frame before any rule sees it.
fn with_checksum(mut frame: Vec<u8>) -> Vec<u8> {
    let words = frame[14..34].chunks_exact(2);
    let sum: u32 = words
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    frame[24..26].copy_from_slice(&(!folded as u16).to_be_bytes());
    frame
}

/// Nanoseconds per frame, once per round. A frame is received in the same system call that sends it.
fn times(wire: &Wire, frames: &[Vec<u8>], rounds: u32) -> Vec<f64> {
    let round = |_| {
        let start = Instant::now();
        frames.iter().for_each(|frame| wire.send(frame));
        start.elapsed().as_secs_f64() * 1e9 / frames.len() as f64
    };
    (0..rounds).map(round).collect()
}

fn attached(
    wire: &Wire,
    frames: &[Vec<u8>],
    rounds: u32,
    world: &World,
    engine: Engine,
    program: Option<&'static str>,
) -> Result<f64> {
    let mut loaded = Loaded::new(world, engine)?;
    if let Some(program) = program {
        loaded.filter.choose(program);
    }
    let spec = InterfaceSpec {
        name: NEAR.to_owned(),
        ..whole::interface()?
    };
    let attached = loaded.filter.attach(&spec, AttachMode::Native)?;
    for (slot, peer) in loaded.slots.iter().zip(&world.peers) {
        let station = Station {
            ifindex: attached.ifindex,
            vlans: Vlans::default(),
            mac: peer.mac,
        };
        loaded.filter.set_stations(*slot, &[station])?;
    }
    let times = times(wire, frames, rounds);
    loaded.check("on the wire")?;
    loaded.filter.detach(NEAR)?;
    Ok(median(&times))
}

fn nft(prefixes: &[Prefix]) -> Result<()> {
    let mut text = String::from("table netdev bench {\n");
    for set in ["sources", "destinations"] {
        write!(
            text,
            "set {set} {{ type ipv4_addr; flags interval; auto-merge; elements = {{ "
        )?;
        prefixes
            .iter()
            .try_for_each(|prefix| write!(text, "{prefix}, "))?;
        text.push_str("} }\n");
    }
    write!(
        text,
        "chain in {{ type filter hook ingress device \"{NEAR}\" priority 0; policy drop; ip saddr @sources ip daddr @destinations accept; }}\n}}\n"
    )?;
    feed("nft", &["-f", "-"], &text)
}

fn ipset(prefixes: &[Prefix]) -> Result<()> {
    let mut text = String::new();
    for set in ["sources", "destinations"] {
        writeln!(text, "create {set} hash:net maxelem 4000000")?;
        prefixes
            .iter()
            .try_for_each(|prefix| writeln!(text, "add {set} {prefix}"))?;
    }
    feed("ipset", &["restore"], &text)?;
    for (set, side) in [("sources", "src"), ("destinations", "dst")] {
        let rule =
            format!("-t raw -A PREROUTING -i {NEAR} -m set ! --match-set {set} {side} -j DROP");
        feed("iptables", &rule.split(' ').collect::<Vec<_>>(), "")?;
    }
    Ok(())
}

/// Runs a program with a text as its input.
fn feed(program: &str, args: &[&str], text: &str) -> Result<()> {
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
