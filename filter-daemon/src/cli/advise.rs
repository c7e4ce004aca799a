//! `bcp38 advise`: may I? The answer with its evidence, and the command that does what is safe; and what `enforce` shows
//! before it does anything. Switches nothing.
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use clap::Args as ClapArgs;
use filter_core::Class;
use serde_json::Value;

use super::client::Daemon;
use super::recorded;
use super::table::{array, text};
use super::{Failure, warn};
use crate::advise::{Advice, ClassAdvice, Evidence, Group, MAX_SHARE, Verdict, advise, span};
use crate::control::Request;
use crate::records::{self, ByReason, Kind, Of, PeerHistory, ViolationRecord};
use crate::{names, when};

/// How far a preview looks back for what it would have cost, in seconds.
const PREVIEW: f64 = 3600.0;
/// How far it looks back for its verdicts: as `advise` does.
const ADVISED: f64 = records::MAX_AGE;

/// Which peers, and over which time.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The peer; without it: all of them
    #[arg(value_name = "PEER")]
    peer: Option<String>,
    /// What is looked at: since so long ago (7d), or a time
    #[arg(long, value_name = "TIME", value_parser = when::parse, default_value = "7d", allow_hyphen_values = true)]
    since: f64,
    #[command(flatten)]
    daemon: Daemon,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
}

/// Says whether peers may be enforced.
///
/// # Errors
/// If no daemon answers, or it has no such peer.
pub fn run(args: &Args) -> Result<(), Failure> {
    let status = args.daemon.ask(&Request::Status)?;
    let peers = array(&status, "peers");
    let wanted: Vec<&Value> = match &args.peer {
        None => peers.iter().collect(),
        Some(name) => vec![find(peers, name)?],
    };
    let mut out = anstream::stdout().lock();
    for peer in wanted {
        let of = Of::Peer(text(peer, "name"));
        let past = Past::read(&args.daemon, of, &peer["counters"], args.since)?;
        let mut advice = past.advise(peer, &[]);
        advice.command = advice.command.map(|it| args.daemon.command(&it));
        if args.json {
            serde_json::to_writer(&mut out, &advice).map_err(io::Error::from)?;
            writeln!(out)?;
        } else {
            show(&mut out, &advice)?;
        }
    }
    Ok(())
}

pub(super) fn find<'a>(peers: &'a [Value], name: &str) -> Result<&'a Value, Failure> {
    let found = peers.iter().find(|peer| text(peer, "name") == name);
    found.ok_or_else(|| {
        let names = peers.iter().map(|peer| text(peer, "name"));
        Failure::usage(names::unknown_peer(name, names))
    })
}

/// What is recorded of one peer or interface.
#[derive(Debug)]
pub(super) struct Past {
    pub(super) history: PeerHistory,
    /// Or why they cannot be read.
    pub(super) samples: Result<Vec<ViolationRecord>, String>,
}

impl Past {
    /// Since then, with the counters as they are now.
    pub(super) fn read(
        daemon: &Daemon,
        of: Of<'_>,
        counters: &Value,
        since: f64,
    ) -> Result<Self, Failure> {
        let directory = recorded::directory(daemon)?;
        let counters = Some(counters).filter(|it| it.is_object()); // none if they cannot be read
        let now = counters.map(|it| (when::now(), ByReason::from_status(it)));
        let since = since.max(when::now() - records::MAX_AGE);
        let history = PeerHistory::read(&directory, of, since, now).map_err(Failure::failed)?;
        let mut samples = Vec::new();
        let read = records::read(&directory, Kind::Violations, |it: ViolationRecord| {
            let is_its = match of {
                Of::Peer(name) => it.peer.as_deref() == Some(name),
                Of::Interface(name) => it.peer.is_none() && it.interface == name,
            };
            if it.time >= since && is_its {
                samples.push(it);
            }
        });
        let samples = read.map(|_| samples).map_err(|error| error.to_string());
        Ok(Self { history, samples })
    }

    fn advise(&self, peer: &Value, only: &[Class]) -> Advice {
        let evidence = Evidence {
            peer,
            history: &self.history,
            samples: match &self.samples {
                Ok(samples) => Ok(samples),
                Err(why) => Err(why),
            },
        };
        advise(evidence, only)
    }

    /// Is anything known of the last hour?
    fn reaches_now(&self) -> bool {
        let begin = when::now() - PREVIEW;
        self.history.steps.iter().any(|step| step.to > begin)
    }

