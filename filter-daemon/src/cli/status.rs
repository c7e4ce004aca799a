//! `bcp38 status`: what the filter does to each peer, and what keeps it from doing more. Waits, if asked to, until
//! something is so. Only shows what the daemon answers.
use std::io::{self, Write};
use std::thread;
use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};
use clap::{Args as ClapArgs, ValueEnum};
use serde_json::Value;

use super::Failure;
use super::client::Daemon;
use super::table::{self, array, short, text};
use crate::config::duration;
use crate::control::Request;
use crate::{names, when};

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const WAITING: Style = AnsiColor::Yellow.on_default();
const HEAD: Style = Style::new().bold();
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// What to show.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Only this peer, with its MACs and Adj-RIBs
    #[arg(long, value_name = "NAME")]
    peer: Option<String>,
    /// First wait until this is so, of all or of --peer; a daemon that is away is waited for too
    #[arg(long, value_name = "CONDITION", num_args = 0..=1, default_missing_value = "ready")]
    wait: Option<Condition>,
    /// How long to wait at most: 30s, 10m
    #[arg(long, value_name = "TIME", requires = "wait", value_parser = length)]
    timeout: Option<Duration>,
    #[command(flatten)]
    daemon: Daemon,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn length(text: &str) -> Result<Duration, String> {
    duration::parse(text).ok_or_else(|| "write a number and s, m, h or d".to_owned())
}

/// What `--wait` waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Condition {
    /// The program is on every interface
    Attached,
    /// Every feed is connected
    Feeds,
    /// Attached; every peer's routes are known and published
    Ready,
    /// Every class that is wanted is in force
    InForce,
}

impl Condition {
    /// The first thing that is not so; none if the condition holds.
    fn missing(self, status: &Value) -> Option<String> {
        let detached = || {
            let mut all = array(status, "interfaces").iter();
            let found = all.find(|it| it["attached"] != true)?;
            let name = text(found, "name");
            Some(format!("interface `{name}`: {}", text(found, "why")))
        };
        let down = || {
            let mut all = array(status, "feeds").iter();
            let found = all.find(|it| it["up"] != true)?;
            Some(format!("{} is down", feed_name(found)))
        };
        let unknown = || {
            let is_unready = |peer: &&Value| {
                let is_waiting = matches!(text(peer, "state"), "syncing" | "holding" | "degraded");
                is_waiting || peer["publish_pending"] == true || peer["publish_error"].is_string()
            };
            let found = array(status, "peers").iter().find(is_unready)?;
            let why = found["publish_error"]
                .as_str()
                .or(found["missing"].as_str())
                .unwrap_or("its tables wait to be published");
            Some(format!("peer `{}`: {why}", text(found, "name")))
        };
        match self {
            Self::Attached => detached(),
            Self::Feeds => down(),
            Self::Ready => detached().or_else(unknown),
            Self::InForce => ["peers", "interfaces"].into_iter().find_map(|list| {
                array(status, list).iter().find_map(|each| {
                    let mut classes = array(each, "classes").iter();
                    let class =
                        classes.find(|it| it["wanted"] == true && it["in_force"] != true)?;
                    let (name, why) = (text(each, "name"), text(class, "missing"));
                    Some(format!(
                        "`{name}`: {} is not in force: {why}",
                        class_name(class)
                    ))
                })
            }),
        }
    }
}

/// Peers, feeds and interfaces.
///
/// # Errors
/// If no daemon answers, it has no such peer, or what is waited for is not so in time.
pub fn run(args: &Args) -> Result<(), Failure> {
    let status = match args.wait {
        Some(condition) => wait(args, condition)?,
        None => ask(args)?,
    };
    let mut out = anstream::stdout().lock();
    if args.json {
        return Ok(writeln!(out, "{status}")?);
    }
    let mut text = Vec::new();
    show(&mut text, &status, args.peer.is_some())?;
    let text = args.daemon.addressed(&String::from_utf8_lossy(&text));
    Ok(out.write_all(text.as_bytes())?)
}

/// The status; with `--peer`, of that peer only.
fn ask(args: &Args) -> Result<Value, Failure> {
    let mut status = args.daemon.ask(&Request::Status)?;
    if let Some(name) = &args.peer {
        only(&mut status, name).map_err(Failure::usage)?;
    }
    Ok(status)
}

