//! The metrics' names, units and help, from a status as docs/status.md describes it. What is null there is left out here:
//! never a guess. Counters are per peer, reason and action, and only of reasons that occurred: that bounds how many there are.
use std::fmt::{Display, Write};

use filter_lifecycle::PeerState;
use serde_json::Value;

const FAMILIES: [&str; 2] = ["ipv4", "ipv6"];

/// Prometheus' text format, version 0.0.4.
#[must_use]
pub fn text(status: &Value) -> String {
    let mut page = Page::default();
    daemon(&mut page, status);
    interfaces(&mut page, list(&status["interfaces"]));
    feeds(&mut page, list(&status["feeds"]));
    peers(&mut page, list(&status["peers"]));
    classes(&mut page, status);
    packets(&mut page, status);
    page.text
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn gauge(&mut self, name: &str, help: &str) -> Metric<'_> {
        self.metric(name, "gauge", help)
    }

    fn counter(&mut self, name: &str, help: &str) -> Metric<'_> {
        self.metric(name, "counter", help)
    }

    fn metric(&mut self, name: &str, kind: &str, help: &str) -> Metric<'_> {
        let name = format!("bcp38_{name}");
        _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Metric { page: self, name }
    }
}

/// One metric, to be given its samples.
struct Metric<'a> {
    page: &'a mut Page,
    name: String,
}

impl Metric<'_> {
    fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) -> &mut Self {
        let labels: Vec<String> = labels
            .iter()
            .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
            .collect();
        let labels = match labels.as_slice() {
            [] => String::new(),
            labels => format!("{{{}}}", labels.join(",")),
        };
        _ = writeln!(self.page.text, "{}{labels} {value}", self.name);
        self
    }

    /// A number or a truth, if it is there.
    fn value(&mut self, labels: &[(&str, &str)], value: &Value) -> &mut Self {
        match value {
            Value::Number(number) => self.sample(labels, number),
            Value::Bool(truth) => self.sample(labels, u8::from(*truth)),
            _ => self,
        }
    }
}

/// As the text format wants label values.
fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn name(value: &Value) -> &str {
    value["name"].as_str().unwrap_or_default()
}

fn word<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn daemon(page: &mut Page, status: &Value) {
    page.gauge("build_info", "1, with the daemon's version.")
        .sample(&[("version", word(status, "version"))], 1);
    let help = "Time since the daemon started.";
    page.gauge("uptime_seconds", help)
        .value(&[], &status["uptime_seconds"]);
    let help = "Time until the program only observes if the daemon does not come back.";
    page.gauge("lease_remaining_seconds", help)
        .value(&[], &status["lease_seconds_left"]);
    let help = "Memory of the compiled tables that is used.";
    page.gauge("table_memory_used_bytes", help)
        .value(&[], &status["tables"]["bytes_used"]);
    let help = "Memory of the compiled tables that there is (table_memory_mib).";
    page.gauge("table_memory_capacity_bytes", help)
        .value(&[], &status["tables"]["bytes_capacity"]);
    let help = "Sampled violations that the ring had no room for.";
    page.counter("samples_lost_total", help)
        .value(&[], &status["samples_lost"]);
    let help = "Events that were pushed out before they could be read.";
    page.counter("events_lost_total", help)
        .value(&[], &status["events_lost"]);
    let help = "Log lines that could not be written.";
    page.counter("log_lines_lost_total", help)
        .value(&[], &status["log_lines_lost"]);
    let help = "Events about sessions that no peer and no route server has.";
    page.counter("unknown_session_events_total", help)
        .value(&[], &status["unknown_sessions"]);
}

fn interfaces(page: &mut Page, interfaces: &[Value]) {
    let help = "1 if the program is on the interface, 0 if not.";
    let mut attached = page.gauge("interface_attached", help);
    for each in interfaces {
        attached.value(&[("interface", name(each))], &each["attached"]);
    }
}

