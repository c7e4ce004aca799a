//! What packets cost that are dropped: a flood is the case that matters. Every reason of a violation, both families,
//! against two large sets, bogons with holes in them, and a /128 among the destinations; net nanoseconds, which is ours
//! less the empty program in the same turn. The lease is renewed, as a daemon does: a kept one would skip the clock.
use std::net::IpAddr;

use filter_core::frame;
use filter_core::packet::Mac;
use filter_core::set::PrefixSet;
use filter_core::{Family, Prefix, Reason, bogon};
use filter_loader::{Engine, PeerTables};

use crate::measure::{Effort, Result, median};
use crate::report::{Goal, Report, Row};
use crate::whole::{Loaded, table};
use crate::world::{self, OWN, World};

/// A dropped packet, beside a permitted one of its family: so many nanoseconds more at most.
const DROPPED: f64 = 5.0;
/// The same where a shared list has to be searched.
const LISTED: f64 = 15.0;
/// Prefixes of each family that the peer announces.
const SOURCES: [usize; 2] = [250_000, 50_000];

pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) reason: Reason,
    pub(crate) frame: Vec<u8>,
    /// The permitted case it stands beside, and by how much it may be dearer.
    beside: Option<(usize, f64)>,
}

/// Every violation beside a permitted packet.
///
/// # Errors
/// What the kernel says; a packet that counts for another reason than it should.
pub fn compare(report: &mut Report, effort: Effort) -> Result<()> {
    let mut loaded = Loaded::new(&World::smallest()?, Engine::BenchTables)?;
    fill(&mut loaded)?;
    let cases = cases(world::World::smallest()?.peers[0].mac)?;
    for case in &cases {
        counts_for(&loaded, case)?;
    }
    let mut nets = vec![Vec::new(); cases.len()];
    for round in 0..2 * effort.rounds {
        for (case, nets) in cases.iter().zip(&mut nets) {
            let empty = loaded
                .filter
                .timed("empty")?
                .run(&case.frame, effort.packets)?;
            let whole = loaded.filter.timed("tables_hot")?;
            let net = whole.run(&case.frame, effort.packets)? - empty;
            if round > 0 {
                nets.push(net);
            }
        }
    }
    let nets: Vec<f64> = nets.iter().map(|nets| median(nets)).collect();
    for (case, &net) in cases.iter().zip(&nets) {
        let name = format!("{} ({}), net ns", case.name, case.reason);
        let (beside, goal) = match case.beside {
            Some((permitted, more)) => (nets[permitted], Goal::AtMost(more)),
            None => (net, Goal::None),
        };
        let row = Row::of(
            2,
            &name,
            net,
            "permitted, ns more",
            beside,
            net - beside,
            goal,
        );
        report.add(row);
    }
    Ok(())
}

/// Large sources, few destinations with a host among them, lists with holes.
pub(crate) fn fill(loaded: &mut Loaded) -> Result<()> {
    let mut sources: Vec<Prefix> = vec!["45.146.194.0/23".parse()?, "2a13:47c0:146::/48".parse()?];
    for (family, count) in Family::ALL.into_iter().zip(SOURCES) {
        sources.extend(world::table(family, count)?);
    }
    let bogons = bogon::bogons(&["203.0.113.0/24".parse()?, "2001:db8::/32".parse()?]);
    let set = |texts: &[&str]| -> Result<PrefixSet> {
        let prefixes: std::result::Result<Vec<Prefix>, _> =
            texts.iter().map(|text| text.parse()).collect();
        Ok(prefixes?.into_iter().collect())
    };
    let ours = set(&["198.51.100.0/24", "185.1.2.0/24", "2001:db8:100::/48"])?;
    let unannounced = set(&[
        "8.8.8.8/32",
        "2001:4860:4860::8888/128",
        "2a13:47c0:147::/48",
    ])?;
    let sources: PrefixSet = sources.into_iter().collect();
    let sources = sources
        .subtract(&bogons)
        .subtract(&ours)
        .subtract(&unannounced);
    let to = set(&[
        "198.51.100.0/24",
        "2001:db8:100::/48",
        "2001:db8:ffff::1/128",
    ])?;
    loaded.filter.publish_lists(&PeerTables {
        sources: &bogons,
        destinations: &ours,
        ..PeerTables::default()
    })?;
    Ok(loaded
        .filter
        .publish(loaded.slots[0], &table(2, &sources, &to))?)
}

