//! The switch: what is in force, read back, and off that needs no daemon, no lock and no table.

use std::process::Command;
use std::time::Duration;

use filter_core::layout::{Families, Known, Rules, SCHEMA};
use filter_core::{Class, Classes, Family, Mode, Reason};
use filter_loader::{
    AttachMode, Engine, Error, Filter, InterfaceSpec, LeaseEnd, Named, PeerSlot, PeerTables,
    Switch, Target, Wanted,
};
use tests::kernel::{engines, require_kernel};
use tests::lab::become_schema;
use tests::rig::{self, GOOD, NEAR, Pair, Pins, SPOOFED, TEST_NAME, build};

const BOGON: &str = "eth src=icrc dst=us / ipv4 10.0.0.1 > 198.51.100.1 udp";
const BOGON6: &str = "eth src=icrc dst=us / ipv6 fc00::1 > 2001:db8:100::1 udp";
const LLDP: &str = "eth src=icrc dst=lacp type=0x88cc";
const STRANGER: &str = "eth src=nobody dst=us / ipv4 45.146.194.1 > 198.51.100.1 udp";
const MALFORMED: &str = "eth src=nobody dst=us / ipv4 45.146.194.1 > 198.51.100.1 ihl=3 udp";

fn drops(filter: &mut Filter, text: &str) -> bool {
    filter.run(&build(text), 1).unwrap().dropped
}

/// A filter that is only test-run, with bogons listed and nothing wanted, its lease running.
fn filter(engine: Engine) -> (Filter, PeerSlot) {
    let mut filter = rig::load(&rig::options(engine));
    let bogons = filter_core::bogon::bogons(&[]);
    let lists = PeerTables {
        sources: &bogons,
        ..PeerTables::default()
    };
    filter.publish_lists(&lists).unwrap();
    let peer = rig::guard_test_runs(&mut filter, Mode::Observe);
    let interface = Target::Interface(TEST_NAME);
    filter.set_wanted(interface, Wanted::NONE).unwrap();
    filter.lease().renew(Duration::from_secs(3600)).unwrap();
    (filter, peer)
}

fn want(filter: &Filter, target: Target<'_>, classes: Classes) {
    let wanted = Wanted::new(classes, LeaseEnd::Observe);
    filter.set_wanted(target, wanted).unwrap();
}

#[test]
fn each_class_is_switched_for_itself_and_without_a_publish() {
    let test = "each_class_is_switched_for_itself_and_without_a_publish";
    if !require_kernel(test) {
        return;
    }
    for &engine in engines(test) {
        let (mut filter, peer) = filter(engine);
        let interface = Target::Interface(TEST_NAME);
        let frames = [SPOOFED, BOGON, BOGON6, LLDP, STRANGER, MALFORMED];
        let fates = |filter: &mut Filter| frames.map(|text| drops(filter, text));
        assert_eq!(fates(&mut filter), [false; 6]);

        want(&filter, peer.into(), Classes::bogons(Family::Ipv4));
        assert_eq!(
            fates(&mut filter),
            [false, true, false, false, false, false]
        );
        want(&filter, peer.into(), Classes::sources(Family::Ipv6));
        assert_eq!(
            fates(&mut filter),
            [false, false, true, false, false, false]
        );
        want(&filter, peer.into(), Classes::sources(Family::Ipv4));
        assert_eq!(fates(&mut filter), [true, true, false, false, false, false]);
        want(&filter, peer.into(), Classes::NONE);
        want(&filter, interface, Classes::LAN);
        assert_eq!(
            fates(&mut filter),
            [false, false, false, true, false, false]
        );
        want(&filter, interface, Classes::UNKNOWN);
        assert_eq!(
            fates(&mut filter),
            [false, false, false, false, true, false]
        );
        want(&filter, interface, Classes::MALFORMED);
        assert_eq!(
            fates(&mut filter),
            [false, false, false, false, false, true]
        );
        assert!(!drops(&mut filter, GOOD));
        let counted = filter.counters(peer).unwrap();
        assert_eq!(counted.get(Reason::SourceBogon).dropped.packets, 3);
    }
}

