//! What the machine itself shows: its kernel, its clock, its devices, its neighbour table. Reads only; what cannot be read
//! is left out. Judging is pure: facts are arguments.
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use filter_core::packet::Mac;
use filter_engine::look;
use filter_engine::neighbours::Neighbours;
use filter_lifecycle::devices::{Device, DeviceKind, Devices};
use filter_lifecycle::neighbour::NeighbourEvent;
use filter_loader::ethtool;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::Value;

use super::Finding;
use crate::config::Config;

/// The oldest kernel it runs on.
const OLDEST: (u32, u32) = (5, 10);
/// How long the kernel may take to list its neighbours.
const LIST_WITHIN: Duration = Duration::from_secs(2);

/// What was read of the machine.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Of the kernel: `6.1.0-13-amd64`.
    pub release: Option<String>,
    /// Does the clock follow another one? None if that is not known.
    pub is_synchronised: Option<bool>,
    /// Of this network namespace.
    pub devices: Option<Devices>,
    /// Devices that merge received packets in hardware.
    pub merging: BTreeSet<String>,
    /// Where each neighbour answers, by the index of its device.
    pub neighbours: Option<BTreeMap<(u32, IpAddr), Mac>>,
}

impl Facts {
    /// Reads them all; needs no privileges.
    #[must_use]
    pub fn read() -> Self {
        let devices = look::devices().ok();
        let names = devices.iter().flat_map(|devices| {
            let devices = devices.indices().filter_map(|index| devices.get(index));
            devices
                .map(|device| device.name.clone())
                .collect::<Vec<_>>()
        });
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok();
        Self {
            release: release.map(|it| it.trim().to_owned()),
            is_synchronised: is_synchronised(),
            merging: names
                .filter(|name| ethtool::merges(name) == Some(true))
                .collect(),
            neighbours: neighbours(),
            devices,
        }
    }
}

/// As systemd knows it.
fn is_synchronised() -> Option<bool> {
    let mut command = Command::new("timedatectl");
    command.args(["show", "--property=NTPSynchronized", "--value"]);
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    match output.stdout.trim_ascii() {
        b"yes" => Some(true),
        b"no" => Some(false),
        _ => None,
    }
}

fn neighbours() -> Option<BTreeMap<(u32, IpAddr), Mac>> {
    let mut table = Neighbours::open([]).ok()?;
    let mut known = BTreeMap::new();
    let end = Instant::now() + LIST_WITHIN;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        let millis = u16::try_from(left.as_millis()).unwrap_or(u16::MAX);
        let mut readable = [PollFd::new(table.as_fd(), PollFlags::POLLIN)];
        _ = poll(&mut readable, PollTimeout::from(millis)); // whatever it returns, the table is asked
        for event in table.next_events().ok()?.unwrap_or_default() {
            match event {
                NeighbourEvent::Known { link, address, mac } => {
                    known.insert((link, address), mac);
                }
                NeighbourEvent::Gone { link, address } => _ = known.remove(&(link, address)),
                NeighbourEvent::Complete => return Some(known),
            }
        }
    }
}

/// Everything that the machine shows, with what is configured, and what the daemon answers, if it does.
#[must_use]
pub fn look(facts: &Facts, config: Option<&Config>, status: Option<&Value>) -> Vec<Finding> {
    let mut found = Vec::new();
    kernel(facts, &mut found);
    if facts.is_synchronised == Some(false) {
        let why = "times in events, violations and reports are evidence only if they are right";
        let finding = Finding::new("clock", "the clock follows no other", why);
        found.push(finding.fix("systemctl enable --now systemd-timesyncd, or chrony"));
    }
    let (Some(config), Some(devices)) = (config, &facts.devices) else {
        return found;
    };
    for interface in &config.spec.interfaces {
        if let Some(index) = devices.named(&interface.name) {
            device(facts, devices, index, &mut found);
        }
    }
    if let Some(neighbours) = &facts.neighbours {
        look_at_neighbours(config, devices, neighbours, status, &mut found);
    }
    found
}

