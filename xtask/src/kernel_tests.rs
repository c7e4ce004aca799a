//! The kernel tests on other kernels than the running one: Debian's, fetched, booted in an emulator, each with the
//! same test binaries that run here. Needs no privileges once the tools are installed; installs nothing of what it
//! fetches, and leaves everything in `target/kernel-tests`.
mod archive;
mod guest;
mod image;
mod plan;
mod report;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crate::command::{Result, workspace};
use crate::packages;
use archive::{Archive, Kernel};
use image::Image;
use plan::Run;
use report::Report;

/// Whatever kernel is the newest in Debian.
pub const NEWEST: &str = "newest";
/// The oldest supported one, the newest, the long-term ones routers run. What takes longest comes first.
const MATRIX: &[Wanted] = &[
    ("5.10", plan::EVERYTHING),
    (NEWEST, plan::ESSENTIALS),
    ("6.12", plan::ESSENTIALS),
    ("6.1", plan::ESSENTIALS_AND_MODULES),
];

/// A series, and what to run there.
type Wanted<'a> = (&'a str, &'static [Run]);
/// What is needed beside the compiler.
const PACKAGES: &[&str] = &[
    "qemu-system-x86",
    "busybox-static",
    "iproute2",
    "xz-utils",
    "binutils",
    "debian-archive-keyring",
];
/// Guests at a time: more would not be faster on the machines this runs on.
const GUESTS: u64 = 2;

/// `[--kernel SERIES]...`
pub fn run(args: &[&str]) -> Result<()> {
    let mut kernels = Vec::new();
    for pair in args.chunks(2) {
        match pair {
            ["--kernel", kernel] => kernels.push((*kernel, plan::EVERYTHING)),
            _ => {
                return Err(format!(
                    "`{}`: only `--kernel SERIES` can be said",
                    pair.join(" ")
                ));
            }
        }
    }
    let binaries = prepare()?;
    test(
        if kernels.is_empty() { MATRIX } else { &kernels },
        &binaries,
    )
}

/// All of the matrix, beside whatever else runs until the caller asks how it went.
pub fn start() -> Result<JoinHandle<Result<()>>> {
    let binaries = prepare()?;
    Ok(thread::spawn(move || test(MATRIX, &binaries)))
}

/// The tools installed and the test binaries built.
fn prepare() -> Result<Binaries> {
    packages::ensure("the kernel tests", PACKAGES)?;
    binaries()
}

/// Test binaries by name.
type Binaries = BTreeMap<String, PathBuf>;

fn test(kernels: &[Wanted<'_>], binaries: &Binaries) -> Result<()> {
    let start = Instant::now();
    let dir = workspace().join("target/kernel-tests");
    fs::create_dir_all(&dir).map_err(|error| format!("cannot make {}: {error}", dir.display()))?;
    let archive = Archive::open(&dir.join("apt"))?;
    let image = Image::new(binaries, &dir)?;
    let reports = all_guests(kernels, &archive, &image, &dir)?;
    report::print(&reports);
    println!(
        "{} s, two guests at a time; what they said: {}",
        start.elapsed().as_secs(),
        dir.display()
    );
    let failed: Vec<String> = reports
        .iter()
        .filter(|report| !report.problems.is_empty())
        .map(|report| format!("kernel {}: {}", report.asked, report.problems.join("; ")))
        .collect();
    if failed.is_empty() {
        Ok(())
    } else {
        Err(failed.join("\n"))
    }
}

/// Fetches one after another, and boots as many as fit.
fn all_guests(
    kernels: &[Wanted<'_>],
    archive: &Archive,
    image: &Image,
    dir: &Path,
) -> Result<Vec<Report>> {
    let had: Vec<_> = kernels
        .iter()
        .map(|(asked, runs)| (*asked, *runs, archive.kernel(asked)))
        .collect();
    let (todo, done) = (
        Mutex::new(had.into_iter().enumerate()),
        Mutex::new(BTreeMap::new()),
    );
    let next = || todo.lock().ok()?.next();
    thread::scope(|scope| {
        for _ in 0..guests() {
            scope.spawn(|| {
                while let Some((index, (asked, runs, kernel))) = next() {
                    let report = kernel
                        .and_then(|kernel| one_guest(&kernel, runs, image, dir))
                        .unwrap_or_else(|why| Report::failed(asked, why));
                    eprintln!("kernel {asked}: {}", report.summary());
                    if let Ok(mut done) = done.lock() {
                        done.insert(index, report);
                    }
                }
            });
        }
    });
    let done = done
        .into_inner()
        .map_err(|_| "a guest's thread panicked".to_owned())?;
    Ok(done.into_values().collect())
}

fn one_guest(kernel: &Kernel, runs: &[Run], image: &Image, dir: &Path) -> Result<Report> {
    let file = dir.join(format!("{}.cpio", kernel.asked));
    let log = dir.join(format!("{}.log", kernel.asked));
    image.write(kernel, runs, &file)?;
    let (said, ended) = guest::boot(kernel, &file, &log)?;
    let mut report = Report::read(&kernel.asked, runs, &said);
    report.problems.extend(ended.err());
    if !report.problems.is_empty() {
        // The kernel's own log follows; what was bad in it is among the problems, and on the console as it came.
        let tests = said.split("== kernel\n").next().unwrap_or_default();
        eprintln!("---- {}\n{tests}----", log.display());
    }
    Ok(report)
}

/// As many as there are processors and memory for.
fn guests() -> u64 {
    let processors =
        thread::available_parallelism().map_or(1, |processors| processors.get() as u64);
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = available.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    let fit = kib.map_or(1, |kib| kib / 1024 / guest::MEMORY_MIB);
    GUESTS.min(processors).min(fit).max(1)
}

/// The test binaries `cargo test` makes anyway, by name.
fn binaries() -> Result<Binaries> {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(workspace()).stderr(Stdio::inherit());
    cargo.args([
        "test",
        "--workspace",
        "--all-features",
        "--no-run",
        "--quiet",
        "--message-format=json",
    ]);
    for name in plan::BINARIES {
        cargo.args(["--test", name]);
    }
    let built = cargo
        .output()
        .map_err(|error| format!("cannot run cargo: {error}"))?;
    if !built.status.success() {
        return Err("the tests do not build".to_owned());
    }
    let said = String::from_utf8_lossy(&built.stdout).into_owned();
    let mut found = BTreeMap::new();
    for line in said
        .lines()
        .filter(|line| line.contains(r#""kind":["test"]"#))
    {
        let path = line
            .split_once(r#""executable":""#)
            .and_then(|(_, rest)| rest.split('"').next());
        // target/debug/deps/NAME-HASH
        let path = path.map(PathBuf::from);
        let stem = path
            .as_ref()
            .and_then(|path| Some(path.file_name()?.to_str()?.rsplit_once('-')?.0.to_owned()));
        found.extend(stem.zip(path));
    }
    match plan::BINARIES
        .iter()
        .find(|name| !found.contains_key(**name))
    {
        Some(missing) => Err(format!("cargo built no test `{missing}`")),
        None => Ok(found),
    }
}
