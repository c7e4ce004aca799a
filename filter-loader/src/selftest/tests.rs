use super::*;
use filter_core::Prefix;
use filter_core::layout::{Families, Known};

fn set(texts: &[&str]) -> PrefixSet {
    let parse = |text: &&str| text.parse::<Prefix>().unwrap();
    texts.iter().map(parse).collect()
}

fn rules() -> Rules {
    Rules {
        families: Families::new(|_| true),
        known: Known::ALL,
    }
}

fn place() -> Place {
    let mut interface = InterfaceSpec::new("x", Mac::from_bits(1));
    *interface.network_mut(Vlans::NONE) = crate::NetworkSpec {
        addresses: vec!["203.0.113.1".parse().unwrap()],
        lan: vec!["203.0.113.0/24".parse().unwrap()],
        ..crate::NetworkSpec::default()
    };
    Place::new(Some(&interface)).unwrap()
}

fn asked(before: &[&str], now: &[&str], in_force: Classes) -> Vec<(String, String)> {
    let (before, sources, destinations) = (set(before), set(now), set(&["198.51.100.0/24"]));
    let table = |sources| PeerTables {
        rules: rules(),
        sources,
        destinations: &destinations,
        ..PeerTables::default()
    };
    let live = table(&before).sets().map(Clone::clone);
    let change = Change::new(Some(&live), &table(&sources));
    let sessions = Sessions {
        theirs: ["203.0.113.9", "2001:db8::9"]
            .map(|text| text.parse().unwrap())
            .into(),
        ours: vec!["203.0.113.1".parse().unwrap()],
    };
    let policies = Policies {
        place: &place(),
        table: &table(&sources),
        lists: &Lists::default(),
        in_force,
    };
    let questions = policies.questions(&sessions, Some(&change));
    let texts = questions
        .iter()
        .map(|question| (question.packet.to_string(), question.expected.to_string()));
    texts.collect()
}

#[test]
fn both_sides_of_every_boundary_that_came_or_went_are_asked() {
    let asked = asked(
        &["45.146.194.0/24", "9.9.8.0/24", "9.9.9.0/24"],
        &["45.146.194.0/23", "9.9.8.0/24"],
        Classes::ALL,
    );
    let fate = |what: &str| {
        let found = asked.iter().find(|(packet, _)| packet.starts_with(what));
        found.map(|(_, fate)| fate.as_str()).unwrap_or_default()
    };
    let members = [
        "45.146.194.255",
        "45.146.195.0",
        "45.146.195.255",
        "9.9.8.255",
    ];
    for source in members {
        let fate = fate(&format!("{source} > "));
        let is_member = fate == "permitted, passed" || fate == "destination-unannounced, dropped";
        assert!(is_member, "{source}: {fate}");
    }
    for source in ["45.146.196.0", "9.9.9.0", "9.9.9.255", "9.9.10.0"] {
        let fate = fate(&format!("{source} > "));
        let is_none = fate == "source-unannounced, dropped" || fate == "both-unannounced, dropped";
        assert!(is_none, "{source}: {fate}");
    }
    assert_eq!(fate("203.0.113.9 > 203.0.113.1"), "peering-lan, passed");
    assert_eq!(fate("2001:db8::9"), "", "we have no address of this family");
    assert_eq!(fate("arp"), "arp, passed");
    assert_eq!(
        fate("neighbour solicitation"),
        "neighbour-discovery, passed"
    );
    assert!(asked.len() < 128, "{}", asked.len());
}

#[test]
fn of_a_family_that_is_not_peered_only_sessions_of_this_link_are_asked() {
    let mut interface = InterfaceSpec::new("x", Mac::from_bits(1));
    *interface.network_mut(Vlans::NONE) = crate::NetworkSpec {
        addresses: ["203.0.113.1", "2001:db8::1", "fe80::1"]
            .map(|text| text.parse().unwrap())
            .into(),
        lan: vec!["2001:db8::/64".parse().unwrap()],
        ..crate::NetworkSpec::default()
    };
    let (sources, destinations) = (set(&["203.0.113.9/32"]), set(&["203.0.113.1/32"]));
    let table = PeerTables {
        rules: Rules {
            families: Families::new(|family| family == Family::Ipv4),
            known: Known::ALL,
        },
        sources: &sources,
        destinations: &destinations,
        ..PeerTables::default()
    };
    // Of two exchanges: its IPv6 sessions on the other one are not judged here.
    let sessions = Sessions {
        theirs: ["203.0.113.9", "2001:db8::9", "2001:db8:1::9", "fe80::9"]
            .map(|text| text.parse().unwrap())
            .into(),
        ours: ["203.0.113.1", "2001:db8::1", "2001:db8:1::1"]
            .map(|text| text.parse().unwrap())
            .into(),
    };
    let policies = Policies {
        place: &Place::new(Some(&interface)).unwrap(),
        table: &table,
        lists: &Lists::default(),
        in_force: Classes::ALL,
    };
    let questions = policies.questions(&sessions, None);
    let mut asked: Vec<(String, String)> = questions
        .iter()
        .filter(|question| matches!(question.packet, Packet::Session(..)))
        .map(|question| (question.packet.to_string(), question.expected.to_string()))
        .collect();
    asked.sort();
    let expected = [
        ("2001:db8::9 > 2001:db8::1", "peering-lan, passed"),
        ("203.0.113.9 > 203.0.113.1", "permitted, passed"),
        ("fe80::9 > 2001:db8::1", "peering-lan, passed"),
    ]
    .map(|(packet, fate)| (packet.to_owned(), fate.to_owned()));
    assert_eq!(asked, expected);
}

#[test]
fn what_is_not_in_force_passes() {
    let asked = asked(&[], &["45.146.194.0/23"], Classes::NONE);
    assert!(asked.iter().all(|(_, fate)| fate.ends_with(", passed")));
    assert!(
        asked
            .iter()
            .any(|(_, fate)| fate.starts_with("source-unannounced"))
    );
}

#[test]
fn of_very_many_boundaries_as_many_are_asked_as_the_limit_says() {
    let many = |count: u32| -> PrefixSet {
        let networks = (0..count)
            .map(|i| Prefix::new(Address::from_bits(Family::Ipv4, u128::from(i) << 105), 24));
        networks.map(Result::unwrap).collect()
    };
    for (count, expected) in [(32_768, 32_768), (32_769, 32_768), (200_000, 32_768)] {
        let sources = many(count);
        let table = PeerTables {
            sources: &sources,
            ..PeerTables::default()
        };
        let change = Change::new(None, &table);
        let asked = change.addresses(0, &mut Random::new());
        // Two boundaries each, each from both sides; a few outside, one of them below the first address of all.
        let outside = asked.len() as i64 - 4 * expected;
        assert!((-1..=4).contains(&outside), "{count}: {}", asked.len());
    }
}
