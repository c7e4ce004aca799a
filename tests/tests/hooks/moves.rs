//! From one hook to another where `auto` and failures decide: no packet goes by unjudged, and each is counted once.
use std::cell::RefCell;
use std::fs;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::Ends;
use aya::programs::links::PinnedLink;
use filter_core::{Mode, Prefix, Reason};
use filter_loader::sync::{Step, Sync, Wanted};
use filter_loader::{
    AttachMode, Device, Engine, Error, Filter, HookKind, InterfaceSpec, hooks, programs_at_tc,
};
use tests::kernel::WithoutAdmin;
use tests::lab::Wire;
use tests::netns::{has_xdp, ip};
use tests::require_kernel;
use tests::rig::{self, GOOD, NEAR, Pair, Pins, SPOOFED, build, counted, just};

/// A device on the near end of the pair with the MAC that packets are sent to. It refuses native XDP, and is none of those of
/// which `auto` asks no driver.
const ABOVE: &str = "above";

fn pair_with_device_above() -> Pair {
    let pair = Pair::new(1500);
    ip(&format!("link set {NEAR} address 02:00:00:00:00:02"));
    ip(&format!(
        "link add link {NEAR} name {ABOVE} address 02:00:00:00:00:01 type macvlan mode private"
    ));
    ip(&format!("link set {ABOVE} up"));
    pair
}

#[test]
fn no_packet_goes_by_while_auto_leaves_generic_xdp_or_its_mode_changes() {
    const MOVES: usize = 12;
    if !require_kernel("no_packet_goes_by_while_auto_leaves_generic_xdp_or_its_mode_changes") {
        return;
    }
    let (pair, pins) = (pair_with_device_above(), Pins::new());
    let behind = Wire::behind_tc(ABOVE).unwrap();
    let mut filter = rig::load(&pins.options());
    let peer = rig::publish(&mut filter, Mode::Enforce);
    let spec = InterfaceSpec::of_device(ABOVE).unwrap();
    let attached = filter.attach(&spec, AttachMode::Generic).unwrap();
    let stations = [rig::station(attached.ifindex, "icrc")];
    filter.set_stations(peer, &stations).unwrap();
    filter.lease().keep();
    let (device, spoofed, good) = (Device::find(ABOVE).unwrap(), build(SPOOFED), build(GOOD));
    let (far, is_over) = (&pair.far, &AtomicBool::new(false));
    far.send(&good);
    assert_eq!(behind.receive(), good);
    let sent = thread::scope(|scope| {
        let over = Ends(is_over);
        let sender = scope.spawn(|| {
            let mut sent = 0_u64;
            while !is_over.load(Ordering::Relaxed) {
                far.send(&spoofed);
                sent += 1;
            }
            sent
        });
        for number in 0..MOVES {
            let (mode, kind) = match number % 2 {
                0 => (AttachMode::Auto, HookKind::Tc),
                _ => (AttachMode::Generic, HookKind::XdpGeneric),
            };
            let moved = filter.attach_otherwise(&device, ABOVE, mode).unwrap();
            assert_eq!(moved.kind, kind);
            if mode == AttachMode::Auto {
                assert!(
                    moved.why.starts_with("native xdp is refused: "),
                    "{}",
                    moved.why
                );
                // Native XDP is asked for, refused, and generic XDP is where it was.
                filter
                    .attach_otherwise(&device, ABOVE, AttachMode::Generic)
                    .unwrap();
                let refused = filter.attach_otherwise(&device, ABOVE, AttachMode::Native);
                assert!(refused.unwrap_err().to_string().contains("native: "));
                let (_, now) = filter.interfaces().next().unwrap();
                assert_eq!(now.kind, HookKind::XdpGeneric);
                filter
                    .attach_otherwise(&device, ABOVE, AttachMode::Tc)
                    .unwrap();
            }
            let at_tc = programs_at_tc(attached.ifindex).unwrap();
            assert_eq!(has_xdp(ABOVE), at_tc.is_empty(), "{mode:?}");
        }
        drop(over);
        sender.join().unwrap()
    });
    // What overflows the processor's queue is lost before any hook: the one behind it may be, too.
    let mut arrived = Vec::new();
    tests::wire::until("the last frame", || {
        far.send(&good);
        arrived.extend(behind.waiting());
        !arrived.is_empty()
    });
    assert!(!arrived.contains(&spoofed), "a spoofed frame came through");
    let spoofed = filter.counters(peer).unwrap();
    let spoofed = spoofed.get(Reason::SourceUnannounced);
    assert_eq!(spoofed.passed.packets, 0);
    let dropped = spoofed.dropped.packets;
    assert!(0 < dropped && dropped <= sent, "{dropped} of {sent}");
    filter.detach_all().unwrap();
}

