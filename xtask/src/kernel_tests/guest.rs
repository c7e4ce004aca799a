//! One boot: a kernel and its image in an emulated machine, without a network, a disk or KVM, for a bounded time.
//! Ends no process but the emulator it started.
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::archive::Kernel;
use crate::command::Result;

/// How long a guest may take, tests and all. Emulation on a loaded machine is slow; a guest that hangs costs this much.
pub const BOOT_LIMIT: Duration = Duration::from_secs(900);
/// What a guest needs: its image unpacked, and the maps of the test that runs.
pub const MEMORY_MIB: u64 = 1024;
const EMULATOR: &str = "qemu-system-x86_64";
/// One thread for all processors of a guest: with a thread each, QEMU 7.2 was seen to hang for good in
/// `bpf_dispatcher_xdp_func` of Linux 5.10, whose jump the kernel patches while the other processor runs it.
const ACCELERATOR: &str = "tcg,thread=single";
/// Two, so that a writer and the packets it races with run at once.
const PROCESSORS: &str = "2";
/// A panic ends the guest; warnings of the kernel go to the console as they come.
const KERNEL_ARGUMENTS: &str = "console=ttyS0 panic=-1 loglevel=5";
const POLL: Duration = Duration::from_millis(100);

/// Boots, waits until the guest is off, and gives what it said, which is in `log` too, and whether it ended well.
pub fn boot(kernel: &Kernel, image: &Path, log: &Path) -> Result<(String, Result<()>)> {
    let file = fs::File::create(log)
        .map_err(|error| format!("cannot write {}: {error}", log.display()))?;
    let mut emulator = Command::new(EMULATOR);
    emulator
        .args(["-accel", ACCELERATOR, "-cpu", "max", "-smp", PROCESSORS])
        .args(["-m", &MEMORY_MIB.to_string(), "-nodefaults", "-no-reboot"])
        .args([
            "-display",
            "none",
            "-serial",
            "stdio",
            "-append",
            KERNEL_ARGUMENTS,
        ])
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
    let mut child = emulator
        .spawn()
        .map_err(|error| format!("cannot run {EMULATOR}: {error}"))?;
    let start = Instant::now();
    let ended = loop {
        match child.try_wait() {
            Ok(None) if start.elapsed() < BOOT_LIMIT => thread::sleep(POLL),
            Ok(Some(status)) if status.success() => break Ok(()),
            Ok(Some(status)) => break Err(format!("{EMULATOR} ended with {status}")),
            Ok(None) => break Err(format!("not off after {} s", BOOT_LIMIT.as_secs())),
            Err(error) => break Err(format!("cannot wait for {EMULATOR}: {error}")),
        }
    };
    if ended.is_err() {
        _ = child.kill(); // it may have ended by itself
        _ = child.wait();
    }
    let said = fs::read(log).map_err(|error| format!("cannot read {}: {error}", log.display()))?;
    let said = String::from_utf8_lossy(&said).replace('\r', "");
    Ok((said, ended))
}
