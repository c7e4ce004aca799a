//! Bulk TCP from the sender over the router to the receiver: a thread at each end of each stream. Never judges what came through:
//! TCP repeats what is lost.
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::unistd::Pid;

use super::meter::{self, Meter};
use super::scene::Scene;
use super::shapes::{SEGMENT, Sample};
use super::table::{NEAR, SERVER};
use crate::measure::Result;

const PORT: u16 = 5001;
/// A write, and a read: as much as a busy program hands over at once.
const BLOCK: usize = 1 << 18;
/// A stream's first moments are TCP feeling its way.
const WARM: Duration = Duration::from_millis(30);
/// How long a stream may take to begin.
const CONNECT: Duration = Duration::from_secs(5);

/// One round: new connections, and how much they carry in this time.
pub fn run(scene: &Scene, flows: usize, window: Duration) -> Result<Sample> {
    let listener = scene.receiver.run(|| TcpListener::bind((SERVER, PORT)))?;
    let mut pairs = Vec::new();
    for _ in 0..flows {
        let address = (SERVER, PORT).into();
        let client = scene
            .sender
            .run(|| TcpStream::connect_timeout(&address, CONNECT))?;
        pairs.push((client, listener.accept()?.0));
    }
    let (received, threads) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let (received, threads) = (&received, &threads);
    thread::scope(|scope| {
        for (client, server) in &pairs {
            scope.spawn(move || {
                settle(threads, 0);
                let block = vec![0; BLOCK];
                let mut to = client;
                while to.write_all(&block).is_ok() {}
            });
            scope.spawn(move || {
                settle(threads, 1);
                let (mut block, mut from) = (vec![0; BLOCK], server);
                while let Ok(length @ 1..) = from.read(&mut block) {
                    received.fetch_add(length as u64, Ordering::Relaxed);
                }
            });
        }
        let sample = measure(received, threads, 2 * flows, window);
        for (client, server) in &pairs {
            // What fails is closed already.
            _ = client.shutdown(Shutdown::Both);
            _ = server.shutdown(Shutdown::Both);
        }
        sample
    })
}

/// Puts this thread on its core, and says which it is.
fn settle(threads: &Mutex<Vec<Pid>>, core: usize) {
    let this = meter::this_thread();
    // A thread on another core makes the figure worse, not wrong.
    _ = meter::pin(this, core);
    if let Ok(mut threads) = threads.lock() {
        threads.push(this);
    }
}

fn measure(
    received: &AtomicU64,
    threads: &Mutex<Vec<Pid>>,
    expected: usize,
    window: Duration,
) -> Result<Sample> {
    thread::sleep(WARM);
    let started = Instant::now();
    let own = loop {
        let own = threads.lock().map_err(|_| "a thread panicked")?.clone();
        if own.len() == expected {
            break own;
        }
        if started.elapsed() > CONNECT {
            return Err("a thread does not start".into());
        }
        thread::yield_now();
    };
    let meter = Meter::new(&own, NEAR)?;
    let (first, before) = (received.load(Ordering::Relaxed), meter.read()?);
    let start = Instant::now();
    thread::sleep(window);
    let took = start.elapsed();
    let bytes = received.load(Ordering::Relaxed) - first;
    let cpu = meter.read()? - before;
    Sample::new(bytes as f64 / SEGMENT as f64, SEGMENT as f64, cpu, took)
}
