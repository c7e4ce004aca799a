//! Answers scrapes: as much HTTP/1.1 (RFC 9112) as `GET /metrics` needs. A client has [`TIMEOUT`] for its whole request and as
//! long to read the answer; [`MAX_CONNECTIONS`] are served at once; the run loop is asked at most once a second, however many
//! ask. Never changes anything.
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Scrapes answered at once; a further one is closed.
pub const MAX_CONNECTIONS: usize = 4;
/// Longest request head, in bytes.
pub const MAX_REQUEST: usize = 8 << 10;
/// How long a client may take for its request, and for reading the answer.
pub const TIMEOUT: Duration = Duration::from_secs(5);
/// How old an answer may be.
const FRESH: Duration = Duration::from_secs(1);

/// The page, or why there is none now.
type Page = Result<Arc<str>, Arc<str>>;
/// Makes the page, or gives the reason why it cannot.
type Source = Box<dyn Fn() -> Result<String, String> + Send + Sync>;

/// A listening server: it ends when it is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
}

struct Shared {
    source: Source,
    last: Mutex<Option<(Instant, Page)>>,
    open: AtomicUsize,
}

impl Server {
    /// Listens there, and answers with what `source` says.
    ///
    /// # Errors
    /// The address is not ours or not free, or there is no thread to be had.
    pub fn start(
        listen: SocketAddr,
        source: impl Fn() -> Result<String, String> + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(listen)?;
        let address = listener.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let shared = Arc::new(Shared {
            source: Box::new(source),
            last: Mutex::new(None),
            open: AtomicUsize::new(0),
        });
        let until = Arc::clone(&stop);
        let thread = thread::Builder::new().name("metrics".to_owned());
        thread.spawn(move || accept(&listener, &shared, &until))?;
        Ok(Self { address, stop })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // Wakes the thread: it waits for a connection.
        _ = TcpStream::connect_timeout(&self.address, Duration::from_millis(100));
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>, stop: &AtomicBool) {
    for stream in listener.incoming() {
        if stop.load(Ordering::Acquire) {
            return;
        }
        let stream = match stream {
            Ok(stream) => stream,
            Err(error) => {
                log::warn!("metrics: {error}");
                thread::sleep(Duration::from_millis(100)); // out of descriptors, most likely: not a busy loop
                continue;
            }
        };
        if shared.open.fetch_add(1, Ordering::AcqRel) >= MAX_CONNECTIONS {
            shared.open.fetch_sub(1, Ordering::AcqRel);
            continue;
        }
        let slot = Slot(Arc::clone(shared));
        let serve = move || {
            if let Err(error) = serve(&stream, &slot.0) {
                log::debug!("metrics: {error}");
            }
        };
        let thread = thread::Builder::new().name("scrape".to_owned());
        if let Err(error) = thread.spawn(serve) {
            log::warn!("metrics: cannot start thread scrape: {error}");
        }
    }
}

/// A connection that is being served.
struct Slot(Arc<Shared>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
    }
}

fn serve(mut stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    let head = head(stream)?;
    let line = head.lines().next().unwrap_or_default();
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next());
    let path = target.unwrap_or_default().split('?').next();
    let (status, body) = match (method, path) {
        ("GET", Some("/metrics")) => match shared.page() {
            Ok(page) => ("200 OK", page),
            Err(why) => ("503 Service Unavailable", format!("{why}\n").into()),
        },
        ("GET", Some(_)) => ("404 Not Found", "only /metrics is here\n".into()),
        _ => ("405 Method Not Allowed", "only GET is answered\n".into()),
    };
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    );
    let end = Instant::now() + TIMEOUT;
    let mut rest = answer.as_bytes();
    while !rest.is_empty() {
        stream.set_write_timeout(Some(left_until(end)?))?;
        let written = stream.write(rest)?;
        rest = rest.get(written..).unwrap_or_default();
    }
    Ok(())
}

