//! tc before Linux 6.6: a filter of `clsact`, which no descriptor keeps and no link removes. Who may take it off, and who must.
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use clap::Parser;
use filter_core::{Mode, Reason};
use filter_daemon::cli::{self, Cli, Command, Failure};
use filter_loader::{
    AttachMode, Attached, Engine, Error, Filter, HookKind, InterfaceSpec, Options, detach_pinned,
    hooks, left_interfaces, pinned_interfaces, programs_at_tc,
};
use tests::lab::Wire;
use tests::netns::{Namespace, has_xdp, ip};
use tests::require_kernel;
use tests::rig::{self, FAR, GOOD, NEAR, Pair, Pins, SPOOFED, build, counted, just};
use tests::tap::Tap;

/// As long as this lives, the thread finds no tcx, as before Linux 6.6.
pub struct WithoutTcx;

impl WithoutTcx {
    pub fn new() -> Self {
        hooks::without_tcx(true);
        Self
    }
}

impl Drop for WithoutTcx {
    fn drop(&mut self) {
        hooks::without_tcx(false);
    }
}

pub fn at_tc(attached: &Attached) -> Vec<u32> {
    programs_at_tc(attached.ifindex).unwrap()
}

fn near() -> InterfaceSpec {
    InterfaceSpec::of_device(NEAR).unwrap()
}

/// Spoofed frames with a number each do not come through, the good one behind them does.
pub fn drops(pair: &Pair, behind: &Wire) {
    for number in 0..20 {
        pair.far
            .send(&build(&format!("{SPOOFED} / pad {}", 60 + number)));
    }
    pair.far.send(&build(GOOD));
    assert_eq!(behind.receive(), build(GOOD));
}

/// Forgets what was pinned, as if somebody had removed it.
fn unpin(pins: &Path) {
    for entry in fs::read_dir(pins).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    fs::remove_dir(pins).unwrap();
}

fn found(pins: &Pins) -> Vec<String> {
    left_interfaces(pins.path()).map(Result::unwrap).collect()
}

/// What a process leaves that attached at tc and pinned it.
fn left_behind(pins: &Pins) -> Attached {
    let mut filter = rig::load(&pins.options());
    let (_, attached) = rig::guard(&mut filter, AttachMode::Tc, Mode::Enforce);
    drop(filter);
    assert_eq!(at_tc(&attached), [attached.program]);
    attached
}

#[test]
fn auto_takes_tc_and_not_generic_xdp_on_a_device_without_ethernet() {
    if !require_kernel("auto_takes_tc_and_not_generic_xdp_on_a_device_without_ethernet") {
        return;
    }
    let (_without, _namespace) = (WithoutTcx::new(), Namespace::enter());
    let _tun = Tap::bare("tun7");
    ip("link set tun7 up");
    let mut filter = rig::load(&rig::options(Engine::Tables));
    let spec = InterfaceSpec::of_device("tun7").unwrap();
    let attached = filter.attach(&spec, AttachMode::Auto).unwrap();
    assert_eq!(attached.kind, HookKind::Tc);
    assert_eq!(attached.why, "the device has no ethernet header");
    assert_eq!(at_tc(&attached), [attached.program]);
    assert!(!has_xdp("tun7"));
    filter.detach_all().unwrap();
    assert_eq!(at_tc(&attached), [0; 0]);
}

