//! What the configuration itself will surprise its operator with. Pure.
use std::net::IpAddr;

use filter_core::Family;
use filter_core::Mode;
use filter_lifecycle::spec::{Peer, Reach};

use super::Finding;
use crate::config::{Config, Feed};

/// Everything that the configuration shows.
#[must_use]
pub fn look(config: &Config) -> Vec<Finding> {
    let mut found = Vec::new();
    for feed in &config.feeds {
        look_at_feed(config, feed, &mut found);
    }
    for peer in &config.spec.peers {
        look_at_peer(peer, &mut found);
    }
    let enforced = config
        .spec
        .peers
        .iter()
        .any(|peer| peer.mode == Mode::Enforce);
    let is_polled = config.feeds.iter().any(|feed| feed.interval().is_some());
    if enforced && is_polled && !config.feeds.iter().any(Feed::is_push) {
        let what = "routes come from polls only";
        let why = "packets of a prefix that was just announced are dropped until the next poll";
        let fix = "add a `bmp` or `shadow` feed beside the polls";
        found.push(Finding::new("only-polls", what, why).fix(fix));
    }
    for server in &config.spec.route_servers {
        if server.our_routes_reach == Reach::Communities {
            let what = "whom our routes reach is read from their communities";
            let why = "a member that the communities do not name gets no destinations: packets to our prefixes break the policy";
            let finding = Finding::new("communities", what, why)
                .note()
                .about(server.name.as_str());
            found.push(
                finding
                    .fix("set `our_routes_reach` to \"all\" unless our announcements carry them"),
            );
        }
    }
    found
}

fn look_at_feed(config: &Config, feed: &Feed, found: &mut Vec<Finding>) {
    let Feed::Bmp {
        listen,
        allow,
        password,
        ..
    } = feed
    else {
        return;
    };
    let is_wide = allow.iter().any(|prefix| {
        let width = match prefix.family() {
            Family::Ipv4 => 24,
            Family::Ipv6 => 48,
        };
        prefix.len() < width
    });
    let is_reachable = !listen.ip().is_loopback();
    if is_reachable && is_wide && password.is_none() {
        let allow: Vec<String> = allow.iter().map(ToString::to_string).collect();
        let what = format!(
            "anybody in {} may connect as a router, without a password",
            allow.join(", ")
        );
        let why = "who connects decides which sources are valid";
        let finding = Finding::new("bmp-open", what, why).about(feed.name(&config.spec));
        found.push(finding.fix("name the routers in `allow`, and set `password`"));
    }
}

fn look_at_peer(peer: &Peer, found: &mut Vec<Finding>) {
    let mut push = |finding: Finding| found.push(finding.about(peer.name.as_str()));
    for family in Family::ALL {
        let of_family: Vec<IpAddr> = peer
            .session_addresses()
            .filter(|it| it.is_ipv4() == (family == Family::Ipv4))
            .collect();
        if !of_family.is_empty() && !peer.families.contains(family) {
            let what = format!(
                "it has the session address {}, and {family} is not among its `families`",
                of_family[0]
            );
            let why = "what it sends of that family breaks `families`, its own session aside";
            push(Finding::new("families", what, why).fix(format!(
                "add \"{family}\" to `families`, or remove the address"
            )));
        }
    }
    let limits = Family::ALL.map(|family| peer.max_prefixes.get(family));
    if limits.iter().all(|limit| limit.is_none()) {
        let why = "a leak of its makes every leaked prefix a valid source";
        let finding = Finding::new("max-prefixes", "no `max_prefixes` is set", why).note();
        push(finding.fix("set `max_prefixes`, as the router has it"));
    }
}

#[cfg(test)]
mod tests {
    use super::super::CHECKS;
    use super::*;

    fn checks(text: &str) -> Vec<&'static str> {
        let (config, _) = Config::parse(text, "test").unwrap_or_else(|error| panic!("{error}"));
        let mut found: Vec<_> = look(&config).iter().map(|it| it.check).collect();
        assert!(
            found.iter().all(|check| CHECKS.contains(check)),
            "{found:?}"
        );
        found.sort_unstable();
        found
    }

    const GOOD: &str = r#"
[router]
asn = 64500
[[interface]]
name = "ixp0"
kind = "lan"
lan = ["203.0.113.0/24"]
[[peer]]
name = "p1"
asn = 64501
interface = "ixp0"
addresses = ["203.0.113.11"]
max_prefixes = { ipv4 = 10 }
mode = "enforce"
[[feed]]
kind = "bmp"
listen = "0.0.0.0:11019"
allow = ["192.0.2.1"]
[[feed]]
kind = "frr"
"#;

    #[test]
    fn each_oddity_is_found_by_its_check() {
        assert_eq!(checks(GOOD), [""; 0]);
        let with = |from: &str, to: &str| {
            assert!(GOOD.contains(from), "{from}");
            checks(&GOOD.replace(from, to))
        };
        assert_eq!(with("max_prefixes = { ipv4 = 10 }\n", ""), ["max-prefixes"]);
        assert_eq!(
            with("mode =", "families = [\"ipv6\"]\nmode ="),
            ["families"]
        );
        assert_eq!(with("[\"192.0.2.1\"]", "[\"192.0.0.0/16\"]"), ["bmp-open"]);
        assert_eq!(with("[\"192.0.2.1\"]", "[\"192.0.2.0/24\"]"), [""; 0]);
        let push =
            "[[feed]]\nkind = \"bmp\"\nlisten = \"0.0.0.0:11019\"\nallow = [\"192.0.2.1\"]\n";
        assert_eq!(with(push, ""), ["only-polls"]);
        let server = "[[route_server]]\nname = \"rs1\"\nasn = 64511\ninterface = \"ixp0\"\naddresses = [\"203.0.113.250\"]\nour_routes_reach = \"communities\"\n";
        assert_eq!(checks(&format!("{GOOD}{server}")), ["communities"]);
    }
}
