//! The two peering policies the project comes from, as scenarios: their sentences, their prefixes, real daemons
//! (FRR as our router, BIRD as theirs), real frames.
#![expect(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::net::IpAddr;
use std::time::{Duration, Instant};

use filter_core::{Family, Mode};
use filter_daemon::runtime::AtExit;
use tests::lab::{
    Bcp38, Exchange, FrrRouter, Member, Neighbour, Package, Peer, Site, Speaker, Traffic, require,
    wait_for,
};

/// How long the lab's daemons may take.
const WITHIN: Duration = Duration::from_secs(60);
/// `withdraw_hold` here.
const HOLD: Duration = Duration::from_secs(2);
/// Destinations: one of ours, and strangers.
const OURS: &str = "198.51.100.10";
const OURS6: &str = "2001:db8:100::10";

const ICRC: Member = Member {
    name: "icrc",
    asn: 57965,
    host: 57,
};
const SPEEDMANN: Member = Member {
    name: "speedmann",
    asn: 214_312,
    host: 214,
};

/// Our router, one peer, the daemon.
struct Scene {
    daemon: Bcp38,
    traffic: Traffic,
    peer: Peer,
    config: String,
    site: Site,
    _frr: FrrRouter,
    _exchange: Exchange,
}

impl Scene {
    fn new(member: Member, announces: &[&str], families: &[Family], more: &str) -> Self {
        let Member { name, asn, .. } = member;
        let exchange = Exchange::new();
        let peer = exchange.peer(member, announces, Speaker::ROUTER, "");
        let sessions: Vec<IpAddr> = families
            .iter()
            .map(|&family| peer.address(family))
            .collect();
        let neighbours: Vec<Neighbour> = sessions
            .iter()
            .map(|&address| Neighbour {
                address,
                asn,
                route_server: false,
            })
            .collect();
        let frr = exchange.start(&neighbours);
        for &family in families {
            wait_for("the session", WITHIN, || {
                peer.is_established(family).then_some(())
            });
        }
        let mut config = Exchange::config(&frr, &format!("withdraw_hold = {}", HOLD.as_secs()));
        let addresses: Vec<String> = sessions.iter().map(IpAddr::to_string).collect();
        let names: Vec<&str> = families.iter().map(|family| family.name()).collect();
        config.push_str(&format!(
            "\n[[peer]]\nname = \"{name}\"\nasn = {asn}\ninterface = \"eth0\"\n\
             addresses = {addresses:?}\nfamilies = {names:?}\n{more}\n",
        ));
        let site = Site::new(&exchange.router);
        let mut traffic = Traffic::new(&exchange.router, &[(name, peer.namespace())]);
        let daemon = site.start(&config);
        daemon.until_state(name, "observing");
        // Its MAC is known by its sessions' addresses alone.
        daemon.until_event("mac-learned", |event| event["peer"] == name);
        traffic.reset(&daemon);
        Self {
            daemon,
            traffic,
            peer,
            config,
            site,
            _frr: frr,
            _exchange: exchange,
        }
    }

    fn end(self) {
        self.traffic.assert_account(&self.daemon);
        self.daemon.stop();
        self.site
            .try_start(&self.config, AtExit::Detach)
            .unwrap()
            .stop();
        assert!(!self.site.pins().exists(), "pins are left behind");
    }
}

fn icrc() -> Scene {
    let announces = ["45.146.194.0/23", "2a13:47c0:146::/48"];
    Scene::new(
        ICRC,
        &announces,
        &Family::ALL,
        "max_prefixes = { ipv4 = 2, ipv6 = 2 }",
    )
}

