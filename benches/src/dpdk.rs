//! DPDK's `rte_fib` and `rte_fib6`, in a process of their own that takes turns with us: `benches/dpdk/fib.c`, built
//! where Debian's `libdpdk-dev` is installed. Without it there is no such row, and a line says so; nothing else needs it.
use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use filter_core::{Address, Family, Prefix};

use crate::measure::Result;

/// The running program. Ends with this value.
pub struct Fib {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    directory: PathBuf,
    addresses: usize,
}

impl Fib {
    /// Builds it, and fills it with these prefixes; `None` where there is no DPDK.
    ///
    /// # Errors
    /// If it is there and does not build, start or take a prefix.
    pub fn start(
        family: Family,
        prefixes: &[Prefix],
        addresses: &[Address],
    ) -> Result<Option<Self>> {
        let Some(flags) = flags() else {
            eprintln!(
                "SKIPPED: DPDK's rte_fib: needs root, and apt-get install libdpdk-dev pkg-config"
            );
            return Ok(None);
        };
        let directory = env::temp_dir().join(format!("bcp38-fib-{}", std::process::id()));
        fs::create_dir_all(&directory)?;
        let started = Self::start_in(&directory, &flags, family, prefixes, addresses);
        if started.is_err() {
            fs::remove_dir_all(&directory)?;
        }
        started.map(Some)
    }

    fn start_in(
        directory: &Path,
        flags: &str,
        family: Family,
        prefixes: &[Prefix],
        addresses: &[Address],
    ) -> Result<Self> {
        let path = |name: &str| directory.join(name);
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/dpdk/fib.c");
        let built = Command::new("cc")
            .arg("-O2")
            .args(flags.split_whitespace())
            .arg("-o")
            .args([&path("fib"), Path::new(source)])
            .args(["-lrte_fib", "-lrte_eal"])
            .status()?;
        if !built.success() {
            return Err(format!("`cc` of {source} ended with {built}").into());
        }
        let records = prefixes.iter().flat_map(|prefix| {
            let (first, _) = prefix.range();
            first.to_be_bytes().into_iter().chain([prefix.len()])
        });
        fs::write(path("prefixes"), records.collect::<Vec<u8>>())?;
        let asked = addresses
            .iter()
            .flat_map(|address| address.bits().to_be_bytes());
        fs::write(path("addresses"), asked.collect::<Vec<u8>>())?;
        let cores = std::thread::available_parallelism()?.get() - 1;
        let mut child = Command::new(path("fib"))
            .arg(match family {
                Family::Ipv4 => "4",
                Family::Ipv6 => "6",
            })
            .args([path("prefixes"), path("addresses")])
            .env("FIB_LCORES", format!("0@(0-{cores})"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("no pipes to the program".into());
        };
        let mut fib = Self {
            child,
            input,
            output: BufReader::new(output),
            directory: directory.to_owned(),
            addresses: addresses.len(),
        };
        match fib.line()?.as_str() {
            "ready" => Ok(fib),
            other => Err(format!("DPDK's program says `{other}`").into()),
        }
    }

    /// Nanoseconds for each address, in bursts of 64.
    ///
    /// # Errors
    /// If it found fewer members than there are addresses, or has ended.
    pub fn time(&mut self) -> Result<f64> {
        self.input.write_all(b"\n")?;
        let line = self.line()?;
        let (found, time) = line.split_once(' ').ok_or("a line without two figures")?;
        if found.parse::<usize>()? != self.addresses {
            return Err(format!("rte_fib: {found} of {} members found", self.addresses).into());
        }
        Ok(time.parse()?)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            return Err("DPDK's program ended: what it says is above".into());
        }
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Fib {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
        _ = fs::remove_dir_all(&self.directory);
    }
}

/// How to compile against it, where it is.
fn flags() -> Option<String> {
    let output = Command::new("pkg-config")
        .args(["--cflags", "libdpdk"])
        .output()
        .ok()?;
    let flags = String::from_utf8(output.stdout).ok()?;
    output.status.success().then_some(flags)
}
