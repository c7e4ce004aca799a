//! At which MAC each address on a link answers, by the kernel's neighbour table, and what an exchange's member export
//! lists. Facts and their memory only: [`crate::stations`] decides which peer a MAC belongs to.
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use filter_core::Asn;
use filter_core::packet::Mac;

/// MACs remembered per address; of those that no session confirmed the one that was seen first last goes first.
pub const MAX_MACS_PER_ADDRESS: usize = 16;

/// A change of the kernel's neighbour table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighbourEvent {
    /// The address answers at this MAC: new, or another one than before.
    Known {
        /// Index of the interface it is on.
        link: u32,
        /// The neighbour's address.
        address: IpAddr,
        /// Where it answers.
        mac: Mac,
    },
    /// The kernel's entry is gone: removed, or the neighbour did not answer. Frames from its last MAC may still come.
    Gone {
        /// Index of the interface it was on.
        link: u32,
        /// The neighbour's address.
        address: IpAddr,
    },
    /// The whole table has been listed, at the start or after messages were lost.
    Complete,
}

/// One member's connection to one of an exchange's LANs, from the member export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberSeed {
    /// The member.
    pub asn: Asn,
    /// Its addresses on the LAN.
    pub addresses: Vec<IpAddr>,
    /// Its MACs there.
    pub macs: Vec<Mac>,
}

/// How long a session must last, and its address stay where it is, after it came up: a forged answer ends the session within
/// one hold time (RFC 4271 section 4.2).
pub const CONFIRM_AFTER: Duration = Duration::from_secs(180);

/// A MAC that an address was seen at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Which.
    pub mac: Mac,
    /// Until when the address was at it; none if it is.
    until: Option<Duration>,
    /// For how much of the trial that goes on it was.
    tried: Duration,
    proof: Proof,
    /// Nothing was known of the address when it was seen there.
    is_first: bool,
}

/// What shows that frames of the address come from there, and not only somebody's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    /// Nothing.
    None,
    /// The address's session came up while it was there, and lasts.
    Trial,
    /// A session lasted, and the address was there for most of the time.
    Whole,
}

impl Seen {
    /// Is the address at it now?
    #[must_use]
    pub const fn is_current(&self) -> bool {
        self.until.is_none()
    }

    /// Did the address's session come up there, and last until now, or for long enough?
    #[must_use]
    pub const fn is_confirmed(&self) -> bool {
        !matches!(self.proof, Proof::None)
    }

    /// Was the address here after it was there?
    fn was_later(&self, other: &Self) -> bool {
        self.until.is_none_or(|until| Some(until) > other.until)
    }

    /// Did a session last there for long enough? That stays so, whatever becomes of the session.
    #[must_use]
    pub const fn has_lasted(&self) -> bool {
        matches!(self.proof, Proof::Whole)
    }
}

/// A MAC that its address has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// The device the address was on.
    pub link: u32,
    /// The address.
    pub address: IpAddr,
    /// The MAC.
    pub mac: Mac,
    /// The address is at another MAC now.
    pub is_elsewhere: bool,
    /// That is so, nothing confirms this one, and it was not where the address was first: whoever answers for the address once
    /// makes such a MAC.
    pub is_doubtful: bool,
    /// A session lasted at another MAC of the address, and the address was there later.
    pub is_replaced: bool,
}

/// Where one address on a link is and was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Whereabouts {
    /// Each MAC, in the order in which they were seen first.
    seen: Vec<Seen>,
    trial: Option<Trial>,
}

/// The address's session is up, and has not lasted for long enough yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Trial {
    since: Duration,
    /// Until when it is added up for how long the address was where.
    counted: Duration,
}

impl Trial {
    const fn new(now: Duration) -> Self {
        let (since, counted) = (now, now);
        Self { since, counted }
    }

    fn end(self) -> Duration {
        self.since + CONFIRM_AFTER
    }
}

impl Whereabouts {
    fn current(&mut self) -> Option<&mut Seen> {
        self.seen.iter_mut().find(|each| each.is_current())
    }

