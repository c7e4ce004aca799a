//! The configuration as an operator meets it: what is accepted, what is refused with which message, and that the
//! effective configuration is the same configuration.
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use filter_core::layout::Families;
use filter_core::packet::Vlans;
use filter_core::{Asn, Classes, Family, LanRules, Mode};
use filter_daemon::config::{Config, Feed};
use filter_feeds::shadow::Password;
use filter_lifecycle::route::{AdjRib, PeerId, Vrf};
use filter_lifecycle::spec::{
    Bounds, DEFAULT_BOUNDS, HookChoice, InterfaceId, InterfaceKind, OnLeaseEnd, OnStale, PerFamily,
    Reach, View,
};

const BASE: &str = r#"[router]
asn = 64500
prefixes = ["198.51.100.0/24"]
[[interface]]
name = "ixp0"
kind = "lan"
lan = ["203.0.113.0/24"]
mac = "02:00:00:00:00:01"
addresses = ["203.0.113.1"]
[[interface]]
name = "pni0"
kind = "port"
[[peer]]
name = "icrc"
asn = 57965
interface = "ixp0"
addresses = ["203.0.113.10"]
macs = ["02:00:00:00:00:10"]
[[peer]]
name = "other"
asn = 3333
interface = "pni0"
[[route_server]]
name = "rs1"
asn = 64511
interface = "ixp0"
addresses = ["203.0.113.250"]
[[feed]]
kind = "static"
peer = "icrc"
advertised_by_peer = ["45.146.194.0/23"]
advertised_to_peer = ["198.51.100.0/24"]
[[feed]]
kind = "shadow"
listen = "127.0.0.1:1790"
asn = 64999
sessions = [{ address = "127.0.3.10", session = "203.0.113.250" }]
"#;

const ERRORS: &str = include_str!("config_errors.txt");
const EXAMPLE: &str = include_str!("../../docs/examples/bcp38.toml");

fn parse(text: &str) -> Config {
    match Config::parse(text, "b.toml") {
        Ok((config, _)) => config,
        Err(error) => panic!("{error}"),
    }
}

fn warnings(text: &str) -> Vec<String> {
    match Config::parse(text, "b.toml") {
        Ok((_, warnings)) => warnings.iter().map(ToString::to_string).collect(),
        Err(error) => panic!("{error}"),
    }
}

/// The base with one thing changed.
fn changed(from: &str, to: &str) -> String {
    assert!(BASE.contains(from), "not in the base: {from}");
    BASE.replacen(from, to, 1)
}

#[test]
fn every_mistake_gets_its_line() {
    let mut cases = 0;
    let blocks = ERRORS.split("\n\n").filter(|block| block.starts_with("- "));
    for block in blocks {
        let lines: Vec<&str> = block.lines().collect();
        let [from, to, error] = lines[..] else {
            panic!("not three lines: {block}");
        };
        let text = |line: &str| line[2..].replace("\\n", "\n").replace("\\e", "\u{1b}");
        let found = match Config::parse(&changed(&text(from), &text(to)), "b.toml") {
            Ok(_) => "nothing".to_owned(),
            Err(error) => {
                assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
                error.to_string()
            }
        };
        assert_eq!(found, format!("b.toml:{}", &error[2..]), "{block}");
        cases += 1;
    }
    assert!(cases > 80, "only {cases} cases were read");
}

#[test]
fn files_that_cannot_be_read() {
    let error = |path: &Path| Config::load(path).unwrap_err().to_string();
    assert_eq!(
        error(Path::new("/nonexistent/b.toml")),
        "/nonexistent/b.toml: cannot read the configuration: No such file or directory (os error 2); give the path of a readable file"
    );
    let path = std::env::temp_dir().join(format!("bcp38-config-{}.toml", std::process::id()));
    std::fs::write(&path, b"[router]\n# \xff\n").unwrap();
    let found = error(&path);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(
        found,
        format!(
            "{}:2: not utf-8: save the file in that encoding",
            path.display()
        )
    );
}

#[test]
fn empty_files_name_what_is_missing() {
    let error = |text| Config::parse(text, "b.toml").unwrap_err().to_string();
    assert_eq!(error(""), "b.toml:1: `router`: missing: add it");
    assert_eq!(
        error("[router]\nasn = 1\n"),
        "b.toml:1: `interface`: a filter needs one: add an `[[interface]]` section"
    );
}

