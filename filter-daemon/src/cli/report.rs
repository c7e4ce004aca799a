//! `bcp38 report`: evidence for a peer's NOC, from the records: one HTML file that needs nothing else, and the same as JSON.
//! Also notes that the peer has answered. Decides nothing about what is in it: that is `crate::report`.
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use serde_json::Value;

use super::Failure;
use super::advise::{Past, find};
use super::client::Daemon;
use super::recorded::directory;
use super::table::array;
use crate::control::{MAX_NOTE, Request};
use crate::records::{self, Kind, Of};
use crate::report::{Material, Report, page};
use crate::{when, whole};

/// What to report.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The peer
    #[arg(long, value_name = "NAME")]
    peer: String,
    /// Since so long ago (7d), or a time; at most seven days are kept
    #[arg(long, value_name = "TIME", value_parser = when::parse, default_value = "7d", allow_hyphen_values = true)]
    since: f64,
    /// Where the two files go
    #[arg(long, value_name = "DIR", required_unless_present = "acknowledge")]
    out: Option<PathBuf>,
    /// Show whole addresses of third parties, and which other peer announces a source
    #[arg(long)]
    full: bool,
    /// What a Mbit/s at the 95th percentile costs: adds a price to each reason
    #[arg(long, value_name = "NUMBER", value_parser = price, allow_negative_numbers = true)]
    price: Option<f64>,
    /// Instead of a report: note that the peer has answered, and what
    #[arg(long, value_name = "NOTE", value_parser = note, conflicts_with_all = ["out", "full", "price"])]
    acknowledge: Option<String>,
    #[command(flatten)]
    daemon: Daemon,
}

fn price(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.parse().ok();
    let is_price = |it: &f64| it.is_finite() && *it >= 0.0;
    let number = number.filter(is_price);
    number.ok_or_else(|| "write a number such as 0.30, not below 0".to_owned())
}

/// It is shown in terminals, logs and reports.
fn note(text: &str) -> Result<String, String> {
    if text.len() > MAX_NOTE {
        return Err(format!("{} bytes: at most {MAX_NOTE}", text.len()));
    }
    match text.chars().find(|it| it.is_control()) {
        None => Ok(text.to_owned()),
        Some(control) => Err(format!(
            "it holds the control character {}: write it in one line of plain text",
            control.escape_unicode()
        )),
    }
}

/// Writes the report, or notes an answer.
///
/// # Errors
/// If no daemon answers, it has no such peer, or the files cannot be written.
pub fn run(args: &Args) -> Result<(), Failure> {
    if let Some(note) = &args.acknowledge {
        let (peer, note) = (args.peer.clone(), note.clone());
        args.daemon.ask(&Request::Acknowledge { peer, note })?;
        return Ok(());
    }
    let Some(out) = &args.out else {
        return Err(Failure::usage("name a directory with --out"));
    };
    let status = args.daemon.ask(&Request::Status)?;
    let about = args.daemon.ask(&Request::About)?;
    let peer = find(array(&status, "peers"), &args.peer)?;
    let of = Of::Peer(&args.peer);
    let past = Past::read(&args.daemon, of, &peer["counters"], args.since)?;
    let samples = past.samples.map_err(Failure::failed)?;
    if past.history.steps.is_empty() {
        return Err(Failure::failed(format!(
            "nothing is recorded of `{}` yet: a report would prove nothing; ask again in a minute",
            args.peer
        )));
    }
    let acknowledgements = acknowledgements(args)?;
    let report = Report::new(Material {
        peer,
        our_asn: about["asn"].as_u64().unwrap_or_default(),
        since: args.since,
        to: when::now(),
        history: &past.history,
        samples: &samples,
        acknowledgements: &acknowledgements,
        price: args.price,
        shows_third_parties: args.full,
    });
    let paths = write(out, &report)?;
    let mut stdout = anstream::stdout().lock();
    if report.is_clean() {
        writeln!(
            stdout,
            "{} broke nothing since {}",
            args.peer,
            when::local(report.from)
        )?;
    }
    for path in paths {
        writeln!(stdout, "{}", path.display())?;
    }
    Ok(())
}

fn acknowledgements(args: &Args) -> Result<Vec<Value>, Failure> {
    let mut found = Vec::new();
    let read = records::read(&directory(&args.daemon)?, Kind::Events, |event: Value| {
        if event["event"] == "acknowledged" && event["peer"] == args.peer.as_str() {
            found.push(event);
        }
    });
    read.map_err(Failure::failed)?; // without them it would look as if nobody had answered
    Ok(found)
}

fn write(directory: &Path, report: &Report) -> Result<[PathBuf; 2], Failure> {
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |error: io::Error| {
            Failure::failed(format!(
                "cannot write `{path}`: {error}; choose another place"
            ))
        }
    };
    fs::create_dir_all(directory).map_err(failed(directory))?;
    let name = format!("bcp38-{}-as{}", file_name(&report.peer), report.asn);
    let (html, json) = (
        directory.join(format!("{name}.html")),
        directory.join(format!("{name}.json")),
    );
    whole::write(&html, page::page(report).as_bytes()).map_err(failed(&html))?;
    let text = serde_json::to_vec_pretty(report)
        .map_err(io::Error::from)
        .map_err(failed(&json))?;
    whole::write(&json, &text).map_err(failed(&json))?;
    Ok([html, json])
}

/// A peer's name, as far as it can be part of a file's.
fn file_name(peer: &str) -> String {
    let safe = |letter: char| {
        if letter.is_ascii_alphanumeric() {
            letter
        } else {
            '-'
        }
    };
    peer.chars().take(64).map(safe).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_a_number_that_can_be_paid() {
        assert_eq!(price("0.30"), Ok(0.3));
        assert_eq!(price("0"), Ok(0.0));
        for text in ["-1", "nan", "inf", "1e999", "free", ""] {
            assert!(price(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_note_is_plain_text() {
        assert_eq!(
            note("ticket <7>: füßchen"),
            Ok("ticket <7>: füßchen".to_owned())
        );
        let why = note("a\u{1b}[31m").unwrap_err();
        assert!(why.contains(r"\u{1b}") && !why.contains('\u{1b}'), "{why}");
        assert!(note(&"x".repeat(MAX_NOTE + 1)).is_err());
    }
}