#[test]
fn a_filter_that_is_attached_once_more_goes_on_dropping() {
    if !require_kernel("a_filter_that_is_attached_once_more_goes_on_dropping") {
        return;
    }
    let _without = WithoutTcx::new();
    for pinned in [true, false] {
        let (pair, pins) = (Pair::new(1500), Pins::new());
        let behind = Wire::behind_tc(NEAR).unwrap();
        let options = match pinned {
            true => pins.options(),
            false => rig::options(Engine::Tables),
        };
        let mut filter = rig::load(&options);
        let (peer, attached) = rig::guard(&mut filter, AttachMode::Tc, Mode::Enforce);
        for times in 1..=3 {
            let again = filter.attach(&near(), AttachMode::Tc).unwrap();
            assert_eq!(again.program, attached.program);
            assert_eq!(at_tc(&again), [attached.program], "{times} times more");
            drops(&pair, &behind);
            let counters = counted(&filter, peer, 21 * times);
            let dropped = counters.get(Reason::SourceUnannounced).dropped.packets;
            assert_eq!(
                (counters.packets(Reason::Permitted), dropped),
                (times, 20 * times)
            );
        }
        filter.detach_all().unwrap();
        assert_eq!(at_tc(&attached), [0; 0]);
    }
}

#[test]
fn a_filter_without_a_pin_is_taken_over_in_its_place() {
    if !require_kernel("a_filter_without_a_pin_is_taken_over_in_its_place") {
        return;
    }
    let _without = WithoutTcx::new();
    for (mode, kind) in [
        (AttachMode::Tc, HookKind::Tc),
        (AttachMode::Native, HookKind::XdpNative),
    ] {
        let (pair, pins) = (Pair::new(1500), Pins::new());
        let left = left_behind(&pins);
        unpin(pins.path());
        let behind = Wire::behind_tc(NEAR).unwrap();
        let mut next = rig::load(&pins.options());
        let (peer, attached) = rig::guard(&mut next, mode, Mode::Enforce);
        assert_eq!(attached.kind, kind);
        let expected: &[u32] = match kind {
            HookKind::Tc => &[attached.program],
            _ => &[],
        };
        assert_eq!(at_tc(&attached), expected);
        assert_ne!(attached.program, left.program);
        drops(&pair, &behind);
        assert_eq!(
            counted(&next, peer, 21).packets(Reason::SourceUnannounced),
            20
        );
        next.detach_all().unwrap();
        assert_eq!(at_tc(&attached), [0; 0]);
    }
}

#[test]
fn what_is_left_without_a_pin_is_found_by_detach_and_by_the_next_start() {
    if !require_kernel("what_is_left_without_a_pin_is_found_by_detach_and_by_the_next_start") {
        return;
    }
    let _without = WithoutTcx::new();
    let (_pair, pins) = (Pair::new(1500), Pins::new());
    let left = left_behind(&pins);
    unpin(pins.path());
    assert_eq!(found(&pins), [NEAR]);
    assert!(!detach_pinned(pins.path(), FAR).unwrap());
    assert_eq!(at_tc(&left), [left.program]);
    assert!(detach_pinned(pins.path(), NEAR).unwrap());
    assert_eq!(at_tc(&left), [0; 0]);
    assert!(!detach_pinned(pins.path(), NEAR).unwrap());

    let left = left_behind(&pins);
    unpin(pins.path());
    let mut next = rig::load(&pins.options());
    next.keep_only(&[NEAR]).unwrap();
    assert_eq!(at_tc(&left), [left.program], "it may be taken over yet");
    next.keep_only(&[FAR]).unwrap();
    assert_eq!(at_tc(&left), [0; 0]);
    drop(next);
    assert!(!pins.path().exists());
}

