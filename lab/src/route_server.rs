//! A route server on the exchange: BIRD, AS64511, with the communities most route servers share: 0:member (not to the
//! member), 0:rs (to no other), rs:member (to the member), rt:0:member, and as large ones rs:0:member, rs:0:0, rs:1:member.
//! Its own AS is in no path and its address no next hop; it hands on next hops it cannot reach itself (`gateway recursive`).
use std::fmt::Write;
use std::net::IpAddr;
use std::process::Command;
use std::time::Duration;

use filter_core::Family;

use super::{Daemon, Directory, Exchange, Namespace, R_ADDRESSES, R_ASN, Speaker, run, wait_for};

/// Its AS number and the host part of its addresses.
pub const RS: (u32, u8) = (64511, 250);
/// How long it may take to listen on its control socket.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// A running route server.
#[derive(Debug)]
pub struct RouteServer {
    _daemon: Daemon,
    _directory: Directory,
    _namespace: Namespace,
}

impl RouteServer {
    /// Starts it for R and for these members (AS number, host part).
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start(exchange: &Exchange, members: &[(u32, u8)]) -> Self {
        let namespace = exchange.member("rs", RS.1);
        let directory = Directory::new("rs");
        let conf = directory.write("bird.conf", &conf(members));
        let control = directory.path().join("bird.ctl");
        let mut command = namespace.command("/usr/sbin/bird");
        command
            .arg("-f")
            .arg("-c")
            .arg(conf)
            .arg("-s")
            .arg(&control);
        command.arg("-P").arg(directory.path().join("bird.pid"));
        let mut daemon = Daemon::start("rs", command, &directory);
        wait_for("the route server's control socket", READY_WITHIN, || {
            daemon.assert_running();
            let mut ask = Command::new("birdc");
            run(ask.arg("-s").arg(&control).args(["show", "status"])).ok()
        });
        Self {
            _daemon: daemon,
            _directory: directory,
            _namespace: namespace,
        }
    }

    /// Itself, as its members know it.
    #[must_use]
    pub fn towards() -> Speaker {
        let (asn, host) = RS;
        let (v4, v6) = Exchange::addresses(host);
        Speaker { asn, v4, v6 }
    }

    /// The lines of a member's BIRD that announce these routes to it, and only to it; without any, all the others.
    #[must_use]
    pub fn member_conf((asn, host): (u32, u8), announces: &[&str]) -> String {
        let (v4, v6) = Exchange::addresses(host);
        let Speaker {
            asn: rs_asn,
            v4: rs_v4,
            v6: rs_v6,
        } = Self::towards();
        let mut text = String::new();
        for (family, local, remote) in [
            (Family::Ipv4, IpAddr::from(v4), IpAddr::from(rs_v4)),
            (Family::Ipv6, IpAddr::from(v6), IpAddr::from(rs_v6)),
        ] {
            let mine = announces
                .iter()
                .filter(|text| text.contains(':') == (family == Family::Ipv6));
            let routes: String = mine
                .map(|text| format!(" route {text} blackhole;"))
                .collect();
            let which = if announces.is_empty() {
                "source = RTS_STATIC".to_owned()
            } else {
                format!("proto = \"rss_{family}\"")
            };
            let _infallible = writeln!(
                text,
                "protocol static rss_{family} {{ {family};{routes} }}\n\
                 protocol bgp rs_{family} {{ local {local} as {asn}; neighbor {remote} as {rs_asn}; \
                 enforce first as off; connect delay time 1; connect retry time 1; error wait time 1,1; \
                 {family} {{ import all; export where {which}; }}; }}"
            );
        }
        text
    }
}

fn conf(members: &[(u32, u8)]) -> String {
    let Speaker { asn: rs, v4, v6 } = RouteServer::towards();
    let mut text = format!(
        "router id {v4};\nprotocol device {{}}\n\
         function served(int whom) {{
 if (0, whom) ~ bgp_community || (rt, 0, whom) ~ bgp_ext_community || ({rs}, 0, whom) ~ bgp_large_community then return false;
 if ({rs}, whom) ~ bgp_community || ({rs}, 1, whom) ~ bgp_large_community then return true;
 if (0, {rs}) ~ bgp_community || ({rs}, 0, 0) ~ bgp_large_community then return false;
 return true;
}}
"
    );
    let members = members.iter().map(|&(asn, host)| {
        let (v4, v6) = Exchange::addresses(host);
        (asn, host, v4, v6)
    });
    let router = (R_ASN, 1, R_ADDRESSES.0, R_ADDRESSES.1);
    for (asn, host, member4, member6) in members.chain([router]) {
        // Members connect to it, R need not: two BIRDs that both connect collide again and again.
        let passive = if asn == R_ASN { "" } else { "passive on;" };
        for (family, local, remote) in [
            (Family::Ipv4, IpAddr::from(v4), IpAddr::from(member4)),
            (Family::Ipv6, IpAddr::from(v6), IpAddr::from(member6)),
        ] {
            let _infallible = writeln!(
                text,
                "protocol bgp m{host}_{family} {{ rs client; local {local} as {rs}; \
                 neighbor {remote} as {asn}; {passive} connect delay time 1; connect retry time 1; \
                 error wait time 1,1; {family} {{ gateway recursive; import all; export where served({asn}); }}; }}"
            );
        }
    }
    text
}
