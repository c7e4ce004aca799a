//! One link to one peer, in a namespace of its own, with numbered packets on it: what an example or a small test needs to
//! see that good packets come through and spoofed ones do not. Never sends what it is not asked to.
use std::net::IpAddr;
use std::time::Instant;

use filter_core::frame;
use filter_core::packet::Mac;

use super::namespace::{Namespace, NetError, enter, ip};
use super::wire::{PATIENCE, Wire};

/// The peer's end of the link.
const THEIRS: &str = "peer0";
/// Where the number stands in a frame: after Ethernet, IPv4 and UDP headers.
const NUMBER_AT: usize = 14 + 20 + 8;

/// A veth pair: our end, where a filter is attached and packets are counted that it lets through, and the peer's end,
/// where packets are sent.
#[derive(Debug)]
pub struct Link {
    _namespace: Namespace,
    receiver: Wire,
    sender: Wire,
    ours: Mac,
    theirs: Mac,
    received: Vec<u32>,
}

impl Link {
    /// Makes one whose end here is called `device`, in a new namespace, and moves this thread into that.
    ///
    /// # Errors
    /// Without root, or without `ip`.
    pub fn enter(device: &str) -> Result<Self, NetError> {
        let namespace = Namespace::quiet("link")?;
        let there = ["-n", namespace.name(), "link"];
        let pair = ["add", device, "type", "veth", "peer", "name", THEIRS];
        ip(there.into_iter().chain(pair))?;
        for end in [device, THEIRS] {
            ip(there.into_iter().chain(["set", end, "up"]))?;
        }
        let (ours, theirs) = (namespace.mac(device), namespace.mac(THEIRS));
        enter(&namespace.path())?;
        Ok(Self {
            receiver: Wire::behind_tc(device)?,
            sender: Wire::open(THEIRS)?,
            _namespace: namespace,
            ours,
            theirs,
            received: Vec::new(),
        })
    }

    /// The peer sends a UDP packet with this number between these IPv4 addresses.
    ///
    /// # Errors
    /// If the device does not take it.
    pub fn send(
        &mut self,
        number: u32,
        source: IpAddr,
        destination: IpAddr,
    ) -> Result<(), NetError> {
        let datagram = frame::udp(&number.to_be_bytes());
        let packet = frame::packet(source, destination, 17, 64, &datagram);
        let ethertype = frame::ethertype(source);
        let frame = frame::ethernet(self.ours, self.theirs, ethertype, &packet);
        self.sender.try_send(&frame)?;
        self.receive(); // before the socket is full
        Ok(())
    }

    fn receive(&mut self) {
        let frames = self.receiver.waiting().into_iter();
        self.received.extend(frames.filter_map(|frame| {
            let number = frame.get(NUMBER_AT..NUMBER_AT + 4)?;
            Some(u32::from_be_bytes(number.try_into().ok()?))
        }));
    }

    /// The peer sends so many packets of the first source, and as many of the second between them, to this destination.
    /// Returns how many of each came through, the last of the first source being one of them.
    ///
    /// # Errors
    /// If the device does not take one.
    ///
    /// # Panics
    /// If the last one does not come through within [`PATIENCE`].
    pub fn send_by_turns(
        &mut self,
        each: u32,
        sources: [IpAddr; 2],
        destination: IpAddr,
    ) -> Result<[usize; 2], NetError> {
        let last = 2 * each;
        for number in 1..=last {
            let source = sources[usize::from(number % 2 != 0)]; // so that the last one is of the first source
            self.send(number, source, destination)?;
        }
        let received = self.received_until(last);
        let of_first = received.iter().filter(|&number| number % 2 == 0).count();
        Ok([of_first, received.len() - of_first])
    }

    /// The numbers of the packets that came through, in their order, once this one did.
    ///
    /// # Panics
    /// If it does not within [`PATIENCE`].
    #[must_use]
    pub fn received_until(&mut self, last: u32) -> Vec<u32> {
        let begin = Instant::now();
        while self.received.last() != Some(&last) {
            assert!(begin.elapsed() < PATIENCE, "packet {last} never came");
            self.receive();
            std::thread::yield_now();
        }
        std::mem::take(&mut self.received)
    }
}
