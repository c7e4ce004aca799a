//! `bcp38 demo`, as a newcomer runs it: the daemon, a feed, a LAN, real frames, the verdict of each. What must be
//! what is the demo's own knowledge, and it ends with an error if it is not; here is that it runs and leaves nothing.

use filter_lifecycle::spec::HookChoice;
use tests::kernel::{Feature, require_kernel};

#[test]
fn the_demo_shows_what_it_promises_and_leaves_nothing() {
    if !require_kernel("the_demo_shows_what_it_promises_and_leaves_nothing") {
        return;
    }
    demo(HookChoice::XdpNative);
    if Feature::Tcx.is_here() {
        demo(HookChoice::Tc);
    }
}

fn demo(hook: HookChoice) {
    let mut screen = Vec::new();
    let ran = filter_daemon::demo::run(&mut screen, hook);
    let screen = String::from_utf8(screen).expect("a text");
    assert!(ran.is_ok(), "{ran:?}\n{screen}");
    let at = format!("the filter is on ixp0 at {}: as configured", hook.name());
    assert!(screen.contains(&at), "{screen}");
    // Fourteen packets observed; then one good, one spoofed, and the good one once more, withdrawn.
    let fates = ["arrives", "DROPPED"].map(|fate| screen.matches(fate).count());
    assert_eq!(fates, [15, 2], "{screen}");
    let id = std::process::id();
    for suffix in ["sock", "json", "lock", "records"] {
        let left = format!("/run/bcp38-demo-{id}.{suffix}");
        assert!(!std::path::Path::new(&left).exists(), "{left}");
    }
    let mine = format!("b38-{}-", std::process::id());
    let namespaces = std::fs::read_dir("/run/netns")
        .expect("namespaces")
        .flatten();
    let left: Vec<_> = namespaces
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&mine))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
