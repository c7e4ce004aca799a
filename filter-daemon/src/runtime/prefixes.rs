//! A peer's prefixes, as `prefixes` and `explain` show them, and what would make a packet pass. Decides nothing.
use std::net::IpAddr;

use filter_core::{Family, Prefix, Reason};
use filter_lifecycle::json::text;
use filter_lifecycle::route::PeerId;
use filter_lifecycle::{ListedPrefix, ListedRoute, Listing, Side, Standing};
use serde::Serialize;

use super::answer::Answering;
use crate::config::{Config, Feed};

/// `prefixes`.
#[derive(Debug, Serialize)]
pub(super) struct Prefixes {
    peer: String,
    /// What it advertises to us.
    sources: SideReport,
    /// What we advertise to it.
    destinations: SideReport,
}

#[derive(Debug, Serialize)]
struct SideReport {
    /// The families in which the side is known: it is judged by no other.
    known: Vec<&'static str>,
    prefixes: Vec<PrefixReport>,
    /// Are there more than are listed?
    has_more: bool,
}

/// One prefix.
#[derive(Debug, Serialize)]
pub(super) struct PrefixReport {
    #[serde(serialize_with = "text")]
    prefix: Prefix,
    /// `valid`, `held`, `refused` or `not-counted`.
    standing: &'static str,
    /// Why it is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hold_seconds_left: Option<u64>,
    routes: Vec<RouteReport>,
}

/// One route of it.
#[derive(Debug, Serialize)]
pub(super) struct RouteReport {
    #[serde(serialize_with = "text")]
    prefix: Prefix,
    feed: Option<&'static str>,
    session: Option<String>,
    seconds_ago: u64,
}

pub(super) fn routes(config: &Config, routes: &[ListedRoute]) -> Vec<RouteReport> {
    let report = |route: &ListedRoute| RouteReport {
        prefix: route.prefix,
        feed: config.feeds.get(usize::from(route.feed.0)).map(Feed::kind),
        session: route.session.map(|session| session.to_string()),
        seconds_ago: route.age.as_secs(),
    };
    routes.iter().map(report).collect()
}

impl PrefixReport {
    pub(super) fn new(config: &Config, listed: ListedPrefix) -> Self {
        let (standing, why, hold) = match listed.standing {
            Standing::Valid => ("valid", None, None),
            Standing::Held(left) => ("held", None, Some(left.as_secs())),
            Standing::Refused(refusal) => ("refused", Some(refusal.to_string()), None),
            Standing::NotCounted => ("not-counted", None, None),
        };
        Self {
            prefix: listed.prefix,
            standing,
            why,
            hold_seconds_left: hold,
            routes: routes(config, &listed.routes),
        }
    }
}

impl Prefixes {
    pub(super) fn of(answering: &Answering<'_>, id: PeerId, within: Option<Prefix>) -> Self {
        let side = |side| {
            let Listing { prefixes, has_more } =
                answering.engine.listing(answering.now, id, side, within);
            let prefixes = prefixes.into_iter();
            let known = answering.engine.known(id);
            let is_known = |&family: &Family| match side {
                Side::Sources => known.source(family),
                Side::Destinations => known.destination(family),
            };
            SideReport {
                known: Family::ALL
                    .into_iter()
                    .filter(is_known)
                    .map(Family::name)
                    .collect(),
                prefixes: prefixes
                    .map(|it| PrefixReport::new(answering.config, it))
                    .collect(),
                has_more,
            }
        };
        Self {
            peer: answering.config.spec.peers[id.0 as usize].name.clone(),
            sources: side(Side::Sources),
            destinations: side(Side::Destinations),
        }
    }
}

/// What would make a packet with these addresses pass; none if it does, or nothing should.
pub(super) fn remedy(
    reason: Reason,
    (source, source_odd): (IpAddr, Option<&ListedPrefix>),
    (destination, destination_odd): (IpAddr, Option<&ListedPrefix>),
) -> Option<String> {
    let announced = || {
        let way =
            format!("the peer announces a prefix that covers {source}, or `extra_sources` has one");
        match received(source_odd) {
            Some(odd) => format!("{odd}; or {way}"),
            None => way,
        }
    };
    let advertised = || {
        let way = format!(
            "we announce a prefix that covers {destination} to the peer, or `extra_destinations` has one"
        );
        match received(destination_odd) {
            Some(odd) => format!("{odd}; or {way}"),
            None => way,
        }
    };
    Some(match reason {
        Reason::SourceUnannounced => announced(),
        Reason::DestinationUnannounced => advertised(),
        Reason::BothUnannounced => format!("{}; and {}", announced(), advertised()),
        Reason::SourceBogon => format!(
            "`bogon_exceptions` covers {source}, and the peer announces it; or `extra_sources` has it"
        ),
        Reason::SourceOurs => {
            format!("`extra_sources` has {source}: it is within `[router] prefixes`")
        }
        Reason::FamilyNotPeered => "the peer's `families` has that family".to_owned(),
        _ => return None,
    })
}

/// A prefix that is received and does not count.
fn received(odd: Option<&ListedPrefix>) -> Option<String> {
    let ListedPrefix {
        prefix, standing, ..
    } = odd?;
    match standing {
        Standing::Refused(refusal) => Some(format!(
            "{prefix}, which is received, is admitted: it is {refusal}"
        )),
        Standing::NotCounted => Some(format!(
            "{prefix}, which is received, counts: see `bcp38 status` for what keeps it from that"
        )),
        Standing::Valid | Standing::Held(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use filter_lifecycle::Refusal;

    use super::*;

    #[test]
    fn the_remedy_names_what_is_missing_and_what_is_refused() {
        let (source, destination): (IpAddr, IpAddr) =
            ("9.9.9.9".parse().unwrap(), "198.51.100.1".parse().unwrap());
        let refused = ListedPrefix {
            prefix: "9.9.9.0/25".parse().unwrap(),
            standing: Standing::Refused(Refusal::OutOfBounds { min: 8, max: 24 }),
            routes: Vec::new(),
        };
        let of = |reason, odd| remedy(reason, (source, odd), (destination, None));
        let plain = of(Reason::SourceUnannounced, None).unwrap();
        assert_eq!(
            plain,
            "the peer announces a prefix that covers 9.9.9.9, or `extra_sources` has one"
        );
        let with = of(Reason::SourceUnannounced, Some(&refused)).unwrap();
        assert!(
            with.starts_with(
                "9.9.9.0/25, which is received, is admitted: it is of a length outside"
            ),
            "{with}"
        );
        let both = of(Reason::BothUnannounced, None).unwrap();
        assert!(
            both.contains("we announce a prefix that covers 198.51.100.1"),
            "{both}"
        );
        assert_eq!(of(Reason::Permitted, None), None);
    }
}
