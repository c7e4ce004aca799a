//! What the daemon's own answer shows. Its words for a cause are the words here. Pure.
use filter_feeds::bmp::counts::LeftOut;
use serde_json::Value;

use super::Finding;

/// Everything that the object of `status --json` shows.
#[must_use]
pub fn look(status: &Value) -> Vec<Finding> {
    let mut found = Vec::new();
    whole(status, &mut found);
    for interface in list(status, "interfaces") {
        look_at_interface(status, interface, &mut found);
    }
    for peer in list(status, "peers") {
        look_at_peer(peer, &mut found);
    }
    for feed in list(status, "feeds") {
        look_at_feed(feed, &mut found);
    }
    found
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or("?")
}

fn names<'a>(value: &'a Value, key: &str) -> Vec<&'a str> {
    list(value, key).iter().filter_map(Value::as_str).collect()
}

fn whole(status: &Value, found: &mut Vec<Finding>) {
    let version = status["version"].as_str().unwrap_or_default();
    if version != env!("CARGO_PKG_VERSION") {
        let what = format!(
            "the daemon is {version}, this program {}",
            env!("CARGO_PKG_VERSION")
        );
        let why = "an upgraded program decides nothing before the daemon is restarted";
        found.push(Finding::new("version", what, why).fix("systemctl restart bcp38"));
    }
    if status["allowed"] == false {
        let what = "nothing is dropped anywhere: `bcp38 observe --all` is in force";
        let why = "it stands above every peer and interface until it is taken back";
        let finding = Finding::new("switched-off", what, why);
        found.push(match keeps_out(status, |_| true) {
            true => finding.problem(true).fix("bcp38 enforce --all"),
            false => finding, // nothing is wanted that it keeps out
        });
    }
    if status["lease_seconds_left"] == 0 {
        let why = "the program only observes until the daemon renews it";
        let keeps_out = keeps_out(status, |class| class["missing"] == "lease-ended");
        let finding = Finding::new("lease", "the lease has ended", why).problem(keeps_out);
        found.push(finding.fix("bcp38 events --since 1h"));
    }
    for problem in names(status, "records_problems") {
        let why = "what happens is forgotten when the daemon ends";
        found.push(Finding::new("records", problem, why));
    }
    for (key, what, fix) in [
        (
            "samples_lost",
            "sampled violations were lost",
            "lower `samples_per_second`",
        ),
        (
            "records_lost",
            "records were not written",
            "see whether the disk has room and answers",
        ),
        (
            "log_lines_lost",
            "log lines were lost",
            "see whether whoever reads the log does",
        ),
        (
            "events_lost",
            "events were lost",
            "see `bcp38 events --warnings`",
        ),
    ] {
        if let Some(lost) = status[key].as_u64().filter(|&lost| lost > 0) {
            let why = "what was lost cannot be shown to anybody";
            found.push(
                Finding::new("lost", format!("{lost} {what}"), why)
                    .note()
                    .fix(fix),
            );
        }
    }
}

/// Is a class that is wanted, of any peer or interface, out of force by what `is_meant` looks for?
fn keeps_out(status: &Value, is_meant: impl Fn(&Value) -> bool) -> bool {
    let mut holders = ["peers", "interfaces"]
        .into_iter()
        .flat_map(|key| list(status, key));
    holders.any(|holder| is_out(holder, &is_meant))
}

/// As [`keeps_out`], of one peer or interface.
fn is_out(holder: &Value, is_meant: impl Fn(&Value) -> bool) -> bool {
    let mut classes = list(holder, "classes").iter();
    classes.any(|it| it["wanted"] == true && it["in_force"] != true && is_meant(it))
}

/// What is wrong with the program's place on an interface.
fn attachment(status: &Value, interface: &Value) -> Option<Finding> {
    let why_not = interface["why"].as_str();
    if interface["attached"] == true {
        let why = "it is attached otherwise than the configuration asks";
        return why_not.map(|why_not| Finding::new("hook", why_not, why));
    }
    let why_not = why_not.unwrap_or("the kernel's devices cannot be read");
    let finding = if interface["attached"].is_null() {
        let what = format!("whether the program is attached cannot be read: {why_not}");
        Finding::new("attached", what, "what is in force there is not known")
            .problem(is_out(interface, |_| true))
    } else {
        let its = format!("`{}`", text(interface, "name"));
        let is_there = |class: &Value| class["lacks"].as_str().is_some_and(|it| it.contains(&its));
        let what = format!("the program is not attached: {why_not}");
        Finding::new("attached", what, "nothing is filtered there")
            .problem(is_out(interface, |_| true) || keeps_out(status, is_there))
    };
    Some(finding.fix("ip -d link show"))
}

