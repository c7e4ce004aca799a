//! `bcp38 prefixes`: what a peer announces and what we announce to it, prefix by prefix: what counts, and why not; and
//! the operator's decision that what it grew to is right. Only shows the daemon's answers.
use std::io::{self, Write};
use std::net::IpAddr;

use clap::Args as ClapArgs;
use filter_core::{Address, Prefix};
use serde_json::Value;

use super::Failure;
use super::client::Daemon;
use super::table::{array, text};
use crate::control::Request;

/// Which peer.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The peer
    #[arg(value_name = "PEER")]
    peer: String,
    /// Only prefixes that lie in this one; an address is the prefix of it alone
    #[arg(value_name = "PREFIX", value_parser = within)]
    within: Option<Prefix>,
    /// What its sources grew to is right, however much of the address space it covers: it counts from now on
    #[arg(long, conflicts_with = "within")]
    accept_growth: bool,
    #[command(flatten)]
    daemon: Daemon,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// As written: a prefix with host bits may be meant to be an address, or another prefix.
fn within(text: &str) -> Result<Prefix, String> {
    let address = |text: &str| text.parse::<IpAddr>().map_err(|error| error.to_string());
    let Some((written, _)) = text.split_once('/') else {
        let address = Address::from(address(text)?);
        let whole = Prefix::new(address, address.family.bits());
        return whole.map_err(|error| error.to_string());
    };
    let prefix: Prefix = text.parse().map_err(|error| format!("{error}"))?;
    match Address::from(address(written)?) == prefix.address() {
        true => Ok(prefix),
        false => Err(format!(
            "{written} has host bits: write {prefix}, or the address alone"
        )),
    }
}

/// Shows them.
///
/// # Errors
/// If no daemon answers, or it has no such peer.
pub fn run(args: &Args) -> Result<(), Failure> {
    let peer = args.peer.clone();
    let request = if args.accept_growth {
        Request::AcceptGrowth { peer }
    } else {
        let within = args.within;
        Request::Prefixes { peer, within }
    };
    let answer = args.daemon.ask(&request)?;
    let mut out = anstream::stdout().lock();
    if args.json {
        return Ok(writeln!(out, "{answer}")?);
    }
    if args.accept_growth {
        let families: Vec<&str> = array(&answer, "families")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let (families, peer) = (families.join(" and "), &args.peer);
        return Ok(writeln!(
            out,
            "the {families} sources of {peer} count as they are"
        )?);
    }
    Ok(show(&mut out, &answer)?)
}

fn show(out: &mut dyn Write, answer: &Value) -> io::Result<()> {
    for (side, title) in [
        ("sources", "advertised by the peer"),
        ("destinations", "advertised to the peer"),
    ] {
        let prefixes = array(&answer[side], "prefixes");
        writeln!(out, "{title}: {} prefixes", prefixes.len())?;
        for prefix in prefixes {
            writeln!(out, "  {}", line(prefix))?;
        }
        if answer[side]["has_more"] == true {
            writeln!(out, "  … and more: name a prefix that they lie in")?;
        }
    }
    Ok(())
}

fn line(prefix: &Value) -> String {
    let why = match (prefix["why"].as_str(), prefix["hold_seconds_left"].as_u64()) {
        (Some(why), _) => format!(": {why}"),
        (None, Some(left)) => format!(": withdrawn, valid for {left} s more"),
        (None, None) => String::new(),
    };
    let routes: Vec<String> = array(prefix, "routes")
        .iter()
        .map(|route| {
            let session = route["session"].as_str().unwrap_or("by hand");
            format!(
                "{} {session} {} s ago",
                text(route, "feed"),
                route["seconds_ago"]
            )
        })
        .collect();
    format!(
        "{:<20} {:<11}{why}{}{}",
        text(prefix, "prefix"),
        text(prefix, "standing"),
        if routes.is_empty() { "" } else { "  " },
        routes.join("; ")
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_address_is_its_own_prefix_and_host_bits_are_refused() {
        let of = |text| within(text).map(|it| it.to_string());
        assert_eq!(of("198.51.100.0/22").unwrap(), "198.51.100.0/22");
        assert_eq!(of("198.51.100.0/24").unwrap(), "198.51.100.0/24");
        assert_eq!(of("1.2.3.4").unwrap(), "1.2.3.4/32");
        assert_eq!(of("2001:db8::1").unwrap(), "2001:db8::1/128");
        assert_eq!(
            of("1.2.3.4/24").unwrap_err(),
            "1.2.3.4 has host bits: write 1.2.3.0/24, or the address alone"
        );
        assert!(of("1.2.3").is_err() && of("x/8").is_err());
    }

    #[test]
    fn each_prefix_has_its_standing_and_its_routes() {
        let route = json!({ "prefix": "10.0.0.0/8", "feed": "bmp", "session": "192.0.2.11", "seconds_ago": 7 });
        let answer = json!({
            "peer": "p1",
            "sources": { "has_more": true, "prefixes": [
                { "prefix": "198.51.100.0/24", "standing": "valid", "routes": [route] },
                { "prefix": "10.0.0.0/8", "standing": "refused", "why": "within the bogon list", "routes": [] },
                { "prefix": "203.0.113.0/24", "standing": "held", "hold_seconds_left": 12, "routes": [] },
            ] },
            "destinations": { "has_more": false, "prefixes": [] },
        });
        let mut out = Vec::new();
        show(&mut out, &answer).unwrap();
        let expected = "\
advertised by the peer: 3 prefixes
  198.51.100.0/24      valid        bmp 192.0.2.11 7 s ago
  10.0.0.0/8           refused    : within the bogon list
  203.0.113.0/24       held       : withdrawn, valid for 12 s more
  … and more: name a prefix that they lie in
advertised to the peer: 0 prefixes
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
