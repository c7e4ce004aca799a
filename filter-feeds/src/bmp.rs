//! The BMP listener: routers connect to us and send what their peers advertise (RFC 7854), what of it they accept,
//! and, where they can, what they advertise (RFC 8671). Sockets and threads only: what a stream means is
//! [`router`]'s. Only bytes that are no BMP messages end a connection; what stands in a message concerns its session.
//!
//! Several routers may share a feed as long as no two report a session with the same neighbour. The feed is up
//! while at least one of them is connected. When one of several is lost, its sessions' tables are
//! [`RouteEvent::RibLost`]; when the last is lost, [`RouteEvent::FeedDown`].
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use super::{Feed, LOOK_FOR_ROOM, MAX_BATCH_EVENTS, Outlet, STOP_CHECK, Stopped, Turn, is_timeout};
use crate::printed::Printed;
use crate::refusals::{NO_THREAD, Refusals};
use crate::shadow::md5;
use crate::skipped::Skipped;
use crate::tcp;
use crate::wire::{ReceiveBuffer, bmp};
use config::may_reach;
use filter_core::Prefix;
use filter_lifecycle::route::{LossCause, Origin, RouteEvent, Session, Vrf};
use router::{Closed, Memory, Noted, Router};

mod config;
pub mod counts;
mod life;
pub mod quirks;
pub mod router;

pub use config::{BmpConfig, DEFAULT_MAX_ROUTERS, loopback};

/// Routers whose quirks are remembered after they are gone.
const MAX_REMEMBERED: usize = 1024;
/// A router whose stream was refused is kept this long before it may connect again.
const REFUSED_DELAY: Duration = Duration::from_secs(1);
/// Bytes taken in at once, at least one message.
const RECEIVE_BUFFER: usize = 4 * bmp::MAX_MESSAGE;
/// A router must send its Initiation within this time.
pub const INITIATION_WAIT: Duration = Duration::from_secs(10);
/// Connections that have not said who they are; one more ends the oldest. They take no router's place.
pub const MAX_NAMELESS: usize = 16;
/// A router that connects although it is connected waits this long while the former connection is probed.
pub const PROBE_WAIT: Duration = Duration::from_secs(3);

/// The feed. Listens from its creation on.
#[derive(Debug)]
pub struct BmpFeed {
    listener: TcpListener,
    allow: Vec<Prefix>,
    max_routers: usize,
    idle: Option<Duration>,
    has_password: bool,
    instances: Option<BTreeSet<Option<Vrf>>>,
    streams: Mutex<Streams>,
    refusals: Refusals,
    skipped: Skipped,
}

