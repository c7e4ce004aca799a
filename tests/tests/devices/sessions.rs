//! BGP sessions of the router's own stay up through every change of a device: BIRD on both sides, a hold time of nine
//! seconds, the peer enforced. Longer than that is waited after each change.
use std::process::Command;
use std::thread;
use std::time::Duration;

use tests::lab::{Daemon, Directory, Namespace, Package, require, run, wait_for};

use super::scene::{LAN, Scene, WITHIN};

/// The shortest that BIRD takes is 3 s; peers on exchanges use 9 s.
const HOLD: Duration = Duration::from_secs(9);
const MARGIN: Duration = Duration::from_secs(2);

/// One BIRD with one session.
struct Bird {
    _daemon: Daemon,
    directory: Directory,
}

/// One side of a session.
#[derive(Clone, Copy)]
struct Side {
    address: &'static str,
    asn: u32,
}

impl Bird {
    fn new(namespace: &Namespace, name: &'static str, own: Side, other: Side) -> Self {
        let directory = Directory::new(name);
        let conf = format!(
            "router id 192.0.2.{};\nprotocol device {{}}\nprotocol bgp session1 {{ local {} as {}; neighbor {} as {}; multihop 2; hold time {}; connect delay time 1; connect retry time 1; error wait time 1,1; ipv4 {{ import all; export none; }}; }}\n",
            own.asn % 100,
            own.address,
            own.asn,
            other.address,
            other.asn,
            HOLD.as_secs(),
        );
        let conf = directory.write("bird.conf", &conf);
        let mut command = namespace.command("/usr/sbin/bird");
        command.arg("-f").arg("-c").arg(conf);
        command.arg("-P").arg(directory.path().join("bird.pid"));
        command.arg("-s").arg(directory.path().join("bird.ctl"));
        let daemon = Daemon::start(name, command, &directory);
        Self {
            _daemon: daemon,
            directory,
        }
    }

    /// Since when the session is established; none if it is not.
    fn established(&self) -> Option<String> {
        let mut birdc = Command::new("/usr/sbin/birdc");
        birdc.arg("-s").arg(self.directory.path().join("bird.ctl"));
        let shown = run(birdc.args(["show", "protocols", "session1"])).ok()?;
        let line = shown.lines().find(|line| line.contains("Established"))?;
        line.split_whitespace().nth(4).map(str::to_owned)
    }

    fn until_established(&self) -> String {
        wait_for("the session", WITHIN, || self.established())
    }
}

fn ip(namespace: &Namespace, words: &str) {
    namespace.ip(&words.split(' ').collect::<Vec<_>>());
}

/// The session is the same one, longer than its hold time later.
fn assert_stays(bird: &Bird, since: &str, scene: &Scene, change: &str) {
    thread::sleep(HOLD + MARGIN);
    assert_eq!(bird.established().as_deref(), Some(since), "{change}");
    scene.until_enforced();
}

#[test]
fn a_session_with_a_short_hold_time_stays_up_through_every_change() {
    if !require("devices sessions", &[Package::Bird]) {
        return;
    }
    let scene = Scene::new(LAN, "192.0.2.1/24");
    ip(&scene.peer, "addr add 192.0.2.11/24 dev eth0");
    let (ours, its) = (
        Side {
            address: "192.0.2.1",
            asn: 64500,
        },
        Side {
            address: "192.0.2.11",
            asn: 64501,
        },
    );
    let near = Bird::new(&scene.router, "near", ours, its);
    let _far = Bird::new(&scene.peer, "far", its, ours);
    let since = near.until_established();
    for change in [
        "addr add 198.18.0.1/24 dev ixp0",
        "link add vrrp4 link ixp0 address 00:00:5e:00:01:04 type macvlan mode bridge",
        "link set vrrp4 up",
        "link set ixp0 address 02:00:00:00:00:77",
    ] {
        ip(&scene.router, change);
    }
    assert_stays(
        &near,
        &since,
        &scene,
        "an address, a virtual router's device, another mac",
    );

    // The address moves to a bridge that the device becomes a port of.
    for change in [
        "link del vrrp4",
        "link add br0 type bridge",
        "link set br0 address 02:00:00:00:00:77",
        "link set br0 up",
        "addr del 192.0.2.1/24 dev ixp0",
        "addr add 192.0.2.1/24 dev br0",
        "link set ixp0 master br0",
    ] {
        ip(&scene.router, change);
    }
    assert_stays(&near, &since, &scene, "a port of a bridge");

    // The cable is pulled, and another one plugged in.
    for change in ["link del ixp0", "link del br0"] {
        ip(&scene.router, change);
    }
    scene.plug("192.0.2.1/24");
    ip(&scene.peer, "addr add 192.0.2.11/24 dev eth0");
    assert_stays(&near, &since, &scene, "a device that was created anew");
}

#[test]
fn a_session_over_two_addresses_alone_comes_up_and_stays() {
    if !require("devices sessions", &[Package::Bird]) {
        return;
    }
    let port = "[[interface]]\nname = \"ixp0\"\nkind = \"port\"\n";
    let scene = Scene::new(port, "198.18.0.6/31");
    ip(&scene.peer, "addr add 198.18.0.7/31 dev eth0");
    let (ours, its) = (
        Side {
            address: "198.18.0.6",
            asn: 64500,
        },
        Side {
            address: "198.18.0.7",
            asn: 64501,
        },
    );
    let near = Bird::new(&scene.router, "near", ours, its);
    let _far = Bird::new(&scene.peer, "far", its, ours);
    let since = near.until_established();
    assert_stays(&near, &since, &scene, "a /31");
}
