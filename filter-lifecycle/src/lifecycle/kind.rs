//! What the kinds of feeds differ in, as far as their evidence goes (FEEDS section 5). No feed is named beyond
//! this file.
use crate::route::{AdjRib, FeedId};
use crate::spec::{Feed, Peer, Spec};

use super::Side;
use super::directory::{Directory, Owner};

/// How a feed reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Prefixes by hand: complete by definition.
    ByHand,
    /// A file of tables: complete when read, and it knows no sessions.
    File,
    /// Whole tables, again and again: what changes from one to the next is not settled yet.
    Poll,
    /// A stream that need not send the end of a table (GoBGP), or sends it too early (BIRD): quiet is evidence.
    Stream,
    /// A BGP session of its own, which ends its tables properly (RFC 4724), and knows nothing of the peer's.
    Shadow,
}

impl Kind {
    pub(super) fn of(spec: &Spec, feed: FeedId) -> Self {
        match spec.feeds.get(usize::from(feed.0)) {
            Some(Feed::Static) => Self::ByHand,
            Some(Feed::File { .. }) => Self::File,
            Some(Feed::Shadow { .. }) => Self::Shadow,
            Some(Feed::Poll) => Self::Poll,
            Some(Feed::Stream) | None => Self::Stream,
        }
    }

    /// Does it report when sessions come up and go down? If not, another feed's reports count for its tables.
    pub(super) const fn tells_sessions(self) -> bool {
        matches!(self, Self::Poll | Self::Stream)
    }

    /// May what it sends after a session came up be less than there is, although it sent the end of the table?
    pub(super) const fn needs_settling(self) -> bool {
        !matches!(self, Self::ByHand | Self::File)
    }

    /// Is quiet evidence, without an end of the table?
    pub(super) const fn quiet_is_enough(self) -> bool {
        matches!(self, Self::Stream)
    }
}

/// Is there a feed, besides prefixes by hand, that always reports this side of the peer? Then prefixes by hand are
/// a supplement and no evidence. Few routers send Adj-RIB-Out over BMP, so a listener is none for destinations.
pub(super) fn has_dynamic_feed(
    spec: &Spec,
    directory: &Directory,
    peer: &Peer,
    side: Side,
) -> bool {
    let rib = match side {
        Side::Sources => peer.view.rib(),
        Side::Destinations => AdjRib::OutPostPolicy,
    };
    // Polls and dumps are of the global instance.
    let is_global = peer.attachments.iter().any(|each| each.vrf.is_none());
    spec.feeds.iter().any(|feed| match feed {
        Feed::Static => false,
        Feed::Stream => side == Side::Sources,
        Feed::File { rib: dumped } => is_global && rib == *dumped,
        Feed::Shadow { carried } => carried.iter().any(|each| {
            let mine = match directory.owner(each.session) {
                Some(Owner::Peer(id)) => spec.peer(id) == Some(peer),
                Some(Owner::RouteServer(index)) => {
                    let members = directory.members(&spec.route_servers[index]);
                    members.iter().any(|&id| spec.peer(id) == Some(peer))
                }
                None => false,
            };
            mine && each.rib == rib
        }),
        Feed::Poll => is_global,
    })
}