/// Nothing an operator can do to a file makes the parser panic.
#[test]
fn a_file_cut_anywhere_is_read_or_refused() {
    for end in 0..EXAMPLE.len() {
        if let Some(text) = EXAMPLE.get(..end) {
            _ = Config::parse(text, "b.toml").map_err(|error| error.to_string());
        }
    }
}

#[test]
fn defaults_are_those_documented() {
    let config = parse(BASE);
    let (_, icrc) = config.spec.peer_named("icrc").unwrap();
    assert_eq!(icrc.asn, Asn::new(57965));
    assert_eq!(icrc.families, Families::new(|_| true));
    assert_eq!(
        (icrc.mode, icrc.view, icrc.on_stale),
        (Mode::Observe, View::PrePolicy, OnStale::Degrade)
    );
    assert_eq!(icrc.prefix_bounds, DEFAULT_BOUNDS);
    assert_eq!(icrc.max_prefixes, PerFamily::default());
    assert_eq!(icrc.attachments[0].vlans, Vlans::default());
    assert_eq!(icrc.attachments[0].vrf, None);
    let (id, pni) = config.spec.interface_named("pni0").unwrap();
    assert_eq!(id, InterfaceId(1));
    assert_eq!(
        (pni.kind, pni.hook),
        (InterfaceKind::Port, HookChoice::Auto)
    );
    assert_eq!((pni.mac, &pni.addresses), (None, &None));
    assert!(config.exports.is_empty());
    assert_eq!(
        (pni.unknown_peer, pni.lan_rules),
        (Mode::Observe, LanRules::Pass)
    );
    assert_eq!(config.spec.route_servers[0].our_routes_reach, Reach::All);
    let seconds = Duration::from_secs;
    assert_eq!(config.spec.timers.withdraw_hold, seconds(30));
    assert_eq!(config.spec.timers.peer_down_hold, seconds(120));
    assert_eq!(config.spec.timers.stale_hold, seconds(300));
    assert_eq!(config.spec.timers.lease, seconds(60));
    assert_eq!(config.spec.timers.on_lease_end, OnLeaseEnd::Observe);
    assert_eq!(
        (
            config.spec.limits.max_peers,
            config.spec.limits.table_memory_mib
        ),
        (1024, 64)
    );
    assert_eq!(config.spec.limits.samples_per_second, 10);
    assert_eq!(config.spec.limits.icmp_errors_per_second, 1_000);
    assert_eq!(config.spec.timers.settle_max, seconds(300));
    assert_eq!(config.spec.timers.station_hold, seconds(24 * 3600));
    let icrc = &config.spec.peers[0];
    assert_eq!(icrc.enforce, Classes::PEER);
    assert_eq!(config.daemon.socket, PathBuf::from("/run/bcp38/bcp38.sock"));
    assert_eq!(config.daemon.pin_dir, PathBuf::from("/sys/fs/bpf/bcp38"));
}

/// Every key with a value that is not its default.
const EVERYTHING: &str = r#"
[router]
asn = "1.10"
prefixes = ["198.51.100.0/24", "2001:db8:100::/40"]
bogon_exceptions = ["2001:db8::/32"]

[[interface]]
name = "ixp0"
kind = "lan"
lan = ["203.0.113.0/24"]
mac = "02-00-00-00-00-01"
addresses = ["203.0.113.1", "fe80::1"]
ixf = "/var/lib/bcp38/ixp0 \\ \"1\".json"
unknown_peer = "enforce"
lan_rules = "enforce"
hook = "xdp-native"

[[interface]]
name = "pni0"
kind = "port"
addresses = []
hook = "tc"

[[peer]]
name = "ünïcode:1@x"
asn = "AS57965"
interface = "ixp0"
vlan = 100
inner_vlan = 4094
addresses = ["203.0.113.10"]
macs = ["02:00:00:00:00:10", "02:00:00:00:00:11"]
families = ["ipv6"]
max_prefixes = { ipv6 = 2 }
prefix_bounds = { ipv4 = [0, 32], ipv6 = [20, 64] }
mode = "enforce"
enforce = ["bogons", "sources"]
view = "post-policy"
on_stale = "keep"
extra_sources = ["2001:db8:1::/48"]
extra_destinations = ["::/0"]
[[peer.attachment]]
interface = "pni0"
addresses = ["192.0.2.2", "fe80::2"]
route_distinguisher = "4200000000:7"

[[peer]]
name = "only.attachments"
asn = 3333
[[peer.attachment]]
interface = "pni0"
vlan = 7
[[peer.attachment]]
interface = "ixp0"
macs = ["02:00:00:00:00:12"]