/// The directory of the pins refuses: the program stays where it is, and packets are counted there.
#[test]
fn a_move_that_fails_leaves_the_count_where_the_program_is() {
    if !require_kernel("a_move_that_fails_leaves_the_count_where_the_program_is") {
        return;
    }
    let (pair, pins) = (Pair::new(1500), Pins::new());
    let mut filter = rig::load(&pins.options());
    let (peer, attached) = rig::guard(&mut filter, AttachMode::Native, Mode::Enforce);
    let in_the_way = pins.path().join(format!("next-{NEAR}"));
    fs::create_dir(&in_the_way).unwrap();
    let device = Device::find(NEAR).unwrap();
    let refused = filter
        .attach_otherwise(&device, NEAR, AttachMode::Tc)
        .unwrap_err();
    assert!(
        refused.to_string().starts_with("cannot keep state in "),
        "{refused}"
    );
    let (_, now) = filter.interfaces().next().unwrap();
    assert_eq!(now.kind, HookKind::XdpNative);
    assert_eq!(programs_at_tc(attached.ifindex).unwrap(), [0; 0]);
    assert!(has_xdp(NEAR));
    pair.passes(GOOD);
    let expected = [(Reason::Permitted, false, 1, build(GOOD).len())];
    assert_eq!(counted(&filter, peer, 1), just(&expected));
    fs::remove_dir(in_the_way).unwrap();
    filter.detach_all().unwrap();
}

/// What was never asked about a table is asked once the first packet may go through it.
#[test]
fn a_live_table_is_asked_about_once_more_when_another_kind_of_hook_comes_into_use() {
    let test = "a_live_table_is_asked_about_once_more_when_another_kind_of_hook_comes_into_use";
    if !require_kernel(test) {
        return;
    }
    let _pair = Pair::new(1500);
    let mut filter = rig::load(&rig::options(Engine::Tables));
    let (peer, attached) = rig::guard(&mut filter, AttachMode::Native, Mode::Enforce);
    let set = |text: &str| [text.parse::<Prefix>().unwrap()].into_iter().collect();
    let wanted = Wanted {
        rules: rig::rules(),
        sources: set("45.146.194.0/23"),
        destinations: set("198.51.100.0/24"),
    };
    let mut sync = Sync::default();
    let mut apply = |filter: &mut Filter| {
        let applied = sync.apply(filter, peer, wanted.clone(), Duration::ZERO);
        applied.map(|published| published.step)
    };
    assert_eq!(apply(&mut filter).unwrap(), Step::Sets);
    // A mistake that any question shows.
    hooks::swap_sides(true);
    assert_eq!(apply(&mut filter).unwrap(), Step::Keep, "nothing is asked");
    let device = Device::find(NEAR).unwrap();
    let moved = filter
        .attach_otherwise(&device, NEAR, AttachMode::Tc)
        .unwrap();
    assert_ne!(moved.program, attached.program);
    let (used, counters) = (filter.memory().used, filter.counters(peer).unwrap());
    for _ in 0..2 {
        let refused = apply(&mut filter).unwrap_err();
        assert!(matches!(refused, Error::SelfTest { .. }), "{refused}");
    }
    hooks::swap_sides(false);
    assert_eq!(apply(&mut filter).unwrap(), Step::Keep);
    hooks::swap_sides(true);
    assert_eq!(apply(&mut filter).unwrap(), Step::Keep, "it was asked");
    hooks::swap_sides(false);
    assert_eq!(filter.memory().used, used);
    assert_eq!(filter.counters(peer).unwrap(), counters);
    filter.detach_all().unwrap();
}

