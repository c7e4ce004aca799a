//! A router whose packets no longer arrive, and which never said goodbye: TCP itself finds out.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use filter_feeds::bmp::{BmpConfig, BmpFeed};
use filter_feeds::tcp::USER_TIMEOUT;
use tests::captures::{control, session};
use tests::lab::{Namespace, require};

use super::live::Watched;

/// The kernel's clock of probes and the listener's of reads are coarse.
const SLACK: Duration = Duration::from_secs(15);

#[test]
fn a_blackholed_router_is_lost() {
    if !require("a_blackholed_router_is_lost", &[]) {
        return;
    }
    let (listener, router) = (Namespace::new("listener"), Namespace::new("router"));
    let pair = [
        "link", "add", "bmp0", "type", "veth", "peer", "name", "bmp0", "netns",
    ];
    listener.ip(&[&pair[..], &[router.name()]].concat());
    for (side, address) in [(&listener, "192.0.2.1/24"), (&router, "192.0.2.2/24")] {
        side.ip(&["address", "add", address, "dev", "bmp0"]);
        side.ip(&["link", "set", "bmp0", "up"]);
    }
    let config = BmpConfig {
        allow: vec!["192.0.2.2/32".parse().unwrap()],
        ..BmpConfig::new("192.0.2.1:0".parse().unwrap())
    };
    let feed = listener.run(|| BmpFeed::new(&config)).unwrap();
    let address = feed.local_addr().unwrap();
    let mut watched = Watched::start(feed);
    let mut stream = router.run(|| TcpStream::connect(address)).unwrap();
    stream.write_all(&control("comm_len3.bmp")).unwrap();
    watched.until("the healthy session", |folded| {
        let is_up = folded.up.contains_key(&session("192.0.2.11"));
        is_up.then_some(()).ok_or_else(|| "not up".to_owned())
    });
    // The router's link is there, and nothing that it sends leaves it.
    router.ip(&["route", "add", "blackhole", "192.0.2.1/32"]);
    let begin = Instant::now();
    watched.until_feed_down();
    let took = begin.elapsed();
    assert!(took < USER_TIMEOUT + SLACK, "{took:?}");
    drop(stream);
}
