//! For how long a MAC is its peer's after the peer's address left it, by the frames that come from there.
use super::*;

const HOUR: Duration = Duration::from_secs(3600);
const BEFORE_END: Duration = Duration::from_secs(STATION_HOLD.as_secs() - 1);
const SECOND: Duration = Duration::from_secs(1);

const fn at(last: u8) -> Station {
    Station {
        ifindex: LINK,
        vlans: Vlans::NONE,
        mac: mac(last),
    }
}

fn sender(last: u8, address: &str) -> Sender {
    (at(last), address.parse().unwrap())
}

impl World {
    /// The kernel's entry of an address is gone.
    fn gone(&mut self, address: &str) {
        let (now, address) = (self.now, address.parse().unwrap());
        let link = LINK;
        let gone = NeighbourEvent::Gone { link, address };
        self.with(|stations, facts| stations.learn(facts, now, &gone));
    }

    /// A frame came from this MAC.
    fn frame(&mut self, last: u8) {
        self.stations.seen(self.now, [at(last)]);
    }

    /// These addresses at these MACs are followed; frames came from some of them.
    fn heard(&mut self, senders: &[(u8, &str, Option<Duration>)]) {
        let now = self.now;
        let moment = |ago: Option<Duration>| ago.map(|ago| Moment::ago(now, ago));
        let senders = senders.iter();
        let heard = senders.map(|&(last, address, ago)| (sender(last, address), moment(ago)));
        self.stations.heard(heard.collect());
    }

    /// The peer's session came up where its address is, and lasted.
    fn confirm(&mut self, address: &str) {
        self.up(address);
        self.wait(CONFIRM_AFTER);
        self.down(address);
    }

    fn owner(&mut self, last: u8) -> Option<PeerId> {
        let (_, stations) = self.settle();
        let mut its = stations.iter().filter(|&&(_, mac, _)| mac == last);
        its.next().map(|&(.., id)| id)
    }
}

/// "Each stays until `station_hold` without a frame": the kernel forgets a neighbour that it does not talk to.
#[test]
fn a_station_whose_entry_is_gone_stays_while_it_sends() {
    let mut world = World::new();
    world.learn(LINK, PEER_A, 0x33);
    world.settle();
    world.gone(PEER_A);
    for _ in 0..3 {
        world.wait(BEFORE_END);
        assert_eq!(world.owner(0x33), Some(A));
        world.frame(0x33);
    }
    assert_eq!(
        world
            .stations
            .last_seen(&at(0x33))
            .map(|it| it.age(world.now)),
        Some(Duration::ZERO)
    );
    world.wait(BEFORE_END);
    assert_eq!(world.owner(0x33), Some(A));
    world.wait(SECOND);
    assert_eq!(world.owner(0x33), None);
    world.frame(0x33);
    assert_eq!(world.stations.last_seen(&at(0x33)), None, "no peer's");
}

/// A frame that came before the entry went says nothing of the time after.
#[test]
fn an_entry_that_goes_after_the_last_frame_starts_the_hold() {
    let mut world = World::new();
    world.learn(LINK, PEER_A, 0x33);
    world.settle();
    world.frame(0x33);
    world.wait(HOUR);
    world.gone(PEER_A);
    world.wait(BEFORE_END);
    assert_eq!(world.owner(0x33), Some(A));
    world.wait(SECOND);
    assert_eq!(world.owner(0x33), None);
}

/// "Another confirmed MAC replaces it only if it sent nothing *from that address* since."
#[test]
fn a_replaced_mac_stays_only_while_it_sends_from_the_address() {
    let other = "2001:db8::11";
    for (heard, stays) in [
        (vec![(0x33, PEER_A, Some(HOUR))], true),
        (vec![(0x33, PEER_A, Some(STATION_HOLD))], false),
        (vec![(0x33, PEER_A, None), (0x33, other, Some(HOUR))], false),
        (vec![(0x44, PEER_A, Some(HOUR))], false), // there was no room for the other
    ] {
        let mut world = World::new();
        world.learn(LINK, PEER_A, 0x33);
        world.confirm(PEER_A);
        world.learn(LINK, PEER_A, 0x44);
        world.confirm(PEER_A);
        assert_eq!(world.owner(0x33), Some(A), "for a day at least");
        world.now += BEFORE_END;
        world.frame(0x33);
        world.heard(&heard);
        world.wait(SECOND);
        let owner = stays.then_some(A);
        assert_eq!(world.owner(0x33), owner, "{heard:?}");
        assert_eq!(world.owner(0x44), Some(A));
    }
}

