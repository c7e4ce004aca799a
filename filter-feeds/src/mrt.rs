//! An MRT dump of a routing table (RFC 6396, TABLE_DUMP_V2, with RFC 8050 add-path) as one snapshot per session and
//! family: for the start and for replay. `bgpkit-parser` reads it; where it is lenient and only warns, we refuse the
//! whole file, but for two warnings that real dumps always raise. Records of other families are passed over, counted.
//! Plain, or compressed as collectors publish it. Never takes a part of a file for the table.
mod unpack;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bgpkit_parser::error::BgpValidationWarning;
use bgpkit_parser::models::{
    AsPath, AsPathSegment, Community as ParsedCommunity, MetaCommunity, MrtMessage, PeerIndexTable,
    RibAfiEntries, RibEntry, TableDumpV2Message, TableDumpV2Type,
};
use bgpkit_parser::parse_mrt_record;
use filter_core::{Asn, Family, Prefix};

use super::skipped::Skipped;
use super::{Feed, Outlet, Stopped};
use filter_lifecycle::route::{AdjRib, Community, Origin, PathHead, Route, RouteEvent, Session};

/// The largest file that is read, unless configured otherwise.
pub const DEFAULT_MAX_BYTES: u64 = 1 << 30;
/// How often the file is looked at. It is read when it has not changed for this long: routers write it in place.
pub const POLL: Duration = Duration::from_secs(5);

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MrtConfig {
    /// Where it is. Read again whenever it changes.
    pub path: PathBuf,
    /// Which table was dumped: [`AdjRib::InPostPolicy`] from most daemons, [`AdjRib::InPrePolicy`] from OpenBGPD's
    /// `dump rib Adj-RIB-In`.
    pub rib: AdjRib,
    /// A larger file is refused; default [`DEFAULT_MAX_BYTES`].
    pub max_bytes: u64,
}

impl MrtConfig {
    /// A dump of accepted routes, with the defaults.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self {
            path,
            rib: AdjRib::InPostPolicy,
            max_bytes: DEFAULT_MAX_BYTES,
        }
    }
}

/// Why a file is not believed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MrtError {
    /// It cannot be read.
    #[error("cannot read it: {0}")]
    Io(#[from] io::Error),
    /// It is too large.
    #[error("more than {0} bytes; raise max_bytes")]
    TooLarge(u64),
    /// It is empty, or holds no peer index table.
    #[error("no peer index table; it is no TABLE_DUMP_V2 file")]
    NoPeers,
    /// It does not decompress.
    #[error("cannot decompress it: {0}")]
    Compressed(io::Error),
    /// The old format, which names no peers.
    #[error(
        "record {0} is a TABLE_DUMP record (version 1); dump TABLE_DUMP_V2, which names the peers of each route"
    )]
    Version1(usize),
    /// A record cannot be read.
    #[error("record {number}: {why}")]
    Malformed {
        /// Which, from 1.
        number: usize,
        /// What the parser says.
        why: String,
    },
    /// A record is none of a table dump.
    #[error("record {0} is no part of a TABLE_DUMP_V2 table; dump a table, not messages")]
    NotATable(usize),
    /// A route of a peer that the index does not name.
    #[error("record {number} is of peer {peer}, which the peer index table does not name")]
    UnknownPeer {
        /// Which record, from 1.
        number: usize,
        /// The peer's index.
        peer: u16,
    },
}

/// The feed.
#[derive(Debug)]
pub struct MrtFeed {
    config: MrtConfig,
    skipped: Skipped,
}

impl MrtFeed {
    /// Does not look at the file yet.
    #[must_use]
    pub fn new(config: MrtConfig) -> Self {
        let skipped = Skipped::default();
        Self { config, skipped }
    }

    /// What a file looks like from outside; changes when it is written.
    fn stamp(&self) -> io::Result<(u64, SystemTime)> {
        let metadata = fs::metadata(&self.config.path)?;
        Ok((metadata.len(), metadata.modified()?))
    }

    /// Reads the file now.
    ///
    /// # Errors
    /// [`MrtError`]; a file is believed as a whole or not at all.
    pub fn load(&self) -> Result<Vec<RouteEvent>, MrtError> {
        let max = self.config.max_bytes;
        let mut bytes = Vec::new();
        // A pipe, or a device, would keep the feed waiting.
        if !fs::metadata(&self.config.path)?.is_file() {
            return Err(MrtError::Io(io::Error::other("it is no regular file")));
        }
        // One more than allowed shows a file that grew meanwhile.
        File::open(&self.config.path)?
            .take(max.saturating_add(1))
            .read_to_end(&mut bytes)?;
        if bytes.len() as u64 > max {
            return Err(MrtError::TooLarge(max));
        }
        let bytes = unpack::unpack(bytes, max)?;
        let (snapshots, foreign) = ribs(&bytes, self.config.rib)?;
        self.skipped.add("foreign-family", foreign);
        Ok(snapshots)
    }

