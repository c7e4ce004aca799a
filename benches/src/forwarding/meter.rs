//! Processor time of threads, the kernel's own included, by their clocks. Never counts what other processes use.
use std::fs;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::time::ClockId;
use nix::unistd::{Pid, gettid};

use crate::measure::Result;

/// `CPUCLOCK_PERTHREAD | CPUCLOCK_SCHED` of include/linux/posix-timers_types.h: what a thread ran, to the nanosecond.
const OF_A_THREAD: i32 = 4 | 2;

/// Do threads' clocks count what they do in softirqs? Most of a packet's way is there.
///
/// # Errors
/// If the kernel's configuration says that they do not.
pub fn check() -> Result<()> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    // Where no configuration is kept, this is not known.
    let config = fs::read_to_string(format!("/boot/config-{}", release.trim()));
    let is_apart = config.is_ok_and(|text| text.contains("CONFIG_IRQ_TIME_ACCOUNTING=y"));
    let command_line = fs::read_to_string("/proc/cmdline")?;
    if is_apart && !command_line.contains("tsc=noirqtime") {
        return Err(
            "this kernel counts softirqs apart from threads (CONFIG_IRQ_TIME_ACCOUNTING): boot it with `tsc=noirqtime`"
                .into(),
        );
    }
    Ok(())
}

/// The clocks of some threads.
pub struct Meter(Vec<ClockId>);

impl Meter {
    /// Of these threads of this process, and of the kernel's that handle packets where the thread at hand is not let to:
    /// `ksoftirqd`, and those of a device's queues.
    pub fn new(own: &[Pid], device: &str) -> Result<Self> {
        let mut clocks: Vec<ClockId> = own.iter().map(|&thread| clock(thread)).collect();
        let queues = queue_threads(device)?;
        for kernel in kernel_threads("ksoftirqd/")?.into_iter().chain(queues) {
            clocks.push(ClockId::pid_cpu_clock_id(kernel)?);
        }
        Ok(Self(clocks))
    }

    /// Nanoseconds that they ran so far.
    pub fn read(&self) -> Result<f64> {
        let mut total = 0.0;
        for clock in &self.0 {
            let time = clock.now()?;
            total += time.tv_sec() as f64 * 1e9 + time.tv_nsec() as f64;
        }
        Ok(total)
    }
}

/// A thread's clock has the number of the thread in it (`make_thread_cpuclock` of the same file).
fn clock(thread: Pid) -> ClockId {
    ClockId::from_raw(!thread.as_raw() << 3 | OF_A_THREAD)
}

/// The thread at hand.
pub fn this_thread() -> Pid {
    gettid()
}

/// The threads of a device's queues (`threaded` in its sysfs directory); there are none where it has no queues to poll.
pub fn queue_threads(device: &str) -> Result<Vec<Pid>> {
    kernel_threads(&format!("napi/{device}-"))
}

/// The kernel's threads whose names begin so.
fn kernel_threads(name: &str) -> Result<Vec<Pid>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(number) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // What has ended meanwhile is none of them.
        let own = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        if own.starts_with(name) {
            found.push(Pid::from_raw(number));
        }
    }
    Ok(found)
}

/// Keeps a thread on one core: on the other one if there is no such core.
pub fn pin(thread: Pid, core: usize) -> Result<()> {
    let cores = std::thread::available_parallelism()?.get();
    let mut set = CpuSet::new();
    set.set(core % cores)?;
    Ok(sched_setaffinity(thread, &set)?)
}
