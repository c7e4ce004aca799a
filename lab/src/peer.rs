//! A peer: a BIRD that announces static routes to R over one session per family, and what a test adds to them.
use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use filter_core::{Family, Prefix};

use super::{Daemon, Directory, Namespace, Speaker, run, wait_for};

/// How long a daemon may take to listen on its control socket.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// Who a peer is.
#[derive(Clone, Debug)]
pub struct PeerConfig {
    /// Short name.
    pub name: &'static str,
    /// Its AS number.
    pub asn: u32,
    /// Its IPv4 address; also its router id.
    pub v4: Ipv4Addr,
    /// Its IPv6 address.
    pub v6: Ipv6Addr,
    /// What it announces at first.
    pub announces: Vec<Prefix>,
    /// Seconds of graceful restart it asks for; none: it only helps others.
    pub restart_time: Option<u16>,
    /// Further lines in its BGP protocols.
    pub extra: String,
    /// Further protocols, for instance sessions with others than R.
    pub append: String,
}

/// A running peer.
#[derive(Debug)]
pub struct Peer {
    config: PeerConfig,
    router: Speaker,
    announced: BTreeSet<Prefix>,
    /// What its IPv4 and IPv6 export filters do to each route before they accept it.
    exports: [String; 2],
    daemon: Option<Daemon>,
    directory: Directory,
    namespace: Namespace,
}