/// The request up to its empty line, however many pieces it comes in.
fn head(mut stream: &TcpStream) -> io::Result<String> {
    let end = Instant::now() + TIMEOUT;
    let mut head = Vec::new();
    let mut chunk = [0; 1024];
    while !head.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        if head.len() > MAX_REQUEST {
            return Err(io::Error::other(format!(
                "request longer than {MAX_REQUEST} bytes"
            )));
        }
        stream.set_read_timeout(Some(left_until(end)?))?;
        match stream.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => head.extend_from_slice(chunk.get(..read).unwrap_or_default()),
        }
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

fn left_until(end: Instant) -> io::Result<Duration> {
    match end.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
        left => Ok(left),
    }
}

impl Shared {
    /// The page, or why there is none: an earlier answer if it is fresh enough. Whoever comes meanwhile waits for the same.
    fn page(&self) -> Page {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, page)) = &*last
            && at.elapsed() < FRESH
        {
            return page.clone();
        }
        let page = (self.source)().map(Arc::from).map_err(Arc::from);
        *last = Some((Instant::now(), page.clone()));
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(source: impl Fn() -> Result<String, String> + Send + Sync + 'static) -> Server {
        Server::start("127.0.0.1:0".parse().unwrap(), source).unwrap()
    }

    fn ask(server: &Server, request: &str) -> String {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn one_page_is_there_and_nothing_else() {
        let server = server(|| Ok("bcp38_x 1\n".to_owned()));
        let answer = ask(&server, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(
            answer.ends_with("Content-Length: 10\r\nConnection: close\r\n\r\nbcp38_x 1\n"),
            "{answer}"
        );
        for (request, status) in [
            ("GET / HTTP/1.1\r\n\r\n", "404"),
            ("POST /metrics HTTP/1.1\r\n\r\n", "405"),
            ("\r\n\r\n", "405"),
        ] {
            let answer = ask(&server, request);
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{answer}"
            );
        }
    }

    #[test]
    fn a_run_loop_that_is_busy_is_asked_once_a_second_and_said_to_be_busy() {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let good = server(move || {
            count.fetch_add(1, Ordering::AcqRel);
            Ok(String::new())
        });
        for _ in 0..20 {
            assert!(ask(&good, "GET /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200 "));
        }
        assert!(asked.load(Ordering::Acquire) < 20);
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let busy = server(move || {
            count.fetch_add(1, Ordering::AcqRel);
            Err("the daemon is busy".to_owned())
        });
        for _ in 0..20 {
            let answer = ask(&busy, "GET /metrics HTTP/1.1\r\n\r\n");
            assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
            assert!(answer.ends_with("the daemon is busy\n"), "{answer}");
        }
        assert!(asked.load(Ordering::Acquire) < 20);
    }

    #[test]
    fn too_long_a_request_and_too_many_clients_are_closed() {
        let server = server(|| Ok(String::new()));
        let mut long = TcpStream::connect(server.address()).unwrap();
        // The daemon may close while this is still being sent.
        _ = long.write_all(&vec![b'x'; 4 * MAX_REQUEST]);
        assert_eq!(long.read(&mut [0; 16]).unwrap_or(0), 0);
        let mut silent: Vec<TcpStream> = Vec::new();
        let end = Instant::now() + TIMEOUT;
        while silent.len() < MAX_CONNECTIONS {
            assert!(Instant::now() < end);
            silent.push(TcpStream::connect(server.address()).unwrap());
        }
        // Once the silent ones are given up, scrapes are answered again.
        let end = Instant::now() + 4 * TIMEOUT;
        loop {
            let mut stream = TcpStream::connect(server.address()).unwrap();
            let mut answer = String::new();
            let asked = stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n");
            if asked.is_ok()
                && stream.read_to_string(&mut answer).is_ok()
                && answer.contains("200 OK")
            {
                break;
            }
            assert!(Instant::now() < end, "{answer}");
            thread::sleep(Duration::from_millis(20)); // between two looks
        }
    }

    #[test]
    fn a_dropped_server_lets_go_of_its_address() {
        let server = server(|| Ok(String::new()));
        let address = server.address();
        drop(server);
        let end = Instant::now() + TIMEOUT;
        while TcpListener::bind(address).is_err() {
            assert!(Instant::now() < end);
            thread::yield_now();
        }
    }
}
