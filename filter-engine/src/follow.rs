//! Follows the neighbour table of the attached interfaces and of the devices stacked on them, without ever waiting, and
//! holds the one descriptor that is readable when the kernel has news. Never decides which peer a MAC belongs to.
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use filter_lifecycle::neighbour::NeighbourEvent;
use filter_lifecycle::stations::Places;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

use crate::neighbours::{NeighbourError, Neighbours};

/// What is new.
#[derive(Debug)]
pub(crate) enum Learned {
    /// The links that are followed from now on.
    Places(Places),
    /// What happened on them.
    Event(NeighbourEvent),
}

/// Datagrams of the kernel taken in at once; the rest waits in the socket.
const MAX_AT_ONCE: usize = 64;
/// After an error.
const RETRY: Duration = Duration::from_secs(1);

/// The subscription, and the descriptor that is readable when it, or another that is watched, has something.
#[derive(Debug)]
pub(crate) struct Follower {
    epoll: Epoll,
    places: Places,
    open: Option<Neighbours>,
    /// When to open the subscription.
    look_at: Duration,
}

impl Follower {
    pub(crate) fn new() -> Result<Self, Errno> {
        Ok(Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            places: Places::new(),
            open: None,
            look_at: Duration::ZERO,
        })
    }

    /// Wakes for this descriptor too, as long as it is open. One that is watched already stays so: a reload keeps sockets.
    pub(crate) fn watch(&self, source: &impl AsFd) -> Result<(), Errno> {
        let readable = EpollEvent::new(EpollFlags::EPOLLIN, 0);
        match self.epoll.add(source.as_fd(), readable) {
            Err(Errno::EEXIST) => Ok(()),
            added => added,
        }
    }

    /// Follows the neighbours of these devices from now on; if they are others, everything known is said anew.
    pub(crate) fn follow(&mut self, places: Places) {
        if places != self.places {
            self.places = places;
            self.open = None;
            self.look_at = Duration::ZERO;
        }
    }

    /// Everything known is said anew.
    pub(crate) fn again(&mut self) {
        self.open = None;
        self.look_at = Duration::ZERO;
    }

    /// What is new. An error is returned along with what came before it; the subscription is opened anew later.
    pub(crate) fn work(&mut self, now: Duration) -> (Vec<Learned>, Result<(), NeighbourError>) {
        let mut learned = Vec::new();
        let worked = self.take(now, &mut learned);
        if worked.is_err() {
            self.open = None;
            self.look_at = now + RETRY;
        }
        (learned, worked)
    }

    fn take(&mut self, now: Duration, learned: &mut Vec<Learned>) -> Result<(), NeighbourError> {
        if now >= self.look_at && self.open.is_none() && !self.places.is_empty() {
            self.subscribe()?;
            learned.push(Learned::Places(self.places.clone()));
        }
        let Some(neighbours) = &mut self.open else {
            return Ok(());
        };
        for _ in 0..MAX_AT_ONCE {
            let Some(events) = neighbours.next_events()? else {
                break;
            };
            learned.extend(events.into_iter().map(Learned::Event));
        }
        Ok(())
    }

    fn subscribe(&mut self) -> Result<(), NeighbourError> {
        let neighbours = Neighbours::open(self.places.keys().copied())?;
        self.watch(&neighbours)
            .map_err(|source| NeighbourError::Socket {
                what: "epoll",
                source,
            })?;
        self.open = Some(neighbours);
        Ok(())
    }

    /// When the subscription is to be opened, if it is not.
    pub(crate) fn look_at(&self) -> Option<Duration> {
        let is_due = self.open.is_none() && !self.places.is_empty();
        is_due.then_some(self.look_at)
    }
}

impl AsFd for Follower {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn what_is_watched_already_stays_watched() {
        let follower = Follower::new().unwrap();
        let (one, _other) = UnixStream::pair().unwrap();
        assert_eq!(follower.watch(&one), Ok(()));
        assert_eq!(follower.watch(&one), Ok(()));
        let end = one.try_clone().unwrap();
        drop(one);
        assert_eq!(
            follower.watch(&end),
            Ok(()),
            "another descriptor is another"
        );
    }
}