impl Peer {
    /// Starts it in `namespace`, with sessions to `router`.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start(config: PeerConfig, namespace: Namespace, router: Speaker) -> Self {
        let announced = config.announces.iter().copied().collect();
        let directory = Directory::new(config.name);
        let mut peer = Self {
            config,
            router,
            announced,
            exports: Default::default(),
            daemon: None,
            directory,
            namespace,
        };
        peer.start_daemon(false);
        peer
    }

    /// Who it is.
    #[must_use]
    pub const fn config(&self) -> &PeerConfig {
        &self.config
    }

    /// Where it is.
    #[must_use]
    pub const fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Its address in a family.
    #[must_use]
    pub const fn address(&self, family: Family) -> IpAddr {
        match family {
            Family::Ipv4 => IpAddr::V4(self.config.v4),
            Family::Ipv6 => IpAddr::V6(self.config.v6),
        }
    }

    /// What it announces now.
    #[must_use]
    pub fn announced(&self, family: Family) -> BTreeSet<Prefix> {
        let all = self.announced.iter().copied();
        all.filter(|prefix| prefix.family() == family).collect()
    }

    /// Announces one more prefix.
    ///
    /// # Panics
    /// If BIRD does not take the new configuration.
    pub fn announce(&mut self, prefix: &str) {
        self.announced.insert(prefix.parse().unwrap());
        self.reconfigure();
    }

    /// Withdraws a prefix.
    ///
    /// # Panics
    /// If it was not announced, or BIRD does not take the new configuration.
    pub fn withdraw(&mut self, prefix: &str) {
        assert!(
            self.announced.remove(&prefix.parse().unwrap()),
            "{prefix} was not announced"
        );
        self.reconfigure();
    }

    /// Withdraws a prefix and announces others, at once.
    ///
    /// # Panics
    /// As [`Peer::withdraw`].
    pub fn replace(&mut self, old: &str, new: &[&str]) {
        assert!(
            self.announced.remove(&old.parse().unwrap()),
            "{old} was not announced"
        );
        self.announced
            .extend(new.iter().map(|text| text.parse::<Prefix>().unwrap()));
        self.reconfigure();
    }

    /// What its export filter does to each route of a family from now on, for instance
    /// `bgp_next_hop = 192.0.2.99;` or `bgp_community.add((0,64501));`.
    ///
    /// # Panics
    /// If BIRD does not take the new configuration.
    pub fn export_with(&mut self, family: Family, action: &str) {
        action.clone_into(&mut self.exports[family as usize]);
        self.reconfigure();
    }

    /// Shuts its session of this family down, with a NOTIFICATION.
    ///
    /// # Panics
    /// If BIRD does not.
    pub fn session_down(&self, family: Family) {
        self.birdc(&["disable", session(family)]);
    }

    /// Lets its session of this family come up again.
    ///
    /// # Panics
    /// If BIRD does not.
    pub fn session_up(&self, family: Family) {
        self.birdc(&["enable", session(family)]);
    }

    /// Is its session of this family established?
    #[must_use]
    pub fn is_established(&self, family: Family) -> bool {
        self.birdc(&["show", "protocols", session(family)])
            .contains("Established")
    }

    /// Ends it as a crash would: no NOTIFICATION; with a restart time the router keeps its routes.
    pub fn kill(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill();
        }
    }

    /// Starts it again after [`Peer::kill`], as BIRD's graceful recovery.
    ///
    /// # Panics
    /// If it does not start.
    pub fn restart(&mut self) {
        self.start_daemon(true);
    }

    /// `birdc` with these arguments.
    ///
    /// # Panics
    /// If that fails.
    pub fn birdc(&self, arguments: &[&str]) -> String {
        self.try_birdc(arguments).unwrap()
    }

    fn try_birdc(&self, arguments: &[&str]) -> Result<String, String> {
        run(Command::new("birdc")
            .arg("-s")
            .arg(self.control())
            .args(arguments))
    }

    fn control(&self) -> PathBuf {
        self.directory.path().join("bird.ctl")
    }

    fn start_daemon(&mut self, recover: bool) {
        let config = self.directory.write("bird.conf", &self.bird_conf());
        let mut command = self.namespace.command("/usr/sbin/bird");
        command
            .arg("-f")
            .arg("-c")
            .arg(config)
            .arg("-s")
            .arg(self.control());
        command
            .arg("-P")
            .arg(self.directory.path().join("bird.pid"));
        if recover {
            command.arg("-R");
        }
        let daemon = Daemon::start(self.config.name, command, &self.directory);
        let daemon = self.daemon.insert(daemon);
        let control = self.directory.path().join("bird.ctl");
        wait_for("bird's control socket", READY_WITHIN, || {
            daemon.assert_running();
            let mut ask = Command::new("birdc");
            run(ask.arg("-s").arg(&control).args(["show", "status"])).ok()
        });
    }

    fn reconfigure(&self) {
        self.directory.write("bird.conf", &self.bird_conf());
        let answer = self.birdc(&["configure"]);
        assert!(answer.contains("Reconfigur"), "{answer}");
    }

    fn bird_conf(&self) -> String {
        let PeerConfig {
            asn,
            v4,
            v6,
            restart_time,
            extra,
            append,
            ..
        } = &self.config;
        let Speaker {
            asn: r_asn,
            v4: r_v4,
            v6: r_v6,
        } = self.router;
        let restart = restart_time.map_or(String::new(), |seconds| {
            format!("graceful restart on; graceful restart time {seconds};")
        });
        let mut text = format!("router id {v4};\nprotocol device {{}}\n");
        for (family, number, local, remote) in [
            (Family::Ipv4, 4, IpAddr::from(*v4), IpAddr::from(r_v4)),
            (Family::Ipv6, 6, IpAddr::from(*v6), IpAddr::from(r_v6)),
        ] {
            let action = &self.exports[family as usize];
            let routes: String = self
                .announced(family)
                .iter()
                .map(|prefix| format!(" route {prefix} blackhole;"))
                .collect();
            let _infallible = write!(
                text,
                "protocol static s{number} {{ {family};{routes} }}\n\
                 protocol bgp r{number} {{\n local {local} as {asn}; neighbor {remote} as {r_asn};\n \
                 {family} {{ import all; export filter {{ if proto != \"s{number}\" then reject; {action} accept; }}; }};\n \
                 connect delay time 1; connect retry time 1; error wait time 1,1; {restart}\n {extra}\n}}\n"
            );
        }
        text.push_str(append);
        text
    }
}

const fn session(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "r4",
        Family::Ipv6 => "r6",
    }
}
