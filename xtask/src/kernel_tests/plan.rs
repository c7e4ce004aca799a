//! What is run on which kernel. Emulation is slow, and most of a test's time there is the verifier going through the
//! program once more: so the matrix's oldest kernel, which alone has the other program, runs everything, the others the
//! essentials; a kernel that the command names runs everything. Only chooses tests: what an older kernel lacks is the business of `tests/src/kernel.rs`.

/// One test binary in a guest.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Its name, which is that of its file in `tests/tests`.
    pub binary: &'static str,
    /// Parts of names of the tests to run; none for all.
    only: &'static [&'static str],
    /// Parts of names of the tests not to run.
    but: &'static [&'static str],
    /// How many tests that is at least: a name that fits nothing would pass.
    pub at_least: u32,
}

impl Run {
    /// All of its tests.
    pub const fn all(binary: &'static str, at_least: u32) -> Self {
        Self::only(binary, &[], at_least)
    }

    const fn only(binary: &'static str, only: &'static [&'static str], at_least: u32) -> Self {
        Self {
            binary,
            only,
            but: &[],
            at_least,
        }
    }

    /// Does it test devices that are modules of their own?
    pub fn has_devices(&self) -> bool {
        self.only.contains(&DEVICES)
    }

    /// For the test harness.
    pub fn arguments(&self) -> String {
        let mut words = vec!["--nocapture", "--test-threads=1"];
        words.extend(self.but.iter().flat_map(|name| ["--skip", name]));
        words.extend(self.only);
        words.join(" ")
    }
}

/// The tests of devices that are modules.
const DEVICES: &str = "modules::";

/// Every binary that is run anywhere.
pub const BINARIES: &[&str] = &[
    "objects", "verifier", "verdict", "demo", "loader", "hooks", "fire",
];

const OBJECTS: Run = Run::all("objects", 4);
/// Which helpers are inlined differs from kernel to kernel, so what is called is checked on the running one only.
const VERIFIER: Run = Run::only("verifier", &["programs_stay_within"], 1);
/// The case file on the program. Its other tests need no kernel, or run the kernel's tries as well.
const VERDICT: Run = Run::only(
    "verdict",
    &["the_compiled_tables_in_the_kernel", "the_kernel_runs"],
    2,
);
const DEMO: Run = Run::all("demo", 1);

/// What is otherwise before 6.6, where a filter of `clsact` keeps the program at tc. Not what puts programs into the kernel time
/// and again, and no case file: both are the same on every kernel.
const HOOKS: Run = Run::only(
    "hooks",
    &[
        "clsact::",
        "lease::at_tc_the_program",
        "daemon::while_reloads",
        "moves::a_move",
        "tunnels::a_tun",
        "wire::at_tc_spoofed",
        "wire::a_pinned",
        "wire::tags_beside",
    ],
    15,
);

pub const EVERYTHING: &[Run] = &[
    OBJECTS,
    VERIFIER,
    VERDICT,
    DEMO,
    Run {
        binary: "loader",
        only: &[],
        // The first holds a publish to 50 ms, which is for real processors; the others publish large or a thousand tables,
        // the same ones on every kernel.
        but: &[
            "tables_of_every_shape",
            "every_damage",
            "pieces::every_change",
            "pieces::the_next_process",
        ],
        at_least: 33,
    },
    HOOKS,
    // Its other tests count how much was done in a few seconds.
    Run::only(
        "fire",
        &["a_torn_publish", "lines_reused", "no_verdict_is_of"],
        3,
    ),
];

const FEW_OF_LOADER: Run = Run::only(
    "loader",
    &[
        "attach::",
        "lease::the_program",
        "pins::the_filter_goes_on",
        "pins::two_writers",
        "refusals::a_tap",
        "samples::a_sample",
        "selftest::a_planted_bug",
    ],
    13,
);

pub const ESSENTIALS: &[Run] = &[
    OBJECTS,
    VERIFIER,
    VERDICT,
    DEMO,
    FEW_OF_LOADER,
    Run::only(
        "hooks",
        &[
            "clsact::a_filter_that_is_attached",
            "daemon::while_reloads",
            "tunnels::a_tun",
            "wire::a_pinned",
        ],
        4,
    ),
];

/// The same, and devices that are modules: one kernel is enough for them.
pub const ESSENTIALS_AND_MODULES: &[Run] = &[
    OBJECTS,
    VERIFIER,
    VERDICT,
    DEMO,
    FEW_OF_LOADER,
    Run::only(
        "hooks",
        &[
            "clsact::a_filter_that_is_attached",
            "daemon::while_reloads",
            DEVICES,
            "tunnels::a_tun",
            "wire::a_pinned",
        ],
        9,
    ),
];
