//! What `replay` prints: JSON for programs (SPEC section 7), a table for people. Says nothing the engines did not.
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufWriter, Write};

use anstyle::{AnsiColor, Style};
use filter_core::packet::Ip;
use filter_core::{Prefix, Reason};
use serde::{Serialize, Serializer};

use super::engine::{Judged, TRUNCATED};
use crate::config::Config;

/// One packet's line; the order of the fields is that of the output.
#[derive(Serialize)]
struct Line<'a> {
    n: u64,
    peer: Option<&'a str>,
    reason: &'static str,
    violation: bool,
    #[serde(serialize_with = "as_text")]
    source_prefix: Option<Prefix>,
    #[serde(serialize_with = "as_text")]
    destination_prefix: Option<Prefix>,
}

/// The last line.
#[derive(Serialize)]
struct Last<'a> {
    summary: Summary<'a>,
}

#[derive(Serialize)]
struct Summary<'a> {
    packets: u64,
    #[serde(serialize_with = "by_name")]
    reasons: &'a Counts,
}

/// Packets by reason, and those whose reason is not known.
#[derive(Default)]
struct Counts {
    reasons: BTreeMap<Reason, u64>,
    truncated: u64,
}

impl Counts {
    fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let reasons = self
            .reasons
            .iter()
            .map(|(reason, &count)| (reason.name(), count));
        let truncated = (self.truncated > 0).then_some((TRUNCATED, self.truncated));
        reasons.chain(truncated)
    }
}

fn as_text<S: Serializer>(prefix: &Option<Prefix>, serializer: S) -> Result<S::Ok, S::Error> {
    match prefix {
        Some(prefix) => serializer.collect_str(prefix),
        None => serializer.serialize_none(),
    }
}

fn by_name<S: Serializer>(reasons: &&Counts, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(reasons.iter())
}

/// Prints packets as they are judged, and counts them.
pub(super) struct Printer<'a> {
    config: &'a Config,
    out: BufWriter<Box<dyn Write>>,
    is_json: bool,
    packets: u64,
    reasons: Counts,
    /// The names of those that are violations.
    violations: BTreeSet<&'static str>,
    dropped: u64,
    peer_width: usize,
}

/// Widest reason name.
const REASON_WIDTH: usize = 23;
/// Widest fate.
const FATE_WIDTH: usize = 8;

impl<'a> Printer<'a> {
    /// To stdout: coloured if that is a terminal and wants it.
    pub(super) fn new(config: &'a Config, is_json: bool) -> Self {
        let stdout = io::stdout();
        let out: Box<dyn Write> = if is_json {
            Box::new(stdout)
        } else {
            Box::new(anstream::AutoStream::auto(stdout))
        };
        let names = config
            .spec
            .peers
            .iter()
            .map(|peer| peer.name.chars().count());
        Self {
            config,
            out: BufWriter::new(out),
            is_json,
            packets: 0,
            reasons: Counts::default(),
            violations: BTreeSet::new(),
            dropped: 0,
            peer_width: names.max().unwrap_or(0).max("peer".len()),
        }
    }

    pub(super) fn packet(&mut self, judged: &Judged) -> io::Result<()> {
        self.packets += 1;
        match judged.is_truncated {
            true => self.reasons.truncated += 1,
            false => *self.reasons.reasons.entry(judged.reason).or_default() += 1,
        }
        if judged.is_violation {
            self.violations.insert(judged.name());
        }
        self.dropped += u64::from(judged.is_dropped);
        let peer = judged
            .peer
            .and_then(|place| self.config.spec.peers.get(place));
        let peer = peer.map(|peer| peer.name.as_str());
        if self.is_json {
            let line = Line {
                n: self.packets,
                peer,
                reason: judged.name(),
                violation: judged.is_violation,
                source_prefix: judged.source_prefix,
                destination_prefix: judged.destination_prefix,
            };
            return self.json(&line);
        }
        let width = self.peer_width;
        if self.packets == 1 {
            writeln!(
                self.out,
                "{BOLD}{:>6}  {:width$}  {:FATE_WIDTH$}  {:REASON_WIDTH$}  source > destination (covered by){BOLD:#}",
                "packet", "peer", "fate", "reason"
            )?;
        }
        let (fate, style) = match (judged.is_violation, judged.is_dropped) {
            (_, true) => ("drop", RED),
            (true, false) => ("observed", YELLOW),
            (false, false) => ("pass", GREEN),
        };
        let (n, peer) = (self.packets, peer.unwrap_or("-"));
        let reason = judged.name();
        write!(
            self.out,
            "{n:>6}  {peer:width$}  {style}{fate:FATE_WIDTH$}  {reason:REASON_WIDTH$}{style:#}"
        )?;
        if let Some(Ip {
            source,
            destination,
            ..
        }) = judged.ip
        {
            write!(self.out, "  {source}{}", in_brackets(judged.source_prefix))?;
            let covered = in_brackets(judged.destination_prefix);
            write!(self.out, " > {destination}{covered}")?;
        }
        writeln!(self.out)
    }

    pub(super) fn summary(&mut self) -> io::Result<()> {
        if self.is_json {
            let reasons = std::mem::take(&mut self.reasons);
            return self.json(&Last {
                summary: Summary {
                    packets: self.packets,
                    reasons: &reasons,
                },
            });
        }
        let (packets, dropped) = (self.packets, self.dropped);
        writeln!(
            self.out,
            "\n{BOLD}{packets} packets, {dropped} dropped{BOLD:#}"
        )?;
        for (reason, count) in self.reasons.iter() {
            let style = match self.violations.contains(reason) {
                true => YELLOW,
                false => GREEN,
            };
            writeln!(self.out, "{count:>6}  {style}{reason}{style:#}")?;
        }
        Ok(())
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn json(&mut self, line: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, line)?;
        self.out.write_all(b"\n")
    }
}

const BOLD: Style = Style::new().bold();
const GREEN: Style = AnsiColor::Green.on_default();
const YELLOW: Style = AnsiColor::Yellow.on_default();
const RED: Style = AnsiColor::Red.on_default();

fn in_brackets(prefix: Option<Prefix>) -> String {
    prefix.map_or_else(String::new, |prefix| format!(" ({prefix})"))
}