#[test]
fn what_is_in_force_is_read_back_from_every_word_and_the_lease() {
    if !require_kernel("what_is_in_force_is_read_back_from_every_word_and_the_lease") {
        return;
    }
    let (mut filter, peer) = filter(Engine::Tables);
    let all = Classes::PEER;
    want(&filter, peer.into(), all);
    let agree = |filter: &mut Filter, expected: Classes| {
        assert_eq!(filter.in_force(peer).unwrap(), expected);
        let in_force = expected.meets(Classes::sources(Family::Ipv4));
        assert_eq!(drops(filter, SPOOFED), in_force, "{expected}");
    };
    agree(&mut filter, all);
    filter.permit(peer, Classes::of(Class::Bogons)).unwrap();
    agree(&mut filter, Classes::BOGONS);
    filter.permit(peer, Classes::ALL).unwrap();
    filter.permit(Target::WholeFilter, Classes::NONE).unwrap();
    agree(&mut filter, Classes::NONE);
    assert_eq!(filter.allowed(peer).unwrap(), Classes::ALL);
    filter.permit(Target::WholeFilter, Classes::ALL).unwrap();
    agree(&mut filter, all);
    filter.lease().end();
    agree(&mut filter, Classes::NONE);
    // A slot that is kept needs no lease, and is off all the same if the operator says so.
    let kept = Wanted::new(all, LeaseEnd::Keep);
    filter.set_wanted(peer, kept).unwrap();
    agree(&mut filter, all);
    filter.permit(peer, Classes::NONE).unwrap();
    agree(&mut filter, Classes::NONE);
    let nosuch = filter.in_force(Target::Interface("nosuch0")).unwrap_err();
    assert!(matches!(nosuch, Error::UnknownInterface(_)), "{nosuch}");
}

/// It filters until this version's program is in its place, and has words of its own.
#[test]
fn off_reaches_what_a_version_with_another_schema_left() {
    if !require_kernel("off_reaches_what_a_version_with_another_schema_left") {
        return;
    }
    let (pair, pins) = (Pair::new(1500), Pins::new());
    let mut filter = rig::load(&pins.options());
    rig::guard(&mut filter, AttachMode::Native, Mode::Enforce);
    drop(filter);
    become_schema(pins.path(), SCHEMA + 1);
    let dropped = || {
        pair.far.send(&build(SPOOFED));
        pair.far.send(&build(GOOD));
        let first = pair.near.receive();
        first == build(GOOD) || pair.near.receive() != build(GOOD)
    };
    let mut filter = rig::load(&pins.options());
    assert!(dropped());
    // This version does not know the peer yet.
    let switch = Switch::open(pins.path()).unwrap();
    let unknown = switch.observe("nosuch").unwrap_err();
    assert!(matches!(unknown, Error::UnknownName { .. }), "{unknown}");
    // Its classes may be others: where some are allowed, none is.
    let some = Classes::of(Class::Sources);
    for (classes, drops) in [(some, false), (Classes::ALL, true), (Classes::NONE, false)] {
        assert_eq!(switch.permit("icrc", classes).unwrap(), Named::Peer);
        assert_eq!(dropped(), drops);
    }
    // What it was told to leave alone stays so, and only an operator says otherwise.
    let peer = filter.add_peer("icrc").unwrap();
    assert_eq!(filter.allowed(peer).unwrap(), Classes::NONE);
    filter.permit(peer, Classes::ALL).unwrap();
    assert!(!dropped());
    filter.permit_former(peer, Classes::ALL).unwrap();
    assert!(dropped());

    // As if a daemon had been killed between putting it aside and making its own.
    drop(filter);
    let beside = format!("{}-former", pins.path().display());
    std::fs::rename(pins.path(), &beside).unwrap();
    Switch::open(pins.path()).unwrap().observe_all();
    assert!(!dropped());
    let filter = rig::load(&pins.options());
    assert_eq!(filter.allowed(Target::WholeFilter).unwrap(), Classes::NONE);
    assert!(filter.has_former());
    filter.detach_all().unwrap();
    assert!(!pins.path().exists() && !std::path::Path::new(&beside).exists());
}

