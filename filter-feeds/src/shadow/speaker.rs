//! One passive BGP session: messages in, route events and answers out. Pure: no sockets, time is an argument. It
//! never announces anything. Holds routes only between the start of a table and its End-of-RIB, or between BoRR and
//! EoRR, to hand over the table as one snapshot: what is not in it is gone (mark and sweep, RFC 7313 section 4).
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use crate::updates::push_routes;
use crate::wire::bgp::{
    self, Message, Notification, Open, PathIds, RefreshSubtype, RouteRefresh, Update, write,
};
use crate::wire::{Reader, WireError};
use filter_core::{Asn, Family, Prefix};
use filter_lifecycle::route::{AdjRib, Origin, Route, RouteEvent, Session};

/// The hold time we propose, in seconds (RFC 4271 section 10).
pub const HOLD_TIME: u16 = 90;
/// An OPEN must come within this time.
pub const OPEN_WAIT: Duration = Duration::from_secs(30);
/// A table without End-of-RIB is asked for again after this time, if the router marks what it sends again.
pub const END_OF_RIB_WAIT: Duration = Duration::from_secs(30);

/// How to speak, and for which table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Role {
    /// Our AS number.
    pub local_as: Asn,
    /// The router's, if it must be a certain one.
    pub router_as: Option<Asn>,
    /// Our BGP identifier.
    pub router_id: Ipv4Addr,
    /// The session whose table this one repeats.
    pub mirrors: Session,
    /// Which of its tables.
    pub rib: AdjRib,
    /// Does the router leave NEXT_HOP as it is in that table? If not, it is not passed on.
    pub next_hop_kept: bool,
    /// Routes that may be held at once while a table is gathered.
    pub max_routes: usize,
}

/// Why a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Ended {
    /// Bytes that are not BGP, or not what was negotiated.
    #[error("malformed BGP: {0}")]
    Malformed(#[from] WireError),
    /// An OPEN that cannot be read.
    #[error("malformed OPEN: {0}")]
    MalformedOpen(WireError),
    /// The router ended it.
    #[error("the router sent NOTIFICATION {}/{}", .0.code, .0.subcode)]
    Notified(Notification),
    /// Nothing came for too long.
    #[error("nothing came for {} s", .0.as_secs())]
    HoldTimer(Duration),
    /// No OPEN came.
    #[error("no OPEN came within {} s", OPEN_WAIT.as_secs())]
    NoOpen,
    /// The session would be an internal one, to which other export rules apply.
    #[error("the router has our own AS number {0}; give the shadow session another local_as")]
    SameAs(Asn),
    /// Another router, or another session of it, than the one that is mirrored.
    #[error(
        "asn-mismatch: the router's OPEN says AS{received}, configured is AS{configured}; correct `[router] asn`, or what connects here"
    )]
    OtherAs {
        /// The AS number in it.
        received: Asn,
        /// The configured one.
        configured: Asn,
    },
    /// RFC 4271 section 6.2.
    #[error("the router's OPEN has hold time {0}, which must be 0 or at least 3")]
    BadHoldTime(u16),
    /// RFC 6286 section 2.2.
    #[error("the router's OPEN has BGP identifier 0.0.0.0")]
    BadRouterId,
    /// A message that has no place here.
    #[error("a message came that has no place before the session is established")]
    OutOfPlace,
    /// More than `max_routes`.
    #[error("more than {0} routes; raise max_routes")]
    TooManyRoutes(usize),
    /// The daemon ends.
    #[error("the feed is stopped")]
    Stopped,
}

impl Ended {
    /// The NOTIFICATION for the router (RFC 4271 section 6, RFC 4486).
    #[must_use]
    pub const fn notification(&self) -> Option<Notification> {
        let (code, subcode) = match self {
            Self::Notified(_) => return None,
            Self::Malformed(_) => (3, 1),
            Self::MalformedOpen(_) => (2, 0),
            Self::HoldTimer(_) => (4, 0),
            Self::NoOpen | Self::OutOfPlace => (5, 0),
            Self::SameAs(_) | Self::OtherAs { .. } => (2, 2),
            Self::BadHoldTime(_) => (2, 6),
            Self::BadRouterId => (2, 3),
            Self::TooManyRoutes(_) => (6, 1),
            Self::Stopped => (6, 2),
        };
        Some(Notification { code, subcode })
    }
}

/// What a session's messages come to.
#[derive(Debug, Default)]
pub struct Out {
    /// To be sent to the router.
    pub answers: Vec<u8>,
    /// To be handed over.
    pub events: Vec<RouteEvent>,
}

/// The session.
#[derive(Debug)]
pub struct Speaker {
    role: Role,
    state: State,
    heard: Instant,
    spoken: Instant,
    ribs: [Gathering; 2],
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Our OPEN is sent.
    OpenSent,
    /// Theirs has come.
    OpenConfirm(Established),
    /// Routes flow.
    Established(Established),
}