/// "The destination address of any traffic you send to us must be contained within a route that we currently BGP
/// advertise to you. The source address of any traffic you send to us must be contained within a route you
/// currently BGP advertise to us."
#[test]
fn as57965_source_and_destination_are_contained_in_what_is_advertised() {
    if !require("seeds", &[Package::Frr, Package::Bird]) {
        return;
    }
    let mut scene = icrc();
    let (daemon, traffic) = (&scene.daemon, &mut scene.traffic);
    for dropped in [false, true] {
        for (source, destination, reason) in [
            ("45.146.194.0", OURS, "permitted"),
            ("45.146.195.255", OURS, "permitted"),
            ("2a13:47c0:146::1", OURS6, "permitted"),
            ("45.146.193.255", OURS, "source-unannounced"),
            ("45.146.196.0", OURS, "source-unannounced"),
            ("2a13:47c0:147::1", OURS6, "source-unannounced"),
            ("45.146.194.1", "198.51.101.1", "destination-unannounced"),
            (
                "2a13:47c0:146::1",
                "2001:db8:200::1",
                "destination-unannounced",
            ),
            ("9.9.9.9", "8.8.8.8", "both-unannounced"),
        ] {
            let dropped = dropped && reason != "permitted";
            traffic.expect(daemon, ("icrc", source, destination), reason, dropped);
        }
        daemon.set_mode("icrc", Mode::Enforce);
    }
    scene.end();
}

/// "Max Prefix IPv4: 2, Max Prefix IPv6: 2": a third freezes the table at the last good one.
#[test]
fn as57965_a_third_prefix_freezes_the_table() {
    if !require("seeds", &[Package::Frr, Package::Bird]) {
        return;
    }
    let mut scene = icrc();
    let (daemon, traffic) = (&scene.daemon, &mut scene.traffic);
    daemon.set_mode("icrc", Mode::Enforce);
    for (family, second, third, inside2, inside3, ours) in [
        (
            Family::Ipv4,
            "45.146.192.0/23",
            "45.146.196.0/24",
            "45.146.192.1",
            "45.146.196.1",
            OURS,
        ),
        (
            Family::Ipv6,
            "2a13:47c0:147::/48",
            "2a13:47c0:148::/48",
            "2a13:47c0:147::1",
            "2a13:47c0:148::1",
            OURS6,
        ),
    ] {
        let (in_second, in_third) = (("icrc", inside2, ours), ("icrc", inside3, ours));
        scene.peer.announce(second);
        traffic.until(
            daemon,
            in_second,
            ("source-unannounced", "permitted"),
            WITHIN,
        );
        scene.peer.announce(third);
        let found = daemon.until_event("max-prefix-exceeded", |event| {
            event["family"] == family.name()
        });
        assert_eq!(
            (&found["peer"], &found["prefixes"], &found["limit"]),
            (&"icrc".into(), &3.into(), &2.into())
        );
        daemon.until("the freeze in status", "icrc", |peer| {
            peer["frozen"]
                .as_array()
                .unwrap()
                .contains(&family.name().into())
        });
        // Never wider: the third is dropped. Never narrower: the good ones pass.
        traffic.expect(daemon, in_third, "source-unannounced", true);
        traffic.expect(daemon, in_second, "permitted", false);
        // One of the good ones is withdrawn while the third stays: two again, and the freeze is over.
        scene.peer.withdraw(second);
        traffic.until(
            daemon,
            in_third,
            ("source-unannounced", "permitted"),
            WITHIN,
        );
        traffic.until(
            daemon,
            in_second,
            ("permitted", "source-unannounced"),
            WITHIN,
        );
        daemon.until_event("max-prefix-cleared", |event| {
            event["family"] == family.name()
        });
        assert_eq!(daemon.peer("icrc")["frozen"], serde_json::json!([]));
    }
    scene.end();
}

