//! What a guest boots into: a file system in one file (cpio, "newc": Documentation/driver-api/early-userspace), with
//! busybox, `ip`, the test binaries, the libraries of both, the objects, some modules and a script that runs it all.
//! Never holds a device, a user or a service: the kernel makes the devices, and everything runs as root.
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::archive::{Kernel, find};
use super::plan::Run;
use crate::command::{Result, output, workspace};

/// The modules the tests need; no kernel has them built in.
const MODULES: &[&str] = &["veth", "tun", "bridge", "macvlan", "sch_ingress", "cls_bpf"];
/// Further ones, of the devices that are tested where a run says so.
const DEVICES: &[&str] = &["ip_gre", "wireguard", "bonding", "8021q"];
/// What the script and the tests call by name.
const APPLETS: &[&str] = &["sh", "mount", "insmod", "uname", "dmesg", "poweroff"];
const DIRECTORIES: &[&str] = &["proc", "sys", "dev", "run", "tmp"];

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const LINK: u32 = 0o120_777;

/// Path (without the first slash) → mode and content.
#[derive(Clone, Default)]
pub struct Image(BTreeMap<String, (u32, Vec<u8>)>);

impl Image {
    /// All that does not depend on the kernel.
    pub fn new(binaries: &BTreeMap<String, PathBuf>, dir: &Path) -> Result<Self> {
        let mut image = Self::default();
        for name in DIRECTORIES {
            image.add(name, DIRECTORY, Vec::new());
        }
        image.program("bin/busybox", &tool("busybox")?)?;
        for applet in APPLETS {
            image.add(&format!("bin/{applet}"), LINK, b"busybox".to_vec());
        }
        image.program("bin/ip", &tool("ip")?)?;
        image.program("bin/unshare", &tool("unshare")?)?;
        for (name, path) in binaries {
            image.program(&format!("tests/{name}"), &stripped(path, &dir.join(name))?)?;
        }
        // Where the tests look for the objects: beside their own sources.
        let objects = workspace().join("filter-loader/bpf");
        image.add(&inside(&workspace().join("tests")), DIRECTORY, Vec::new());
        for object in files(&objects)? {
            image.file(&inside(&object), &object)?;
        }
        Ok(image)
    }

    /// With a kernel's modules and what shall be run there, as one file.
    pub fn write(&self, kernel: &Kernel, runs: &[Run], to: &Path) -> Result<()> {
        let mut image = self.clone();
        let mut modules = Vec::new();
        let devices = DEVICES.iter().filter(|_| runs.iter().any(Run::has_devices));
        for name in MODULES.iter().chain(devices) {
            image.module(kernel, name, &mut modules)?;
        }
        image.add("init", PROGRAM, script(&modules, runs).into_bytes());
        fs::write(to, image.cpio())
            .map_err(|error| format!("cannot write {}: {error}", to.display()))
    }

    /// A module, after those it depends on; gives the order to load them in.
    fn module(&mut self, kernel: &Kernel, name: &str, order: &mut Vec<String>) -> Result<()> {
        if order.iter().any(|known| known == name) {
            return Ok(());
        }
        // File names have dashes where module names have underscores, or not.
        let fits = |file: &str| {
            file.split_once(".ko")
                .is_some_and(|(stem, _)| stem.replace('-', "_") == name)
        };
        let path = find(&kernel.modules, &fits)
            .ok_or_else(|| format!("kernel {} has no module {name}", kernel.asked))?;
        let bytes = if path.extension().is_some_and(|end| end == "xz") {
            let unpacked = Command::new("xz").arg("-dc").arg(&path).output();
            unpacked
                .map_err(|error| format!("cannot run xz: {error}"))?
                .stdout
        } else {
            read(&path)?
        };
        for needed in dependencies(&bytes) {
            self.module(kernel, &needed, order)?;
        }
        self.add(&format!("modules/{name}"), PROGRAM, bytes);
        order.push(name.to_owned());
        Ok(())
    }

    /// A program with the libraries it needs.
    fn program(&mut self, at: &str, path: &Path) -> Result<()> {
        self.file(at, path)?;
        // A static program is one `ldd` has nothing to say about.
        let needs = output(Command::new("ldd").arg(path)).unwrap_or_default();
        for library in needs
            .split_whitespace()
            .filter(|word| word.starts_with('/'))
        {
            self.file(&library[1..], Path::new(library))?;
        }
        Ok(())
    }

    fn file(&mut self, at: &str, path: &Path) -> Result<()> {
        self.add(at, PROGRAM, read(path)?);
        Ok(())
    }

    fn add(&mut self, at: &str, mode: u32, content: Vec<u8>) {
        // A directory comes before what is in it, in the map's order too.
        for (slash, _) in at.match_indices('/') {
            self.0
                .entry(at[..slash].to_owned())
                .or_insert((DIRECTORY, Vec::new()));
        }
        self.0.insert(at.to_owned(), (mode, content));
    }

