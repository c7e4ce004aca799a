//! `bcp38 doctor`: what keeps the filter from doing what is wanted, why it matters, and the command that mends it. Reads the
//! daemon's answer, the configuration and the machine; changes nothing.
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anstyle::{AnsiColor, Style};
use clap::Args as ClapArgs;
use filter_core::Mode;
use filter_engine::Permit;
use serde::Serialize;

use super::Failure;
use super::client::Daemon;
use super::recorded::failure;
use crate::config::Config;
use crate::control::{self, ControlError, Request, Unreachable};
use crate::doctor::{Finding, Severity, host, plan, status};
use crate::state::StateFile;

/// The configuration that the packages install.
const INSTALLED: &str = "/etc/bcp38/bcp38.toml";

/// How to look.
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Exit codes: 0 nothing keeps a wanted class out of force, 1 something does, 2 usage or configuration."
)]
pub struct Args {
    #[command(flatten)]
    daemon: Daemon,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Everything that was found.
#[derive(Debug, Serialize)]
struct Report {
    /// Is it known that nothing keeps a class that is wanted from being in force?
    ok: bool,
    findings: Vec<Finding>,
    /// What could not be looked at, and why.
    not_checked: Vec<String>,
}

/// Looks at everything.
///
/// # Errors
/// If anything keeps a class that is wanted from being in force.
pub fn run(args: &Args) -> Result<(), Failure> {
    let report = look(&args.daemon)?;
    let mut out = anstream::stdout().lock();
    if args.json {
        serde_json::to_writer(&mut out, &report).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        show(&mut out, &report)?;
    }
    out.flush()?;
    if report.ok {
        return Ok(());
    }
    let out_of_force = report.findings.iter().filter(|it| it.keeps_out_of_force);
    Err(Failure::failed(match out_of_force.count() {
        0 => "what is in force is not known".to_owned(),
        1 => "1 finding keeps wanted classes out of force".to_owned(),
        count => format!("{count} findings keep wanted classes out of force"),
    }))
}

/// Does the configuration want anything in force, or did an operator switch on something at run time?
fn is_anything_wanted(config: &Config) -> bool {
    let Ok(switched) = StateFile::new(&config.daemon.state_file).read() else {
        return true; // nobody knows
    };
    let is_on = |permit: &Permit| permit.mode == Mode::Enforce;
    config.wants_any() || switched.peers.values().any(is_on)
}

fn look(daemon: &Daemon) -> Result<Report, Failure> {
    let mut findings = Vec::new();
    let mut not_checked = Vec::new();
    let answer = control::ask(&daemon.socket()?, &Request::Status);
    let config = match configuration(daemon) {
        Some(path) => Some(Config::load(&path)?.0),
        None => {
            not_checked.push(format!(
                "the configuration: it is not {INSTALLED}, name it with --config"
            ));
            None
        }
    };
    let mut is_known = true;
    let answer = match answer {
        Ok(answer) => Some(answer),
        Err(refused @ ControlError::Refused(_)) => return Err(failure(refused)),
        Err(error) => {
            findings.push(no_answer(&error, config.as_ref()));
            let no_daemon = |why: &Unreachable| matches!(why, Unreachable::NoDaemon);
            is_known = matches!(&error, ControlError::NotRunning { why, .. } if no_daemon(why));
            None
        }
    };
    let facts = host::Facts::read();
    for (is_missing, what) in [
        (
            facts.devices.is_none(),
            "the devices: the kernel did not list them",
        ),
        (
            facts.neighbours.is_none(),
            "the neighbour table: the kernel did not list it",
        ),
        (
            facts.is_synchronised.is_none(),
            "the clock: there is no timedatectl",
        ),
    ] {
        if is_missing {
            not_checked.push(what.to_owned());
        }
    }
    findings.extend(answer.as_ref().map(status::look).unwrap_or_default());
    findings.extend(config.as_ref().map(plan::look).unwrap_or_default());
    findings.extend(host::look(&facts, config.as_ref(), answer.as_ref()));
    for finding in &mut findings {
        finding.what = daemon.addressed(&finding.what);
        finding.fix = finding
            .fix
            .as_deref()
            .map(|fix| daemon.command(&daemon.addressed(fix)));
    }
    findings.sort_by_key(|it| (!it.keeps_out_of_force, std::cmp::Reverse(it.severity)));
    Ok(Report {
        ok: is_known && findings.iter().all(|it| !it.keeps_out_of_force),
        findings,
        not_checked,
    })
}

/// Only where no daemon runs is it known what that costs.
fn no_answer(error: &ControlError, config: Option<&Config>) -> Finding {
    let finding = |why| Finding::new("daemon", error.to_string(), why);
    match error {
        ControlError::NotRunning { why, .. } => match why {
            Unreachable::NoDaemon => finding("nothing follows the router's routes")
                .problem(config.is_none_or(is_anything_wanted))
                .fix("systemctl start bcp38"),
            Unreachable::Denied => finding(NOT_KNOWN).problem(false).fix("sudo bcp38 doctor"),
            Unreachable::Elsewhere(_) | Unreachable::Other => finding(NOT_KNOWN).problem(false),
        },
        _ => finding(NOT_KNOWN)
            .problem(false)
            .fix("systemctl status bcp38"),
    }
}

const NOT_KNOWN: &str = "what is in force cannot be asked";

fn configuration(daemon: &Daemon) -> Option<PathBuf> {
    let installed = Path::new(INSTALLED);
    let named = daemon.config().map(Path::to_owned);
    named.or_else(|| installed.exists().then(|| installed.to_owned()))
}

const BAD: Style = AnsiColor::Red.on_default();
const WAITING: Style = AnsiColor::Yellow.on_default();
const GOOD: Style = AnsiColor::Green.on_default();

fn show(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    for finding in &report.findings {
        let (style, word) = match finding.severity {
            Severity::Problem => (BAD, "problem"),
            Severity::Warning => (WAITING, "warning"),
            Severity::Note => (Style::new(), "note"),
        };
        let subject = finding
            .subject
            .as_ref()
            .map_or_else(String::new, |it| format!("{it}: "));
        writeln!(
            out,
            "{style}{word:<7}{style:#}  {subject}{} [{}]",
            finding.what, finding.check
        )?;
        writeln!(out, "         why: {}", finding.why)?;
        if let Some(fix) = &finding.fix {
            writeln!(out, "         fix: {fix}")?;
        }
    }
    for what in &report.not_checked {
        writeln!(out, "not checked: {what}")?;
    }
    if report.ok {
        writeln!(
            out,
            "{GOOD}nothing keeps a wanted class out of force{GOOD:#}"
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ONE_PEER;

    #[test]
    fn only_a_daemon_that_is_not_there_is_said_to_be_down() {
        let of = |why| {
            let error = ControlError::NotRunning {
                path: PathBuf::new(),
                source: io::ErrorKind::NotFound.into(),
                why,
            };
            let finding = no_answer(&error, None);
            (finding.keeps_out_of_force, finding.fix)
        };
        assert_eq!(
            of(Unreachable::NoDaemon),
            (true, Some("systemctl start bcp38".to_owned()))
        );
        assert_eq!(
            of(Unreachable::Denied),
            (false, Some("sudo bcp38 doctor".to_owned()))
        );
        assert_eq!(of(Unreachable::Elsewhere(Vec::new())), (false, None));
    }

    #[test]
    fn what_operators_switched_on_is_wanted_too() {
        let place = format!("bcp38-doctor-{}", std::process::id());
        let place = std::env::temp_dir().join(place);
        let (mut config, _) = Config::parse(ONE_PEER, "test").unwrap();
        config.daemon.state_file = place.join("state.json");
        assert!(!config.wants_any());
        assert!(!is_anything_wanted(&config), "nothing was switched");
        let file = StateFile::new(&config.daemon.state_file);
        let change = |permit: Permit| {
            let patience = std::time::Duration::from_secs(20);
            let changed = file.change(patience, |kept| kept.set_peer("p1", permit));
            changed.unwrap();
        };
        change(Permit::enforce());
        assert!(is_anything_wanted(&config));
        change(Permit::observe());
        assert!(!is_anything_wanted(&config));
        std::fs::write(&config.daemon.state_file, "not ours").unwrap();
        assert!(is_anything_wanted(&config), "nobody knows");
        std::fs::remove_dir_all(place).unwrap();
    }
}