fn look_at_interface(status: &Value, interface: &Value, found: &mut Vec<Finding>) {
    let name = text(interface, "name");
    found.extend(attachment(status, interface).map(|it| it.about(name)));
    let mut push = |finding: Finding| found.push(finding.about(name));
    if interface["hook"] == "xdp-generic" {
        let why = "generic XDP costs several times as much for each packet as a driver's own";
        push(Finding::new("hook", "the program runs as generic XDP", why).note());
    }
    let ahead = names(interface, "ahead");
    if !ahead.is_empty() {
        let what = format!("programs of others see packets first: {}", ahead.join(", "));
        let why = "what they drop or redirect is never judged, and counts nowhere";
        push(Finding::new("hook", what, why).fix(format!("bpftool net show dev {name}")));
    }
    let left_out = names(interface, "left_out");
    if !left_out.is_empty() {
        let what = format!("no room for {}", left_out.join(", "));
        let why = "frames to these MACs, and packets to these addresses, are judged as if they were not ours";
        push(Finding::new("left-out", what, why).fix("remove addresses, or split the interface"));
    }
    for alarm in names(interface, "alarms") {
        let (what, why, fix) = match alarm {
            "no-record" => (
                "frames come in from a device that has no record",
                "they pass, whatever they are: a new member of a bond, or a device that came back",
                "ip -d link show",
            ),
            _ => (
                "more than half of what comes in is for none of our MACs",
                "it passes unjudged: flooded frames, or a MAC of ours that is not known",
                "add `mac` to the interface, or ask the exchange about flooding",
            ),
        };
        push(
            Finding::new("alarm", what, why)
                .problem(keeps_out(status, |class| class["missing"] == alarm))
                .fix(fix),
        );
    }
    if interface["attached"] == true && interface["frame_seen"] == false {
        let why =
            "the wire may be elsewhere: a bond's other member, another device of the same name";
        let what = "no frame came in since the program was attached";
        push(Finding::new("no-frame", what, why).fix(format!("tcpdump -c 1 -i {name}")));
    }
    look_at_classes(interface, name, found);
}

fn look_at_peer(peer: &Value, found: &mut Vec<Finding>) {
    let name = text(peer, "name");
    look_at_classes(peer, name, found);
    let mut push = |finding: Finding| found.push(finding.about(name));
    if let Some(error) = peer["publish_error"].as_str() {
        let why = "its last tables stay in force; what it announced since is not in them";
        push(
            Finding::new("publish", error, why)
                .problem(false)
                .fix("bcp38 events --type publish-failed"),
        );
    }
    if let Some(bypass) = peer["bypass"].as_str() {
        let why =
            "on a LAN whoever sends from a MAC of no peer passes, while `unknown` is not in force";
        let fix =
            "set `unknown_peer` of the interface to \"enforce\" once every peer there has a MAC";
        push(Finding::new("bypass", bypass, why).fix(fix));
    }
    for mac in names(peer, "unknown_macs") {
        let what = format!("{mac} sends what only it announces, and is none of its MACs");
        let why = "packets from there are of no known peer";
        push(Finding::new("stations", what, why).fix(format!("bcp38 macs {name} accept {mac}")));
    }
    let accept = format!("bcp38 prefixes {name} --accept-growth");
    let raise = "raise `max_prefixes`, if the peer is right";
    for (key, what, fix) in [
        ("over_limit", "it announces more than `max_prefixes`", raise),
        (
            "too_wide",
            "its sources cover too much of the address space",
            &accept,
        ),
        ("frozen", "its sources have stopped growing", raise),
    ] {
        let families = names(peer, key);
        if !families.is_empty() {
            let why = "what it announces beyond that is treated as not announced";
            let what = format!("{what}: {}", families.join(", "));
            push(Finding::new("limits", what, why).fix(fix));
        }
    }
    if list(peer, "stations").is_empty() {
        let why = "no packet is taken for its";
        let fix = "add `macs` to the peer, or have it answer: ping its addresses";
        push(
            Finding::new("stations", "no MAC of it is known", why)
                .problem(is_out(peer, |class| class["missing"] == "no-station"))
                .fix(fix),
        );
    }
    look_at_views(peer, name, found);
}

/// Why a class is not in force.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Cause<'a> {
    /// As status names it.
    missing: &'a str,
    /// What the class lacks beside the switch.
    sentence: Option<&'a str>,
}

impl<'a> Cause<'a> {
    fn text(self) -> &'a str {
        match self.missing {
            "not-allowed" => "an operator switched it off",
            "all-off" => "`bcp38 observe --all` is in force",
            missing => self.sentence.unwrap_or(missing),
        }
    }
}