#[expect(clippy::too_many_lines, reason = "a list of floods")]
pub(crate) fn cases(peer: Mac) -> Result<Vec<Case>> {
    let udp = |mac: Mac, from: &str, to: &str| -> Result<Vec<u8>> {
        let (from, to): (IpAddr, IpAddr) = (from.parse()?, to.parse()?);
        let packet = frame::packet(from, to, 17, 64, &frame::udp(b"0123456789"));
        Ok(frame::ethernet(OWN, mac, frame::ethertype(from), &packet))
    };
    let (us4, us6) = ("198.51.100.10", "2001:db8:100::1");
    let quoted = frame::packet(us4.parse()?, "8.8.8.8".parse()?, 17, 64, &frame::udp(b"x"));
    let forged = frame::icmp(3, 4, &quoted);
    let forged = frame::packet("8.8.8.8".parse()?, us4.parse()?, 1, 64, &forged);
    let stranger = Mac::from_bits(0x0200_0000_0077);
    let mut bad = frame::packet(us4.parse()?, us4.parse()?, 17, 64, &frame::udp(b"x"));
    bad[0] = 0x43;
    let case = |name, reason, frame, beside| Case {
        name,
        reason,
        frame,
        beside,
    };
    let (v4, v6) = (Some((0, DROPPED)), Some((1, DROPPED)));
    let unannounced6 = "2a13:47c0:147::1";
    // Under a first byte that bogons have too: the lists have to be asked.
    let beside_bogons = "2001:4860:4860::8888";
    Ok(vec![
        case(
            "v4",
            Reason::Permitted,
            udp(peer, "45.146.194.1", us4)?,
            None,
        ),
        case(
            "v6",
            Reason::Permitted,
            udp(peer, "2a13:47c0:146::1", us6)?,
            None,
        ),
        case(
            "stranger",
            Reason::UnknownPeer,
            udp(stranger, "8.8.8.8", us4)?,
            v4,
        ),
        case(
            "v4",
            Reason::Malformed,
            frame::ethernet(OWN, peer, 0x0800, &bad),
            v4,
        ),
        case(
            "v4",
            Reason::SourceUnannounced,
            udp(peer, "8.8.8.8", us4)?,
            v4,
        ),
        case(
            "v6",
            Reason::SourceUnannounced,
            udp(peer, unannounced6, us6)?,
            v6,
        ),
        case(
            "v6 beside bogons",
            Reason::SourceUnannounced,
            udp(peer, beside_bogons, us6)?,
            Some((1, LISTED)),
        ),
        case(
            "v4",
            Reason::DestinationUnannounced,
            udp(peer, "45.146.194.1", "9.9.9.9")?,
            v4,
        ),
        case(
            "v6",
            Reason::DestinationUnannounced,
            udp(peer, "2a13:47c0:146::1", "2620:fe::9")?,
            v6,
        ),
        case(
            "v4",
            Reason::BothUnannounced,
            udp(peer, "8.8.8.8", "9.9.9.9")?,
            v4,
        ),
        case(
            "v6",
            Reason::BothUnannounced,
            udp(peer, unannounced6, "2620:fe::9")?,
            v6,
        ),
        case(
            "forged icmp error",
            Reason::SourceUnannounced,
            frame::ethernet(OWN, peer, 0x0800, &forged),
            v4,
        ),
        case(
            "v4",
            Reason::SourceBogon,
            udp(peer, "10.1.2.3", us4)?,
            Some((0, LISTED)),
        ),
        case(
            "v6",
            Reason::SourceBogon,
            udp(peer, "fc00::1", us6)?,
            Some((1, LISTED)),
        ),
        case(
            "v4",
            Reason::SourceOurs,
            udp(peer, "185.1.2.3", us4)?,
            Some((0, LISTED)),
        ),
    ])
}

/// One run must count once, for the reason the case is about.
fn counts_for(loaded: &Loaded, case: &Case) -> Result<()> {
    let read = || -> Result<u64> {
        let peer = loaded
            .filter
            .counters(loaded.slots[0])?
            .packets(case.reason);
        let interface = loaded.filter.interface_counters("bench0")?;
        Ok(peer + interface.packets(case.reason))
    };
    let before = read()?;
    loaded.filter.timed("tables_hot")?.run(&case.frame, 1)?;
    match read()? - before {
        1 => Ok(()),
        other => Err(format!("{}: {other} packets counted as {}", case.name, case.reason).into()),
    }
}
