//! What a daemon of data-plane schema 3 leaves: its object, and its maps as it filled them, from `fixtures/schema-3`.
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use aya::maps::{Array, HashMap, Map, MapData};
use aya::programs::links::FdLink;
use aya::programs::{Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader, Pod};
use nix::net::if_::if_nametoindex;
use nix::time::{ClockId, clock_gettime};
use tests::lab::{Namespace, Site};

static OBJECT: &[u8] = aya::include_bytes_aligned!("../../fixtures/schema-3/bcp38.o");
const MAPS: &str = include_str!("../../fixtures/schema-3/maps.txt");

/// Peers and MiB of tables that the configuration of the scene has room for.
const SLOTS: u32 = 64 + 16;
const STATIONS: u32 = 4 * 16;
const CHUNKS: u32 = 2;
const LEASE: Duration = Duration::from_secs(60);
/// The index that the interface had there.
const IFINDEX: u32 = 2;

const PINNED: [&str; 11] = [
    "if_slots",
    "interfaces",
    "peers",
    "stations",
    "counters",
    "sample_due",
    "samples",
    "samples_lost",
    "lease",
    "meta",
    "slots",
];

/// Lines of a map, without its name.
fn lines(name: &str) -> impl Iterator<Item = [&'static str; 3]> {
    let name = format!("map {name}");
    let of_map = MAPS.lines().skip_while(move |line| *line != name).skip(1);
    of_map
        .take_while(|line| !line.starts_with("map "))
        .map(|line| {
            let mut words = line.split(' ');
            std::array::from_fn(|_| words.next().unwrap_or(""))
        })
}

/// By index: the words of each value that has any.
fn values(name: &str) -> BTreeMap<u32, Vec<(usize, u64)>> {
    let mut values: BTreeMap<u32, Vec<(usize, u64)>> = BTreeMap::new();
    for [index, place, word] in lines(name) {
        let word = u64::from_str_radix(word, 16).unwrap();
        let value = values.entry(index.parse().unwrap()).or_default();
        value.push((place.parse().unwrap(), word));
    }
    assert!(!values.is_empty(), "{name}");
    values
}

fn array<V: Pod>(pins: &Path, name: &str) -> Array<MapData, V> {
    let map = Map::from_map_data(MapData::from_pin(pins.join(name)).unwrap()).unwrap();
    map.try_into().unwrap()
}

/// Fills an array whose values have so many words.
fn fill<const N: usize>(pins: &Path, name: &str)
where
    [u64; N]: Pod,
{
    let mut array: Array<_, [u64; N]> = array(pins, name);
    for (index, words) in values(name) {
        let mut value: Box<[u64; N]> = vec![0; N].try_into().unwrap(); // too large for a stack
        for (place, word) in words {
            value[place] = word;
        }
        array.set(index, value, 0).unwrap();
    }
}

fn bytes<const N: usize>(hexadecimal: &str) -> [u8; N] {
    std::array::from_fn(|i| u8::from_str_radix(&hexadecimal[2 * i..2 * i + 2], 16).unwrap())
}

fn load(pins: &Path) -> Ebpf {
    let mut loader = EbpfLoader::new();
    for (name, entries) in [
        ("peers", STATIONS),
        ("sample_due", SLOTS),
        ("meta", SLOTS),
        ("tables", CHUNKS),
        ("slots", SLOTS),
    ] {
        loader.map_max_entries(name, entries);
    }
    for name in PINNED.into_iter().chain(["tables"]) {
        loader.map_pin_path(name, pins.join(name));
    }
    loader.load(OBJECT).unwrap()
}

/// Pins it all where this site's daemon will look, with the program on `ixp0`.
pub fn pin(site: &Site, router: &Namespace) {
    let pins = site.pins();
    std::fs::create_dir_all(pins).unwrap();
    let mut ebpf = load(pins);
    fill::<46>(pins, "interfaces");
    fill::<2>(pins, "meta");
    fill::<1>(pins, "slots");
    fill::<8192>(pins, "stations");
    fill::<524_288>(pins, "tables");
    let peers = Map::from_map_data(MapData::from_pin(pins.join("peers")).unwrap()).unwrap();
    let mut peers: HashMap<_, [u8; 12], u32> = peers.try_into().unwrap();
    for [key, slot, _] in lines("peers") {
        let slot = u32::from_le_bytes(bytes(slot));
        peers.insert(bytes::<12>(key), slot, 0).unwrap();
    }
    let mut lease: Array<_, u64> = array(pins, "lease");
    let now = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap());
    lease.set(0, (now + LEASE).as_nanos() as u64, 0).unwrap();
    router.run(|| {
        let ifindex = if_nametoindex("ixp0").unwrap();
        let mut slots: Array<_, u32> = array(pins, "if_slots");
        let [(_, entry)] = values("if_slots")[&IFINDEX][..] else {
            panic!("one word");
        };
        slots.set(ifindex, entry as u32, 0).unwrap();
        let program: &mut Xdp = ebpf.program_mut("bcp38").unwrap().try_into().unwrap();
        program.load().unwrap();
        let link = program.attach("ixp0", XdpMode::Driver).unwrap();
        let link = FdLink::try_from(program.take_link(link).unwrap()).unwrap();
        link.pin(pins.join("link-ixp0")).unwrap();
    });
}
