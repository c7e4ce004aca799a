//! Bar 3 from end to end: from the bytes a router sends over BMP to the store that puts them in force in the kernel,
//! through the daemon as operators run it. Wall-clock time; no packet is sent.
use std::time::{Duration, Instant};

use filter_core::set::PrefixSet;
use filter_core::table::shapes::{Random, exchange};
use filter_core::{Address, Family, Prefix};
use lab::bmp::{Direction, Router};
use tests::fleet::{Fleet, Slots, neighbour, table};

use crate::measure::{Effort, Result, median};
use crate::report::{Goal, Report, Row};
use crate::world;

/// Peers beside the one with the full table.
const PEERS: u32 = 800;
/// The largest of them; the others are heavy-tailed below.
const LARGEST: usize = 20_000;
/// The peer whose last update ends the measurement of a burst: it says nothing else.
const MARKER: u32 = PEERS + 1;
const BAR: Duration = Duration::from_millis(5);

/// One announcement beside a full table and 800 peers, and into the full table; then a burst of all of them.
///
/// # Errors
/// What the connection to the daemon says.
pub fn effective(report: &mut Report, effort: Effort) -> Result<()> {
    let fleet = Fleet::start(MARKER + 1);
    let (slots, mut router) = (fleet.slots(), fleet.router("router"));
    (0..=MARKER).try_for_each(|peer| router.peer_up(neighbour(peer)))?;
    let full = fleet.admitted(world::table(Family::Ipv4, 1_000_000)?);
    router.send(&table(0, &full))?;
    let sets = exchange(Family::Ipv4, PEERS as usize, LARGEST, 5);
    for (peer, prefixes) in (1..).zip(sets) {
        router.send(&table(peer, &prefixes))?;
    }
    fleet.until_sources(0, full.len() as u64);
    fleet.until_settled();
    let known: PrefixSet = full.into_iter().collect();
    let mut fresh = Fresh::new(&known);
    for (case, peer) in [
        ("a peer of 800 beside a full table", PEERS / 2),
        ("the largest of 800 peers", 1),
        ("the full table itself", 0),
    ] {
        let times: Vec<f64> = (0..30 * effort.rounds)
            .map(|_| fresh.announce(&slots, &mut router, peer).as_secs_f64() * 1e9)
            .collect();
        report.add(Row::times(
            3,
            &format!("announce, from feed bytes to in force: {case}"),
            median(&times),
            "five milliseconds",
            BAR.as_secs_f64() * 1e9,
            Goal::AtMost(1.0),
        ));
    }
    burst(report, effort, &fleet, &mut router, &mut fresh)?;
    fleet.end();
    Ok(())
}

/// Announcements of all 800 peers in turn, as fast as they are taken.
fn burst(
    report: &mut Report,
    effort: Effort,
    fleet: &Fleet,
    router: &mut Router,
    fresh: &mut Fresh<'_>,
) -> Result<()> {
    let events = if effort.quick { 100_000 } else { 1_000_000 };
    let mut random = Random(23);
    let mut written = Router::in_memory(filter_core::Asn::new(64500), neighbour(0).address);
    for _ in 0..events {
        let peer = 1 + random.below(PEERS.into()) as u32;
        written.announce(neighbour(peer), Direction::Received, &[fresh.prefix()])?;
    }
    let begin = Instant::now();
    router.send(&written.into_messages())?;
    fresh.announce(&fleet.slots(), router, MARKER);
    fleet.until_settled();
    let each = begin.elapsed().as_secs_f64() * 1e9 / f64::from(events);
    report.add(Row::times(
        3,
        &format!("one of {events} route events of 800 peers, from feed bytes to all in force"),
        each,
        "100,000 events a second",
        10_000.0,
        Goal::AtMost(1.0),
    ));
    Ok(())
}

/// Prefixes that no peer has announced yet: /24s, no two side by side.
struct Fresh<'a> {
    known: &'a PrefixSet,
    next: u32,
}

impl<'a> Fresh<'a> {
    const fn new(known: &'a PrefixSet) -> Self {
        Self {
            known,
            next: 24 << 24,
        }
    }

    /// Goes round and round: a peer of a burst may announce one again.
    fn prefix(&mut self) -> Prefix {
        loop {
            self.next = self.next.wrapping_add(1 << 9);
            let address = Address::from_v4(self.next.to_be_bytes());
            let prefix = Prefix::new(address, 24).unwrap_or_else(|_| Prefix::host(address));
            if (1..224).contains(&(self.next >> 24)) && !self.known.contains(address) {
                return prefix;
            }
        }
    }

    fn announce(&mut self, slots: &Slots, router: &mut Router, peer: u32) -> Duration {
        let prefix = self.prefix();
        slots.until_changed(peer, || {
            let sent = router.announce(neighbour(peer), Direction::Received, &[prefix]);
            assert!(sent.is_ok(), "the daemon closed the connection");
        })
    }
}