/// "You agree to not engage in abusive or fraudulent practices, such as pointing default ..."
#[test]
fn as57965_pointing_default_is_told_with_bytes_blocks_and_duration() {
    if !require("seeds", &[Package::Frr, Package::Bird]) {
        return;
    }
    let mut scene = icrc();
    let (daemon, traffic) = (&scene.daemon, &mut scene.traffic);
    let strangers = ["8.8.8.8", "8.8.4.4", "1.1.1.1", "9.9.9.9", "8.8.8.9"]; // four /24s
    let begin = Instant::now();
    let bytes = |traffic: &Traffic| -> u64 {
        let mine = traffic.account().iter();
        mine.filter(|((_, reason, _), _)| reason == "destination-unannounced")
            .map(|(_, (_, bytes))| bytes)
            .sum()
    };
    let mut found = Vec::new();
    while found.is_empty() {
        assert!(begin.elapsed() < WITHIN, "no event");
        for stranger in strangers {
            traffic.expect(
                daemon,
                ("icrc", "45.146.194.1", stranger),
                "destination-unannounced",
                false,
            );
            std::thread::sleep(Duration::from_millis(100)); // the rate of samples
        }
        found = daemon.events_named("default-pointing");
    }
    let found = &found[0];
    let seconds = found["seconds"].as_u64().unwrap();
    assert_eq!(
        (&found["peer"], &found["blocks"]),
        (&"icrc".into(), &4.into()),
        "{found}"
    );
    assert!(
        (10..=begin.elapsed().as_secs()).contains(&seconds),
        "{found}"
    );
    assert!(
        (1..=bytes(traffic)).contains(&found["bytes"].as_u64().unwrap()),
        "{found}"
    );
    // Status goes on counting, to the byte.
    let now = daemon.until("all bytes in status", "icrc", |peer| {
        peer["default_pointing"]["bytes"] == bytes(traffic)
    });
    assert_eq!(now["default_pointing"]["blocks"], 4);
    // Samples say whose the destination is.
    let violation = daemon.violations().pop().unwrap();
    assert!(
        violation["story"]
            .as_str()
            .unwrap()
            .ends_with("destination not ours"),
        "{violation}"
    );
    scene.end();
}

/// "... rewriting next-hop ..."
#[test]
fn as57965_a_rewritten_next_hop_is_told() {
    if !require("seeds", &[Package::Frr, Package::Bird]) {
        return;
    }
    let mut scene = icrc();
    assert_eq!(
        scene.daemon.events_named("next-hop-rewritten"),
        [] as [serde_json::Value; 0]
    );
    scene
        .peer
        .export_with(Family::Ipv4, "bgp_next_hop = 192.0.2.99;");
    let found = scene.daemon.until_event("next-hop-rewritten", |_| true);
    assert_eq!(
        (&found["peer"], &found["next_hop"], &found["prefix"]),
        (
            &"icrc".into(),
            &"192.0.2.99".into(),
            &"45.146.194.0/23".into()
        )
    );
    scene.end();
}

/// "AS214312 is an IPv6-only autonomous system. All peering sessions must be established over IPv6."
#[test]
fn as214312_is_ipv6_only() {
    if !require("seeds", &[Package::Frr, Package::Bird]) {
        return;
    }
    let mut scene = Scene::new(SPEEDMANN, &["2a09:54c6:e010::/44"], &[Family::Ipv6], "");
    let (daemon, traffic) = (&scene.daemon, &mut scene.traffic);
    for dropped in [false, true] {
        for (source, destination, reason) in [
            ("2a09:54c6:e010::1", OURS6, "permitted"),
            ("2a09:54c6:e01f:ffff::1", OURS6, "permitted"),
            ("2a09:54c6:e020::1", OURS6, "source-unannounced"),
            (
                "2a09:54c6:e010::1",
                "2606:4700::1",
                "destination-unannounced",
            ),
            // Its IPv4, whatever the addresses.
            ("45.146.194.1", OURS, "family-not-peered"),
            ("9.9.9.9", "8.8.8.8", "family-not-peered"),
        ] {
            let dropped = dropped && reason != "permitted";
            traffic.expect(daemon, ("speedmann", source, destination), reason, dropped);
        }
        daemon.set_mode("speedmann", Mode::Enforce);
    }
    scene.end();
}