/// Leaves one peer in it, and the interfaces that its frames come in on.
fn only(status: &mut Value, name: &str) -> Result<(), String> {
    let peers = array(status, "peers").iter();
    let Some(peer) = peers
        .clone()
        .find(|peer| text(peer, "name") == name)
        .cloned()
    else {
        return Err(names::unknown_peer(
            name,
            peers.map(|peer| text(peer, "name")),
        ));
    };
    let is_its = |interface: &Value| {
        let mut stations = array(&peer, "stations").iter();
        stations.any(|station| station["interface"] == interface["name"])
    };
    if let Some(interfaces) = status["interfaces"].as_array_mut()
        && array(&peer, "stations")
            .iter()
            .any(|it| it["interface"].is_string())
    {
        interfaces.retain(is_its);
    }
    status["peers"] = Value::Array(vec![peer]);
    Ok(())
}

fn wait(args: &Args, condition: Condition) -> Result<Value, Failure> {
    let end = args.timeout.map(|timeout| Instant::now() + timeout);
    loop {
        let missing = match ask(args) {
            Ok(status) => match condition.missing(&status) {
                None => return Ok(status),
                Some(missing) => missing,
            },
            Err(Failure::Failed(why)) => why,
            Err(other) => return Err(other),
        };
        if end.is_some_and(|end| Instant::now() >= end) {
            return Err(Failure::failed(format!("not so in time: {missing}")));
        }
        thread::sleep(LOOK);
    }
}

/// A table of peers, then what else is worth a line.
fn show(out: &mut dyn Write, status: &Value, in_detail: bool) -> io::Result<()> {
    if status["allowed"] == false {
        writeln!(
            out,
            "{BAD}nothing is dropped anywhere: `bcp38 observe --all` is in force until `bcp38 enforce --all`{BAD:#}"
        )?;
    }
    let peers = array(status, "peers");
    let names = peers.iter().map(|peer| text(peer, "name").chars().count());
    let width = names.max().unwrap_or(0).max(4);
    writeln!(
        out,
        "{HEAD}{:width$}  {:>10}  {:<9}  {:>8}  {:>8}  {:>7}  {:>10}  {:>12}  {:>10}  in force{HEAD:#}",
        "peer",
        "as",
        "state",
        "sources",
        "dests",
        "changed",
        "passed/s",
        "would drop/s",
        "dropped/s"
    )?;
    for peer in peers {
        Row { peer, width }.write(out, in_detail)?;
    }
    for feed in array(status, "feeds") {
        write_feed(out, feed)?;
    }
    for interface in array(status, "interfaces") {
        write_interface(out, interface)?;
    }
    write_rest(out, status)
}

struct Row<'a> {
    peer: &'a Value,
    width: usize,
}

impl Row<'_> {
    fn write(&self, out: &mut dyn Write, in_detail: bool) -> io::Result<()> {
        let (peer, width) = (self.peer, self.width);
        let state = text(peer, "state");
        let style = state_style(state);
        let rate = |name: &str| {
            let rate = peer["rates"][name].as_f64();
            rate.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}"))
        };
        let size = |side: &str| {
            let size = peer[side].as_u64();
            size.map_or_else(|| "-".to_owned(), |size| size.to_string())
        };
        writeln!(
            out,
            "{:width$}  {:>10}  {style}{state:<9}{style:#}  {:>8}  {:>8}  {:>7}  {:>10}  {:>12}  {:>10}  {}",
            text(peer, "name"),
            peer["asn"].to_string(),
            size("sources"),
            size("destinations"),
            last_change(peer),
            rate("passed"),
            rate("would_drop"),
            rate("dropped"),
            in_force(peer)
        )?;
        for line in not_in_force(peer) {
            self.line(out, WAITING, &line)?;
        }
        for (key, style) in [("missing", WAITING), ("publish_error", BAD)] {
            if let Some(line) = peer[key].as_str() {
                self.line(out, style, line)?;
            }
        }
        for line in oddities(peer) {
            self.line(out, WAITING, &line)?;
        }
        if in_detail {
            self.detail(out)?;
        }
        Ok(())
    }

    fn line(&self, out: &mut dyn Write, style: Style, line: &str) -> io::Result<()> {
        writeln!(
            out,
            "{:width$}  {style}{line}{style:#}",
            "",
            width = self.width
        )
    }

    /// Its MACs, its Adj-RIBs, and its counters by reason.
    fn detail(&self, out: &mut dyn Write) -> io::Result<()> {
        for station in array(self.peer, "stations") {
            let tags: Vec<String> = [&station["vlan"], &station["inner_vlan"]]
                .into_iter()
                .filter_map(Value::as_u64)
                .map(|it| format!(".{it}"))
                .collect();
            let mac = station["mac"].as_str().unwrap_or("any mac");
            let line = format!(
                "sends from {mac} on {}{}, {}",
                text(station, "interface"),
                tags.concat(),
                table::last_seen(station)
            );
            self.line(out, Style::new(), &line)?;
        }
        for rib in array(self.peer, "ribs") {
            let session = rib["session"].as_str().unwrap_or("by hand");
            let line = format!(
                "{} {} of {session}, feed {}: {} for {}, {} routes",
                text(rib, "rib"),
                text(rib, "family"),
                rib["feed"],
                text(rib, "state"),
                ago(&rib["seconds"]),
                rib["routes"]
            );
            self.line(out, Style::new(), &line)?;
        }
        for (reason, fates) in self.peer["counters"].as_object().into_iter().flatten() {
            let packets = |fate: &str| fates[fate]["packets"].as_u64().unwrap_or(0);
            let line = format!(
                "{reason}: {} passed, {} dropped",
                packets("passed"),
                packets("dropped")
            );
            self.line(out, Style::new(), &line)?;
        }
        Ok(())
    }
}