fn feeds(page: &mut Page, feeds: &[Value]) {
    let number = |feed: &Value| feed["number"].to_string();
    let mut up = page.gauge("feed_up", "1 if the feed is connected, 0 if not.");
    for each in feeds {
        let labels = [
            ("feed", &*number(each)),
            ("kind", word(each, "kind")),
            ("name", name(each)),
        ];
        up.value(&labels, &each["up"]);
    }
    let help = "What the feed skipped, by kind: see docs/feeds.md.";
    let mut left_out = page.counter("feed_left_out_total", help);
    for each in feeds {
        for (what, count) in each["left_out"].as_object().into_iter().flatten() {
            left_out.value(&[("feed", &*number(each)), ("what", what)], count);
        }
    }
}

fn peers(page: &mut Page, peers: &[Value]) {
    let mut info = page.gauge("peer_info", "1, with the peer's AS number.");
    for each in peers {
        let asn = each["asn"].to_string();
        info.sample(&[("peer", name(each)), ("asn", &asn)], 1);
    }
    let mut state = page.gauge("peer_state", "1 for the state the peer is in.");
    for each in peers {
        for one in PeerState::ALL.map(PeerState::name) {
            let is = u8::from(word(each, "state") == one);
            state.sample(&[("peer", name(each)), ("state", one)], is);
        }
    }
    let help =
        "Prefixes the peer advertises to us (sources) and we to it (destinations), as admitted.";
    let mut prefixes = page.gauge("peer_prefixes", help);
    for each in peers {
        for set in ["sources", "destinations"] {
            prefixes.value(&[("peer", name(each)), ("set", set)], &each[set]);
        }
    }
    let help = "Prefixes that are not admitted.";
    let mut refused = page.gauge("peer_refused_prefixes", help);
    for each in peers {
        refused.value(&[("peer", name(each))], &each["refused"]);
    }
    for (key, help) in [
        (
            "frozen",
            "1 if the family's sources stay as they last were within the limits.",
        ),
        (
            "over_limit",
            "1 if the family has more sources than max_prefixes.",
        ),
        ("too_wide", "1 if the family's sources cover too much."),
    ] {
        let mut limited = page.gauge(&format!("peer_{key}"), help);
        for each in peers {
            for family in FAMILIES {
                let is = list(&each[key]).iter().any(|it| it == family);
                limited.sample(&[("peer", name(each)), ("family", family)], u8::from(is));
            }
        }
    }
    let help = "1 if publishing the peer's tables failed last.";
    let mut failed = page.gauge("peer_publish_failed", help);
    for each in peers {
        let is = u8::from(!each["publish_error"].is_null());
        failed.sample(&[("peer", name(each))], is);
    }
    let help = "Bytes the peer sent us that it should send elsewhere, while it points default.";
    let mut pointing = page.gauge("peer_default_pointing_bytes", help);
    for each in peers {
        pointing.value(&[("peer", name(each))], &each["default_pointing"]["bytes"]);
    }
}

/// Wanted, allowed and in force, class by class.
fn classes(page: &mut Page, status: &Value) {
    let whose = [("peer", "peers"), ("interface", "interfaces")];
    for (label, key) in whose {
        for (what, help) in [
            ("wanted", "1 if configuration and daemon grant the class."),
            ("allowed", "1 if the operator permits the class."),
            (
                "in_force",
                "1 if the data plane drops for the class now, read back from it.",
            ),
        ] {
            let mut metric = page.gauge(&format!("{label}_class_{what}"), help);
            for each in list(&status[key]) {
                for class in list(&each["classes"]) {
                    let labels = [
                        (label, name(each)),
                        ("class", word(class, "class")),
                        ("family", class["family"].as_str().unwrap_or("all")),
                    ];
                    metric.value(&labels, &class[what]);
                }
            }
        }
    }
}