#[test]
fn off_works_beside_a_daemon_and_without_one_and_stays_off() {
    if !require_kernel("off_works_beside_a_daemon_and_without_one_and_stays_off") {
        return;
    }
    let (pair, pins) = (Pair::new(1500), Pins::new());
    let nothing = Switch::open(pins.path()).unwrap_err();
    assert!(matches!(nothing, Error::NothingPinned { .. }), "{nothing}");
    let mut filter = rig::load(&pins.options());
    let (peer, _) = rig::guard(&mut filter, AttachMode::Native, Mode::Enforce);
    let dropped = || {
        pair.far.send(&build(SPOOFED));
        pair.far.send(&build(GOOD));
        let first = pair.near.receive();
        first == build(GOOD) || pair.near.receive() != build(GOOD)
    };
    assert!(dropped());
    // The writer holds its lock, and is not asked.
    let switch = Switch::open(pins.path()).unwrap();
    assert_eq!(switch.observe("icrc").unwrap(), Named::Peer);
    assert!(!dropped());
    assert_eq!(filter.in_force(peer).unwrap(), Classes::NONE);
    let unknown = switch.observe("nosuch").unwrap_err();
    assert!(matches!(unknown, Error::UnknownName { .. }), "{unknown}");
    assert_eq!(switch.permit("icrc", Classes::ALL).unwrap(), Named::Peer);
    assert!(dropped());

    // The writer is gone; its successor keeps what the operator said.
    drop(filter);
    switch.observe_all();
    assert!(!dropped());
    assert_eq!(switch.observe(NEAR).unwrap(), Named::Interface);
    let mut filter = rig::load(&pins.options());
    filter.lease().keep();
    let peer = filter.add_peer("icrc").unwrap();
    let spec = InterfaceSpec::of_device(NEAR).unwrap();
    filter.attach(&spec, AttachMode::Native).unwrap();
    rig::publish(&mut filter, Mode::Enforce);
    assert!(!dropped());
    assert_eq!(filter.allowed(Target::WholeFilter).unwrap(), Classes::NONE);
    assert_eq!(
        filter.allowed(Target::Interface(NEAR)).unwrap(),
        Classes::NONE
    );
    filter.permit(Target::WholeFilter, Classes::ALL).unwrap();
    assert!(dropped());
    // A slot's next holder inherits no switch.
    filter.permit(peer, Classes::NONE).unwrap();
    filter.remove_peer(peer).unwrap();
    let next = filter.add_peer("next").unwrap();
    assert_eq!(next, peer);
    assert_eq!(filter.allowed(next).unwrap(), Classes::ALL);
    assert_eq!(filter.wanted(next).unwrap(), Wanted::NONE);
    filter.detach_all().unwrap();
}

#[test]
fn nothing_is_judged_by_a_side_that_is_not_known() {
    let test = "nothing_is_judged_by_a_side_that_is_not_known";
    if !require_kernel(test) {
        return;
    }
    for &engine in engines(test) {
        let (mut filter, peer) = filter(engine);
        want(&filter, peer.into(), Classes::ALL);
        assert!(drops(&mut filter, SPOOFED));
        // Only the rules change: the sets are not compiled anew.
        let families = Families::new(|_| true);
        let v6 = Families::new(|family| family == Family::Ipv6);
        let set = |text: &str| {
            [text.parse::<filter_core::Prefix>().unwrap()]
                .into_iter()
                .collect()
        };
        let (sources, destinations) = (set("45.146.194.0/23"), set("198.51.100.0/24"));
        let table = PeerTables {
            rules: Rules {
                families,
                known: Known::new(v6, v6),
            },
            generation: 2,
            sources: &sources,
            destinations: &destinations,
        };
        filter.publish(peer, &table).unwrap();
        assert!(!drops(&mut filter, SPOOFED));
        assert!(drops(&mut filter, BOGON), "needs no routes");
        let counted = filter.counters(peer).unwrap();
        assert_eq!(counted.get(Reason::Unjudged).passed.packets, 1);
    }
}

/// Sets a variable of this process's child: what the test below runs in another time namespace.
const INSIDE: &str = "BCP38_TEST_IN_TIME_NAMESPACE";