#[derive(Clone, Copy, Debug)]
struct Established {
    since: Instant,
    hold: Duration,
    path_ids: PathIds,
    max_message: usize,
    can_refresh: bool,
    marks_refresh: bool,
    asked_again: bool,
}

/// What is known of one family's table.
#[derive(Debug, Default)]
enum Gathering {
    /// Not exchanged, or received in full.
    #[default]
    Idle,
    /// From the start to End-of-RIB.
    Initial(Routes),
    /// From BoRR to EoRR.
    Refresh(Routes),
}

type Routes = BTreeMap<(Prefix, u32), Route>;

impl Speaker {
    /// A connection that was just accepted; our OPEN is the first answer.
    #[must_use]
    pub fn new(role: Role, now: Instant, out: &mut Out) -> Self {
        out.answers.extend(write::open(&write::OurOpen {
            asn: role.local_as,
            hold_time: HOLD_TIME,
            router_id: role.router_id,
        }));
        Self {
            role,
            state: State::OpenSent,
            heard: now,
            spoken: now,
            ribs: Default::default(),
        }
    }

    /// Do routes flow?
    #[must_use]
    pub const fn is_established(&self) -> bool {
        matches!(self.state, State::Established(_))
    }

    /// The longest message that may come.
    #[must_use]
    pub const fn max_message(&self) -> usize {
        match &self.state {
            State::OpenSent => bgp::MAX_MESSAGE,
            State::OpenConfirm(session) | State::Established(session) => session.max_message,
        }
    }

    /// Folds one whole message.
    ///
    /// # Errors
    /// [`Ended`], for the router as [`Ended::notification`]. No event of the failing message was added.
    pub fn message(&mut self, message: &[u8], now: Instant, out: &mut Out) -> Result<(), Ended> {
        let mut reader = Reader::new(message);
        let message =
            bgp::take(&mut reader, self.max_message()).map_err(|error| match self.state {
                State::OpenSent => Ended::MalformedOpen(error),
                _ => Ended::Malformed(error),
            })?;
        reader.end("the BGP message")?;
        self.heard = now;
        match (message, self.state) {
            (Message::Notification(notification), _) => Err(Ended::Notified(notification)),
            (Message::Open(open), State::OpenSent) => self.open(&open, now, out),
            (Message::Keepalive, State::OpenConfirm(session)) => {
                let since = now;
                self.state = State::Established(Established { since, ..session });
                Ok(())
            }
            (Message::Keepalive, State::Established(_)) => Ok(()),
            (Message::Update(update), State::Established(session)) => {
                self.update(&update, session.path_ids, &mut out.events)
            }
            (Message::RouteRefresh(refresh), State::Established(_)) => {
                self.refreshing(refresh, &mut out.events);
                Ok(())
            }
            _ => Err(Ended::OutOfPlace),
        }
    }

    /// Timers. To be called at least every second.
    ///
    /// # Errors
    /// [`Ended`] if nothing was heard for too long.
    pub fn tick(&mut self, now: Instant, out: &mut Out) -> Result<(), Ended> {
        let silent = now.duration_since(self.heard);
        let session = match &self.state {
            State::OpenSent if silent >= OPEN_WAIT => return Err(Ended::NoOpen),
            State::OpenSent => return Ok(()),
            State::OpenConfirm(session) | State::Established(session) => *session,
        };
        if !session.hold.is_zero() {
            if silent >= session.hold {
                return Err(Ended::HoldTimer(session.hold));
            }
            if now.duration_since(self.spoken) >= session.hold / 3 {
                self.spoken = now;
                out.answers.extend(write::keepalive());
            }
        }
        if let State::Established(session) = &mut self.state
            && !session.asked_again
            && session.marks_refresh
            && now.duration_since(session.since) >= END_OF_RIB_WAIT
        {
            session.asked_again = true;
            for family in Family::ALL {
                if matches!(self.ribs[family as usize], Gathering::Initial(_)) {
                    log::warn!(
                        "shadow of {}: no End-of-RIB for {family} in {} s; the table is asked for again",
                        self.role.mirrors,
                        END_OF_RIB_WAIT.as_secs()
                    );
                    out.answers.extend(write::route_refresh(family));
                }
            }
        }
        Ok(())
    }

    /// Asks for everything again, if the session is established and the router can.
    pub fn refresh(&mut self, out: &mut Out) {
        if let State::Established(session) = self.state
            && session.can_refresh
        {
            for family in Family::ALL {
                out.answers.extend(write::route_refresh(family));
            }
        }
    }