#[test]
fn what_another_instance_holds_or_has_pinned_is_not_taken() {
    if !require_kernel("what_another_instance_holds_or_has_pinned_is_not_taken") {
        return;
    }
    let _without = WithoutTcx::new();
    let (_pair, pins, theirs) = (Pair::new(1500), Pins::new(), Pins::new());
    let busy = |filter: &mut Filter, program: u32| {
        let refused = filter.attach(&near(), AttachMode::Tc).unwrap_err();
        let said = format!(
            "interface `{NEAR}` already has a filter at tc ingress, priority 1, handle 0xbc38: `bcp38_tc` (program {program}): "
        );
        assert!(refused.to_string().starts_with(&said), "{refused}");
    };
    // A process has it.
    let mut held = rig::load(&rig::options(Engine::Tables));
    let (_, attached) = rig::guard(&mut held, AttachMode::Tc, Mode::Enforce);
    let mut ours = rig::load(&pins.options());
    busy(&mut ours, attached.program);
    assert_eq!(at_tc(&attached), [attached.program]);
    drop(held);
    assert_eq!(at_tc(&attached), [0; 0], "it goes with its process");
    // A process had it, and wants it back.
    let left = left_behind(&theirs);
    busy(&mut ours, left.program);
    ours.keep_only(&[]).unwrap();
    assert_eq!(found(&pins), [""; 0]);
    assert!(!detach_pinned(pins.path(), NEAR).unwrap());
    assert_eq!(at_tc(&left), [left.program]);
    drop(ours);
    assert!(detach_pinned(theirs.path(), NEAR).unwrap());
    assert_eq!(at_tc(&left), [0; 0]);
}

#[test]
fn another_programs_filter_at_our_place_is_not_removed() {
    if !require_kernel("another_programs_filter_at_our_place_is_not_removed") {
        return;
    }
    let _without = WithoutTcx::new();
    let (_pair, pins) = (Pair::new(1500), Pins::new());
    let mut ours = rig::load(&pins.options());
    let (_, attached) = rig::guard(&mut ours, AttachMode::Tc, Mode::Enforce);
    assert!(hooks::remove_clsact_filter(attached.ifindex, attached.program).unwrap());
    let mut other = rig::load(&rig::options(Engine::Tables));
    let (_, in_place) = rig::guard(&mut other, AttachMode::Tc, Mode::Enforce);
    assert_eq!(at_tc(&attached), [in_place.program]);
    ours.detach(NEAR).unwrap();
    assert_eq!(at_tc(&attached), [in_place.program]);
    drop(ours);
    other.detach_all().unwrap();
    assert_eq!(at_tc(&attached), [0; 0]);
}

#[test]
fn a_filter_of_another_network_namespace_is_said_to_be_there_still() {
    if !require_kernel("a_filter_of_another_network_namespace_is_said_to_be_there_still") {
        return;
    }
    let _without = WithoutTcx::new();
    let (pair, pins) = (Pair::new(1500), Pins::new());
    let left = left_behind(&pins);
    let (path, home) = (pins.path().to_owned(), pair.namespace());
    let elsewhere = tests::lab::Namespace::quiet("elsewhere").unwrap();
    let refused = elsewhere.run(|| detach_pinned(&path, NEAR).unwrap_err());
    assert!(
        matches!(&refused, Error::Elsewhere { name, program } if name == NEAR && *program == left.program),
        "{refused}"
    );
    assert_eq!(at_tc(&left), [left.program]);
    assert!(home.exists() && !path.exists());
    assert!(detach_pinned(&path, NEAR).unwrap(), "found without a pin");
    assert_eq!(at_tc(&left), [0; 0]);
}

/// A process that ends between two steps of a move leaves both pins.
#[test]
fn of_a_link_and_a_filter_that_are_pinned_the_link_stays() {
    if !require_kernel("of_a_link_and_a_filter_that_are_pinned_the_link_stays") {
        return;
    }
    let _without = WithoutTcx::new();
    let (pair, pins, other) = (Pair::new(1500), Pins::new(), Pins::new());
    let mut filter = rig::load(&pins.options());
    rig::guard(&mut filter, AttachMode::Native, Mode::Enforce);
    drop(filter);
    let left = left_behind(&other);
    let name = format!("filter-{NEAR}");
    fs::rename(other.path().join(&name), pins.path().join(&name)).unwrap();
    unpin(other.path());
    let mut next = rig::load(&pins.options());
    let again = next.attach(&near(), AttachMode::Tc).unwrap();
    assert_eq!((again.kind, again.adopted), (HookKind::XdpAdopted, true));
    assert_eq!(at_tc(&left), [0; 0]);
    assert!(has_xdp(NEAR));
    assert_eq!(pinned_interfaces(pins.path()).unwrap(), [NEAR]);
    assert!(!pins.path().join(&name).exists());
    let peer = next.add_peer("icrc").unwrap();
    let before = next.counters(peer).unwrap();
    pair.passes(GOOD);
    let since = next.counters(peer).unwrap().since(&before);
    let expected = [(Reason::Permitted, false, 1, build(GOOD).len())];
    assert_eq!(since, just(&expected), "counted in xdp");
    next.detach_all().unwrap();
    assert!(!has_xdp(NEAR));
}

