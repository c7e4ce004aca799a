//! `bcp38 events`: what happened, from the daemon's memory and its records.
use std::io::{self, Write};

use clap::Args as ClapArgs;
use serde_json::Value;

use super::client::Daemon;
use super::recorded::{Stream, refuse_unknown_peer};
use super::{Failure, table};
use crate::control::Request;
use crate::records::Kind;
use crate::runtime::event_names;
use crate::{names, when};

/// Which events.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Go on until interrupted, also while the daemon is restarted
    #[arg(long)]
    follow: bool,
    /// Only of this peer
    #[arg(long, value_name = "NAME")]
    peer: Option<String>,
    /// Only of these types, such as feed-down
    #[arg(long = "type", value_name = "EVENT,...", value_delimiter = ',', value_parser = event_name)]
    types: Vec<String>,
    /// Only warnings and errors
    #[arg(long)]
    warnings: bool,
    /// Since when: so long ago (10m, 2h, 7d), or a time (2026-11-20T03:12, 03:12)
    #[arg(long, value_name = "TIME", value_parser = when::parse, default_value = "1d", allow_hyphen_values = true)]
    since: f64,
    #[command(flatten)]
    daemon: Daemon,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
}

fn event_name(name: &str) -> Result<String, String> {
    names::one_of("event", name, event_names())
}

/// The peers that an event is of.
fn peers(event: &Value) -> impl Iterator<Item = &str> {
    let keys = ["peer", "from", "to"].into_iter();
    keys.filter_map(|key| event[key].as_str())
}

impl Args {
    fn is_wanted(&self, event: &Value) -> bool {
        let of_peer = |name: &String| peers(event).any(|it| it == name);
        let name = event["event"].as_str().unwrap_or_default();
        event["time"].as_f64().is_none_or(|time| time >= self.since)
            && self.peer.as_ref().is_none_or(of_peer)
            && (self.types.is_empty() || self.types.iter().any(|it| it == name))
            && !(self.warnings && event["severity"] == "info")
    }

    fn print(&self, events: &[Value]) -> io::Result<()> {
        let mut out = anstream::stdout().lock();
        for event in events.iter().filter(|event| self.is_wanted(event)) {
            if self.json {
                writeln!(out, "{event}")?;
            } else {
                let mut event = event.clone();
                let text = self.daemon.addressed(table::text(&event, "text"));
                event["text"] = text.into();
                table::event(&mut out, &event)?;
            }
        }
        out.flush()
    }
}

/// What happened.
///
/// # Errors
/// If no daemon answers, and there are no records.
pub fn run(args: &Args) -> Result<(), Failure> {
    let request = |after| Request::Events { after };
    let mut stream = Stream::new(&args.daemon, Kind::Events, request)?;
    let all: Vec<Value> = stream.all()?;
    if let Some(name) = &args.peer {
        refuse_unknown_peer(&args.daemon, name, all.iter().flat_map(peers))?;
    }
    args.print(&all)?;
    match args.follow {
        true => stream.follow(|entries| args.print(entries)),
        false => Ok(()),
    }
}
