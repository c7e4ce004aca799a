//! Entry point of `bcp38`: the logger and the command line, nothing else.
use std::process::ExitCode;

use clap::Parser;
use filter_daemon::cli::{Cli, Command};
use filter_daemon::logging;

/// Says how much is logged: a level, or `module=level` pairs.
const LOG_VARIABLE: &str = "BCP38_LOG";

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut logger = env_logger::Builder::new();
    match (cli.log_level(), std::env::var(LOG_VARIABLE)) {
        (Some(level), _) => logger.parse_filters(level),
        (None, Ok(filters)) => logger.parse_filters(&filters),
        (None, Err(_)) => logger.parse_filters(cli.default_log_level()),
    };
    logger.format(logging::write_line);
    if !matches!(cli.command, Command::Run(_)) {
        logger.init();
        return cli.run();
    }
    match logging::start(logger) {
        Ok(log) => {
            let code = cli.run();
            log.end();
            code
        }
        Err(error) => {
            anstream::eprintln!("error: cannot start thread log: {error}");
            ExitCode::FAILURE
        }
    }
}
