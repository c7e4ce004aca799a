//! Bar 5: the same table in user space beside the crates people use. Never touches the kernel.
use std::hint::black_box;
use std::net::IpAddr;
use std::time::Instant;

use filter_core::table::shapes::hits;
use filter_core::table::{self, Lookup, Placed};
use filter_core::{Address, Family, Prefix};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use poptrie::Poptrie;
use prefix_trie::PrefixSet as TrieSet;
use treebitmap::IpLookupTable;

use crate::dpdk::Fib;
use crate::measure::{Effort, Result, in_turns};
use crate::report::{Goal, Report, Row};
use crate::world;

/// Addresses asked for.
const ADDRESSES: usize = 1 << 20;

/// A table's own way to answer.
pub type Ask = Box<dyn Fn(&[Address]) -> usize>;

/// How many of the addresses are members, by our table.
///
/// # Errors
/// If the table is too large for a chunk.
pub fn ours(family: Family, prefixes: &[Prefix]) -> Result<Ask> {
    let set: filter_core::set::PrefixSet = prefixes.iter().copied().collect();
    let compiled: Placed = table::compile(set.family(family))?.place(0)?;
    Ok(Box::new(move |addresses| {
        let is_member = |&&address: &&Address| {
            table::contains(Lookup {
                words: compiled.lines.as_slice(),
                set: compiled.descriptor,
                address,
            })
        };
        addresses.iter().filter(is_member).count()
    }))
}

/// The same by twos, as the program asks for a packet's source and destination: one walk's cache misses hide behind
/// the other's.
///
/// # Errors
/// If the table is too large for a chunk.
pub fn ours_by_twos(family: Family, prefixes: &[Prefix]) -> Result<Ask> {
    let set: filter_core::set::PrefixSet = prefixes.iter().copied().collect();
    let compiled: Placed = table::compile(set.family(family))?.place(0)?;
    Ok(Box::new(move |addresses| {
        let (words, set) = (compiled.lines.as_slice(), compiled.descriptor);
        let members = |pair: &[Address]| match *pair {
            [a, b] => {
                let lookup = |address| Lookup {
                    words,
                    set,
                    address,
                };
                let both = table::contains_both(lookup(a), lookup(b));
                usize::from(both.source) + usize::from(both.destination)
            }
            _ => 0,
        };
        addresses.chunks_exact(2).map(members).sum()
    }))
}

/// By `treebitmap`.
#[must_use]
pub fn treebitmap(family: Family, prefixes: &[Prefix]) -> Ask {
    let (mut v4, mut v6) = (IpLookupTable::new(), IpLookupTable::new());
    for &prefix in prefixes {
        match IpNet::from(prefix) {
            IpNet::V4(net) => _ = v4.insert(net.addr(), net.prefix_len().into(), ()),
            IpNet::V6(net) => _ = v6.insert(net.addr(), net.prefix_len().into(), ()),
        }
    }
    match family {
        Family::Ipv4 => count(move |address| match IpAddr::from(address) {
            IpAddr::V4(v4_address) => v4.longest_match(v4_address).is_some(),
            IpAddr::V6(_) => false,
        }),
        Family::Ipv6 => count(move |address| match IpAddr::from(address) {
            IpAddr::V6(v6_address) => v6.longest_match(v6_address).is_some(),
            IpAddr::V4(_) => false,
        }),
    }
}

/// By `prefix-trie`.
#[must_use]
pub fn prefix_trie(family: Family, prefixes: &[Prefix]) -> Ask {
    let (mut v4, mut v6) = (TrieSet::<Ipv4Net>::new(), TrieSet::<Ipv6Net>::new());
    for &prefix in prefixes {
        match IpNet::from(prefix) {
            IpNet::V4(net) => _ = v4.insert(net),
            IpNet::V6(net) => _ = v6.insert(net),
        }
    }
    match family {
        Family::Ipv4 => count(move |address| match IpAddr::from(address) {
            IpAddr::V4(host) => v4.get_lpm(&host.into()).is_some(),
            IpAddr::V6(_) => false,
        }),
        Family::Ipv6 => count(move |address| match IpAddr::from(address) {
            IpAddr::V6(host) => v6.get_lpm(&host.into()).is_some(),
            IpAddr::V4(_) => false,
        }),
    }
}