    /// Time has passed: adds up where the address was, and ends the trial if it is over.
    fn pass(&mut self, now: Duration) {
        let Some(trial) = self.trial else {
            return;
        };
        let until = now.min(trial.end());
        if let Some(current) = self.current() {
            current.tried += until.saturating_sub(trial.counted);
        }
        let counted = until.max(trial.counted);
        self.trial = Some(Trial { counted, ..trial });
        if now >= trial.end() {
            self.judge(now);
        }
    }

    /// The session lasted. It is proof for the MAC where the address was for most of that time, and for no other; if there
    /// is none, for nobody, and the session has to last anew.
    fn judge(&mut self, now: Duration) {
        let is_most = |each: &Seen| each.tried > CONFIRM_AFTER / 2;
        let is_decided = self.seen.iter().any(is_most);
        for each in &mut self.seen {
            if is_most(each) {
                each.proof = Proof::Whole;
            }
        }
        self.end_trial();
        self.trial = (!is_decided).then(|| Trial::new(now));
    }

    /// What only a trial showed is not shown any more.
    fn end_trial(&mut self) {
        self.trial = None;
        for each in &mut self.seen {
            each.tried = Duration::ZERO;
            if each.proof == Proof::Trial {
                each.proof = Proof::None;
            }
        }
    }

    /// Whoever forges answers pushes out no MAC that a session has confirmed, nor one that was there before.
    fn limit(&mut self) {
        if self.seen.len() > MAX_MACS_PER_ADDRESS {
            let is_forged = |each: &Seen| !each.is_confirmed() && !each.is_current();
            let forged = self.seen.iter().rposition(is_forged);
            self.seen.remove(forged.unwrap_or(0));
        }
    }
}

/// Every MAC an address was seen at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Macs(BTreeMap<(u32, IpAddr), Whereabouts>);

impl Macs {
    /// Learns from an event; true if the address was never seen at this MAC.
    pub fn learn(&mut self, now: Duration, event: &NeighbourEvent) -> bool {
        let (link, address) = match *event {
            NeighbourEvent::Known { link, address, .. }
            | NeighbourEvent::Gone { link, address } => (link, address),
            NeighbourEvent::Complete => return false,
        };
        let at = self.0.entry((link, address)).or_default();
        at.pass(now);
        let mac = match *event {
            NeighbourEvent::Known { mac, .. } => Some(mac),
            NeighbourEvent::Gone { .. } | NeighbourEvent::Complete => None,
        };
        let mut is_new = mac.is_some();
        for each in &mut at.seen {
            if Some(each.mac) == mac {
                (each.until, is_new) = (None, false);
            } else {
                each.until.get_or_insert(now);
            }
        }
        if let Some(mac) = mac.filter(|_| is_new) {
            at.seen.push(Seen {
                mac,
                until: None,
                tried: Duration::ZERO,
                proof: Proof::None,
                is_first: at.seen.is_empty(),
            });
            at.limit();
        }
        is_new
    }

    /// The session of an address on a link came up, or, if that was not `seen`, is reported to be up: then where the address is
    /// now shows nothing yet. Returns whether the address is there, so that a trial begins.
    pub fn came_up(
        &mut self,
        now: Duration,
        (link, address): (u32, IpAddr),
        was_seen: bool,
    ) -> bool {
        let Some(at) = self.0.get_mut(&(link, address)) else {
            return false;
        };
        at.pass(now);
        let is_on_trial = at.trial.is_some();
        let Some(current) = at.current() else {
            return false;
        };
        if current.proof == Proof::None && was_seen && !is_on_trial {
            current.proof = Proof::Trial;
        }
        let is_known = current.proof == Proof::Whole;
        if !is_known && !is_on_trial {
            at.trial = Some(Trial::new(now));
        }
        true
    }

    /// The session of an address on a link went down.
    pub fn went_down(&mut self, now: Duration, (link, address): (u32, IpAddr)) {
        if let Some(at) = self.0.get_mut(&(link, address)) {
            at.pass(now);
            at.end_trial();
        }
    }

