//! A router that counts other routes of a session than it sent: an event, and nothing else. The connection carries other
//! sessions too, so it stays. And what a feed passes over is counted where an operator looks.

use std::time::Duration;

use lab::bmp::{Direction, Router};
use tests::captures::control;
use tests::fleet::{Fleet, neighbour, table};
use tests::lab::wait_for;
use tests::require_kernel;

const PEER: u32 = 1;
/// Settling, quiet, and settling again: 15 s, 5 s, 15 s.
const WITHIN: Duration = Duration::from_secs(120);
/// A Statistics Report (RFC 7854 section 4.8), and its count of routes before policy.
const STATISTICS: u8 = 1;
const ROUTES_BEFORE_POLICY: u16 = 7;

/// The router counts so many routes of the peer: about the same peer as another message.
fn counts(about: &[u8], routes: u64) -> Vec<u8> {
    let mut body = about[6..48].to_vec();
    body.extend(1u32.to_be_bytes());
    body.extend(ROUTES_BEFORE_POLICY.to_be_bytes());
    body.extend(8u16.to_be_bytes());
    body.extend(routes.to_be_bytes());
    let mut message = vec![3];
    message.extend((6 + body.len() as u32).to_be_bytes());
    message.push(STATISTICS);
    message.extend(body);
    message
}

fn tell(router: &mut Router) -> Vec<u8> {
    let messages = table(
        PEER,
        &[
            "45.1.0.0/16".parse().unwrap(),
            "45.3.0.0/16".parse().unwrap(),
        ],
    );
    router.peer_up(neighbour(PEER)).unwrap();
    router.send(&messages).unwrap();
    router
        .end_of_rib(
            neighbour(PEER),
            Direction::Received,
            filter_core::Family::Ipv4,
        )
        .unwrap();
    messages
}

#[test]
fn a_count_that_differs_is_an_event_and_costs_no_connection() {
    if !require_kernel("a_count_that_differs_is_an_event_and_costs_no_connection") {
        return;
    }
    let fleet = Fleet::start(2);
    let mut router = fleet.router("lossy");
    let messages = tell(&mut router);
    fleet.until_sources(PEER, 2);
    // Until the table has settled and the count is found to differ.
    let mismatches = wait_for("the count to be found different", WITHIN, || {
        router.send(&counts(&messages, 1)).unwrap();
        let found = fleet.events_named("count-mismatch");
        (!found.is_empty()).then_some(found)
    });
    assert_eq!(mismatches.len(), 1, "{mismatches:?}");
    assert_eq!(mismatches[0]["received"], 2);
    assert_eq!(mismatches[0]["counted"], 1);
    // What the router announces next arrives over the same connection.
    let more = ["45.5.0.0/16".parse().unwrap()];
    router.send(&table(PEER, &more)).unwrap();
    fleet.until_sources(PEER, 3);
    fleet.end();
}

/// An OPEN with a one-byte route-refresh capability, which the router took: its session is up, and status counts it.
#[test]
fn what_a_feed_passes_over_is_counted_in_status() {
    if !require_kernel("what_a_feed_passes_over_is_counted_in_status") {
        return;
    }
    let fleet = Fleet::start(1);
    let mut router = fleet.router("tolerant");
    router.send(&control("cap2_len1.bmp")).unwrap();
    let left_out = wait_for("the count", WITHIN, || {
        let left_out = fleet.status()["feeds"][0]["left_out"].clone();
        (left_out["odd-capability"] == 1).then_some(left_out)
    });
    // The stream introduces the router a second time.
    assert_eq!(
        left_out,
        serde_json::json!({ "duplicate": 1, "odd-capability": 1 })
    );
    fleet.end();
}
