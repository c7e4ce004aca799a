//! From a version with another data-plane schema to this one, at tc: by a link, and by a filter of `clsact` where there are none.
use filter_core::Mode;
use filter_loader::{AttachMode, Error, HookKind, InterfaceSpec, detach_pinned};
use tests::lab::{Wire, become_schema, require, without_routes};
use tests::require_kernel;
use tests::rig::{self, NEAR, Pair, Pins};

use super::clsact::{WithoutTcx, at_tc, drops};

use super::stage::{GOOD, PACKETS, SPOOFED, Stage, config, interface, lan, until_enforced};

/// Of a version to come.
const OTHER: u32 = 77;

#[test]
fn another_versions_program_at_tc_filters_until_this_one_knows_as_much() {
    if !require("hooks upgrade", &[]) {
        return;
    }
    let mut stage = Stage::new();
    let config = config(&lan("tc"), "");
    let daemon = stage.site.start(&config);
    until_enforced(&daemon);
    daemon.stop();
    stage.site.becomes(OTHER);
    let daemon = stage.site.start(&without_routes(&config));
    daemon.until_event("former-kept", |_| true);
    assert_eq!([GOOD, SPOOFED].map(|of| stage.arrive(of)), [PACKETS, 0]);
    assert!(stage.site.former_pins().exists());
    daemon.stop();
    // Put back, and aside again.
    let daemon = stage.site.start(&config);
    daemon.until_event("former-replaced", |_| true);
    until_enforced(&daemon);
    let attached = interface(&daemon);
    assert_eq!(attached["hook"], "tc", "{attached:#}");
    assert_eq!(attached["attached"], true, "{attached:#}");
    stage.only_good_ones_arrive(&daemon, ("eth0", "ixp0"));
    assert!(!stage.site.former_pins().exists());
    daemon.stop();
}

/// The same of a filter of `clsact`, which no descriptor keeps.
#[test]
fn another_versions_filter_of_clsact_is_replaced_in_its_place() {
    if !require_kernel("another_versions_filter_of_clsact_is_replaced_in_its_place") {
        return;
    }
    let _without = WithoutTcx::new();
    let (pair, pins) = (Pair::new(1500), Pins::new());
    let behind = Wire::behind_tc(NEAR).unwrap();
    let mut filter = rig::load(&pins.options());
    let (_, before) = rig::guard(&mut filter, AttachMode::Tc, Mode::Enforce);
    drop(filter);
    become_schema(pins.path(), OTHER);

    let mut next = rig::load(&pins.options());
    let former = next.former(NEAR, before.ifindex).unwrap();
    assert_eq!((former.program, former.schema), (before.program, OTHER));
    drops(&pair, &behind);
    assert_eq!(
        next.former(NEAR, before.ifindex + 1),
        None,
        "it is not there"
    );
    // Not by another instance.
    let other = Pins::new();
    let mut stranger = rig::load(&other.options());
    let spec = InterfaceSpec::of_device(NEAR).unwrap();
    let refused = stranger.attach(&spec, AttachMode::Tc).unwrap_err();
    assert!(matches!(refused, Error::Busy { .. }), "{refused}");
    drop(stranger);

    let (_, attached) = rig::guard(&mut next, AttachMode::Tc, Mode::Enforce);
    assert_eq!((attached.kind, attached.adopted), (HookKind::Tc, true));
    assert_eq!(at_tc(&attached), [attached.program]);
    assert_ne!(attached.program, before.program);
    assert!(!next.has_former());
    drops(&pair, &behind);
    drop(next);
    // Without a daemon, what is pinned of either goes.
    become_schema(pins.path(), OTHER);
    drop(rig::load(&pins.options()));
    assert!(detach_pinned(pins.path(), NEAR).unwrap());
    assert_eq!(at_tc(&attached), [0; 0]);
    assert!(!pins.path().exists());
}
