//! A router and one peer on a veth pair, the daemon on the router with prefixes by hand, and the stream through it.
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use filter_core::frame;
use filter_core::packet::Mac;
use serde_json::Value;
use tests::lab::{Bcp38, Namespace, Site, Wire, wait_for};

/// What a change may take to be followed.
pub const FOLLOWED: Duration = Duration::from_secs(1);
/// How long a stream goes on after that.
const AFTER: Duration = Duration::from_secs(1);
/// Between two pairs of packets.
const PACE: Duration = Duration::from_millis(2);
/// Of each flow in the second after a change must have been followed: fewer prove nothing.
const FEWEST: usize = 50;
/// Between two looks at status.
const LOOK: Duration = Duration::from_millis(50);
pub const WITHIN: Duration = Duration::from_secs(20);
const UDP: u8 = 17;

/// What the peer announces, what no peer announces, and what we announce to it.
pub const GOOD: &str = "45.146.194.7";
pub const SPOOFED: &str = "9.9.9.9";
pub const OURS: &str = "44.1.0.1";

const OUR_MAC: &str = "02:00:00:00:00:01";
pub const ITS_MAC: &str = "02:00:00:00:00:11";

/// See the file's head.
pub struct Scene {
    pub daemon: Bcp38,
    site: Site,
    pub router: Namespace,
    pub peer: Namespace,
    number: u32,
}

/// A packet of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    pub source: &'static str,
    pub destination: &'static str,
}

pub const GOOD_FLOW: Flow = Flow {
    source: GOOD,
    destination: OURS,
};
pub const SPOOFED_FLOW: Flow = Flow {
    source: SPOOFED,
    destination: OURS,
};

/// When each packet was sent, and whether it arrived; what status said meanwhile.
#[derive(Debug, Default)]
pub struct Outcome {
    good: BTreeMap<u32, Duration>,
    spoofed: BTreeMap<u32, Duration>,
    arrived: BTreeSet<u32>,
    said: Vec<(Duration, Value)>,
}

/// The configuration with these interfaces. The peer's address is on the LAN, or on the link of two addresses.
pub fn config(more: &str) -> String {
    let its_address = match more.contains("lan = [") {
        true => "192.0.2.11",
        false => "198.18.0.7",
    };
    format!(
        r#"
[router]
asn = 64500
prefixes = ["44.1.0.0/16"]

{more}

[[peer]]
name = "p"
asn = 64501
interface = "ixp0"
addresses = ["{its_address}"]
macs = ["{ITS_MAC}"]
mode = "enforce"
families = ["ipv4"]

[[feed]]
kind = "static"
peer = "p"
advertised_by_peer = ["45.146.194.0/23"]
advertised_to_peer = ["44.1.0.0/16"]

[limits]
max_peers = 16
table_memory_mib = 8
"#
    )
}

pub const LAN: &str = r#"
[[interface]]
name = "ixp0"
kind = "lan"
lan = ["192.0.2.0/24"]
"#;

impl Scene {
    /// The peer is enforced.
    pub fn new(interfaces: &str, address: &str) -> Self {
        let scene = Self::starting(interfaces, address);
        scene.until_enforced();
        scene
    }

    /// The daemon runs.
    pub fn starting(interfaces: &str, address: &str) -> Self {
        Self::starting_after(&config(interfaces), address, |_, _| {})
    }

    /// The daemon runs, with this configuration, after something else was done on the router.
    pub fn starting_after(
        config: &str,
        address: &str,
        before: impl FnOnce(&Site, &Namespace),
    ) -> Self {
        let router = Namespace::quiet("router").unwrap();
        let peer = Namespace::quiet("peer").unwrap();
        plug(&router, &peer, address);
        let site = Site::new(&router);
        before(&site, &router);
        Self {
            daemon: site.start(config),
            site,
            router,
            peer,
            number: 0,
        }
    }

