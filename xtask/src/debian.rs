//! Debian packages of another suite, unpacked beside the system: resolved, downloaded and checked by an apt with
//! sources, lists and cache of its own, and the system's keyring. Never installs anything, runs nothing of what it
//! unpacks, and never touches the system's own apt.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::{Result, output, run};
use crate::packages;

/// What every Debian archive is signed with.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// In a finished tree: what was asked for.
const STAMP: &str = ".packages";

/// Makes `destination` the file tree of these packages of `suite` and all they depend on, as `dpkg -x` lays it.
/// Does nothing if it is that already; a half-made tree is never left in place.
pub fn unpack(suite: &str, packages: &[&str], destination: &Path) -> Result<()> {
    let wanted = format!("{suite}: {}\n", packages.join(" "));
    if fs::read_to_string(destination.join(STAMP)).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    let work = beside(destination, "apt");
    let tree = beside(destination, "new");
    for leftover in [&work, &tree, destination] {
        remove(leftover)?;
    }
    let apt = Apt::new(suite, &work)?;
    run(apt.get().args(["update", "-qq"]))?;
    run(apt
        .get()
        .args(["install", "-y", "-qq", "--download-only"])
        .args(packages))?;
    make(&tree)?;
    let archives = files(&apt.archives(), "deb")?;
    if archives.is_empty() {
        return Err(format!(
            "apt downloaded nothing for {packages:?} of {suite}"
        ));
    }
    for archive in archives {
        quietly(Command::new("dpkg").arg("-x").arg(archive).arg(&tree))?;
    }
    write(&tree.join(STAMP), &wanted)?;
    fs::rename(&tree, destination)
        .map_err(|error| format!("cannot rename {}: {error}", tree.display()))?;
    remove(&work)
}

/// An apt that knows of nothing installed.
struct Apt {
    work: PathBuf,
}

impl Apt {
    fn new(suite: &str, work: &Path) -> Result<Self> {
        let apt = Self {
            work: work.to_owned(),
        };
        if !Path::new(KEYRING).exists() {
            return Err(format!(
                "no {KEYRING}: install the package debian-archive-keyring"
            ));
        }
        make(&work.join("lists/partial"))?;
        make(&apt.archives().join("partial"))?;
        // With nothing installed, apt resolves the whole of what is needed.
        write(&work.join("status"), "")?;
        let mirror = mirror()?;
        let source = format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n");
        write(&work.join("sources.list"), &source)?;
        let at = work.display();
        let configuration = format!(
            "Dir::State \"{at}\";\nDir::State::status \"{at}/status\";\nDir::State::lists \"{at}/lists\";\n\
             Dir::Cache \"{at}\";\nDir::Cache::archives \"{at}/archives\";\n\
             Dir::Etc::sourcelist \"{at}/sources.list\";\nDir::Etc::sourceparts \"/dev/null\";\n\
             Dir::Etc::preferences \"/dev/null\";\nDir::Etc::preferencesparts \"/dev/null\";\n\
             APT::Install-Recommends \"false\";\nAPT::Sandbox::User \"root\";\nAcquire::Languages \"none\";\n\
             Acquire::Retries \"3\";\n"
        );
        write(&work.join("apt.conf"), &configuration)?;
        Ok(apt)
    }

    /// Read after the system's configuration: that may hold a proxy, and what is set here wins.
    fn get(&self) -> Command {
        let mut command = Command::new("apt-get");
        command.arg("-c").arg(self.work.join("apt.conf"));
        command
    }

    fn archives(&self) -> PathBuf {
        self.work.join("archives")
    }
}

/// Where the system itself gets Debian from: no other server is ever asked.
pub fn mirror() -> Result<String> {
    let look = || {
        let format = "$(ORIGIN)|$(LABEL)|$(REPO_URI)";
        let targets = output(Command::new("apt-get").args([
            "indextargets",
            "--format",
            format,
            "Created-By: Packages",
        ]))?;
        let mut lines = targets.lines();
        lines.find_map(|line| line.strip_prefix("Debian|Debian|").map(str::to_owned))
    };
    if let Some(mirror) = look() {
        return Ok(mirror);
    }
    if packages::is_root() {
        // Whose archive a source is, is known only once its lists are here.
        run(Command::new("apt-get").args(["update", "-qq"]))?;
    }
    look().ok_or_else(|| {
        "apt knows no Debian archive: this needs Debian, and its package lists (apt-get update)"
            .to_owned()
    })
}

fn beside(destination: &Path, what: &str) -> PathBuf {
    let mut name = destination.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{what}"));
    destination.with_file_name(name)
}

fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let unreadable = |error| format!("cannot read {}: {error}", folder.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn quietly(command: &mut Command) -> Result<()> {
    match output(command) {
        Some(_) => Ok(()),
        None => Err(format!("{command:?} failed")),
    }
}

fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).map_err(|error| format!("cannot write {}: {error}", file.display()))
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("cannot remove {}: {error}", folder.display()))
        }
        _ => Ok(()),
    }
}
