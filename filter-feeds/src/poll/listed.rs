//! Neighbours as a router lists them, and how its Adj-RIBs are joined to their sessions: the router is asked for its
//! neighbours before and after, and what changed meanwhile is thrown away. Never asks a router itself.
use std::collections::BTreeMap;
use std::net::IpAddr;

use filter_lifecycle::route::{DownCause, Session};

use super::{Counted, Lives, PollConfig, Reading, RibReading, SessionReading, State};

/// One neighbour as a router describes it.
pub(crate) trait Neighbour {
    /// Is its session established?
    fn established(&self) -> bool;

    /// Differs whenever the session went up or down.
    fn life(&self) -> String;

    /// The router's own counts of its prefixes.
    fn counts(&self) -> Vec<Counted>;
}

/// Neighbours as a router lists them: those that can be read, and those that cannot, with why.
#[derive(Clone, Debug)]
pub(crate) struct Listed<T> {
    pub(crate) read: BTreeMap<IpAddr, T>,
    pub(crate) unreadable: BTreeMap<IpAddr, String>,
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self {
            read: BTreeMap::new(),
            unreadable: BTreeMap::new(),
        }
    }
}

impl<T> Listed<T> {
    /// Adds a neighbour. One that is listed twice cannot be read: either listing may be right.
    pub(crate) fn add(&mut self, address: IpAddr, neighbour: Result<T, String>) {
        let address = address.to_canonical();
        let twice = self.read.remove(&address).is_some() || self.unreadable.contains_key(&address);
        match neighbour {
            Ok(neighbour) if !twice => drop(self.read.insert(address, neighbour)),
            Ok(_) => drop(
                self.unreadable
                    .insert(address, "it is listed twice".to_owned()),
            ),
            Err(why) => drop(self.unreadable.insert(address, why)),
        }
    }

    /// Those that are wanted and cannot be read, with why.
    pub(crate) fn unreadable(&self, config: &PollConfig) -> BTreeMap<Session, String> {
        let wanted = self
            .unreadable
            .iter()
            .filter(|(address, _)| config.sessions.ribs(**address).is_some());
        wanted
            .map(|(address, why)| (Session::global(*address), why.clone()))
            .collect()
    }
}

impl<N: Neighbour> Listed<N> {
    /// The sessions that are up, and in which life each.
    pub(crate) fn lives(&self) -> Lives {
        let up = self.read.iter().filter(|(_, each)| each.established());
        up.map(|(address, each)| (*address, each.life())).collect()
    }

    /// Joins Adj-RIBs to the sessions they belong to, of the neighbours as they are now and were `before` the Adj-RIBs
    /// were read; those of a session that changed meanwhile are dropped.
    pub(crate) fn join(
        self,
        before: &Self,
        mut ribs: BTreeMap<IpAddr, Vec<RibReading>>,
        config: &PollConfig,
        mut state: impl FnMut(IpAddr, &N) -> State,
    ) -> Reading {
        let mut reading = Reading {
            unreadable: self.unreadable(config),
            ..Reading::default()
        };
        let wanted = |address: &IpAddr| config.sessions.ribs(*address).is_some();
        for (&address, neighbour) in self.read.iter().filter(|(address, _)| wanted(address)) {
            let former = before.read.get(&address).map(N::life);
            let settled = former == Some(neighbour.life());
            reading.unsettled |= !settled;
            let up = neighbour.established();
            let ribs = ribs.remove(&address).filter(|_| settled && up);
            reading.sessions.push(SessionReading {
                session: Session::global(address),
                state: state(address, neighbour),
                ribs: ribs.unwrap_or_default(),
                counts: if up { neighbour.counts() } else { Vec::new() },
            });
        }
        reading.add_missing(config);
        reading
    }
}

/// How sessions ended on routers that only count NOTIFICATIONs: by whether the count grew since the session was up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notified(BTreeMap<IpAddr, u64>);

impl Notified {
    /// Remembers the count while the session is up; says why it is down. What was never seen up may have been lost.
    pub(crate) fn cause(&mut self, address: IpAddr, up: bool, notifications: u64) -> DownCause {
        if up {
            self.0.insert(address, notifications);
        }
        match self.0.get(&address) {
            Some(former) if *former != notifications => DownCause::Notification,
            _ => DownCause::Lost,
        }
    }
}
