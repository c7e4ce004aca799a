//! What is in force, class by class: the data plane's switch read back, and what stands between it and the wire.
//! The one place that knows how the switch is read. Never repeats a wish: what is wanted is said beside it.
use std::collections::BTreeMap;
use std::time::Duration;

use filter_core::{Class, Classes, Family};
use filter_lifecycle::status::{ClassStatus, Obstacle};

/// A peer or an interface: the holder of classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Holder {
    /// A peer's, by its slot.
    Peer(u32),
    /// An interface's, by its place in the specification.
    Interface(u16),
}

/// What the switch says of one peer or interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Switch {
    /// The classes there are for it.
    pub(crate) all: Classes,
    /// What configuration, operator and lifecycle grant.
    pub(crate) wanted: Classes,
    /// What the operator permits here.
    pub(crate) allowed: Classes,
    /// Does the operator permit anything anywhere? That stands over what is permitted here.
    pub(crate) allows_any: bool,
    /// What the data plane drops for, the lease included; none if it could not be read.
    pub(crate) dropping: Option<Classes>,
    /// What keeps the program from every packet of this peer or interface, whatever the switch says.
    pub(crate) off_wire: Option<Obstacle>,
    /// The classes that can be judged by what the program sees.
    pub(crate) judged: Classes,
    /// What else each class waits for.
    pub(crate) missing: Vec<Waiting>,
    /// When adopted tables give way at the latest.
    pub(crate) expected: Option<Duration>,
    /// What keeps the program from the packets, and from some classes, in sentences.
    pub(crate) sentences: Vec<(Obstacle, String)>,
}

impl Switch {
    fn sentence(&self, obstacle: Obstacle) -> String {
        let mut known = self.sentences.iter();
        let known = known.find(|(of, _)| *of == obstacle);
        known.map_or_else(|| obstacle.to_string(), |(_, sentence)| sentence.clone())
    }
}

/// What one class waits for, as far as routes and tables go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) class: Class,
    pub(crate) family: Option<Family>,
    pub(crate) obstacle: Obstacle,
    /// The same in a sentence.
    pub(crate) why: String,
    /// How long until it is expected to be there at the latest.
    pub(crate) expected: Option<Duration>,
}

/// What a row said, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Said {
    in_force: Option<bool>,
    missing: Option<Obstacle>,
    since: Duration,
}

/// Since when each class is as it is.
#[derive(Debug, Default)]
pub(crate) struct ClassWatch(BTreeMap<(Holder, Class, Option<Family>), Said>);

impl ClassWatch {
    /// Looks at one holder's classes; often, so that `since` is true to the second.
    pub(crate) fn look(&mut self, now: Duration, holder: Holder, switch: &Switch) {
        for row in rows(switch) {
            let said = self
                .0
                .entry((holder, row.class, row.family))
                .or_insert(Said {
                    in_force: row.in_force,
                    missing: row.missing,
                    since: now,
                });
            if (said.in_force, said.missing) != (row.in_force, row.missing) {
                (said.in_force, said.missing, said.since) = (row.in_force, row.missing, now);
            }
        }
    }

    /// The classes of one holder as they are now.
    pub(crate) fn status(
        &self,
        now: Duration,
        holder: Holder,
        switch: &Switch,
    ) -> Vec<ClassStatus> {
        let since = |row: &ClassStatus| {
            let said = self.0.get(&(holder, row.class, row.family));
            let said = said.filter(|said| said.in_force == row.in_force);
            let said = said.filter(|said| said.missing == row.missing);
            said.map_or(Duration::ZERO, |said| now.saturating_sub(said.since))
        };
        let mut rows = rows(switch);
        for row in &mut rows {
            row.since = since(row);
        }
        rows
    }

    /// Peers and interfaces have other numbers now.
    pub(crate) fn forget(&mut self) {
        self.0.clear();
    }
}