    fn cpio(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (number, (name, (mode, content))) in (1..).zip(&self.0) {
            entry(&mut out, number, *mode, name, content);
        }
        entry(&mut out, 0, 0, "TRAILER!!!", &[]);
        out
    }
}

/// One record: header of hexadecimal numbers, name, content, both padded to four bytes.
fn entry(out: &mut Vec<u8>, number: u32, mode: u32, name: &str, content: &[u8]) {
    let length = u32::try_from(content.len()).unwrap_or(u32::MAX);
    let name_length = u32::try_from(name.len()).unwrap_or(u32::MAX) + 1;
    out.extend(b"070701");
    // inode, mode, uid, gid, links, time, size, four device numbers, length of the name, no checksum
    for field in [number, mode, 0, 0, 1, 0, length, 0, 0, 0, 0, name_length, 0] {
        out.extend(format!("{field:08x}").bytes());
    }
    out.extend(name.bytes());
    out.push(0);
    pad(out);
    out.extend(content);
    pad(out);
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

/// Mounts, loads the modules, runs, and says how each run ended. What it says is what `report` reads.
fn script(modules: &[String], runs: &[Run]) -> String {
    let mut script = "#!/bin/busybox sh
export PATH=/bin FILTER_REQUIRE_KERNEL=1 FILTER_REQUIRE_MODULES=1
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t bpf bpf /sys/fs/bpf
mount -t tmpfs tmpfs /run
echo \"== booted $(uname -r)\"
"
    .to_owned();
    for module in modules {
        script.push_str(&format!(
            "insmod /modules/{module} || echo '== broken module {module}'\n"
        ));
    }
    for run in runs {
        script.push_str(&format!(
            "echo '== begin {name}'\n/tests/{name} {arguments} 2>&1\necho \"== end {name} $?\"\n",
            name = run.binary,
            arguments = run.arguments(),
        ));
    }
    script + "echo '== kernel'\ndmesg\necho '== done'\npoweroff -f\n"
}

fn tool(name: &str) -> Result<PathBuf> {
    let dirs = ["/bin", "/usr/bin", "/sbin", "/usr/sbin"];
    let found = dirs
        .iter()
        .map(|dir| Path::new(dir).join(name))
        .find(|path| path.exists());
    found.ok_or_else(|| {
        format!(
            "`{name}` is missing: apt-get install {}",
            super::PACKAGES.join(" ")
        )
    })
}

/// The modules this one needs, as its `.modinfo` has it: strings with a zero behind each.
fn dependencies(module: &[u8]) -> Vec<String> {
    let mut strings = module.split(|byte| *byte == 0);
    let depends = strings.find_map(|string| string.strip_prefix(b"depends="));
    let names = String::from_utf8_lossy(depends.unwrap_or_default()).into_owned();
    names
        .split(',')
        .filter(|name| !name.is_empty())
        .map(|name| name.replace('-', "_"))
        .collect()
}

/// Without symbols, so that less has to be unpacked; the names in a panic stay.
fn stripped(path: &Path, to: &Path) -> Result<PathBuf> {
    output(Command::new("strip").arg("-o").arg(to).arg(path))
        .map(|_| to.to_owned())
        .ok_or_else(|| format!("cannot strip {}", path.display()))
}

/// The path within the image.
fn inside(path: &Path) -> String {
    path.to_string_lossy().trim_start_matches('/').to_owned()
}

fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(dir).map_err(|error| format!("cannot read {}: {error}", dir.display()))?;
    Ok(entries.flatten().map(|entry| entry.path()).collect())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_comes_after_its_directories_and_everything_is_padded() {
        let mut image = Image::default();
        image.add("a/b/c", PROGRAM, b"12345".to_vec());
        let cpio = image.cpio();
        assert_eq!(cpio.len() % 4, 0);
        let text = String::from_utf8(cpio).expect("nothing but text in this one");
        let places =
            ["a\0", "a/b\0", "a/b/c\0", "12345\0", "TRAILER!!!\0"].map(|what| text.find(what));
        assert!(
            places.iter().all(Option::is_some) && places.is_sorted(),
            "{places:?}"
        );
        let header = "070701000000030000".to_owned() + "81ed"; // the third inode, a file, 0755
        assert!(text.contains(&header), "{text}");
    }

    #[test]
    fn modules_say_what_they_need() {
        let module = b"ELF\0junk\0license=GPL\0depends=stp,llc\0intree=Y\0";
        assert_eq!(dependencies(module), ["stp", "llc"]);
        assert_eq!(dependencies(b"\0depends=\0"), [""; 0]);
        assert_eq!(dependencies(b"nothing"), [""; 0]);
    }
}
