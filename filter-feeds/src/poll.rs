//! What all polling feeds share: the clock, the back-off, the trigger, and the fold from what a router said
//! into [`RouteEvent`]s. Never speaks to a router itself, and never turns an error into an empty table.
mod fold;
mod listed;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use filter_core::{Asn, Family};

use super::lag::{Lag, Polled};
use super::printed::Printed;
use super::skipped::Skipped;
use super::trigger::Trigger;
use super::{Feed, MAX_BATCH_EVENTS, Outlet, Stop, Stopped};
use filter_lifecycle::route::{AdjRib, DownCause, Route, RouteEvent, Session};
use fold::Known;
pub(crate) use listed::{Listed, Neighbour, Notified};

/// The longest reply to one question we keep in memory. FRR writes 300 MB of JSON for 1.06 million routes.
pub const MAX_REPLY: usize = 1 << 30;
/// How long a router may take over one reply. FRR took 19 s over 1.06 million routes.
pub const REPLY_TIMEOUT: Duration = Duration::from_secs(120);
/// The first wait after a poll that failed; doubled each time.
pub const MIN_BACKOFF: Duration = Duration::from_secs(1);
/// The longest wait after a poll that failed.
pub const MAX_BACKOFF: Duration = Duration::from_secs(60);
/// The wait after a poll during which a session changed its state.
pub const UNSETTLED_WAIT: Duration = Duration::from_secs(1);
/// How long after a session came up its tables are still filling: FRR holds routes back for 5 s at a start, a peer
/// sends its table for seconds.
pub const SETTLING: Duration = Duration::from_secs(30);
/// The interval while a session settles.
pub const SETTLING_INTERVAL: Duration = Duration::from_secs(5);
/// How often a router is asked between two polls which sessions are up: one that came up, or anew, is polled at once.
pub const GLANCE_INTERVAL: Duration = Duration::from_secs(5);
/// A router is asked again, by its interval or by a request, only after this many times as long as it took to answer: it spends a tenth of
/// its time on our questions at most.
const REST: u32 = 9;
/// And not sooner than this.
const MIN_REST: Duration = Duration::from_millis(250);
/// The interval unless configured.
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(60);

/// Which tables of a session to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdjRibs {
    /// What the peer advertises.
    pub in_pre_policy: bool,
    /// What of it the router accepted.
    pub in_post_policy: bool,
    /// What the router advertises to the peer.
    pub out_post_policy: bool,
}

impl AdjRibs {
    /// Every table.
    pub const ALL: Self = Self {
        in_pre_policy: true,
        in_post_policy: true,
        out_post_policy: true,
    };

    /// Those to read, in a fixed order.
    pub fn iter(self) -> impl Iterator<Item = AdjRib> {
        [
            (self.in_pre_policy, AdjRib::InPrePolicy),
            (self.in_post_policy, AdjRib::InPostPolicy),
            (self.out_post_policy, AdjRib::OutPostPolicy),
        ]
        .into_iter()
        .filter_map(|(wanted, rib)| wanted.then_some(rib))
    }
}

/// One session to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionSpec {
    /// The neighbour's address.
    pub address: IpAddr,
    /// Which of its tables.
    pub ribs: AdjRibs,
}

/// Which sessions to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sessions {
    /// All the router has.
    All(AdjRibs),
    /// These; one the router does not have counts as down.
    Only(Vec<SessionSpec>),
}

impl Sessions {
    /// The tables wanted of the session to this neighbour, if any.
    #[must_use]
    pub fn ribs(&self, address: IpAddr) -> Option<AdjRibs> {
        match self {
            Self::All(ribs) => Some(*ribs),
            Self::Only(specs) => specs
                .iter()
                .find(|spec| spec.address == address)
                .map(|spec| spec.ribs),
        }
    }
}

/// What every polling feed is configured with.
#[derive(Clone, Debug)]
pub struct PollConfig {
    /// From the start of one poll to the start of the next; ten times as long as a poll takes, if that is longer.
    pub interval: Duration,
    /// Which sessions to read.
    pub sessions: Sessions,
    /// How long the router may take over one reply.
    pub reply_timeout: Duration,
    /// The longest reply accepted, in bytes.
    pub max_reply: usize,
    /// Asks for a poll now; keep a clone.
    pub trigger: Trigger,
}

