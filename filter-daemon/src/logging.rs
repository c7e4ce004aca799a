//! The daemon's log: lines wait in a bounded queue, and one thread writes them. A reader that does not read, or a disk
//! that is full, costs log lines, which are counted; whoever logs never waits.
use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::when as local_time;

/// Lines that may wait to be written. Further ones are lost, and counted.
pub const MAX_WAITING_LINES: usize = 4096;
/// Bytes of a line that are kept.
pub const MAX_LINE_BYTES: usize = 8 << 10;
/// How long the end of the program waits for lines that are not written yet.
const FLUSH_WITHIN: Duration = Duration::from_secs(1);

/// Of the whole process, as its log is.
static LOST: AtomicU64 = AtomicU64::new(0);

/// Log lines that were lost since the program started: the queue was full, or writing them failed.
#[must_use]
pub fn lost() -> u64 {
    LOST.load(Ordering::Relaxed)
}

/// Logs to stderr through a queue from here on, panics of threads too. Call [`Queue::end`] last.
///
/// # Errors
/// No thread can be started.
pub fn start(mut logger: env_logger::Builder) -> io::Result<Queue> {
    let queue = Queue::start(io::stderr(), &LOST)?;
    let style = match anstream::AutoStream::choice(&io::stderr()) {
        anstream::ColorChoice::Never => env_logger::WriteStyle::Never,
        _ => env_logger::WriteStyle::Always,
    };
    logger.write_style(style);
    logger.target(env_logger::Target::Pipe(Box::new(queue.clone())));
    logger.init();
    // The default hook writes to stderr itself, and would keep a thread that panicked from ending.
    std::panic::set_hook(Box::new(|panic| {
        log::error!("error of the program: {panic}")
    }));
    Ok(queue)
}

/// A line of the log: local time with its offset, level, text. Which module wrote it is of no use to an operator.
///
/// # Errors
/// Of the output.
pub fn write_line(
    out: &mut env_logger::fmt::Formatter,
    record: &log::Record<'_>,
) -> io::Result<()> {
    let time = local_time::local(local_time::now());
    let level = record.level();
    let style = out.default_level_style(level);
    writeln!(out, "{time} {style}{level:<5}{style:#} {}", record.args())
}

/// What waits to be written.
#[derive(Debug, Default)]
struct Waiting {
    lines: VecDeque<Vec<u8>>,
    /// Is a line being written now?
    writing: bool,
}

#[derive(Debug)]
struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    lost: &'static AtomicU64,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next line, once there is one.
    fn next(&self) -> Vec<u8> {
        let mut waiting = self.lock();
        waiting.writing = false;
        self.changed.notify_all();
        loop {
            if let Some(line) = waiting.lines.pop_front() {
                waiting.writing = true;
                return line;
            }
            let woken = self.changed.wait(waiting);
            waiting = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Writes lines for as long as the program runs. What cannot be written is lost; the next line is tried anew.
    fn write_all(&self, mut out: impl Write) {
        let mut said = self.lost.load(Ordering::Relaxed);
        loop {
            let line = self.next();
            if out.write_all(&line).and_then(|()| out.flush()).is_err() {
                self.lost.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            let lost = self.lost.load(Ordering::Relaxed);
            if lost > said {
                let note = format!("[log: {} lines were lost here]\n", lost - said);
                if out.write_all(note.as_bytes()).is_ok() {
                    said = lost;
                }
            }
        }
    }
}

/// Takes one line per write, as the logger hands them over. Clones are one queue.
#[derive(Clone, Debug)]
pub struct Queue(Arc<Shared>);

impl Queue {
    fn start(out: impl Write + Send + 'static, lost: &'static AtomicU64) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            waiting: Mutex::default(),
            changed: Condvar::new(),
            lost,
        });
        let writer = Arc::clone(&shared);
        let thread = thread::Builder::new().name("log".to_owned());
        thread.spawn(move || writer.write_all(out))?;
        Ok(Self(shared))
    }

    /// Waits until everything is written, for so long at most. Is it?
    pub fn drain(&self, within: Duration) -> bool {
        let end = Instant::now() + within;
        let mut waiting = self.0.lock();
        while waiting.writing || !waiting.lines.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let woken = self.0.changed.wait_timeout(waiting, left);
            waiting = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// As [`Queue::drain`], at the program's end: for a second at most.
    pub fn end(&self) {
        _ = self.drain(FLUSH_WITHIN); // whoever does not read it by then does not get it
    }
}

