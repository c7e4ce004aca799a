//! R, as each daemon: started from the configurations in `configs/`, changed by its own client.
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::{Daemon, Directory, Namespace, Release, run, wait_for};

/// How long a daemon may take to listen on its control socket.
const READY_WITHIN: Duration = Duration::from_secs(15);

/// What may differ in FRR's configuration.
#[derive(Clone, Debug, Default)]
pub struct FrrOptions {
    /// The BMP listener R connects to, pre- and post-policy, both families.
    pub bmp: Option<SocketAddr>,
    /// Lines outside `router bgp`.
    pub global: String,
    /// Lines in `router bgp`, for instance further neighbours.
    pub router: String,
    /// Lines in its `address-family ipv4 unicast`.
    pub ipv4: String,
    /// Lines in its `address-family ipv6 unicast`.
    pub ipv6: String,
}

/// FRR: zebra and bgpd.
#[derive(Debug)]
pub struct FrrRouter {
    // bgpd ends first: fields drop in order.
    bgpd: Daemon,
    _zebra: Daemon,
    directory: Directory,
    release: Release,
}

impl FrrRouter {
    pub(super) fn start(release: Release, namespace: &Namespace, options: &FrrOptions) -> Self {
        Self::start_with(release, namespace, &frr_conf(options))
    }

    /// With a `bgpd.conf` of one's own.
    pub(super) fn start_with(release: Release, namespace: &Namespace, bgpd_conf: &str) -> Self {
        let directory = Directory::new("frr");
        let zebra_conf = directory.write("zebra.conf", "hostname R\n");
        let bgpd_conf = directory.write("bgpd.conf", bgpd_conf);
        run(Command::new("chown")
            .args(["-R", "frr:frr"])
            .arg(directory.path()))
        .unwrap();
        let start = |name: &str, conf: &PathBuf, more: &[&str]| {
            let mut command = release.command(namespace, &format!("/usr/lib/frr/{name}"));
            command
                .arg("-f")
                .arg(conf)
                .arg("--vty_socket")
                .arg(directory.path());
            command
                .arg("-i")
                .arg(directory.path().join(format!("{name}.pid")));
            command.arg("-z").arg(directory.path().join("zserv.api"));
            command.args(["-A", "127.0.0.1"]).args(more);
            Daemon::start(name, command, &directory)
        };
        let mut zebra = start("zebra", &zebra_conf, &[]);
        let zserv = directory.path().join("zserv.api");
        wait_for("zebra's socket", READY_WITHIN, || {
            zebra.assert_running();
            zserv.exists().then_some(())
        });
        let bgpd = start("bgpd", &bgpd_conf, &["-M", "bmp"]);
        let mut router = Self {
            bgpd,
            _zebra: zebra,
            directory,
            release,
        };
        wait_for("bgpd's vty", READY_WITHIN, || {
            router.bgpd.assert_running();
            router.try_vtysh(&["show version"]).ok()
        });
        router
    }

    /// The vty socket of bgpd.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("bgpd.vty")
    }

    /// The daemon itself.
    pub const fn bgpd(&mut self) -> &mut Daemon {
        &mut self.bgpd
    }

    /// `vtysh` with one command after the other.
    ///
    /// # Panics
    /// If that fails.
    pub fn vtysh(&self, commands: &[&str]) -> String {
        self.try_vtysh(commands).unwrap()
    }

    /// Changes the configuration, line by line from its top.
    ///
    /// # Panics
    /// If that fails.
    pub fn configure(&self, lines: &[&str]) {
        self.vtysh(&[&["configure terminal"], lines].concat());
    }

    fn try_vtysh(&self, commands: &[&str]) -> Result<String, String> {
        let mut vtysh = self.release.client("/usr/bin/vtysh");
        vtysh
            .arg("--vty_socket")
            .arg(self.directory.path())
            .args(["-d", "bgpd"]);
        for command in commands {
            vtysh.args(["-c", command]);
        }
        run(&mut vtysh)
    }
}

