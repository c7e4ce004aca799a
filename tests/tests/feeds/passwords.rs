//! A `shadow` feed as it is configured, with a password, and a live BIRD with the same one, another one, and none.
#![expect(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use filter_core::{Family, Prefix};
use filter_daemon::config::Config;
use filter_daemon::feeds;
use filter_feeds::trigger::Trigger;
use filter_feeds::{MAX_WAITING_BATCHES, Outlet, Stop};
use filter_lifecycle::route::{Batch, FeedId, RouteEvent};
use tests::lab::{Advertised, Package, Peering, require};

const WITHIN: Duration = Duration::from_secs(60);

/// The feed, in R's namespace.
struct Running {
    batches: Receiver<Batch>,
    stop: Stop,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn start(lab: &Peering, password: Option<&str>) -> Self {
        let password = password.map_or(String::new(), |text| format!("password = \"{text}\""));
        let text = format!(
            "[router]\nasn = 64500\nprefixes = [\"100.64.0.0/16\"]\n\
             [[interface]]\nname = \"eth0\"\nkind = \"lan\"\nlan = [\"192.0.2.0/24\"]\n\
             [[peer]]\nname = \"p1\"\nasn = 64501\ninterface = \"eth0\"\naddresses = [\"192.0.2.11\"]\n\
             [[feed]]\nkind = \"shadow\"\nlisten = \"127.0.1.11:1790\"\nasn = 64999\n{password}\n\
             sessions = [{{ address = \"127.0.3.11\", session = \"192.0.2.11\" }}]\n"
        );
        let (config, _) = Config::parse(&text, "lab.toml").unwrap();
        let build = || feeds::build(&config, &config.feeds[0], &Trigger::default());
        // A child that another test is just about to run holds the former feed's socket until it is.
        let end = Instant::now() + WITHIN;
        let feed = loop {
            match lab.router.run(build) {
                Ok(feed) => break feed,
                Err(why) => assert!(why.contains("in use") && Instant::now() < end, "{why}"),
            }
        };
        let (sender, batches) = sync_channel(MAX_WAITING_BATCHES);
        let stop = Stop::default();
        let outlet = Outlet::new(FeedId(0), sender, stop.clone());
        // The kernel counts what it refuses for each namespace.
        let thread = lab.router.spawn(move || feed.run(&outlet));
        Self {
            batches,
            stop,
            thread: Some(thread),
        }
    }

    fn next(&self) -> Vec<RouteEvent> {
        self.batches.recv_timeout(WITHIN).unwrap().events
    }

    /// The prefixes of the first table received whole; the feed must come up before.
    fn rib(&self) -> Vec<Prefix> {
        let mut events = self.next();
        assert_eq!(events.remove(0), RouteEvent::FeedUp);
        loop {
            let rib = events.iter().find_map(|event| match event {
                RouteEvent::Snapshot { routes, .. } => Some(routes),
                _ => None,
            });
            if let Some(routes) = rib {
                return routes.iter().map(|route| route.prefix).collect();
            }
            events = self.next();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some(thread) = self.thread.take() {
            let joined = thread.join();
            assert!(
                joined.is_ok() || std::thread::panicking(),
                "the feed panicked"
            );
        }
    }
}

/// BIRD's side of it.
fn bird_shadow(conf: &str, password: Option<&str>) -> String {
    let password = password.map_or(String::new(), |text| format!("password \"{text}\";"));
    format!(
        "{conf}\nprotocol bgp sh_11 {{ multihop; connect delay time 1; connect retry time 1; error wait time 1,1; \
         local 127.0.3.11 as 64500; neighbor 127.0.1.11 port 1790 as 64999; {password} \
         ipv4 {{ import none; export filter exp_p1_4; next hop self; }}; }}\n"
    )
}

#[test]
fn a_session_comes_up_with_its_password_and_without_it_says_why_not() {
    let name = "a_session_comes_up_with_its_password_and_without_it_says_why_not";
    if !require(name, &[Package::Bird]) {
        return;
    }
    let longest = "0123456789".repeat(8);
    let lab = Peering::new();
    let bird = lab.bird();
    let advertised: Vec<Prefix> = Advertised::of(&Advertised::TO_P1, Family::Ipv4)
        .into_iter()
        .collect();
    for (ours, theirs, why) in [
        (Some("right"), Some("wrong"), "another TCP MD5 password"),
        (Some("right"), None, "no TCP MD5 password"),
        (
            None,
            Some("wrong"),
            "a TCP MD5 password where none is configured",
        ),
        (
            Some(longest.as_str()),
            Some("wrong"),
            "another TCP MD5 password",
        ),
    ] {
        let feed = Running::start(&lab, ours);
        bird.reconfigure(|conf| bird_shadow(conf, theirs));
        let set = if ours.is_some() { "set" } else { "none" };
        let named = format!("127.0.3.11 (password: {set})");
        match &feed.next()[..] {
            [RouteEvent::FeedDown { why: received }] => {
                assert!(
                    received.contains(why) && received.contains(&named),
                    "{received}"
                );
                assert!(
                    ours.is_none_or(|ours| !received.contains(ours)),
                    "{received}"
                );
            }
            other => panic!("{other:?}"),
        }
        // It is reported once. The router is given what we have, and the next event is that the feed is up.
        bird.reconfigure(|conf| bird_shadow(conf, ours));
        assert_eq!(feed.rib(), advertised, "{ours:?}");
        bird.reconfigure(str::to_owned);
    }
}
