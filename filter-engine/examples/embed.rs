//! The whole safety in another program: a specification, the engine, route events made by hand. Runs as root in a
//! network namespace it makes for itself, or says why it cannot.
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use filter_core::{Asn, Family, Mode};
use filter_engine::{Engine, Exports, Fitted};
use filter_lifecycle::PeerState;
use filter_lifecycle::route::{AdjRib, FeedId, Origin, PeerId, Route, RouteEvent};
use filter_lifecycle::spec::{Attachment, Feed, Interface, InterfaceId, InterfaceKind, Peer, Spec};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    if !nix::unistd::geteuid().is_root() {
        println!("not root: no network namespace and no XDP program here");
        return Ok(());
    }
    enforce()
}

/// Brings one peer in force, asks what a spoofed packet of its would meet, and removes everything.
pub fn enforce() -> Result<(), Failure> {
    unshare(CloneFlags::CLONE_NEWNET)?; // of this thread only
    let veth = "link add pni0 type veth peer name peer0".split(' ');
    assert!(Command::new("ip").args(veth).status()?.success(), "ip link");

    // What an operator wants: one private interconnection, one peer that is to be enforced, one feed.
    let mut spec = Spec::new(Asn::new(64500));
    spec.router.prefixes = vec!["44.1.0.0/16".parse()?];
    spec.interfaces = vec![Interface::new("pni0", InterfaceKind::Port)];
    let attachment = Attachment::new(InterfaceId(0), vec!["192.0.2.11".parse()?]);
    spec.peers = vec![Peer {
        mode: Mode::Enforce,
        ..Peer::new("example", Asn::new(64501), attachment)
    }];
    spec.feeds = vec![Feed::Static];

    let begin = Instant::now();
    let mut engine = Engine::load(Fitted::new(Arc::new(spec))?, None)?;
    engine.start(begin.elapsed(), Exports::new())?;

    // What the feed says: everything the peer announces to us, everything we announce to it.
    engine.event(begin.elapsed(), FeedId(0), &RouteEvent::FeedUp);
    for (rib, prefixes) in [
        (
            AdjRib::InPrePolicy,
            ["45.146.194.0/23", "2a13:47c0:146::/48"],
        ),
        (AdjRib::OutPostPolicy, ["44.1.0.0/16", "2a0f:1::/32"]),
    ] {
        for (family, prefix) in Family::ALL.into_iter().zip(prefixes) {
            let snapshot = RouteEvent::Snapshot {
                origin: Origin::Peer(PeerId(0)),
                rib,
                family,
                routes: [Route::bare(prefix.parse()?)].into(),
            };
            engine.event(begin.elapsed(), FeedId(0), &snapshot);
        }
    }

    // The loop: wait for the engine's descriptor or its time, then let it work.
    let is_enforced = |peer: &filter_engine::PeerStatus| {
        peer.lifecycle.state == PeerState::Enforcing && !peer.publish_pending
    };
    while !is_enforced(&engine.status(begin.elapsed()).peers[0]) {
        let due = engine.work(begin.elapsed());
        for notice in engine.take_notices() {
            println!("{notice:?}");
        }
        let wait = due.saturating_sub(begin.elapsed());
        let readable = PollFd::new(std::os::fd::AsFd::as_fd(&engine), PollFlags::POLLIN);
        poll(&mut [readable], PollTimeout::try_from(wait)?)?;
        assert!(begin.elapsed() < Duration::from_secs(30), "not enforced");
    }

    let (now, peer) = (begin.elapsed(), PeerId(0));
    assert_eq!(
        engine.status(now).peers[0].lifecycle.state,
        PeerState::Enforcing
    );
    for source in ["45.146.194.1", "8.8.8.8"] {
        let explained = engine.explain(now, peer, source.parse()?, "44.1.0.1".parse()?)?;
        let reason = explained.judgement.verdict.reason;
        let drop = explained.judgement.action.is_drop();
        println!("from {source}: {reason}, dropped: {drop}");
        assert_eq!(drop, source == "8.8.8.8");
    }
    Ok(engine.detach_all()?)
}