/// What the streams of a listener share.
#[derive(Debug, Default)]
struct Streams {
    connections: u64,
    /// Connections whose router has not sent its Initiation, oldest first.
    nameless: Vec<Connected>,
    /// Connections whose router has sent its Initiation, by its address and name.
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
        if let Some(password) = &config.password {
            for &allowed in config
                .allow
                .iter()
                .filter(|&&allowed| may_reach(config.listen, allowed))
            {
                md5::require_of(&listener, allowed, password)?;
            }
        }
        let skipped = Skipped::default();
        Ok(Self {
            listener,
            allow: config.allow.clone(),
            max_routers: config.max_routers,
            idle: config.idle,
            has_password: config.password.is_some(),
            instances: config.instances.clone(),
            streams: Mutex::default(),
            refusals: Refusals::counted_in(&skipped),
            skipped,
        })
    }

    /// The address it listens on, with the port the kernel chose if 0 was configured.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    fn lock(&self) -> MutexGuard<'_, Streams> {
        let lock = self.streams.lock();
        lock.unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Refuses a connection: counted always, logged once for each address and reason.
    fn refuse(&self, from: SocketAddr, why: &'static str) {
        if self.refusals.add(from.ip(), why) {
            log::warn!("BMP connection from {from} refused: {why}");
        }
    }

    /// Takes in a connection from an address that may connect. Its router has no name yet.
    fn admit(&self, stream: &TcpStream, from: SocketAddr) -> Option<u64> {
        let address = from.ip().to_canonical().into();
        if !self.allow.iter().any(|allowed| allowed.contains(address)) {
            self.refuse(from, "its address is not among `allow` of this feed");
            return None;
        }
        if let Err(error) = tcp::watch(stream) {
            log::warn!("BMP connection from {from}: a lost connection may go unnoticed: {error}");
        }
        let mut streams = self.lock();
        streams.connections += 1;
        let number = streams.connections;
        if streams.nameless.len() >= MAX_NAMELESS {
            // A connection that sends nothing must not keep a router out.
            streams.nameless.remove(0).shut();
        }
        let stream = stream.try_clone().ok();
        streams.nameless.push(Connected {
            connection: number,
            stream,
        });
        Some(number)
    }

    /// Reads one router until its connection ends.
    fn serve(&self, stream: TcpStream, from: SocketAddr, number: u64, outlet: &Outlet) {
        let mut connection = Connection {
            feed: self,
            number,
            from,
            accepted: Instant::now(),
            id: None,
            outlet,
            router: Router::numbered(number, Instant::now()).reading(self.instances.clone()),
            events: Vec::with_capacity(MAX_BATCH_EVENTS),
        };
        // Nothing may stop the listener: an error of one stream is that stream's end, and so is a fault of ours.
        let read = catch_unwind(AssertUnwindSafe(|| connection.read(&stream)));
        let end = read.unwrap_or_else(|_| {
            connection.events.clear();
            Err((
                End::Lost("the program made an error reading it".into()),
                None,
            ))
        });
        drop(stream);
        self.lock().forget_nameless(number);
        connection.close(end);
    }

    fn run_until_stopped<'scope>(
        &'scope self,
        scope: &'scope thread::Scope<'scope, '_>,
        outlet: &'scope Outlet,
    ) -> Result<(), Stopped> {
        let mut refused = md5::Refused::now();
        let mut is_failing = false;
        loop {
            match self.listener.accept() {
                Ok((stream, from)) => {
                    is_failing = false;
                    let Some(number) = self.admit(&stream, from) else {
                        continue;
                    };
                    let serve = move || self.serve(stream, from, number, outlet);
                    let named = thread::Builder::new().name(format!("bmp {}", from.ip()));
                    if let Err(error) = named.spawn_scoped(scope, serve) {
                        log::debug!("BMP connection from {from}: {error}");
                        self.refuse(from, NO_THREAD);
                        self.lock().forget_nameless(number);
                    }
                }
                Err(error) => {
                    let fails = error.kind() != io::ErrorKind::WouldBlock;
                    if fails && !std::mem::replace(&mut is_failing, fails) {
                        log::warn!("BMP listener cannot accept connections: {error}");
                    }
                    outlet.stop().sleep(STOP_CHECK / 4)?;
                    self.suspect_passwords(&mut refused);
                }
            }
        }
    }

    /// The kernel refuses connections with a wrong password before the listener sees them, and only counts them.
    fn suspect_passwords(&self, refused: &mut md5::Refused) {
        if !self.has_password {
            return;
        }
        let before = std::mem::replace(refused, md5::Refused::now());
        if let Some(why) = refused.since(before)
            && let Ok(listen) = self.local_addr()
        {
            let unspecified = SocketAddr::new(listen.ip(), 0);
            self.refuse(unspecified, why);
        }
    }
}

