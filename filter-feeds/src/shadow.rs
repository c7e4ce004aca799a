//! The shadow speaker: the router treats us as one more neighbour with a real peer's export policy, and so advertises to
//! us what it advertises to that peer (Adj-RIB-Out), whatever daemon it runs; with ADD-PATH also what it accepted from it
//! (Adj-RIB-In after policy). Sockets and threads only: the protocol is [`speaker`]'s. Passive, and never announces.
//!
//! It knows nothing of the peer's own session: the shadow stays up when the peer is down, so no
//! [`RouteEvent::SessionUp`] comes from here; another feed has to report the session's state. The feed is up while at
//! least one shadow is established. When one of several is lost, its table is [`RouteEvent::RibLost`] until it is
//! received in full again; when the last is lost, [`RouteEvent::FeedDown`].
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use super::{Feed, MAX_BATCH_EVENTS, Outlet, STOP_CHECK, Stopped, is_timeout};

use crate::refusals::{NO_THREAD, Refusals};
use crate::skipped::Skipped;
use crate::tcp;
use crate::wire::ReceiveBuffer;
use crate::wire::bgp::{self, Notification, write};
use filter_lifecycle::route::{LossCause, Origin, RouteEvent};
use md5::Refused;
use speaker::{Ended, Out, Speaker};

mod config;
pub mod md5;
pub mod speaker;

pub use config::{DEFAULT_MAX_ROUTES, Password, ShadowError, ShadowSession};

/// A router that does not take what we send for this long is lost.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the kernel is asked for connections it refused because of their password.
const PASSWORD_CHECK: Duration = Duration::from_secs(1);

/// The feed. Listens from its creation on.
#[derive(Debug)]
pub struct ShadowFeed {
    listeners: Vec<TcpListener>,
    sessions: Vec<(usize, ShadowSession)>,
    refreshes: Arc<AtomicU64>,
    slots: Mutex<Vec<Slot>>,
    refusals: Refusals,
    skipped: Skipped,
}

/// The connection of one session.
#[derive(Debug, Default)]
struct Slot {
    connection: u64,
    stream: Option<TcpStream>,
    established: bool,
    /// A message has said that its password may be why it is not established.
    suspected: bool,
}

/// Asks all shadows of a feed for their tables again; stays usable while the feed runs.
#[derive(Clone, Debug)]
pub struct Refresher(Arc<AtomicU64>);