fn frr_conf(options: &FrrOptions) -> String {
    let bmp = options.bmp.map_or(String::new(), |listener| {
        let monitor: String = ["ipv4", "ipv6"]
            .iter()
            .flat_map(|family| ["pre", "post"].map(|policy| (family, policy)))
            .map(|(family, policy)| format!("  bmp monitor {family} unicast {policy}-policy\n"))
            .collect();
        let (ip, port) = (listener.ip(), listener.port());
        format!(
            " bmp targets T1\n  bmp stats interval 5000\n{monitor}  \
             bmp connect {ip} port {port} min-retry 500 max-retry 2000\n exit\n"
        )
    });
    include_str!("configs/frr.conf")
        .replace("@GLOBAL@", &options.global)
        .replace("@ROUTER@", &options.router)
        .replace("@IPV4@", &options.ipv4)
        .replace("@IPV6@", &options.ipv6)
        .replace("@BMP@", &bmp)
}

/// BIRD 2.
#[derive(Debug)]
pub struct BirdRouter {
    daemon: Daemon,
    directory: Directory,
    release: Release,
}

impl BirdRouter {
    pub(super) fn start(
        release: Release,
        namespace: &Namespace,
        change: impl FnOnce(&str) -> String,
    ) -> Self {
        let conf = change(include_str!("configs/bird.conf"));
        Self::start_with(release, namespace, &conf)
    }

    /// With a `bird.conf` of one's own.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start_with(release: Release, namespace: &Namespace, conf: &str) -> Self {
        let directory = Directory::new("bird");
        let conf = directory.write("bird.conf", conf);
        let mut command = release.command(namespace, "/usr/sbin/bird");
        command
            .arg("-f")
            .arg("-c")
            .arg(conf)
            .arg("-P")
            .arg(directory.path().join("bird.pid"));
        command.arg("-s").arg(directory.path().join("bird.ctl"));
        let daemon = Daemon::start("bird", command, &directory);
        let mut router = Self {
            daemon,
            directory,
            release,
        };
        wait_for("bird's control socket", READY_WITHIN, || {
            router.daemon.assert_running();
            router.try_birdc(&["show", "status"]).ok()
        });
        router
    }

    /// The control socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("bird.ctl")
    }

    /// The daemon itself.
    pub const fn daemon(&mut self) -> &mut Daemon {
        &mut self.daemon
    }

    /// Replaces the configuration by what `change` makes of it.
    ///
    /// # Panics
    /// If BIRD does not take it.
    pub fn reconfigure(&self, change: impl FnOnce(&str) -> String) {
        self.reconfigure_to(&change(include_str!("configs/bird.conf")));
    }

    /// Replaces the configuration.
    ///
    /// # Panics
    /// If BIRD does not take it.
    pub fn reconfigure_to(&self, conf: &str) {
        self.directory.write("bird.conf", conf);
        let answer = self.birdc(&["configure"]);
        assert!(answer.contains("Reconfigur"), "{answer}");
    }

    /// `birdc` with these arguments.
    ///
    /// # Panics
    /// If that fails.
    pub fn birdc(&self, arguments: &[&str]) -> String {
        self.try_birdc(arguments).unwrap()
    }

    fn try_birdc(&self, arguments: &[&str]) -> Result<String, String> {
        let mut birdc = self.release.client("birdc");
        run(birdc.arg("-s").arg(self.socket()).args(arguments))
    }
}

/// GoBGP 3. Its gRPC service listens inside the namespace.
#[derive(Debug)]
pub struct GoBgpRouter {
    daemon: Daemon,
    directory: Directory,
    client: PathBuf,
}

