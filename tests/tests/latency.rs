//! How long after an UPDATE is on the peer's wire the verdict in the kernel follows it, per feed. The UPDATE is
//! seen by a packet socket at the peer, the verdict by the first packet that comes through the enforced filter.
//! Measures and prints; fails only if nothing ever comes through. Run with `--ignored --nocapture`.
#![expect(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::net::IpAddr;
use std::time::{Duration, Instant};

use filter_core::{Family, Mode};
use filter_daemon::runtime::AtExit;
use tests::lab::{Bcp38, Exchange, Neighbour, Package, Peer, Site, Traffic, require, wait_for};
use tests::wire::Wire;

const WITHIN: Duration = Duration::from_secs(60);
/// Measured changes per feed.
const RUNS: u8 = 15;
/// Between two packets.
const STEP: Duration = Duration::from_micros(300);

struct Scene {
    daemon: Bcp38,
    traffic: Traffic,
    config: String,
    site: Site,
}

impl Scene {
    fn new(exchange: &Exchange, peer: &Peer, mut config: String) -> Self {
        // Every probe before the change is dropped: the breaker would trip.
        let breaker = "[limits]\nbreaker = { percent = 100, packets = 1000, window = \"10s\" }";
        config = config.replace("[limits]", breaker);
        config.push_str(&format!(
            "\n[[peer]]\nname = \"p1\"\nasn = 64501\ninterface = \"eth0\"\naddresses = [\"{}\"]\n\
             macs = [\"{}\"]\nfamilies = [\"ipv4\"]\n",
            peer.address(Family::Ipv4),
            peer.namespace().mac("eth0")
        ));
        let site = Site::new(&exchange.router);
        let daemon = site.start(&config);
        daemon.until_state("p1", "observing");
        daemon.set_mode("p1", Mode::Enforce);
        let traffic = Traffic::new(&exchange.router, &[("p1", peer.namespace())]);
        Self {
            daemon,
            traffic,
            config,
            site,
        }
    }

    /// From the UPDATE with this /24 on the peer's wire to the first packet that comes through, after `change`.
    fn measure(
        &mut self,
        peer: &mut Peer,
        (source, destination): (&str, &str),
        update: [u8; 4],
        change: impl FnOnce(&mut Peer) + Send,
    ) -> Duration {
        let sniffer = peer.namespace().run(|| Wire::on("eth0"));
        let mut probe = self.traffic.probe(("p1", source, destination));
        std::thread::scope(|scope| {
            let changed = scope.spawn(|| change(peer));
            let begin = Instant::now();
            let (mut sent, mut passed) = (None, None);
            while sent.is_none() || passed.is_none() {
                assert!(
                    begin.elapsed() < WITHIN,
                    "{sent:?} {passed:?}: {:#?}",
                    self.daemon.story()
                );
                let arrived = probe.send();
                let now = Instant::now();
                if arrived {
                    passed = passed.or(Some(now));
                }
                if sniffer
                    .waiting()
                    .iter()
                    .any(|frame| is_update(frame, update))
                {
                    sent = sent.or(Some(now));
                }
                std::thread::sleep(STEP);
            }
            changed.join().unwrap();
            assert_eq!(self.daemon.peer("p1")["mode_in_force"], "enforce");
            // Through before the UPDATE was looked at: within one step.
            passed.unwrap().saturating_duration_since(sent.unwrap())
        })
    }

    fn end(self) {
        self.daemon.stop();
        self.site
            .try_start(&self.config, AtExit::Detach)
            .unwrap()
            .stop();
    }
}

/// Does this frame hold a BGP message with this /24?
fn is_update(frame: &[u8], [a, b, c, _]: [u8; 4]) -> bool {
    let nlri = [24, a, b, c];
    frame.windows(16).any(|bytes| bytes == [0xff; 16])
        && frame.windows(4).any(|bytes| bytes == nlri)
}

fn print(feed: &str, mut times: Vec<Duration>) {
    times.sort();
    println!(
        "{feed:<40} median {:>8.1?}  best {:>8.1?}  worst {:>8.1?}  of {}",
        times[times.len() / 2],
        times[0],
        times[times.len() - 1],
        times.len()
    );
}

fn neighbour(peer: &Peer) -> Neighbour {
    Neighbour {
        address: peer.address(Family::Ipv4),
        asn: peer.config().asn,
        route_server: false,
    }
}

