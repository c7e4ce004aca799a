//! Addresses that are never a valid source between networks: the IANA special-purpose registries.
//! A dated list, never fetched; `[router] bogon_exceptions` takes blocks out of it.
use crate::prefix::Prefix;
use crate::set::PrefixSet;

/// When the lists below were last compared with the registries.
pub const AS_OF: &str = "2026-11-21";

/// IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890): every block that is not marked globally
/// reachable, and what can never be a source at all.
const BLOCKS: &[&str] = &[
    "0.0.0.0/8",       // this network, RFC 791
    "10.0.0.0/8",      // private use, RFC 1918
    "100.64.0.0/10",   // shared address space, RFC 6598
    "127.0.0.0/8",     // loopback, RFC 1122
    "169.254.0.0/16",  // link local, RFC 3927
    "172.16.0.0/12",   // private use, RFC 1918
    "192.0.0.0/24",    // IETF protocol assignments, RFC 6890
    "192.0.2.0/24",    // documentation, RFC 5737
    "192.88.99.0/24",  // deprecated 6to4 relay anycast, RFC 7526
    "192.168.0.0/16",  // private use, RFC 1918
    "198.18.0.0/15",   // benchmarking, RFC 2544
    "198.51.100.0/24", // documentation, RFC 5737
    "203.0.113.0/24",  // documentation, RFC 5737
    "224.0.0.0/4",     // multicast, never a source, RFC 1112
    "240.0.0.0/4",     // reserved, and limited broadcast, RFC 1112 and 8190
    "::/3",            // outside global unicast, RFC 4291: loopback, mapped, discard-only, …
    "4000::/2",        // outside global unicast
    "8000::/1",        // outside global unicast: unique local, link local, multicast
    "2001::/23",       // IETF protocol assignments, RFC 2928: TEREDO, benchmarking, …
    "2001:db8::/32",   // documentation, RFC 3849
    "2002::/16",       // 6to4, RFC 3056 and 7526
    "3fff::/20",       // documentation, RFC 9637
];

/// Parts of the blocks above that their registry marks globally reachable.
const REACHABLE: &[&str] = &[
    "192.0.0.9/32",    // Port Control Protocol anycast, RFC 7723
    "192.0.0.10/32",   // TURN anycast, RFC 8155
    "2001:1::1/128",   // Port Control Protocol anycast, RFC 7723
    "2001:1::2/128",   // TURN anycast, RFC 8155
    "2001:1::3/128",   // DNS-SD service registration anycast, RFC 9665
    "2001:3::/32",     // AMT, RFC 7450
    "2001:4:112::/48", // AS112-v6, RFC 7535
    "2001:20::/28",    // ORCHIDv2, RFC 7343
    "2001:30::/28",    // drone remote identification, RFC 9374
];

/// The bogons, less the operator's exceptions.
#[must_use]
pub fn bogons(exceptions: &[Prefix]) -> PrefixSet {
    list(BLOCKS)
        .subtract(&list(REACHABLE))
        .subtract(&exceptions.iter().copied().collect())
}

fn list(texts: &[&str]) -> PrefixSet {
    // The lists are constants and a test reads every entry, so none is skipped here.
    texts
        .iter()
        .filter_map(|text| text.parse::<Prefix>().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;
    use core::net::IpAddr;

    fn is_bogon(set: &PrefixSet, text: &str) -> bool {
        set.contains(Address::from(text.parse::<IpAddr>().unwrap()))
    }

    #[test]
    fn every_entry_is_a_canonical_prefix() {
        for text in BLOCKS.iter().chain(REACHABLE) {
            assert_eq!(text.parse::<Prefix>().unwrap().to_string(), **text);
        }
    }

    #[test]
    fn edges_of_the_registries() {
        let set = bogons(&[]);
        for text in [
            "0.0.0.0",
            "10.0.0.0",
            "10.255.255.255",
            "100.64.0.0",
            "100.127.255.255",
            "127.0.0.1",
            "172.16.0.0",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "198.19.255.255",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:8.8.8.8",
            "fe80::1",
            "fc00::1",
            "ff02::1",
            "1fff::1",
            "4000::",
            "2001::1",
            "2001:db8::1",
            "2001:db8:ffff::",
            "3fff:fff::1",
            "2002::1",
        ] {
            assert!(is_bogon(&set, text), "{text}");
        }
        for text in [
            "1.1.1.1",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.0.9",
            "192.0.1.0",
            "192.175.48.1",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "45.146.194.1",
            "2000::",
            "2001:200::1",
            "2001:1::3",
            "2001:4:112::1",
            "2a13:47c0:146::1",
            "3fff:1000::",
            "2620:4f:8000::1",
        ] {
            assert!(!is_bogon(&set, text), "{text}");
        }
    }

    #[test]
    fn exceptions_are_taken_out_exactly() {
        let set = bogons(&[
            "198.51.100.0/24".parse().unwrap(),
            "10.1.0.0/16".parse().unwrap(),
        ]);
        assert!(!is_bogon(&set, "198.51.100.255") && !is_bogon(&set, "10.1.255.255"));
        assert!(
            is_bogon(&set, "10.0.255.255")
                && is_bogon(&set, "10.2.0.0")
                && is_bogon(&set, "203.0.113.0")
        );
    }
}