impl GoBgpRouter {
    pub(super) fn start(release: Release, namespace: &Namespace, bmp: Option<SocketAddr>) -> Self {
        let directory = Directory::new("gobgp");
        let conf = directory.write("gobgpd.toml", &gobgp_conf(bmp));
        let mut command = release.command(namespace, "/usr/bin/gobgpd");
        command
            .arg("-f")
            .arg(conf)
            .args(["--api-hosts", "127.0.0.1:50051", "--pprof-disable"]);
        let mut daemon = Daemon::start("gobgpd", command, &directory);
        let gobgp =
            |arguments: &[&str]| run(release.command(namespace, "/usr/bin/gobgp").args(arguments));
        wait_for("gobgpd's service", READY_WITHIN, || {
            daemon.assert_running();
            gobgp(&["global"]).ok()
        });
        for (prefix, family) in [
            ("100.64.0.0/24", "ipv4"),
            ("100.64.1.0/24", "ipv4"),
            ("2001:db8:a::/48", "ipv6"),
            ("2001:db8:b::/48", "ipv6"),
        ] {
            gobgp(&["global", "rib", "add", prefix, "-a", family]).unwrap();
        }
        Self {
            client: release.executable("/usr/bin/gobgp", &directory),
            daemon,
            directory,
        }
    }

    /// The daemon itself.
    pub const fn daemon(&mut self) -> &mut Daemon {
        &mut self.daemon
    }

    /// Its client, as the feed starts it.
    #[must_use]
    pub fn client(&self) -> PathBuf {
        self.client.clone()
    }

    /// Deletes a neighbour of the daemon in this namespace: it sends no Peer Down.
    ///
    /// # Panics
    /// If it refuses.
    pub fn forget(&self, namespace: &Namespace, neighbour: &str) {
        let mut gobgp = Command::new(&self.client);
        gobgp.args(["neighbor", "del", neighbour]);
        let deleted = namespace.run(|| run(&mut gobgp));
        deleted.unwrap_or_else(|error| panic!("{error}"));
    }

    /// Where its files are.
    #[must_use]
    pub const fn directory(&self) -> &Directory {
        &self.directory
    }
}

fn gobgp_conf(bmp: Option<SocketAddr>) -> String {
    let bmp = bmp.map_or(String::new(), |listener| {
        let (ip, port) = (listener.ip(), listener.port());
        format!(
            "[[bmp-servers]]\n  [bmp-servers.config]\n    address = \"{ip}\"\n    port = {port}\n    \
             route-monitoring-policy = \"all\"\n    statistics-timeout = 15\n"
        )
    });
    format!("{}\n{bmp}", include_str!("configs/gobgpd.toml"))
}

/// OpenBGPD.
#[derive(Debug)]
pub struct OpenBgpdRouter {
    daemon: Daemon,
    directory: Directory,
    client: PathBuf,
}

impl OpenBgpdRouter {
    pub(super) fn start(release: Release, namespace: &Namespace) -> Self {
        use std::os::unix::fs::PermissionsExt;
        // Its children's empty root directory; systemd would make it.
        std::fs::create_dir_all("/run/openbgpd").unwrap();
        let directory = Directory::new("openbgpd");
        let place = directory.path().display().to_string();
        let text = include_str!("configs/openbgpd.conf").replace("@DIR@", &place);
        let conf = directory.write("bgpd.conf", &text);
        std::fs::set_permissions(&conf, std::fs::Permissions::from_mode(0o600)).unwrap();
        let mut command = release.command(namespace, "/usr/sbin/bgpd");
        command.args(["-d", "-v", "-f"]).arg(conf);
        let daemon = Daemon::start("bgpd", command, &directory);
        let mut router = Self {
            client: release.executable("/usr/sbin/bgpctl", &directory),
            daemon,
            directory,
        };
        wait_for("bgpd's control socket", READY_WITHIN, || {
            router.daemon.assert_running();
            let mut bgpctl = Command::new(&router.client);
            run(bgpctl.arg("-s").arg(router.socket()).arg("show")).ok()
        });
        router
    }

    /// The control socket anyone may ask.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("bgpd.rsock")
    }

    /// Its client, as the feed starts it.
    #[must_use]
    pub fn client(&self) -> PathBuf {
        self.client.clone()
    }

    /// The daemon itself.
    pub const fn daemon(&mut self) -> &mut Daemon {
        &mut self.daemon
    }
}
