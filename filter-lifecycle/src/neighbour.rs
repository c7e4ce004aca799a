//! At which MAC each address on a link answers, by the kernel's neighbour table, and what an exchange's member export
//! lists. Facts and their memory only: [`crate::stations`] decides which peer a MAC belongs to.
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use filter_core::Asn;
use filter_core::packet::Mac;

/// MACs remembered per address; of those that no session confirmed the one unseen for longest goes first.
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

/// How long an address keeps a MAC that it is not at any more: the kernel forgets silent neighbours, whose frames still come.
pub const STATION_HOLD: Duration = Duration::from_secs(24 * 3600);
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
    proof: Proof,
}

/// What shows that frames of the address come from there, and not only somebody's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    /// Nothing.
    None,
    /// The address's session came up then, while it was there.
    Trial(Duration),
    /// That session lasted.
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

    /// Since when its trial is over, if it is.
    fn trial_end(&self) -> Option<Duration> {
        match self.proof {
            Proof::Trial(since) => Some(since + CONFIRM_AFTER),
            Proof::None | Proof::Whole => None,
        }
    }

    /// The session ended, or its trial: it is proof if it lasted, and the address is there.
    fn judge(&mut self, now: Duration) {
        if let Some(end) = self.trial_end() {
            self.proof = match now >= end && self.is_current() {
                true => Proof::Whole,
                false => Proof::None,
            };
        }
    }
}

/// Every MAC an address was seen at, latest last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Macs(BTreeMap<(u32, IpAddr), Vec<Seen>>);

impl Macs {
    /// Learns from an event; true if the address was never seen at this MAC.
    pub fn learn(&mut self, now: Duration, event: &NeighbourEvent) -> bool {
        let (link, address) = match *event {
            NeighbourEvent::Known { link, address, .. }
            | NeighbourEvent::Gone { link, address } => (link, address),
            NeighbourEvent::Complete => return false,
        };
        let seen = self.0.entry((link, address)).or_default();
        let NeighbourEvent::Known { mac, .. } = *event else {
            seen.iter_mut()
                .for_each(|each| _ = each.until.get_or_insert(now));
            return false;
        };
        let others = seen.iter_mut().filter(|each| each.mac != mac);
        others.for_each(|each| _ = each.until.get_or_insert(now));
        let known = seen.iter().position(|each| each.mac == mac);
        let proof = known.map_or(Proof::None, |at| seen.remove(at).proof);
        seen.push(Seen {
            mac,
            until: None,
            proof,
        });
        if seen.len() > MAX_MACS_PER_ADDRESS {
            // Whoever forges answers pushes out no MAC that a session has confirmed.
            let forged = seen.iter().position(|each| !each.is_confirmed());
            seen.remove(forged.unwrap_or(0));
        }
        known.is_none()
    }

    /// The address's session came up. Returns whether the address is anywhere, so that this proves something.
    pub fn came_up(&mut self, now: Duration, address: IpAddr) -> bool {
        let mut anywhere = false;
        for each in self.of_all_links(address).filter(|each| each.is_current()) {
            anywhere = true;
            if each.proof == Proof::None {
                each.proof = Proof::Trial(now);
            }
        }
        anywhere
    }

    /// The address's session went down.
    pub fn went_down(&mut self, now: Duration, address: IpAddr) {
        self.of_all_links(address).for_each(|each| each.judge(now));
    }

    fn of_all_links(&mut self, address: IpAddr) -> impl Iterator<Item = &mut Seen> {
        let of_address = self.0.iter_mut().filter(move |((_, at), _)| *at == address);
        of_address.flat_map(|(_, seen)| seen)
    }

    /// Ends trials, and forgets MACs that their addresses left too long ago. Returns when it is to be called again at the
    /// latest.
    pub fn age(&mut self, now: Duration) -> Option<Duration> {
        for seen in self.0.values_mut() {
            let is_over = |each: &Seen| each.trial_end().is_some_and(|end| now >= end);
            let failed = seen.iter().any(|each| is_over(each) && !each.is_current());
            seen.iter_mut()
                .filter(|each| is_over(each))
                .for_each(|each| each.judge(now));
            // The session lasts, and its address is elsewhere: then that is on trial.
            let mut current = seen.iter_mut().filter(|each| failed && each.is_current());
            if let Some(each) = current.next()
                && each.proof == Proof::None
            {
                each.proof = Proof::Trial(now);
            }
            seen.retain(|each| each.until.is_none_or(|until| now < until + STATION_HOLD));
        }
        self.0.retain(|_, seen| !seen.is_empty());
        let all = self.0.values().flatten();
        let ends = all.flat_map(|each| [each.trial_end(), each.until.map(|at| at + STATION_HOLD)]);
        ends.flatten().min()
    }