/// A second device, of another pair of ends.
const OTHER: &str = "other";

fn make_other() {
    ip(&format!("link add {OTHER} type veth peer name beyond"));
}

fn other() -> InterfaceSpec {
    InterfaceSpec::of_device(OTHER).unwrap()
}

/// What comes to an end on the second device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Detached,
    LetGo,
    LetGoByTheNext,
    MadeAnew,
    Renamed,
}

/// All devices at `clsact` run one program: what is done to one of them is done there alone.
#[test]
fn what_becomes_of_one_device_leaves_the_filter_on_the_other() {
    if !require_kernel("what_becomes_of_one_device_leaves_the_filter_on_the_other") {
        return;
    }
    let _without = WithoutTcx::new();
    for end in [
        End::Detached,
        End::LetGo,
        End::LetGoByTheNext,
        End::MadeAnew,
        End::Renamed,
    ] {
        let (pair, pins) = (Pair::new(1500), Pins::new());
        let behind = Wire::behind_tc(NEAR).unwrap();
        make_other();
        let mut filter = rig::load(&pins.options());
        let (_, near) = rig::guard(&mut filter, AttachMode::Tc, Mode::Enforce);
        let second = filter.attach(&other(), AttachMode::Tc).unwrap();
        assert_eq!(second.program, near.program);
        assert_eq!(at_tc(&second), [second.program]);
        let (mut filter, left) = match end {
            End::Detached | End::LetGoByTheNext => {
                drop(filter);
                (None, vec![NEAR])
            }
            End::LetGo => (Some(filter), vec![NEAR]),
            End::MadeAnew | End::Renamed => (Some(filter), vec![NEAR, OTHER]),
        };
        match (end, &mut filter) {
            (End::Detached, _) => assert!(detach_pinned(pins.path(), OTHER).unwrap()),
            (End::LetGo, Some(filter)) => filter.keep_only(&[NEAR]).unwrap(),
            (End::MadeAnew | End::Renamed, Some(filter)) => {
                match end {
                    End::MadeAnew => _ = ip(&format!("link del {OTHER}")),
                    _ => {
                        ip(&format!("link set {OTHER} name former"));
                        ip("link set beyond name beyond-former");
                    }
                }
                make_other();
                let again = filter.attach(&other(), AttachMode::Tc).unwrap();
                assert_ne!(again.ifindex, second.ifindex);
                assert_eq!(at_tc(&again), [near.program], "{end:?}");
            }
            _ => {
                let mut next = rig::load(&pins.options());
                next.keep_only(&[NEAR]).unwrap();
            }
        }
        if end != End::MadeAnew {
            assert_eq!(at_tc(&second), [0; 0], "{end:?}");
        }
        assert_eq!(at_tc(&near), [near.program], "{end:?}");
        assert_eq!(pinned_interfaces(pins.path()).unwrap(), left, "{end:?}");
        drops(&pair, &behind);
        drop(filter);
        for interface in left {
            assert!(detach_pinned(pins.path(), interface).unwrap(), "{end:?}");
        }
        assert_eq!(at_tc(&near), [0; 0]);
        assert!(!pins.path().exists());
    }
}

