//! One boot: a kernel and its image in an emulated machine, without a network, a disk or KVM, for a bounded time, also
//! if the command that waits for it has ended. Ends no process but the emulator it started.
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::archive::Kernel;
use crate::command::Result;

/// Seconds a guest may take, tests and all. Emulation beside other tests is slow; one that hangs costs this much.
const BOOT_LIMIT: &str = "2100";
/// How much a guest gives way to the tests that run beside it: those wait for most of their time, and count milliseconds.
const NICENESS: &str = "10";
/// What timeout(1) ends with when it had to end the emulator.
const LIMIT_REACHED: i32 = 124;
/// What a guest needs: its image unpacked, and the maps of the test that runs.
pub const MEMORY_MIB: u64 = 1024;
const EMULATOR: &str = "qemu-system-x86_64";
/// One thread for all processors of a guest: with a thread each, QEMU 7.2 was seen to hang for good in
/// `bpf_dispatcher_xdp_func` of Linux 5.10, whose jump the kernel patches while the other processor runs it.
const ACCELERATOR: &str = "tcg,thread=single";
/// Two: counters per processor have to add up, and a writer is interrupted anywhere by the packets it races with.
const PROCESSORS: &str = "2";
/// A panic ends the guest; warnings of the kernel go to the console as they come.
const KERNEL_ARGUMENTS: &str = "console=ttyS0 panic=-1 loglevel=5";

/// Boots, waits until the guest is off, and gives what it said, which is in `log` too, and whether it ended well.
pub fn boot(kernel: &Kernel, image: &Path, log: &Path) -> Result<(String, Result<()>)> {
    let file = fs::File::create(log)
        .map_err(|error| format!("cannot write {}: {error}", log.display()))?;
    let mut emulator = Command::new("nice");
    emulator
        .args(["-n", NICENESS])
        .args(["timeout", "--foreground", BOOT_LIMIT, EMULATOR])
        .args(["-accel", ACCELERATOR, "-cpu", "max", "-smp", PROCESSORS])
        .args(["-m", &MEMORY_MIB.to_string(), "-nodefaults", "-no-reboot"])
        .args(["-display", "none", "-serial", "stdio"])
        .args(["-append", KERNEL_ARGUMENTS])
        .arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(image)
        .stdin(Stdio::null())
        .stderr(
            file.try_clone()
                .map_err(|error| format!("cannot share the log: {error}"))?,
        )
        .stdout(file);
    let status = emulator
        .status()
        .map_err(|error| format!("cannot run nice: {error}"))?;
    let ended = match status.code() {
        Some(0) => Ok(()),
        Some(LIMIT_REACHED) => Err(format!("not off after {BOOT_LIMIT} s")),
        _ => Err(format!("{EMULATOR} ended with {status}")),
    };
    let said = fs::read(log).map_err(|error| format!("cannot read {}: {error}", log.display()))?;
    let said = String::from_utf8_lossy(&said).replace('\r', "");
    Ok((said, ended))
}
