//! ExaBGP: a speaker without a routing table, for what a BIRD would never send.
use super::{Daemon, Directory, Namespace};

/// A running ExaBGP.
#[derive(Debug)]
pub struct ExaBgp {
    daemon: Daemon,
    directory: Directory,
}

impl ExaBgp {
    /// Starts it in `namespace` with this configuration.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start(namespace: &Namespace, config: &str) -> Self {
        let directory = Directory::new("exabgp");
        let path = directory.write("exabgp.conf", config);
        let mut command = namespace.command("/usr/sbin/exabgp");
        // It would become `nobody`, who may not read the configuration, and look for its pipes in /run.
        command
            .env("exabgp.daemon.user", "root")
            .env("exabgp.api.cli", "false")
            .arg(path);
        let daemon = Daemon::start("exabgp", command, &directory);
        Self { daemon, directory }
    }

    /// The daemon itself.
    pub const fn daemon(&mut self) -> &mut Daemon {
        &mut self.daemon
    }

    /// Where its files are.
    #[must_use]
    pub const fn directory(&self) -> &Directory {
        &self.directory
    }
}