/// Whose pin went is found though the program is pinned for another device.
#[test]
fn a_filter_that_lost_its_pin_is_found_beside_one_that_has_it() {
    if !require_kernel("a_filter_that_lost_its_pin_is_found_beside_one_that_has_it") {
        return;
    }
    let _without = WithoutTcx::new();
    let (_pair, pins) = (Pair::new(1500), Pins::new());
    make_other();
    let mut filter = rig::load(&pins.options());
    let (_, near) = rig::guard(&mut filter, AttachMode::Tc, Mode::Enforce);
    let second = filter.attach(&other(), AttachMode::Tc).unwrap();
    fs::remove_file(pins.path().join(format!("filter-{OTHER}"))).unwrap();
    assert!(
        !detach_pinned(pins.path(), OTHER).unwrap(),
        "a process has it"
    );
    drop(filter);
    assert!(detach_pinned(pins.path(), OTHER).unwrap());
    assert_eq!((at_tc(&second), at_tc(&near)), (vec![], vec![near.program]));
    assert!(detach_pinned(pins.path(), NEAR).unwrap());
    assert_eq!(at_tc(&near), [0; 0]);
}

/// Of two filters of another network namespace neither is said to be gone, and each can be taken off there.
#[test]
fn what_cannot_be_taken_off_here_is_said_and_what_can_be_is() {
    if !require_kernel("what_cannot_be_taken_off_here_is_said_and_what_can_be_is") {
        return;
    }
    let _without = WithoutTcx::new();
    let (pair, pins) = (Pair::new(1500), Pins::new());
    make_other();
    let mut filter = rig::load(&pins.options());
    let (_, near) = rig::guard(&mut filter, AttachMode::Tc, Mode::Enforce);
    let second = filter.attach(&other(), AttachMode::Tc).unwrap();
    drop(filter);
    let (path, home) = (pins.path().to_owned(), pair.namespace());
    let elsewhere = tests::lab::Namespace::quiet("elsewhere").unwrap();
    // There a device of the same name has a filter that was left.
    let there = elsewhere.run(|| {
        hooks::without_tcx(true);
        make_other();
        let theirs = Pins::new();
        let mut filter = rig::load(&theirs.options());
        let attached = filter.attach(&other(), AttachMode::Tc).unwrap();
        drop(filter);
        unpin(theirs.path());
        assert_eq!(at_tc(&attached), [attached.program]);
        let refused = detach_pinned(&path, OTHER).unwrap_err();
        assert!(
            matches!(&refused, Error::Elsewhere { name, program } if name == OTHER && *program == second.program),
            "{refused}"
        );
        at_tc(&attached)
    });
    assert_eq!(there, [0; 0], "the one that was left is off all the same");
    assert_eq!(
        (at_tc(&near), at_tc(&second)),
        (vec![near.program], vec![near.program])
    );
    assert!(home.exists());
    for attached in [&second, &near] {
        let name = if attached.ifindex == near.ifindex {
            NEAR
        } else {
            OTHER
        };
        assert!(detach_pinned(&path, name).unwrap(), "{name}");
        assert_eq!(at_tc(attached), [0; 0], "{name}");
    }
}

/// A device is gone, and its program is loaded for another one: that is no filter of another network namespace.
#[test]
fn a_filter_whose_device_is_gone_is_detached_without_a_word() {
    if !require_kernel("a_filter_whose_device_is_gone_is_detached_without_a_word") {
        return;
    }
    let _without = WithoutTcx::new();
    let (_pair, pins) = (Pair::new(1500), Pins::new());
    make_other();
    let mut filter = rig::load(&pins.options());
    let (_, near) = rig::guard(&mut filter, AttachMode::Tc, Mode::Enforce);
    filter.attach(&other(), AttachMode::Tc).unwrap();
    drop(filter);
    ip(&format!("link del {OTHER}"));
    assert!(detach_pinned(pins.path(), OTHER).unwrap());
    assert_eq!(pinned_interfaces(pins.path()).unwrap(), [NEAR]);
    assert_eq!(at_tc(&near), [near.program]);
    assert!(detach_pinned(pins.path(), NEAR).unwrap());
    assert_eq!(at_tc(&near), [0; 0]);
}