/// By `poptrie`, IPv4 only. It inserts in linear time, so large tables take it hours.
#[must_use]
pub fn poptrie(prefixes: &[Prefix]) -> Ask {
    let mut trie = Poptrie::<Ipv4Net, ()>::new();
    for &prefix in prefixes {
        if let IpNet::V4(net) = IpNet::from(prefix) {
            trie.insert(net, ());
        }
    }
    count(move |address| trie.lookup((address.hi >> 32) as u32).is_some())
}

fn count(is_member: impl Fn(Address) -> bool + 'static) -> Ask {
    Box::new(move |addresses| {
        addresses
            .iter()
            .filter(|&&address| is_member(address))
            .count()
    })
}

fn time(ask: &Ask, addresses: &[Address]) -> Result<f64> {
    let start = Instant::now();
    let members = black_box(ask(black_box(addresses)));
    if members != addresses.len() {
        return Err(format!("{members} of {} members found", addresses.len()).into());
    }
    Ok(start.elapsed().as_secs_f64() * 1e9 / addresses.len() as f64)
}

/// Bar 5.
///
/// # Errors
/// If a table finds fewer members than there are.
pub fn compare(report: &mut Report, effort: Effort) -> Result<()> {
    for (family, size) in [(Family::Ipv4, 1_000_000), (Family::Ipv6, 230_000)] {
        let prefixes = world::table(family, size)?;
        let addresses = hits(&prefixes, ADDRESSES, 21);
        let mine = ours(family, &prefixes)?;
        let bitmap = treebitmap(family, &prefixes);
        let trie = prefix_trie(family, &prefixes);
        let mut fib = Fib::start(family, &prefixes, &addresses)?;
        let by_twos = ours_by_twos(family, &prefixes)?;
        let [mine, by_twos, bitmap, trie, fib] = in_turns(
            effort.rounds,
            [
                &mut |_| time(&mine, &addresses),
                &mut |_| time(&by_twos, &addresses),
                &mut |_| time(&bitmap, &addresses),
                &mut |_| time(&trie, &addresses),
                &mut |_| fib.as_mut().map_or(Ok(0.0), Fib::time),
            ],
        )?;
        let case = format!(
            "userspace lookup, {family}, {} prefixes, random",
            prefixes.len()
        );
        report.add(Row::faster(
            5,
            &case,
            mine,
            "treebitmap",
            bitmap,
            Goal::AtLeast(5.0),
        ));
        report.add(Row::faster(5, &case, mine, "prefix-trie", trie, Goal::None));
        if fib > 0.0 {
            let name = "DPDK rte_fib, bursts of 64";
            report.add(Row::times(5, &case, mine, name, fib, Goal::AtMost(1.5)));
            let case = format!("{case}, by twos");
            report.add(Row::times(5, &case, by_twos, name, fib, Goal::None));
        }
    }
    let size = if effort.quick { 20_000 } else { 100_000 };
    let prefixes = filter_core::table::shapes::full_table(Family::Ipv4, size, 7);
    let addresses = hits(&prefixes, ADDRESSES, 21);
    let mine = ours(Family::Ipv4, &prefixes)?;
    let pop = poptrie(&prefixes);
    let [mine, pop] = in_turns(
        effort.rounds,
        [&mut |_| time(&mine, &addresses), &mut |_| {
            time(&pop, &addresses)
        }],
    )?;
    let case = format!("userspace lookup, ipv4, {size} prefixes, random");
    report.add(Row::times(
        5,
        &case,
        mine,
        "poptrie",
        pop,
        Goal::AtMost(1.5),
    ));
    Ok(())
}