/// How long ago its valid prefixes changed.
fn last_change(peer: &Value) -> String {
    let seconds = peer["last_change"].as_f64().map(|at| when::now() - at);
    seconds.map_or_else(|| "-".to_owned(), |seconds| short(seconds as u64))
}

fn state_style(state: &str) -> Style {
    match state {
        "enforcing" | "observing" => GOOD,
        "partly" | "syncing" | "holding" => WAITING,
        _ => BAD,
    }
}

/// The classes in force.
fn in_force(holder: &Value) -> String {
    let classes = array(holder, "classes").iter();
    let on: Vec<&Value> = classes.filter(|class| class["in_force"] == true).collect();
    match on.as_slice() {
        [] => "nothing".to_owned(),
        [..] => class_names(holder, &on),
    }
}

/// A class in all of the peer's families is named without them: `sources`; else `sources ipv4`.
fn class_names(holder: &Value, classes: &[&Value]) -> String {
    let families = array(holder, "families").len();
    let mut shown: Vec<String> = Vec::new();
    for class in classes {
        let name = text(class, "class");
        let alike = classes.iter().filter(|it| text(it, "class") == name);
        let name = match class["family"].as_str() {
            Some(_) if alike.count() >= families => name.to_owned(),
            _ => class_name(class),
        };
        if !shown.contains(&name) {
            shown.push(name);
        }
    }
    shown.join(", ")
}

/// What is wanted and not in force: classes with one cause share a line.
fn not_in_force(holder: &Value) -> Vec<String> {
    let mut causes: Vec<(String, Vec<&Value>)> = Vec::new();
    let classes = array(holder, "classes").iter();
    for class in classes.filter(|it| it["wanted"] == true && it["in_force"] != true) {
        let expected = class["expected_seconds"].as_u64();
        let expected = expected.map_or_else(String::new, |it| format!(", expected within {it} s"));
        let cause = format!(
            "{} for {}{expected}",
            class["missing"].as_str().unwrap_or("not read"),
            ago(&class["since_seconds"])
        );
        match causes.iter_mut().find(|(known, _)| *known == cause) {
            Some((_, classes)) => classes.push(class),
            None => causes.push((cause, vec![class])),
        }
    }
    let each = causes.into_iter();
    each.map(|(cause, classes)| format!("not in force: {}: {cause}", class_names(holder, &classes)))
        .collect()
}

fn oddities(peer: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    for (key, what) in [
        ("frozen", "growth is frozen"),
        ("over_limit", "over `max_prefixes`"),
        ("too_wide", "covers too much of the address space"),
    ] {
        let families: Vec<&str> = array(peer, key).iter().filter_map(Value::as_str).collect();
        if !families.is_empty() {
            lines.push(format!("{what}: {}", families.join(", ")));
        }
    }
    if !array(peer, "too_wide").is_empty() {
        let name = text(peer, "name");
        lines.push(format!(
            "growth beyond that does not count: `bcp38 prefixes {name} --accept-growth`, if the peer is right"
        ));
    }
    if let Some(refused) = peer["refused"].as_u64().filter(|&refused| refused > 0) {
        lines.push(format!(
            "{refused} announced prefixes are not admitted: `bcp38 prefixes {}` lists them",
            text(peer, "name")
        ));
    }
    if let Some(bytes) = peer["default_pointing"]["bytes"].as_u64() {
        lines.push(format!("points default at us: {bytes} bytes so far"));
    }
    if let Some(bypass) = peer["bypass"].as_str() {
        lines.push(format!("bypass: {bypass}: `unknown` is not in force there"));
    }
    for mac in array(peer, "unknown_macs").iter().filter_map(Value::as_str) {
        let name = text(peer, "name");
        lines.push(format!(
            "{mac} sends what only this peer announces: `bcp38 macs {name} accept {mac}`, if it is its router"
        ));
    }
    if let Some(left) = peer["trial_seconds_left"].as_u64() {
        lines.push(format!(
            "on trial: as before in {left} s, unless `bcp38 confirm {}` comes",
            text(peer, "name")
        ));
    }
    if peer["adopted"] == true {
        lines.push("keeps the tables of an earlier daemon until the feeds have as much".to_owned());
    }
    lines
}