/// A directory for pins beside one with a pin that cannot be read. One level below, or other tests' filters might be pinned
/// there too.
struct Nested {
    own: PathBuf,
    unreadable: PathBuf,
    parent: PathBuf,
}

impl Nested {
    fn new() -> Self {
        let parent = Path::new("/sys/fs/bpf").join(tests::netns::unique("bcp38-nested"));
        let unreadable = parent.join("theirs").join("filter-x");
        fs::create_dir_all(&unreadable).unwrap();
        Self {
            own: parent.join("own"),
            unreadable,
            parent,
        }
    }

    fn options(&self) -> Options {
        Options {
            pins: Some(self.own.clone()),
            ..rig::options(Engine::Tables)
        }
    }
}

impl Drop for Nested {
    fn drop(&mut self) {
        _ = fs::remove_dir(&self.unreadable);
        _ = fs::remove_dir(self.parent.join("theirs"));
        _ = fs::remove_dir(&self.parent);
        assert!(thread::panicking() || !self.parent.exists());
    }
}

/// A pin that cannot be read may be that of the program: nothing is taken off on a guess.
#[test]
fn what_may_be_pinned_is_not_taken() {
    if !require_kernel("what_may_be_pinned_is_not_taken") {
        return;
    }
    let _without = WithoutTcx::new();
    let (_pair, scene) = (Pair::new(1500), Nested::new());
    let own = scene.own.clone();
    let mut filter = rig::load(&scene.options());
    let (_, attached) = rig::guard(&mut filter, AttachMode::Tc, Mode::Enforce);
    drop(filter);
    unpin(&own);
    let refused = detach_pinned(&own, NEAR).unwrap_err().to_string();
    assert!(refused.contains("theirs/filter-x"), "{refused}");
    let mut ours = rig::load(&scene.options());
    ours.keep_only(&[]).unwrap();
    let busy = ours.attach(&near(), AttachMode::Tc);
    assert!(matches!(busy, Err(Error::Busy { .. })));
    drop(ours);
    assert_eq!(at_tc(&attached), [attached.program]);
    drop(scene);
    assert!(detach_pinned(&own, NEAR).unwrap());
    assert_eq!(at_tc(&attached), [0; 0]);
}

/// What cannot be read keeps nothing attached that can be taken off.
#[test]
fn detach_all_takes_off_what_is_pinned_beside_what_cannot_be_read() {
    if !require_kernel("detach_all_takes_off_what_is_pinned_beside_what_cannot_be_read") {
        return;
    }
    let _without = WithoutTcx::new();
    let _pair = Pair::new(1500);
    make_other();
    let scene = Nested::new();
    let mut filter = rig::load(&scene.options());
    let (_, attached) = rig::guard(&mut filter, AttachMode::Tc, Mode::Enforce);
    drop(filter);
    unpin(&scene.own);
    let mut filter = rig::load(&scene.options());
    filter.attach(&other(), AttachMode::Native).unwrap();
    drop(filter);
    assert!(has_xdp(OTHER));
    let own = scene.own.display().to_string();
    let words = [
        "bcp38",
        "detach",
        "--all",
        "--socket",
        "/nowhere",
        "--pin-dir",
        &own,
    ];
    let detach_all = || match Cli::try_parse_from(words).unwrap().command {
        Command::Detach(args) => cli::detach::run(&args),
        _ => panic!("another command"),
    };
    let refused = detach_all();
    assert!(!has_xdp(OTHER));
    assert_eq!(at_tc(&attached), [attached.program]);
    let Err(Failure::Failed(refused)) = refused else {
        panic!("nothing was refused");
    };
    let said = format!("cannot tell whether a filter was left on `{NEAR}`: ");
    assert!(refused.starts_with(&said), "{refused}");
    assert!(refused.contains("theirs/filter-x"), "{refused}");
    drop(scene);
    assert!(detach_all().is_ok());
    assert_eq!(at_tc(&attached), [0; 0]);
}
