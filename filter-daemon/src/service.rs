//! What the daemon reports to its service manager (sd_notify(3)): started, reloading, alive, stopping. Datagrams that are
//! sent without waiting: a service manager that does not read never stops the run loop. Decides nothing, and does nothing
//! where there is no service manager.
use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The environment variable with the socket's path (sd_notify(3)).
const SOCKET: &str = "NOTIFY_SOCKET";
/// The variables with the time after which a silent daemon is ended, and for whom that is meant (sd_watchdog_enabled(3)).
const WATCHDOG: &str = "WATCHDOG_USEC";
const WATCHDOG_PID: &str = "WATCHDOG_PID";

/// The service manager, if there is one.
#[derive(Debug, Default)]
pub struct Manager {
    socket: Option<UnixDatagram>,
    /// How often it wants to hear that the daemon is alive.
    alive_every: Option<Duration>,
    alive_said: Duration,
    /// The daemon's state, if the manager's socket was full when that was to be sent.
    unsent: Option<&'static str>,
}

impl Manager {
    /// The one that started this process.
    #[must_use]
    pub fn from_environment() -> Self {
        let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
        let is_meant = number(WATCHDOG_PID).is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number(WATCHDOG).filter(|_| is_meant);
        match std::env::var_os(SOCKET) {
            Some(name) => Self::at(&name, watchdog.map(Duration::from_micros)),
            None => Self::default(),
        }
    }

    /// The one that listens there, and that ends the daemon when it hears nothing for `watchdog`.
    fn at(name: &OsString, watchdog: Option<Duration>) -> Self {
        let socket = connect(name)
            .inspect_err(|error| {
                log::warn!(
                    "the service manager's socket `{}`: {error}; it will not learn that this daemon is ready",
                    name.display()
                );
            })
            .ok();
        Self {
            socket,
            // Half of it, as sd_watchdog_enabled(3) advises.
            alive_every: watchdog.map(|watchdog| watchdog / 2),
            ..Self::default()
        }
    }

    /// The daemon filters and answers.
    pub fn ready(&mut self) {
        self.state("READY=1");
    }

    /// It takes another configuration in force.
    pub fn reloading(&mut self) {
        self.state("RELOADING=1");
    }

    /// It ends.
    pub fn stopping(&mut self) {
        self.state("STOPPING=1");
    }

    /// The run loop turns: call it at each turn.
    pub fn alive(&mut self, now: Duration) {
        if let Some(state) = self.unsent.take() {
            self.state(state);
        }
        let Some(every) = self.alive_every else {
            return;
        };
        if now >= self.alive_said + every && self.send("WATCHDOG=1").is_ok() {
            self.alive_said = now;
        }
    }

    fn state(&mut self, state: &'static str) {
        self.unsent = None;
        match self.send(state) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.unsent = Some(state),
            Err(error) => log::warn!("cannot send {state} to the service manager: {error}"),
            Ok(()) => {}
        }
    }

    fn send(&self, message: &str) -> io::Result<()> {
        match &self.socket {
            Some(socket) => socket.send(message.as_bytes()).map(drop),
            None => Ok(()),
        }
    }
}

/// A name with `@` in front is one of Linux's abstract sockets.
fn connect(name: &OsString) -> io::Result<UnixDatagram> {
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect_addr(&address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A service manager under an abstract name.
    fn manager(name: &str) -> (UnixDatagram, OsString) {
        let name = format!("bcp38-{name}-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        socket.set_nonblocking(true).unwrap();
        (socket, OsString::from(format!("@{name}")))
    }

    fn heard(socket: &UnixDatagram) -> Vec<String> {
        let mut buffer = [0; 64];
        let mut heard = Vec::new();
        while let Ok(length) = socket.recv(&mut buffer) {
            heard.push(String::from_utf8(buffer[..length].to_vec()).unwrap());
        }
        heard
    }

    #[test]
    fn states_and_signs_of_life() {
        let (socket, name) = manager("states");
        let mut daemon = Manager::at(&name, Some(4 * SECOND));
        daemon.ready();
        daemon.alive(SECOND);
        assert_eq!(heard(&socket), ["READY=1"], "not before half the time");
        daemon.alive(2 * SECOND);
        daemon.alive(3 * SECOND);
        assert_eq!(heard(&socket), ["WATCHDOG=1"]);
        daemon.reloading();
        daemon.ready();
        daemon.stopping();
        assert_eq!(heard(&socket), ["RELOADING=1", "READY=1", "STOPPING=1"]);
        let mut unwatched = Manager::at(&name, None);
        unwatched.alive(100 * SECOND);
        assert_eq!(heard(&socket), [""; 0]);
    }

    #[test]
    fn a_manager_that_does_not_read_costs_no_time_and_no_state() {
        let (socket, name) = manager("full");
        let mut daemon = Manager::at(&name, Some(2 * SECOND));
        while daemon.send("WATCHDOG=1").is_ok() {}
        daemon.ready();
        daemon.alive(5 * SECOND);
        let before = heard(&socket);
        assert!(before.iter().all(|message| message == "WATCHDOG=1"));
        daemon.alive(6 * SECOND);
        assert_eq!(heard(&socket), ["READY=1", "WATCHDOG=1"]);
    }

    #[test]
    fn without_a_manager_nothing_happens() {
        let mut daemon = Manager::at(&OsString::from("/nowhere/at/all"), Some(SECOND));
        daemon.ready();
        daemon.alive(SECOND);
        assert!(daemon.socket.is_none());
        assert!(daemon.unsent.is_none());
    }
}