/// A MAC that is not confirmed replaces nothing: any frame of the former one counts.
#[test]
fn a_strangers_answer_shortens_no_hold() {
    let mut world = World::new();
    world.learn(LINK, PEER_A, 0x33);
    world.confirm(PEER_A);
    world.settle();
    world.learn(LINK, PEER_A, 0x66);
    world.now += BEFORE_END;
    world.frame(0x33);
    world.wait(BEFORE_END);
    assert_eq!((world.owner(0x33), world.owner(0x66)), (Some(A), None));
}

/// Two peers' addresses were seen at one MAC: frames of the one are none of the other's, so that its claim ends.
#[test]
fn frames_of_a_contested_mac_keep_only_whose_address_they_have() {
    let mut world = World::new();
    world.learn(LINK, PEER_A, 0x33);
    world.settle();
    world.learn(LINK, PEER_B, 0x33);
    assert_eq!(world.owner(0x33), None);
    world.learn(LINK, PEER_A, 0x44);
    world.gone(PEER_B);
    world.now += BEFORE_END;
    world.frame(0x33);
    assert!(world.stations.last_seen(&at(0x33)).is_some());
    world.heard(&[(0x33, PEER_A, None), (0x33, PEER_B, Some(SECOND))]);
    world.wait(SECOND);
    assert_eq!(world.owner(0x33), Some(B));
    // It is another peer's now, and by the first one's former address nothing comes.
    world.learn(LINK, PEER_A, 0x33);
    world.learn(LINK, PEER_A, 0x44);
    world.frame(0x33);
    assert_eq!(world.owner(0x33), None, "contested again");
}

#[test]
fn what_is_followed_is_what_was_found_first() {
    let mut world = World::new();
    world.learn(LINK, PEER_A, 0x33);
    world.confirm(PEER_A);
    world.learn(LINK, PEER_A, 0x66); // gives way: no peer's, and yet it may be the peer's next router
    world.settle();
    let followed = world.with(|stations, facts| stations.followed(facts));
    let expected = [
        (sender(0x33, PEER_A), Standing::Confirmed),
        (sender(0x66, PEER_A), Standing::Found),
        (sender(0x22, PEER_B), Standing::Elsewhere),
        (sender(0x33, "2001:db8::11"), Standing::Elsewhere),
    ];
    assert_eq!(followed, expected);
}

/// What an earlier process knew, it knew of stations that are in force: they stay as if there had been no restart.
#[test]
fn what_is_recalled_is_as_if_the_daemon_had_not_restarted() {
    let mut world = World::new();
    world.stations.set_places(Places::new());
    world
        .stations
        .inherit([(at(0x33), A), (at(0x44), A), (at(0x55), A)]);
    let known = [
        (sender(0x33, PEER_A), Standing::Confirmed),
        (sender(0x44, PEER_A), Standing::Found),
        (sender(0x55, PEER_A), Standing::Elsewhere),
    ];
    world.stations.recall(Duration::ZERO, known);
    world.settle();
    // Not lost before it is known which device they are on.
    let followed = world.with(|stations, facts| stations.followed(facts));
    assert_eq!(followed[..2], known[..2]);
    let places = [(LINK, (LINK, Vlans::NONE))].into();
    world.stations.set_places(places);
    world.learn(LINK, PEER_A, 0x77);
    world.with(|stations, facts| {
        stations.learn(facts, Duration::ZERO, &NeighbourEvent::Complete);
    });
    let after = vec![(0, 0x22, B), (0, 0x33, A)];
    assert_eq!(world.settle().1, after, "what is not confirmed gives way");
    let followed = world.with(|stations, facts| stations.followed(facts));
    let found = |last| (sender(last, PEER_A), Standing::Found);
    assert_eq!(followed[..3], [known[0], found(0x44), found(0x77)]);
    world.now += BEFORE_END;
    world.frame(0x33);
    world.wait(BEFORE_END);
    assert_eq!(world.settle().1, after);
    world.wait(SECOND);
    assert_eq!(world.settle().1, [(0, 0x22, B), (0, 0x77, A)]);
}

