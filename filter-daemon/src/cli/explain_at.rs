//! `bcp38 explain --at`: what would have become of a packet then, by the journal of routes, what the daemon has now, and the
//! recorded events. What these do not show is not known, and the command fails with the reason. Decides nothing.
use std::io::{self, Write};
use std::net::IpAddr;

use filter_core::{Prefix, Reason};
use filter_lifecycle::PeerState;
use serde::Serialize;
use serde_json::Value;

use super::client::Daemon;
use super::recorded::directory;
use super::table::{array, text};
use super::{Failure, warn};
use crate::past::{self, Material, Then};
use crate::records::{self, Kind, RouteRecord};
use crate::when;

/// The answer.
#[derive(Debug, Serialize)]
pub(super) struct Past {
    peer: String,
    source: IpAddr,
    destination: IpAddr,
    /// Seconds since 1970.
    at: f64,
    /// The verdict's reason by the routes of then and the configuration of now; null if it is not known.
    reason: Option<&'static str>,
    sources: Side,
    destinations: Side,
    /// The last event before that says what state the peer was in.
    state: Option<Value>,
    /// Why no verdict is given although both sides are known.
    why_not_judged: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct Side {
    /// Was the address valid? null if that is not known.
    valid: Option<bool>,
    prefix: Option<String>,
    /// What happened until then to the prefixes that cover the address, the latest last.
    before: Vec<RouteRecord>,
    /// What happened next.
    after: Option<RouteRecord>,
    why_not_known: Option<String>,
}

impl Past {
    /// Each reason once: both sides may have the same.
    fn why_not_known(&self) -> String {
        let sides = [&self.sources, &self.destinations].into_iter();
        let mut all: Vec<&str> = sides
            .filter_map(|it| it.why_not_known.as_deref())
            .chain(self.why_not_judged)
            .collect();
        all.dedup();
        all.join("; ")
    }
}

impl Side {
    /// It was valid whatever the routes were.
    fn always(self, prefix: &str) -> Self {
        Self {
            valid: Some(true),
            prefix: Some(prefix.to_owned()),
            why_not_known: None,
            ..self
        }
    }
}

impl From<Then> for Side {
    fn from(then: Then) -> Self {
        Self {
            valid: then.valid,
            prefix: then.prefix.map(|it| it.to_string()),
            before: then.before,
            after: then.after,
            why_not_known: then.why,
        }
    }
}

/// Looks it up; `now` is the daemon's answer about the same packet.
pub(super) fn look(daemon: &Daemon, now: &Value, at: f64) -> Result<Past, Failure> {
    if at > when::now() {
        return Err(Failure::usage(format!(
            "{} is still to come",
            when::local(at)
        )));
    }
    let address = |key: &str| text(now, key).parse::<IpAddr>().map_err(Failure::failed);
    let (source, destination) = (address("source")?, address("destination")?);
    let peer = text(now, "peer");
    let [of_sources, of_destinations] = records_of(daemon, peer)?;
    let side = |records: &[RouteRecord], [key, always, side]: [&str; 3], address: IpAddr| {
        let journal = &now["journal"];
        let valid = array(now, key).iter().filter_map(Value::as_str);
        let valid_now: Vec<Prefix> = valid.filter_map(|it| it.parse().ok()).collect();
        let material = Material {
            records,
            began: journal["began"].as_u64().unwrap_or_default(),
            changes: journal[side].as_u64().unwrap_or_default(),
            valid_now: &valid_now,
        };
        let then = Side::from(past::at(material, at, address.into()));
        match now[always].as_str() {
            Some(prefix) if then.valid != Some(true) => then.always(prefix),
            _ => then,
        }
    };
    let sources = side(
        &of_sources,
        ["source_valid", "source_always", "sources"],
        source,
    );
    let destinations = side(
        &of_destinations,
        ["destination_valid", "destination_always", "destinations"],
        destination,
    );
    let state = state(daemon, peer, at)?;
    let reason = reason(text(now, "reason"), sources.valid, destinations.valid);
    let judged = reason.filter(|reason| *reason == PERMITTED || was_judged(state.as_ref()));
    Ok(Past {
        why_not_judged: (reason != judged).then_some(
            "whether what its routes lacked was known, or still being received, is not recorded",
        ),
        reason: judged,
        state,
        peer: peer.to_owned(),
        source,
        destination,
        at,
        sources,
        destinations,
    })
}

/// What became of the routes of one peer, as far back as the records reach: of its sources, and of its destinations.
fn records_of(daemon: &Daemon, peer: &str) -> Result<[Vec<RouteRecord>; 2], Failure> {
    let directory = directory(daemon)?;
    let [mut of_sources, mut of_destinations] = [Vec::new(), Vec::new()];
    let read = records::read(&directory, Kind::Routes, |it: RouteRecord| {
        if it.peer == peer {
            let is_source = it.side == "sources";
            let side = if is_source {
                &mut of_sources
            } else {
                &mut of_destinations
            };
            side.push(it);
        }
    });
    let damage = read.map_err(Failure::failed)?;
    if damage.dropped > 0 {
        warn(format!(
            "{} records of routes were cut or are damaged, and are left out",
            damage.dropped
        ));
    }
    Ok([of_sources, of_destinations])
}

/// What the routes decide, they decided then; everything else is as the configuration says now.
fn reason(now: &str, source: Option<bool>, destination: Option<bool>) -> Option<&'static str> {
    let reason = match Reason::from_name(now)? {
        Reason::Permitted
        | Reason::SourceUnannounced
        | Reason::DestinationUnannounced
        | Reason::BothUnannounced
        | Reason::Unjudged => match (source?, destination?) {
            (true, true) => Reason::Permitted,
            (false, true) => Reason::SourceUnannounced,
            (true, false) => Reason::DestinationUnannounced,
            (false, false) => Reason::BothUnannounced,
        },
        other => other,
    };
    Some(reason.name())
}

