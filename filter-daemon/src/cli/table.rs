//! Tables and lines for people; scripts get `--json`. Colour only where the terminal takes it (anstream decides).
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use serde_json::Value;

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const WAITING: Style = AnsiColor::Yellow.on_default();
const HEAD: Style = Style::new().bold();

/// `status`: a table of peers, then what else is worth a line.
pub(super) fn status(out: &mut dyn Write, status: &Value) -> io::Result<()> {
    let rows: Vec<Row> = array(status, "peers").iter().map(Row::of).collect();
    let width = rows
        .iter()
        .map(|row| row.name.len())
        .max()
        .unwrap_or(0)
        .max(4);
    writeln!(
        out,
        "{HEAD}{:width$}  {:>10}  {:<9}  {:>4}  {:>8}  {:>8}  {:>12}  {:>12}  {:>10}{HEAD:#}",
        "peer", "as", "state", "gen", "sources", "dests", "passed", "violations", "dropped"
    )?;
    for row in &rows {
        row.write(out, width)?;
    }
    for feed in array(status, "feeds") {
        let (style, word) = if feed["up"] == true {
            (GOOD, "up")
        } else {
            (BAD, "down")
        };
        let since = feed["seconds"]
            .as_u64()
            .map_or(String::new(), |seconds| format!(" for {seconds} s"));
        writeln!(
            out,
            "feed {} {}: {style}{word}{style:#}{since}",
            feed["number"],
            text(feed, "kind")
        )?;
    }
    for interface in array(status, "interfaces") {
        let (passed, violations, dropped) = totals(&interface["counters"]);
        writeln!(
            out,
            "interface {} ({}): {passed} frames of no peer passed, {violations} of them violations, {dropped} dropped",
            text(interface, "name"),
            text(interface, "hook")
        )?;
    }
    let (used, capacity) = (
        &status["tables"]["bytes_used"],
        &status["tables"]["bytes_capacity"],
    );
    let lease = status["lease_seconds_left"]
        .as_u64()
        .map_or("kept for ever".to_owned(), |left| format!("{left} s left"));
    writeln!(out, "tables: {used} of {capacity} bytes; lease: {lease}")
}

struct Row<'a> {
    name: &'a str,
    peer: &'a Value,
}

impl<'a> Row<'a> {
    fn of(peer: &'a Value) -> Self {
        Self {
            name: peer["name"].as_str().unwrap_or("?"),
            peer,
        }
    }

    fn write(&self, out: &mut dyn Write, width: usize) -> io::Result<()> {
        let peer = self.peer;
        let state = text(peer, "state");
        let style = match state {
            "enforcing" | "observing" => GOOD,
            "partly" | "syncing" | "holding" => WAITING,
            _ => BAD,
        };
        let (passed, violations, dropped) = totals(&peer["counters"]);
        writeln!(
            out,
            "{:width$}  {:>10}  {style}{state:<9}{style:#}  {:>4}  {:>8}  {:>8}  {passed:>12}  {violations:>12}  {dropped:>10}",
            self.name,
            peer["asn"].to_string(),
            peer["generation"].to_string(),
            peer["sources"].to_string(),
            peer["destinations"].to_string()
        )?;
        self.write_classes(out, width)?;
        if let Some(missing) = peer["missing"].as_str() {
            writeln!(out, "{:width$}  {WAITING}{missing}{WAITING:#}", "")?;
        }
        if let Some(why) = peer["publish_error"].as_str() {
            writeln!(out, "{:width$}  {BAD}{why}{BAD:#}", "")?;
        }
        if let Some(refused) = peer["refused"].as_u64().filter(|&refused| refused > 0) {
            writeln!(
                out,
                "{:width$}  {refused} announced prefixes are not admitted (see --json)",
                ""
            )?;
        }
        Ok(())
    }