#[test]
fn the_lease_holds_in_a_time_namespace() {
    if !require_kernel("the_lease_holds_in_a_time_namespace") {
        return;
    }
    if std::env::var_os(INSIDE).is_some() {
        let (mut filter, peer) = filter(Engine::Tables);
        want(&filter, peer.into(), Classes::ALL);
        filter.lease().renew(Duration::from_secs(60)).unwrap();
        assert!(drops(&mut filter, SPOOFED));
        let left = filter.lease().remaining().unwrap().unwrap();
        let minute = Duration::from_secs(59)..Duration::from_secs(61);
        assert!(minute.contains(&left), "{left:?}");
        return;
    }
    for shift in ["86400", "-1000"] {
        let test = std::env::current_exe().unwrap();
        let name = "switch::the_lease_holds_in_a_time_namespace";
        let output = Command::new("unshare")
            .args(["--time", "--fork", "--monotonic", shift, "--"])
            .arg(test)
            .args(["--exact", name, "--nocapture"])
            .env(INSIDE, "1")
            .output()
            .expect("unshare (Debian package `util-linux`) runs");
        let said = String::from_utf8_lossy(&output.stdout);
        let error = String::from_utf8_lossy(&output.stderr);
        if error.contains("unshare failed") || error.contains("/proc/self/timens_offsets") {
            println!("not shifted by {shift} s: {error}"); // before 5.6, or the offset is before the boot
            continue;
        }
        assert!(output.status.success(), "{shift}: {said}{error}");
        assert!(said.contains("1 passed"), "{said}");
    }
}

#[test]
fn icmp_errors_pass_at_their_rate_and_too_big_has_its_own() {
    let test = "icmp_errors_pass_at_their_rate_and_too_big_has_its_own";
    if !require_kernel(test) {
        return;
    }
    let error = |kind: &str| {
        format!(
            "eth src=icrc dst=us / ipv4 9.9.9.9 > 198.51.100.1 / icmp {kind} / ipv4 198.51.100.1 > 45.146.194.1 udp"
        )
    };
    for &engine in engines(test) {
        let mut options = rig::options(engine);
        options.icmp_errors_per_second = 100;
        let mut filter = rig::load(&options);
        let peer = rig::guard_test_runs(&mut filter, Mode::Enforce);
        filter.lease().keep();
        let begin = std::time::Instant::now();
        filter.run(&build(&error("11")), 1_000).unwrap();
        let first = filter.counters(peer).unwrap();
        let passed = first.get(Reason::IcmpError).passed.packets;
        // A tenth of a second's at once, and what became due meanwhile.
        let due = 10 + begin.elapsed().as_millis() as u64 / 10 + 2;
        assert!((10..=due).contains(&passed), "{passed} of {due}");
        let rest = first.get(Reason::SourceUnannounced).dropped.packets;
        assert_eq!(rest, 1_000 - passed);
        filter.run(&build(&error("3 4")), 1_000).unwrap();
        let both = filter.counters(peer).unwrap().since(&first);
        assert!(both.get(Reason::IcmpError).passed.packets >= 10, "{both:?}");

        options.icmp_errors_per_second = 0;
        let mut filter = rig::load(&options);
        let peer = rig::guard_test_runs(&mut filter, Mode::Enforce);
        filter.run(&build(&error("3 4")), 1).unwrap();
        let none = filter.counters(peer).unwrap();
        assert_eq!(none.packets(Reason::IcmpError), 0);
    }
}

#[test]
fn an_interface_of_any_index_is_found() {
    let test = "an_interface_of_any_index_is_found";
    if !require_kernel(test) {
        return;
    }
    let namespace = tests::netns::Namespace::enter();
    tests::netns::ip("link add name far0 index 70001 type veth peer name far1");
    tests::netns::ip("link set far0 up");
    tests::netns::ip("link set far1 up");
    let mut filter = rig::load(&rig::options(Engine::Tables));
    let spec = InterfaceSpec::of_device("far0").unwrap();
    let attached = filter.attach(&spec, AttachMode::Native).unwrap();
    assert_eq!(attached.ifindex, 70_001);
    let frame = build("eth src=icrc dst=broadcast / arp");
    tests::wire::Wire::on("far1").send(&frame);
    tests::wire::until("the frame is counted", || {
        let counted = filter.interface_counters("far0").unwrap();
        counted.packets(Reason::Arp) == 1
    });
    // Without a record it is counted apart, and passes.
    assert_eq!(filter.unrecorded_counters().unwrap().total().packets(), 0);
    filter.detach_all().unwrap();
    drop(namespace);
}
