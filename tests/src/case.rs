//! The case file: a line per case, the same for every engine. Never interprets a frame.

use filter_core::Reason;

use crate::frame;
use crate::world::{self, World};

/// One line of the case file.
#[derive(Debug)]
pub struct Case {
    /// Where it happens.
    pub world: &'static World,
    /// What it shows.
    pub name: &'static str,
    /// Whom the packet counts for; the interface if `None`.
    pub peer: Option<&'static str>,
    /// The frame.
    pub frame: Vec<u8>,
    /// Why it gets the fate it gets.
    pub reason: Reason,
    /// The policy's sentence, the row or the standard it comes from.
    pub source: &'static str,
}

static TEXT: &str = include_str!("../cases/verdict.cases");

/// All cases, in the file's order.
///
/// # Panics
/// With the line, if one cannot be read: the file is part of the source.
#[must_use]
pub fn all() -> Vec<Case> {
    let mut world = None;
    let mut cases = Vec::new();
    for (number, line) in (1..).zip(TEXT.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(section) = line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'))
        {
            world = world::named(section);
            assert!(
                world.is_some(),
                "verdict.cases:{number}: unknown world `{section}`"
            );
            continue;
        }
        let case = world
            .ok_or("before any section".to_owned())
            .and_then(|world| parse(world, line));
        cases.push(case.unwrap_or_else(|why| panic!("verdict.cases:{number}: {why}: {line}")));
    }
    cases
}

/// The cases of one world.
#[must_use]
pub fn of(world: &World) -> Vec<Case> {
    all()
        .into_iter()
        .filter(|case| case.world.name == world.name)
        .collect()
}

fn parse(world: &'static World, line: &'static str) -> Result<Case, String> {
    let fields: Vec<&str> = line.split(" | ").map(str::trim).collect();
    let [name, peer, text, reason, source] = fields[..] else {
        return Err(format!("{} fields, not 5", fields.len()));
    };
    let peer = (peer != "-").then_some(peer);
    if peer.is_some_and(|peer| world.peers.iter().all(|known| known.name != peer)) {
        return Err("no such peer in this world".to_owned());
    }
    Ok(Case {
        world,
        name,
        peer,
        frame: frame::build(text)?,
        reason: Reason::from_name(reason).ok_or("no such reason")?,
        source,
    })
}
