//! Entry point of `bcp38`: the logger and the command line, nothing else.
use std::process::ExitCode;

use clap::Parser;
use filter_daemon::cli::Cli;

/// Says how much is logged: a level, or `module=level` pairs.
const LOG_VARIABLE: &str = "BCP38_LOG";

fn main() -> ExitCode {
    let cli = Cli::parse();
    env_logger::Builder::from_env(env_logger::Env::new().filter_or(LOG_VARIABLE, cli.log_level()))
        .init();
    cli.run()
}
