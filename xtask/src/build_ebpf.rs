//! Builds the eBPF objects with whichever toolchain is there, so that the same source gives the same bytes.
//!
//! `core` for the BPF target comes from source. Two toolchains can do that: a rustup nightly with `rust-src`,
//! or Debian's `rustc-web` with `rust-web-src`. The committed objects are made with the latter, and only with
//! it are bytes compared: see PINNED.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::{Result, output, run, workspace};
use crate::packages;

const TARGET: &str = "bpfel-unknown-none";
/// The objects; the binary of each in filter-ebpf is named so with `-ebpf` behind it.
const OBJECTS: &[&str] = &["bcp38", "baseline", "bench"];
/// Debian packages of the pinned toolchain and of what bpf-linker is built with.
const PACKAGES: &[&str] = &[
    "rustc-web",
    "cargo-web",
    "rust-web-src",
    "llvm-22",
    "llvm-22-dev",
    "libpolly-22-dev",
    "libzstd-dev",
    "zlib1g-dev",
];
/// The compiler whose objects are committed: its first line of `--version`.
const PINNED: &str = "rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)";
const LINKER_VERSION: &str = "0.13.0";

/// Builds and replaces the committed objects.
pub fn build() -> Result<()> {
    for (name, bytes) in compile()?.0 {
        let path = committed(&name);
        let changed = fs::read(&path).ok().as_deref() != Some(&bytes);
        fs::write(&path, &bytes)
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        println!(
            "{name}.o: {} bytes, {}",
            bytes.len(),
            if changed { "changed" } else { "unchanged" }
        );
    }
    Ok(())
}

/// Builds and compares with the committed objects.
pub fn check() -> Result<()> {
    let (objects, toolchain) = compile()?;
    if toolchain.version != PINNED {
        println!(
            "built with {}; bytes are only compared with {PINNED}",
            toolchain.version
        );
        return Ok(());
    }
    for (name, bytes) in objects {
        if fs::read(committed(&name)).ok().as_deref() != Some(&bytes) {
            return Err(format!(
                "filter-loader/bpf/{name}.o is not built from this source: run `cargo xtask build-ebpf` and commit it"
            ));
        }
        println!("{name}.o is up to date");
    }
    Ok(())
}

fn committed(name: &str) -> PathBuf {
    workspace()
        .join("filter-loader/bpf")
        .join(format!("{name}.o"))
}

/// Name and stripped bytes.
type Object = (String, Vec<u8>);

struct Toolchain {
    cargo: PathBuf,
    rustc: PathBuf,
    version: String,
    /// Stable compilers build `core` only with `RUSTC_BOOTSTRAP`.
    bootstrap: bool,
}

fn compile() -> Result<(Vec<Object>, Toolchain)> {
    let toolchain = toolchain()?;
    let linker = linker()?;
    let strip = strip()?;
    let target_dir = workspace().join("target/bpf");
    let mut cargo = Command::new(&toolchain.cargo);
    cargo
        .current_dir(workspace())
        .env("RUSTC", &toolchain.rustc)
        .env_remove("RUSTUP_TOOLCHAIN");
    if toolchain.bootstrap {
        cargo.env("RUSTC_BOOTSTRAP", "1");
    }
    cargo
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", linker)
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_RUSTFLAGS", flags()?);
    cargo.args([
        "build",
        "--quiet",
        "--release",
        "--package",
        "filter-ebpf",
        "-Zbuild-std=core",
        "--target",
        TARGET,
        "--target-dir",
    ]);
    run(cargo.arg(&target_dir))?;
    let mut objects = Vec::new();
    for name in OBJECTS {
        let release = target_dir.join(TARGET).join("release");
        let built = release.join(format!("{name}-ebpf"));
        let stripped = target_dir.join(format!("{name}.o"));
        // Debug information goes, BTF stays.
        run(Command::new(strip)
            .arg("-g")
            .arg("-o")
            .arg(&stripped)
            .arg(&built))?;
        let bytes = fs::read(&stripped)
            .map_err(|error| format!("cannot read {}: {error}", stripped.display()))?;
        objects.push(((*name).to_owned(), bytes));
    }
    Ok((objects, toolchain))
}

