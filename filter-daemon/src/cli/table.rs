//! Tables and lines for people; scripts get `--json`. Colour only where the terminal takes it (anstream decides).
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use serde_json::Value;

use crate::when;

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const WAITING: Style = AnsiColor::Yellow.on_default();
const HEAD: Style = Style::new().bold();

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
    for (side, key) in [("source", "source_odd"), ("destination", "destination_odd")] {
        if let Some(prefix) = value[key]["prefix"].as_str() {
            writeln!(out, "  {side:<12} {prefix} {}", standing(&value[key]))?;
        }
    }
    for (key, title) in [
        ("story", "story"),
        ("missing", "missing"),
        ("remedy", "passes if"),
    ] {
        if let Some(line) = value[key].as_str() {
            writeln!(out, "  {title:<12} {line}")?;
        }
    }
    Ok(())
}

fn standing(odd: &Value) -> String {
    match (text(odd, "standing"), odd["hold_seconds_left"].as_u64()) {
        ("held", Some(left)) => format!("was withdrawn, and is valid for {left} s more"),
        ("refused", _) => format!("is received and not admitted: it is {}", text(odd, "why")),
        _ => "is received and does not count".to_owned(),
    }
}

/// When a frame last came from a station.
pub(super) fn last_seen(station: &Value) -> String {
    match station["last_seen_seconds"].as_u64() {
        Some(seconds) => format!("seen {} ago", short(seconds)),
        None => "no frame seen".to_owned(),
    }
}

/// A time in one number.
pub(super) fn short(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
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
            "{:<18} {:<16} {tags:<14} {:<14} {}",
            station["mac"].as_str().unwrap_or("any"),
            text(station, "interface"),
            text(station, "known_by"),
            last_seen(station),
        )?;
    }
    let unknown: Vec<String> = array(value, "unknown_macs")
        .iter()
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
    let style = match text(event, "severity") {
        "error" => BAD,
        "warning" => WAITING,
        _ => Style::new(),
    };
    writeln!(
        out,
        "{}  {style}{:<7}{style:#}  {HEAD}{:<20}{HEAD:#}  {}",
        when::local(event["time"].as_f64().unwrap_or(0.0)),
        text(event, "severity"),
        text(event, "event"),
        text(event, "text")
    )
}

pub(super) fn array<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

pub(super) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or("-")
}