    fn open(&mut self, open: &Open, now: Instant, out: &mut Out) -> Result<(), Ended> {
        if open.asn == self.role.local_as {
            return Err(Ended::SameAs(open.asn));
        }
        if let Some(configured) = self.role.router_as.filter(|asn| *asn != open.asn) {
            let received = open.asn;
            return Err(Ended::OtherAs {
                received,
                configured,
            });
        }
        if matches!(open.hold_time, 1 | 2) {
            return Err(Ended::BadHoldTime(open.hold_time));
        }
        if open.router_id.is_unspecified() {
            return Err(Ended::BadRouterId);
        }
        let theirs = &open.capabilities;
        let sends = |family: Family| theirs.add_path[family as usize].send;
        self.state = State::OpenConfirm(Established {
            since: now,
            hold: Duration::from_secs(open.hold_time.min(HOLD_TIME).into()),
            // We receive several paths in both families (write::open).
            path_ids: PathIds {
                ipv4: sends(Family::Ipv4),
                ipv6: sends(Family::Ipv6),
            },
            max_message: if theirs.extended_message {
                bgp::MAX_EXTENDED_MESSAGE
            } else {
                bgp::MAX_MESSAGE
            },
            can_refresh: theirs.route_refresh,
            marks_refresh: theirs.route_refresh && theirs.enhanced_route_refresh,
            asked_again: false,
        });
        let mut families = theirs.multiprotocol;
        if families == [false; 2] {
            families[Family::Ipv4 as usize] = true;
        }
        for family in Family::ALL {
            if families[family as usize] {
                self.ribs[family as usize] = Gathering::Initial(Routes::new());
            }
        }
        self.spoken = now;
        out.answers.extend(write::keepalive());
        Ok(())
    }

    fn update(
        &mut self,
        update: &Update<'_>,
        path_ids: PathIds,
        events: &mut Vec<RouteEvent>,
    ) -> Result<(), Ended> {
        update.check(path_ids)?;
        if let Some(family) = update.end_of_rib() {
            if let Gathering::Initial(routes) = &mut self.ribs[family as usize] {
                let routes = std::mem::take(routes);
                self.told_in_full(family, routes, events);
            }
            return Ok(());
        }
        let before = events.len();
        let origin = Origin::Session(self.role.mirrors);
        push_routes(origin, self.role.rib, (update, path_ids), events)?;
        for event in &mut events[before..] {
            match event {
                RouteEvent::Announce { route, .. } => {
                    if !self.role.next_hop_kept {
                        route.next_hop = None;
                    }
                    let family = route.prefix.family();
                    if let Some(routes) = self.ribs[family as usize].routes() {
                        routes.insert((route.prefix, route.path), route.clone());
                    }
                }
                RouteEvent::Withdraw { prefix, path, .. } => {
                    if let Some(routes) = self.ribs[prefix.family() as usize].routes() {
                        routes.remove(&(*prefix, *path));
                    }
                }
                _ => {}
            }
        }
        let held = |rib: &mut Gathering| rib.routes().map_or(0, |routes| routes.len());
        if self.ribs.iter_mut().map(held).sum::<usize>() > self.role.max_routes {
            events.truncate(before);
            return Err(Ended::TooManyRoutes(self.role.max_routes));
        }
        Ok(())
    }

    /// BoRR and EoRR. Requests and what is unknown are for speakers that announce.
    fn refreshing(&mut self, refresh: RouteRefresh, events: &mut Vec<RouteEvent>) {
        let Some(family) = refresh.family else {
            return;
        };
        let rib = &mut self.ribs[family as usize];
        match (refresh.subtype, &mut *rib) {
            (RefreshSubtype::Begin, _) => *rib = Gathering::Refresh(Routes::new()),
            (RefreshSubtype::End, Gathering::Refresh(routes)) => {
                let routes = std::mem::take(routes);
                self.told_in_full(family, routes, events);
            }
            // An end without a beginning sweeps nothing (RFC 7313 section 4).
            (RefreshSubtype::End | RefreshSubtype::Request | RefreshSubtype::Unknown(_), _) => {}
        }
    }

    fn told_in_full(&mut self, family: Family, routes: Routes, events: &mut Vec<RouteEvent>) {
        self.ribs[family as usize] = Gathering::Idle;
        let origin = Origin::Session(self.role.mirrors);
        let rib = self.role.rib;
        events.push(RouteEvent::Snapshot {
            origin,
            rib,
            family,
            routes: routes.into_values().collect(),
        });
        events.push(RouteEvent::EndOfRib {
            origin,
            rib,
            family,
        });
    }
}

impl Gathering {
    const fn routes(&mut self) -> Option<&mut Routes> {
        match self {
            Self::Idle => None,
            Self::Initial(routes) | Self::Refresh(routes) => Some(routes),
        }
    }
}