    /// Where the address was seen on this interface, latest last.
    #[must_use]
    pub fn of(&self, link: u32, address: IpAddr) -> &[Seen] {
        self.0.get(&(link, address)).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: u32 = 2;

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

    fn last_bytes(macs: &Macs, which: impl Fn(&Seen) -> bool) -> Vec<u8> {
        let seen = macs.of(LINK, address()).iter().filter(|each| which(each));
        seen.map(|each| each.mac.bytes()[5]).collect()
    }

    #[test]
    fn macs_of_an_address_add_up_bounded() {
        let mut macs = Macs::default();
        assert!(macs.learn(at(0), &known(1)) && macs.learn(at(0), &known(2)));
        assert!(!macs.learn(at(0), &known(1)), "it came back");
        assert_eq!(last_bytes(&macs, Seen::is_current), [1]);
        assert!(!macs.learn(at(0), &gone(address())));
        assert_eq!(last_bytes(&macs, |_| true), [2, 1]);
        assert_eq!(last_bytes(&macs, Seen::is_current), []);
        assert_eq!(macs.of(3, address()), []);
        macs.learn(at(0), &known(1));
        assert!(macs.came_up(at(1), address()));
        assert!((3..30).all(|last| macs.learn(at(1) + CONFIRM_AFTER, &known(last))));
        let rest = std::iter::once(1).chain(15..30);
        assert_eq!(last_bytes(&macs, |_| true), rest.collect::<Vec<_>>());
    }

    #[test]
    fn a_session_confirms_where_it_came_up_if_it_lasts_and_the_address_stays() {
        let end = CONFIRM_AFTER.as_secs();
        let confirmed = |macs: &Macs| last_bytes(macs, Seen::is_confirmed);
        for (lasts, stays, expected) in [
            (end, end, &[1][..]),
            (end - 1, end, &[]),
            (end, end - 1, &[]),
        ] {
            let mut macs = Macs::default();
            assert!(!macs.came_up(at(0), address()), "nowhere");
            macs.learn(at(0), &known(1));
            assert!(macs.came_up(at(10), address()));
            assert_eq!(confirmed(&macs), [1], "from then on");
            if stays < lasts {
                macs.learn(at(10 + stays), &known(2));
                macs.went_down(at(10 + lasts), address());
            } else {
                macs.went_down(at(10 + lasts), address());
                macs.learn(at(10 + stays), &known(2));
            }
            assert_eq!(confirmed(&macs), expected, "{lasts} {stays}");
        }
    }

    #[test]
    fn a_forged_answer_during_the_trial_changes_nothing_and_one_before_it_does_not_last() {
        let confirmed = |macs: &Macs| last_bytes(macs, Seen::is_confirmed);
        let mut macs = Macs::default();
        macs.learn(at(0), &known(1));
        macs.came_up(at(0), address());
        for (second, mac) in [(5, 66), (9, 1)] {
            macs.learn(at(second), &known(mac));
            assert_eq!(confirmed(&macs), [1]);
        }
        macs.age(at(0) + CONFIRM_AFTER);
        assert_eq!(confirmed(&macs), [1]);

        let mut macs = Macs::default();
        macs.learn(at(0), &known(66));
        macs.came_up(at(0), address());
        macs.learn(at(1), &known(1));
        assert_eq!(confirmed(&macs), [66]);
        assert_eq!(macs.age(at(2)), Some(CONFIRM_AFTER));
        macs.age(CONFIRM_AFTER);
        assert_eq!(confirmed(&macs), [1], "where the session lasts");
    }

    #[test]
    fn a_mac_that_its_address_left_stays_for_a_day() {
        let mut macs = Macs::default();
        macs.learn(at(0), &known(1));
        assert_eq!(macs.age(at(5)), None);
        macs.learn(at(10), &known(2));
        let end = at(10) + STATION_HOLD;
        assert_eq!(macs.age(end - at(1)), Some(end));
        assert_eq!(last_bytes(&macs, |_| true), [1, 2]);
        assert_eq!(macs.age(end), None);
        assert_eq!(last_bytes(&macs, |_| true), [2]);
        macs.learn(end, &gone(address()));
        macs.age(end + STATION_HOLD);
        assert_eq!(macs, Macs::default());
    }
}