impl Feed for BmpFeed {
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

/// One router's connection.
struct Connection<'a> {
    feed: &'a BmpFeed,
    number: u64,
    from: SocketAddr,
    accepted: Instant,
    /// Once the router has sent its Initiation.
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
            self.look_at_the_clock(Instant::now())?;
        }
    }

    /// What time alone does to a connection.
    fn look_at_the_clock(&mut self, now: Instant) -> Result<(), (End, Option<Closed>)> {
        if self.id.is_none() && now.duration_since(self.accepted) >= INITIATION_WAIT {
            let why = format!("no initiation came within {} s", INITIATION_WAIT.as_secs());
            return Err((End::Lost(why), None));
        }
        for session in self.router.end_silent(now, &mut self.events) {
            self.feed.lock().release(session, self.number);
        }
        self.flush().map_err(|stopped| (stopped.into(), None))?;
        self.router
            .check_idle(now, self.feed.idle)
            .map_err(closed)?;
        self.router.tick(now).map_err(closed)
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
                Noted::Identified => self.identified(stream)?,
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
        for (name, times) in std::mem::take(&mut self.router.counts).nonzero() {
            self.feed.skipped.add(name, times);
        }
        if self.events.is_empty() {
            return Ok(());
        }
        let mut events =
            std::mem::replace(&mut self.events, Vec::with_capacity(MAX_BATCH_EVENTS)).into_iter();
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
            let streams = self.feed.lock();
            if !streams.is_current(self.id.as_ref(), self.number) {
                return Ok(false);
            }
            let unsent = turn.try_send(batch)?;
            drop(streams);
            match unsent {
                None => return Ok(true),
                Some(events) => batch = events,
            }
            self.outlet.stop().sleep(LOOK_FOR_ROOM)?;
        }
    }

    /// The router is known now, and the feed is up. Its own former connection gives way only if it is dead: a name
    /// is no proof of who speaks.
    fn identified(&mut self, stream: &TcpStream) -> Result<(), (End, Option<Closed>)> {
        let id = (self.from.ip().to_canonical(), self.router.name().to_owned());
        let lost = |why: &str| (End::Lost(why.to_owned()), None);
        let stopped = |stopped: Stopped| (stopped.into(), None);
        if !self.former_is_gone(&id).map_err(stopped)? {
            let why = "a router of that address and name is connected, and it answers";
            self.feed.refuse(self.from, why);
            return Err(lost(why));
        }
        let turn = self.outlet.turn().map_err(stopped)?;
        let mut streams = self.feed.lock();
        if streams.routers.len() >= self.feed.max_routers && !streams.routers.contains_key(&id) {
            drop((streams, turn));
            let why = "as many routers as `max_routers` allows are connected";
            self.feed.refuse(self.from, why);
            return Err(lost(why));
        }
        self.id = Some(id.clone());
        log::info!("BMP router {} connected from {}", Printed(&id.1), self.from);
        streams.forget_nameless(self.number);
        let first = streams.routers.is_empty();
        let connected = Connected {
            connection: self.number,
            stream: stream.try_clone().ok(),
        };
        self.router
            .recall(streams.memories.remove(&id).unwrap_or_default());
        if let Some(former) = streams.routers.insert(id, connected) {
            log::warn!(
                "BMP router {} connected again; its former connection is dead and closed",
                self.from
            );
            let connection = former.connection;
            former.shut();
            streams
                .unreport(connection, "the router connected again", &turn)
                .map_err(stopped)?;
        }
        if first {
            turn.send(vec![RouteEvent::FeedUp]).map_err(stopped)?;
        }
        Ok(())
    }

    /// Waits for a former connection of this router to end, or to show that it is dead.
    fn former_is_gone(&self, id: &RouterId) -> Result<bool, Stopped> {
        let probed = Instant::now();
        loop {
            let streams = self.feed.lock();
            let Some(former) = streams.routers.get(id) else {
                return Ok(true);
            };
            let Some(stream) = &former.stream else {
                return Ok(true);
            };
            if probed.elapsed() >= PROBE_WAIT {
                let heard = tcp::heard_ago(stream);
                return Ok(heard.is_ok_and(|ago| ago >= PROBE_WAIT));
            }
            // It may be gone already, which the next look shows.
            let _ = tcp::probe(stream);
            drop(streams);
            self.outlet.stop().sleep(STOP_CHECK / 2)?;
        }
    }

    /// Says what is lost with the connection.
    fn close(mut self, end: Result<(), (End, Option<Closed>)>) {
        let Err((End::Lost(why), closed)) = end else {
            return;
        };
        let why = format!(
            "BMP router {} at {}: {why}",
            Printed(self.router.name()),
            self.from
        );
        if self.id.is_some() {
            log::warn!("{why}");
        } else {
            log::info!("{why}"); // no Adj-RIB is lost with it
        }
        // What was read whole before the error is true.
        if self.flush().is_err() {
            return;
        }
        let Ok(turn) = self.outlet.turn() else {
            return;
        };
        let was_named = self.id.is_some();
        let mut streams = self.feed.lock();
        if let Some(id) = self
            .id
            .take_if(|id| streams.is_current(Some(id), self.number))
        {
            streams.routers.remove(&id);
            streams.remember(id, self.router.memory(closed.as_ref()));
            let sent = if streams.routers.is_empty() {
                streams.claims.clear();
                turn.send(vec![RouteEvent::FeedDown { why }])
            } else {
                streams.unreport(self.number, &why, &turn)
            };
            if sent.is_err() {
                return;
            }
        }
        drop((streams, turn));
        let was_refused = closed
            .is_some_and(|closed| !matches!(closed, Closed::Heal(_) | Closed::Terminated { .. }));
        if was_named && was_refused {
            // A stop ends the wait as its time being over does.
            let _ = self.outlet.stop().sleep(REFUSED_DELAY);
        }
    }
}

impl Connected {
    fn shut(self) {
        if let Some(stream) = self.stream {
            // It may be gone already, which is what we want.
            drop(stream.shutdown(Shutdown::Both));
        }
    }
}

impl Streams {
    fn forget_nameless(&mut self, connection: u64) {
        self.nameless.retain(|other| other.connection != connection);
    }

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
        let lost = reported.map(|(session, _)| RouteEvent::RibLost {
            origin: Origin::Session(session),
            rib: None,
            cause: LossCause::Feed,
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
