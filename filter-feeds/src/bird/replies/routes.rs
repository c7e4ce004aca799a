//! The routes in BIRD's replies, with their communities. Never decides what a table without routes means.
use std::net::IpAddr;
use std::sync::Arc;

use filter_core::Family;

use super::{ReplyError, lines};
use crate::json::{of_family, prefix};
use crate::printed::Printed;
use filter_lifecycle::route::{Community, Route};

/// Reads `show route all ...` of one table. BIRD wraps a long list of communities: lines that start with two tabs go
/// on with the attribute before them.
pub(crate) fn parse_routes(reply: &str, family: Family) -> Result<Vec<Route>, ReplyError> {
    let mut routes: Vec<Route> = Vec::new();
    let mut list = None;
    for (code, text) in lines(reply)? {
        match code {
            0 => {}
            1007 | 1008 | 1012 if text.starts_with('\t') => {
                let route = routes.last_mut();
                let route = route.ok_or_else(|| format!("{} describes no route", Printed(text)))?;
                match text.strip_prefix("\t\t") {
                    Some(more) => go_on(route, list, more.trim())?,
                    None => list = attribute(route, text.trim())?,
                }
            }
            1007 if is_heading(text) => {}
            1007 => routes.push(route(text, routes.last(), family)?),
            _ => return Err(ReplyError::Malformed(format!("unexpected code {code:04}"))),
        }
    }
    Ok(routes)
}

fn is_heading(text: &str) -> bool {
    text.strip_prefix("Table ")
        .is_some_and(|name| name.ends_with(':') && !name.contains(' '))
}

/// `net  destination [protocol time] * (preference) [AS path]`; without the net, one more route to the last one;
/// without the destination in BIRD 3's export tables. Routes of one net are numbered: BIRD shows no path identifiers.
fn route(text: &str, last: Option<&Route>, family: Family) -> Result<Route, ReplyError> {
    let unexpected = || ReplyError::Malformed(format!("unexpected route {}", Printed(text)));
    let mut words = text.split_whitespace();
    let route = if text.starts_with(' ') {
        let last = last.ok_or_else(unexpected)?;
        let path = last.path.checked_add(1).ok_or_else(unexpected)?;
        Route {
            path,
            ..Route::bare(last.prefix)
        }
    } else {
        let net = words.next().ok_or_else(unexpected)?;
        Route::bare(of_family(prefix(net)?, family)?)
    };
    let known = ["unicast", "blackhole", "unreachable", "prohibited"];
    let mut word = words.next();
    if word.is_some_and(|word| known.contains(&word)) {
        word = words.next();
    }
    if !word.is_some_and(|word| word.starts_with('[')) {
        return Err(unexpected());
    }
    Ok(Route {
        communities: Some(Arc::default()),
        ..route
    })
}

/// A list that may go on in the next line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum List {
    Communities(CommunityKind),
    /// One that is passed over.
    Other,
}

/// What the groups of a list of communities are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CommunityKind {
    Standard,
    Extended,
    Large,
}

/// The next line of a list.
fn go_on(route: &mut Route, list: Option<List>, text: &str) -> Result<(), ReplyError> {
    match list {
        Some(List::Communities(kind)) => add_communities(route, text, kind),
        Some(List::Other)
            if text.starts_with('(') || text.starts_with(|c: char| c.is_ascii_alphanumeric()) =>
        {
            Ok(())
        }
        _ => Err(ReplyError::Malformed(format!(
            "unexpected line {}",
            Printed(text)
        ))),
    }
}