    /// What the last hour would have cost, with the verdicts on all that is known.
    fn preview(mut self, holder: &Value, only: &[Class]) -> Advice {
        let advice = self.advise(holder, only);
        let begin = when::now() - PREVIEW;
        self.history.steps.retain(|step| step.to > begin);
        if let Ok(samples) = &mut self.samples {
            samples.retain(|it| it.time >= begin);
        }
        let mut cost = self.advise(holder, only);
        for (class, advised) in cost.classes.iter_mut().zip(&advice.classes) {
            class.verdict = advised.verdict;
        }
        Advice {
            verdict: advice.verdict,
            because: advice.because,
            ..cost
        }
    }
}

/// What is to be enforced.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    /// The peer, or the interface.
    pub(super) name: &'a str,
    /// All its classes if empty.
    pub(super) only: &'a [Class],
    /// Whatever it costs.
    pub(super) is_forced: bool,
}

/// What `enforce` shows before it does anything: the verdicts of `advise`, beside what the last hour would have cost the
/// peer, or the frames of no peer on the interface.
///
/// # Errors
/// If it would have dropped more than [`MAX_SHARE`] percent, or that is not known, unless that is forced.
pub(super) fn preview(
    out: &mut dyn Write,
    daemon: &Daemon,
    wanted: Wanted<'_>,
) -> Result<(), Failure> {
    let status = daemon.ask(&Request::Status)?;
    let named = |list: &str| {
        let mut all = array(&status, list).iter();
        all.find(|it| text(it, "name") == wanted.name).cloned()
    };
    let (holder, is_peer) = match (named("peers"), named("interfaces")) {
        (Some(peer), _) => (peer, true),
        (None, Some(interface)) => (interface, false),
        (None, None) => return Ok(()), // the daemon refuses it
    };
    let of = match is_peer {
        true => Of::Peer(wanted.name),
        false => Of::Interface(wanted.name),
    };
    let past = match Past::read(daemon, of, &holder["counters"], when::now() - ADVISED) {
        Ok(past) if !past.reaches_now() => Err("nothing is recorded of it yet".to_owned()),
        Ok(past) => Ok(past),
        Err(Failure::Failed(why)) => Err(why),
        Err(other) => return Err(other),
    };
    let past = match past {
        Ok(past) => past,
        // Whoever is no peer there is dropped by intention: nothing is refused for what it would have cost.
        Err(why) if wanted.is_forced || !is_peer => {
            warn(format!("what it would have cost is not known: {why}"));
            return Ok(());
        }
        Err(why) => {
            return Err(Failure::failed(format!(
                "`{}` stays as it is: what enforcing it would have cost in the last hour is not known: {why}; --force enforces it all the same",
                wanted.name
            )));
        }
    };
    if let Err(why) = &past.samples {
        warn(format!("its samples are not known: {why}"));
    }
    let advice = past.preview(&holder, wanted.only);
    show_preview(out, &advice)?;
    match wanted.is_forced || !is_peer {
        true => Ok(()),
        false => refuse_cost(&advice).map_err(|why| Failure::failed(daemon.addressed(&why))),
    }
}

/// Why it costs too much, or that it is not known what it costs.
fn refuse_cost(advice: &Advice) -> Result<(), String> {
    let (name, watched) = (&advice.peer, span(advice.watched_seconds));
    let new = || advice.classes.iter().filter(|it| it.in_force.is_empty());
    let relies_on_routes = |it: &&ClassAdvice| ["sources", "destinations"].contains(&it.class);
    let is_unknown = new().filter(relies_on_routes).any(|it| it.share.is_none());
    if advice.unjudged > 0 && is_unknown {
        return Err(format!(
            "`{name}` stays as it is: what enforcing it would have cost in the last {watched} is not known, because its routes were not known; --force enforces it all the same"
        ));
    }
    let shares = new().filter_map(|it| Some((it.share?, it.class)));
    let worst = shares.max_by(|(a, _), (b, _)| a.total_cmp(b));
    match worst {
        Some((share, class)) if share > MAX_SHARE => Err(format!(
            "`{name}` stays as it is: of its packets of the last {watched}, {share:.2} % would have been dropped for `{class}`, more than {MAX_SHARE} %: see `bcp38 advise {name}`, or repeat with --force"
        )),
        _ => Ok(()),
    }
}

