//! Prefixes as the lifecycle's tables keep them: a third smaller than [`Prefix`], which is what a million routes
//! cost. The family is that of the table they stand in. Knows nothing of routes.
use std::hash::{Hash, Hasher};

use filter_core::{Address, Family, Prefix};

/// A prefix of a known family, with a path identifier (RFC 7911) or without (0).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RouteKey {
    bits: [u32; 4],
    path: u32,
    len: u8,
}

impl RouteKey {
    pub(super) const fn new(prefix: Prefix, path: u32) -> Self {
        let Address { hi, lo, .. } = prefix.address();
        Self {
            bits: [(hi >> 32) as u32, hi as u32, (lo >> 32) as u32, lo as u32],
            path,
            len: prefix.len(),
        }
    }

    /// The prefix; `family` is that of the table it was found in.
    pub(super) fn prefix(self, family: Family) -> Prefix {
        let [a, b, c, d] = self.bits.map(u64::from);
        let address = Address {
            family,
            hi: a << 32 | b,
            lo: c << 32 | d,
        };
        // It came from a prefix of this family, so its length fits: no other answer is possible.
        Prefix::new(address, self.len).unwrap_or_else(|_| Prefix::host(address))
    }
}

/// Two writes to the hasher instead of six.
impl Hash for RouteKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [a, b, c, d] = self.bits.map(u128::from);
        state.write_u128(a << 96 | b << 64 | c << 32 | d);
        state.write_u64(u64::from(self.path) << 8 | u64::from(self.len));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_the_prefixes() {
        for text in [
            "0.0.0.0/0",
            "192.0.2.0/24",
            "255.255.255.255/32",
            "::/0",
            "2001:db8:1:2:3:4:5:6/128",
        ] {
            let prefix: Prefix = text.parse().unwrap();
            let key = RouteKey::new(prefix, 7);
            assert_ne!(key, RouteKey::new(prefix, 8));
            assert_eq!(key.prefix(prefix.family()), prefix, "{text}");
        }
        assert_eq!(size_of::<RouteKey>(), 24);
    }
}
