//! Why nothing answers on a control socket, and what to do: no such file, none that listens, or one that this user may not
//! open. Looks at /proc for a daemon; never starts one.
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

/// A daemon of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    number: u32,
    command: String,
}

/// What keeps a client from the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unreachable {
    /// Nothing listens, and no daemon runs.
    NoDaemon,
    /// Nothing listens there, but these daemons run.
    Elsewhere(Vec<Process>),
    /// The socket is another user's.
    Denied,
    /// Another error of the system.
    Other,
}

impl Unreachable {
    /// By the kernel's error on connecting.
    pub(super) fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied => Self::Denied,
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                match daemons(Path::new("/proc")) {
                    found if found.is_empty() => Self::NoDaemon,
                    found => Self::Elsewhere(found),
                }
            }
            _ => Self::Other,
        }
    }
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDaemon => f.write_str(
                "no daemon runs: start it with `bcp38 run --config FILE`, or `systemctl start bcp38`",
            ),
            Self::Elsewhere(daemons) => {
                let each: Vec<String> = daemons.iter().map(|it| format!("`{}` (process {})", it.command, it.number)).collect();
                write!(
                    f,
                    "a daemon runs, with another socket: {}: name its configuration with --config, or its socket with --socket",
                    each.join(", ")
                )
            }
            Self::Denied => f.write_str(
                "this user may not open it: run the command as root, or as the user the daemon runs as",
            ),
            Self::Other => f.write_str("name the daemon's socket with --socket"),
        }
    }
}

/// Daemons that are named at most.
const MAX_NAMED: usize = 3;
/// Of a command line, so much is shown.
const MAX_SHOWN: usize = 120;

/// Every `bcp38 run` of this machine, as far as this user may see it.
fn daemons(proc: &Path) -> Vec<Process> {
    let entries = fs::read_dir(proc).into_iter().flatten();
    let process = |entry: io::Result<fs::DirEntry>| {
        let entry = entry.ok()?;
        let number = entry.file_name().to_str()?.parse().ok()?;
        let command = fs::read(entry.path().join("cmdline")).ok()?;
        let command = String::from_utf8_lossy(&command);
        let words: Vec<&str> = command.split_terminator('\0').collect();
        let (program, rest) = words.split_first()?;
        let is_daemon = Path::new(program).file_name()? == "bcp38" && rest.first() == Some(&"run");
        let shown = words.join(" ");
        is_daemon.then(|| Process {
            number,
            command: shown
                .chars()
                .take(MAX_SHOWN)
                .flat_map(char::escape_debug)
                .collect(),
        })
    };
    let mut found: Vec<Process> = entries.filter_map(process).collect();
    found.sort_by_key(|it| it.number);
    found.truncate(MAX_NAMED);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_its_advice() {
        let proc = std::env::temp_dir().join(format!("bcp38-proc-{}", std::process::id()));
        for (number, line) in [
            ("7", "/usr/bin/bcp38\0run\0--config\0/etc/x.toml\0"),
            ("8", "/usr/bin/bcp38\0status\0"),
            ("9", "/usr/bin/other\0run\0"),
            ("self", "bcp38\0run\0"),
        ] {
            fs::create_dir_all(proc.join(number)).unwrap();
            fs::write(proc.join(number).join("cmdline"), line).unwrap();
        }
        let found = daemons(&proc);
        fs::remove_dir_all(&proc).unwrap();
        let text = Unreachable::Elsewhere(found).to_string();
        assert!(
            text.contains("`/usr/bin/bcp38 run --config /etc/x.toml` (process 7): name"),
            "{text}"
        );
        let denied = Unreachable::of(&io::ErrorKind::PermissionDenied.into());
        assert_eq!(denied, Unreachable::Denied);
        assert!(!denied.to_string().contains("start"));
        assert_eq!(daemons(&proc), [], "no such directory");
    }
}