    /// Another process, with this configuration, after whatever `meanwhile` does.
    pub fn restart(self, config: &str, meanwhile: impl FnOnce(&Site, &Namespace)) -> Self {
        let Self {
            daemon,
            site,
            router,
            peer,
            number,
        } = self;
        daemon.stop();
        meanwhile(&site, &router);
        Self {
            daemon: site.start(config),
            site,
            router,
            peer,
            number,
        }
    }

    /// Reloads this configuration, and waits for the event that says what became of it.
    pub fn reload(&self, config: &str, event: &str) -> Value {
        let before = self.daemon.events_named(event).len();
        self.daemon.rewrite(&self.site, config);
        self.daemon.reload();
        wait_for(event, WITHIN, || {
            self.daemon.events_named(event).into_iter().nth(before)
        })
    }

    /// Plugs the two together anew.
    pub fn plug(&self, address: &str) {
        plug(&self.router, &self.peer, address);
    }

    /// All of it: what needs no routes is in force before.
    pub fn until_enforced(&self) {
        self.daemon.until("the peer to be enforced", "p", |peer| {
            is_enforced(peer) && peer["state"] == "enforcing"
        });
    }

    /// The status of an interface.
    pub fn interface(&self, name: &str) -> Value {
        let status = self.daemon.status();
        let mut interfaces = status["interfaces"].as_array().unwrap().iter();
        interfaces
            .find(|each| each["name"] == name)
            .unwrap()
            .clone()
    }

    /// Sends so many packets of this flow, from this MAC, and counts those that arrive.
    pub fn arrive(&mut self, from: &str, flow: Flow) -> usize {
        let sender = self.peer.run(|| Wire::open("eth0").unwrap());
        self.arrive_by(&sender, from, flow)
    }

    /// As [`Scene::arrive`], by a wire of the caller's.
    pub fn arrive_by(&mut self, sender: &Wire, from: &str, flow: Flow) -> usize {
        const PACKETS: u32 = 20;
        let sink = self.router.run(|| Wire::open("ixp0").unwrap());
        let first = self.number + 1;
        self.number += PACKETS;
        for number in first..=self.number {
            sender.send(&Self::frame_from(from, number, our_mac(), flow));
        }
        // Nothing overtakes on a wire, and what goes to another MAC always passes.
        let last = Self::frame_from(from, u32::MAX, "02:00:00:00:0f:ff".parse().unwrap(), flow);
        sender.send(&last);
        let mut arrived = BTreeSet::new();
        wait_for("the last packet", WITHIN, || {
            arrived.extend(sink.waiting().iter().filter_map(|frame| number(frame)));
            arrived.contains(&u32::MAX).then_some(())
        });
        arrived.range(first..=self.number).count()
    }

    /// The bytes of a packet with this number, to this MAC of ours.
    fn frame(number: u32, to: Mac, flow: Flow) -> Vec<u8> {
        Self::frame_from(ITS_MAC, number, to, flow)
    }

    fn frame_from(from: &str, number: u32, to: Mac, flow: Flow) -> Vec<u8> {
        let payload = format!("{} {number:010}", std::process::id());
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let (source, destination) = (address(flow.source), address(flow.destination));
        let datagram = frame::udp(payload.as_bytes());
        let packet = frame::packet(source, destination, UDP, 64, &datagram);
        frame::ethernet(to, from.parse().unwrap(), frame::ethertype(source), &packet)
    }

    /// Sends both flows to a MAC of ours for as long as a change may take and a while longer. Devices that are gone
    /// take no packets; those are not counted as sent.
    pub fn stream(&mut self, device: &str, to: Mac, good: Flow, spoofed: Flow) -> Outcome {
        let sink = self.router.run(|| Wire::open(device).unwrap());
        let sender = self.peer.run(|| Wire::open("eth0").unwrap());
        let mut outcome = Outcome::default();
        let begin = Instant::now();
        let mut look_at = Duration::ZERO;
        while begin.elapsed() < FOLLOWED + AFTER {
            for is_good in [true, false] {
                self.number += 1;
                let (flow, sent) = if is_good {
                    (good, &mut outcome.good)
                } else {
                    (spoofed, &mut outcome.spoofed)
                };
                if sender.try_send(&Self::frame(self.number, to, flow)).is_ok() {
                    sent.insert(self.number, begin.elapsed());
                }
            }
            outcome
                .arrived
                .extend(sink.waiting().iter().filter_map(|frame| number(frame)));
            if begin.elapsed() >= look_at {
                look_at = begin.elapsed() + LOOK;
                outcome.said.push((begin.elapsed(), self.daemon.peer("p")));
            }
            thread::sleep(PACE);
        }
        thread::sleep(LOOK); // what is still in the device's queue
        outcome
            .arrived
            .extend(sink.waiting().iter().filter_map(|frame| number(frame)));
        outcome
    }
}

