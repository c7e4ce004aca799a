//! Debian's kernels, fetched with an apt configuration of their own below the target directory: nothing of the
//! system's sources, lists or packages is touched, and nothing is installed. Versions in Debian change, so the
//! newest package of a series is looked up, never named.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::{Result, output, run};

/// Where kernels come from. Together they hold 5.10 to the newest.
const SUITES: &[&str] = &["bullseye", "bookworm", "trixie", "trixie-backports", "sid"];
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Names the mirror where the system's own sources name none of Debian's (on Ubuntu, say).
const MIRROR: &str = "BCP38_DEBIAN_MIRROR";
/// How often apt tries to fetch a file again.
const RETRIES: u32 = 3;
/// How often apt itself is run again: a mirror that changes under way fails as a whole.
const ATTEMPTS: u32 = 3;
/// Cloud images: small, and with all that the tests need.
const FLAVOUR: &str = "-cloud-amd64";
const IMAGE: &str = "linux-image-";

/// A kernel, unpacked.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// What it was asked for as: `5.10`, `newest`.
    pub asked: String,
    /// The compressed image.
    pub image: PathBuf,
    /// Its tree of modules.
    pub modules: PathBuf,
}

/// The throw-away apt.
pub struct Archive {
    dir: PathBuf,
    /// Kernel packages there are, with their series and the packages each consists of.
    found: Vec<Package>,
}

#[derive(Debug)]
struct Package {
    version: Vec<u32>,
    /// It and what it depends on of its own.
    parts: Vec<String>,
}

impl Archive {
    /// Fetches the lists of packages.
    pub fn open(dir: &Path) -> Result<Self> {
        for below in ["lists/partial", "archives/partial"] {
            create(&dir.join(below))?;
        }
        let mirror = mirror()?;
        let sources: String = SUITES
            .iter()
            .map(|suite| {
                format!(
                    "deb [arch=amd64 signed-by={KEYRING} target=Packages] {mirror} {suite} main\n"
                )
            })
            .collect();
        let list = dir.join("sources.list");
        fs::write(&list, sources)
            .map_err(|error| format!("cannot write {}: {error}", list.display()))?;
        let config = dir.join("apt.conf");
        fs::write(&config, configuration(dir))
            .map_err(|error| format!("cannot write {}: {error}", config.display()))?;
        let mut archive = Self {
            dir: dir.to_owned(),
            found: Vec::new(),
        };
        retried(archive.apt("apt-get").args(["update", "-qq"]))?;
        archive.found = archive.packages()?;
        Ok(archive)
    }

    /// Fetches and unpacks the newest kernel of a series (`6.1`), or of all (`newest`).
    pub fn kernel(&self, asked: &str) -> Result<Kernel> {
        let series = series(asked)?;
        let package = self
            .found
            .iter()
            .filter(|package| package.version.starts_with(&series))
            .max_by_key(|package| &package.version)
            .ok_or_else(|| {
                format!(
                    "no kernel package of {} is of series {asked} and complete; there are: {}",
                    SUITES.join(", "),
                    self.all_series()
                )
            })?;
        let root = self.dir.join("kernels").join(asked);
        if fs::read_to_string(root.join("parts")).ok().as_deref() != Some(&package.parts.join(" "))
        {
            self.unpack(package, &root)?;
        }
        let image = find(&root, &|name| name.starts_with("vmlinuz"))
            .ok_or_else(|| format!("no kernel image in {}", package.parts.join(", ")))?;
        let modules = find(&root, &|name| name == "kernel")
            .ok_or_else(|| format!("no modules in {}", package.parts.join(", ")))?;
        Ok(Kernel {
            asked: asked.to_owned(),
            image,
            modules,
        })
    }

