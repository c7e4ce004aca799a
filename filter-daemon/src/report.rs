//! Evidence for a peer's NOC: what it sent against the policy, exactly by the counters and by example from the samples. The
//! data, which is also the JSON; `page` makes HTML of it. Pure: records come in as arguments. Addresses of third parties
//! are cut to /24 and /48 unless asked otherwise.
use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;
use serde_json::Value;

use crate::advise::block;
use crate::records::{Count, PeerHistory, ViolationRecord};

mod chart;
pub mod page;
mod sentences;
mod series;

pub use series::{BUCKET, MAX_POINTS, Point, percentile_95, points};

/// Example packets that are listed.
pub const MAX_SAMPLES: usize = 50;
/// Blocks of addresses that are listed.
pub const MAX_BLOCKS: usize = 20;
/// Acknowledgements that are listed, the latest.
pub const MAX_ACKNOWLEDGEMENTS: usize = 20;

/// What a report is made of.
#[derive(Clone, Copy, Debug)]
pub struct Material<'a> {
    /// The peer's object in `status --json`.
    pub peer: &'a Value,
    /// Our AS number.
    pub our_asn: u64,
    /// Since when it is asked for, seconds since 1970.
    pub since: f64,
    /// Until when: now.
    pub to: f64,
    /// Its counters.
    pub history: &'a PeerHistory,
    /// Its sampled violations, oldest first.
    pub samples: &'a [ViolationRecord],
    /// Events `acknowledged` of the peer.
    pub acknowledgements: &'a [Value],
    /// What a Mbit/s at the 95th percentile costs.
    pub price: Option<f64>,
    /// Show third parties' whole addresses, and which other peer announces a source.
    pub shows_third_parties: bool,
}

/// The report.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Of this document.
    pub schema: u32,
    /// The peer.
    pub peer: String,
    /// Its AS number.
    pub asn: u64,
    /// Ours.
    pub our_asn: u64,
    /// Since when it was asked for, seconds since 1970.
    pub since: f64,
    /// From when there are counters: later, if records began later.
    pub from: f64,
    /// Until when: it was made then.
    pub to: f64,
    /// For how long of that there are counters, in seconds.
    pub counted_seconds: f64,
    /// Of the program.
    pub version: &'static str,
    /// Are third parties' addresses cut?
    pub anonymised: bool,
    /// All packets of the peer.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the first violation of the period was sampled.
    pub opened: Option<f64>,
    /// When the last one was.
    pub last_seen: Option<f64>,
    /// By reason, most bytes first.
    pub reasons: Vec<ReasonReport>,
    /// Over time.
    pub timeline: Vec<Point>,
    /// The sampled sources, by /24 and /48, most first.
    pub sources: Vec<Block>,
    /// The sampled destinations, by /24 and /48, most first.
    pub destinations: Vec<Block>,
    /// Example packets, the latest first.
    pub samples: Vec<Sample>,
    /// What somebody answered for the peer, the latest first.
    pub acknowledgements: Vec<Acknowledgement>,
}

/// One reason.
#[derive(Clone, Debug, Serialize)]
pub struct ReasonReport {
    /// Its name.
    pub reason: String,
    /// What of the policy it breaks.
    pub sentence: &'static str,
    /// Packets that passed.
    pub passed: u64,
    /// Packets that were dropped.
    pub dropped: u64,
    /// The bytes of both.
    pub bytes: u64,
    /// Bits a second: 95 % of all five-minute averages are not above.
    pub percentile_95: f64,
    /// What that costs.
    pub price: Option<f64>,
    /// When it was sampled first.
    pub first_seen: Option<f64>,
    /// When it was sampled last.
    pub last_seen: Option<f64>,
}

/// Addresses that are routed together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Block {
    /// A /24 or a /48.
    pub prefix: String,
    /// Samples in it.
    pub samples: usize,
    /// Who else announces its sources; empty for destinations, and where no other peer does.
    pub announced_by: String,
}

/// One example.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    /// When, seconds since 1970.
    pub time: f64,
    /// From which MAC.
    pub source_mac: Option<String>,
    /// The outer tag.
    pub vlan: Option<u16>,
    /// From where.
    pub source: Option<String>,
    /// To where.
    pub destination: Option<String>,
    /// IP protocol.
    pub protocol: Option<u8>,
    /// To which port.
    pub destination_port: Option<u16>,
    /// Why it is a violation.
    pub reason: String,
    /// Was it dropped?
    pub dropped: bool,
    /// Length of the frame, in bytes.
    pub length: u32,
    /// Which forbidden protocol.
    pub forbidden_protocol: Option<String>,
}

/// What somebody answered.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Acknowledgement {
    /// When it was noted, seconds since 1970.
    pub time: f64,
    /// What was noted.
    pub note: String,
}