/// Every class, with how much was looked at.
fn show_preview(out: &mut dyn Write, advice: &Advice) -> io::Result<()> {
    let judged = advice.packets.saturating_sub(advice.unjudged);
    writeln!(
        out,
        "{HEAD}{}{HEAD:#}: watched {}",
        advice.peer,
        span(advice.watched_seconds)
    )?;
    for class in &advice.classes {
        write_class(out, class, judged)?;
        write_groups(out, class)?;
    }
    write_verdict(out, advice)
}

const GOOD: Style = AnsiColor::Green.on_default();
const WAITING: Style = AnsiColor::Yellow.on_default();
const HEAD: Style = Style::new().bold();

fn show(out: &mut dyn Write, advice: &Advice) -> io::Result<()> {
    writeln!(
        out,
        "{HEAD}{}{HEAD:#} (AS{}): {} watched, {} packets, {} bytes",
        advice.peer,
        advice.asn,
        span(advice.watched_seconds),
        advice.packets,
        advice.bytes
    )?;
    if let Some(since) = advice.sampled_since {
        writeln!(out, "  its samples reach back to {}", when::local(since))?;
    }
    let judged = advice.packets.saturating_sub(advice.unjudged);
    for class in &advice.classes {
        write_class(out, class, judged)?;
        write_groups(out, class)?;
    }
    if advice.unjudged > 0 {
        writeln!(
            out,
            "  {} packets could not be judged, because its routes were not known: what would become of them is not known",
            advice.unjudged
        )?;
    }
    write_verdict(out, advice)?;
    match &advice.command {
        Some(command) => writeln!(out, "  to do what is safe: {command}"),
        None => Ok(()),
    }
}

fn write_verdict(out: &mut dyn Write, advice: &Advice) -> io::Result<()> {
    let style = style(advice.verdict);
    let because = advice
        .because
        .as_ref()
        .map_or_else(String::new, |why| format!(", because of {why}"));
    writeln!(
        out,
        "  {style}verdict: {}{style:#}{because}",
        advice.verdict.text()
    )
}

const fn style(verdict: Verdict) -> Style {
    match verdict {
        Verdict::Safe => GOOD,
        Verdict::SafeExcept | Verdict::NotYet => WAITING,
    }
}

fn write_class(out: &mut dyn Write, class: &ClassAdvice, judged: u64) -> io::Result<()> {
    let style = style(class.verdict);
    let already = match class.in_force.as_slice() {
        [] => "",
        [..] => ", in force already",
    };
    let reasons: Vec<String> = class
        .reasons
        .iter()
        .map(|(reason, packets)| format!("{packets} {reason}"))
        .collect();
    let reasons = match reasons.as_slice() {
        [] => String::new(),
        [..] => format!(" ({})", reasons.join(", ")),
    };
    let Some(share) = class.share else {
        return writeln!(
            out,
            "  {:<12}  what it would have dropped is not known: {style}{}{style:#}{already}",
            class.class,
            class.verdict.text()
        );
    };
    writeln!(
        out,
        "  {:<12}  would have dropped {} of {judged} packets, {} bytes, {share:.3} %{reasons}: {style}{}{style:#}{already}",
        class.class,
        class.packets,
        class.bytes,
        class.verdict.text()
    )
}

/// Who else announces a source, and whether an address was valid, is said of the side that the class judges: the other
/// side of the same packets may be valid now.
fn write_groups(out: &mut dyn Write, class: &ClassAdvice) -> io::Result<()> {
    for group in &class.sources {
        let judged = match class.class {
            "destinations" => String::new(),
            "sources" => format!("{}, {}", announced(group), valid(group)) + ", ",
            _ => announced(group) + ", ",
        };
        let macs: Vec<&str> = group.macs.iter().map(String::as_str).collect();
        writeln!(
            out,
            "      from {} ({} samples, {judged}from {})",
            group.prefix,
            group.samples,
            macs.join(", ")
        )?;
    }
    for group in &class.destinations {
        let judged = match class.class {
            "destinations" => format!(", {}", valid(group)),
            _ => String::new(),
        };
        writeln!(
            out,
            "      to {} ({} samples{judged})",
            group.prefix, group.samples
        )?;
    }
    Ok(())
}

fn announced(group: &Group) -> String {
    let announced: Vec<&str> = group.announced_by.iter().map(String::as_str).collect();
    match announced.as_slice() {
        [] => "announced by no other peer".to_owned(),
        [..] => format!("announced by {}", announced.join(", ")),
    }
}

fn valid(group: &Group) -> String {
    match group.recently_valid {
        0 => "not valid within the day before".to_owned(),
        some => format!("{some} valid until lately"),
    }
}

#[cfg(test)]
mod tests;