    fn unpack(&self, package: &Package, root: &Path) -> Result<()> {
        if root.exists() {
            fs::remove_dir_all(root)
                .map_err(|error| format!("cannot remove {}: {error}", root.display()))?;
        }
        create(root)?;
        let debs = root.join("debs");
        create(&debs)?;
        retried(
            self.apt("apt-get")
                .current_dir(&debs)
                .args(["download", "-qq"])
                .args(&package.parts),
        )?;
        let entries = fs::read_dir(&debs)
            .map_err(|error| format!("cannot read {}: {error}", debs.display()))?;
        for entry in entries.flatten() {
            run(Command::new("dpkg-deb")
                .arg("-x")
                .arg(entry.path())
                .arg(root))?;
        }
        fs::remove_dir_all(&debs)
            .map_err(|error| format!("cannot remove {}: {error}", debs.display()))?;
        // Last of all: an unpacking that was interrupted has no such file.
        fs::write(root.join("parts"), package.parts.join(" "))
            .map_err(|error| format!("cannot write below {}: {error}", root.display()))
    }

    /// Every kernel whose parts are all there.
    fn packages(&self) -> Result<Vec<Package>> {
        let pattern = format!("^linux-(image|binary|modules)-[0-9].*{FLAVOUR}$");
        let listed = output(
            self.apt("apt-cache")
                .args(["search", "--names-only", &pattern]),
        )
        .ok_or("apt-cache cannot search")?;
        let there: Vec<&str> = listed
            .lines()
            .filter_map(|line| line.split(' ').next())
            .collect();
        let images = there.iter().filter(|name| name.starts_with(IMAGE));
        let shown = output(self.apt("apt-cache").arg("show").args(images))
            .ok_or("apt-cache cannot show kernel packages")?;
        let stanzas = shown.split("\n\n").filter_map(Package::of_stanza);
        Ok(stanzas
            .filter(|package| {
                package
                    .parts
                    .iter()
                    .all(|part| there.contains(&part.as_str()))
            })
            .collect())
    }

    fn all_series(&self) -> String {
        let mut series: Vec<&[u32]> = self
            .found
            .iter()
            .map(|package| &package.version[..2])
            .collect();
        series.sort_unstable();
        series.dedup();
        let series: Vec<String> = series
            .iter()
            .map(|series| format!("{}.{}", series[0], series[1]))
            .collect();
        series.join(", ")
    }

    /// apt, looking at nothing but our own directory.
    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", self.dir.join("apt.conf"));
        command
    }
}

/// What makes an apt of its own; anything else (proxies, say) is as the system has it.
fn configuration(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        r#"Dir::Etc::sourcelist "{dir}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State "{dir}";
Dir::State::status "/dev/null";
Dir::Cache "{dir}";
APT::Sandbox::User "root"; // the directory need not be readable for apt's own user
APT::Update::Error-Mode "any";
Acquire::Retries "{RETRIES}";
"#
    )
}

impl Package {
    fn of_stanza(stanza: &str) -> Option<Self> {
        let field = |name: &str| stanza.lines().find_map(|line| line.strip_prefix(name));
        let name = field("Package: ")?;
        let version = numbers(name.strip_prefix(IMAGE)?.strip_suffix(FLAVOUR)?)?;
        // From 6.19 on the image is a package of packages.
        let own = field("Depends: ")
            .unwrap_or_default()
            .split(", ")
            .filter_map(|depends| depends.split(' ').next())
            .filter(|name| name.starts_with("linux-binary-") || name.starts_with("linux-modules-"));
        let parts = std::iter::once(name).chain(own);
        Some(Self {
            version,
            parts: parts.map(str::to_owned).collect(),
        })
    }
}

/// Runs it until it succeeds, [`ATTEMPTS`] times.
fn retried(command: &mut Command) -> Result<()> {
    let mut ran = run(command);
    for _ in 1..ATTEMPTS {
        if ran.is_err() {
            ran = run(command);
        }
    }
    ran
}

/// The mirror the system itself uses.
fn mirror() -> Result<String> {
    if let Ok(mirror) = std::env::var(MIRROR) {
        return Ok(mirror);
    }
    let targets = output(Command::new("apt-get").args(["indextargets", "--format", "$(REPO_URI)"]));
    targets
        .unwrap_or_default()
        .lines()
        .find(|uri| uri.trim_end_matches('/').ends_with("/debian"))
        .map(str::to_owned)
        .ok_or_else(|| {
            format!("apt's sources name no mirror of Debian: set {MIRROR} to the URI of one")
        })
}

