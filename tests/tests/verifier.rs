//! What the kernel's verifier has to go through for each program, and how large it gets: within a budget, so that
//! growth is noticed here and not on an operator's older kernel. Never attaches anything.

use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader};
use tests::kernel::require_kernel;

/// Object, program, then at most: instructions verified, bytes translated, bytes of native code. The figures of
/// `docs/performance.md` and a quarter more: other kernels count differently. The verifier's own limit is 1,000,000.
const BUDGETS: &[(&str, &str, [u32; 3])] = &[
    ("bcp38", "bcp38", [165_000, 19_500, 10_800]),
    ("bcp38", "bcp38_linear", [165_000, 19_500, 10_800]),
    ("baseline", "bcp38", [170_000, 15_000, 8_700]),
];

fn load(name: &str) -> Ebpf {
    let path = format!(
        "{}/../filter-loader/bpf/{name}.o",
        env!("CARGO_MANIFEST_DIR")
    );
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    EbpfLoader::new().load(&bytes).expect("the object loads")
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
        program.load().expect("the kernel takes it");
        let info = program.info().expect("the kernel knows it");
        // Kernel 5.16; before it, and where the JIT is off, there is nothing to compare.
        let found = [
            info.verified_instruction_count().unwrap_or(0),
            info.size_translated().unwrap_or(0),
            info.size_jitted(),
        ];
        println!(
            "{object}.o {name}: {} instructions verified, {} bytes translated, {} native",
            found[0], found[1], found[2]
        );
        for ((what, found), limit) in ["instructions verified", "bytes translated", "bytes native"]
            .into_iter()
            .zip(found)
            .zip(budget)
        {
            assert!(
                found <= limit,
                "{object}.o {name}: {what}: {found}, budget {limit}"
            );
        }
    }
}
