//! `cargo xtask`: what the project does to itself. Standard library only, so that it builds in a second.

mod bench;
mod build_ebpf;
mod command;
mod debian;
mod deny;
mod distribution;
mod kernel_tests;
mod latency;
mod newer_daemons;
mod packages;
mod pictures;
mod stages;
mod test;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask COMMAND

  build-ebpf           build the eBPF objects and put them where filter-loader includes them
  build-ebpf --check   build them and fail if the committed ones differ
  bench [--quick] [--json FILE] [--only PART]
                       the bars of docs/performance.md, each beside its baseline, as one table (root)
  kernel-tests [--kernel SERIES]...
                       the kernel tests on other kernels, Debian's, emulated: 5.10, 6.1, 6.12 and the newest, or those
                       named (`--kernel 6.18`, `--kernel newest`)
  latency              from an UPDATE at the peer to the verdict in the kernel, per feed and daemon, as one table (root)
  newer-daemons        unpack the BGP daemons of the next Debian below target/, for the labs to run beside the system's
  packages             the Debian package and the RPM, installed, run, upgraded under traffic and removed in a throw-away
                       Debian machine (root)
  pictures             the README's pictures of `top` and a report, drawn anew (needs chromium)
  check                format, lints, unit tests: no root, under two minutes once dependencies are built
  deny                 bans, licences and sources of all dependencies, by deny.toml
  test                 everything CI runs: format, lints, docs, dependencies, all tests (kernel and daemons as root)";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args.as_slice() {
        ["build-ebpf"] => build_ebpf::build(),
        ["build-ebpf", "--check"] => build_ebpf::check(),
        ["bench", ..] => bench::run_all(&args[1..]),
        ["kernel-tests", ..] => kernel_tests::run(&args[1..]),
        ["latency"] => latency::measure(),
        ["newer-daemons"] => newer_daemons::prepare(),
        ["packages"] => distribution::build(),
        ["pictures"] => pictures::draw(),
        ["check"] => test::check(),
        ["deny"] => deny::check(),
        ["test"] => test::all(),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