/// The peer announces: FRR tells by BMP, or is polled each second.
#[test]
#[ignore = "measures"]
fn sources() {
    if !require("latency", &[Package::Frr, Package::Bird]) {
        return;
    }
    let exchange = Exchange::new();
    let routes = ["198.18.200.0/24"];
    let mut peer = exchange.peer(("p1", 64501, 11), &routes, Exchange::towards_router(), "");
    let frr = exchange.start(&[neighbour(&peer)]);
    wait_for("the session", WITHIN, || {
        peer.is_established(Family::Ipv4).then_some(())
    });
    for (feed, is_bmp) in [
        ("bmp (FRR 8.4.4), sources", true),
        ("frr poll each second, sources", false),
    ] {
        let mut config = Exchange::config(&frr, "withdraw_hold = 1");
        if is_bmp {
            config = config.replace("interval = 1\n", "interval = 3600\n");
        } else {
            config = config.replace("11019", "11018"); // where nobody connects
        }
        let mut scene = Scene::new(&exchange, &peer, config);
        if is_bmp {
            scene
                .daemon
                .until_event("feed-up", |event| event["feed"] == "bmp");
            scene.daemon.until_state("p1", "enforcing");
        }
        let base = if is_bmp { 0 } else { 100 };
        let times = (base..base + RUNS).map(|third| {
            let (prefix, source) = (format!("198.18.{third}.0/24"), format!("198.18.{third}.1"));
            scene.measure(
                &mut peer,
                (&source, "198.51.100.1"),
                [198, 18, third, 0],
                |peer| peer.announce(&prefix),
            )
        });
        print(feed, times.collect());
        scene.end();
    }
}

/// We announce to the peer: BIRD tells a shadow session of the same policy, or is polled each second.
#[test]
#[ignore = "measures"]
fn destinations() {
    if !require("latency", &[Package::Bird]) {
        return;
    }
    let exchange = Exchange::new();
    let routes = ["198.18.200.0/24"];
    let mut peer = exchange.peer(("p1", 64501, 11), &routes, Exchange::towards_router(), "");
    let conf = |more: &[u8]| -> String {
        let routes: String = more
            .iter()
            .map(|n| format!(" route 100.64.{n}.0/24 blackhole;"))
            .collect();
        let conf = Exchange::bird_conf(&[neighbour(&peer)], "");
        conf.replace("ipv4; route", &format!("ipv4;{routes} route"))
            + "protocol bgp shadow { local 127.0.3.1 as 64500; neighbor 127.0.1.1 port 1790 as 64999; multihop; \
               connect delay time 1; connect retry time 1; error wait time 1,1; \
               ipv4 { import none; export where proto = \"own_ipv4\"; next hop self; }; }\n"
    };
    let all: Vec<String> = (0..=2 * usize::from(RUNS))
        .map(|n| conf(&(0..n as u8).collect::<Vec<u8>>()))
        .collect();
    let bird = exchange.start_bird(&all[0]);
    wait_for("the session", WITHIN, || {
        peer.is_established(Family::Ipv4).then_some(())
    });
    let address: IpAddr = peer.address(Family::Ipv4);
    let poll = format!(
        "[[feed]]\nkind = \"bird\"\nsocket = \"{}\"\n",
        bird.socket().display()
    );
    let shadow = format!(
        "{poll}interval = 3600\n[[feed]]\nkind = \"shadow\"\nlisten = \"127.0.1.1:1790\"\nasn = 64999\n\
         sessions = [{{ address = \"127.0.3.1\", session = \"{address}\" }}]\n"
    );
    let mut next = 0;
    for (feed, feeds) in [
        ("shadow (BIRD 2.0.12), destinations", shadow),
        (
            "bird poll each second, destinations",
            format!("{poll}interval = 1\n"),
        ),
    ] {
        let mut scene = Scene::new(
            &exchange,
            &peer,
            Exchange::config_with(&feeds, "withdraw_hold = 1"),
        );
        if feeds.contains("shadow") {
            scene
                .daemon
                .until_event("feed-up", |event| event["feed"] == "shadow");
            scene.daemon.until_state("p1", "enforcing");
        }
        let times = (0..RUNS).map(|_| {
            let third = next;
            next += 1;
            let destination = format!("100.64.{third}.1");
            let (bird, conf) = (&bird, &all[usize::from(next)]);
            let update = [100, 64, third, 0];
            scene.measure(
                &mut peer,
                ("198.18.200.1", &destination),
                update,
                move |_| bird.reconfigure_to(conf),
            )
        });
        print(feed, times.collect());
        scene.end();
    }
}