/// `6.1` → 6, 1; `newest` → nothing, which every version starts with.
fn series(asked: &str) -> Result<Vec<u32>> {
    if asked == super::NEWEST {
        return Ok(Vec::new());
    }
    let parts: Option<Vec<u32>> = asked.split('.').map(|part| part.parse().ok()).collect();
    parts.filter(|parts| parts.len() == 2).ok_or_else(|| {
        format!(
            "kernel `{asked}` is no series: name one like 6.1, or `{}`",
            super::NEWEST
        )
    })
}

/// `6.12.117+deb13` → 6, 12, 117; `5.10.0-32` → 5, 10, 0, 32. Release candidates have letters, and no numbers here.
fn numbers(version: &str) -> Option<Vec<u32>> {
    let version = version.split('+').next()?;
    let parts: Option<Vec<u32>> = version
        .split(['.', '-'])
        .map(|part| part.parse().ok())
        .collect();
    parts.filter(|parts| parts.len() > 1)
}

fn create(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).map_err(|error| format!("cannot make {}: {error}", dir.display()))
}

/// The first file or directory below whose name fits.
pub fn find(dir: &Path, fits: &dyn Fn(&str) -> bool) -> Option<PathBuf> {
    let mut below: Vec<PathBuf> = fs::read_dir(dir)
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    below.sort();
    let name = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|name| fits(&name.to_string_lossy()))
    };
    if let Some(found) = below.iter().find(|path| name(path)) {
        return Some(found.clone());
    }
    // Links may lead out of the tree.
    let dirs = below
        .iter()
        .filter(|path| path.is_dir() && !path.is_symlink());
    dirs.into_iter().find_map(|dir| find(dir, fits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbers_and_the_newest_is_the_largest() {
        for (text, version) in [
            ("6.12.117+deb13", Some(vec![6, 12, 117])),
            ("5.10.0-32", Some(vec![5, 10, 0, 32])),
            ("6.1.0-0.deb11.50", None),
            ("7.3~rc2", None),
            ("7", None),
        ] {
            assert_eq!(numbers(text), version, "{text}");
        }
        assert!(numbers("6.12.117") > numbers("6.12.57") && numbers("6.12.1") > numbers("6.1.176"));
    }

    #[test]
    fn a_series_is_two_numbers() {
        assert_eq!(series("6.1"), Ok(vec![6, 1]));
        assert_eq!(series(super::super::NEWEST), Ok(vec![]));
        for bad in ["6", "6.1.2", "six", ""] {
            assert!(series(bad).is_err(), "{bad}");
        }
        // 6.12 is not of series 6.1.
        assert!(!numbers("6.12.3").unwrap_or_default().starts_with(&[6, 1]));
    }

    #[test]
    fn a_kernel_brings_the_packages_it_consists_of() {
        let stanza = "Package: linux-image-7.3.4+deb13-cloud-amd64\nVersion: 7.3.4-1~bpo13+1\n\
            Depends: dracut | initramfs-tools (>= 0.1), linux-base-7.3.4+deb13-cloud-amd64 (= 7), \
            linux-binary-7.3.4+deb13-cloud-amd64 (= 7), linux-modules-7.3.4+deb13-cloud-amd64 (= 7)";
        let package = Package::of_stanza(stanza).expect("a kernel");
        let part = |what| format!("linux-{what}-7.3.4+deb13-cloud-amd64");
        assert_eq!(package.parts, ["image", "binary", "modules"].map(part));
        assert_eq!(package.version, [7, 3, 4]);
        for other in ["linux-image-cloud-amd64", "linux-image-7.3.4+deb13-amd64"] {
            assert!(
                Package::of_stanza(&format!("Package: {other}")).is_none(),
                "{other}"
            );
        }
    }
}
