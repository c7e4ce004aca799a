//! May a peer be enforced? From what the counters counted exactly and what was sampled: per class, what enforcing it would
//! have dropped, and a plain verdict. Pure: nothing is read, asked or switched here.
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use filter_core::{Address, Class, Classes, Family, Prefix, Reason};
use filter_lifecycle::Side;
use serde::Serialize;
use serde_json::Value;

use crate::records::{ByReason, PeerHistory, ViolationRecord};

/// Enforcing may cost a peer this much of its packets, in percent, before it is advised against.
pub const MAX_SHARE: f64 = 1.0;
/// Less than this was watched: too short to advise enforcing what relies on routes.
pub const MIN_WATCHED: f64 = 86_400.0;
/// Blocks of addresses that are named for each class.
pub const MAX_GROUPS: usize = 5;
/// MACs that are named for each block.
pub const MAX_MACS: usize = 3;

/// What is known of a peer.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// Its object in `status --json`.
    pub peer: &'a Value,
    /// Its counters over the time that is looked at.
    pub history: &'a PeerHistory,
    /// What was sampled of it meanwhile; or why that is not known.
    pub samples: Result<&'a [ViolationRecord], &'a str>,
}

/// The answer.
#[derive(Clone, Debug, Serialize)]
pub struct Advice {
    /// The peer.
    pub peer: String,
    /// Its AS number.
    pub asn: u64,
    /// For how long it was watched, in seconds.
    pub watched_seconds: f64,
    /// When the first of its samples was taken, seconds since 1970: they may reach back less far than the counters.
    pub sampled_since: Option<f64>,
    /// All its packets meanwhile.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets that no side was known for: what would have become of them is not known.
    pub unjudged: u64,
    /// By class, those that the configuration names.
    pub classes: Vec<ClassAdvice>,
    /// The verdict on all of them.
    pub verdict: Verdict,
    /// Why it is not yet safe.
    pub because: Option<String>,
    /// What enforces all that is safe.
    pub command: Option<String>,
}

/// May it be enforced?
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Nothing would have been dropped.
    Safe,
    /// Little would have been dropped; it is named.
    SafeExcept,
    /// Not yet.
    NotYet,
}

impl Verdict {
    /// As people say it.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Safe => "safe",
            Self::SafeExcept => "safe, except for what is named",
            Self::NotYet => "not yet",
        }
    }
}

/// One class.
#[derive(Clone, Debug, Serialize)]
pub struct ClassAdvice {
    /// Its name.
    pub class: &'static str,
    /// The families in which it is in force already.
    pub in_force: Vec<String>,
    /// Packets that broke it, exactly.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// For how long what it relies on was known, in seconds.
    pub watched_seconds: f64,
    /// Of all packets of the peer that could be judged, in percent; none if there were none.
    pub share: Option<f64>,
    /// By reason, exactly.
    pub reasons: BTreeMap<String, u64>,
    /// How many were sampled of each family.
    pub sampled: BTreeMap<&'static str, usize>,
    /// The sampled sources, by /24 or /48, most first.
    pub sources: Vec<Group>,
    /// The sampled destinations, by /24 or /48, most first.
    pub destinations: Vec<Group>,
    /// May it be enforced?
    pub verdict: Verdict,
    /// Why not yet.
    pub because: Option<String>,
}

/// Addresses that go together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Group {
    /// A /24 or a /48.
    pub prefix: String,
    /// Samples in it.
    pub samples: usize,
    /// Peers that announce its sources.
    pub announced_by: BTreeSet<String>,
    /// From which MACs.
    pub macs: BTreeSet<String>,
    /// Samples in it of prefixes that were valid within the last day before they were sampled.
    pub recently_valid: usize,
}

/// The classes that packets with this reason break, whatever the family.
fn broken_by(reason: Reason) -> Classes {
    let sides = match reason {
        Reason::DestinationUnannounced => Classes::DESTINATIONS,
        Reason::BothUnannounced => Classes::SOURCES.with(Classes::DESTINATIONS),
        _ => Classes::SOURCES,
    };
    reason.breaks(Family::Ipv4, sides)
}

fn breaks(reason: &str, class: Class) -> bool {
    Reason::from_name(reason).is_some_and(|reason| broken_by(reason).meets(Classes::of(class)))
}