impl Default for PollConfig {
    fn default() -> Self {
        Self {
            interval: DEFAULT_INTERVAL,
            sessions: Sessions::All(AdjRibs::ALL),
            reply_timeout: REPLY_TIMEOUT,
            max_reply: MAX_REPLY,
            trigger: Trigger::default(),
        }
    }
}

/// Why a poll failed. The feed is lost until one succeeds; the Adj-RIBs it reported before stay as they are.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PollError {
    /// Not the router's fault.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// The socket or program is not there, or not ours to use.
    #[error("cannot reach {what}: {source}; is the daemon running, and may this user speak to it")]
    Reach {
        /// The path or program.
        what: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The connection broke while speaking.
    #[error("lost {what} while reading the reply to `{command}`: {source}")]
    Lost {
        /// The path or program.
        what: String,
        /// What was asked.
        command: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// It takes too long.
    #[error("no complete reply to `{command}` in {} s; poll less often with `interval`, or take a `bmp` feed for a table that large", after.as_secs())]
    Timeout {
        /// What was asked.
        command: String,
        /// How long we waited.
        after: Duration,
    },
    /// It does not end.
    #[error(
        "the reply to `{command}` is longer than {limit} bytes; take a `bmp` feed for a table that large"
    )]
    TooLong {
        /// What was asked.
        command: String,
        /// The limit.
        limit: usize,
    },
    /// The router will not answer.
    #[error("`{command}` was refused: {}", Printed(answer))]
    Refused {
        /// What was asked.
        command: String,
        /// What it said.
        answer: String,
    },
    /// The reply is not what this version of the daemon writes.
    #[error("the reply to `{command}` cannot be read: {why}; the tables stay as they were")]
    Malformed {
        /// What was asked.
        command: String,
        /// Where it breaks.
        why: String,
    },
    /// Bytes behind the reply: to which question the following ones answer is not known.
    #[error("bytes follow the end of the reply to `{command}`; the tables stay as they were")]
    Excess {
        /// What was asked.
        command: String,
    },
}

impl PollError {
    /// The reply to `command` cannot be read because of `why`.
    pub(super) fn malformed(command: &str, why: impl ToString) -> Self {
        Self::Malformed {
            command: command.to_owned(),
            why: why.to_string(),
        }
    }
}

/// The state of one session in one poll.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Established.
    Up {
        /// The neighbour's AS number.
        asn: Option<Asn>,
        /// The restart time it asked for, if graceful restart was negotiated.
        restart_time: Option<Duration>,
        /// The families it exchanges, by [`Family`], if the router reports them.
        families: Option<[bool; 2]>,
        /// Our address of it, if the router reports it.
        local: Option<IpAddr>,
        /// Differs whenever the session was established anew.
        life: String,
    },
    /// Anything else.
    Down(DownCause),
}

/// One table as one poll found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RibReading {
    /// The Adj-RIB.
    pub rib: AdjRib,
    /// The family.
    pub family: Family,
    /// All its routes, or why it cannot be read on this router.
    pub routes: Result<Vec<Route>, String>,
}

/// The router's own count of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The Adj-RIB.
    pub rib: AdjRib,
    /// Of which family, or of both.
    pub family: Option<Family>,
    /// How many.
    pub prefixes: u64,
}

/// What one poll found of one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionReading {
    /// The session.
    pub session: Session,
    /// How it stands, before and after its tables were read.
    pub state: State,
    /// Its tables; none if it is down.
    pub ribs: Vec<RibReading>,
    /// The router's counts.
    pub counts: Vec<Counted>,
}

impl SessionReading {
    fn add_rib(&mut self, found: RibReading) {
        let same =
            |former: &&mut RibReading| (former.rib, former.family) == (found.rib, found.family);
        let Some(former) = self.ribs.iter_mut().find(same) else {
            self.ribs.push(found);
            return;
        };
        match (&mut former.routes, found.routes) {
            (Ok(routes), Ok(more)) => routes.extend(more),
            (Ok(_), Err(why)) => former.routes = Err(why),
            (Err(_), _) => {}
        }
    }
}