const PERMITTED: &str = Reason::Permitted.name();

/// Was every side known then? Else what lacked a route was not judged, or by the tables of before.
fn was_judged(state: Option<&Value>) -> bool {
    let all = [PeerState::Observing, PeerState::Enforcing].map(PeerState::name);
    state.is_some_and(|event| all.contains(&text(event, "state")) && event["missing"].is_null())
}

/// The peer's state then, as an event reported it.
fn state(daemon: &Daemon, peer: &str, at: f64) -> Result<Option<Value>, Failure> {
    let mut last = None;
    let read = records::read(&directory(daemon)?, Kind::Events, |event: Value| {
        let is_its = event["event"] == "peer-state" && event["peer"] == peer;
        if is_its && event["time"].as_f64().is_some_and(|time| time <= at) {
            last = Some(event);
        }
    });
    read.map_err(Failure::failed)?;
    Ok(last)
}

/// Prints it; fails if the verdict is not known.
pub(super) fn show(out: &mut dyn Write, past: &Past, as_json: bool) -> Result<(), Failure> {
    if as_json {
        serde_json::to_writer(&mut *out, past).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        write(out, past)?;
    }
    if past.reason.is_some() {
        return Ok(());
    }
    Err(Failure::failed(format!(
        "what would have become of it then is not known: {}",
        past.why_not_known()
    )))
}

fn write(out: &mut dyn Write, past: &Past) -> io::Result<()> {
    writeln!(
        out,
        "{} {} > {} at {}: {}",
        past.peer,
        past.source,
        past.destination,
        when::local(past.at),
        past.reason.unwrap_or("not known")
    )?;
    for (name, side) in [
        ("source", &past.sources),
        ("destination", &past.destinations),
    ] {
        let then = match (side.valid, &side.prefix) {
            (Some(true), Some(prefix)) => prefix.as_str(),
            (Some(_), _) => "covered by no prefix",
            (None, _) => "not known",
        };
        writeln!(out, "  {name:<12} {then}")?;
        for record in &side.before {
            writeln!(out, "               {}", line(record))?;
        }
        if let Some(record) = &side.after {
            writeln!(out, "               then {}", line(record))?;
        }
    }
    match &past.state {
        Some(event) => writeln!(
            out,
            "  {:<12} {} (since {})",
            "state",
            text(event, "text"),
            when::local(event["time"].as_f64().unwrap_or_default())
        ),
        None => writeln!(out, "  {:<12} not recorded", "state"),
    }
}

fn line(record: &RouteRecord) -> String {
    let prefix = record.prefix.as_deref().unwrap_or_default();
    let by = match (&record.feed, &record.session) {
        (Some(feed), Some(session)) => format!(", as {feed} reported of session {session}"),
        (Some(feed), None) => format!(", as {feed} reported"),
        _ => String::new(),
    };
    let what = match record.how.as_str() {
        "withdrawn" => "withdrawn, or its session ended",
        "vanished" => "not there any more when its table was received again",
        "left" => "no longer valid: its hold was over",
        "revived" => "valid again: packets of it were dropped although nothing had withdrawn it",
        how => how,
    };
    format!("{} {prefix} {what}{by}", when::local(record.time))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_reason_that_both_sides_have_is_said_once() {
        let side = |why: &str| Side {
            valid: None,
            prefix: None,
            before: Vec::new(),
            after: None,
            why_not_known: Some(why.to_owned()),
        };
        let of = |source: &str, destination: &str| {
            let past = Past {
                peer: "p1".to_owned(),
                source: IpAddr::from([192, 0, 2, 1]),
                destination: IpAddr::from([192, 0, 2, 2]),
                at: 0.0,
                reason: None,
                sources: side(source),
                destinations: side(destination),
                state: None,
                why_not_judged: None,
            };
            past.why_not_known()
        };
        assert_eq!(
            of("it is before the journal", "it is before the journal"),
            "it is before the journal"
        );
        assert_eq!(of("a", "b"), "a; b");
    }

    #[test]
    fn routes_decide_what_they_decided_then_and_nothing_else() {
        let yes = Some(true);
        let no = Some(false);
        for (source, destination, expected) in [
            (yes, yes, Some("permitted")),
            (no, yes, Some("source-unannounced")),
            (yes, no, Some("destination-unannounced")),
            (no, no, Some("both-unannounced")),
            (None, no, None),
            (yes, None, None),
        ] {
            assert_eq!(reason("permitted", source, destination), expected);
        }
        assert_eq!(reason("source-bogon", None, None), Some("source-bogon"));
    }

    #[test]
    fn a_packet_without_a_route_was_judged_only_where_every_side_was_known() {
        let state = |state: &str, missing: Value| {
            was_judged(Some(&json!({ "state": state, "missing": missing })))
        };
        assert!(state("enforcing", Value::Null) && state("observing", Value::Null));
        assert!(!state("syncing", Value::Null) && !state("partly", Value::Null));
        assert!(!state("observing", "a feed is lost".into()));
        assert!(!was_judged(None));
    }
}
