//! How long after an UPDATE is on the peer's wire the kernel's verdict follows it, for each feed and daemon: what a
//! peer announces and withdraws (sources), and what we announce to it (destinations). The UPDATE is seen by a packet
//! socket at the peer, the verdict by packets of the peer that come through the enforced filter or no longer do.
//! Withdrawals take effect after `withdraw_hold`, which is 0 here. Measures and prints; fails only if a verdict
//! never follows. Run it with `cargo xtask latency`.
#![expect(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use filter_core::{Family, Mode};
use filter_daemon::runtime::AtExit;
use tests::lab::{
    Bcp38, FrrOptions, Package, Peering, Release, Site, Traffic, require_from, wait_for,
};
use tests::wire::Wire;

const WITHIN: Duration = Duration::from_secs(60);
/// Measured announcements and withdrawals per feed.
const RUNS: u8 = 15;
/// Between two packets.
const STEP: Duration = Duration::from_micros(300);
/// So many packets in a row that did not come through were dropped, and are not just late.
const MISSING: usize = 60;
/// Each change comes so much later after the one before: polls each second are met at every moment of it.
const PHASE: Duration = Duration::from_millis(67);
/// A poll that is made once leaves the router alone after this time: until then its sessions settle.
const SETTLED: Duration = Duration::from_secs(40);

/// The first third bytes of what comes and goes: 198.18.x.0/24 from the peer, 100.64.x.0/24 to it.
const THIRD: u8 = 100;
const BY_PEER: [u8; 2] = [198, 18];
const TO_PEER: [u8; 2] = [100, 64];

/// The lab with the daemon enforcing P1.
struct Scene {
    daemon: Bcp38,
    traffic: Traffic,
    site: Site,
    config: String,
}

impl Scene {
    fn new(lab: &Peering, feeds: &str) -> Self {
        let config = config(lab, feeds);
        let site = Site::new(&lab.router);
        let daemon = site.start(&config);
        daemon.until_state("p1", "observing");
        daemon.set_mode("p1", Mode::Enforce);
        let traffic = Traffic::new(&lab.router, &[("p1", lab.p1.namespace())]);
        Self {
            daemon,
            traffic,
            site,
            config,
        }
    }

    /// Announces and withdraws, [`RUNS`] times; `change` makes the one or the other of a prefix.
    fn rounds(
        &mut self,
        name: &str,
        sniffer: &Wire,
        net: [u8; 2],
        mut change: impl FnMut(&str, bool) + Send,
    ) {
        let (mut announce, mut withdraw) = (Vec::new(), Vec::new());
        for third in THIRD..THIRD + RUNS {
            let inside = format!("{}.{}.{third}.1", net[0], net[1]);
            let flow = if net == BY_PEER {
                ("p1", inside.as_str(), "100.64.0.1")
            } else {
                ("p1", "198.51.100.1", inside.as_str())
            };
            for (opens, times) in [(true, &mut announce), (false, &mut withdraw)] {
                let prefix = format!("{}.{}.{third}.0/24", net[0], net[1]);
                let nlri = [24, net[0], net[1], third];
                // Not in step with a poll that has just been seen to work.
                std::thread::sleep(PHASE * u32::from(third - THIRD));
                let change = &mut change;
                let time = self.measure(sniffer, flow, nlri, opens, || change(&prefix, opens));
                times.push(time);
            }
        }
        print(name, announce, withdraw);
    }