/// Classes that are wanted and not in force: those with one cause are one finding.
fn look_at_classes(holder: &Value, name: &str, found: &mut Vec<Finding>) {
    let mut causes: Vec<(Cause<'_>, Vec<String>)> = Vec::new();
    for class in list(holder, "classes") {
        if class["wanted"] != true || class["in_force"] == true {
            continue;
        }
        let cause = Cause {
            missing: class["missing"].as_str().unwrap_or("unreadable"),
            sentence: class["lacks"].as_str(),
        };
        let family = class["family"]
            .as_str()
            .map_or_else(String::new, |it| format!(" {it}"));
        let shown = format!("{}{family}", text(class, "class"));
        match causes.iter_mut().find(|(known, _)| *known == cause) {
            Some((_, classes)) => classes.push(shown),
            None => causes.push((cause, vec![shown])),
        }
    }
    // A peer that is switched on at run time may be configured to observe.
    let why = match (holder["mode_configured"].as_str(), holder["mode"].as_str()) {
        (Some("observe"), Some("enforce")) => "an operator switched it on with `enforce`",
        _ => "the configuration wants it",
    };
    for (cause, classes) in causes {
        let what = format!("not in force: {}: {}", classes.join(", "), cause.text());
        let mut finding = Finding::new("class", what, why).about(name).problem(true);
        finding.fix = fix_of(cause, name);
        found.push(finding);
    }
}

/// The command that is likely to mend it.
fn fix_of(cause: Cause<'_>, name: &str) -> Option<String> {
    Some(match cause.missing {
        "not-allowed" => format!("bcp38 enforce {name}"),
        "all-off" => "bcp38 enforce --all".to_owned(),
        // The sentence holds the command between backticks.
        "tags-hidden" => cause.sentence?.split('`').nth(1)?.to_owned(),
        "not-attached" | "no-record" => "ip -d link show".to_owned(),
        "no-station" => format!("add `macs` to the peer {name}, or ping its addresses"),
        "lease-ended" => "bcp38 events --since 1h".to_owned(),
        "loading" => format!("bcp38 status --wait in-force --peer {name}"),
        "not-received" | "empty" | "session-down" | "count-mismatch" | "shrink-unconfirmed" => {
            format!("bcp38 status --peer {name}")
        }
        "feed-lost" => "bcp38 events --type feed-down".to_owned(),
        "not-published" => "bcp38 events --type publish-failed".to_owned(),
        _ => return None,
    })
}

/// A pre-policy view that is empty beside a post-policy one that is not: the router does not keep what it received.
fn look_at_views(peer: &Value, name: &str, found: &mut Vec<Finding>) {
    let routes = |session: &Value, family: &Value, rib: &str| -> Option<u64> {
        let mut ribs = list(peer, "ribs").iter();
        let rib = ribs
            .find(|it| it["session"] == *session && it["family"] == *family && it["rib"] == rib)?;
        rib["routes"].as_u64()
    };
    for post in list(peer, "ribs")
        .iter()
        .filter(|it| it["rib"] == "adj-rib-in-post-policy")
    {
        let (session, family) = (&post["session"], &post["family"]);
        let has_post = post["routes"].as_u64().is_some_and(|it| it > 0);
        let pre = routes(session, family, "adj-rib-in-pre-policy");
        if has_post && pre.is_none_or(|it| it == 0) {
            let what = format!(
                "the router shows no received {} routes of {} before its policy",
                text(post, "family"),
                session.as_str().unwrap_or("?")
            );
            let why = "what it refuses by policy is treated as not announced";
            let fix =
                "FRR: `neighbor ADDRESS soft-reconfiguration inbound`; BIRD: `import table on`";
            found.push(
                Finding::new("pre-policy", what, why)
                    .note()
                    .about(name)
                    .fix(fix),
            );
        }
    }
}

/// What a feed skips that announces nothing of a peer.
const NO_ANNOUNCEMENTS: [&str; 10] = [
    LeftOut::RepeatedAttribute.name(),
    LeftOut::LocallyOriginated.name(),
    LeftOut::LocRib.name(),
    LeftOut::AdjOutPre.name(),
    LeftOut::Duplicate.name(),
    LeftOut::Mirroring.name(),
    LeftOut::NoRoutes.name(),
    LeftOut::Statistic.name(),
    LeftOut::TrailingBytes.name(),
    LeftOut::OddCapability.name(),
];

fn look_at_feed(feed: &Value, found: &mut Vec<Finding>) {
    let name = format!(
        "{} {} {}",
        feed["number"],
        text(feed, "kind"),
        text(feed, "name")
    );
    if feed["up"] != true {
        let what = format!(
            "the feed is down: {}",
            feed["why"].as_str().unwrap_or("it never was connected")
        );
        let why = "its tables stay for `stale_hold`; then what relies on them leaves";
        let finding = Finding::new("feed", what, why)
            .problem(false)
            .about(name.as_str());
        found.push(finding.fix("see docs/feeds.md for what the router needs"));
    }
    let skipped: Vec<String> = feed["left_out"]
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, count)| count.as_u64().is_some_and(|it| it > 0))
        .filter(|(what, _)| !NO_ANNOUNCEMENTS.contains(&what.as_str()))
        .map(|(what, count)| format!("{count} {what}"))
        .collect();
    if !skipped.is_empty() {
        let why = "what it skipped is treated as not announced";
        let what = format!("it skipped {}", skipped.join(", "));
        found.push(
            Finding::new("feed-skipped", what, why)
                .note()
                .about(name.as_str()),
        );
    }
}

#[cfg(test)]
mod tests;