    fn watch(&self, outlet: &Outlet) -> Result<(), Stopped> {
        let mut read = None;
        let mut seen = None;
        let mut up = false;
        loop {
            let stamp = self.stamp();
            let settled = stamp.as_ref().is_ok_and(|stamp| {
                let age = stamp.1.elapsed().unwrap_or_default();
                age >= POLL || seen.as_ref() == Some(stamp)
            });
            let now = stamp.ok();
            if settled && now != read {
                read = now;
                self.read(outlet, &mut up)?;
            }
            seen = now;
            outlet.stop().sleep(POLL)?;
        }
    }

    /// Reads the file and reports what it holds.
    fn read(&self, outlet: &Outlet, up: &mut bool) -> Result<(), Stopped> {
        let path = self.config.path.display();
        match self.load() {
            Ok(events) => {
                log::info!("MRT file {path}: {} tables", events.len());
                if !std::mem::replace(up, true) {
                    outlet.send(vec![RouteEvent::FeedUp])?;
                }
                // A snapshot is a batch of its own: it may be a full table.
                events
                    .into_iter()
                    .try_for_each(|event| outlet.send(vec![event]))
            }
            Err(error) => {
                let why = format!("MRT file {path}: {error}");
                log::warn!("{why}");
                if std::mem::take(up) {
                    outlet.send(vec![RouteEvent::FeedDown { why }])?;
                }
                Ok(())
            }
        }
    }
}

impl Feed for MrtFeed {
    fn run(self: Box<Self>, outlet: &Outlet) {
        // It ends only by a stop.
        let _ = self.watch(outlet);
    }

    fn skipped(&self) -> Skipped {
        self.skipped.clone()
    }
}

/// Type, subtype and length of a record (RFC 6396 section 2).
const HEADER: usize = 12;
const TABLE_DUMP: u16 = 12;
const TABLE_DUMP_V2: u16 = 13;
/// Peer index, and IPv4 and IPv6 unicast without and with path identifiers (RFC 6396 section 4.3, RFC 8050).
const SUBTYPES: [u16; 5] = [1, 2, 4, 8, 10];

/// Takes a record of another family, or of none, off the front; its number shows where an error is.
fn take_foreign(bytes: &mut &[u8], number: usize) -> Result<bool, MrtError> {
    let Some((&[_, _, _, _, kind, kind2, sub, sub2, a, b, c, d], rest)) =
        bytes.split_first_chunk::<HEADER>()
    else {
        return Ok(false); // the parser reports what is wrong
    };
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    match (
        u16::from_be_bytes([kind, kind2]),
        u16::from_be_bytes([sub, sub2]),
    ) {
        (TABLE_DUMP, _) => Err(MrtError::Version1(number)),
        (TABLE_DUMP_V2, subtype) if !SUBTYPES.contains(&subtype) => match rest.get(length..) {
            Some(rest) => {
                *bytes = rest;
                Ok(true)
            }
            None => Ok(false),
        },
        _ => Ok(false),
    }
}

/// The tables in a file: one snapshot for each peer of its index and each family it holds.
///
/// # Errors
/// [`MrtError`]; a file is believed as a whole or not at all.
pub fn snapshots(bytes: &[u8], rib: AdjRib) -> Result<Vec<RouteEvent>, MrtError> {
    ribs(bytes, rib).map(|(snapshots, _)| snapshots)
}

/// … and how many records were of other families.
fn ribs(mut bytes: &[u8], rib: AdjRib) -> Result<(Vec<RouteEvent>, u64), MrtError> {
    let mut foreign = 0;
    let mut peers = None;
    let mut held: BTreeMap<(IpAddr, Family), Vec<Route>> = BTreeMap::new();
    let mut families = [false; 2];
    let mut number = 0;
    while !bytes.is_empty() {
        number += 1;
        if take_foreign(&mut bytes, number)? {
            foreign += 1;
            continue;
        }
        let record = parse_mrt_record(&mut bytes).map_err(|error| MrtError::Malformed {
            number,
            why: error.to_string(),
        })?;
        match record.message {
            MrtMessage::TableDumpV2Message(TableDumpV2Message::PeerIndexTable(index)) => {
                peers = Some(index);
            }
            MrtMessage::TableDumpV2Message(TableDumpV2Message::RibAfi(entries)) => {
                let peers = peers.as_ref().ok_or(MrtError::NoPeers)?;
                let Some(family) = unicast(entries.rib_type) else {
                    continue;
                };
                families[family as usize] = true;
                add(number, entries, family, peers, &mut held)?;
            }
            // Other families and the peers' places on the map.
            MrtMessage::TableDumpV2Message(_) => {}
            _ => return Err(MrtError::NotATable(number)),
        }
    }
    let peers = peers.ok_or(MrtError::NoPeers)?;
    let addresses: std::collections::BTreeSet<_> = peers
        .id_peer_map
        .values()
        .map(|peer| peer.peer_ip.to_canonical())
        .collect();
    let mut snapshots = Vec::new();
    // The unspecified address stands for the router's own routes.
    for address in addresses
        .into_iter()
        .filter(|address| !address.is_unspecified())
    {
        for family in Family::ALL {
            if families[family as usize] {
                let routes = held.remove(&(address, family)).unwrap_or_default();
                snapshots.push(RouteEvent::Snapshot {
                    origin: Origin::Session(Session::global(address)),
                    rib,
                    family,
                    routes: routes.into(),
                });
            }
        }
    }
    Ok((snapshots, foreign))
}