    /// From the UPDATE with this prefix on the peer's wire to the first packet whose verdict is the other one.
    fn measure(
        &mut self,
        sniffer: &Wire,
        flow: (&str, &str, &str),
        nlri: [u8; 4],
        opens: bool,
        change: impl FnOnce() + Send,
    ) -> Duration {
        let _before = sniffer.waiting();
        let mut probe = self.traffic.probe(flow);
        std::thread::scope(|scope| {
            let changed = scope.spawn(change);
            let begin = Instant::now();
            let (mut received, mut flipped) = (None, None);
            let (mut sent, mut arrived) = (Vec::new(), 0);
            while received.is_none() || flipped.is_none() {
                assert!(
                    begin.elapsed() < WITHIN,
                    "received {received:?}, flipped {flipped:?} to {opens}: {:#?}",
                    self.daemon.story()
                );
                sent.push(Instant::now());
                arrived += probe.send();
                received = received.or_else(|| heard(sniffer, nlri));
                flipped = flipped.or_else(|| match opens {
                    true => (arrived > 0).then(Instant::now),
                    // Nothing overtakes on a wire: the first that is missing is the first that was dropped.
                    false => (sent.len() >= arrived + MISSING).then(|| sent[arrived]),
                });
                std::thread::sleep(STEP);
            }
            changed.join().unwrap();
            assert_eq!(self.daemon.peer("p1")["mode_in_force"], "enforce");
            // Before the UPDATE was looked at: within one step.
            flipped
                .unwrap()
                .saturating_duration_since(received.unwrap())
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

fn config(lab: &Peering, feeds: &str) -> String {
    format!(
        r#"
[router]
asn = 64500
prefixes = ["100.64.0.0/16"]
bogon_exceptions = ["100.64.0.0/10", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"]

[[interface]]
name = "eth0"
kind = "lan"
lan = ["192.0.2.0/24", "2001:db8:ff::/64"]

[[peer]]
name = "p1"
asn = 64501
interface = "eth0"
addresses = ["192.0.2.11"]
macs = ["{}"]
families = ["ipv4"]

{feeds}

[timers]
withdraw_hold = 0

[limits]
max_peers = 16
table_memory_mib = 8
"#,
        lab.p1.namespace().mac("eth0")
    )
}

/// All that P1 sends and receives.
fn sniffer(lab: &Peering) -> Wire {
    lab.p1.namespace().run(|| Wire::on("eth0"))
}

/// Is there a BGP message with this prefix among what the socket has seen since?
fn heard(sniffer: &Wire, nlri: [u8; 4]) -> Option<Instant> {
    let is_update = |frame: &Vec<u8>| {
        frame.windows(16).any(|bytes| bytes == [0xff; 16])
            && frame.windows(4).any(|bytes| bytes == nlri)
    };
    sniffer.waiting().iter().any(is_update).then(Instant::now)
}

fn print(name: &str, announce: Vec<Duration>, withdraw: Vec<Duration>) {
    let figures = |mut times: Vec<Duration>| {
        times.sort();
        let of = |percent: usize| times[(times.len() * percent).div_ceil(100) - 1];
        let figures =
            [of(50), of(90), of(100)].map(|time| format!("{:.1}", time.as_secs_f64() * 1e3));
        figures.join(" / ")
    };
    println!("| {name} | {} | {} |", figures(announce), figures(withdraw));
}

/// A poll feed, each second.
fn polled(kind: &str, more: &str) -> String {
    format!("[[feed]]\nkind = \"{kind}\"\n{more}\ninterval = 1\n")
}

/// BMP for what the peer advertises; what we advertise is given by hand, so that nothing is polled.
const BMP: &str = "[[feed]]\nkind = \"bmp\"\nlisten = \"127.0.0.1:11019\"\n\
    [[feed]]\nkind = \"static\"\npeer = \"p1\"\nadvertised_to_peer = [\"100.64.0.0/24\"]\n";

fn listener() -> Option<SocketAddr> {
    "127.0.0.1:11019".parse().ok()
}

/// What the peer announces, as this feed reports it.
fn sources(lab: &mut Peering, name: &str, feeds: &str) {
    let mut scene = Scene::new(lab, feeds);
    let sniffer = sniffer(lab);
    let peer = &mut lab.p1;
    scene.rounds(name, &sniffer, BY_PEER, |prefix, announce| match announce {
        true => peer.announce(prefix),
        false => peer.withdraw(prefix),
    });
    scene.end();
}

fn frr(release: Release, version: &str) {
    let mut lab = Peering::of(release);
    let bmp = listener();
    let frr = lab.frr(&FrrOptions {
        bmp,
        ..FrrOptions::default()
    });
    sources(&mut lab, &format!("`bmp`, FRR {version}: sources"), BMP);
    let poll = polled("frr", &format!("socket = {:?}", frr.socket()));
    let name = format!("`frr`, FRR {version}, each second: sources");
    sources(&mut lab, &name, &poll);
}

fn gobgp(release: Release, version: &str) {
    let mut lab = Peering::of(release);
    let router = lab.gobgp(listener());
    sources(&mut lab, &format!("`bmp`, GoBGP {version}: sources"), BMP);
    let poll = polled("gobgp", &format!("command = {:?}", router.client()));
    let name = format!("`gobgp`, GoBGP {version}, each second: sources");
    sources(&mut lab, &name, &poll);
}

fn openbgpd(release: Release, version: &str) {
    let mut lab = Peering::of(release);
    let router = lab.openbgpd();
    let more = format!(
        "command = {:?}\nsocket = {:?}",
        router.client(),
        router.socket()
    );
    let name = format!("`openbgpd`, OpenBGPD {version}, each second: sources");
    sources(&mut lab, &name, &polled("openbgpd", &more));
}

/// A poll for the peer's session and its routes, and a shadow for what we announce to it.
fn bird(release: Release, version: &str) {
    let mut lab = Peering::of(release);
    let conf = |conf: &str, own: &str| {
        conf.replace("route 100.64.1.0/24 blackhole;", own)
            + "protocol bgp shadow { local 127.0.3.11 as 64500; neighbor 127.0.1.11 port 1790 as 64999; multihop; \
               connect delay time 1; connect retry time 1; error wait time 1,1; \
               ipv4 { import none; export filter exp_p1_4; next hop self; }; }\n"
    };
    let router = lab.bird_with(|text| conf(text, ""));
    let socket = format!("socket = {:?}", router.socket());
    let name = format!("`bird`, BIRD {version}, each second: sources");
    sources(&mut lab, &name, &polled("bird", &socket));

    let once = polled("bird", &socket).replace("interval = 1\n", "interval = 86400\n");
    let mut scene = Scene::new(
        &lab,
        &format!("{once}{}", shadow("127.0.1.11", "127.0.3.11")),
    );
    std::thread::sleep(SETTLED);
    let change = |prefix: &str, announce: bool| {
        let own = if announce {
            format!("route {prefix} blackhole;")
        } else {
            String::new()
        };
        router.reconfigure(|text| conf(text, &own));
    };
    let name = format!("`shadow`, BIRD {version}: destinations");
    scene.rounds(&name, &sniffer(&lab), TO_PEER, change);
    scene.end();
}

fn shadow(listen: &str, address: &str) -> String {
    format!(
        "[[feed]]\nkind = \"shadow\"\nlisten = \"{listen}:1790\"\nasn = 64999\n\
         sessions = [{{ address = \"{address}\", session = \"192.0.2.11\" }}]\n"
    )
}

/// BMP for the peer's session and its routes, and a shadow for what we announce to it.
fn frr_shadow(release: Release, version: &str) {
    let lab = Peering::of(release);
    for address in ["10.255.1.1/32", "10.255.3.1/32", "fd00:10:255:3::1/128"] {
        lab.router.ip(&["addr", "add", address, "dev", "lo"]);
    }
    let frr = lab.frr(&FrrOptions {
        bmp: listener(),
        global: "route-map DENY deny 10\nip prefix-list OWN-P1 seq 20 permit 100.64.0.0/16 ge 24 le 24\n".into(),
        router: " neighbor 10.255.1.1 remote-as 64999\n neighbor 10.255.1.1 update-source 10.255.3.1\n \
                 neighbor 10.255.1.1 port 1790\n neighbor 10.255.1.1 ebgp-multihop 2\n \
                 neighbor 10.255.1.1 disable-connected-check\n neighbor 10.255.1.1 timers connect 1\n"
            .into(),
        ipv4: "  neighbor 10.255.1.1 activate\n  neighbor 10.255.1.1 route-map DENY in\n  \
               neighbor 10.255.1.1 route-map OUT-P1 out\n"
            .into(),
        ipv6: String::new(),
    });
    let feeds = "[[feed]]\nkind = \"bmp\"\nlisten = \"127.0.0.1:11019\"\n";
    let mut scene = Scene::new(
        &lab,
        &format!("{feeds}{}", shadow("10.255.1.1", "10.255.3.1")),
    );
    let change = |prefix: &str, announce: bool| {
        let line = format!("{}network {prefix}", if announce { "" } else { "no " });
        frr.configure(&["router bgp 64500", "address-family ipv4 unicast", &line]);
    };
    let name = format!("`shadow`, FRR {version}: destinations");
    scene.rounds(&name, &sniffer(&lab), TO_PEER, change);
    scene.end();
}

/// What there is to compare destinations with: the peer itself can send to a new prefix of ours once its own routing
/// table has it.
fn peers_own_table() {
    let lab = Peering::with(|peer| {
        peer.append =
            "protocol kernel { scan time 3600; ipv4 { import none; export all; }; }\n".to_owned();
    });
    let router = lab.bird();
    wait_for("the session", WITHIN, || {
        lab.p1.is_established(Family::Ipv4).then_some(())
    });
    let sniffer = sniffer(&lab);
    let (mut announce, mut withdraw) = (Vec::new(), Vec::new());
    for third in THIRD..THIRD + RUNS {
        for (comes, times) in [(true, &mut announce), (false, &mut withdraw)] {
            let route = format!("route 100.64.{third}.0/24 blackhole;");
            let own = if comes { route.as_str() } else { "" };
            let line = format!(
                "{:08X}",
                u32::from_ne_bytes([TO_PEER[0], TO_PEER[1], third, 0])
            );
            let _before = sniffer.waiting();
            let time = std::thread::scope(|scope| {
                let changed = scope.spawn(|| {
                    router.reconfigure(|conf| conf.replace("route 100.64.1.0/24 blackhole;", own));
                });
                let nlri = [24, TO_PEER[0], TO_PEER[1], third];
                let time = lab
                    .p1
                    .namespace()
                    .run(|| until_routed(&sniffer, nlri, &line, comes));
                changed.join().unwrap();
                time
            });
            times.push(time);
        }
    }
    print(
        "(the peer's own routing table, BIRD 2.0.12)",
        announce,
        withdraw,
    );
}

/// From the UPDATE to the route in this namespace's table.
fn until_routed(sniffer: &Wire, nlri: [u8; 4], line: &str, comes: bool) -> Duration {
    let begin = Instant::now();
    let (mut received, mut routed) = (None, None);
    while received.is_none() || routed.is_none() {
        assert!(
            begin.elapsed() < WITHIN,
            "received {received:?}, routed {routed:?}"
        );
        received = received.or_else(|| heard(sniffer, nlri));
        routed = routed.or_else(|| {
            let table = std::fs::read_to_string("/proc/thread-self/net/route").unwrap();
            (table.contains(line) == comes).then(Instant::now)
        });
        std::thread::sleep(STEP);
    }
    routed.unwrap().saturating_duration_since(received.unwrap())
}

/// One test per daemon: all of them are too long for one run in a hurry.
fn may_run(release: Release, package: Package) -> bool {
    require_from("latency", release, &[package], &[Package::Bird])
}

#[test]
#[ignore = "measures"]
fn frr_8() {
    if may_run(Release::System, Package::Frr) {
        frr(Release::System, "8.4.4");
        frr_shadow(Release::System, "8.4.4");
    }
}

#[test]
#[ignore = "measures"]
fn frr_10() {
    if may_run(Release::Debian13, Package::Frr) {
        frr(Release::Debian13, "10.3");
        frr_shadow(Release::Debian13, "10.3");
    }
}

#[test]
#[ignore = "measures"]
fn bird_2_0() {
    if may_run(Release::System, Package::Bird) {
        bird(Release::System, "2.0.12");
    }
}

#[test]
#[ignore = "measures"]
fn bird_2_17() {
    if may_run(Release::Debian13, Package::Bird) {
        bird(Release::Debian13, "2.17");
    }
}

#[test]
#[ignore = "measures"]
fn bird_3() {
    if may_run(Release::Debian13Bird3, Package::Bird) {
        bird(Release::Debian13Bird3, "3.1");
    }
}

#[test]
#[ignore = "measures"]
fn openbgpd_7() {
    if may_run(Release::System, Package::OpenBgpd) {
        openbgpd(Release::System, "7.7");
    }
}

#[test]
#[ignore = "measures"]
fn openbgpd_8() {
    if may_run(Release::Debian13, Package::OpenBgpd) {
        openbgpd(Release::Debian13, "8.8");
    }
}

#[test]
#[ignore = "measures"]
fn gobgp_3_10() {
    if may_run(Release::System, Package::GoBgp) {
        gobgp(Release::System, "3.10");
    }
}

#[test]
#[ignore = "measures"]
fn gobgp_3_36() {
    if may_run(Release::Debian13, Package::GoBgp) {
        gobgp(Release::Debian13, "3.36");
    }
}

#[test]
#[ignore = "measures"]
fn own_table() {
    if may_run(Release::System, Package::Bird) {
        peers_own_table();
    }
}
