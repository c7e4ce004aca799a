//! Which announcements count towards S(p) (SPEC section 5): a peer must not announce its way out of the filter.
//! One pure rule for live feeds and for replay. Never looks at D(p), counts nothing, remembers nothing.
use filter_core::Prefix;
use filter_core::set::PrefixSet;

use crate::spec::{Bounds, PerFamily};

/// Where an announcement comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provenance {
    /// The operator wrote it down: any length is meant.
    Static,
    /// A peer said so, by whatever feed.
    Dynamic,
}

/// What the rule knows besides the prefix.
#[derive(Clone, Copy, Debug)]
pub struct AdmissionContext<'a> {
    /// The peer's `prefix_bounds`.
    pub bounds: PerFamily<Bounds>,
    /// `[router] prefixes`.
    pub ours: &'a PrefixSet,
    /// The bogons, less the exceptions.
    pub bogons: &'a PrefixSet,
    /// The LAN prefixes of every interface.
    pub lan: &'a PrefixSet,
}

/// Why an announcement is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It covers every address.
    #[error("a default route")]
    DefaultRoute,
    /// Shorter or longer than `prefix_bounds`.
    #[error("of a length outside prefix_bounds, /{min} to /{max}")]
    OutOfBounds {
        /// The shortest allowed.
        min: u8,
        /// The longest allowed.
        max: u8,
    },
    /// Within `[router] prefixes`.
    #[error("within our own prefixes")]
    Ours,
    /// Within the bogon list.
    #[error("within the bogon list")]
    Bogon,
    /// Within a peering LAN.
    #[error("within a peering lan")]
    Lan,
}

impl Refusal {
    /// The name in counters and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DefaultRoute => "default-route",
            Self::OutOfBounds { .. } => "prefix-bounds",
            Self::Ours => "ours",
            Self::Bogon => "bogon",
            Self::Lan => "lan",
        }
    }
}

/// May this announcement stand in S(p)? One that merely overlaps what is withheld is admitted: the compilation
/// of S'(p) cuts the holes.
///
/// # Errors
/// The first rule it breaks.
pub fn admit(
    prefix: Prefix,
    context: &AdmissionContext<'_>,
    provenance: Provenance,
) -> Result<(), Refusal> {
    if prefix.len() == 0 {
        return Err(Refusal::DefaultRoute);
    }
    let Bounds { min, max } = *context.bounds.get(prefix.family());
    if provenance == Provenance::Dynamic && !(min..=max).contains(&prefix.len()) {
        return Err(Refusal::OutOfBounds { min, max });
    }
    if context.ours.covers(prefix) {
        return Err(Refusal::Ours);
    }
    if context.bogons.covers(prefix) {
        return Err(Refusal::Bogon);
    }
    if context.lan.covers(prefix) {
        return Err(Refusal::Lan);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::DEFAULT_BOUNDS;

    fn set(texts: &[&str]) -> PrefixSet {
        texts
            .iter()
            .map(|text| text.parse::<Prefix>().unwrap())
            .collect()
    }

    #[test]
    fn each_rule_at_its_edges() {
        let (ours, lan) = (set(&["198.51.100.0/24"]), set(&["203.0.113.0/24"]));
        let bogons = filter_core::bogon::bogons(&["198.51.100.0/24".parse().unwrap()]);
        let context = AdmissionContext {
            bounds: DEFAULT_BOUNDS,
            ours: &ours,
            bogons: &bogons,
            lan: &lan,
        };
        let bounds4 = Err(Refusal::OutOfBounds { min: 8, max: 24 });
        let bounds6 = Err(Refusal::OutOfBounds { min: 16, max: 48 });
        let cases = [
            (
                "0.0.0.0/0",
                Err(Refusal::DefaultRoute),
                Err(Refusal::DefaultRoute),
            ),
            (
                "::/0",
                Err(Refusal::DefaultRoute),
                Err(Refusal::DefaultRoute),
            ),
            ("44.0.0.0/7", bounds4, Ok(())),
            ("44.0.0.0/8", Ok(()), Ok(())),
            ("45.146.194.0/24", Ok(()), Ok(())),
            ("45.146.194.0/25", bounds4, Ok(())),
            ("2a00::/15", bounds6, Ok(())),
            ("2a00::/16", Ok(()), Ok(())),
            ("2a13:47c0:146::/48", Ok(()), Ok(())),
            ("2a13:47c0:146::/49", bounds6, Ok(())),
            ("198.51.100.0/24", Err(Refusal::Ours), Err(Refusal::Ours)),
            ("198.51.100.64/26", bounds4, Err(Refusal::Ours)),
            ("198.51.100.0/23", Ok(()), Ok(())),
            ("10.1.0.0/16", Err(Refusal::Bogon), Err(Refusal::Bogon)),
            ("8.0.0.0/8", Ok(()), Ok(())),
            ("203.0.113.0/24", Err(Refusal::Bogon), Err(Refusal::Bogon)),
        ];
        for (text, dynamic, fixed) in cases {
            let prefix = text.parse().unwrap();
            assert_eq!(
                admit(prefix, &context, Provenance::Dynamic),
                dynamic,
                "{text}"
            );
            assert_eq!(admit(prefix, &context, Provenance::Static), fixed, "{text}");
        }
        let no_bogons = AdmissionContext {
            bogons: PrefixSet::empty(),
            ..context
        };
        let lan = "203.0.113.0/24".parse().unwrap();
        assert_eq!(
            admit(lan, &no_bogons, Provenance::Dynamic),
            Err(Refusal::Lan)
        );
    }
}