/// Both known from a route server alone.
fn without_sessions() -> World {
    let mut world = World::new();
    world.spec.peers[1].attachments[0].macs = vec![];
    world.learn(LINK, PEER_A, 0x33);
    world.learn(LINK, PEER_B, 0x44);
    world.settle();
    world
}

impl World {
    /// These MACs send all the time.
    fn days(&mut self, days: u32, sending: &[u8]) {
        for _ in 0..days * 48 {
            self.now += HOUR / 2;
            for &each in sending {
                self.frame(each);
            }
            self.wait(Duration::ZERO);
            self.settle();
        }
    }
}

/// A stranger says once that B's address is at A's MAC, of which the kernel has forgotten A's: it gains nothing that lasts.
#[test]
fn one_forged_answer_takes_no_mac_from_a_peer_without_a_session() {
    for forgotten_for in [Duration::from_secs(60), 3 * STATION_HOLD] {
        let mut world = without_sessions();
        world.gone(PEER_A);
        while world.now < forgotten_for {
            world.now += HOUR;
            world.frame(0x33);
            world.wait(Duration::ZERO);
        }
        assert_eq!(world.owner(0x33), Some(A));
        world.learn(LINK, PEER_B, 0x33); // forged
        assert_eq!(world.owner(0x33), None, "contested");
        world.now += SECOND;
        world.learn(LINK, PEER_B, 0x44); // B answers
        world.days(2, &[0x33, 0x44]);
        assert_eq!((world.owner(0x33), world.owner(0x44)), (Some(A), Some(B)));
    }
}

/// Nor does its own MAC stay another's by what it sends, not even from that address.
#[test]
fn a_mac_that_answered_once_is_its_peers_no_longer_than_the_hold() {
    let mut world = without_sessions();
    world.learn(LINK, PEER_B, 0x66); // forged
    assert_eq!(world.owner(0x66), Some(B), "as nothing shows better");
    world.learn(LINK, PEER_B, 0x44);
    world.heard(&[(0x66, PEER_B, Some(Duration::ZERO))]);
    world.days(2, &[0x66, 0x44]);
    assert_eq!((world.owner(0x66), world.owner(0x44)), (None, Some(B)));
    // Where the address was first it may be still: two routers that take turns.
    world.learn(LINK, PEER_B, 0x55);
    world.days(2, &[0x55, 0x44]);
    assert_eq!((world.owner(0x55), world.owner(0x44)), (Some(B), Some(B)));
}

/// A session that has not lasted replaces nothing: if it ends, nothing brings back what was forgotten for it.
#[test]
fn a_trial_that_lapses_has_cost_no_confirmed_mac() {
    let mut world = World::new();
    world.learn(LINK, PEER_A, 0x33);
    world.confirm(PEER_A);
    world.settle();
    world.gone(PEER_A);
    world.days(2, &[0x33]);
    world.learn(LINK, PEER_A, 0x66); // forged, and then the session comes up
    world.up(PEER_A);
    world.wait(10 * SECOND);
    assert_eq!(world.owner(0x33), Some(A));
    world.down(PEER_A);
    world.wait(SECOND);
    assert_eq!((world.owner(0x33), world.owner(0x66)), (Some(A), None));
}

/// Two routers, each confirmed, and a restart: which of them the address left later nobody knows.
#[test]
fn two_confirmed_macs_do_not_replace_each_other() {
    let mut world = World::new();
    let both = [0x33, 0x44];
    world.stations.inherit(both.map(|last| (at(last), A)));
    let known = both.map(|last| (sender(last, PEER_A), Standing::Confirmed));
    world.stations.recall(Duration::ZERO, known);
    world.settle();
    let places = [(LINK, (LINK, Vlans::NONE))].into();
    world.stations.set_places(places);
    world.with(|stations, facts| {
        stations.learn(facts, Duration::ZERO, &NeighbourEvent::Complete);
    });
    world.days(2, &both);
    assert_eq!((world.owner(0x33), world.owner(0x44)), (Some(A), Some(A)));
}
