//! `cargo xtask packages`: the Debian package and the RPM, and a throw-away Debian machine that installs, runs, upgrades and
//! removes them. Not a part of `cargo xtask test`: its tools compile for minutes and the machine is downloaded. Everything
//! lies below target/packages; nothing is installed on this machine but the Debian packages that [`NEEDED`] names.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::command::{Result, output, run, workspace};
use crate::{debian, packages};

/// The tools that make the packages, and their versions.
const TOOLS: [(&str, &str); 2] = [("cargo-deb", "3.8.0"), ("cargo-generate-rpm", "0.21.1")];
/// Debian packages that the throw-away machine is made and booted with.
const NEEDED: &[&str] = &["debootstrap", "systemd-container", "rpm"];
/// What is in the machine beside Debian's smallest system.
const INSIDE: &str = "systemd,systemd-sysv,dbus,iproute2,iputils-ping,rpm";
const SUITE: &str = "bookworm";
/// The test itself takes about two minutes.
const MACHINE_ENDS_WITHIN: Duration = Duration::from_secs(600);

/// Builds the packages, and tries them if this is root.
pub fn build() -> Result<()> {
    let directory = workspace().join("target/packages");
    make(&directory)?;
    manual(&directory.join("manual"))?;
    cargo(&["build", "--release", "--package", "filter-daemon"])?;
    let [deb, rpm] = TOOLS.map(|(name, version)| tool(name, version));
    let (deb, rpm) = (deb?, rpm?);
    let first = directory.join("bcp38.deb");
    debian_package(&deb, &first, None)?;
    let rpm_file = directory.join("bcp38.rpm");
    // It takes the package's folder for a path in the workspace.
    run(Command::new(rpm)
        .current_dir(workspace())
        .args(["generate-rpm", "--package", "filter-daemon", "--output"])
        .arg(&rpm_file))?;
    println!("{}\n{}", first.display(), rpm_file.display());
    if !packages::is_root() {
        eprintln!("SKIPPED: installing them in a throw-away machine: needs root");
        return Ok(());
    }
    packages::ensure("the throw-away machine", NEEDED)?;
    let second = directory.join("bcp38-newer.deb");
    debian_package(&deb, &second, Some(&format!("{}+newer-1", version()?)))?;
    try_them(
        &directory,
        &[
            (&first, "first.deb"),
            (&second, "second.deb"),
            (&rpm_file, "bcp38.rpm"),
        ],
    )
}

/// Man pages and completions, as the packages install them.
fn manual(directory: &Path) -> Result<()> {
    remove(directory)?;
    let mut write = Command::new("cargo");
    write.current_dir(workspace()).args([
        "run",
        "--release",
        "--quiet",
        "--package",
        "filter-daemon",
        "--example",
        "manual",
        "--",
    ]);
    run(write.arg(directory))
}

fn debian_package(tool: &Path, file: &Path, version: Option<&str>) -> Result<()> {
    let mut deb = Command::new(tool);
    deb.current_dir(workspace())
        .args(["--no-build", "--package", "filter-daemon", "--output"])
        .arg(file);
    if let Some(version) = version {
        deb.args(["--deb-version", version]);
    }
    run(&mut deb)
}

/// The workspace's version.
fn version() -> Result<String> {
    let id = output(Command::new("cargo").current_dir(workspace()).args([
        "pkgid",
        "--package",
        "filter-daemon",
    ]))
    .ok_or("cargo pkgid failed")?;
    let version = id.trim().rsplit(['#', '@']).next().unwrap_or_default();
    Ok(version.to_owned())
}

/// From the checkout's own tools, from PATH, or freshly installed into the checkout.
fn tool(name: &str, version: &str) -> Result<PathBuf> {
    let tools = workspace().join("target/tools");
    let local = tools.join("bin").join(name);
    for candidate in [local.clone(), PathBuf::from(name)] {
        if output(Command::new(&candidate).arg("--version")).is_some_and(|it| it.contains(version))
        {
            return Ok(candidate);
        }
    }
    eprintln!(
        "{name} {version} is not here: installing it below target/, which takes minutes once"
    );
    let mut install = Command::new("cargo");
    install.args([
        "install",
        "--quiet",
        "--locked",
        name,
        "--version",
        version,
        "--root",
    ]);
    run(install.arg(&tools))?;
    Ok(local)
}