[[route_server]]
name = "rs1"
asn = 64511
interface = "ixp0"
addresses = ["203.0.113.250"]
our_routes_reach = [57965, "0.3333"]
[[route_server]]
name = "rs2"
asn = 64511
interface = "ixp0"
addresses = ["203.0.113.251"]
our_routes_reach = "none"
[[route_server]]
name = "rs3"
asn = 64511
interface = "ixp0"
addresses = ["203.0.113.252"]
our_routes_reach = "communities"
route_distinguisher = 5

[[feed]]
kind = "static"
peer = "only.attachments"
advertised_to_peer = ["198.51.100.0/24"]
[[feed]]
kind = "bmp"
listen = "[::1]:11019"
max_routers = 3
[[feed]]
kind = "mrt"
path = "/tmp/rib \"1\".mrt"
rib = "adj-rib-in-pre-policy"
[[feed]]
kind = "frr"
socket = "/run/x/bgpd.vty"
interval = 5
[[feed]]
kind = "bird"
[[feed]]
kind = "openbgpd"
command = "/usr/sbin/bgpctl"
socket = "/run/bgpd.sock"
interval = "1500ms"
[[feed]]
kind = "openbgpd"
[[feed]]
kind = "gobgp"
server = "127.0.0.1:50051"
[[feed]]
kind = "gobgp"
[[feed]]
kind = "shadow"
listen = "127.0.0.1:1790"
asn = 4200000000
sessions = [
  { address = "127.0.3.1", session = "203.0.113.10" },
  { address = "127.0.3.2", session = "203.0.113.250", rib = "adj-rib-in-post-policy" },
  { address = "127.0.3.3", session = "192.0.2.2", route_distinguisher = "4200000000:7", rib = "adj-rib-in-pre-policy" },
]

[timers]
withdraw_hold = 0
peer_down_hold = "90s"
restart_max = "4095s"
stale_hold = "1h"
settle_max = "20s"
station_hold = "2h"
lease = "10s"
on_lease_end = "keep"

[limits]
max_peers = 2
table_memory_mib = 1024
samples_per_second = 0
icmp_errors_per_second = 1000000

[daemon]
socket = "/tmp/b.sock"
pin_dir = "/sys/fs/bpf/other"
"#;

#[test]
fn the_effective_configuration_is_the_same_configuration() {
    for text in [EXAMPLE, BASE, EVERYTHING] {
        let config = parse(text);
        let printed = config.to_string();
        assert_eq!(parse(&printed), config, "{printed}");
        assert_eq!(parse(&printed).to_string(), printed);
    }
}

/// Neither the effective configuration nor a debugging line, at every length there may be.
#[test]
fn passwords_are_taken_and_never_shown() {
    let with = |password: &str| {
        let session = "address = \"127.0.3.10\"";
        let one = "{ address = \"127.0.3.11\", session = \"203.0.113.10\" }";
        let own = format!(
            "address = \"127.0.3.9\", session = \"203.0.113.10\", password = \"own\" }}, {one}, {{ {session}"
        );
        let text = changed(
            "asn = 64999",
            &format!("asn = 64999\npassword = \"{password}\""),
        );
        Config::parse(&text.replace(session, &own), "b.toml")
    };
    for password in ["h", "hunter2", &"ü".repeat(40)] {
        let (config, _) = with(password).unwrap();
        let Some(Feed::Shadow { sessions, .. }) = config.feeds.last() else {
            panic!("{:?}", config.feeds.last());
        };
        let set: Vec<_> = sessions
            .iter()
            .map(|session| session.password.as_ref().map(Password::bytes))
            .collect();
        let of_all = Some(password.as_bytes());
        assert_eq!(set, [Some(&b"own"[..]), of_all, of_all]);
        let (printed, debugged) = (config.to_string(), format!("{config:#?}"));
        assert_eq!(
            printed.matches("}, # password: set\n").count(),
            3,
            "{printed}"
        );
        assert_eq!(debugged.matches("Password(set)").count(), 3);
        for shown in [printed.as_str(), &debugged] {
            let is_long = password.len() > 1; // one letter is everywhere
            assert!(!(is_long && shown.contains(password)), "{shown}");
            assert!(!shown.contains("own\""), "{shown}");
        }
        let again = parse(&printed);
        assert!(!again.to_string().contains("password"));
    }
    let error = with(&"x".repeat(81)).unwrap_err().to_string();
    assert_eq!(
        error,
        "b.toml:37: feed 2 (shadow): `password`: not a password of 1 to 80 bytes: give one as long as that"
    );
}

