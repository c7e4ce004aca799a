//! Whether this process may use the kernel's BPF, said aloud: a skipped test names itself and the reason, and
//! where `FILTER_REQUIRE_KERNEL` is set it fails instead. Never lets a test pass in silence, and never takes a
//! program the kernel refuses for a kernel that is not there.

use std::io::Write;
use std::sync::OnceLock;

use filter_loader::{Engine, Error, Filter, Options};

/// May this test use the kernel? If not, it says so and the test has to return.
///
/// # Panics
/// If not, and `FILTER_REQUIRE_KERNEL` is `1`; if the kernel is there and refuses the filter.
#[must_use]
pub fn require_kernel(test: &str) -> bool {
    let Err(why) = probe() else { return true };
    let required = std::env::var_os("FILTER_REQUIRE_KERNEL").is_some_and(|value| value == "1");
    assert!(
        !required,
        "{test} needs the kernel, and FILTER_REQUIRE_KERNEL=1: {why}"
    );
    // Not `eprintln!`: the test harness would keep that to itself.
    _ = writeln!(std::io::stderr(), "SKIPPED: {test}: {why}");
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
    match Filter::load(&options) {
        Ok(_) => Ok(()),
        Err(error @ Error::Privileges) => Err(error.to_string()),
        Err(error) if error.to_string().contains("not implemented") => Err(error.to_string()), // ENOSYS
        Err(error) => panic!("the kernel is there, but: {error}"),
    }
}