/// The same flags give the same bytes wherever the workspace and cargo's home lie.
fn flags() -> Result<String> {
    let home = cargo_home()?;
    let workspace = workspace();
    let words = [
        "-Cdebuginfo=2 -Clink-arg=--btf -Cpanic=abort".to_owned(),
        // Headers start at odd offsets; the verifier allows such loads from packets.
        "-Ctarget-feature=+allows-misaligned-mem-access".to_owned(),
        format!("--remap-path-prefix={}=/bcp38", workspace.display()),
        format!("--remap-path-prefix={}=/cargo", home.display()),
    ];
    Ok(words.join(" "))
}

fn cargo_home() -> Result<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home =
        home.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    home.ok_or_else(|| "neither CARGO_HOME nor HOME is set".to_owned())
}

fn toolchain() -> Result<Toolchain> {
    if packages::is_root() {
        packages::ensure("building the eBPF objects", PACKAGES)?;
    }
    let sources = Path::new("/usr/lib/rustlib/src/rust/library/core");
    if let Some(found) = sources
        .exists()
        .then(|| probe("/usr/bin/cargo".into(), "/usr/bin/rustc".into(), true))
        .flatten()
    {
        return Ok(found);
    }
    if let Some(found) = nightly() {
        return Ok(found);
    }
    Err(format!(
        "no toolchain can build `core` for {TARGET}. Either:\n  rustup toolchain install nightly --component rust-src\nor, as root on Debian:\n  apt-get install {}",
        PACKAGES.join(" ")
    ))
}

fn nightly() -> Option<Toolchain> {
    let which =
        |tool: &str| output(Command::new("rustup").args(["which", "--toolchain", "nightly", tool]));
    let rustc = PathBuf::from(which("rustc")?.trim());
    let sysroot = output(Command::new(&rustc).args(["--print", "sysroot"]))?;
    if !Path::new(sysroot.trim())
        .join("lib/rustlib/src/rust/library/core")
        .exists()
    {
        return None;
    }
    probe(which("cargo")?.trim().into(), rustc, false)
}

fn probe(cargo: PathBuf, rustc: PathBuf, bootstrap: bool) -> Option<Toolchain> {
    let version = output(Command::new(&rustc).arg("--version"))?
        .trim()
        .to_owned();
    Some(Toolchain {
        cargo,
        rustc,
        version,
        bootstrap,
    })
}

/// bpf-linker from the checkout's own tools, from PATH, or freshly installed into the checkout.
fn linker() -> Result<PathBuf> {
    let tools = workspace().join("target/tools");
    let local = tools.join("bin/bpf-linker");
    for candidate in [local.clone(), PathBuf::from("bpf-linker")] {
        if output(Command::new(&candidate).arg("--version"))
            .is_some_and(|version| version.contains(LINKER_VERSION))
        {
            return Ok(candidate);
        }
    }
    let mut install = Command::new("cargo");
    // It finds LLVM's libraries by LLVM_PREFIX and its headers by the other.
    install
        .env("LLVM_PREFIX", "/usr/lib/llvm-22")
        .env("LLVM_SYS_221_PREFIX", "/usr/lib/llvm-22");
    install.args([
        "install",
        "--quiet",
        "--locked",
        "bpf-linker",
        "--version",
        LINKER_VERSION,
        "--no-default-features",
    ]);
    install
        .args(["--features", "llvm-22", "--root"])
        .arg(&tools);
    run(&mut install)?;
    Ok(local)
}

fn strip() -> Result<&'static str> {
    ["llvm-strip-22", "llvm-strip"]
        .into_iter()
        .find(|tool| output(Command::new(tool).arg("--version")).is_some())
        .ok_or_else(|| "llvm-strip is missing: apt-get install llvm-22".to_owned())
}