fn kernel(facts: &Facts, found: &mut Vec<Finding>) {
    let Some(release) = &facts.release else {
        return;
    };
    let Some(version) = version(release) else {
        return;
    };
    if version < OLDEST {
        let what = format!("linux {release}");
        let finding = Finding::new("kernel", what, "the program needs linux 5.10").problem(true);
        found.push(finding.fix("upgrade the kernel"));
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(['.', '-']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn device(facts: &Facts, devices: &Devices, index: u32, found: &mut Vec<Finding>) {
    let Some(device) = devices.get(index) else {
        return;
    };
    let mut push = |finding: Finding| found.push(finding.about(device.name.as_str()));
    if facts.merging.contains(&device.name) {
        let why = "merged packets are counted as one, and only the first one's headers are judged";
        let what = "the hardware merges received packets (LRO)";
        push(Finding::new("device", what, why).fix(format!("ethtool -K {} lro off", device.name)));
    }
    if let DeviceKind::Vlan(vlan) = device.kind {
        let what = format!("it is the device of vlan {vlan}");
        let why = "XDP runs there only as generic XDP, after the tag was taken off";
        push(
            Finding::new("device", what, why)
                .note()
                .fix("name the device below, and `vlan` in the peers"),
        );
    }
    if let Some(bond) = master_bond(devices, device) {
        let what = format!("it is a member of the bond `{}`", bond.name);
        let why = "frames that come in on the other members are not seen";
        push(
            Finding::new("device", what, why).fix(format!("name `{}` as the interface", bond.name)),
        );
    }
}

fn master_bond<'a>(devices: &'a Devices, device: &Device) -> Option<&'a Device> {
    let master = devices.get(device.master?)?;
    (master.kind == DeviceKind::Bond).then_some(master)
}

fn look_at_neighbours(
    config: &Config,
    devices: &Devices,
    neighbours: &BTreeMap<(u32, IpAddr), Mac>,
    status: Option<&Value>,
    found: &mut Vec<Finding>,
) {
    for peer in &config.spec.peers {
        for attachment in &peer.attachments {
            let interface = config.spec.interface(attachment.interface);
            let Some(index) = interface.and_then(|it| devices.named(&it.name)) else {
                continue;
            };
            let own = devices.own(index).unwrap_or_default();
            for &address in &attachment.addresses {
                let is_here = own
                    .addresses
                    .values()
                    .any(|net| net.contains(address.into()));
                if !is_here {
                    continue; // a multihop session: no neighbour is expected
                }
                let mut places = own.places.keys();
                let mac = places.find_map(|&place| neighbours.get(&(place, address)));
                let finding = match mac {
                    None => unanswered(address),
                    Some(&mac) => match status.and_then(|it| differs(it, &peer.name, mac)) {
                        Some(finding) => finding,
                        None => continue,
                    },
                };
                found.push(finding.about(peer.name.as_str()));
            }
        }
    }
}

fn unanswered(address: IpAddr) -> Finding {
    let what = format!("{address} has no neighbour entry");
    let why = "the peer's MAC is learned from it: without one, packets are of no known peer";
    Finding::new("neighbour", what, why).fix(format!("ping -c 1 {address}"))
}

/// The address answers at a MAC that is not among those the peer's packets are known by.
fn differs(status: &Value, peer: &str, mac: Mac) -> Option<Finding> {
    let mut peers = status["peers"].as_array()?.iter();
    let found = peers.find(|it| it["name"] == peer)?;
    let stations = found["stations"].as_array()?;
    let mac = mac.to_string();
    let is_known = |it: &Value| it["mac"].is_null() || it["mac"] == mac;
    if stations.is_empty() || stations.iter().any(is_known) {
        return None;
    }
    let what = format!("it answers at {mac}, which is none of the MACs its packets are known by");
    let why = "packets from there are of no known peer, and pass unless `unknown` is in force";
    Some(
        Finding::new("neighbour", what, why)
            .fix(format!("if it is the peer's: macs = [\"{mac}\"]")),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{CHECKS, Severity};
    use super::*;

    const CONFIG: &str = r#"
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
addresses = ["203.0.113.11", "192.0.2.1"]
"#;
    const INDEX: u32 = 7;
    const P1: Mac = Mac::from_bits(0x0200_0000_0010);

    fn device(name: &str, kind: DeviceKind, master: Option<u32>) -> Device {
        Device {
            name: name.to_owned(),
            kind,
            master,
            ..Device::default()
        }
    }

    fn facts(of: Device) -> Facts {
        let mut devices = Devices::default();
        devices.set(INDEX, of);
        devices.set(8, device("bond0", DeviceKind::Bond, None));
        devices.add_address(INDEX, "203.0.113.1".parse().unwrap(), 24);
        Facts {
            release: Some("6.1.0-13-amd64".to_owned()),
            is_synchronised: Some(true),
            devices: Some(devices),
            merging: BTreeSet::new(),
            neighbours: Some([((INDEX, "203.0.113.11".parse().unwrap()), P1)].into()),
        }
    }

    fn found(facts: &Facts, status: Option<&Value>) -> Vec<Finding> {
        let (config, _) = Config::parse(CONFIG, "test").unwrap();
        let found = look(facts, Some(&config), status);
        assert!(
            found.iter().all(|it| CHECKS.contains(&it.check)),
            "{found:?}"
        );
        found
    }

    fn plain() -> Facts {
        facts(device("ixp0", DeviceKind::Other, None))
    }

    #[test]
    fn where_all_is_well_nothing_is_found() {
        assert_eq!(found(&plain(), None), []);
        let status =
            json!({ "peers": [{ "name": "p1", "stations": [{ "mac": P1.to_string() }] }] });
        assert_eq!(found(&plain(), Some(&status)), []);
        assert!(
            look(&Facts::default(), None, None).is_empty(),
            "nothing could be read"
        );
    }

    #[test]
    fn kernels_and_clocks() {
        let kernel = |release: &str| {
            let facts = Facts {
                release: Some(release.to_owned()),
                ..plain()
            };
            found(&facts, None)
                .first()
                .map(|it| (it.check, it.severity))
        };
        assert_eq!(kernel("5.9.0"), Some(("kernel", Severity::Problem)));
        assert_eq!(kernel("5.10.0-1"), None);
        assert_eq!(kernel("strange"), None);
        let facts = Facts {
            is_synchronised: Some(false),
            ..plain()
        };
        assert_eq!(found(&facts, None)[0].check, "clock");
    }

    #[test]
    fn devices_that_hide_packets() {
        let member = found(&facts(device("ixp0", DeviceKind::Other, Some(8))), None);
        assert!(member[0].what.contains("bond0"), "{member:?}");
        let vlan = found(&facts(device("ixp0", DeviceKind::Vlan(100), None)), None);
        assert_eq!(
            (vlan[0].check, vlan[0].severity),
            ("device", Severity::Note)
        );
        let mut merging = plain();
        merging.merging.insert("ixp0".to_owned());
        let lro = found(&merging, None);
        assert_eq!(lro[0].fix.as_deref(), Some("ethtool -K ixp0 lro off"));
    }

    #[test]
    fn neighbours_that_do_not_answer_or_answer_elsewhere() {
        let mut silent = plain();
        silent.neighbours = Some(BTreeMap::new());
        let found_silent = found(&silent, None);
        assert_eq!(
            found_silent.len(),
            1,
            "a multihop session has no neighbour: {found_silent:?}"
        );
        assert_eq!(
            found_silent[0].fix.as_deref(),
            Some("ping -c 1 203.0.113.11")
        );
        let status =
            |mac: Value| json!({ "peers": [{ "name": "p1", "stations": [{ "mac": mac }] }] });
        let other = found(&plain(), Some(&status("02:00:00:00:00:99".into())));
        assert!(
            other[0].fix.as_deref().unwrap().contains(&P1.to_string()),
            "{other:?}"
        );
        assert_eq!(
            found(&plain(), Some(&status(Value::Null))),
            [],
            "any MAC is its"
        );
    }

    /// Whatever this machine is: everything can be read, and nothing panics.
    #[test]
    fn this_machine_can_be_read() {
        let facts = Facts::read();
        assert!(facts.release.is_some());
        let devices = facts.devices.as_ref().unwrap();
        assert!(devices.named("lo").is_some());
        _ = look(&facts, None, None);
    }
}
