//! A peering LAN with a route server: BIRD serving FRR (our router) and three members, both families. One member
//! has no bilateral session, one has both kinds with different routes. A route belongs to whose address is its
//! NEXT_HOP; what we announce to the route server counts for those it serves.
#![expect(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::net::IpAddr;
use std::time::Duration;

use filter_core::{Family, Mode};
use filter_daemon::runtime::AtExit;
use filter_lifecycle::route::Community::{self, Large, RouteTarget, Standard};
use tests::lab::{
    Bcp38, BirdRouter, Exchange, FrrRouter, Member, Neighbour, Package, Peer, RS, RouteServer,
    Site, Speaker, Traffic, require, wait_for,
};

/// How long the lab's daemons may take.
const WITHIN: Duration = Duration::from_secs(60);
const OURS: &str = "198.51.100.10";
const OURS6: &str = "2001:db8:100::10";

/// Bilateral session and route server; route server only; bilateral and route server, the same routes.
const BOTH: Member = Member {
    name: "both",
    asn: 64501,
    host: 11,
};
const SERVED: Member = Member {
    name: "served",
    asn: 64502,
    host: 12,
};
const THIRD: Member = Member {
    name: "third",
    asn: 64503,
    host: 13,
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Frr,
    Bird,
}

/// R.
enum Router {
    Frr(FrrRouter),
    Bird(BirdRouter),
}

impl Router {
    fn start(exchange: &Exchange, kind: Kind, neighbours: &[Neighbour]) -> Self {
        match kind {
            Kind::Frr => Self::Frr(exchange.start(neighbours)),
            Kind::Bird => Self::Bird(exchange.start_bird(&Exchange::bird_conf(neighbours, ""))),
        }
    }

    /// What it has from the neighbour.
    fn received(&self, address: IpAddr) -> String {
        let family = if address.is_ipv4() { "ipv4" } else { "ipv6" };
        match self {
            Self::Frr(frr) => frr.vtysh(&[&format!(
                "show bgp {family} unicast neighbors {address} received-routes"
            )]),
            Self::Bird(bird) => bird.birdc(&["show", "route"]),
        }
    }

    /// The daemon's configuration for it, up to the peers.
    fn config(&self) -> String {
        let timers = "withdraw_hold = 1";
        match self {
            Self::Frr(frr) => Exchange::config(frr, timers),
            Self::Bird(bird) => {
                let feed = format!(
                    "[[feed]]\nkind = \"bird\"\nsocket = \"{}\"\ninterval = 1\n",
                    bird.socket().display()
                );
                Exchange::config_with(&feed, timers)
            }
        }
    }
}

struct Scene {
    daemon: Bcp38,
    traffic: Traffic,
    config: String,
    site: Site,
    router: Router,
    neighbours: Vec<Neighbour>,
    both: Peer,
    served: Peer,
    _third: Peer,
    _server: RouteServer,
    _exchange: Exchange,
}

