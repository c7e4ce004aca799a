//! From a checked UPDATE to route events, the same for every feed that reads BGP: routes whose attributes are wrong
//! are withdrawn (RFC 7606). Never decides how bytes are read.
use crate::wire::WireError;
use crate::wire::bgp::{PathIds, Update};
use filter_lifecycle::route::{AdjRib, Origin, Route, RouteEvent};

/// What goes, then what comes (RFC 4271 section 4.3: a prefix in both comes).
///
/// # Errors
/// What is wrong with a prefix; [`Update::check`] finds it before.
pub fn push_routes(
    origin: Origin,
    rib: AdjRib,
    (update, path_ids): (&Update<'_>, PathIds),
    events: &mut Vec<RouteEvent>,
) -> Result<(), WireError> {
    for withdrawn in update.withdrawn(path_ids) {
        let nlri = withdrawn?;
        events.push(RouteEvent::Withdraw {
            origin,
            rib,
            prefix: nlri.prefix,
            path: nlri.path,
        });
    }
    if update.flaw().is_some() {
        for announced in update.announced(path_ids) {
            let nlri = announced?.nlri;
            events.push(RouteEvent::Withdraw {
                origin,
                rib,
                prefix: nlri.prefix,
                path: nlri.path,
            });
        }
        return Ok(());
    }
    let communities = update.communities();
    let path_head = update.path_head();
    for announced in update.announced(path_ids) {
        let announced = announced?;
        let route = Route {
            prefix: announced.nlri.prefix,
            path: announced.nlri.path,
            next_hop: announced.next_hop,
            path_head,
            communities: communities.clone(),
        };
        events.push(RouteEvent::Announce { origin, rib, route });
    }
    Ok(())
}
