//! What may be in the way of a packet: empty programs, this filter at each hook, nftables, `rp_filter`, nothing.
use std::fs;

use filter_loader::{AttachMode, Engine, HookKind};

use super::shapes::Shape;
use super::table::{NEAR, Table};
use crate::measure::Result;
use crate::wire::{Hooked, InTheWay, Nft, Nothing, has};

pub const NO_FILTER: &str = "no filter";
const NATIVE: &str = "this filter, native XDP";
const GENERIC: &str = "this filter, generic XDP";
const TC: &str = "this filter, tc";
pub const OURS: [&str; 3] = [NATIVE, GENERIC, TC];

/// This filter's row at a hook.
pub const fn ours(kind: HookKind) -> &'static str {
    match kind {
        HookKind::XdpNative | HookKind::XdpAdopted => NATIVE,
        HookKind::XdpGeneric => GENERIC,
        HookKind::Tc => TC,
    }
}

/// A hook's name without the filter's.
pub fn hook(way: &str) -> &str {
    way.trim_start_matches("this filter, ")
}

/// One of them, by its name in the table of results.
pub struct Way<'a> {
    pub name: &'static str,
    pub filter: Box<dyn InTheWay + 'a>,
    drops: bool,
}

impl Way<'_> {
    /// Does it have anything to show there? A program that drops nothing has not where all is to be dropped.
    pub fn fits(&self, shape: &Shape) -> bool {
        self.drops || !shape.is_dropped || self.name == NO_FILTER
    }
}

/// All of them, loaded, and the hook that `auto` takes.
pub fn all(table: &Table) -> Result<(Vec<Way<'_>>, HookKind)> {
    let world = &table.world;
    let mut ways = vec![way(NO_FILTER, Nothing, false)];
    for (name, mode) in [
        ("an empty program, native XDP", AttachMode::Native),
        ("an empty program, generic XDP", AttachMode::Generic),
        ("an empty program, tc", AttachMode::Tc),
    ] {
        let empty = Hooked::new(world, Engine::BenchTables, Some("empty"), mode)?;
        ways.push(way(name, empty, false));
    }
    for (name, mode) in [
        (NATIVE, AttachMode::Native),
        (GENERIC, AttachMode::Generic),
        (TC, AttachMode::Tc),
    ] {
        let filter = Hooked::new(world, Engine::Tables, None, mode)?;
        ways.push(way(name, filter, true));
    }
    match has("nft") {
        true => {
            let nft = Nft::new(table.sources(), &world.peers[0].destinations)?;
            ways.push(way("nftables netdev, interval sets", nft, true));
        }
        false => println!("nftables: not measured: there is no `nft` (Debian: nftables)"),
    }
    ways.push(way("rp_filter, strict", RpFilter, true));
    let auto = Hooked::new(world, Engine::Tables, None, AttachMode::Auto)?.takes()?;
    Ok((ways, auto))
}

fn way<'a>(name: &'static str, filter: impl InTheWay + 'a, drops: bool) -> Way<'a> {
    Way {
        name,
        filter: Box::new(filter),
        drops,
    }
}

/// RFC 3704 strict reverse path filtering, of the router's routes.
struct RpFilter;

impl RpFilter {
    fn set(value: &str) -> Result<()> {
        let switch = format!("/proc/sys/net/ipv4/conf/{NEAR}/rp_filter");
        Ok(fs::write(switch, value)?)
    }
}

impl InTheWay for RpFilter {
    fn name(&self) -> String {
        "rp_filter".to_owned()
    }

    fn on(&mut self) -> Result<()> {
        Self::set("1")
    }

    fn off(&mut self, _all_good: bool) -> Result<()> {
        Self::set("0")
    }
}