/// Somebody's filter is where ours would be meanwhile: the program stays where it judges.
#[test]
fn where_tc_is_taken_xdp_is_not_left_for_another_mode() {
    if !require_kernel("where_tc_is_taken_xdp_is_not_left_for_another_mode") {
        return;
    }
    let (pair, pins) = (Pair::new(1500), Pins::new());
    hooks::without_tcx(true);
    let mut foreign = rig::load(&rig::options(Engine::Tables));
    rig::guard(&mut foreign, AttachMode::Tc, Mode::Observe);
    let mut filter = rig::load(&pins.options());
    let (peer, attached) = rig::guard(&mut filter, AttachMode::Native, Mode::Enforce);
    let device = Device::find(NEAR).unwrap();
    let moved = filter.attach_otherwise(&device, NEAR, AttachMode::Generic);
    hooks::without_tcx(false);
    let refused = moved.unwrap_err();
    assert!(matches!(refused, Error::Busy { .. }), "{refused}");
    let (_, now) = filter.interfaces().next().unwrap();
    assert_eq!(*now, attached);
    assert!(
        ip(&format!("link show dev {NEAR}")).contains("prog/xdp "),
        "native"
    );
    pair.far.send(&build(SPOOFED));
    pair.passes(GOOD);
    let expected = [
        (Reason::SourceUnannounced, true, 1, build(SPOOFED).len()),
        (Reason::Permitted, false, 1, build(GOOD).len()),
    ];
    assert_eq!(counted(&filter, peer, 2), just(&expected));
    filter.detach_all().unwrap();
    foreign.detach_all().unwrap();
}

/// What cannot be read is not taken for what was there.
#[test]
fn a_device_that_is_gone_is_not_said_to_have_the_program_still() {
    if !require_kernel("a_device_that_is_gone_is_not_said_to_have_the_program_still") {
        return;
    }
    let _pair = Pair::new(1500);
    let mut filter = rig::load(&rig::options(Engine::Tables));
    rig::guard(&mut filter, AttachMode::Tc, Mode::Enforce);
    let (device, spec) = (
        Device::find(NEAR).unwrap(),
        InterfaceSpec::of_device(NEAR).unwrap(),
    );
    let again = filter
        .attach_to(&device, &spec, &[], AttachMode::Tc)
        .unwrap();
    assert_eq!(programs_at_tc(again.ifindex).unwrap(), [again.program]);
    ip(&format!("link del {NEAR}"));
    let refused = filter
        .attach_to(&device, &spec, &[], AttachMode::Tc)
        .unwrap_err();
    let said = format!("cannot read which programs are at tc on interface `{NEAR}`: ");
    assert!(refused.to_string().starts_with(&said), "{refused}");
    filter.detach_all().unwrap();
}

/// Without CAP_SYS_ADMIN, as the packaged service is, and though somebody else holds the link.
#[test]
fn a_hook_is_given_up_without_the_right_to_open_links_by_number() {
    if !require_kernel("a_hook_is_given_up_without_the_right_to_open_links_by_number") {
        return;
    }
    let (_pair, pins) = (Pair::new(1500), Pins::new());
    let mut filter = rig::load(&pins.options());
    rig::guard(&mut filter, AttachMode::Native, Mode::Enforce);
    let held = PinnedLink::from_pin(pins.path().join(format!("link-{NEAR}"))).unwrap();
    let without = WithoutAdmin::new();
    let detached = filter.detach(NEAR);
    drop(without);
    detached.unwrap();
    assert!(!has_xdp(NEAR));
    drop(held);
    filter.detach_all().unwrap();
}