/// Advice about the classes of a peer: those named in `only`, or all that its configuration enforces.
#[must_use]
pub fn advise(evidence: Evidence<'_>, only: &[Class]) -> Advice {
    let total = evidence.history.total();
    let all = total.total();
    let name = evidence.peer["name"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let classes: Vec<ClassAdvice> = classes_of(evidence.peer, only)
        .into_iter()
        .map(|class| class_advice(evidence, &total, class))
        .collect();
    let worst = classes.iter().map(|class| class.verdict).max();
    let verdict = worst.unwrap_or(Verdict::NotYet);
    let because: Vec<String> = classes
        .iter()
        .filter_map(|it| Some((it.class, it.because.as_ref()?)))
        .map(|(class, why)| format!("{class}: {why}"))
        .collect();
    Advice {
        command: command(&name, &classes),
        peer: name,
        asn: evidence.peer["asn"].as_u64().unwrap_or_default(),
        watched_seconds: evidence.history.seconds(),
        sampled_since: evidence.samples().first().map(|it| it.time),
        packets: all.packets(),
        bytes: all.bytes(),
        unjudged: unjudged(&total),
        classes,
        verdict,
        because: (!because.is_empty()).then(|| because.join("; ")),
    }
}

impl<'a> Evidence<'a> {
    /// None if they are not known.
    fn samples(self) -> &'a [ViolationRecord] {
        self.samples.unwrap_or_default()
    }
}

/// Packets that no side was known for.
fn unjudged(total: &ByReason) -> u64 {
    let unjudged = total.0.get(Reason::Unjudged.name());
    unjudged.map_or(0, |it| it.packets())
}

/// In the order in which they are best switched on: those that need no routes first.
fn classes_of(peer: &Value, only: &[Class]) -> Vec<Class> {
    let listed: BTreeSet<&str> = peer["classes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|it| it["class"].as_str())
        .collect();
    let order = [
        Class::Malformed,
        Class::Lan,
        Class::Unknown,
        Class::Families,
        Class::Bogons,
        Class::Sources,
        Class::Destinations,
    ];
    let is_asked = |class: &Class| match only {
        [] => listed.contains(class.name()),
        [..] => only.contains(class),
    };
    order.into_iter().filter(is_asked).collect()
}

fn class_advice(evidence: Evidence<'_>, total: &ByReason, class: Class) -> ClassAdvice {
    let broke = total.0.iter().filter(|(reason, _)| breaks(reason, class));
    let (mut packets, mut bytes, mut reasons) = (0, 0, BTreeMap::new());
    for (reason, count) in broke {
        packets += count.packets();
        bytes += count.bytes();
        reasons.insert(reason.clone(), count.packets());
    }
    let samples: Vec<&ViolationRecord> = evidence
        .samples()
        .iter()
        .filter(|it| breaks(&it.reason, class))
        .collect();
    let judged = total.total().packets().saturating_sub(unjudged(total));
    let share = share(packets, judged);
    let watched = evidence.history.seconds_known(side_of(class));
    let cost = Cost {
        packets,
        share,
        watched,
        samples: samples.len(),
        recently_valid: samples.iter().filter(|it| was_valid(it, class)).count(),
    };
    let (verdict, because) = judge(evidence, class, cost);
    ClassAdvice {
        class: class.name(),
        in_force: in_force(evidence.peer, class),
        packets,
        bytes,
        watched_seconds: watched,
        share,
        reasons,
        sampled: by_family(&samples),
        sources: groups(&samples, |it| it.source, |it| it.source_valid_seconds_ago),
        destinations: groups(
            &samples,
            |it| it.destination,
            |it| it.destination_valid_seconds_ago,
        ),
        verdict,
        because,
    }
}

/// The side that a class relies on the routes of.
const fn side_of(class: Class) -> Option<Side> {
    match class {
        Class::Sources => Some(Side::Sources),
        Class::Destinations => Some(Side::Destinations),
        _ => None,
    }
}

/// A time in the largest unit that fits.
#[must_use]
pub fn span(seconds: f64) -> String {
    match seconds {
        0.0..60.0 => format!("{seconds:.0} s"),
        60.0..7200.0 => format!("{:.0} min", seconds / 60.0),
        7200.0..172_800.0 => format!("{:.1} h", seconds / 3600.0),
        _ => format!("{:.1} d", seconds / 86_400.0),
    }
}

/// In percent; none of nothing.
#[expect(clippy::cast_precision_loss, reason = "a share needs no more")]
fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64 * 100.0)
}

/// What enforcing a class would have cost.
struct Cost {
    packets: u64,
    /// In percent; none if no packet could be judged.
    share: Option<f64>,
    /// For how long what it relies on was known, in seconds.
    watched: f64,
    samples: usize,
    /// Samples of prefixes that were valid within the last day before they were sampled.
    recently_valid: usize,
}

/// Was the side that the class is about valid until lately?
fn was_valid(sample: &ViolationRecord, class: Class) -> bool {
    match class {
        Class::Sources => sample.source_valid_seconds_ago.is_some(),
        Class::Destinations => sample.destination_valid_seconds_ago.is_some(),
        _ => false,
    }
}

