//! `bcp38 top`: the peers live, sorted by what matters now, with what each sends against the policy. Asks the daemon every
//! second and shows; changes nothing. Without a terminal: one table, as text.
use std::io::{self, IsTerminal, Write};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args as ClapArgs, ValueEnum};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use serde_json::Value;

use super::Failure;
use super::client::Daemon;
use super::violations::request;
use crate::control::Request;
use crate::records::ViolationRecord;
use crate::when;

mod app;
mod view;

#[cfg(test)]
mod picture;

use app::App;

/// How often the daemon is asked.
const EVERY: Duration = Duration::from_secs(1);

/// How to show it.
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Keys: up and down choose a peer, enter shows it, esc goes back, s sorts otherwise, q ends."
)]
pub struct Args {
    /// What comes first
    #[arg(long, value_enum, default_value_t)]
    sort: Sort,
    #[command(flatten)]
    daemon: Daemon,
}

/// What comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Sort {
    /// The peers that break the policy most, dropped or not
    #[default]
    Violations,
    /// Those of which most is dropped
    Dropped,
    /// Those that send most
    Packets,
    /// By name
    Name,
}

impl Sort {
    const fn next(self) -> Self {
        match self {
            Self::Violations => Self::Dropped,
            Self::Dropped => Self::Packets,
            Self::Packets => Self::Name,
            Self::Name => Self::Violations,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Violations => "violations",
            Self::Dropped => "dropped",
            Self::Packets => "packets",
            Self::Name => "name",
        }
    }
}

/// The daemon, asked again and again.
struct Source<'a> {
    daemon: &'a Daemon,
    after: u64,
}

impl Source<'_> {
    fn ask(&mut self, app: &mut App) -> Result<(), Failure> {
        let status = self.daemon.ask(&Request::Status)?;
        let samples = self.daemon.ask(&request(self.after))?;
        let samples: Vec<ViolationRecord> = serde_json::from_value(samples).map_err(|error| {
            Failure::failed(format!("the daemon is of another version: {error}"))
        })?;
        self.after = samples.last().map_or(self.after, |it| it.number);
        app.update(when::now(), &status, samples);
        Ok(())
    }
}

/// Shows the peers until a key ends it; without a terminal, once.
///
/// # Errors
/// If no daemon answers.
pub fn run(args: &Args) -> Result<(), Failure> {
    let mut app = App::new(args.sort);
    let daemon = &args.daemon;
    let mut source = Source { daemon, after: 0 };
    source.ask(&mut app)?;
    if !io::stdout().is_terminal() {
        thread::sleep(EVERY); // rates need two looks
        source.ask(&mut app)?;
        return Ok(write!(io::stdout().lock(), "{}", view::text(&app))?);
    }
    let mut terminal = ratatui::try_init().map_err(Failure::from)?;
    let ended = live(&mut terminal, &mut app, &mut source);
    ratatui::restore();
    ended
}

fn live(
    terminal: &mut ratatui::DefaultTerminal,
    app: &mut App,
    source: &mut Source<'_>,
) -> Result<(), Failure> {
    let mut next = Instant::now() + EVERY;
    loop {
        terminal
            .draw(|frame| view::draw(frame, app))
            .map_err(Failure::from)?;
        let left = next.saturating_duration_since(Instant::now());
        if !left.is_zero() && event::poll(left).map_err(Failure::from)? {
            let event = event::read().map_err(Failure::from)?; // another size is drawn anyway
            if let Event::Key(key) = event
                && key.kind == KeyEventKind::Press
                && (is_end(key) || app.key(key.code))
            {
                return Ok(());
            }
            continue;
        }
        next = Instant::now() + EVERY;
        match source.ask(app) {
            Ok(()) => app.set_away(None),
            Err(Failure::Failed(why)) => app.set_away(Some(why)),
            Err(other) => return Err(other),
        }
    }
}

fn is_end(key: KeyEvent) -> bool {
    key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c')
}

/// A counter of a status, by reason and fate.
fn packets(counters: &Value, reason: &str, fate: &str) -> u64 {
    counters[reason][fate]["packets"].as_u64().unwrap_or(0)
}

#[cfg(test)]
mod tests;
