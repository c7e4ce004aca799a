//! `bcp38 run`: attach, feed, sync, serve, until it is stopped.
use std::path::PathBuf;

use clap::Args as ClapArgs;
use filter_engine::EngineError;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::Failure;
use crate::config::Config;
use crate::runtime::{AtExit, Handle, RunError, RunOptions, Runtime};

/// What to run.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The configuration
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Remove the filter when stopped, instead of leaving it attached until its lease ends
    #[arg(long)]
    detach_on_exit: bool,
}

/// Runs until SIGTERM or SIGINT; SIGHUP reads the configuration again.
///
/// # Errors
/// Usage for what the configuration or the machine's devices lack, failed for the rest.
pub fn run(args: &Args) -> Result<(), Failure> {
    let (config, warnings) = Config::load(&args.config)?;
    for warning in warnings {
        log::warn!("{warning}");
    }
    let handle = Handle::default();
    for signal in [SIGTERM, SIGINT] {
        let number = usize::try_from(signal).unwrap_or_default();
        signal_hook::flag::register_usize(signal, handle.signal_number(), number)
            .map_err(Failure::failed)?;
        signal_hook::flag::register(signal, handle.stop_flag()).map_err(Failure::failed)?;
    }
    signal_hook::flag::register(SIGHUP, handle.reload_flag()).map_err(Failure::failed)?;
    let at_exit = if args.detach_on_exit {
        AtExit::Detach
    } else {
        AtExit::Leave
    };
    let options = RunOptions {
        at_exit,
        config_file: Some(args.config.clone()),
    };
    let runtime = Runtime::start(config, options, handle).map_err(classify)?;
    runtime.run().map_err(classify)
}

/// What the operator must change in the configuration is usage; what failed is failed.
fn classify(error: RunError) -> Failure {
    use filter_loader::Error as Loader;
    match error {
        RunError::Feed { .. }
        | RunError::Output { .. }
        | RunError::Engine(
            EngineError::MissingFact(_)
            | EngineError::VlanDevice { .. }
            | EngineError::Loader(
                Loader::UnknownInterface(_)
                | Loader::NotEthernet { .. }
                | Loader::TooManyFarIndices { .. }
                | Loader::TooManyTags(_)
                | Loader::TooManyInterfaces(_)
                | Loader::TooManyPeers { .. }
                | Loader::InterfaceRecord { .. }
                | Loader::StationTaken { .. },
            ),
        ) => Failure::usage(error),
        _ => Failure::failed(error),
    }
}
