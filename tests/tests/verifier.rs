//! What the kernel's verifier has to go through for each program, how large it gets, and what it still calls when it
//! is translated: within a budget, so that growth is noticed here and not on an operator's older kernel or at line
//! rate. Never attaches anything.

use std::collections::BTreeMap;
use std::process::Command;

use aya::programs::{Program, ProgramError, Xdp};
use aya::{Ebpf, EbpfLoader, VerifierLogLevel};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tests::kernel::{Feature, require_kernel, version};

/// Object, program, then at most: instructions verified, bytes translated, bytes of native code. About a quarter more than the
/// largest of `docs/performance.md`, which has these budgets too: other kernels count differently. The verifier's own limit is
/// 1,000,000.
/// Linux before 6.6 may verify [`EARLIER`] instructions of each.
const BUDGETS: &[(&str, &str, [u32; 3])] = &[
    ("bcp38", "bcp38", [190_000, 39_000, 23_000]),
    ("bcp38", SPLIT, [190_000, 41_000, 24_000]),
    ("bcp38", "bcp38_linear", [190_000, 39_000, 23_000]),
    ("bcp38", TC, [190_000, 50_000, 29_000]),
    ("bcp38", BARE, [190_000, 40_000, 25_000]),
    ("baseline", "bcp38", [190_000, 26_500, 16_500]),
    ("baseline", SPLIT, [190_000, 31_000, 19_000]),
    ("baseline", TC, [190_000, 40_000, 25_000]),
];

/// Linux 6.1 merges fewer of the states that the verifier comes by: 193,368 instructions of the product's program, where
/// 6.18 processes 130,700.
const EARLIER: u32 = 300_000;

const COSTS: [&str; 3] = ["instructions verified", "bytes translated", "bytes native"];
/// The one program for kernels without multi-buffer frames.
const LINEAR: &str = "bcp38_linear";
/// The one for frames whose headers lie in several buffers.
const SPLIT: &str = "bcp38_split";
/// Those at tc, which every kernel takes.
const TC: &str = "bcp38_tc";
const BARE: &str = "bcp38_bare";

fn bytes(name: &str) -> Vec<u8> {
    let path = format!(
        "{}/../filter-loader/bpf/{name}.o",
        env!("CARGO_MANIFEST_DIR")
    );
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn loader() -> EbpfLoader<'static> {
    let mut loader = EbpfLoader::new();
    loader.verifier_log_level(VerifierLogLevel::STATS);
    loader
}

fn load(name: &str) -> Ebpf {
    loader().load(&bytes(name)).expect("the object loads")
}

#[test]
fn programs_stay_within_their_budget() {
    if !require_kernel("programs_stay_within_their_budget") {
        return;
    }
    for &(object, name, mut budget) in BUDGETS {
        if version() < (6, 6) {
            budget[0] = EARLIER;
        }
        let mut ebpf = load(object);
        let program = ebpf.program_mut(name).expect("it is in the object");
        if ![LINEAR, TC, BARE].contains(&name) && !Feature::Frags.is_here() {
            load_into_kernel(program).expect_err("no such programs before 5.18");
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

#[test]
fn the_documented_budgets_are_these() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/performance.md");
    let text = std::fs::read_to_string(path).expect("the document");
    let number = |cell: &str| cell.trim().replace(',', "").parse::<u32>().ok();
    let rows: Vec<(String, Vec<u32>)> = text
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| ")?.split('|');
            let name = cells.next()?.trim();
            name.contains(".o ")
                .then(|| (name.to_owned(), cells.filter_map(number).collect()))
        })
        .collect();
    let documented: Vec<(String, Option<u32>)> = rows
        .iter()
        .map(|(name, figures)| (name.clone(), figures.last().copied()))
        .collect();
    let expected: Vec<(String, Option<u32>)> = BUDGETS
        .iter()
        .map(|&(object, name, [verified, ..])| (format!("{object}.o {name}"), Some(verified)))
        .collect();
    assert_eq!(documented, expected);
    let earlier = format!("{},000 for each", EARLIER / 1000);
    assert!(text.contains(&earlier), "{earlier}");
    for (name, figures) in rows {
        assert!(figures.iter().all(|&figure| figure <= EARLIER), "{name}");
    }
}

