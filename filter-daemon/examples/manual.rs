//! Writes the man pages and the shells' completions, from the definition of the command line itself:
//! `cargo run -p filter-daemon --example manual -- DIRECTORY`. The packages install what it writes.
use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;
use filter_daemon::cli::Cli;

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1) else {
        eprintln!("usage: manual DIRECTORY");
        return ExitCode::from(2);
    };
    match write(Path::new(&directory)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: cannot write below {}: {error}", directory.display());
            ExitCode::FAILURE
        }
    }
}

/// `man/bcp38.1` and a page for each command beside it; `completions/` for bash, fish and zsh.
///
/// # Errors
/// What the file system says.
pub fn write(directory: &Path) -> io::Result<()> {
    let (man, completions) = (directory.join("man"), directory.join("completions"));
    fs::create_dir_all(&man)?;
    fs::create_dir_all(&completions)?;
    clap_mangen::generate_to(Cli::command(), man)?;
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        clap_complete::generate_to(shell, &mut Cli::command(), "bcp38", &completions)?;
    }
    Ok(())
}
