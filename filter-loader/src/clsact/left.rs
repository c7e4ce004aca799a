//! Filters of ours that belong to no process: it ended between two steps, or what it pinned is gone. They are found by their
//! place, by their program's name, and by that nobody holds or has pinned the program. Decides nothing, removes nothing.
use std::fs;
use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::net::if_::if_nameindex;

use super::program_on;
use crate::bpf;
use crate::object::Shell;
use crate::pin;

/// A device with a filter that a process left there, or of which it cannot be told whether it has one.
#[derive(Debug)]
pub(crate) struct Left {
    pub ifindex: u32,
    /// What the device is called.
    pub device: String,
    /// The filter's program, or why that cannot be told.
    pub program: io::Result<u32>,
}

/// Those in this network namespace. `pins` is where our own pins are: what others pinned beside them is theirs.
///
/// # Errors
/// If the devices cannot be listed.
pub(crate) fn left(pins: Option<&Path>) -> io::Result<Vec<Left>> {
    let devices = if_nameindex()?;
    let left = devices.iter().filter_map(|device| {
        Some(Left {
            ifindex: device.index(),
            device: device.name().to_string_lossy().into_owned(),
            program: left_on(device.index(), pins).transpose()?,
        })
    });
    Ok(left.collect())
}

/// The program of the filter that a process left on a device.
///
/// # Errors
/// If it cannot be told whether there is one.
pub(crate) fn left_on(ifindex: u32, pins: Option<&Path>) -> io::Result<Option<u32>> {
    match program_on(ifindex)? {
        Some(program) if is_left(program, ifindex, pins)? => Ok(Some(program)),
        _ => Ok(None),
    }
}

/// Is this program, of the filter on this device, one of ours that no process holds and nobody has pinned?
///
/// # Errors
/// If that cannot be told: what may be another's is never taken.
pub(crate) fn is_left(program: u32, ifindex: u32, pins: Option<&Path>) -> io::Result<bool> {
    Ok(is_ours(program)?
        && !pin::is_pinned(program, ifindex, pins).map_err(io::Error::other)?
        && !is_held(Path::new("/proc"), program)?)
}

fn is_ours(program: u32) -> io::Result<bool> {
    let found = bpf::program(program)?;
    let name = found.as_ref().and_then(|info| info.name_as_str());
    Ok(name.is_some_and(|name| Shell::AT_TC.contains(&name)))
}

/// Has a process a descriptor of this program?
fn is_held(proc: &Path, program: u32) -> io::Result<bool> {
    if !proc.join("1").try_exists()? {
        return Err(io::Error::other(format!(
            "{} hides the processes of others (`hidepid`, `ProtectProc=`)",
            proc.display()
        )));
    }
    let line = format!("prog_id:\t{program}");
    for process in fs::read_dir(proc)? {
        let process = process?.path();
        match holds(&process, &line) {
            Ok(false) => {}
            Err(error)
                if error.kind() == io::ErrorKind::PermissionDenied
                    && process == proc.join("1")
                    && is_init(proc)? => {}
            held => return held,
        }
    }
    Ok(false)
}

/// Is process 1 another program than this one? In a container it may be the daemon; else it starts services, may do more than they
/// may, so that its descriptors are not shown to them, and has no program of ours.
fn is_init(proc: &Path) -> io::Result<bool> {
    let name = |process: &str| fs::read(proc.join(process).join("comm"));
    Ok(name("1")? != name("self")?)
}

fn holds(process: &Path, line: &str) -> io::Result<bool> {
    let Some(descriptors) = if_there(fs::read_dir(process.join("fd")))? else {
        return Ok(false);
    };
    for descriptor in descriptors {
        let Some(descriptor) = if_there(descriptor)? else {
            continue;
        };
        let target = if_there(fs::read_link(descriptor.path()))?;
        if target.is_none_or(|target| target.as_os_str() != "anon_inode:bpf-prog") {
            continue;
        }
        let info = process.join("fdinfo").join(descriptor.file_name());
        let text = if_there(fs::read_to_string(info))?;
        if text.is_some_and(|text| text.lines().any(|each| each == line)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// None if it is no process, or one that has ended, or a descriptor that was closed.
fn if_there<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(None),
        Err(error) if error.raw_os_error() == Some(Errno::ESRCH as i32) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use super::*;

    /// A directory that looks like /proc.
    struct Proc(PathBuf);

    impl Proc {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("bcp38-{name}-{}", std::process::id()));
            fs::create_dir_all(path.join("1/fd")).unwrap();
            fs::create_dir_all(path.join("1/fdinfo")).unwrap();
            fs::create_dir_all(path.join("self")).unwrap();
            fs::write(path.join("1/comm"), "init\n").unwrap();
            fs::write(path.join("self/comm"), "bcp38\n").unwrap();
            Self(path)
        }

        fn descriptor(&self, process: &str, number: &str, target: &str, info: &str) {
            let process = self.0.join(process);
            fs::create_dir_all(process.join("fd")).unwrap();
            fs::create_dir_all(process.join("fdinfo")).unwrap();
            symlink(target, process.join("fd").join(number)).unwrap();
            fs::write(process.join("fdinfo").join(number), info).unwrap();
        }
    }

    impl Drop for Proc {
        fn drop(&mut self) {
            _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_program_is_held_by_whoever_has_a_descriptor_of_it() {
        let proc = Proc::new("held");
        fs::write(proc.0.join("uptime"), "1 1").unwrap();
        proc.descriptor("7", "3", "/dev/null", "prog_id:\t77\n");
        proc.descriptor(
            "7",
            "4",
            "anon_inode:bpf-prog",
            "flags:\t02\nprog_id:\t778\n",
        );
        assert!(!is_held(&proc.0, 77).unwrap());
        proc.descriptor(
            "8",
            "3",
            "anon_inode:bpf-prog",
            "flags:\t02\nprog_id:\t77\n",
        );
        assert!(is_held(&proc.0, 77).unwrap());
        fs::remove_file(proc.0.join("8/fdinfo/3")).unwrap();
        assert!(!is_held(&proc.0, 77).unwrap(), "closed meanwhile");
    }

    #[test]
    fn what_cannot_be_read_of_a_process_is_no_answer() {
        let proc = Proc::new("unreadable");
        proc.descriptor("7", "3", "anon_inode:bpf-prog", "prog_id:\t78\n");
        fs::remove_file(proc.0.join("7/fdinfo/3")).unwrap();
        fs::create_dir(proc.0.join("7/fdinfo/3")).unwrap();
        assert!(is_held(&proc.0, 77).is_err());
        let proc = Proc::new("loop");
        fs::create_dir(proc.0.join("7")).unwrap();
        symlink("fd", proc.0.join("7/fd")).unwrap();
        assert!(is_held(&proc.0, 77).is_err());
    }

    #[test]
    fn process_1_may_be_the_daemon_if_it_is_called_so() {
        let proc = Proc::new("init");
        assert!(is_init(&proc.0).unwrap());
        fs::write(proc.0.join("1/comm"), "bcp38\n").unwrap();
        assert!(!is_init(&proc.0).unwrap());
        fs::remove_file(proc.0.join("self/comm")).unwrap();
        assert!(is_init(&proc.0).is_err());
    }

    #[test]
    fn where_processes_are_hidden_nobody_is_said_to_hold_nothing() {
        let proc = Proc::new("hidden");
        fs::remove_dir_all(proc.0.join("1")).unwrap();
        assert!(
            is_held(&proc.0, 77)
                .unwrap_err()
                .to_string()
                .contains("hides the processes")
        );
    }
}
