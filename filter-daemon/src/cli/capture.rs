//! `bcp38 capture`: sampled violations as pcapng, for tools that read captures; peer and reason as each packet's comment.
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;

use super::Failure;
use super::client::Daemon;
use super::recorded::Stream;
use super::violations::{Filter, request};
use crate::pcapng::{Packet, PcapNg};
use crate::records::{Kind, ViolationRecord};
use crate::when;

/// What to write, and where.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The file; - for standard output, as for `| tshark -r -`
    #[arg(short = 'w', long = "write", value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    filter: Filter,
    /// End after so many packets
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// What was sampled since then, and end; without it: what is sampled from now on, until interrupted
    #[arg(long, value_name = "TIME", value_parser = when::parse, allow_hyphen_values = true)]
    since: Option<f64>,
    #[command(flatten)]
    daemon: Daemon,
}

/// Writes sampled violations.
///
/// # Errors
/// If no daemon answers and there are no records, or the file cannot be written.
pub fn run(args: &Args) -> Result<(), Failure> {
    let mut stream = Stream::new(&args.daemon, Kind::Violations, request)?;
    let kept: Vec<ViolationRecord> = stream.all()?;
    args.filter.check(&args.daemon, &kept)?;
    let mut file = Output::open(&args.file)?;
    let left = args.count.unwrap_or(u64::MAX);
    let mut writing = Writing { args, left };
    if let Some(since) = args.since {
        let wanted = kept.into_iter().filter(|it| it.time >= since);
        file.failed(|out| writing.write(out, wanted))?;
        return writing.end();
    }
    while writing.left > 0 {
        let new: Vec<ViolationRecord> = stream.next()?;
        file.failed(|out| writing.write(out, new.into_iter()))?;
    }
    writing.end()
}

struct Writing<'a> {
    args: &'a Args,
    left: u64,
}

impl Writing<'_> {
    fn write(
        &mut self,
        out: &mut PcapNg<BufWriter<Box<dyn Write>>>,
        violations: impl Iterator<Item = ViolationRecord>,
    ) -> io::Result<()> {
        for violation in violations.filter(|it| self.args.filter.takes(it)) {
            if self.left == 0 {
                break;
            }
            self.left -= 1;
            out.write(&Packet {
                interface: &violation.interface,
                is_ethernet: violation.is_ethernet,
                time: violation.time,
                frame: &violation.frame(),
                length: violation.length,
                comment: &comment(&violation),
            })?;
        }
        out.flush()
    }

    /// How many were written goes to stderr: stdout may be the capture.
    fn end(&self) -> Result<(), Failure> {
        let written = self.args.count.unwrap_or(u64::MAX) - self.left;
        anstream::eprintln!("{written} packets written");
        Ok(())
    }
}

/// A packet's comment: reason, fate, peer, tags, story.
fn comment(violation: &ViolationRecord) -> String {
    let fate = if violation.dropped {
        "dropped"
    } else {
        "passed"
    };
    let peer = violation.peer.as_deref().unwrap_or("none");
    let tags: Vec<String> = [violation.vlan, violation.inner_vlan]
        .into_iter()
        .flatten()
        .map(|tag| format!(", vlan {tag}"))
        .collect();
    let more: Vec<String> = [&violation.forbidden_protocol, &violation.story]
        .into_iter()
        .flatten()
        .map(|it| format!("; {it}"))
        .collect();
    format!(
        "{} {fate}, peer {peer}{}{}",
        violation.reason,
        tags.concat(),
        more.concat()
    )
}

struct Output {
    path: PathBuf,
    out: PcapNg<BufWriter<Box<dyn Write>>>,
}

impl Output {
    fn open(path: &Path) -> Result<Self, Failure> {
        let out: Box<dyn Write> = if path == Path::new("-") {
            Box::new(io::stdout())
        } else {
            Box::new(File::create(path).map_err(|error| failed(path, &error))?)
        };
        let out = PcapNg::new(BufWriter::new(out)).map_err(|error| failed(path, &error))?;
        Ok(Self {
            path: path.to_owned(),
            out,
        })
    }

    fn failed(
        &mut self,
        write: impl FnOnce(&mut PcapNg<BufWriter<Box<dyn Write>>>) -> io::Result<()>,
    ) -> Result<(), Failure> {
        write(&mut self.out).map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::OutputClosed,
            _ => failed(&self.path, &error),
        })
    }
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::failed(format!(
        "cannot write `{}`: {error}; choose another place",
        path.display()
    ))
}
