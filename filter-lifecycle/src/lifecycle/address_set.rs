//! One side of one peer as addresses: S'(p) or D'(p), worked out anew only where a prefix came or went. Never knows
//! who announces a prefix; what is valid, and what no announcement can claim, is for the caller to say.
use filter_core::Prefix;
use filter_core::set::PrefixSet;

/// Changed prefixes are looked at one by one as long as they are at most this part of all, and [`FEW`]; beyond, one
/// pass over everything is cheaper.
const PART: usize = 16;
/// So many changes are always looked at one by one.
const FEW: usize = 64;

/// The valid prefixes of one side, as [`AddressSet`] asks for them.
pub(super) trait Valid {
    /// All of them.
    fn all(&self) -> PrefixSet;
    /// Those that decide about the addresses of this prefix: itself, if one covers it, else those within it.
    fn within(&self, prefix: Prefix) -> impl Iterator<Item = Prefix>;
}

/// S'(p) or D'(p), kept up to date prefix by prefix.
#[derive(Debug, Default)]
pub(super) struct AddressSet {
    set: PrefixSet,
    /// Addresses that are in the set whatever is announced: extras, and our own addresses.
    always: PrefixSet,
    changed: Changed,
}

/// What has changed since the set was worked out.
#[derive(Debug, Default)]
enum Changed {
    These(Vec<Prefix>),
    #[default]
    Everything,
}

impl AddressSet {
    /// This prefix came or went; `len` are valid now.
    pub(super) fn changed(&mut self, prefix: Prefix, len: usize) {
        if let Changed::These(prefixes) = &mut self.changed {
            prefixes.push(prefix);
            if prefixes.len() > FEW.max(len / PART) {
                self.changed = Changed::Everything;
            }
        }
    }

    /// (valid − `withheld`) ∪ `always`, as it is now.
    pub(super) fn update(
        &mut self,
        valid: &impl Valid,
        withheld: &PrefixSet,
        always: &PrefixSet,
    ) -> PrefixSet {
        if self.always != *always {
            self.always = always.clone();
            self.changed = Changed::Everything;
        }
        let changed = std::mem::replace(&mut self.changed, Changed::These(Vec::new()));
        self.set = match changed {
            Changed::Everything => valid.all().subtract(withheld).union(always),
            Changed::These(prefixes) => {
                let windows: PrefixSet = prefixes.iter().copied().collect();
                let inside: PrefixSet = prefixes.iter().flat_map(|&p| valid.within(p)).collect();
                let inside = inside.subtract(withheld).union(&always.intersect(&windows));
                self.set.patch(&windows, &inside)
            }
        };
        self.set.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    struct List(BTreeSet<Prefix>);

    impl Valid for List {
        fn all(&self) -> PrefixSet {
            self.0.iter().copied().collect()
        }

        fn within(&self, prefix: Prefix) -> impl Iterator<Item = Prefix> {
            let is_covered = self.0.iter().any(|other| other.covers(prefix));
            let inside = self.0.iter().copied().filter(move |&p| prefix.covers(p));
            inside.chain(is_covered.then_some(prefix))
        }
    }

    fn set(texts: &[&str]) -> PrefixSet {
        texts
            .iter()
            .map(|text| text.parse::<Prefix>().unwrap())
            .collect()
    }

    #[test]
    fn any_history_ends_where_starting_anew_does() {
        let withheld = set(&["10.7.0.0/16", "10.1.3.0/24", "2001:db8:5::/48"]);
        let always = set(&["10.7.7.0/24", "10.200.0.1/32", "2001:db8:5::1/128"]);
        let mut valid = List(BTreeSet::new());
        let mut addresses = AddressSet::default();
        let mut random = filter_core::table::shapes::Random(1);
        for step in 0..5000 {
            for _ in 0..random.below(4) {
                let base = if random.below(3) == 0 {
                    "2001:db8::/32"
                } else {
                    "10.0.0.0/8"
                };
                let base: Prefix = base.parse().unwrap();
                let len = base.len() + random.below(17) as u8;
                let prefix = Prefix::new(random.within(base), len).unwrap();
                if !valid.0.remove(&prefix) {
                    valid.0.insert(prefix);
                }
                addresses.changed(prefix, valid.0.len());
                if random.below(2) == 0
                    && let Some(&some) = valid
                        .0
                        .iter()
                        .nth(random.below(valid.0.len() as u64) as usize)
                {
                    valid.0.remove(&some);
                    addresses.changed(some, valid.0.len());
                }
            }
            let now = addresses.update(&valid, &withheld, &always);
            assert_eq!(
                now,
                valid.all().subtract(&withheld).union(&always),
                "step {step}"
            );
        }
    }

    #[test]
    fn with_many_changes_everything_is_worked_out_once() {
        let mut addresses = AddressSet::default();
        let none = PrefixSet::default();
        let empty = List(BTreeSet::new());
        addresses.update(&empty, &none, &none);
        let prefix: Prefix = "10.0.0.0/8".parse().unwrap();
        (0..FEW).for_each(|_| addresses.changed(prefix, 0));
        assert!(matches!(&addresses.changed, Changed::These(list) if list.len() == FEW));
        addresses.changed(prefix, PART * (FEW + 1));
        assert!(matches!(&addresses.changed, Changed::These(list) if list.len() == FEW + 1));
        addresses.changed(prefix, 0);
        assert!(matches!(addresses.changed, Changed::Everything));
    }

    #[test]
    fn other_extras_count_at_once() {
        let valid = List(["10.0.0.0/8".parse().unwrap()].into());
        let mut addresses = AddressSet::default();
        let none = PrefixSet::default();
        assert_eq!(addresses.update(&valid, &none, &none), set(&["10.0.0.0/8"]));
        let extra = set(&["192.0.2.0/24"]);
        assert_eq!(
            addresses.update(&valid, &none, &extra),
            set(&["10.0.0.0/8", "192.0.2.0/24"])
        );
        assert_eq!(addresses.update(&valid, &none, &none), set(&["10.0.0.0/8"]));
    }
}