    /// Ends trials, and forgets MACs that their addresses left `station_hold` ago: the kernel forgets silent neighbours, whose
    /// frames still come. Because of those a MAC stays until `frames_end`, if that says so and is later. Returns when it is to be
    /// called again at the latest.
    pub fn age(
        &mut self,
        now: Duration,
        station_hold: Duration,
        frames_end: impl Fn(&Left) -> Option<Duration>,
    ) -> Option<Duration> {
        let mut next: Option<Duration> = None;
        for (&(link, address), at) in &mut self.0 {
            at.pass(now);
            let seen = at.seen.clone();
            let end = |each: &Seen| {
                let others = || seen.iter().filter(|other| other.mac != each.mac);
                let is_elsewhere = others().any(Seen::is_current);
                let left = Left {
                    link,
                    address,
                    mac: each.mac,
                    is_elsewhere,
                    is_doubtful: is_elsewhere && !each.is_confirmed() && !each.is_first,
                    is_replaced: others().any(|other| other.has_lasted() && other.was_later(each)),
                };
                let end = each.until? + station_hold;
                Some(frames_end(&left).map_or(end, |frames| end.max(frames)))
            };
            let mut ends = vec![at.trial.map(Trial::end)];
            at.seen.retain(|each| {
                let end = end(each);
                ends.push(end);
                end.is_none_or(|end| now < end)
            });
            let waits = ends.into_iter().flatten().filter(|&end| now < end);
            next = next.into_iter().chain(waits).min();
        }
        self.0.retain(|_, at| !at.seen.is_empty());
        next
    }

    /// An earlier process had found the address at this MAC, and a session confirmed it there or not. It counts as left at the
    /// given time, unless it is known already.
    pub fn recall(
        &mut self,
        now: Duration,
        (link, address): (u32, IpAddr),
        (mac, is_confirmed): (Mac, bool),
    ) {
        let at = self.0.entry((link, address)).or_default();
        if at.seen.len() >= MAX_MACS_PER_ADDRESS || at.seen.iter().any(|each| each.mac == mac) {
            return;
        }
        at.seen.push(Seen {
            mac,
            until: Some(now),
            tried: Duration::ZERO,
            proof: match is_confirmed {
                true => Proof::Whole,
                false => Proof::None,
            },
            is_first: false, // nobody noted it
        });
    }

    /// Every address with the device it is on, and each MAC it was seen at.
    pub fn all(&self) -> impl Iterator<Item = ((u32, IpAddr), &Seen)> {
        let all = self.0.iter();
        all.flat_map(|(&place, at)| at.seen.iter().map(move |each| (place, each)))
    }

