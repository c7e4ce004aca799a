//! Real packets between a lab's peers and its router, and what became of each: its reason and fate by the
//! daemon's counters, its arrival behind the filter. Every counter but those of the lab's own BGP, ARP and ND is
//! kept account of. Never receives on the peers' side.
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use filter_core::frame;
use filter_core::packet::Mac;
use serde_json::Value;

use super::{Bcp38, Namespace, Wire, wait_for};

/// What routers and peers say by themselves: never accounted for.
pub const NOISE: &[&str] = &[
    "arp",
    "neighbour-discovery",
    "router-advertisement",
    "lan-multicast",
    "link-local",
    "router-advertisement",
    "lan-multicast",
    "peering-lan",
    "not-for-us",
];
/// How long a packet may take.
const WITHIN: Duration = Duration::from_secs(10);
/// IP protocol number of UDP.
const UDP: u8 = 17;
const ETHERTYPE_ARP: u16 = 0x0806;
const HOP_LIMIT: u8 = 64;

/// Packets and bytes by owner (peer or interface), reason and fate.
pub type Account = BTreeMap<(String, String, &'static str), (u64, u64)>;

/// What became of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fate {
    /// Whose counter counted it: a peer's name or an interface's.
    pub owner: String,
    /// Its reason.
    pub reason: String,
    /// Was it dropped?
    pub dropped: bool,
}

/// Both ends of the wire.
#[derive(Debug)]
pub struct Traffic {
    sink: Wire,
    router: Mac,
    senders: BTreeMap<String, (Wire, Mac)>,
    account: Account,
    dropped: Vec<Vec<u8>>,
    number: u32,
}

impl Traffic {
    /// From the interfaces `eth0` of these peers, by name, to that of the router.
    #[must_use]
    pub fn new(router: &Namespace, peers: &[(&str, &Namespace)]) -> Self {
        Self::behind(router, "eth0", peers)
    }

    /// As [`Traffic::new`], to this device of the router.
    #[must_use]
    pub fn behind(router: &Namespace, device: &str, peers: &[(&str, &Namespace)]) -> Self {
        let mut traffic = Self {
            sink: router.run(|| Wire::on(device)),
            router: router.mac(device),
            senders: BTreeMap::new(),
            account: Account::new(),
            dropped: Vec::new(),
            number: 0,
        };
        for (name, namespace) in peers {
            traffic.add_sender(name, namespace, "eth0");
        }
        traffic
    }

    /// One more sender.
    pub fn add_sender(&mut self, name: &str, namespace: &Namespace, device: &str) {
        let wire = namespace.run(|| Wire::on(device));
        self.senders
            .insert(name.to_owned(), (wire, namespace.mac(device)));
    }

    /// A frame of this sender, unlike any other.
    fn frame(&mut self, sender: &str, source: &str, destination: &str) -> Vec<u8> {
        self.number += 1;
        let payload = format!("{} {:08}", std::process::id(), self.number);
        let (source, destination): (IpAddr, IpAddr) = (address(source), address(destination));
        let datagram = frame::udp(payload.as_bytes());
        let packet = frame::packet(source, destination, UDP, HOP_LIMIT, &datagram);
        let (_, mac) = self.sender(sender);
        frame::ethernet(self.router, *mac, frame::ethertype(source), &packet)
    }

    fn sender(&self, name: &str) -> &(Wire, Mac) {
        self.senders
            .get(name)
            .unwrap_or_else(|| panic!("no sender {name}"))
    }

