//! The whole safety in another program: a specification, the engine, route events made by hand, and numbered packets that
//! show what comes through. Runs as root in a network namespace that it makes for itself, or says why it cannot.
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

use filter_core::{Asn, Family, Mode};
use filter_engine::{Engine, Exports, Fitted};
use filter_lifecycle::route::{AdjRib, FeedId, Origin, PeerId, Route, RouteEvent};
use filter_lifecycle::spec::{Attachment, Feed, Interface, InterfaceId, InterfaceKind, Peer, Spec};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    if nix::unistd::geteuid().is_root() {
        return enforce();
    }
    println!("not root: no network namespace and no XDP program here");
    Ok(())
}

/// Brings one peer in force, lets it send good and spoofed packets, and removes everything.
pub fn enforce() -> Result<(), Failure> {
    let mut link = lab::Link::enter("pni0")?; // a veth pair; the peer sends at its other end

    // What an operator wants: one private interconnection, one peer that is to be enforced, one feed.
    let attachment = Attachment::new(InterfaceId(0), vec!["192.0.2.11".parse()?]);
    let mut spec = Spec::new(Asn::new(64500));
    spec.interfaces = vec![Interface::new("pni0", InterfaceKind::Port)];
    spec.feeds = vec![Feed::Static];
    spec.peers = vec![Peer {
        mode: Mode::Enforce,
        ..Peer::new("example", Asn::new(64501), attachment)
    }];

    let begin = Instant::now();
    let mut engine = Engine::load(Fitted::new(Arc::new(spec))?, None)?;
    engine.start(begin.elapsed(), Exports::new())?;

    // What the feed reports: everything the peer announces to us, everything we announce to it.
    engine.event(begin.elapsed(), FeedId(0), &RouteEvent::FeedUp);
    let received = (
        AdjRib::InPrePolicy,
        ["45.146.194.0/23", "2a13:47c0:146::/48"],
    );
    let sent = (AdjRib::OutPostPolicy, ["44.1.0.0/16", "2a0f:1::/32"]);
    for (rib, prefixes) in [received, sent] {
        for (family, prefix) in Family::ALL.into_iter().zip(prefixes) {
            let routes = [Route::bare(prefix.parse()?)].into();
            let origin = Origin::Peer(PeerId(0));
            let snapshot = RouteEvent::Snapshot {
                origin,
                rib,
                family,
                routes,
            };
            engine.event(begin.elapsed(), FeedId(0), &snapshot);
        }
    }

    // The loop of the embedding program: wait for the engine's descriptor or its time, then let it work.
    let is_in_force = |engine: &Engine| {
        let peer = &engine.status(begin.elapsed()).peers[0];
        peer.classes
            .iter()
            .all(|class| class.in_force == Some(true))
    };
    while !is_in_force(&engine) {
        let due = engine.work(begin.elapsed());
        let wait = PollTimeout::try_from(due.saturating_sub(begin.elapsed()))?;
        poll(&mut [PollFd::new(engine.as_fd(), PollFlags::POLLIN)], wait)?;
    }

    // Even numbers come from the peer's own addresses, odd ones from 8.8.8.8: only the even ones arrive.
    for number in 0..=1000 {
        let source = if number % 2 == 0 {
            "45.146.194.1"
        } else {
            "8.8.8.8"
        };
        link.send(number, source.parse()?, "44.1.0.1".parse()?)?;
    }
    let received = link.received_until(1000);
    println!(
        "{} of 501 good and {} of 500 spoofed packets arrived",
        received.iter().filter(|number| *number % 2 == 0).count(),
        received.iter().filter(|number| *number % 2 == 1).count()
    );
    assert!(received.into_iter().eq((0..=1000).step_by(2)));
    Ok(engine.detach_all()?)
}
