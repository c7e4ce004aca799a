//! The daemon with the feeds `bmp` and `frr` of a real FRR, real peers, real frames: what the RIB says decides
//! what becomes of packets on the wire, at once for what is announced, after the hold for what is withdrawn, and
//! never wrongly in between.
#![expect(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::time::Duration;

use tests::lab::{Bcp38, FrrScene, Sections, wait_for};

mod flow;
mod learned;
mod lifetime;
mod retold;
mod secrets;

/// How long the lab's daemons may take.
const WITHIN: Duration = Duration::from_secs(60);
/// `withdraw_hold` here.
const HOLD: Duration = Duration::from_secs(3);
/// `peer_down_hold` here.
const DOWN_HOLD: Duration = Duration::from_secs(4);
/// `lease` here: the shortest there is.
const LEASE: Duration = Duration::from_secs(5);
/// `stale_hold` here.
const STALE_HOLD: Duration = Duration::from_secs(20);

/// A source that P1 announces, and another that no peer does.
const P1_SOURCE: &str = "198.51.100.7";
const SPOOFED: &str = "9.9.9.9";
/// Destinations that R announces to P1, to P1 only, and to no peer.
const OURS: &str = "100.64.0.1";
const OURS_TO_P1: &str = "100.64.1.1";
const ELSEWHERE: &str = "100.64.7.1";

/// The lab, FRR in it, the daemon beside FRR.
type Scene = FrrScene;

/// What this suite does with the lab.
trait Suite: Sized {
    /// The configuration; `more` goes into P1's section.
    fn config(&self, more: &str) -> String;

    /// Starts the daemon and waits until everything is received.
    fn start(&mut self) -> Bcp38;

    /// A child that another thread of this process is just about to run holds the link until it is.
    fn until_detached(&self);

    /// Stops the daemon, takes everything down, and looks for what is left.
    fn end(self, daemon: Bcp38);
}

impl Suite for FrrScene {
    fn config(&self, more: &str) -> String {
        let rest = format!(
            r"
[timers]
withdraw_hold = {hold}
peer_down_hold = {down_hold}
lease = {lease}
stale_hold = {stale_hold}

[limits]
max_peers = 16
table_memory_mib = 8
",
            hold = HOLD.as_secs(),
            down_hold = DOWN_HOLD.as_secs(),
            lease = LEASE.as_secs(),
            stale_hold = STALE_HOLD.as_secs(),
        );
        self.config_with(Sections {
            interface: "",
            p1: more,
            rest: &rest,
        })
    }

    fn start(&mut self) -> Bcp38 {
        let config = self.config("");
        self.start_with(&config)
    }

    fn until_detached(&self) {
        wait_for("the program to be detached", WITHIN, || {
            let shown = self.lab.router.ip(&["link", "show", "dev", "eth0"]);
            (!shown.contains("xdp")).then_some(())
        });
    }

    fn end(self, daemon: Bcp38) {
        let request = filter_daemon::control::Request::Detach {
            interface: "eth0".to_owned(),
        };
        daemon.ask(&request).unwrap();
        self.until_detached();
        daemon.stop();
        let detacher = self
            .site
            .try_start(&self.config(""), filter_daemon::runtime::AtExit::Detach)
            .unwrap();
        detacher.stop();
        assert!(!self.site.pins().exists(), "pins are left behind");
        self.until_detached();
    }
}