/// A line below a route: a next hop, or `name: value`. Anything else may be a route in disguise. Returns what the next
/// line may go on with.
fn attribute(route: &mut Route, text: &str) -> Result<Option<List>, ReplyError> {
    if text.contains("1007-") {
        return Err(ReplyError::Malformed(format!(
            "two lines in one: {}",
            Printed(text)
        )));
    }
    if text.starts_with("via ") || text.starts_with("dev ") {
        return Ok(None);
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || "._[] ".contains(c);
    let (key, value) = match text.split_once(':') {
        Some((key, value)) if !key.is_empty() && key.chars().all(is_name) => (key, value),
        _ => {
            return Err(ReplyError::Malformed(format!(
                "unexpected line {}",
                Printed(text)
            )));
        }
    };
    if !(value.is_empty() || value.starts_with(' ')) {
        return Err(ReplyError::Malformed(format!(
            "unexpected line {}",
            Printed(text)
        )));
    }
    let value = value.trim_start();
    let kind = match key {
        "BGP.community" | "bgp_community" => CommunityKind::Standard,
        "BGP.ext_community" | "bgp_ext_community" => CommunityKind::Extended,
        "BGP.large_community" | "bgp_large_community" => CommunityKind::Large,
        "BGP.next_hop" | "bgp_next_hop" => {
            route.next_hop = Some(next_hop(value)?);
            return Ok(None);
        }
        "BGP.as_path" | "bgp_path" => {
            route.path_head = Some(crate::as_path::head(value));
            return Ok(Some(List::Other));
        }
        _ => return Ok(Some(List::Other)),
    };
    add_communities(route, value, kind)?;
    Ok(Some(List::Communities(kind)))
}

/// The address; IPv6 may add the link-local one, which is the neighbour's if it has no other.
fn next_hop(value: &str) -> Result<IpAddr, ReplyError> {
    let unreadable = || ReplyError::Malformed(format!("next hop {}", Printed(value)));
    let mut addresses = value.split_whitespace();
    let global: IpAddr = addresses
        .next()
        .and_then(|address| address.parse().ok())
        .ok_or_else(unreadable)?;
    let link_local: Option<IpAddr> = addresses
        .next()
        .filter(|_| global.is_unspecified())
        .and_then(|address| address.parse().ok());
    Ok(link_local.unwrap_or(global).to_canonical())
}

/// `(64500,1) (64500,2)`, blanks allowed after the commas; extended ones start with their kind, `(rt, 0, 64500)`.
fn add_communities(route: &mut Route, value: &str, kind: CommunityKind) -> Result<(), ReplyError> {
    let unreadable = || ReplyError::Malformed(format!("unreadable communities {}", Printed(value)));
    let mut all = route.communities.as_deref().unwrap_or_default().to_vec();
    for group in value.split_terminator(')') {
        let inside = group.trim().strip_prefix('(').ok_or_else(unreadable)?;
        let words: Vec<&str> = inside.split(',').map(str::trim).collect();
        if kind == CommunityKind::Extended {
            all.extend(extended(&words).ok_or_else(unreadable)?);
            continue;
        }
        let numbers: Result<Vec<u32>, _> = words.into_iter().map(str::parse).collect();
        let community = match (kind, numbers.map_err(|_| unreadable())?.as_slice()) {
            (CommunityKind::Standard, [high, low]) => {
                let (high, low) = (u16::try_from(*high), u16::try_from(*low));
                let (high, low) = high.ok().zip(low.ok()).ok_or_else(unreadable)?;
                Community::Standard(high, low)
            }
            (CommunityKind::Large, [global, first, second]) => {
                Community::Large(*global, *first, *second)
            }
            _ => return Err(unreadable()),
        };
        all.push(community);
    }
    route.communities = Some(all.into());
    Ok(())
}

/// `rt, 64500, 1`; the kinds that scope nothing, `ro`, `generic` and `unknown 0x…`, are passed over, and so are those
/// that name an address in place of an AS. None if it is no extended community.
fn extended(words: &[&str]) -> Option<Option<Community>> {
    let [kind, key, value] = *words else {
        return None;
    };
    let is_kind = ["rt", "ro", "generic"].contains(&kind) || kind.starts_with("unknown ");
    let target = || {
        Some(Community::RouteTarget(
            key.parse().ok()?,
            value.parse().ok()?,
        ))
    };
    is_kind.then(|| target().filter(|_| kind == "rt"))
}