fn rows(switch: &Switch) -> Vec<ClassStatus> {
    let row = |(class, family): (Class, Option<Family>)| {
        let of = Classes::of_family(class, family.unwrap_or(Family::Ipv4));
        let (wanted, allowed_here) = (switch.wanted.meets(of), switch.allowed.meets(of));
        let allowed = allowed_here && switch.allows_any;
        let in_force = match (switch.off_wire, switch.dropping) {
            (Some(Obstacle::Unreadable), _) | (None, None) => None,
            (Some(_), _) => Some(false),
            (None, Some(dropping)) => Some(dropping.meets(of)),
        };
        let mut waiting = switch.missing.iter();
        let waiting = waiting.find(|each| (each.class, each.family) == (class, family));
        let unseen = Some(Obstacle::TagsHidden).filter(|_| !switch.judged.meets(of));
        let off_wire = switch.off_wire.or(unseen);
        let missing = match (wanted, allowed, in_force) {
            (false, ..) | (true, true, Some(true)) => None,
            (true, false, _) if allowed_here => Some(Obstacle::AllOff),
            (true, false, _) => Some(Obstacle::NotAllowed),
            (true, true, None) => Some(Obstacle::Unreadable),
            (true, true, Some(false)) => {
                let waits = waiting.map_or(Obstacle::NotPublished, |each| each.obstacle);
                off_wire.or(Some(waits))
            }
        };
        ClassStatus {
            class,
            family,
            wanted,
            allowed,
            in_force,
            missing,
            lacks: match (in_force, off_wire) {
                (Some(true), _) => None,
                (_, Some(obstacle)) => Some(switch.sentence(obstacle)),
                (_, None) => waiting.map(|each| each.why.clone()),
            },
            since: Duration::ZERO,
            expected: waiting
                .and_then(|each| each.expected)
                .or(switch.expected)
                .filter(|_| missing.is_some()),
        }
    };
    switch.all.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on() -> Switch {
        Switch {
            all: Classes::PEER,
            wanted: Classes::PEER,
            allowed: Classes::PEER,
            allows_any: true,
            dropping: Some(Classes::PEER),
            off_wire: None,
            judged: Classes::ALL,
            missing: Vec::new(),
            expected: None,
            sentences: Vec::new(),
        }
    }

    fn said(switch: Switch) -> Vec<(Option<bool>, Option<Obstacle>)> {
        let mut said: Vec<_> = rows(&switch)
            .iter()
            .map(|row| (row.in_force, row.missing))
            .collect();
        said.dedup();
        said
    }

    #[test]
    fn each_class_of_a_peer_has_a_row_for_each_of_its_families() {
        let rows = rows(&on());
        let names: Vec<_> = rows
            .iter()
            .map(|row| {
                let family = row.family.map_or("-", Family::name);
                format!("{} {family}", row.class)
            })
            .collect();
        assert_eq!(
            names,
            [
                "bogons ipv4",
                "bogons ipv6",
                "sources ipv4",
                "sources ipv6",
                "destinations ipv4",
                "destinations ipv6",
                "families -",
                "malformed -"
            ]
        );
    }

    #[test]
    fn nothing_is_in_force_that_is_not_on_the_wire_or_cannot_be_read() {
        assert_eq!(said(on()), [(Some(true), None)]);
        for obstacle in [Obstacle::NotAttached, Obstacle::LeaseEnded] {
            let off = Switch {
                off_wire: Some(obstacle),
                ..on()
            };
            assert_eq!(said(off), [(Some(false), Some(obstacle))]);
        }
        for (off_wire, dropping) in [
            (Some(Obstacle::Unreadable), Some(Classes::PEER)),
            (None, None),
        ] {
            let unread = Switch {
                off_wire,
                dropping,
                ..on()
            };
            assert_eq!(said(unread), [(None, Some(Obstacle::Unreadable))]);
        }
    }

    #[test]
    fn what_is_missing_is_said_only_of_what_is_wanted() {
        let off = Some(Classes::NONE);
        let loading = Switch {
            dropping: off,
            missing: vec![Waiting {
                class: Class::Sources,
                family: Some(Family::Ipv4),
                obstacle: Obstacle::Loading,
                why: "its ipv4 sources are still being received".to_owned(),
                expected: None,
            }],
            ..on()
        };
        let other = (Some(false), Some(Obstacle::NotPublished));
        let sources = (Some(false), Some(Obstacle::Loading));
        assert_eq!(said(loading.clone()), [other, sources, other]);
        let forbidden = Switch {
            allowed: Classes::NONE,
            ..loading.clone()
        };
        assert_eq!(
            said(forbidden.clone()),
            [(Some(false), Some(Obstacle::NotAllowed))]
        );
        for (switch, obstacle) in [
            (forbidden, Obstacle::NotAllowed),
            (loading.clone(), Obstacle::AllOff),
        ] {
            let all_off = Switch {
                allows_any: false,
                ..switch
            };
            assert!(rows(&all_off).iter().all(|row| !row.allowed));
            assert_eq!(said(all_off), [(Some(false), Some(obstacle))]);
        }
        let unwanted = Switch {
            wanted: Classes::NONE,
            ..loading
        };
        assert_eq!(said(unwanted), [(Some(false), None)]);
    }

    #[test]
    fn a_class_lacks_what_is_its_own_whether_it_is_wanted_or_not() {
        let lacks = |switch: &Switch| {
            let mut lacks: Vec<_> = rows(switch).into_iter().map(|row| row.lacks).collect();
            lacks.dedup();
            lacks
        };
        assert_eq!(lacks(&on()), [None]);
        let loading = "its ipv4 sources are still being received".to_owned();
        let observed = Switch {
            wanted: Classes::NONE,
            dropping: Some(Classes::NONE),
            missing: vec![Waiting {
                class: Class::Sources,
                family: Some(Family::Ipv4),
                obstacle: Obstacle::Loading,
                why: loading.clone(),
                expected: None,
            }],
            ..on()
        };
        assert_eq!(lacks(&observed), [None, Some(loading), None]);
        let detached = "the program is not on `ixp0`".to_owned();
        let off_wire = Switch {
            off_wire: Some(Obstacle::NotAttached),
            sentences: vec![(Obstacle::NotAttached, detached.clone())],
            ..observed
        };
        assert_eq!(lacks(&off_wire), [Some(detached)]);
    }

    #[test]
    fn since_runs_from_the_last_change() {
        let mut watch = ClassWatch::default();
        let holder = Holder::Peer(3);
        let at = Duration::from_secs;
        let off = Switch {
            off_wire: Some(Obstacle::NotAttached),
            ..on()
        };
        for (second, switch) in [(0, &off), (1, &off), (5, &on()), (6, &on())] {
            watch.look(at(second), holder, switch);
        }
        let since = |switch: &Switch| watch.status(at(9), holder, switch)[0].since;
        assert_eq!(since(&on()), at(4));
        assert_eq!(since(&off), at(0), "just changed");
    }
}
