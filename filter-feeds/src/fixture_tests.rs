//! What real daemons wrote (tests/fixtures/captures), read in full; and the same bytes cut or flipped anywhere: an
//! error or well-formed routes, never a panic, never a shorter table.
//!
//! In `cli/`: `show_*` is FRR's vty, `socket_*` the bytes of BIRD's control socket, the others what the named client
//! printed. A first line with `###` names the command and is not part of the reply.
mod bird;
mod frr;
mod gobgp;
mod openbgpd;

use std::net::IpAddr;
use std::path::Path;

use filter_core::Family;

use filter_lifecycle::route::{Community, PathHead, Route};

/// A recorded reply, without the line that names the command.
fn fixture(daemon: &str, name: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/captures");
    let path = root.join(daemon).join("cli").join(name);
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    if !bytes.starts_with(b"###") {
        return bytes;
    }
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap();
    bytes[end + 1..].to_vec()
}

/// One of the odd inputs of tests/fixtures/control.
fn control(name: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/control");
    std::fs::read(root.join(name)).unwrap()
}

fn route(prefix: &str, next_hop: &str) -> Route {
    // What a peer announces begins with its AS, and what we announce, with ours, if it is sent already.
    let path = match next_hop {
        "192.0.2.11" | "2001:db8:ff::11" => Some(64501),
        "192.0.2.12" => Some(4_200_000_002),
        "192.0.2.1" | "2001:db8:ff::1" => Some(64500),
        _ => None,
    };
    let path = path.map(filter_core::Asn::new);
    let next_hop = (!next_hop.is_empty()).then(|| next_hop.parse().unwrap());
    Route {
        next_hop,
        path_head: Some(PathHead::of(path)),
        ..Route::bare(prefix.parse().unwrap())
    }
}

fn with(route: Route, communities: &[Community]) -> Route {
    Route {
        communities: Some(communities.into()),
        ..route
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

const P1_V4: [&str; 3] = ["10.10.0.0/16", "198.51.100.0/24", "203.0.113.0/24"];

/// Cuts and flips; `read` gives the routes of a reply.
fn torture(bytes: &[u8], family: Family, read: impl Fn(&[u8]) -> Result<Vec<Route>, String>) {
    let whole = read(bytes).unwrap();
    let end = bytes.trim_ascii_end().len();
    for cut in 0..end {
        assert!(read(&bytes[..cut]).is_err(), "cut at {cut} went unnoticed");
    }
    let mut flipped = bytes.to_vec();
    for at in 0..bytes.len() {
        for bits in [0x01, 0x04, 0x20, 0x80, 0xff] {
            flipped[at] ^= bits;
            if let Ok(routes) = read(&flipped) {
                assert_eq!(routes.len(), whole.len(), "a flip at {at} lost routes");
                assert!(routes.iter().all(|route| route.prefix.family() == family));
            }
            flipped[at] ^= bits;
        }
    }
}

/// For replies that hold no routes.
fn flips_never_panic(bytes: &[u8], read: impl Fn(&[u8]) -> bool) {
    assert!(read(bytes));
    for cut in 0..bytes.trim_ascii_end().len() {
        assert!(!read(&bytes[..cut]), "cut at {cut} went unnoticed");
    }
    let mut flipped = bytes.to_vec();
    for at in 0..bytes.len() {
        for bits in [0x01, 0x20, 0xff] {
            flipped[at] ^= bits;
            read(&flipped);
            flipped[at] ^= bits;
        }
    }
}

/// What P1 marks its IPv4 routes with in these captures.
const MARKS: [Community; 2] = [Community::Standard(64501, 7), Community::Large(64501, 7, 8)];