thread_local! {
    static LOGGED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Keeps what each thread logs.
struct Kept;

impl log::Log for Kept {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = format!("{}: {}", record.level(), record.args());
            LOGGED.with_borrow_mut(|lines| lines.push(line));
        }
    }

    fn flush(&self) {}
}

/// What the thread has logged from here on.
fn keep_the_log() {
    static KEPT: Kept = Kept;
    static ONCE: Once = Once::new();
    ONCE.call_once(|| log::set_logger(&KEPT).unwrap());
    log::set_max_level(log::LevelFilter::Warn);
    LOGGED.take();
}

/// Neither mode of XDP takes the program any more: it stays at tc, or nowhere where there is none, and the log has the device.
#[test]
fn a_program_that_cannot_go_back_into_xdp_is_named_with_its_device() {
    if !require_kernel("a_program_that_cannot_go_back_into_xdp_is_named_with_its_device") {
        return;
    }
    let why = "cannot attach to interface `near`: native: as the test wants it";
    for has_tc in [true, false] {
        let (pair, pins) = (Pair::new(1500), Pins::new());
        let behind = Wire::behind_tc(NEAR).unwrap();
        let mut filter = rig::load(&pins.options());
        rig::guard(&mut filter, AttachMode::Native, Mode::Enforce);
        let device = Device::find(NEAR).unwrap();
        keep_the_log();
        hooks::refuse_xdp(true);
        hooks::without_tcx(!has_tc);
        hooks::refuse_clsact(!has_tc);
        let moved = filter.attach_otherwise(&device, NEAR, AttachMode::Generic);
        hooks::refuse_xdp(false);
        hooks::without_tcx(false);
        hooks::refuse_clsact(false);
        let refused = moved.unwrap_err().to_string();
        let said = "cannot attach to interface `near`: generic: as the test wants it";
        assert_eq!(refused, said);
        let hook = filter
            .interfaces()
            .next()
            .map(|(_, attached)| attached.clone());
        let expected: &[String] = match has_tc {
            true => &[format!("WARN: `near` is filtered at tc: xdp refuses the program by now: {why}")],
            false => &[
                "WARN: `near` is not filtered while xdp is being changed: interface `near`: this kernel has neither tcx (Linux 6.6) \
                 nor `bpf` filters of the `clsact` qdisc: choose a hook in xdp".to_owned(),
                format!("ERROR: `near` is not filtered any more: xdp refuses the program by now, and this kernel has no tc for it: {why}"),
            ],
        };
        assert_eq!(LOGGED.take(), expected);
        assert!(!has_xdp(NEAR));
        let at_tc = programs_at_tc(device.ifindex).unwrap();
        pair.far.send(&build(SPOOFED));
        pair.far.send(&build(GOOD));
        match hook {
            Some(hook) => {
                assert!(has_tc);
                assert_eq!((hook.kind, at_tc), (HookKind::Tc, vec![hook.program]));
                assert_eq!(hook.why, format!("xdp refuses it by now: {why}"));
            }
            None => {
                assert!(!has_tc);
                assert_eq!(at_tc, [0; 0]);
                assert_eq!(behind.receive(), build(SPOOFED));
            }
        }
        assert_eq!(behind.receive(), build(GOOD));
        // It can be attached again.
        let spec = InterfaceSpec::of_device(NEAR).unwrap();
        let again = filter.attach(&spec, AttachMode::Native).unwrap();
        let kind = if has_tc {
            HookKind::Tc
        } else {
            HookKind::XdpNative
        };
        assert_eq!(again.kind, kind);
        filter.detach_all().unwrap();
    }
}
