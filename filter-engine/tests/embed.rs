//! The example is a program that works: its peer is enforced, its spoofed packet would be dropped, nothing is left.
#[expect(
    dead_code,
    reason = "the example's entry point looks for root first, the test requires it"
)]
#[path = "../examples/embed.rs"]
mod embed;

#[test]
fn the_example_enforces_and_leaves_nothing() {
    if !nix::unistd::geteuid().is_root() {
        assert!(
            std::env::var_os("FILTER_REQUIRE_KERNEL").is_none(),
            "not root, and FILTER_REQUIRE_KERNEL is set"
        );
        println!("skipped: not root");
        return;
    }
    // The namespace ends with the thread that made it, and its devices with it.
    let thread = std::thread::spawn(|| embed::enforce().map_err(|error| error.to_string()));
    assert_eq!(thread.join().expect("the example does not panic"), Ok(()));
}
