//! A faulty or hostile router, as one more actor of the model: over a feed of its own, and about one session of a feed that
//! carries everybody's, it says whatever the framing allows. The model does not know it: what it promises to the other
//! peers must hold all the same.
use std::time::Duration;

use filter_core::{Asn, Family};
use filter_lifecycle::route::{AdjRib, Community, DownCause, LossCause, Route, RouteEvent};
use proptest::prelude::*;

use super::world::{World, origin, prefix, session};

/// The liar's own peer. It comes after those of the model.
pub const PEER: &str = r#"
[[peer]]
name = "liar"
asn = 64504
interface = "ixp0"
addresses = ["192.0.2.15"]
families = ["ipv4"]
mode = "enforce"
"#;
/// The number of the feed that is its own, behind those of the model.
pub const OWN_FEED: u16 = 3;
/// Its session, another that no peer has, and one of the other family.
const SESSIONS: [&str; 3] = ["192.0.2.15", "192.0.2.99", "2001:db8:ff::15"];
/// What others announce, what no peer may, and everything.
const PREFIXES: [&str; 8] = [
    "45.146.194.0/23",
    "100.0.0.0/16",
    "200.0.0.0/8",
    "0.0.0.0/0",
    "10.0.0.0/8",
    "192.0.2.0/24",
    "198.51.100.0/24",
    "2a13:47c0:146::/48",
];
/// Next hops: its own, those of others, and none.
const HOPS: [&str; 4] = ["192.0.2.15", "192.0.2.11", "192.0.2.14", "::"];
const RIBS: [AdjRib; 3] = [
    AdjRib::InPrePolicy,
    AdjRib::InPostPolicy,
    AdjRib::OutPostPolicy,
];
const CAUSES: [DownCause; 3] = [
    DownCause::Notification,
    DownCause::Lost,
    DownCause::Deconfigured,
];

/// One thing it says.
#[derive(Clone, Debug)]
pub struct Lie {
    feed: u16,
    event: RouteEvent,
}

impl Lie {
    pub fn tell(&self, world: &mut World) {
        world.tell(self.feed, self.event.clone());
    }
}

fn route() -> impl Strategy<Value = Route> {
    let (prefixes, hops) = (0..PREFIXES.len(), prop::option::of(0..HOPS.len()));
    let scoped = prop::option::of(any::<(u16, u16)>());
    (prefixes, 0u32..3, hops, scoped).prop_map(|(index, path, hop, community)| Route {
        path,
        next_hop: hop.map(|hop| HOPS[hop].parse().unwrap()),
        communities: community.map(|(high, low)| [Community::Standard(high, low)].into()),
        ..Route::bare(prefix(PREFIXES[index]))
    })
}

fn about_a_session() -> impl Strategy<Value = RouteEvent> {
    let address = || (0..SESSIONS.len()).prop_map(|index| SESSIONS[index]);
    let origin = move || address().prop_map(origin);
    let rib = || (0..RIBS.len()).prop_map(|index| RIBS[index]);
    let family = || any::<bool>().prop_map(|six| Family::ALL[usize::from(six)]);
    let asn = prop_oneof![Just(64504u32), Just(64501), Just(0), any::<u32>()];
    let up = (
        address(),
        prop::option::of(asn),
        prop::option::of(any::<u16>()),
        prop::option::of(any::<[bool; 2]>()),
    )
        .prop_map(|(address, asn, restart, families)| RouteEvent::SessionUp {
            router: 0,
            session: session(address),
            asn: asn.map(Asn::new),
            restart_time: restart.map(|seconds| Duration::from_secs(seconds.into())),
            families,
            local: None,
        });
    let down = (address(), 0..CAUSES.len()).prop_map(|(address, cause)| RouteEvent::SessionDown {
        session: session(address),
        cause: CAUSES[cause],
    });
    let announce = (origin(), rib(), route())
        .prop_map(|(origin, rib, route)| RouteEvent::Announce { origin, rib, route });
    let withdraw =
        (origin(), rib(), route()).prop_map(|(origin, rib, route)| RouteEvent::Withdraw {
            origin,
            rib,
            prefix: route.prefix,
            path: route.path,
        });
    let end = (origin(), rib(), family()).prop_map(|(origin, rib, family)| RouteEvent::EndOfRib {
        origin,
        rib,
        family,
    });
    let lost =
        (origin(), prop::option::of(rib()), any::<bool>()).prop_map(|(origin, rib, by_session)| {
            RouteEvent::RibLost {
                origin,
                rib,
                cause: match by_session {
                    true => LossCause::Session,
                    false => LossCause::Feed,
                },
                why: "a lie".to_owned(),
            }
        });
    let count = (origin(), rib(), prop::option::of(family()), any::<u64>()).prop_map(
        |(origin, rib, family, prefixes)| RouteEvent::Count {
            origin,
            rib,
            family,
            prefixes,
        },
    );
    prop_oneof![2 => up, 1 => down, 4 => announce, 2 => withdraw, 1 => end, 1 => lost, 1 => count]
}

/// What it may say: about its sessions wherever it speaks, about the connection only where that is its own.
pub fn lies() -> impl Strategy<Value = Lie> {
    let connection = prop_oneof![
        Just(RouteEvent::FeedUp),
        Just(RouteEvent::FeedDown {
            why: "a lie".to_owned()
        }),
    ];
    let on_its_own = connection.prop_map(|event| (OWN_FEED, event));
    let anywhere = (prop_oneof![Just(0), Just(OWN_FEED)], about_a_session());
    prop_oneof![1 => on_its_own, 9 => anywhere].prop_map(|(feed, event)| Lie { feed, event })
}