impl Refresher {
    /// Each established session sends a ROUTE-REFRESH within [`STOP_CHECK`].
    pub fn refresh(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl ShadowFeed {
    /// Binds the addresses.
    ///
    /// # Errors
    /// [`ShadowError`].
    pub fn new(sessions: Vec<ShadowSession>) -> Result<Self, ShadowError> {
        let mut listeners: Vec<(SocketAddr, TcpListener)> = Vec::new();
        let mut placed: Vec<(usize, ShadowSession)> = Vec::new();
        for session in sessions {
            let (listen, remote) = (session.listen, session.remote);
            if placed
                .iter()
                .any(|(_, other)| (other.listen, other.remote) == (listen, remote))
            {
                return Err(ShadowError::Twice { listen, remote });
            }
            let known = listeners.iter().position(|(address, _)| *address == listen);
            let index = match known {
                Some(index) => index,
                None => {
                    let bound = TcpListener::bind(listen).and_then(|listener| {
                        listener.set_nonblocking(true)?;
                        Ok(listener)
                    });
                    let error = |error| ShadowError::Listen { listen, error };
                    listeners.push((listen, bound.map_err(error)?));
                    listeners.len() - 1
                }
            };
            if let Some(password) = &session.password {
                md5::require(&listeners[index].1, remote, password)
                    .map_err(|error| ShadowError::Password { remote, error })?;
            }
            placed.push((index, session));
        }
        let slots = placed.iter().map(|_| Slot::default()).collect();
        let skipped = Skipped::default();
        Ok(Self {
            listeners: listeners
                .into_iter()
                .map(|(_, listener)| listener)
                .collect(),
            sessions: placed,
            refreshes: Arc::default(),
            slots: Mutex::new(slots),
            refusals: Refusals::counted_in(&skipped),
            skipped,
        })
    }

    /// What asks for the tables again.
    #[must_use]
    pub fn refresher(&self) -> Refresher {
        Refresher(Arc::clone(&self.refreshes))
    }

    /// Where a session listens, with the port the kernel chose if 0 was configured; by its place in the
    /// configuration.
    #[must_use]
    pub fn local_addr(&self, session: usize) -> Option<SocketAddr> {
        let (listener, _) = self.sessions.get(session)?;
        self.listeners.get(*listener)?.local_addr().ok()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Slot>> {
        let lock = self.slots.lock();
        lock.unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Which session is it? By where it arrived and where it comes from.
    fn session(&self, listener: usize, from: IpAddr) -> Option<usize> {
        let from = from.to_canonical();
        let is_it = |(at, session): &(usize, ShadowSession)| {
            *at == listener && session.remote.to_canonical() == from
        };
        self.sessions.iter().position(is_it)
    }

    /// Takes whatever waits to be accepted. The error is the last one of a listener that cannot.
    fn accept<'scope>(
        &'scope self,
        scope: &'scope thread::Scope<'scope, '_>,
        outlet: &'scope Outlet,
    ) -> Result<io::Result<()>, Stopped> {
        let mut accepted = Ok(());
        for (index, listener) in self.listeners.iter().enumerate() {
            loop {
                match listener.accept() {
                    Ok((stream, from)) => match self.session(index, from.ip()) {
                        Some(session) => {
                            let connection = Connection::new(self, session, &stream, outlet);
                            self.start(connection, stream, from, scope)?;
                        }
                        None => self.refuse(&stream, from),
                    },
                    Err(error) if is_timeout(&error) => break,
                    Err(error) => {
                        accepted = Err(error);
                        break;
                    }
                }
            }
        }
        Ok(accepted)
    }

    /// Serves a connection on a thread of its own. Without one only its session is lost.
    fn start<'scope>(
        &'scope self,
        connection: Connection<'scope>,
        stream: TcpStream,
        from: SocketAddr,
        scope: &'scope thread::Scope<'scope, '_>,
    ) -> Result<(), Stopped> {
        let (session, number, outlet) = (connection.session, connection.number, connection.outlet);
        let named = thread::Builder::new().name(format!("shadow {}", from.ip()));
        let serve = move || connection.serve(&stream);
        let Err(error) = named.spawn_scoped(scope, serve) else {
            return Ok(());
        };
        if self.refusals.add(from.ip(), NO_THREAD) {
            log::warn!("BGP connection from {from} refused: {NO_THREAD}: {error}");
        }
        self.lost(session, number, outlet, NO_THREAD.to_owned())
    }

    /// From an address that is not configured: Cease, Connection Rejected (RFC 4486 section 4).
    fn refuse(&self, mut stream: &TcpStream, from: SocketAddr) {
        let why = "no shadow session is configured for it";
        if self.refusals.add(from.ip(), why) {
            log::warn!("BGP connection from {from} refused: {why}");
        }
        let notification = write::notification(Notification {
            code: 6,
            subcode: 5,
        });
        // It is closed anyway.
        let _ = stream.write(&notification);
    }

    /// A session's connection of this number has ended. The last established session takes the feed down.
    fn lost(
        &self,
        session: usize,
        number: u64,
        outlet: &Outlet,
        why: String,
    ) -> Result<(), Stopped> {
        let mut slots = self.lock();
        let slot = &mut slots[session];
        if slot.connection != number {
            return Ok(());
        }
        slot.stream = None;
        if !std::mem::take(&mut slot.established) {
            return Ok(());
        }
        let shadow = &self.sessions[session].1;
        let event = if slots.iter().any(|slot| slot.established) {
            RouteEvent::RibLost {
                origin: Origin::Session(shadow.mirrors),
                rib: Some(shadow.rib),
                cause: LossCause::Feed,
                why,
            }
        } else {
            RouteEvent::FeedDown { why }
        };
        outlet.send(vec![event])
    }

    /// The kernel refused a connection for its signature, which nothing else shows: says which sessions are not
    /// established, once for each.
    fn suspect(&self, why: &str, outlet: &Outlet) -> Result<(), Stopped> {
        let mut slots = self.lock();
        let mut suspects = Vec::new();
        for (slot, (_, session)) in slots.iter_mut().zip(&self.sessions) {
            if !slot.established && !std::mem::replace(&mut slot.suspected, true) {
                let set = session.password.as_ref().map_or("none", |_| "set");
                suspects.push(format!("{} (password: {set})", session.remote));
            }
        }
        if suspects.is_empty() {
            return Ok(());
        }
        let why = format!(
            "connections with {why} are refused in this network namespace; shadow sessions that are not established: {}; give the router the same password",
            suspects.join(", ")
        );
        log::warn!("{why}");
        if slots.iter().any(|slot| slot.established) {
            return Ok(());
        }
        outlet.send(vec![RouteEvent::FeedDown { why }])
    }

    fn run_until_stopped<'scope>(
        &'scope self,
        scope: &'scope thread::Scope<'scope, '_>,
        outlet: &'scope Outlet,
    ) -> Result<(), Stopped> {
        let (mut refused, mut asked) = (Refused::now(), Instant::now());
        let mut is_failing = false;
        loop {
            let accepted = self.accept(scope, outlet)?;
            let was_failing = std::mem::replace(&mut is_failing, accepted.is_err());
            if let Err(error) = accepted
                && !was_failing
            {
                log::warn!("shadow feed cannot accept connections: {error}");
            }
            outlet.stop().sleep(STOP_CHECK / 4)?;
            if asked.elapsed() >= PASSWORD_CHECK {
                let before = std::mem::replace(&mut refused, Refused::now());
                asked = Instant::now();
                if let Some(why) = refused.since(before) {
                    self.suspect(why, outlet)?;
                }
            }
        }
    }
}

impl Feed for ShadowFeed {
    fn run(self: Box<Self>, outlet: &Outlet) {
        let feed = &*self;
        thread::scope(|scope| {
            // The only way out is a stop.
            let Err(Stopped) = feed.run_until_stopped(scope, outlet) else {
                return;
            };
        });
    }