    /// Sends one packet and says what became of it. Everything else that was counted meanwhile must be noise.
    ///
    /// # Panics
    /// If it is not counted, another counter moves, or it arrives although dropped or does not although passed.
    pub fn send(&mut self, daemon: &Bcp38, sender: &str, source: &str, destination: &str) -> Fate {
        self.receive();
        let frame = self.frame(sender, source, destination);
        self.sender(sender).0.send(&frame);
        let now = wait_for("the packet to be counted", WITHIN, || {
            let now = account(&daemon.status());
            (now != self.account).then_some(now)
        });
        let fate = self.only_change(&now, frame.len() as u64);
        self.account = now;
        if fate.dropped {
            self.dropped.push(frame.clone());
        }
        let begin = Instant::now();
        loop {
            let arrived = self.receive();
            if fate.dropped || arrived.contains(&frame) {
                return fate;
            }
            assert!(
                begin.elapsed() < WITHIN,
                "did not arrive although passed as {fate:?}"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Sends one packet that must meet this fate at this peer.
    ///
    /// # Panics
    /// If it meets another.
    pub fn expect(
        &mut self,
        daemon: &Bcp38,
        (sender, source, destination): (&str, &str, &str),
        reason: &str,
        dropped: bool,
    ) {
        let fate = self.send(daemon, sender, source, destination);
        let expected = Fate {
            owner: sender.to_owned(),
            reason: reason.to_owned(),
            dropped,
        };
        assert_eq!(
            fate,
            expected,
            "{sender}: {source} > {destination}: {:#?}",
            daemon.story()
        );
    }

    /// Sends packets until one meets this reason; each before must meet `before`. Returns how long it took.
    ///
    /// # Panics
    /// If none ever does, or one meets a third reason.
    pub fn until(
        &mut self,
        daemon: &Bcp38,
        (sender, source, destination): (&str, &str, &str),
        (before, reason): (&str, &str),
        within: Duration,
    ) -> Duration {
        self.until_after(
            daemon,
            (sender, source, destination),
            &[before],
            reason,
            within,
        )
    }

    /// As [`Traffic::until`], where each before may meet any of `before`.
    ///
    /// # Panics
    /// As [`Traffic::until`].
    pub fn until_after(
        &mut self,
        daemon: &Bcp38,
        (sender, source, destination): (&str, &str, &str),
        before: &[&str],
        reason: &str,
        within: Duration,
    ) -> Duration {
        let begin = Instant::now();
        loop {
            let fate = self.send(daemon, sender, source, destination);
            if fate.reason == reason {
                return begin.elapsed();
            }
            assert!(
                before.contains(&fate.reason.as_str()),
                "{source} > {destination}: {}: {:#?}",
                fate.reason,
                daemon.story()
            );
            assert!(
                begin.elapsed() < within,
                "{source} > {destination} is still {before:?} after {within:?}: {:#?}",
                daemon.story()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends one packet that must be counted for this reason, without asking the daemon, which may not be there.
    /// Does it come through?
    pub fn passes(
        &mut self,
        (sender, source, destination): (&str, &str, &str),
        reason: &str,
    ) -> bool {
        self.receive();
        let suspect = self.frame(sender, source, destination);
        // An ARP request is always let through and comes in behind it: what is not there by then was dropped.
        let (wire, mac) = self.sender(sender);
        let body: Vec<u8> = self.number.to_be_bytes().repeat(7);
        let marker = frame::ethernet(self.router, *mac, ETHERTYPE_ARP, &body);
        wire.send(&suspect);
        wire.send(&marker);
        let mut arrived = Vec::new();
        let begin = Instant::now();
        while !arrived.contains(&marker) {
            assert!(begin.elapsed() < WITHIN, "not even ARP comes through");
            arrived.extend(self.receive());
            std::thread::sleep(Duration::from_millis(1));
        }
        let passed = arrived.contains(&suspect);
        let fate = if passed { "passed" } else { "dropped" };
        self.count(sender, reason, fate, (1, suspect.len() as u64));
        passed
    }

    fn count(&mut self, owner: &str, reason: &str, fate: &'static str, more: (u64, u64)) {
        let key = (owner.to_owned(), reason.to_owned(), fate);
        let count = self.account.entry(key).or_default();
        *count = (count.0 + more.0, count.1 + more.1);
    }

    /// What has come in behind the filter; nothing of it may have been dropped.
    fn receive(&self) -> Vec<Vec<u8>> {
        let arrived = self.sink.waiting();
        for dropped in &self.dropped {
            assert!(!arrived.contains(dropped), "arrived although dropped");
        }
        arrived
    }

    /// Everything counted so far.
    #[must_use]
    pub const fn account(&self) -> &Account {
        &self.account
    }

    /// Takes the daemon's counters as they are for the account: packets were sent outside of it.
    pub fn reset(&mut self, daemon: &Bcp38) {
        self.account = account(&daemon.status());
    }

    /// The daemon's counters must be the account, to the byte.
    ///
    /// # Panics
    /// If they are not.
    pub fn assert_account(&self, daemon: &Bcp38) {
        assert_eq!(account(&daemon.status()), self.account);
    }

    fn only_change(&self, now: &Account, bytes: u64) -> Fate {
        let mut changed = now
            .iter()
            .filter(|&(key, count)| self.account.get(key) != Some(count));
        let Some((key, &count)) = changed.next() else {
            panic!("counters went away: {:?} to {now:?}", self.account);
        };
        assert_eq!(changed.next(), None, "beside {key:?}");
        let before = self.account.get(key).copied().unwrap_or_default();
        assert_eq!(count, (before.0 + 1, before.1 + bytes), "{key:?}");
        Fate {
            owner: key.0.clone(),
            reason: key.1.clone(),
            dropped: key.2 == "dropped",
        }
    }
}

/// The counters in a status, but for noise.
#[must_use]
pub fn account(status: &Value) -> Account {
    let mut counts = Account::new();
    let lists = ["peers", "interfaces"]
        .into_iter()
        .filter_map(|list| status[list].as_array());
    for owner in lists.flatten() {
        let name = owner["name"].as_str().unwrap_or_default();
        for (reason, fates) in owner["counters"].as_object().into_iter().flatten() {
            if NOISE.contains(&reason.as_str()) {
                continue;
            }
            for fate in ["passed", "dropped"] {
                let number = |what: &str| fates[fate][what].as_u64().unwrap_or(0);
                if number("packets") > 0 {
                    let key = (name.to_owned(), reason.clone(), fate);
                    counts.insert(key, (number("packets"), number("bytes")));
                }
            }
        }
    }
    counts
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|_| panic!("{text}"))
}

/// A constant stream of one packet, from a thread of its own.
#[derive(Debug)]
pub struct Stream {
    owner: String,
    bytes: u64,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

/// Between two packets of a stream.
pub const STREAM_INTERVAL: Duration = Duration::from_micros(500);

impl Traffic {
    /// Starts to send.
    #[must_use]
    pub fn stream(
        &mut self,
        namespace: &Namespace,
        (sender, source, destination): (&str, &str, &str),
    ) -> Stream {
        let frame = self.frame(sender, source, destination);
        let wire = namespace.run(|| Wire::on("eth0"));
        let stop = Arc::new(AtomicBool::new(false));
        let bytes = frame.len() as u64;
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut sent = 0;
            while !stopped.load(Ordering::Acquire) {
                wire.send(&frame);
                sent += 1;
                std::thread::sleep(STREAM_INTERVAL);
            }
            sent
        });
        Stream {
            owner: sender.to_owned(),
            bytes,
            stop,
            thread,
        }
    }

    /// Ends a stream. Every packet of it must have been counted as `reason` and passed, and nothing else counted.
    /// Returns how many there were.
    ///
    /// # Panics
    /// If one was not.
    pub fn end(&mut self, daemon: &Bcp38, stream: Stream, reason: &str) -> u64 {
        stream.stop.store(true, Ordering::Release);
        let sent = stream
            .thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        self.count(&stream.owner, reason, "passed", (sent, sent * stream.bytes));
        let begin = Instant::now();
        // Frames may still be in the device's queue.
        while account(&daemon.status()) != self.account && begin.elapsed() < WITHIN {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.assert_account(daemon);
        sent
    }
}

/// One packet sent again and again, to see when it comes through. Not accounted for.
#[derive(Debug)]
pub struct Probe<'a> {
    traffic: &'a Traffic,
    sender: String,
    frame: Vec<u8>,
}

impl Traffic {
    /// A packet of this sender's.
    pub fn probe(&mut self, (sender, source, destination): (&str, &str, &str)) -> Probe<'_> {
        let frame = self.frame(sender, source, destination);
        self.receive();
        Probe {
            traffic: self,
            sender: sender.to_owned(),
            frame,
        }
    }
}

impl Probe<'_> {
    /// Sends it. How many have come through since the last time?
    pub fn send(&mut self) -> usize {
        self.traffic.sender(&self.sender).0.send(&self.frame);
        let arrived = self.traffic.sink.waiting();
        arrived.iter().filter(|frame| **frame == self.frame).count()
    }
}
