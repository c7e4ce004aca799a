//! `bcp38 violations`: sampled packets that broke the policy, from the daemon's memory and its records.
use std::io::{self, Write};

use clap::Args as ClapArgs;
use filter_core::Reason;

use super::Failure;
use super::client::Daemon;
use super::recorded::{Stream, refuse_unknown_peer};
use crate::control::Request;
use crate::records::{Kind, ViolationRecord};
use crate::{names, when};

/// Which violations.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Go on until interrupted, also while the daemon is restarted
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    filter: Filter,
    /// Since when: so long ago (10m, 2h, 7d), or a time (2026-11-20T03:12, 03:12)
    #[arg(long, value_name = "TIME", value_parser = when::parse, default_value = "1d", allow_hyphen_values = true)]
    since: f64,
    #[command(flatten)]
    daemon: Daemon,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
}

/// Which of them.
#[derive(Debug, ClapArgs)]
pub(super) struct Filter {
    /// Only of this peer
    #[arg(long, value_name = "NAME")]
    peer: Option<String>,
    /// Only for these reasons, such as source-unannounced
    #[arg(long, value_name = "REASON,...", value_delimiter = ',', value_parser = reason)]
    reason: Vec<String>,
}

fn reason(name: &str) -> Result<String, String> {
    let all = Reason::ALL.into_iter().filter(|it| it.is_violation());
    names::one_of("reason", name, all.map(Reason::name))
}

impl Filter {
    /// Refuses a peer that there is not.
    pub(super) fn check(&self, daemon: &Daemon, all: &[ViolationRecord]) -> Result<(), Failure> {
        let recorded = all.iter().filter_map(|it| it.peer.as_deref());
        match &self.peer {
            Some(name) => refuse_unknown_peer(daemon, name, recorded),
            None => Ok(()),
        }
    }

    pub(super) fn takes(&self, violation: &ViolationRecord) -> bool {
        let is_of = |name: &String| violation.peer.as_ref() == Some(name);
        self.peer.as_ref().is_none_or(is_of)
            && (self.reason.is_empty() || self.reason.contains(&violation.reason))
    }
}

/// The request for those after a number.
pub(super) const fn request(after: u64) -> Request {
    Request::Violations { after }
}

/// Sampled packets that broke the policy.
///
/// # Errors
/// If no daemon answers, and there are no records.
pub fn run(args: &Args) -> Result<(), Failure> {
    let mut stream = Stream::new(&args.daemon, Kind::Violations, request)?;
    let all: Vec<ViolationRecord> = stream.all()?;
    args.filter.check(&args.daemon, &all)?;
    args.print(&all)?;
    match args.follow {
        true => stream.follow(|entries| args.print(entries)),
        false => Ok(()),
    }
}

impl Args {
    fn print(&self, violations: &[ViolationRecord]) -> io::Result<()> {
        let mut out = anstream::stdout().lock();
        let wanted = violations.iter();
        for violation in wanted.filter(|it| it.time >= self.since && self.filter.takes(it)) {
            if self.json {
                serde_json::to_writer(&mut out, violation)?;
                writeln!(out)?;
            } else {
                writeln!(out, "{}  {}", when::local(violation.time), line(violation))?;
            }
        }
        out.flush()
    }
}

/// A violation in a line, without its time.
fn line(violation: &ViolationRecord) -> String {
    format!(
        "{:<12}  {:<10}  {}",
        violation.peer.as_deref().unwrap_or("-"),
        place(violation),
        detail(violation)
    )
}

/// As [`line`], without the peer and where it came in.
pub(super) fn detail(violation: &ViolationRecord) -> String {
    let fate = if violation.dropped {
        "dropped"
    } else {
        "passed"
    };
    let more: Vec<&str> = [&violation.forbidden_protocol, &violation.story]
        .into_iter()
        .flatten()
        .map(String::as_str)
        .collect();
    format!(
        "{:<17}  {:<24} {fate}  {}{}{}",
        violation.source_mac.as_deref().unwrap_or("-"),
        violation.reason,
        packet(violation),
        if more.is_empty() { "" } else { ": " },
        more.join("; ")
    )
}

