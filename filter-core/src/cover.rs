//! Which prefix explains a match: longest-prefix match over `treebitmap`.
//! Never on the data path, never decides membership: that is [`crate::set`] and the compiled tables.
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use treebitmap::IpLookupTable;

use crate::address::Address;
use crate::prefix::Prefix;

/// A longest-prefix-match table of prefixes of both families.
pub struct Cover {
    ipv4: IpLookupTable<Ipv4Addr, ()>,
    ipv6: IpLookupTable<Ipv6Addr, ()>,
}

impl Cover {
    /// Adds a prefix. Canonical by type: `treebitmap` panics on some prefixes with host bits.
    pub fn insert(&mut self, prefix: Prefix) {
        let len = u32::from(prefix.len());
        match IpAddr::from(prefix.address()) {
            IpAddr::V4(v4) => _ = self.ipv4.insert(v4, len, ()),
            IpAddr::V6(v6) => _ = self.ipv6.insert(v6, len, ()),
        }
    }

    /// The longest prefix that contains the address.
    #[must_use]
    pub fn longest(&self, address: Address) -> Option<Prefix> {
        let len = match IpAddr::from(address) {
            IpAddr::V4(v4) => self.ipv4.longest_match(v4)?.1,
            IpAddr::V6(v6) => self.ipv6.longest_match(v6)?.1,
        };
        Prefix::new(address, u8::try_from(len).ok()?).ok()
    }
}

impl Default for Cover {
    fn default() -> Self {
        Self {
            ipv4: IpLookupTable::new(),
            ipv6: IpLookupTable::new(),
        }
    }
}

impl FromIterator<Prefix> for Cover {
    fn from_iter<I: IntoIterator<Item = Prefix>>(prefixes: I) -> Self {
        let mut cover = Self::default();
        prefixes.into_iter().for_each(|prefix| cover.insert(prefix));
        cover
    }
}

impl fmt::Debug for Cover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Cover({} + {} prefixes)",
            self.ipv4.len(),
            self.ipv6.len()
        )
    }
}
