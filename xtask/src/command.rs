//! Running other programs: says what it runs, and fails with the command line.
use std::path::{Path, PathBuf};
use std::process::Command;

/// What went wrong, for people.
pub type Result<T> = std::result::Result<T, String>;

/// The workspace's top directory.
pub fn workspace() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_owned()
}

/// Runs it, with its output shown.
pub fn run(command: &mut Command) -> Result<()> {
    eprintln!("$ {}", line(command));
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{}` ended with {status}", line(command))),
        Err(error) => Err(format!("cannot run `{}`: {error}", line(command))),
    }
}

/// Its standard output, if it exists and succeeds.
pub fn output(command: &mut Command) -> Option<String> {
    let output = command
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()
}

fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}
