//! The BMP station: routers connect to us and tell what their peers advertise (RFC 7854), what of it they accept,
//! and, where they can, what they advertise (RFC 8671). Sockets and threads only: what a stream means is
//! [`router`]'s. Never skips bytes: what cannot be read ends the connection, and the router connects again.
//!
//! Several routers may share a feed as long as no two report a session with the same neighbour. The feed is up
//! while at least one of them is connected. When one of several is lost, its sessions' tables are
//! [`RouteEvent::TableLost`]; when the last is lost, [`RouteEvent::FeedDown`].
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use super::trigger::Trigger;
use super::{Feed, LOOK_FOR_ROOM, MAX_BATCH_EVENTS, Outlet, STOP_CHECK, Stopped, Turn, is_timeout};
use crate::wire::{ReceiveBuffer, bmp};
use counts::Counts;
use filter_lifecycle::route::{Origin, RouteEvent, Session};
use router::{Closed, Memory, Noted, Router};

pub mod counts;
mod life;
pub mod quirks;
pub mod router;

/// Routers that may be connected at once, unless configured otherwise.
pub const DEFAULT_MAX_ROUTERS: usize = 16;
/// Routers whose quirks are remembered after they are gone.
const MAX_REMEMBERED: usize = 1024;
/// A router whose stream was refused is kept this long before it may connect again.
const REFUSED_DELAY: Duration = Duration::from_secs(1);
/// Bytes taken in at once, at least one message.
const RECEIVE_BUFFER: usize = 4 * bmp::MAX_MESSAGE;

/// One station.
#[derive(Clone, Debug)]
pub struct BmpConfig {
    /// Where routers connect.
    pub listen: SocketAddr,
    /// How many may be connected at once; default [`DEFAULT_MAX_ROUTERS`].
    pub max_routers: usize,
    /// What asks for a router to tell everything again.
    pub trigger: Trigger,
}

impl BmpConfig {
    /// A station with the defaults.
    #[must_use]
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            max_routers: DEFAULT_MAX_ROUTERS,
            trigger: Trigger::default(),
        }
    }
}

/// The feed. Listens from its creation on.
#[derive(Debug)]
pub struct BmpFeed {
    listener: TcpListener,
    max_routers: usize,
    trigger: Trigger,
    station: Mutex<Station>,
    counts: Arc<Mutex<Counts>>,
}

/// What the connections of a station share.
#[derive(Debug, Default)]
struct Station {
    connections: u64,
    /// Connections whose router has told who it is, by its address and name.
    routers: HashMap<RouterId, Connected>,
    memories: HashMap<RouterId, Memory>,
    /// Which connection reports a session.
    claims: HashMap<Session, u64>,
}

type RouterId = (IpAddr, String);

#[derive(Debug)]
struct Connected {
    connection: u64,
    stream: Option<TcpStream>,
}

/// Why a connection's thread ends.
enum End {
    Stopped,
    Lost(String),
}

impl From<Stopped> for End {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

impl BmpFeed {
    /// Binds the address.
    ///
    /// # Errors
    /// What the kernel says, for example that the address is in use.
    pub fn new(config: &BmpConfig) -> io::Result<Self> {
        let listener = TcpListener::bind(config.listen)?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener,
            max_routers: config.max_routers,
            trigger: config.trigger.clone(),
            station: Mutex::default(),
            counts: Arc::default(),
        })
    }

    /// The address it listens on, with the port the kernel chose if 0 was configured.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// What was left out so far, over all connections; stays readable while the feed runs.
    #[must_use]
    pub fn counts(&self) -> Arc<Mutex<Counts>> {
        Arc::clone(&self.counts)
    }

    fn lock(&self) -> MutexGuard<'_, Station> {
        let lock = self.station.lock();
        lock.unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Reads one router until its connection ends.
    fn serve(&self, stream: TcpStream, from: SocketAddr, outlet: &Outlet) {
        let mut connection = Connection {
            feed: self,
            number: {
                let mut station = self.lock();
                station.connections += 1;
                station.connections
            },
            from,
            id: None,
            outlet,
            router: Router::new(Instant::now()),
            events: Vec::with_capacity(MAX_BATCH_EVENTS),
        };
        // Nothing may stop the station: an error of one stream is that stream's end.
        let end = connection.read(&stream);
        drop(stream);
        connection.close(end);
    }
}