/// What [`COSTS`] names, of a program that is loaded here.
fn measure(program: &mut Program) -> [u32; 3] {
    let logged = (!Feature::VerifiedCount.is_here()).then(|| logged_count(program));
    load_into_kernel(program).expect("the kernel takes it");
    let info = match program {
        Program::SchedClassifier(program) => program.info(),
        Program::Xdp(program) => program.info(),
        other => panic!("for no hook of ours: {other:?}"),
    };
    let info = info.expect("the kernel knows it");
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

fn load_into_kernel(program: &mut Program) -> Result<(), ProgramError> {
    match program {
        Program::SchedClassifier(program) => program.load(),
        Program::Xdp(program) => program.load(),
        other => panic!("for no hook of ours: {other:?}"),
    }
}

/// Before 5.16 only the verifier's log has the count, and the log is asked for only when loading fails. So it is made
/// to fail once the verifier is through, for want of a descriptor.
fn logged_count(program: &mut Program) -> u32 {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, 0, hard).expect("no more descriptors");
    let refused = load_into_kernel(program);
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

/// The jump to another program, by the kernel's name.
const JUMP: &str = "bpf_tail_call";

/// What each function of the product's program may call, by the kernel's names. Lookups in plain arrays are translated
/// to loads and are no calls; those in per-CPU arrays since 6.10, where the compiler knows the CPU's own memory.
const CALLS: &[(&str, &[&str])] = &[
    // The hashes: of far indices, of tags, and of peers twice (the source MAC, and any); the length of a frame that may
    // lie in several buffers; the jump to the program for frames whose headers do. The clock of the lease is a load.
    (
        "bcp38",
        &[
            "__htab_map_lookup_elem",
            "__htab_map_lookup_elem",
            "__htab_map_lookup_elem",
            "__htab_map_lookup_elem",
            JUMP,
            "bpf_xdp_get_buff_len",
        ],
    ),
    ("bcp38_membership", &[]),
    ("bcp38_tags", &[]),
    // Frames without a record only.
    (
        "bcp38_unrecorded",
        &[
            "__htab_map_lookup_elem",
            "__htab_map_lookup_elem",
            "htab_map_update_elem",
        ],
    ),
    // Frames of the link itself that have a peer only: a sender, and that of any MAC on a `port`.
    (
        "bcp38_sender",
        &["__htab_map_lookup_elem", "__htab_map_lookup_elem"],
    ),
    // Violations only.
    ("bcp38_address", &[]),
    ("bcp38_evidence", &[]),
    ("bcp38_holds", &[]),
    (
        "bcp38_sample",
        &[
            "bpf_ktime_get_ns",
            "bpf_ringbuf_reserve",
            "bpf_ringbuf_submit",
        ],
    ),
];

/// Calls of each function in a dump of translated instructions, sorted; calls of one another are not among them.
fn calls(dump: &str) -> BTreeMap<String, Vec<String>> {
    let mut calls: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut function = String::new();
    for line in dump.lines() {
        if let Some((head, _)) = line.strip_suffix(':').and_then(|head| head.split_once('(')) {
            function = head.rsplit(' ').next().unwrap_or_default().to_owned();
            calls.entry(function.clone()).or_default();
        } else if let Some((_, callee)) = line.split_once(") call ") {
            let name = callee.split('#').next().unwrap_or_default();
            if !name.starts_with("pc") && !name.contains("percpu_array") {
                calls
                    .entry(function.clone())
                    .or_default()
                    .push(name.to_owned());
            }
        }
    }
    calls.values_mut().for_each(|names| names.sort());
    calls
}

#[test]
fn nothing_is_called_on_the_hot_path_but_what_is_allowed() {
    if !require_kernel("nothing_is_called_on_the_hot_path_but_what_is_allowed") {
        return;
    }
    let dump = dump(&mut load("bcp38"));
    let expected = CALLS.iter().map(|&(function, names)| {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        (function.to_owned(), names)
    });
    assert_eq!(calls(&dump), expected.collect(), "{dump}");
}

/// The kernel's interpreter, and its compilers for some processors, allow no such jump in a program with functions.
#[test]
fn a_program_that_hands_no_frame_over_has_no_jump() {
    if !require_kernel("a_program_that_hands_no_frame_over_has_no_jump")
        || !Feature::Frags.is_here()
    {
        return;
    }
    let mut ebpf = loader()
        .override_global("JUDGES_SPLIT", &0u64, true)
        .load(&bytes("bcp38"))
        .expect("the object loads");
    let called = calls(&dump(&mut ebpf));
    let called = &called["bcp38"];
    assert!(
        !called.is_empty() && !called.iter().any(|name| name == JUMP),
        "{called:?}"
    );
}

/// The translated instructions of the product's program.
fn dump(ebpf: &mut Ebpf) -> String {
    let program = ebpf.program_mut("bcp38").expect("it is in the object");
    let program: &mut Xdp = program.try_into().expect("an xdp program");
    program.load().expect("the kernel takes it");
    let id = program
        .info()
        .expect("the kernel knows it")
        .id()
        .to_string();
    let output = Command::new("bpftool")
        .args(["prog", "dump", "xlated", "id", &id])
        .output()
        .expect("bpftool (Debian package `bpftool`) runs");
    String::from_utf8(output.stdout).expect("text")
}