/// Everything one poll found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// By session.
    pub sessions: Vec<SessionReading>,
    /// A session changed while its tables were read, which were thrown away: poll again soon.
    pub unsettled: bool,
    /// Sessions of which the router's reply cannot be read, and why. Their state is not known; that of the others is.
    pub unreadable: BTreeMap<Session, String>,
}

impl Reading {
    /// Adds what was found of a session. Where two protocols serve one neighbour, an established one counts, and
    /// their tables are one.
    pub(super) fn add(&mut self, found: SessionReading) {
        let same = |former: &&mut SessionReading| former.session == found.session;
        let Some(former) = self.sessions.iter_mut().find(same) else {
            self.sessions.push(found);
            return;
        };
        match (&former.state, &found.state) {
            (_, State::Down(_)) => {}
            (State::Down(_), State::Up { .. }) => *former = found,
            (State::Up { .. }, State::Up { families: more, .. }) => {
                let more = *more;
                if let State::Up { families, .. } = &mut former.state {
                    *families = families.zip(more).map(|([a, b], [c, d])| [a || c, b || d]);
                }
                for rib in found.ribs {
                    former.add_rib(rib);
                }
                former.counts.extend(found.counts);
            }
        }
    }

    /// Adds the sessions that were asked for and that the router does not have, as down.
    pub(super) fn add_missing(&mut self, config: &PollConfig) {
        let Sessions::Only(specs) = &config.sessions else {
            return;
        };
        for spec in specs {
            let session = Session::global(spec.address);
            let mut read = self.sessions.iter();
            if self.unreadable.contains_key(&session) || read.any(|each| each.session == session) {
                continue;
            }
            self.sessions.push(SessionReading {
                session,
                state: State::Down(DownCause::Deconfigured),
                ribs: Vec::new(),
                counts: Vec::new(),
            });
        }
    }
}

/// What is wrong with the reply about one table concerns that table; what is wrong with the conversation all of them.
pub(super) fn of_table<T>(read: Result<T, PollError>) -> Result<Result<T, String>, PollError> {
    match read {
        Ok(rib) => Ok(Ok(rib)),
        Err(error @ (PollError::Malformed { .. } | PollError::Refused { .. })) => {
            Ok(Err(error.to_string()))
        }
        Err(error) => Err(error),
    }
}

/// The sessions that are up, each with what differs from one life of it to the next.
pub type Lives = BTreeMap<IpAddr, String>;

/// A router that can be asked.
pub trait Source: Send {
    /// Names it in messages.
    fn name(&self) -> String;

    /// Which sessions are up, and in which life each: a question that costs the router little, asked between polls.
    ///
    /// # Errors
    /// Whatever keeps the answer from being read; the next poll reports it.
    fn glance(&mut self, config: &PollConfig, stop: &Stop) -> Result<Lives, PollError>;

    /// Reads the sessions wanted, with their tables.
    ///
    /// # Errors
    /// Whatever keeps the reading from being complete and exact.
    fn poll(&mut self, config: &PollConfig, stop: &Stop) -> Result<Reading, PollError>;
}

/// A feed that asks a [`Source`] again and again.
#[derive(Debug)]
pub struct Polling<S> {
    source: S,
    config: PollConfig,
    skipped: Skipped,
    lag: Lag,
}

impl<S: Source> Polling<S> {
    /// Asks `source` as `config` says.
    #[must_use]
    pub fn new(source: S, config: PollConfig) -> Self {
        let skipped = Skipped::default();
        Self {
            source,
            config,
            skipped,
            lag: Lag::default(),
        }
    }