#[test]
fn everything_is_read_as_written() {
    let config = parse(EVERYTHING);
    assert_eq!(config.spec.router.asn, Asn::new(65546));
    let export = config.exports.get(&InterfaceId(0)).map(PathBuf::as_path);
    assert_eq!(export, Some(Path::new("/var/lib/bcp38/ixp0 \\ \"1\".json")));
    let peer = config.spec.peer(PeerId(0)).unwrap();
    assert_eq!(peer.name, "ünïcode:1@x");
    assert!(!peer.families.contains(Family::Ipv4));
    assert_eq!(peer.prefix_bounds.ipv4, Bounds { min: 0, max: 32 });
    assert_eq!(
        peer.attachments[0].vlans,
        Vlans {
            outer: 100,
            inner: 4094
        }
    );
    assert_eq!(peer.attachments[1].interface, InterfaceId(1));
    assert_eq!(config.spec.peers[1].attachments.len(), 2);
    assert_eq!(
        config.spec.route_servers[0].our_routes_reach,
        Reach::Listed(vec![Asn::new(57965), Asn::new(3333)])
    );
    let Some(Feed::Shadow { sessions, .. }) = config.feeds.last() else {
        panic!("{:?}", config.feeds.last());
    };
    let session: IpAddr = "203.0.113.10".parse().unwrap();
    assert_eq!(
        (sessions[0].session, sessions[0].rib),
        (session, AdjRib::OutPostPolicy)
    );
    assert_eq!(sessions[1].rib, AdjRib::InPostPolicy);
    let vrf = Some("4200000000:7".parse().unwrap());
    assert_eq!(
        (peer.attachments[0].vrf, peer.attachments[1].vrf),
        (None, vrf)
    );
    assert_eq!(
        sessions[2].mirrors(),
        peer.attachments[1].sessions().next().unwrap()
    );
    assert_eq!(config.spec.route_servers[2].vrf, Some(Vrf(5)));
}

#[test]
fn what_is_odd_is_told() {
    let cases = [
        (
            "203.0.113.0/24",
            "203.0.113.7/24",
            "7: interface \"ixp0\": `lan` = \"203.0.113.7/24\": host bits are set: read as 203.0.113.0/24; write that",
        ),
        (
            "\"203.0.113.10\"]\nmacs",
            "\"192.0.2.10\"]\nmacs",
            "17: peer \"icrc\": `addresses` = \"192.0.2.10\": not within the `lan` of interface `ixp0`: its session would be judged like traffic; correct one of them unless the session is multihop",
        ),
        (
            "interface = \"pni0\"",
            "interface = \"ixp0\"",
            "19: peer \"other\": no `macs` and no `addresses`: no packet can be attributed to it; add one of them",
        ),
        (
            "interface = \"pni0\"",
            "interface = \"pni0\"\nextra_sources = [\"192.0.2.0/24\", \"192.0.2.0/24\"]",
            "23: peer \"other\": `extra_sources` = \"192.0.2.0/24\": it is there twice: remove one",
        ),
        (
            "interface = \"pni0\"",
            "interface = \"pni0\"\nfamilies = [\"ipv6\"]\nextra_sources = [\"192.0.2.0/24\"]",
            "24: peer \"other\": `extra_sources` = \"192.0.2.0/24\": ipv4 is not in the peer's `families`, so it is never used: add it there, or remove the prefix",
        ),
        (
            "[\"45.146.194.0/23\"]",
            "[\"10.0.0.0/8\"]",
            "31: feed 1 (static): `advertised_by_peer` = \"10.0.0.0/8\": it is within the bogon list, so it will not be admitted: remove it, or put it into `extra_sources` if it is meant",
        ),
        (
            "addresses = [\"203.0.113.250\"]\n",
            "addresses = [\"203.0.113.250\", \"203.0.113.251\"]\nour_routes_reach = \"communities\"\n[[feed]]\nkind = \"frr\"\n",
            "28: route server \"rs1\": `our_routes_reach` = \"communities\": frr does not list the communities of what it advertises to 203.0.113.251, so that it counts for every member: add a `shadow` session for it",
        ),
        (
            "prefixes = [\"198.51.100.0/24\"]",
            "prefixes = []",
            "1: [router]: `prefixes`: none: packets from our own addresses would not be named as such; add our prefixes",
        ),
        (
            "asn = 3333",
            "asn = 64512",
            "21: peer \"other\": `asn` = 64512: an as number for private use (RFC 6996): make sure that it is meant",
        ),
    ];
    let base = warnings(BASE);
    for (from, to, warning) in cases {
        let mut found = warnings(&changed(from, to));
        found.retain(|line| !base.contains(line));
        let expected = format!("b.toml:{warning}");
        assert!(found.contains(&expected), "{expected}\n{found:#?}");
    }
}

