//! Where a lab's daemons come from: the system's own packages, or those of the next Debian, which
//! `cargo xtask newer-daemons` unpacks below `target/`. The latter run in a mount namespace of their own, with that
//! tree's `/usr` in the place of the system's: paths that are compiled in, modules, clients and libraries are then
//! all of one release. Such a mount ends with the process; never one that others see.
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Directory, Namespace, Package};

/// Puts the tree's `/usr` in place and becomes the program. `ip netns exec` and `unshare --mount` have both made
/// mounts private before.
const ENTER: &str = "mount --bind \"$0\" /usr && exec \"$@\"";

/// The release that a daemon is from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Release {
    /// What is installed.
    #[default]
    System,
    /// Debian 13.
    Debian13,
    /// Debian 13 with BIRD 3 in the place of BIRD 2.
    Debian13Bird3,
}

impl Release {
    /// Is this program of `package` there? If not, what to do.
    pub(super) fn has(self, program: &str, package: &str) -> Result<(), String> {
        match self.usr() {
            None if Path::new(program).exists() => Ok(()),
            None => Err(format!("no {program} here: install the package {package}")),
            Some(usr) if under(&usr, program).exists() => Ok(()),
            Some(usr) => Err(format!(
                "no {} here: run `cargo xtask newer-daemons`",
                under(&usr, program).display()
            )),
        }
    }

    /// A daemon inside `namespace`. Its process is the program itself.
    pub(super) fn command(self, namespace: &Namespace, program: &str) -> Command {
        let Some(usr) = self.usr() else {
            return namespace.command(program);
        };
        let mut command = namespace.command("/bin/sh");
        command.args(["-c", ENTER]).arg(usr).arg(program);
        command
    }

    /// A client of such a daemon, wherever this is run.
    #[must_use]
    pub fn client(self, program: &str) -> Command {
        let Some(usr) = self.usr() else {
            return Command::new(program);
        };
        let mut command = Command::new("unshare");
        command.args(["--mount", "/bin/sh", "-c", ENTER]);
        command.arg(usr).arg(program);
        command
    }

    /// The same as one executable file, for who wants to start it by a path.
    ///
    /// # Panics
    /// If it cannot be written.
    #[must_use]
    pub fn executable(self, program: &str, directory: &Directory) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let Some(usr) = self.usr() else {
            return program.into();
        };
        let name = Path::new(program).file_name().unwrap_or_default();
        let text = format!(
            "#!/bin/sh\nexec unshare --mount /bin/sh -c '{ENTER}' '{}' {program} \"$@\"\n",
            usr.display()
        );
        let path = directory.write(&name.to_string_lossy(), &text);
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&path, executable)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// What the daemon of this package says its version is.
    ///
    /// # Panics
    /// If it does not say.
    #[must_use]
    pub fn version(self, package: Package) -> String {
        let (_, programs) = package.programs();
        let option = match package {
            Package::OpenBgpd => "-V",
            _ => "--version",
        };
        let output = self
            .client(programs[0])
            .arg(option)
            .output()
            .unwrap_or_else(|error| panic!("{programs:?}: {error}"));
        // OpenBGPD and BIRD say it on standard error.
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        said.lines().next().unwrap_or_default().trim().to_owned()
    }

    fn usr(self) -> Option<PathBuf> {
        let tree = match self {
            Self::System => return None,
            Self::Debian13 => "main",
            Self::Debian13Bird3 => "bird3",
        };
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
        Some(workspace.join("target/debian13").join(tree).join("usr"))
    }
}

/// Where `/usr/...` lies in a tree.
fn under(usr: &Path, program: &str) -> PathBuf {
    usr.join(program.trim_start_matches("/usr/"))
}