    fn skipped(&self) -> Skipped {
        self.skipped.clone()
    }
}

/// One connection of one session.
struct Connection<'a> {
    feed: &'a ShadowFeed,
    session: usize,
    number: u64,
    outlet: &'a Outlet,
    speaker: Speaker,
    out: Out,
    refreshes: u64,
}

/// Why a connection's thread ends.
enum End {
    Ended(Ended),
    Io(io::Error),
    Eof,
}

impl From<Stopped> for End {
    fn from(_: Stopped) -> Self {
        Self::Ended(Ended::Stopped)
    }
}

impl From<Ended> for End {
    fn from(ended: Ended) -> Self {
        Self::Ended(ended)
    }
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl<'a> Connection<'a> {
    /// Replaces the session's former connection, if there is one: the router knows that it is gone.
    fn new(feed: &'a ShadowFeed, session: usize, stream: &TcpStream, outlet: &'a Outlet) -> Self {
        let mut out = Out::default();
        let role = feed.sessions[session].1.role();
        let mut slots = feed.lock();
        let slot = &mut slots[session];
        slot.connection += 1;
        if let Some(former) = slot.stream.take() {
            // It may be gone already, which is what we want.
            let _ = former.shutdown(std::net::Shutdown::Both);
        }
        slot.stream = stream.try_clone().ok();
        Self {
            feed,
            session,
            number: slot.connection,
            outlet,
            speaker: Speaker::new(role, Instant::now(), &mut out),
            out,
            refreshes: feed.refreshes.load(Ordering::Relaxed),
        }
    }

    fn serve(mut self, stream: &TcpStream) {
        // An error of ours is that connection's end, as one of the stream is.
        let spoken = catch_unwind(AssertUnwindSafe(|| self.speak(stream)));
        let end = spoken.map_or_else(
            |_| {
                self.out.events.clear();
                End::Io(io::Error::other("the program made an error reading it"))
            },
            |spoken| {
                let Err(end) = spoken;
                end
            },
        );
        let why = match end {
            End::Ended(ended) => {
                if let Some(notification) = ended.notification() {
                    let mut stream = stream;
                    // The session is over with or without it.
                    let _ = stream.write(&write::notification(notification));
                }
                ended.to_string()
            }
            End::Io(error) => format!("the connection fails: {error}"),
            End::Eof => "the router closed the connection".into(),
        };
        let shadow = &self.feed.sessions[self.session].1;
        let mirrors = shadow.mirrors;
        let why = format!("shadow session {} of {mirrors}: {why}", shadow.remote);
        log::warn!("{why}");
        // Stopped: then the receiving end is gone.
        let flushed = self.flush();
        let _ = flushed.and_then(|()| self.feed.lost(self.session, self.number, self.outlet, why));
    }

    /// Until the session ends, one way or another.
    fn speak(&mut self, mut stream: &TcpStream) -> Result<std::convert::Infallible, End> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(STOP_CHECK))?;
        stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
        tcp::watch(stream)?;
        let mut buffer = ReceiveBuffer::new(2 * bgp::MAX_EXTENDED_MESSAGE);
        loop {
            stream.write_all(&self.out.answers)?;
            self.out.answers.clear();
            match buffer.fill(&mut stream) {
                Ok(0) => return Err(End::Eof),
                Ok(_) => self.fold(&mut buffer)?,
                Err(error) if is_timeout(&error) => {}
                Err(error) => return Err(error.into()),
            }
            if self.outlet.stop().is_stopped() {
                return Err(Ended::Stopped.into());
            }
            self.speaker.tick(Instant::now(), &mut self.out)?;
            let refreshes = self.feed.refreshes.load(Ordering::Relaxed);
            if std::mem::replace(&mut self.refreshes, refreshes) != refreshes {
                self.speaker.refresh(&mut self.out);
            }
        }
    }

    /// Every whole message that is pending.
    fn fold(&mut self, buffer: &mut ReceiveBuffer) -> Result<(), End> {
        loop {
            let pending = buffer.pending();
            let length = bgp::frame(pending, self.speaker.max_message()).map_err(Ended::from)?;
            let Some(message) = length.and_then(|length| pending.get(..length)) else {
                return Ok(self.flush()?);
            };
            let was_established = self.speaker.is_established();
            self.speaker
                .message(message, Instant::now(), &mut self.out)?;
            let length = message.len();
            buffer.consume(length);
            if self.speaker.is_established() && !was_established {
                self.established()?;
            }
            if self.out.events.len() >= MAX_BATCH_EVENTS {
                self.flush()?;
            }
        }
    }

    /// The first established session brings the feed up.
    fn established(&self) -> Result<(), Stopped> {
        let mut slots = self.feed.lock();
        let first = slots.iter().all(|slot| !slot.established);
        let slot = &mut slots[self.session];
        if slot.connection != self.number {
            return Ok(());
        }
        (slot.established, slot.suspected) = (true, false);
        if first {
            self.outlet.send(vec![RouteEvent::FeedUp])?;
        }
        Ok(())
    }

    /// Under the lock, so that nothing of a connection that was replaced comes after what replaced it.
    fn flush(&mut self) -> Result<(), Stopped> {
        if self.out.events.is_empty() {
            return Ok(());
        }
        let mut events = std::mem::take(&mut self.out.events).into_iter();
        let slots = self.feed.lock();
        if slots[self.session].connection != self.number {
            return Ok(());
        }
        loop {
            let batch: Vec<_> = events.by_ref().take(MAX_BATCH_EVENTS).collect();
            if batch.is_empty() {
                return Ok(());
            }
            self.outlet.send(batch)?;
        }
    }
}
