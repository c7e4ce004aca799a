//! Enforcement needs somebody alive: the lease.

use std::time::Duration;

use filter_core::{Mode, Reason};
use filter_loader::{AttachMode, Engine};
use tests::kernel::{engines, require_kernel};
use tests::rig::{self, GOOD, Pair, SPOOFED, build, just};
use tests::wire::until;

/// Is a spoofed frame dropped on the wire? The good one behind it shows it.
fn drops_on_the_wire(pair: &Pair) -> bool {
    pair.far.send(&build(SPOOFED));
    pair.far.send(&build(GOOD));
    let first = pair.near.receive();
    if first == build(SPOOFED) {
        assert_eq!(pair.near.receive(), build(GOOD));
        return false;
    }
    assert_eq!(first, build(GOOD));
    true
}

#[test]
fn the_program_itself_falls_back_when_the_lease_ends() {
    if !require_kernel("the_program_itself_falls_back_when_the_lease_ends") {
        return;
    }
    let pair = Pair::new(1500);
    let mut filter = rig::load(&rig::options(Engine::Tables));
    let (peer, _) = rig::guard(&mut filter, AttachMode::Native, Mode::Enforce);
    assert_eq!(filter.lease().remaining().unwrap(), None);
    assert!(drops_on_the_wire(&pair));

    let term = Duration::from_millis(300);
    let granted = std::time::Instant::now();
    filter.lease().renew(term).unwrap();
    until("the lease runs out", || !drops_on_the_wire(&pair));
    assert!(
        granted.elapsed() >= term,
        "it fell back before the lease ended"
    );
    assert_eq!(filter.lease().remaining().unwrap(), Some(Duration::ZERO));
    assert!(!drops_on_the_wire(&pair));

    filter.lease().renew(Duration::from_secs(3600)).unwrap();
    assert!(drops_on_the_wire(&pair));
    assert!(filter.lease().remaining().unwrap() > Some(Duration::from_secs(3500)));

    filter.lease().end();
    assert!(!drops_on_the_wire(&pair));
    let spoofed = filter
        .counters(peer)
        .unwrap()
        .get(Reason::SourceUnannounced);
    assert!(
        spoofed.dropped.packets >= 2 && spoofed.passed.packets >= 3,
        "{spoofed:?}"
    );
    filter.detach_all().unwrap();
}

#[test]
fn a_filter_nobody_leased_only_observes() {
    if !require_kernel("a_filter_nobody_leased_only_observes") {
        return;
    }
    for &engine in engines("a_filter_nobody_leased_only_observes") {
        let mut filter = rig::load(&rig::options(engine));
        let peer = rig::guard_test_runs(&mut filter, Mode::Enforce);
        let spoofed = build(SPOOFED);
        assert!(!filter.run(&spoofed, 1).unwrap().dropped);
        let expected = just(&[(Reason::SourceUnannounced, false, 1, spoofed.len())]);
        assert_eq!(filter.counters(peer).unwrap(), expected);
    }
}
