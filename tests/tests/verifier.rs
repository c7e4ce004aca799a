//! What the kernel's verifier has to go through for each program, and how large it gets: within a budget, so that
//! growth is noticed here and not on an operator's older kernel. Never attaches anything.

use aya::programs::{ProgramError, Xdp};
use aya::{Ebpf, EbpfLoader, VerifierLogLevel};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tests::kernel::{Feature, require_kernel};

/// Object, program, then at most: instructions verified, bytes translated, bytes of native code. The figures of
/// `docs/performance.md` and a quarter more: other kernels count differently. The verifier's own limit is 1,000,000.
const BUDGETS: &[(&str, &str, [u32; 3])] = &[
    ("bcp38", "bcp38", [165_000, 19_500, 10_800]),
    ("bcp38", "bcp38_linear", [165_000, 19_500, 10_800]),
    ("baseline", "bcp38", [170_000, 15_000, 8_700]),
];

const COSTS: [&str; 3] = ["instructions verified", "bytes translated", "bytes native"];
/// The one program for kernels without multi-buffer frames.
const LINEAR: &str = "bcp38_linear";

fn load(name: &str) -> Ebpf {
    let path = format!(
        "{}/../filter-loader/bpf/{name}.o",
        env!("CARGO_MANIFEST_DIR")
    );
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    EbpfLoader::new()
        .verifier_log_level(VerifierLogLevel::STATS)
        .load(&bytes)
        .expect("the object loads")
}

#[test]
fn programs_stay_within_their_budget() {
    if !require_kernel("programs_stay_within_their_budget") {
        return;
    }
    for &(object, name, budget) in BUDGETS {
        let mut ebpf = load(object);
        let program = ebpf.program_mut(name).expect("it is in the object");
        let program: &mut Xdp = program.try_into().expect("an xdp program");
        if name != LINEAR && !Feature::Frags.is_here() {
            program.load().expect_err("no such programs before 5.18");
            println!("{object}.o {name}: not before 5.18, refused");
            continue;
        }
        let found = measure(program);
        let costs = COSTS.into_iter().zip(found).zip(budget);
        // `cargo xtask kernel-tests` reads this line.
        let said = costs
            .clone()
            .map(|((what, found), limit)| format!("{found} of {limit} {what}"));
        println!(
            "cost: {object}.o {name}: {}",
            said.collect::<Vec<_>>().join(", ")
        );
        for ((what, found), limit) in costs {
            assert!(
                found <= limit,
                "{object}.o {name}: {what}: {found}, budget {limit}"
            );
        }
    }
}

/// What [`COSTS`] names, of a program that is loaded here.
fn measure(program: &mut Xdp) -> [u32; 3] {
    let logged = (!Feature::VerifiedCount.is_here()).then(|| logged_count(program));
    program.load().expect("the kernel takes it");
    let info = program.info().expect("the kernel knows it");
    let verified = logged
        .or(info.verified_instruction_count())
        .expect("a count");
    // Where the JIT is off, there is no native code.
    [
        verified,
        info.size_translated().unwrap_or(0),
        info.size_jitted(),
    ]
}

/// Before 5.16 only the verifier's log has the count, and the log is asked for only when loading fails. So it is made
/// to fail once the verifier is through, for want of a descriptor.
fn logged_count(program: &mut Xdp) -> u32 {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, 0, hard).expect("no more descriptors");
    let refused = program.load();
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).expect("descriptors again");
    let Err(ProgramError::LoadError { verifier_log, .. }) = refused else {
        panic!("loaded without a descriptor: {refused:?}");
    };
    let log = verifier_log.to_string();
    let words: Vec<&str> = log.split_whitespace().collect();
    let count = words
        .windows(3)
        .find(|words| words[0] == "processed" && words[2] == "insns");
    count
        .and_then(|words| words[1].parse().ok())
        .unwrap_or_else(|| panic!("no count in {log:?}"))
}