impl Scene {
    #[expect(clippy::too_many_lines, reason = "one network, built in its order")]
    fn new(serves: &str, kind: Kind) -> Self {
        let exchange = Exchange::new();
        let members = [BOTH, SERVED, THIRD].map(|member| (member.asn, member.host));
        let server = RouteServer::start(&exchange, &members);
        let to_rs = |member: Member, routes: &[&str]| {
            RouteServer::member_conf((member.asn, member.host), routes)
        };
        let both = exchange.peer(
            BOTH,
            &["198.18.1.0/24", "2001:db8:1::/48"],
            Speaker::ROUTER,
            &to_rs(BOTH, &["198.18.11.0/24", "2001:db8:11::/48"]),
        );
        let routes2 = ["198.18.2.0/24", "2001:db8:2::/48"];
        let served = exchange.peer(SERVED, &routes2, RouteServer::towards(), "");
        let routes3 = ["198.18.3.0/24", "2001:db8:3::/48"];
        let third = exchange.peer(THIRD, &routes3, Speaker::ROUTER, &to_rs(THIRD, &[]));
        let (rs4, rs6) = Exchange::addresses(RS.1);
        let bilateral = [&both, &third].into_iter().flat_map(|peer| {
            Family::ALL.map(|family| Neighbour {
                address: peer.address(family),
                asn: peer.config().asn,
                route_server: false,
            })
        });
        let to_server = [rs4.into(), rs6.into()].map(|address| Neighbour {
            address,
            asn: RS.0,
            route_server: true,
        });
        let neighbours: Vec<Neighbour> = bilateral.chain(to_server).collect();
        let router = Router::start(&exchange, kind, &neighbours);
        for (address, routes) in [
            (rs4.into(), ["198.18.11.0", "198.18.2.0", "198.18.3.0"]),
            (
                rs6.into(),
                ["2001:db8:11::", "2001:db8:2::", "2001:db8:3::"],
            ),
        ] {
            wait_for("everybody's routes from the route server", WITHIN, || {
                let shown = router.received(address);
                routes.iter().all(|text| shown.contains(text)).then_some(())
            });
        }
        let config = config(&router, serves);
        let site = Site::new(&exchange.router);
        let senders = [
            ("both", both.namespace()),
            ("served", served.namespace()),
            ("third", third.namespace()),
        ];
        let mut traffic = Traffic::new(&exchange.router, &senders);
        let daemon = site.start(&config);
        daemon.until_state("both", "observing");
        daemon.until_state("third", "observing");
        // The router forwards to it, and so knows its MAC.
        exchange.router.run(|| {
            let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
            socket
                .send_to(b"hello", (served.address(Family::Ipv4), 9))
                .unwrap();
        });
        for peer in ["both", "served", "third"] {
            daemon.until_event("mac-learned", |event| event["peer"] == peer);
        }
        traffic.reset(&daemon);
        Self {
            daemon,
            traffic,
            config,
            site,
            router,
            neighbours,
            both,
            served,
            _third: third,
            _server: server,
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

    /// Another `serves`.
    fn reload(&mut self, serves: &str) {
        self.config = config(&self.router, serves);
        self.daemon.rewrite(&self.site, &self.config);
        self.daemon.until_reloaded();
        for peer in ["both", "third"] {
            self.daemon.until_state(peer, "observing");
        }
        for peer in ["both", "served", "third"] {
            self.daemon
                .until(&format!("{peer} to be reported anew"), peer, |status| {
                    status["adopted"] == false
                });
        }
    }

    /// R scopes its announcement to the route server.
    fn scope(&self, communities: &[Community]) {
        let Router::Bird(bird) = &self.router else {
            panic!("only BIRD's feed reports communities");
        };
        let add = |community: &Community| match community {
            Community::Standard(high, low) => format!("bgp_community.add(({high}, {low}));"),
            Community::Large(rs, what, whom) => {
                format!("bgp_large_community.add(({rs}, {what}, {whom}));")
            }
            Community::RouteTarget(high, low) => {
                format!("bgp_ext_community.add((rt, {high}, {low}));")
            }
        };
        let action: String = communities.iter().map(add).collect();
        bird.reconfigure_to(&Exchange::bird_conf(&self.neighbours, &action));
    }

    /// Has our route reached this member, as its own BIRD says?
    fn reached(peer: &Peer) -> bool {
        peer.birdc(&["show", "route"]).contains("198.51.100.0/24")
    }
}

fn config(router: &Router, serves: &str) -> String {
    let mut config = router.config();
    for Member { name, asn, host } in [BOTH, SERVED, THIRD] {
        let (v4, v6) = Exchange::addresses(host);
        config.push_str(&format!(
            "\n[[peer]]\nname = \"{name}\"\nasn = {asn}\ninterface = \"eth0\"\n\
             addresses = [\"{v4}\", \"{v6}\"]\n",
        ));
    }
    let (v4, v6) = Exchange::addresses(RS.1);
    config.push_str(&format!(
        "\n[[route_server]]\nname = \"rs1\"\nasn = {}\ninterface = \"eth0\"\n\
         addresses = [\"{v4}\", \"{v6}\"]\nour_routes_reach = {serves}\n",
        RS.0
    ));
    config
}

#[test]
fn a_route_belongs_to_whose_address_is_its_next_hop() {
    if !require("route_server", &[Package::Frr, Package::Bird]) {
        return;
    }
    let mut scene = Scene::new("\"all\"", Kind::Frr);
    scene.daemon.until_state("served", "observing");
    let (daemon, traffic) = (&scene.daemon, &mut scene.traffic);
    let spoofed = "source-unannounced";
    for dropped in [false, true] {
        for (sender, source, reason) in [
            // What it announces to us, and what it announces only to the route server.
            ("both", "198.18.1.1", "permitted"),
            ("both", "198.18.11.1", "permitted"),
            ("both", "2001:db8:11::1", "permitted"),
            // No bilateral session.
            ("served", "198.18.2.1", "permitted"),
            ("served", "2001:db8:2::1", "permitted"),
            ("third", "198.18.3.1", "permitted"),
            // Everything comes through the one route server, and yet no member may use another's.
            ("both", "198.18.2.1", spoofed),
            ("served", "198.18.11.1", spoofed),
            ("served", "2001:db8:3::1", spoofed),
            ("third", "198.18.2.1", spoofed),
        ] {
            let ours = if source.contains(':') { OURS6 } else { OURS };
            let dropped = dropped && reason == spoofed;
            traffic.expect(daemon, (sender, source, ours), reason, dropped);
        }
        for peer in ["both", "served", "third"] {
            daemon.set_mode(peer, Mode::Enforce);
        }
    }

    // A next hop outside the LAN.
    assert_eq!(
        daemon.events_named("next-hop-rewritten"),
        [] as [serde_json::Value; 0]
    );
    for (family, hop, rs, prefix) in [
        (Family::Ipv4, "203.0.113.99", "192.0.2.250", "198.18.2.0/24"),
        (
            Family::Ipv6,
            "2001:db8:fe::99",
            "2001:db8:ff::250",
            "2001:db8:2::/48",
        ),
    ] {
        let action = format!("bgp_next_hop = {hop};");
        scene.served.export_with(family, &action);
        let received = daemon.until_event("next-hop-rewritten", |event| event["next_hop"] == hop);
        assert_eq!(
            (&received["session"], &received["prefix"]),
            (&rs.into(), &prefix.into())
        );
    }
    // Nor does a route count for another member by its next hop alone.
    scene
        .served
        .export_with(Family::Ipv4, "bgp_next_hop = 192.0.2.11;");
    daemon.until_event("first-as-differs", |event| {
        event["peer"] == "both" && event["prefix"] == "198.18.2.0/24"
    });
    traffic.expect(daemon, ("both", "198.18.2.1", OURS), spoofed, true);
    scene.end();
}

#[test]
fn what_we_tell_the_route_server_counts_for_those_it_serves() {
    if !require("route_server", &[Package::Frr, Package::Bird]) {
        return;
    }
    let mut scene = Scene::new("\"none\"", Kind::Frr);
    let served = ("served", "198.18.2.1", OURS);
    let both = ("both", "198.18.1.1", OURS);
    // What is announced to no peer on its behalf is not known, so nothing is judged by it.
    let unknown = "unjudged";
    // None: only bilateral announcements count; where there are none, nothing is judged by them.
    scene
        .traffic
        .until(&scene.daemon, both, ("unjudged", "permitted"), WITHIN);
    scene
        .traffic
        .expect(&scene.daemon, served, "unjudged", false);
    let status = scene.daemon.peer("served");
    assert_eq!(status["state"], "syncing", "{status:#}");
    assert!(
        status["missing"].as_str().unwrap().contains("destinations"),
        "{status:#}"
    );

    scene.reload("\"all\"");
    scene
        .traffic
        .until(&scene.daemon, served, (unknown, "permitted"), WITHIN);

    scene.reload("[64501, 64503]");
    scene
        .traffic
        .until(&scene.daemon, served, ("permitted", unknown), WITHIN);
    scene.reload("[64502]");
    scene
        .traffic
        .until(&scene.daemon, served, (unknown, "permitted"), WITHIN);

    scene.end();
}

#[test]
fn our_communities_scope_what_the_route_server_hands_on() {
    if !require("route_server", &[Package::Bird]) {
        return;
    }
    let mut scene = Scene::new("\"communities\"", Kind::Bird);
    let served = ("served", "198.18.2.1", OURS);
    let both = ("both", "198.18.1.1", OURS);
    let unannounced = "destination-unannounced";
    let before = ["unjudged", unannounced];
    scene
        .traffic
        .until_after(&scene.daemon, served, &before, "permitted", WITHIN);
    // As the members' own routers see it.
    for (communities, reaches) in [
        (&[Standard(0, 64502)][..], false),
        (&[Standard(0, 64501)], true),
        (&[Standard(0, 64511)], false),
        (&[Standard(0, 64511), Standard(64511, 64502)], true),
        (&[RouteTarget(0, 64502)], false),
        (&[RouteTarget(0, 64501)], true),
        (&[Large(64511, 0, 64502)], false),
        (&[Large(64511, 0, 64501)], true),
        (&[Large(64511, 0, 0)], false),
        (&[Large(64511, 0, 0), Large(64511, 1, 64502)], true),
    ] {
        scene.scope(communities);
        wait_for("the route server to follow our communities", WITHIN, || {
            (Scene::reached(&scene.served) == reaches).then_some(())
        });
        let (before, after) = if reaches {
            (unannounced, "permitted")
        } else {
            ("permitted", unannounced)
        };
        scene
            .traffic
            .until(&scene.daemon, served, (before, after), WITHIN);
        scene
            .traffic
            .expect(&scene.daemon, both, "permitted", false);
    }
    assert!(Scene::reached(&scene.both), "its bilateral session");
    scene.end();
}