    fn run_until_stopped(mut self, outlet: &Outlet) -> Result<(), Stopped> {
        let mut known = Known::new(self.skipped.clone());
        let mut backoff = MIN_BACKOFF;
        let mut last_error = None;
        let mut settled_at = Instant::now();
        loop {
            let started = Instant::now();
            let lives = self.glance_before_poll(outlet.stop());
            let polled = self.source.poll(&self.config, outlet.stop());
            let took = started.elapsed();
            let read = polled.map(|reading| {
                let unsettled = reading.unsettled;
                (known.fold(reading, &self.source.name()), unsettled)
            });
            // A poll that failed is not worth minutes of rest: the feed is lost until one succeeds.
            let longest_rest = match &read {
                Ok(_) => Duration::MAX,
                Err(_) => MAX_BACKOFF,
            };
            let wait = match read {
                Ok((events, unsettled)) => {
                    self.lag.polled(Polled {
                        began: started,
                        took,
                        every: self.config.interval.max((REST + 1) * took),
                    });
                    (backoff, last_error) = (MIN_BACKOFF, None);
                    if events
                        .iter()
                        .any(|event| matches!(event, RouteEvent::SessionUp { .. }))
                    {
                        settled_at = started + SETTLING;
                    }
                    send_in_batches(events, outlet)?;
                    let interval = match (unsettled, started < settled_at) {
                        (true, _) => self.config.interval.min(UNSETTLED_WAIT),
                        (false, true) => self.config.interval.min(SETTLING_INTERVAL),
                        (false, false) => self.config.interval,
                    };
                    interval.saturating_sub(started.elapsed())
                }
                Err(PollError::Stopped(stopped)) => return Err(stopped),
                Err(error) => {
                    known.lost();
                    let why = format!("{}: {error}", self.source.name());
                    if last_error.as_ref() != Some(&why) {
                        log::warn!("{why}");
                        outlet.send(vec![RouteEvent::FeedDown { why: why.clone() }])?;
                        last_error = Some(why);
                    }
                    let wait = backoff;
                    backoff = (backoff * 2).min(MAX_BACKOFF);
                    wait
                }
            };
            let rest = (REST * took).max(MIN_REST).min(longest_rest);
            outlet.stop().sleep(rest)?;
            self.wait(wait.saturating_sub(rest), lives, outlet.stop())?;
        }
    }

    /// What [`Polling::wait`] compares with: a session that comes up during the poll or the rest after it is noticed
    /// too. An error is left for the poll to report.
    fn glance_before_poll(&mut self, stop: &Stop) -> Option<Lives> {
        if self.config.interval <= GLANCE_INTERVAL {
            return None;
        }
        self.source.glance(&self.config, stop).ok()
    }

    /// Until the next poll: its time has come, it is requested, or other sessions are up than `before`.
    fn wait(
        &mut self,
        time: Duration,
        mut before: Option<Lives>,
        stop: &Stop,
    ) -> Result<(), Stopped> {
        let end = Instant::now() + time;
        let left = || end.saturating_duration_since(Instant::now());
        while left() > GLANCE_INTERVAL {
            let asked = Instant::now();
            let Ok(now) = self.source.glance(&self.config, stop) else {
                break; // the next poll reports what is wrong
            };
            if before
                .replace(now.clone())
                .is_some_and(|before| before != now)
            {
                return Ok(());
            }
            // A router that answers slowly is not kept busy by the question.
            let rest = GLANCE_INTERVAL.max(REST * asked.elapsed()).min(left());
            if self.config.trigger.wait(rest, stop)? {
                return Ok(());
            }
        }
        self.config.trigger.wait(left(), stop).map(|_| ())
    }
}

impl<S: Source> Feed for Polling<S> {
    fn run(self: Box<Self>, outlet: &Outlet) {
        // The only way out is a stop.
        let Err(Stopped) = self.run_until_stopped(outlet) else {
            return;
        };
    }

    fn skipped(&self) -> Skipped {
        self.skipped.clone()
    }

    fn lag(&self) -> Option<Lag> {
        Some(self.lag.clone())
    }
}

fn send_in_batches(mut events: Vec<RouteEvent>, outlet: &Outlet) -> Result<(), Stopped> {
    while events.len() > MAX_BATCH_EVENTS {
        let rest = events.split_off(MAX_BATCH_EVENTS);
        outlet.send(std::mem::replace(&mut events, rest))?;
    }
    outlet.send(events)
}
