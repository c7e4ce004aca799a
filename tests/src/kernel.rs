//! Whether this process may use the kernel's BPF, said aloud: a skipped test names itself and the reason, and
//! where `FILTER_REQUIRE_KERNEL` is set it fails instead. Also what this kernel is old enough to lack, decided by its
//! version and by nothing else: what it should have and has not is a failure. Never lets a test pass in silence, and
//! never takes a program the kernel refuses for a kernel that is not there.

use std::io::Write;
use std::sync::OnceLock;

use filter_loader::{Engine, Error, Filter, Options};

/// Major and minor version.
pub type Version = (u32, u32);

/// What came to Linux with some version, and tests would notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// Multi-buffer frames and programs made for them: without, native XDP refuses jumbo frames.
    Frags,
    /// BPF_PROG_TEST_RUN puts as many bytes of a frame into its first buffer as it is asked to.
    SplitRuns,
    /// BPF_PROG_TEST_RUN refuses frames shorter than an Ethernet header.
    ShortRunsRefused,
    /// BPF links at tc: without, a filter of a qdisc is what keeps a program there, which needs two modules more.
    Tcx,
    /// The kernel says how many instructions it verified of a program.
    VerifiedCount,
}

impl Feature {
    const fn since(self) -> Version {
        match self {
            Self::Frags => (5, 18), // c2f2cdbeffda "bpf: introduce BPF_F_XDP_HAS_FRAGS flag"
            Self::SplitRuns => (6, 18), // "bpf: Support specifying linear xdp packet data size for BPF_PROG_TEST_RUN"
            Self::ShortRunsRefused => (5, 18), // be3d72a2896c "bpf: move user_size out of bpf_test_init"
            Self::Tcx => (6, 6), // e420bed02507 "bpf: Add fd-based tcx multi-prog infra with link support"
            Self::VerifiedCount => (5, 16), // aba64c7da983 "bpf: Add verified_insns to bpf_prog_info"
        }
    }

    /// Has this kernel got it?
    #[must_use]
    pub fn is_here(self) -> bool {
        version() >= self.since()
    }
}

/// The running kernel's version.
///
/// # Panics
/// If the kernel does not say.
#[must_use]
pub fn version() -> Version {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("a release");
    let mut parts = release.split(['.', '-']).map(str::parse);
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor),
        _ => panic!("a kernel of no version: {release}"),
    }
}

/// The engines this kernel can run: the tables always. The object with the kernel's own tries, which is not what
/// operators run, has only the program for multi-buffer frames; on an older kernel the test says that they are left out.
#[must_use]
pub fn engines(test: &str) -> &'static [Engine] {
    if Feature::Frags.is_here() {
        return &[Engine::Tables, Engine::Lpm];
    }
    let (major, minor) = version();
    say(&format!(
        "{test}: not with the kernel's tries, on Linux {major}.{minor}: their program needs 5.18"
    ));
    &[Engine::Tables]
}

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
    say(&format!("SKIPPED: {test}: {why}"));
    false
}

/// Not `eprintln!`: the test harness would keep that to itself.
pub fn say(line: &str) {
    _ = writeln!(std::io::stderr(), "{line}");
}

/// Loading the smallest filter there is shows more than looking at user ids and capabilities. Asked once.
fn probe() -> Result<(), String> {
    static ANSWER: OnceLock<Result<(), String>> = OnceLock::new();
    ANSWER.get_or_init(load_and_drop).clone()
}

fn load_and_drop() -> Result<(), String> {
    let options = Options {
        max_peers: 1,
        table_memory_mib: 4,
        engine: Engine::Tables,
        ..Options::default()
    };
    match Filter::load(&options) {
        Ok(_) => Ok(()),
        Err(error @ Error::Privileges) => Err(error.to_string()),
        Err(error) if error.to_string().contains("not implemented") => Err(error.to_string()), // ENOSYS
        Err(error) => panic!("the kernel is there, but: {error}"),
    }
}

/// As long as this lives, the thread that made it has no CAP_SYS_ADMIN in force.
#[derive(Debug)]
pub struct WithoutAdmin {
    before: Capabilities,
    /// The thread that made it must be the one to end it.
    _here: std::marker::PhantomData<*const ()>,
}

/// Effective, permitted and inheritable ones, the lower half and then the upper.
type Capabilities = [[u32; 3]; 2];

impl WithoutAdmin {
    /// From now on.
    ///
    /// # Panics
    /// If the kernel refuses.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it does something")]
    pub fn new() -> Self {
        const CAP_SYS_ADMIN: u32 = 21;
        let mut before = Capabilities::default();
        capabilities(libc::SYS_capget, &mut before);
        let mut less = before;
        less[0][0] &= !(1 << CAP_SYS_ADMIN);
        capabilities(libc::SYS_capset, &mut less);
        Self {
            before,
            _here: std::marker::PhantomData,
        }
    }
}

impl Drop for WithoutAdmin {
    fn drop(&mut self) {
        capabilities(libc::SYS_capset, &mut self.before);
    }
}

/// capget(2) or capset(2) of this thread.
fn capabilities(call: libc::c_long, data: &mut Capabilities) {
    const VERSION_3: u32 = 0x2008_0522;
    let mut header = [VERSION_3, 0];
    // SAFETY: both calls read a header of two words, and read or write the six words behind the second pointer; both live
    // through the call.
    let done = unsafe { libc::syscall(call, header.as_mut_ptr(), data.as_mut_ptr()) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}