impl Report {
    /// Of this material.
    #[must_use]
    pub fn new(material: Material<'_>) -> Self {
        let total = material.history.total().total();
        let samples = material.samples;
        Self {
            schema: 1,
            peer: material.peer["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            asn: material.peer["asn"].as_u64().unwrap_or_default(),
            our_asn: material.our_asn,
            since: material.since,
            from: begin(material),
            to: material.to,
            counted_seconds: material.history.seconds_known(None),
            version: env!("CARGO_PKG_VERSION"),
            anonymised: !material.shows_third_parties,
            packets: total.packets(),
            bytes: total.bytes(),
            opened: samples.first().map(|it| it.time),
            last_seen: samples.last().map(|it| it.time),
            reasons: reasons(material),
            timeline: points(material.history),
            sources: blocks(material, |it| it.source, true),
            destinations: blocks(material, |it| it.destination, false),
            samples: examples(material),
            acknowledgements: acknowledgements(material.acknowledgements),
        }
    }

    /// Did the peer break anything?
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.reasons.is_empty() && self.samples.is_empty()
    }
}

/// The first moment that the report has anything of.
fn begin(material: Material<'_>) -> f64 {
    let counted = material.history.steps.first().map(|step| step.from);
    let sampled = material.samples.first().map(|it| it.time);
    let first = counted.into_iter().chain(sampled).reduce(f64::min);
    first.unwrap_or(material.to)
}

fn reasons(material: Material<'_>) -> Vec<ReasonReport> {
    let total = material.history.total();
    let broke = total.0.iter().filter_map(|(reason, &count)| {
        let sentence = sentences::of(reason)?;
        Some((reason.as_str(), sentence, count))
    });
    let report = |(reason, sentence, count): (&str, &'static str, Count)| {
        let mut seen = material.samples.iter().filter(|it| it.reason == reason);
        let first_seen = seen.next().map(|it| it.time);
        let percentile_95 = percentile_95(material.history, reason);
        ReasonReport {
            reason: reason.to_owned(),
            sentence,
            passed: count.passed,
            dropped: count.dropped,
            bytes: count.bytes(),
            percentile_95,
            price: material.price.map(|price| price * percentile_95 / 1e6),
            first_seen,
            last_seen: seen.next_back().map(|it| it.time).or(first_seen),
        }
    };
    let mut reasons: Vec<ReasonReport> = broke.map(report).collect();
    reasons.sort_by_key(|it| std::cmp::Reverse(it.bytes));
    reasons
}

fn blocks(
    material: Material<'_>,
    address: impl Fn(&ViolationRecord) -> Option<IpAddr>,
    are_sources: bool,
) -> Vec<Block> {
    let mut found: BTreeMap<String, (usize, Vec<&str>)> = BTreeMap::new();
    for sample in material.samples {
        let Some(prefix) = address(sample).map(block) else {
            continue;
        };
        let (samples, announced_by) = found.entry(prefix).or_default();
        *samples += 1;
        for name in sample.source_announced_by.iter().filter(|_| are_sources) {
            if !announced_by.contains(&name.as_str()) {
                announced_by.push(name);
            }
        }
    }
    let mut blocks: Vec<Block> = found
        .into_iter()
        .map(|(prefix, (samples, announced_by))| Block {
            prefix,
            samples,
            announced_by: match (announced_by.len(), material.shows_third_parties) {
                (0, _) => String::new(),
                (_, true) => announced_by.join(", "),
                (1, false) => "another network that peers with us".to_owned(),
                (many, false) => format!("{many} other networks that peer with us"),
            },
        })
        .collect();
    blocks.sort_by_key(|it| std::cmp::Reverse(it.samples));
    blocks.truncate(MAX_BLOCKS);
    blocks
}

fn examples(material: Material<'_>) -> Vec<Sample> {
    let shown = |address: IpAddr, is_third_party: bool| {
        if is_third_party && !material.shows_third_parties {
            block(address)
        } else {
            address.to_string()
        }
    };
    let example = |it: &ViolationRecord| Sample {
        time: it.time,
        source_mac: it.source_mac.clone(),
        vlan: it.vlan,
        // A source that broke the policy is not the peer's: a third party may own it.
        source: it
            .source
            .map(|address| shown(address, !is_announced_source(it))),
        destination: it
            .destination
            .map(|address| shown(address, it.destination_is.as_deref() == Some("not-ours"))),
        protocol: it.protocol,
        destination_port: it.destination_port,
        reason: it.reason.clone(),
        dropped: it.dropped,
        length: it.length,
        forbidden_protocol: it.forbidden_protocol.clone(),
    };
    let latest = material.samples.iter().rev().take(MAX_SAMPLES);
    latest.map(example).collect()
}

/// Only the destination was wrong: the source is the peer's own.
fn is_announced_source(sample: &ViolationRecord) -> bool {
    sample.reason == filter_core::Reason::DestinationUnannounced.name()
}

fn acknowledgements(events: &[Value]) -> Vec<Acknowledgement> {
    let latest = events.iter().rev().take(MAX_ACKNOWLEDGEMENTS);
    let each = latest.filter_map(|event| {
        Some(Acknowledgement {
            time: event["time"].as_f64()?,
            // One that was noted before control characters were refused.
            note: event["note"].as_str()?.replace(char::is_control, " "),
        })
    });
    each.collect()
}

#[cfg(test)]
mod picture;
#[cfg(test)]
mod tests;