/// Per peer or interface, reason and action.
fn packets(page: &mut Page, status: &Value) {
    let whose = [("peer", "peers"), ("interface", "interfaces")];
    for (label, key) in whose {
        for (unit, help) in [
            (
                "packets",
                "Packets by reason and action; dropped for source reasons: OpenConfig's urpf-drop-pkts.",
            ),
            (
                "bytes",
                "Bytes by reason and action; dropped for source reasons: OpenConfig's urpf-drop-bytes.",
            ),
        ] {
            let mut metric = page.counter(&format!("{label}_{unit}_total"), help);
            for each in list(&status[key]) {
                for (reason, fates) in each["counters"].as_object().into_iter().flatten() {
                    for action in ["passed", "dropped"] {
                        let labels = [
                            (label, name(each)),
                            ("reason", reason.as_str()),
                            ("action", action),
                        ];
                        metric.value(&labels, &fates[action][unit]);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_status_becomes_samples_and_what_is_null_is_left_out() {
        let counters = json!({"source-bogon": {"passed": {"packets": 0, "bytes": 0}, "dropped": {"packets": 18_446_744_073_709_551_615_u64, "bytes": 7}}});
        let class = |in_force: Value| json!({"class": "sources", "family": "ipv4", "wanted": true, "allowed": true, "in_force": in_force});
        let status = json!({
            "version": "0.1.0", "uptime_seconds": 5, "lease_seconds_left": null,
            "tables": {"bytes_used": 1, "bytes_capacity": 2}, "samples_lost": null, "unknown_sessions": 0, "events_lost": 3,
            "interfaces": [{"name": "ixp0", "attached": null, "classes": [], "counters": null}],
            "feeds": [{"number": 0, "kind": "bmp", "name": "127.0.0.1:11019", "up": false, "left_out": {"odd": 4}}],
            "peers": [
                {"name": "a\"b\\c\nd", "asn": 57965, "state": "enforcing", "sources": 2, "destinations": 1, "refused": 0,
                 "frozen": ["ipv6"], "over_limit": [], "too_wide": [], "publish_error": null, "default_pointing": null,
                 "classes": [class(json!(true)), class(Value::Null)], "counters": counters},
            ],
        });
        let text = text(&status);
        let peer = r#"peer="a\"b\\c\nd""#;
        for line in [
            "bcp38_build_info{version=\"0.1.0\"} 1".to_owned(),
            "# TYPE bcp38_events_lost_total counter\nbcp38_events_lost_total 3".to_owned(),
            "bcp38_feed_up{feed=\"0\",kind=\"bmp\",name=\"127.0.0.1:11019\"} 0".to_owned(),
            "bcp38_feed_left_out_total{feed=\"0\",what=\"odd\"} 4".to_owned(),
            format!("bcp38_peer_info{{{peer},asn=\"57965\"}} 1"),
            format!("bcp38_peer_state{{{peer},state=\"enforcing\"}} 1"),
            format!("bcp38_peer_state{{{peer},state=\"degraded\"}} 0"),
            format!("bcp38_peer_frozen{{{peer},family=\"ipv6\"}} 1"),
            format!("bcp38_peer_class_in_force{{{peer},class=\"sources\",family=\"ipv4\"}} 1"),
            format!(
                "bcp38_peer_packets_total{{{peer},reason=\"source-bogon\",action=\"dropped\"}} 18446744073709551615"
            ),
        ] {
            assert!(text.contains(&format!("{line}\n")), "{line}\n{text}");
        }
        let in_force = text.matches("bcp38_peer_class_in_force{").count();
        assert_eq!(in_force, 1, "unreadable is neither 0 nor 1");
        for absent in [
            "\nbcp38_lease_remaining_seconds ",
            "\nbcp38_interface_attached{",
            "\nbcp38_samples_lost_total ",
        ] {
            assert!(!text.contains(absent), "{absent}");
        }
    }

    #[test]
    fn nonsense_is_an_empty_page_and_no_panic() {
        for status in [Value::Null, json!([]), json!({"peers": 7, "feeds": [null]})] {
            assert!(text(&status).starts_with("# HELP bcp38_build_info "));
        }
    }
}