impl Outcome {
    /// No good packet was lost of those sent from `since` on, no spoofed one passed of those sent once a change must have
    /// been followed, and the peer is enforced at the end. Enough of each were sent to say so.
    pub fn assert_safe(&self, what: &str, since: Duration) {
        let lost = self.fates(&self.good, since, false);
        assert!(lost.is_empty(), "{what}: good packets lost: {lost:?}");
        let passed = self.fates(&self.spoofed, FOLLOWED, true);
        assert!(
            passed.is_empty(),
            "{what}: spoofed packets passed: {passed:?}"
        );
        for (of, sent) in [("good", &self.good), ("spoofed", &self.spoofed)] {
            let late = sent.values().filter(|&&at| at > FOLLOWED).count();
            assert!(
                late >= FEWEST,
                "{what}: {late} {of} packets sent in the end"
            );
        }
        let (_, last) = self.said.last().unwrap();
        assert!(is_enforced(last), "{what}: {last:#}");
        assert_eq!(last["state"], "enforcing", "{what}");
    }

    /// Not even at the start.
    pub fn assert_none_passed(&self, what: &str) {
        let passed = self.fates(&self.spoofed, Duration::ZERO, true);
        assert!(
            passed.is_empty(),
            "{what}: spoofed packets passed: {passed:?}"
        );
    }

    /// Those of `sent` that were sent after `since` and arrived, or did not, by number and time.
    fn fates(
        &self,
        sent: &BTreeMap<u32, Duration>,
        since: Duration,
        arrived: bool,
    ) -> Vec<(u32, Duration)> {
        let late = sent.iter().filter(|&(_, &at)| at >= since);
        late.filter(|(number, _)| self.arrived.contains(number) == arrived)
            .map(|(&number, &at)| (number, at))
            .collect()
    }
}

pub fn is_enforced(peer: &Value) -> bool {
    peer["mode_in_force"] == "enforce"
}

/// The number in a packet of ours.
fn number(frame: &[u8]) -> Option<u32> {
    let text = frame.get(42..)?;
    let text = std::str::from_utf8(text.get(..)?).ok()?;
    let (pid, number) = text.trim_end_matches('\0').split_once(' ')?;
    (pid == std::process::id().to_string()).then(|| number.parse().ok())?
}

fn plug(router: &Namespace, peer: &Namespace, address: &str) {
    let pair = format!(
        "link add ixp0 address {OUR_MAC} type veth peer name eth0 address {ITS_MAC} netns {}",
        peer.name()
    );
    router.ip(&pair.split(' ').collect::<Vec<_>>());
    router.ip(&["addr", "add", address, "dev", "ixp0"]);
    router.ip(&["link", "set", "ixp0", "up"]);
    peer.ip(&["link", "set", "eth0", "up"]);
    wait_for("the carrier", WITHIN, || {
        let shown = router.ip(&["link", "show", "dev", "ixp0"]);
        shown.contains("LOWER_UP").then_some(())
    });
}

/// Our MAC on the port, as it is at first.
pub fn our_mac() -> Mac {
    OUR_MAC.parse().unwrap()
}

impl Scene {
    pub fn pins(&self) -> &std::path::Path {
        self.site.pins()
    }

    pub const fn site(&self) -> &Site {
        &self.site
    }

    /// Where an interface's link is pinned.
    pub fn link_pin(&self, interface: &str) -> std::path::PathBuf {
        self.site.pins().join(format!("link-{interface}"))
    }
}