fn judge(evidence: Evidence<'_>, class: Class, cost: Cost) -> (Verdict, Option<String>) {
    let Cost {
        packets,
        share,
        watched,
        samples,
        recently_valid,
    } = cost;
    let not_yet = |why: String| (Verdict::NotYet, Some(why));
    if let Some(why) = obstacle(evidence.peer, class) {
        return not_yet(why);
    }
    if evidence.history.steps.is_empty() {
        return not_yet("nothing is recorded of it yet".to_owned());
    }
    if side_of(class).is_some() && watched < MIN_WATCHED {
        return not_yet(format!(
            "only {} were watched in which its routes were known, {} are wanted",
            span(watched),
            span(MIN_WATCHED)
        ));
    }
    let Some(share) = share else {
        return not_yet("no packet of it could be judged".to_owned());
    };
    if let Err(why) = evidence.samples {
        return not_yet(format!("its samples are not known: {why}"));
    }
    // What is in force already was dared before: a flood of spoofed packets is no reason to end it.
    if share > MAX_SHARE && in_force(evidence.peer, class).is_empty() {
        return not_yet(format!(
            "{share:.2} % of its packets would be dropped, more than {MAX_SHARE} %"
        ));
    }
    if recently_valid > 0 {
        return not_yet(format!(
            "{recently_valid} of {samples} samples are of prefixes that were valid until lately: wait until its routes are quiet, or raise `withdraw_hold`"
        ));
    }
    match packets {
        0 => (Verdict::Safe, None),
        _ => (Verdict::SafeExcept, None),
    }
}

/// What the class lacks, as status has it, whether it is wanted or not.
fn obstacle(peer: &Value, class: Class) -> Option<String> {
    let mut classes = peer["classes"].as_array().into_iter().flatten();
    let lacks = classes.find_map(|it| {
        let lacks = it["lacks"].as_str()?;
        (it["class"] == class.name()).then_some(lacks)
    });
    lacks.map(str::to_owned)
}

fn in_force(peer: &Value, class: Class) -> Vec<String> {
    let classes = peer["classes"].as_array().into_iter().flatten();
    let on = classes.filter(|it| it["class"] == class.name() && it["in_force"] == true);
    on.map(|it| it["family"].as_str().unwrap_or("both").to_owned())
        .collect()
}

fn by_family(samples: &[&ViolationRecord]) -> BTreeMap<&'static str, usize> {
    let mut sampled = BTreeMap::new();
    for source in samples.iter().filter_map(|it| it.source) {
        *sampled
            .entry(Address::from(source).family.name())
            .or_insert(0) += 1;
    }
    sampled
}

/// The block that an address is shown in: what is routed between networks.
#[must_use]
pub fn block(address: IpAddr) -> String {
    let length = if address.is_ipv4() { 24 } else { 48 };
    let prefix = Prefix::new(address.into(), length);
    prefix.map_or_else(|_| address.to_string(), |prefix| prefix.to_string())
}

/// The blocks with most samples.
fn groups(
    samples: &[&ViolationRecord],
    address: impl Fn(&ViolationRecord) -> Option<IpAddr>,
    valid_ago: impl Fn(&ViolationRecord) -> Option<u64>,
) -> Vec<Group> {
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    for sample in samples {
        let Some(prefix) = address(sample).map(block) else {
            continue;
        };
        let group = groups.entry(prefix.clone()).or_insert_with(|| Group {
            prefix,
            samples: 0,
            announced_by: BTreeSet::new(),
            macs: BTreeSet::new(),
            recently_valid: 0,
        });
        group.samples += 1;
        group.recently_valid += usize::from(valid_ago(sample).is_some());
        group
            .announced_by
            .extend(sample.source_announced_by.iter().cloned());
        if group.macs.len() < MAX_MACS {
            group.macs.extend(sample.source_mac.clone());
        }
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.samples));
    groups.truncate(MAX_GROUPS);
    groups
}

/// Everything that is safe and not in force yet.
fn command(peer: &str, classes: &[ClassAdvice]) -> Option<String> {
    let safe: Vec<&ClassAdvice> = classes
        .iter()
        .filter(|it| it.verdict != Verdict::NotYet)
        .collect();
    if safe.is_empty() || safe.iter().all(|it| !it.in_force.is_empty()) {
        return None;
    }
    let names: Vec<&str> = safe.iter().map(|it| it.class).collect();
    let only = match safe.len() == classes.len() {
        true => String::new(),
        false => format!(" --only {}", names.join(",")),
    };
    Some(format!("bcp38 enforce {peer}{only} --confirm-within 10m"))
}

#[cfg(test)]
mod tests;