impl Feed for BmpFeed {
    fn run(self: Box<Self>, outlet: &Outlet) {
        let connected = AtomicUsize::new(0);
        thread::scope(|scope| {
            while !outlet.stop().is_stopped() {
                match self.listener.accept() {
                    Ok((stream, from)) if connected.load(Ordering::Relaxed) < self.max_routers => {
                        connected.fetch_add(1, Ordering::Relaxed);
                        let (feed, connected) = (&*self, &connected);
                        scope.spawn(move || {
                            feed.serve(stream, from, outlet);
                            connected.fetch_sub(1, Ordering::Relaxed);
                        });
                    }
                    Ok((_, from)) => {
                        log::warn!(
                            "BMP connection from {from} refused: {} routers are connected; raise max_routers",
                            self.max_routers
                        );
                    }
                    Err(error) => {
                        if error.kind() != io::ErrorKind::WouldBlock {
                            log::warn!("BMP station cannot accept: {error}");
                        }
                        if outlet.stop().sleep(STOP_CHECK / 4).is_err() {
                            return;
                        }
                    }
                }
            }
        });
    }
}

/// One router's connection.
struct Connection<'a> {
    feed: &'a BmpFeed,
    number: u64,
    from: SocketAddr,
    /// Once the router has told who it is.
    id: Option<RouterId>,
    outlet: &'a Outlet,
    router: Router,
    events: Vec<RouteEvent>,
}

impl Connection<'_> {
    /// Until the stream ends, one way or another.
    fn read(&mut self, mut stream: &TcpStream) -> Result<(), (End, Option<Closed>)> {
        let io = |error: io::Error| (End::Lost(format!("reading fails: {error}")), None);
        stream.set_nonblocking(false).map_err(io)?;
        stream.set_read_timeout(Some(STOP_CHECK)).map_err(io)?;
        let mut buffer = ReceiveBuffer::new(RECEIVE_BUFFER);
        loop {
            match buffer.fill(&mut stream) {
                Ok(0) => return Err((End::Lost("the router closed the connection".into()), None)),
                Ok(_) => self.fold(stream, &mut buffer)?,
                Err(error) if is_timeout(&error) => {}
                Err(error) => return Err(io(error)),
            }
            if self.outlet.stop().is_stopped() {
                return Err((End::Stopped, None));
            }
            let now = Instant::now();
            if self.feed.trigger.take_again(self.router.sessions()) {
                self.router.tell_again(now);
            }
            self.router.tick(now).map_err(closed)?;
        }
    }

    /// Every whole message that is pending.
    fn fold(
        &mut self,
        stream: &TcpStream,
        buffer: &mut ReceiveBuffer,
    ) -> Result<(), (End, Option<Closed>)> {
        let stopped = |stopped: Stopped| (stopped.into(), None);
        loop {
            let pending = buffer.pending();
            let length = bmp::frame(pending).map_err(|error| closed(error.into()))?;
            let Some(message) = length.and_then(|length| pending.get(..length)) else {
                return self.flush().map_err(stopped);
            };
            let (feed, number) = (self.feed, self.number);
            let mut claim = |session| feed.lock().claim(session, number);
            let noted = self
                .router
                .message(message, Instant::now(), &mut self.events, &mut claim)
                .map_err(closed)?;
            let length = message.len();
            match noted {
                Noted::Nothing => {}
                Noted::Identified => self.identified(stream).map_err(stopped)?,
                Noted::Down(session) => self.feed.lock().release(session, number),
            }
            buffer.consume(length);
            if self.events.len() >= MAX_BATCH_EVENTS {
                self.flush().map_err(stopped)?;
            }
        }
    }

    /// Hands over in batches: one UPDATE can hold more routes than a batch may. Under the lock, so that nothing
    /// of a connection that was replaced comes after what replaced it.
    fn flush(&mut self) -> Result<(), Stopped> {
        let counts = self.feed.counts.lock();
        let mut counts = counts.unwrap_or_else(|poisoned| poisoned.into_inner());
        self.router.counts.drain_into(&mut counts);
        drop(counts);
        if self.events.is_empty() {
            return Ok(());
        }
        let events = std::mem::replace(&mut self.events, Vec::with_capacity(MAX_BATCH_EVENTS));
        let mut events = events.into_iter();
        loop {
            let batch: Vec<_> = events.by_ref().take(MAX_BATCH_EVENTS).collect();
            if batch.is_empty() || !self.hand_over(batch)? {
                return Ok(());
            }
        }
    }

    /// One batch, if this connection is still its router's. The lock is not held while there is no room.
    fn hand_over(&self, mut batch: Vec<RouteEvent>) -> Result<bool, Stopped> {
        let turn = self.outlet.turn()?;
        loop {
            let station = self.feed.lock();
            if !station.is_current(self.id.as_ref(), self.number) {
                return Ok(false);
            }
            let unsent = turn.try_send(batch)?;
            drop(station);
            match unsent {
                None => return Ok(true),
                Some(events) => batch = events,
            }
            self.outlet.stop().sleep(LOOK_FOR_ROOM)?;
        }
    }

    /// The router is known now: it replaces its own former connection, and the feed is up.
    fn identified(&mut self, stream: &TcpStream) -> Result<(), Stopped> {
        let id = (self.from.ip().to_canonical(), self.router.name().to_owned());
        self.id = Some(id.clone());
        log::info!("BMP router {:?} connected from {}", id.1, self.from);
        let turn = self.outlet.turn()?;
        let mut station = self.feed.lock();
        let first = station.routers.is_empty();
        let connected = Connected {
            connection: self.number,
            stream: stream.try_clone().ok(),
        };
        self.router
            .recall(station.memories.remove(&id).unwrap_or_default());
        if let Some(former) = station.routers.insert(id, connected) {
            log::warn!(
                "BMP router {} connected again; its former connection is closed",
                self.from
            );
            if let Some(stream) = former.stream {
                // It may be gone already, which is what we want.
                drop(stream.shutdown(std::net::Shutdown::Both));
            }
            station.unreport(former.connection, "the router connected again", &turn)?;
        }
        if first {
            turn.send(vec![RouteEvent::FeedUp])?;
        }
        Ok(())
    }

    /// Says what is lost with the connection.
    fn close(mut self, end: Result<(), (End, Option<Closed>)>) {
        let Err((End::Lost(why), closed)) = end else {
            return;
        };
        let why = format!(
            "BMP router {:?} at {}: {why}",
            self.router.name(),
            self.from
        );
        log::warn!("{why}");
        // What was read whole before the error is true.
        if self.flush().is_err() {
            return;
        }
        let Ok(turn) = self.outlet.turn() else {
            return;
        };
        let mut station = self.feed.lock();
        if let Some(id) = self
            .id
            .take_if(|id| station.is_current(Some(id), self.number))
        {
            station.routers.remove(&id);
            station.remember(id, self.router.memory(closed.as_ref()));
            let told = if station.routers.is_empty() {
                station.claims.clear();
                turn.send(vec![RouteEvent::FeedDown { why }])
            } else {
                station.unreport(self.number, &why, &turn)
            };
            if told.is_err() {
                return;
            }
        }
        drop((station, turn));
        if closed
            .is_some_and(|closed| !matches!(closed, Closed::Heal(_) | Closed::Terminated { .. }))
        {
            // Told to stop is as good a reason to end as the time being over.
            let _ = self.outlet.stop().sleep(REFUSED_DELAY);
        }
    }
}