/// Boots a Debian that has these files in /root and runs the test there.
fn try_them(directory: &Path, files: &[(&Path, &str)]) -> Result<()> {
    let base = base(directory)?;
    let root = directory.join("root");
    remove(&root)?;
    run(Command::new("cp").arg("-a").arg(&base).arg(&root))?;
    for &(file, name) in files {
        copy(file, &root.join("root").join(name))?;
    }
    let test = workspace().join("filter-daemon/package/test");
    copy(&test.join("install.sh"), &root.join("root/install.sh"))?;
    let unit = "install-test.service";
    copy(
        &test.join(unit),
        &root.join("etc/systemd/system").join(unit),
    )?;
    run(Command::new("systemctl")
        .arg("--quiet")
        .arg("--root")
        .arg(&root)
        .args(["enable", unit]))?;
    let ended = boot(&root, &directory.join("bpffs"), &directory.join("console"));
    let log = fs::read_to_string(root.join("root/log")).unwrap_or_default();
    println!("{log}");
    let passed = root.join("root/passed").exists();
    remove(&root)?;
    ended?;
    if passed {
        return Ok(());
    }
    Err("the packages failed their test: see above".to_owned())
}

/// A minimal Debian, made once.
fn base(directory: &Path) -> Result<PathBuf> {
    let base = directory.join(SUITE);
    if base.join("etc/debian_version").exists() {
        return Ok(base);
    }
    let half = directory.join("half-made");
    remove(&half)?;
    let mut make = Command::new("debootstrap");
    make.args(["--variant=minbase", &format!("--include={INSIDE}"), SUITE]);
    run(make.arg(&half).arg(debian::mirror()?))?;
    fs::rename(&half, &base)
        .map_err(|error| format!("cannot rename {}: {error}", half.display()))?;
    Ok(base)
}

/// Runs the machine to its end, with a BPF file system that is only its own.
fn boot(root: &Path, bpffs: &Path, console: &Path) -> Result<()> {
    make(bpffs)?;
    run(Command::new("mount").args(["-t", "bpf", "bpf"]).arg(bpffs))?;
    let ended = machine(root, bpffs, console);
    run(Command::new("umount").arg(bpffs))?;
    ended
}

fn machine(root: &Path, bpffs: &Path, console: &Path) -> Result<()> {
    let console_file = fs::File::create(console)
        .map_err(|error| format!("cannot write {}: {error}", console.display()))?;
    let mut nspawn = Command::new("systemd-nspawn");
    nspawn
        .env("SYSTEMD_NSPAWN_API_VFS_WRITABLE", "1")
        .args([
            "--quiet",
            "--boot",
            "--register=no",
            "--keep-unit",
            "--private-network",
            "--capability=all",
        ])
        .args([
            "--system-call-filter=bpf perf_event_open",
            "--machine=bcp38-packages",
            "--directory",
        ])
        .arg(root)
        .arg(format!("--bind={}:/sys/fs/bpf", bpffs.display()))
        .stdin(Stdio::null())
        .stdout(console_file);
    eprintln!(
        "$ systemd-nspawn --boot … (its console: {})",
        console.display()
    );
    let mut child = nspawn
        .spawn()
        .map_err(|error| format!("cannot run systemd-nspawn: {error}"))?;
    let end = Instant::now() + MACHINE_ENDS_WITHIN;
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => {
                return Err(format!(
                    "the machine ended with {status}: see {}",
                    console.display()
                ));
            }
            Ok(None) if Instant::now() < end => std::thread::sleep(Duration::from_millis(200)),
            Ok(None) => {
                _ = child.kill();
                _ = child.wait();
                return Err(format!(
                    "the machine did not end: see {}",
                    console.display()
                ));
            }
            Err(error) => return Err(format!("cannot wait for systemd-nspawn: {error}")),
        }
    }
}

fn cargo(args: &[&str]) -> Result<()> {
    run(Command::new("cargo").current_dir(workspace()).args(args))
}

fn make(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory)
        .map_err(|error| format!("cannot make {}: {error}", directory.display()))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    match fs::copy(from, to) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!(
            "cannot copy {} to {}: {error}",
            from.display(),
            to.display()
        )),
    }
}

fn remove(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("cannot remove {}: {error}", directory.display()))
        }
        _ => Ok(()),
    }
}