fn class_name(class: &Value) -> String {
    match class["family"].as_str() {
        Some(family) => format!("{} {family}", text(class, "class")),
        None => text(class, "class").to_owned(),
    }
}

fn feed_name(feed: &Value) -> String {
    let name = feed["name"].as_str().unwrap_or_default();
    let separator = if name.is_empty() { "" } else { " " };
    format!(
        "feed {} {}{separator}{name}",
        feed["number"],
        text(feed, "kind")
    )
}

fn write_feed(out: &mut dyn Write, feed: &Value) -> io::Result<()> {
    let (style, word) = match feed["up"].as_bool() {
        Some(true) => (GOOD, "up"),
        _ => (BAD, "down"),
    };
    let since = match feed["seconds"].as_u64() {
        Some(_) => format!(" for {}", ago(&feed["seconds"])),
        None => String::new(),
    };
    let why = feed["why"]
        .as_str()
        .map_or_else(String::new, |why| format!(": {why}"));
    let skipped: Vec<String> = feed["left_out"]
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, count)| count.as_u64().is_some_and(|it| it > 0))
        .map(|(what, count)| format!("{count} {what}"))
        .collect();
    let skipped = match skipped.as_slice() {
        [] => String::new(),
        [..] => format!("; skipped {}", skipped.join(", ")),
    };
    writeln!(
        out,
        "{}: {style}{word}{style:#}{since}{why}{skipped}",
        feed_name(feed)
    )
}

fn write_interface(out: &mut dyn Write, interface: &Value) -> io::Result<()> {
    let (style, word) = match interface["attached"].as_bool() {
        Some(true) => (GOOD, interface["hook"].as_str().unwrap_or("attached")),
        Some(false) => (BAD, "not attached"),
        None => (BAD, "could not be read"),
    };
    let why = interface["why"]
        .as_str()
        .map_or_else(String::new, |why| format!(": {why}"));
    let on = in_force(interface);
    let name = text(interface, "name");
    writeln!(
        out,
        "interface {name}: {style}{word}{style:#}{why}; in force for frames of no peer: {on}"
    )?;
    for line in not_in_force(interface) {
        writeln!(out, "  {WAITING}{line}{WAITING:#}")?;
    }
    for alarm in array(interface, "alarms").iter().filter_map(Value::as_str) {
        let meaning = match alarm {
            "no-record" => "frames come in from a device that has no record, and pass",
            _ => "more than half of what comes in is for none of our macs, and passes",
        };
        writeln!(out, "  {BAD}{alarm}: {meaning}{BAD:#}")?;
    }
    for contested in array(interface, "contested") {
        let mac = text(contested, "mac");
        writeln!(
            out,
            "  {WAITING}{mac} answers for two peers, and what it sends is not judged: `bcp38 macs PEER accept {mac}` of the one it is{WAITING:#}"
        )?;
    }
    let left_out: Vec<&str> = array(interface, "left_out")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    if !left_out.is_empty() {
        writeln!(
            out,
            "  {WAITING}no room for {}{WAITING:#}",
            left_out.join(", ")
        )?;
    }
    Ok(())
}

fn write_rest(out: &mut dyn Write, status: &Value) -> io::Result<()> {
    for (key, what) in [
        ("samples_lost", "sampled violations were lost"),
        ("records_lost", "records were not written"),
        ("log_lines_lost", "log lines were lost"),
        ("events_lost", "events were lost"),
    ] {
        if let Some(lost) = status[key].as_u64().filter(|&lost| lost > 0) {
            writeln!(out, "{WAITING}{lost} {what}{WAITING:#}")?;
        }
    }
    for problem in array(status, "records_problems")
        .iter()
        .filter_map(Value::as_str)
    {
        writeln!(out, "{WAITING}records: {problem}{WAITING:#}")?;
    }
    let tables = &status["tables"];
    let lease = status["lease_seconds_left"].as_u64().map_or_else(
        || "kept for ever".to_owned(),
        |left| format!("{left} s left"),
    );
    writeln!(
        out,
        "tables: {} of {} bytes; lease: {lease}; daemon {}, up for {}",
        tables["bytes_used"],
        tables["bytes_capacity"],
        text(status, "version"),
        ago(&status["uptime_seconds"])
    )
}

/// Seconds, as people say them.
fn ago(seconds: &Value) -> String {
    seconds.as_u64().map_or_else(|| "?".to_owned(), short)
}

#[cfg(test)]
mod tests;