impl Station {
    /// Is this connection the one its router speaks over?
    fn is_current(&self, id: Option<&RouterId>, connection: u64) -> bool {
        let connected = id.and_then(|id| self.routers.get(id));
        connected.is_some_and(|connected| connected.connection == connection)
    }

    /// Does this connection report the session now?
    fn claim(&mut self, session: Session, connection: u64) -> bool {
        *self.claims.entry(session).or_insert(connection) == connection
    }

    fn release(&mut self, session: Session, connection: u64) {
        if self.claims.get(&session) == Some(&connection) {
            self.claims.remove(&session);
        }
    }

    /// The sessions of one of several routers are not heard of any more.
    fn unreport(&mut self, connection: u64, why: &str, turn: &Turn<'_>) -> Result<(), Stopped> {
        let reported = self.claims.extract_if(|_, by| *by == connection);
        let lost = reported.map(|(session, _)| RouteEvent::TableLost {
            origin: Origin::Session(session),
            table: None,
            why: why.into(),
        });
        match lost.collect::<Vec<_>>() {
            lost if lost.is_empty() => Ok(()),
            lost => turn.send(lost),
        }
    }

    fn remember(&mut self, id: RouterId, memory: Memory) {
        if self.memories.len() < MAX_REMEMBERED {
            self.memories.insert(id, memory);
        }
    }
}

fn closed(closed: Closed) -> (End, Option<Closed>) {
    (End::Lost(closed.to_string()), Some(closed))
}
