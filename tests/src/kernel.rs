//! Whether this process may use the kernel's BPF, said aloud: a skipped test names itself and the reason, and
//! where `FILTER_REQUIRE_KERNEL` is set it fails instead. Never lets a test pass in silence.

use std::sync::OnceLock;

use filter_loader::{Engine, Filter, Options};

/// May this test use the kernel? If not, it says so and the test has to return.
///
/// # Panics
/// If not, and `FILTER_REQUIRE_KERNEL` is `1`.
#[must_use]
pub fn require_kernel(test: &str) -> bool {
    let Err(why) = probe() else { return true };
    let required = std::env::var_os("FILTER_REQUIRE_KERNEL").is_some_and(|value| value == "1");
    assert!(
        !required,
        "{test} needs the kernel, and FILTER_REQUIRE_KERNEL=1: {why}"
    );
    eprintln!("SKIPPED: {test}: {why}");
    false
}

/// Loading the smallest filter there is tells more than looking at user ids and capabilities. Asked once.
fn probe() -> Result<(), String> {
    static ANSWER: OnceLock<Result<(), String>> = OnceLock::new();
    ANSWER.get_or_init(load_and_drop).clone()
}

fn load_and_drop() -> Result<(), String> {
    let options = Options {
        max_peers: 1,
        arena_mib: 4,
        engine: Engine::Lpm,
        ..Options::default()
    };
    Filter::load(&options)
        .map(drop)
        .map_err(|error| error.to_string())
}
