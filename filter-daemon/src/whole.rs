//! Files that are there whole or not at all: written beside their place, then renamed. Never decides what is in one.
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Replaces a file, so that a crash leaves the former one or this one.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    // The rename is what must survive.
    let parent = path.parent().filter(|it| !it.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}