    /// What the data plane drops for now, and what it does not although it is wanted.
    fn write_classes(&self, out: &mut dyn Write, width: usize) -> io::Result<()> {
        let classes = self.peer["classes"]
            .as_array()
            .map_or(&[][..], Vec::as_slice);
        let (in_force, others): (Vec<&Value>, Vec<&Value>) =
            classes.iter().partition(|class| class["in_force"] == true);
        if !in_force.is_empty() {
            let names: Vec<String> = in_force.into_iter().map(class_name).collect();
            writeln!(
                out,
                "{:width$}  {GOOD}in force: {}{GOOD:#}",
                "",
                names.join(", ")
            )?;
        }
        let waiting = others.into_iter().filter(|class| class["wanted"] == true);
        let waiting: Vec<String> = waiting
            .map(|class| format!("{} ({})", class_name(class), text(class, "missing")))
            .collect();
        if !waiting.is_empty() {
            writeln!(
                out,
                "{:width$}  {WAITING}not in force: {}{WAITING:#}",
                "",
                waiting.join(", ")
            )?;
        }
        Ok(())
    }
}

fn class_name(class: &Value) -> String {
    match class["family"].as_str() {
        Some(family) => format!("{} {family}", text(class, "class")),
        None => text(class, "class").to_owned(),
    }
}

/// Packets passed, violations among them and among the dropped, packets dropped.
fn totals(counters: &Value) -> (u64, u64, u64) {
    let (mut passed, mut violations, mut dropped) = (0, 0, 0);
    for (reason, fates) in counters.as_object().into_iter().flatten() {
        let count = |fate: &str| fates[fate]["packets"].as_u64().unwrap_or(0);
        passed += count("passed");
        dropped += count("dropped");
        let is_violation =
            filter_core::Reason::from_name(reason).is_some_and(filter_core::Reason::is_violation);
        if is_violation {
            violations += count("passed") + count("dropped");
        }
    }
    (passed, violations, dropped)
}

/// `explain`: the verdict, then each side with the feeds and sessions that announce it.
pub(super) fn explained(out: &mut dyn Write, value: &Value) -> io::Result<()> {
    let style = if value["violation"] == true {
        BAD
    } else {
        GOOD
    };
    writeln!(
        out,
        "{} {} > {}: {style}{}{style:#}, {} (mode {}, generation {})",
        text(value, "peer"),
        text(value, "source"),
        text(value, "destination"),
        text(value, "reason"),
        text(value, "action"),
        text(value, "mode"),
        value["generation"]
    )?;
    for (side, prefix, routes) in [
        ("source", "source_prefix", "source_routes"),
        ("destination", "destination_prefix", "destination_routes"),
    ] {
        writeln!(
            out,
            "  {side:<12} {}",
            value[prefix].as_str().unwrap_or("covered by no prefix")
        )?;
        for route in array(value, routes) {
            let session = route["session"]
                .as_str()
                .map_or(String::new(), |session| format!(" session {session}"));
            writeln!(
                out,
                "               {} reported by {}{session}, {} s ago",
                text(route, "prefix"),
                text(route, "feed"),
                route["seconds_ago"]
            )?;
        }
    }
    for key in ["story", "missing"] {
        if let Some(line) = value[key].as_str() {
            writeln!(out, "  {key:<12} {line}")?;
        }
    }
    Ok(())
}

/// From where a peer's frames come.
pub(super) fn macs(out: &mut dyn Write, value: &Value) -> io::Result<()> {
    for station in array(value, "stations") {
        let tag = |key: &str| station[key].as_u64();
        let tags = match (tag("vlan"), tag("inner_vlan")) {
            (None, _) => "untagged".to_owned(),
            (Some(outer), None) => format!("vlan {outer}"),
            (Some(outer), Some(inner)) => format!("vlan {outer}.{inner}"),
        };
        writeln!(
            out,
            "{:<18} {:<16} {tags:<14} {}",
            station["mac"].as_str().unwrap_or("any"),
            text(station, "interface"),
            text(station, "known_by"),
        )?;
    }
    let unknown = array(value, "unknown_macs").iter();
    let unknown: Vec<String> = unknown
        .filter_map(|mac| Some(format!("\"{}\"", mac.as_str()?)))
        .collect();
    if !unknown.is_empty() {
        let unknown = unknown.join(", ");
        writeln!(
            out,
            "of no peer, and only sources that this peer alone announces came from there: if they are its, add"
        )?;
        writeln!(out, "  macs = [{unknown}]")?;
    }
    Ok(())
}

/// One event.
pub(super) fn event(out: &mut dyn Write, event: &Value) -> io::Result<()> {
    writeln!(
        out,
        "{:>14.3}  {HEAD}{:<20}{HEAD:#}  {}",
        event["time"].as_f64().unwrap_or(0.0),
        text(event, "event"),
        text(event, "text")
    )
}

fn array<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or("-")
}