impl Write for Queue {
    /// Never waits and never fails: a line too many is counted, one too long is cut.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut waiting = self.0.lock();
        if waiting.lines.len() >= MAX_WAITING_LINES {
            self.0.lost.fetch_add(1, Ordering::Relaxed);
            return Ok(line.len());
        }
        let mut kept = line.to_vec();
        if kept.len() > MAX_LINE_BYTES {
            kept.truncate(MAX_LINE_BYTES - 1);
            kept.push(b'\n');
        }
        waiting.lines.push_back(kept);
        self.0.changed.notify_all();
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    /// Writes once it is allowed to; each permission includes whether the disk has room.
    struct Disk {
        permissions: Receiver<bool>,
        written: Sender<Vec<u8>>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.permissions.recv() {
                Ok(true) => {
                    _ = self.written.send(bytes.to_vec());
                    Ok(bytes.len())
                }
                _ => Err(io::ErrorKind::StorageFull.into()),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn queue() -> (Queue, Sender<bool>, Receiver<Vec<u8>>, &'static AtomicU64) {
        let lost: &'static AtomicU64 = Box::leak(Box::default());
        let (permit, permissions) = channel();
        let (sender, written) = channel();
        let disk = Disk {
            permissions,
            written: sender,
        };
        (Queue::start(disk, lost).unwrap(), permit, written, lost)
    }

    #[test]
    fn who_logs_never_waits_and_what_is_lost_is_counted_and_said() {
        let (mut queue, permit, written, lost) = queue();
        let all = MAX_WAITING_LINES + 11;
        queue.write_all(b"0\n").unwrap();
        let end = Instant::now() + SOON;
        while !queue.0.lock().writing {
            assert!(Instant::now() < end, "the thread does not write");
            thread::yield_now();
        }
        for number in 1..all {
            queue.write_all(format!("{number}\n").as_bytes()).unwrap();
        }
        assert_eq!(lost.load(Ordering::Relaxed), 10);
        assert!(
            !queue.drain(Duration::from_millis(1)),
            "the log is not read"
        );
        for _ in 0..=all {
            permit.send(true).unwrap();
        }
        assert!(queue.drain(SOON));
        let lines: Vec<Vec<u8>> = written.try_iter().collect();
        assert_eq!(lines[0], b"0\n");
        assert_eq!(lines[1], b"[log: 10 lines were lost here]\n");
        assert_eq!(lines[2], b"1\n");
        assert_eq!(
            lines.last().unwrap(),
            format!("{MAX_WAITING_LINES}\n").as_bytes()
        );
        assert_eq!(lines.len(), MAX_WAITING_LINES + 2);
    }

    #[test]
    fn a_full_disk_costs_the_lines_that_do_not_fit_and_writing_goes_on() {
        let (mut queue, permit, written, lost) = queue();
        for permission in [true, false, false, true, true] {
            permit.send(permission).unwrap();
        }
        for line in ["before\n", "lost\n", "lost too\n", "after\n"] {
            queue.write_all(line.as_bytes()).unwrap();
        }
        assert!(queue.drain(SOON));
        let lines: Vec<Vec<u8>> = written.try_iter().collect();
        let expected = ["before\n", "after\n", "[log: 2 lines were lost here]\n"];
        assert_eq!(lines, expected.map(|line| line.as_bytes().to_vec()));
        assert_eq!(lost.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_line_is_cut_beyond_its_limit_and_not_at_it() {
        let (mut queue, permit, written, _) = queue();
        let mut fits = vec![b'a'; MAX_LINE_BYTES - 1];
        fits.push(b'\n');
        for line in [&fits, &[&fits[..], b"more\n"].concat()] {
            permit.send(true).unwrap();
            queue.write_all(line).unwrap();
        }
        assert!(queue.drain(SOON));
        let lines: Vec<Vec<u8>> = written.try_iter().collect();
        assert_eq!(lines[0], fits);
        assert_eq!(lines[1].len(), MAX_LINE_BYTES);
        assert_eq!(lines[1].last(), Some(&b'\n'));
    }
}