const fn unicast(kind: TableDumpV2Type) -> Option<Family> {
    match kind {
        TableDumpV2Type::RibIpv4Unicast | TableDumpV2Type::RibIpv4UnicastAddPath => {
            Some(Family::Ipv4)
        }
        TableDumpV2Type::RibIpv6Unicast | TableDumpV2Type::RibIpv6UnicastAddPath => {
            Some(Family::Ipv6)
        }
        _ => None,
    }
}

/// One prefix, as each peer has it.
fn add(
    number: usize,
    entries: RibAfiEntries,
    family: Family,
    peers: &PeerIndexTable,
    held: &mut BTreeMap<(IpAddr, Family), Vec<Route>>,
) -> Result<(), MrtError> {
    let prefix = Prefix::from(entries.prefix.prefix);
    if prefix.family() != family {
        let why = format!("{prefix} in an {family} table");
        return Err(MrtError::Malformed { number, why });
    }
    for entry in entries.rib_entries {
        let peer = entry.peer_index;
        let known = peers
            .get_peer_by_id(&peer)
            .ok_or(MrtError::UnknownPeer { number, peer })?;
        let mut warnings = entry.attributes.validation_warnings().iter();
        if let Some(warning) = warnings.find(|warning| !is_harmless(warning)) {
            let why = format!("{prefix} has malformed path attributes: {warning}");
            return Err(MrtError::Malformed { number, why });
        }
        let routes = held
            .entry((known.peer_ip.to_canonical(), family))
            .or_default();
        routes.push(route(prefix, &entry));
    }
    Ok(())
}

/// What BIRD does in its dumps: attribute flags of 0 where it has no others, no attributes on the router's own routes,
/// and no next hop for IPv6 (BIRD 1.6). None of that changes how anything is read; the next hop is unknown then.
const fn is_harmless(warning: &BgpValidationWarning) -> bool {
    matches!(
        warning,
        BgpValidationWarning::AttributeFlagsError { .. }
            | BgpValidationWarning::MissingWellKnownAttribute { .. }
    )
}

fn route(prefix: Prefix, entry: &RibEntry) -> Route {
    let communities: Arc<[Community]> = entry
        .attributes
        .iter_communities()
        .filter_map(|community| match community {
            MetaCommunity::Plain(plain) => Some(standard(plain)),
            MetaCommunity::Large(large) => {
                let [first, second] = large.local_data;
                Some(Community::Large(large.global_admin, first, second))
            }
            _ => None,
        })
        .collect();
    Route {
        prefix,
        path: entry.path_id.unwrap_or_default(),
        next_hop: entry.attributes.next_hop().map(|hop| hop.to_canonical()),
        path_head: entry.attributes.as_path().map(path_head),
        communities: Some(communities).filter(|communities| !communities.is_empty()),
    }
}

/// Whom the path begins with.
fn path_head(path: &AsPath) -> PathHead {
    let in_front = path
        .iter_segments()
        .take_while(|segment| !matches!(segment, AsPathSegment::AsSet(_)));
    let sequence = in_front.filter_map(|segment| match segment {
        AsPathSegment::AsSequence(ases) => Some(ases),
        _ => None,
    });
    PathHead::of(sequence.flatten().map(|asn| Asn::new(asn.to_u32())))
}

/// The two halves again (RFC 1997).
fn standard(community: ParsedCommunity) -> Community {
    match community {
        ParsedCommunity::NoExport => Community::Standard(0xffff, 0xff01),
        ParsedCommunity::NoAdvertise => Community::Standard(0xffff, 0xff02),
        ParsedCommunity::NoExportSubConfed => Community::Standard(0xffff, 0xff03),
        ParsedCommunity::Custom(asn, value) => Community::Standard(asn.to_u32() as u16, value),
    }
}