    /// Where the address was seen on this interface, in the order in which it first was.
    #[must_use]
    pub fn of(&self, link: u32, address: IpAddr) -> &[Seen] {
        let at = self.0.get(&(link, address));
        at.map_or(&[], |at| at.seen.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: u32 = 2;
    const STATION_HOLD: Duration = Duration::from_secs(7 * 3600);

    fn address() -> IpAddr {
        "192.0.2.11".parse().unwrap()
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn known(last: u8) -> NeighbourEvent {
        NeighbourEvent::Known {
            link: LINK,
            address: address(),
            mac: Mac::from_bytes([2, 0, 0, 0, 0, last]),
        }
    }

    const fn gone(address: IpAddr) -> NeighbourEvent {
        NeighbourEvent::Gone {
            link: LINK,
            address,
        }
    }

    const fn no_frames(_: &Left) -> Option<Duration> {
        None
    }

    fn last_bytes(macs: &Macs, which: impl Fn(&Seen) -> bool) -> Vec<u8> {
        let seen = macs.of(LINK, address()).iter().filter(|each| which(each));
        seen.map(|each| each.mac.bytes()[5]).collect()
    }

    fn place() -> (u32, IpAddr) {
        (LINK, address())
    }

    fn confirmed(macs: &Macs) -> Vec<u8> {
        last_bytes(macs, Seen::is_confirmed)
    }

    #[test]
    fn macs_of_an_address_add_up_bounded() {
        let mut macs = Macs::default();
        assert!(macs.learn(at(0), &known(1)) && macs.learn(at(0), &known(2)));
        assert!(!macs.learn(at(0), &known(1)), "it came back");
        assert_eq!(last_bytes(&macs, Seen::is_current), [1]);
        assert!(!macs.learn(at(0), &gone(address())));
        assert_eq!(last_bytes(&macs, |_| true), [1, 2]);
        assert_eq!(last_bytes(&macs, Seen::is_current), []);
        assert_eq!(macs.of(3, address()), []);
        // Whoever forges answers pushes out nothing that was there before: neither what is confirmed, nor what is not.
        let full = || (1..=16).collect::<Vec<_>>();
        for last in 3..100 {
            assert!(macs.learn(at(1), &known(last)));
            let first = full().into_iter().filter(|each| *each < last.min(16));
            let expected: Vec<u8> = first.chain([last]).collect();
            assert_eq!(last_bytes(&macs, |_| true), expected);
        }
        // What an address moves to has a place all the same, and keeps it once a session confirms it.
        assert!(macs.learn(at(2), &known(200)));
        assert!(macs.came_up(at(2), place(), true));
        assert!(macs.learn(at(3), &known(201)));
        let expected: Vec<u8> = (1..15).chain([200, 201]).collect();
        assert_eq!(last_bytes(&macs, |_| true), expected);
    }

    #[test]
    fn a_session_confirms_where_it_came_up_if_it_lasts_and_the_address_stays() {
        let end = CONFIRM_AFTER.as_secs();
        for (lasts, stays, expected) in [
            (end, end, &[1][..]),
            (end - 1, end, &[]),
            (end, end / 2 + 1, &[1]),
            (end, end / 2, &[]),
            (end, end / 2 - 1, &[2]),
        ] {
            let mut macs = Macs::default();
            assert!(!macs.came_up(at(0), place(), true), "nowhere");
            macs.learn(at(0), &known(1));
            assert!(macs.came_up(at(10), place(), true));
            assert_eq!(confirmed(&macs), [1], "from then on");
            if stays < lasts {
                macs.learn(at(10 + stays), &known(2));
                macs.went_down(at(10 + lasts), place());
            } else {
                macs.went_down(at(10 + lasts), place());
                macs.learn(at(10 + stays), &known(2));
            }
            assert_eq!(confirmed(&macs), expected, "{lasts} {stays}");
        }
    }

    /// Where the address was for most of the trial, whatever answers there were at its start, in between, and at its end.
    #[test]
    fn forged_answers_during_a_trial_change_nothing() {
        let end = CONFIRM_AFTER.as_secs();
        for forged in [(0, 1), (5, 9), (end - 1, end + 5), (end / 2, end - 20)] {
            let mut macs = Macs::default();
            macs.learn(at(0), &known(if forged.0 == 0 { 66 } else { 1 }));
            macs.came_up(at(0), place(), true);
            macs.learn(at(forged.0), &known(66));
            let aged = macs.age(at(forged.0), STATION_HOLD, no_frames);
            assert_eq!(aged, Some(CONFIRM_AFTER), "{forged:?}");
            if forged.1 < end {
                macs.learn(at(forged.1), &known(1));
            }
            macs.age(CONFIRM_AFTER, STATION_HOLD, no_frames);
            assert_eq!(confirmed(&macs), [1], "{forged:?}");
            macs.age(3 * CONFIRM_AFTER, STATION_HOLD, no_frames);
            assert_eq!(confirmed(&macs), [1], "{forged:?}");
        }
    }

    /// A trial that shows nothing confirms nobody, so that nobody is locked out; and while its session lasts, there is another.
    #[test]
    fn a_trial_without_a_majority_leaves_all_provisional() {
        let half = CONFIRM_AFTER / 2;
        let mut macs = Macs::default();
        macs.learn(at(0), &known(1));
        macs.came_up(at(0), place(), true);
        macs.learn(half, &known(66));
        assert_eq!(
            macs.age(CONFIRM_AFTER, STATION_HOLD, no_frames),
            Some(2 * CONFIRM_AFTER)
        );
        assert_eq!(confirmed(&macs), []);
        assert_eq!(last_bytes(&macs, |_| true), [1, 66]);
        macs.learn(CONFIRM_AFTER + half - at(1), &known(1));
        assert_eq!(confirmed(&macs), [], "nothing before it is over");
        macs.age(2 * CONFIRM_AFTER, STATION_HOLD, no_frames);
        assert_eq!(confirmed(&macs), [1]);
    }

    /// A session that is only reported to be up, again or by another feed, did not come up where its address is now.
    #[test]
    fn a_session_that_was_up_before_confirms_nothing_until_it_lasts() {
        let mut macs = Macs::default();
        macs.learn(at(0), &known(66));
        assert!(macs.came_up(at(0), place(), false));
        assert_eq!(confirmed(&macs), []);
        macs.learn(at(5), &known(1));
        macs.age(CONFIRM_AFTER, STATION_HOLD, no_frames);
        assert_eq!(confirmed(&macs), [1]);
    }

    #[test]
    fn a_mac_that_its_address_left_stays_for_station_hold() {
        let mut macs = Macs::default();
        macs.learn(at(0), &known(1));
        assert_eq!(macs.age(at(5), STATION_HOLD, no_frames), None);
        macs.learn(at(10), &known(2));
        let end = at(10) + STATION_HOLD;
        assert_eq!(macs.age(end - at(1), STATION_HOLD, no_frames), Some(end));
        assert_eq!(last_bytes(&macs, |_| true), [1, 2]);
        assert_eq!(macs.age(end, STATION_HOLD, no_frames), None);
        assert_eq!(last_bytes(&macs, |_| true), [2]);
        macs.learn(end, &gone(address()));
        macs.age(end + STATION_HOLD, STATION_HOLD, no_frames);
        assert_eq!(macs, Macs::default());
    }

    /// "Each stays until `station_hold` without a frame", and only frames after the address left it lengthen that.
    #[test]
    fn a_mac_that_its_address_left_stays_until_its_frames_end() {
        for (frames_end, expected) in [(5, STATION_HOLD.as_secs() + 10), (80_000, 80_000)] {
            let mut macs = Macs::default();
            macs.learn(at(0), &known(1));
            macs.learn(at(10), &known(2));
            let until = |left: &Left| {
                assert_eq!((left.link, left.address), place());
                (left.mac.bytes()[5] == 1).then_some(at(frames_end))
            };
            let aged = macs.age(at(expected - 1), STATION_HOLD, until);
            assert_eq!(aged, Some(at(expected)));
            assert_eq!(last_bytes(&macs, |_| true), [1, 2]);
            assert_eq!(macs.age(at(expected), STATION_HOLD, until), None);
            assert_eq!(last_bytes(&macs, |_| true), [2]);
        }
    }

    #[test]
    fn a_mac_is_replaced_once_a_session_has_lasted_at_another_one() {
        let is_replaced = |macs: &mut Macs, now| {
            let found = std::cell::Cell::new(None);
            macs.age(at(now), STATION_HOLD, |left| {
                found.set(Some(left.is_replaced));
                None
            });
            found.get()
        };
        let mut macs = Macs::default();
        macs.learn(at(0), &known(1));
        assert_eq!(is_replaced(&mut macs, 0), None, "it is there");
        macs.came_up(at(0), place(), true);
        macs.went_down(at(200), place());
        macs.learn(at(200), &known(2));
        assert_eq!(is_replaced(&mut macs, 201), Some(false), "by itself");
        macs.came_up(at(210), place(), true);
        assert_eq!(is_replaced(&mut macs, 211), Some(false), "on trial");
        let lasted = 210 + CONFIRM_AFTER.as_secs();
        assert_eq!(is_replaced(&mut macs, lasted), Some(true));
    }

    #[test]
    fn what_is_recalled_counts_as_left_and_is_bounded() {
        let mut macs = Macs::default();
        let mac = |last| Mac::from_bytes([2, 0, 0, 0, 0, last]);
        macs.learn(at(0), &known(1));
        for (last, is_confirmed) in [(1, true), (2, true), (3, false)] {
            macs.recall(at(7), place(), (mac(last), is_confirmed));
        }
        assert_eq!(last_bytes(&macs, |_| true), [1, 2, 3]);
        assert_eq!(last_bytes(&macs, Seen::is_current), [1]);
        assert_eq!(
            confirmed(&macs),
            [2],
            "what is known already is known better"
        );
        let end = at(7) + STATION_HOLD;
        assert_eq!(macs.age(at(8), STATION_HOLD, no_frames), Some(end));
        for last in 4..100 {
            macs.recall(at(7), place(), (mac(last), true));
        }
        assert_eq!(macs.of(LINK, address()).len(), MAX_MACS_PER_ADDRESS);
    }
}
