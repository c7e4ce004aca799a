//! The whole safety in another program: a specification, the engine, route events, and packets that show what it does.
//! Runs as root in a network namespace that it makes for itself, or says why it cannot.
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

use filter_core::{Asn, Mode, Prefix};
use filter_engine::{Engine, Exports, Fitted};
use filter_lifecycle::route::{AdjRib, FeedId, PeerId, RouteEvent};
use filter_lifecycle::spec::{Attachment, Feed, Interface, InterfaceId, InterfaceKind, Peer, Spec};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if nix::unistd::geteuid().is_root() {
        return enforce();
    }
    println!("not root: no network namespace and no XDP program here");
    Ok(())
}

/// Brings one peer in force, lets it send good and spoofed packets, and removes everything.
pub fn enforce() -> Result<(), Box<dyn std::error::Error>> {
    let mut link = lab::Link::enter("pni0")?; // a veth pair; the peer sends at its other end

    // What an operator wants: one private interconnection, one peer that is to be enforced, one feed.
    let attachment = Attachment::new(InterfaceId(0), vec!["192.0.2.11".parse()?]);
    let mut peer = Peer::new("example", Asn::new(64501), attachment);
    peer.mode = Mode::Enforce;
    let mut spec = Spec::new(Asn::new(64500));
    spec.interfaces = vec![Interface::new("pni0", InterfaceKind::Port)];
    spec.feeds = vec![Feed::Static];
    spec.peers = vec![peer];

    let begin = Instant::now();
    let mut engine = Engine::load(Fitted::new(Arc::new(spec))?, None)?;
    engine.start(begin.elapsed(), Exports::new())?;

    // What the feed reports: everything the peer announces to us, everything we announce to it.
    let theirs: [Prefix; 2] = ["45.146.194.0/23".parse()?, "2a13:47c0:146::/48".parse()?];
    let ours: [Prefix; 2] = ["44.1.0.0/16".parse()?, "2a0f:1::/32".parse()?];
    let received = RouteEvent::listed(PeerId(0), AdjRib::InPrePolicy, theirs);
    let sent = RouteEvent::listed(PeerId(0), AdjRib::OutPostPolicy, ours);
    for event in [RouteEvent::FeedUp].iter().chain(&received).chain(&sent) {
        engine.event(begin.elapsed(), FeedId(0), event);
    }

    // The loop of the embedding program: let the engine work, then wait for its descriptor or its time.
    while !engine.status(begin.elapsed()).peers[0].is_in_force() {
        let due = engine.work(begin.elapsed());
        let wait = PollTimeout::try_from(due.saturating_sub(begin.elapsed()))?;
        poll(&mut [PollFd::new(engine.as_fd(), PollFlags::POLLIN)], wait)?;
    }

    // 500 packets from the peer's own addresses and 500 from others: all of the former arrive, none of the latter.
    let sources = ["45.146.194.1".parse()?, "8.8.8.8".parse()?];
    let [good, spoofed] = link.send_by_turns(500, sources, "44.1.0.1".parse()?)?;
    println!("{good} of 500 good and {spoofed} of 500 spoofed packets arrived");
    assert_eq!((good, spoofed), (500, 0));
    Ok(engine.detach_all()?)
}