/// On wires of their own.
#[test]
fn one_address_may_be_several_peers_in_several_vrfs() {
    let own = "interface = \"ixp0\"\nvlan = 7\naddresses = [\"203.0.113.10\"]";
    let with = |vrf: &str| changed("interface = \"pni0\"", &format!("{own}\n{vrf}"));
    let config = parse(&with("route_distinguisher = \"64500:1\""));
    let sessions = config.spec.peers.iter().flat_map(|peer| &peer.attachments);
    let sessions: Vec<String> = sessions
        .flat_map(filter_lifecycle::spec::Attachment::sessions)
        .map(|session| session.to_string())
        .collect();
    assert_eq!(sessions, ["203.0.113.10", "203.0.113.10 in vrf 64500:1"]);
    let error = Config::parse(&with(""), "b.toml").unwrap_err();
    assert!(error.to_string().contains("has it too"), "{error}");
}

#[test]
fn an_enforced_peer_without_a_feed_is_told() {
    let text = changed(
        "interface = \"pni0\"",
        "interface = \"pni0\"\nmode = \"enforce\"",
    );
    let text = &text[..text.rfind("[[feed]]").unwrap()];
    let text = text.replace(
        "203.0.113.10\"]\nmacs",
        "203.0.113.10\"]\nmode = \"enforce\"\nmacs",
    );
    let found: Vec<String> = warnings(&text);
    let found: Vec<&String> = found
        .iter()
        .filter(|line| line.contains("no feed"))
        .collect();
    assert_eq!(
        found,
        [
            "b.toml:24: peer \"other\": `mode` = \"enforce\": no feed reports what this peer advertises: it will stay in `observe`; add a `[[feed]]`"
        ]
    );
}

#[test]
fn the_base_is_merely_odd_in_its_numbers() {
    for line in warnings(BASE).iter().chain(&warnings(EXAMPLE)) {
        assert!(line.contains("documentation"), "{line}");
    }
}

/// Who may connect to a `bmp` listener: this host alone, unless said otherwise.
#[test]
fn who_may_speak_to_a_bmp_listener() {
    let bmp = |keys: &str| {
        let text = format!("{BASE}\n[[feed]]\nkind = \"bmp\"\nlisten = \"127.0.0.1:1\"\n{keys}\n");
        match parse(&text).feeds.last() {
            Some(Feed::Bmp {
                allow,
                idle,
                password,
                ..
            }) => {
                let allow: Vec<String> = allow.iter().map(ToString::to_string).collect();
                (allow.join(" "), *idle, password.is_some())
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(bmp(""), ("127.0.0.0/8 ::1/128".into(), None, false));
    let all = "allow = [\"192.0.2.9\", \"2001:db8::/64\"]\nidle = \"90s\"\npassword = \"secret\"";
    let idle = Some(Duration::from_secs(90));
    let allow = "192.0.2.9/32 2001:db8::/64";
    assert_eq!(bmp(all), (allow.into(), idle, true));
    for bad in [
        "allow = []",
        "allow = [\"red\"]",
        "idle = \"9s\"",
        "password = \"\"",
    ] {
        let text = format!("{BASE}\n[[feed]]\nkind = \"bmp\"\nlisten = \"127.0.0.1:1\"\n{bad}\n");
        assert!(Config::parse(&text, "b.toml").is_err(), "{bad}");
    }
}

/// A peer of one family whose session addresses are all of the other (AS214312: sessions over IPv6).
#[test]
fn a_peer_without_a_session_of_its_family_is_told() {
    let peer = |family: &str, address: &str| {
        warnings(&format!(
            "{BASE}\n[[peer]]\nname = \"v6only\"\nasn = 214312\ninterface = \"ixp0\"\naddresses = [{address}]\nfamilies = [\"{family}\"]\n"
        ))
    };
    let found = |warnings: Vec<String>| {
        let mut all = warnings.into_iter();
        all.any(|line| line.contains("no session of its own family"))
    };
    assert!(found(peer("ipv6", "\"203.0.113.12\"")));
    assert!(!found(peer("ipv4", "\"203.0.113.12\"")));
    assert!(!found(peer("ipv6", "\"203.0.113.12\", \"2001:db8::12\"")));
    assert!(!found(peer("ipv6", "")));
}