/// The interface with its tags: `ixp0`, `ixp0.100`, `ixp0.100.7`.
fn place(violation: &ViolationRecord) -> String {
    let tags: Vec<String> = [violation.vlan, violation.inner_vlan]
        .into_iter()
        .flatten()
        .map(|tag| format!(".{tag}"))
        .collect();
    format!("{}{}", violation.interface, tags.concat())
}

/// Its addresses, ports and protocol, or its ethertype.
fn packet(violation: &ViolationRecord) -> String {
    let (Some(source), Some(destination)) = (violation.source, violation.destination) else {
        return match violation.ethertype {
            Some(ethertype) => format!("ethertype 0x{ethertype:04x}, {} bytes", violation.length),
            None => format!("{} bytes", violation.length),
        };
    };
    let protocol = violation.protocol.unwrap_or(0);
    match (violation.source_port, violation.destination_port) {
        (Some(from), Some(to)) => {
            let (from, to) = ((source, from).into(), (destination, to).into());
            let (from, to): (std::net::SocketAddr, std::net::SocketAddr) = (from, to);
            format!("{from} > {to} {}", protocol_name(protocol))
        }
        _ => format!("{source} > {destination} {}", protocol_name(protocol)),
    }
}

/// The names that operators know by heart; else the number.
fn protocol_name(protocol: u8) -> String {
    let name = match protocol {
        1 => "icmp",
        2 => "igmp",
        6 => "tcp",
        17 => "udp",
        47 => "gre",
        50 => "esp",
        58 => "icmpv6",
        89 => "ospf",
        132 => "sctp",
        other => return format!("protocol {other}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn violation(more: serde_json::Value) -> ViolationRecord {
        let mut value = json!({
            "number": 1, "time": 1.0, "peer": "p1", "interface": "ixp0", "hook": null,
            "source_mac": "02:00:00:00:00:10", "destination_mac": null, "vlan": 100, "inner_vlan": null,
            "ethertype": 0x0800, "source": "9.9.9.9", "destination": "198.51.100.1", "protocol": 17,
            "source_port": 4000, "destination_port": 53, "reason": "source-unannounced", "dropped": true,
            "length": 60, "forbidden_protocol": null, "source_announced_by": [], "destination_is": "not-ours",
            "story": "source advertised by no peer; destination not ours", "header": "",
        });
        let fields = more.as_object().unwrap().clone();
        value.as_object_mut().unwrap().extend(fields);
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_line_has_place_mac_reason_fate_packet_and_story() {
        assert_eq!(
            line(&violation(json!({}))),
            "p1            ixp0.100    02:00:00:00:00:10  source-unannounced       dropped  \
             9.9.9.9:4000 > 198.51.100.1:53 udp: source advertised by no peer; destination not ours"
        );
        let icmp = violation(json!({
            "protocol": 1, "source_port": null, "destination_port": null, "dropped": false, "story": null,
            "peer": null, "vlan": null,
        }));
        assert_eq!(
            line(&icmp),
            "-             ixp0        02:00:00:00:00:10  source-unannounced       passed  9.9.9.9 > 198.51.100.1 icmp"
        );
        let lldp = violation(json!({
            "source": null, "destination": null, "protocol": null, "ethertype": 0x88cc, "reason": "non-ip",
            "forbidden_protocol": "lldp", "story": null,
        }));
        assert!(line(&lldp).ends_with("dropped  ethertype 0x88cc, 60 bytes: lldp"));
        let v6 = violation(json!({ "source": "2001:db8::1", "destination": "2001:db8::2" }));
        assert!(line(&v6).contains("[2001:db8::1]:4000 > [2001:db8::2]:53 udp"));
    }
}
