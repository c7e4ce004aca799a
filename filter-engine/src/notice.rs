//! What the engine has to say, as types: whoever embeds it turns them into words. Never formatted here.
use std::collections::VecDeque;

use filter_core::packet::Vlans;
use filter_core::{Address, Mode, Reason};
use filter_lifecycle::route::PeerId;
use filter_lifecycle::stations::StationEvent;
use filter_lifecycle::violation::{DefaultPointing, DestinationStory, SourceStory};
use filter_lifecycle::{Event, RecentlyValid};

use crate::links::LinkError;
use crate::neighbours::NeighbourError;
use crate::{EngineError, TrialEnd};

/// Notices that wait to be taken; more push the oldest out, counted.
pub const MAX_NOTICES: usize = 8192;

/// One thing that happened.
#[derive(Debug)]
pub enum Notice {
    /// The lifecycle's: feeds, sessions, peers, routes.
    Lifecycle(Event),
    /// A peer's MAC was learned, seeded or claimed.
    Station(StationEvent),
    /// A sampled violation.
    Violation(Violation),
    /// A peer sends us what it should send elsewhere.
    DefaultPointing(PeerId, DefaultPointing),
    /// The program is on an interface, as the kernel says.
    Attached {
        /// The interface.
        interface: String,
        /// Where it sits.
        hook: &'static str,
    },
    /// The program is not on an interface: nothing is filtered there. It is tried again and again.
    Detached {
        /// The interface.
        interface: String,
        /// The reason.
        why: String,
    },
    /// A version with another data-plane schema left its program on an interface: it goes on filtering there by its own tables,
    /// until this one's know as much. What of it is in force cannot be read.
    FormerKept {
        /// The interface.
        interface: String,
        /// The program's number in the kernel.
        program: u32,
        /// The schema of its tables.
        schema: u32,
    },
    /// Our program is in the place of a former version's; counters started anew.
    FormerReplaced {
        /// The interface.
        interface: String,
    },
    /// A trial ended without being confirmed: the peer is as it was before.
    TrialEnded {
        /// The peer.
        peer: PeerId,
        /// Its mode now.
        mode: Mode,
        /// Why it ended.
        why: TrialEnd,
    },
    /// The kernel's devices cannot be followed; opened anew.
    DevicesLost(LinkError),
    /// The lease had ended before this process came: nothing is enforced before the feeds have reported everything anew.
    LeaseEnded,
    /// The program is on an interface, but not as its configuration asks.
    NotAsConfigured {
        /// The interface.
        interface: String,
        /// What was tried, and why it failed.
        why: String,
    },
    /// The record of an interface has no room for these MACs, addresses and subnets of ours: frames to these MACs are
    /// `not-for-us`, what goes to these addresses is judged like any packet. None if there is room for all again.
    LeftOut {
        /// The interface.
        interface: String,
        /// What has no room.
        left_out: Vec<String>,
    },
    /// A driver hides VLAN tags from the program where they matter, so that only `malformed` is judged there, or does not any
    /// more.
    TagsHidden {
        /// The interface.
        interface: String,
        /// What shows them; none if they are seen now.
        command: Option<String>,
    },
    /// Frames are counted that nothing judges: [`Reason::NoRecord`], of a device that has no record, or
    /// [`Reason::NotForUs`], most of what came in on an interface in the last minute.
    Alarm {
        /// The interface, if it is known.
        interface: Option<String>,
        /// Which of the two.
        reason: Reason,
        /// Does it begin? Else it is over.
        begins: bool,
    },
    /// The devices of a new specification could not be looked up, or one of them refused; tried again.
    NotLookedUp(EngineError),
    /// A peer's tables could not be published; the last ones stay, and it is tried again.
    PublishFailed(PeerId, filter_loader::Error),
    /// The breaker's evidence of a peer is no more than samples for now: what left its tables although nothing withdrew it could
    /// not be watched for.
    NotWatched(PeerId, filter_loader::Error),
    /// The data plane has no room to note when frames come from so many session addresses, each at a station: where a session
    /// has lasted at another MAC of one, the kernel's neighbour entry alone says for how long its former one stays the peer's. 0 if there
    /// is room for all again.
    SendersLeftOut(usize),
    /// The peers' MACs could not be written; tried again.
    StationsFailed(filter_loader::Error),
    /// The lease, or a counter, could not be read or written; tried again.
    KernelFailed(filter_loader::Error),
    /// The neighbour table cannot be followed; opened anew.
    NeighboursLost(NeighbourError),
}

/// A sampled violation with its stories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The peer it came from, if it is known.
    pub peer: Option<PeerId>,
    /// Where it came in; empty if the interface is not known any more.
    pub interface: String,
    /// The index of that device.
    pub ifindex: u32,
    /// Its tags, those included that the driver took out of the frame where the program still sees them.
    pub vlans: Vlans,
    /// Why it is one.
    pub reason: Reason,
    /// Was it dropped?
    pub dropped: bool,
    /// Frame length, bytes.
    pub length: u32,
    /// When the program saw it, by its own clock: [`filter_loader::age`] says how long ago that is.
    pub time_ns: u64,
    /// The first bytes of the frame, as far as they were sampled, with a tag that was taken out of it.
    pub header: Vec<u8>,
    /// Do they start with an Ethernet header? Else with the IP header.
    pub is_ethernet: bool,
    /// Its addresses and what is known of them, if it is IP.
    pub flow: Option<Flow>,
}

/// A packet's addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// As in the packet.
    pub source: Address,
    /// As in the packet.
    pub destination: Address,
    /// Who advertises the source.
    pub source_story: SourceStory,
    /// To whom the destination is advertised.
    pub destination_story: DestinationStory,
    /// The prefix of the source that was valid within the last day, and is not now.
    pub source_left: Option<RecentlyValid>,
    /// The same of the destination.
    pub destination_left: Option<RecentlyValid>,
}

/// Notices in order, bounded.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    waiting: VecDeque<Notice>,
    lost: u64,
}

impl Notices {
    pub(crate) fn push(&mut self, notice: Notice) {
        if self.waiting.len() >= MAX_NOTICES {
            self.waiting.pop_front();
            self.lost += 1;
        }
        self.waiting.push_back(notice);
    }

    pub(crate) fn take(&mut self) -> Vec<Notice> {
        self.waiting.drain(..).collect()
    }

    pub(crate) const fn lost(&self) -> u64 {
        self.lost
    }
}
