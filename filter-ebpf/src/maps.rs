//! The maps every program of this crate shares, and safe reads and writes of them.
//! Sizes marked "set by the loader" are placeholders. Never holds policy.
use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC},
    helpers::bpf_ktime_get_ns,
    macros::map,
    maps::{Array, HashMap, PerCpuArray, RingBuf},
};
use filter_core::layout::station::{self, Found};
use filter_core::layout::{
    Interface, MAX_IFINDEX, MAX_INTERFACES, PeerKey, SAMPLE_WORDS, counter_entries,
};

#[map(name = "if_slots")]
static INTERFACE_SLOTS: Array<u32> = Array::with_max_entries(MAX_IFINDEX + 1, 0);

#[map(name = "interfaces")]
static INTERFACES: Array<Interface> = Array::with_max_entries(2 * MAX_INTERFACES, 0);

/// Set by the loader.
#[map(name = "peers")]
static PEERS: HashMap<PeerKey, u32> = HashMap::with_max_entries(1024, BPF_F_NO_PREALLOC);

#[map(name = "stations")]
static STATIONS: Array<station::Table> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Set by the loader.
#[map(name = "counters")]
static COUNTERS: PerCpuArray<[u64; 2]> =
    PerCpuArray::with_max_entries(counter_entries(MAX_INTERFACES + 1024), 0);

/// Set by the loader.
#[map(name = "sample_due")]
static SAMPLE_DUE: Array<u64> = Array::with_max_entries(MAX_INTERFACES + 1024, 0);

#[map(name = "samples")]
static SAMPLES: RingBuf = RingBuf::with_byte_size(256 * 1024, 0);

#[map(name = "samples_lost")]
static SAMPLES_LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

#[map(name = "lease")]
static LEASE: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Only the loader reads and writes it. Set by the loader.
#[map(name = "meta")]
static META: Array<[u64; 2]> = Array::with_max_entries(MAX_INTERFACES + 1024, 0);

/// Nanoseconds between two samples of one slot; 0 means none at all. Set by the loader.
#[unsafe(no_mangle)]
static SAMPLE_INTERVAL_NS: u64 = 100_000_000;

/// How many samples a quiet slot may send at once.
const SAMPLE_BURST: u64 = 10;

/// The interface's slot and record, if it is one of ours.
#[inline(always)]
pub fn interface(ifindex: u32) -> Option<(u32, &'static Interface)> {
    let entry = INTERFACE_SLOTS.get_ptr(ifindex)?;
    // SAFETY: the verifier proved the pointer valid. Read once: both halves are of one moment.
    let entry = unsafe { core::ptr::read_volatile(entry) };
    if entry == 0 {
        return None;
    }
    Some((entry & 0xffff, INTERFACES.get(entry >> 16)?))
}

/// The slot of the peer whose station this is.
#[inline(always)]
pub fn peer_slot(key: station::Key) -> Option<u32> {
    let table = STATIONS.get_ptr(0)?.cast::<station::Line>();
    // SAFETY: the verifier proved the pointer valid, and no key names a line beyond the last.
    let line = unsafe { table.add(key.line()) };
    let found = key.find(|place, word| {
        // SAFETY: a word of that line; user space writes whole aligned words.
        unsafe { core::ptr::read_volatile(&raw const (*line)[place][word]) }
    });
    match found {
        Found::Slot(slot) => Some(slot),
        Found::NoPeer => None,
        Found::Elsewhere => peer_slot_elsewhere(key),
    }
}

#[inline(always)]
fn peer_slot_elsewhere(key: station::Key) -> Option<u32> {
    // The kernel compares keys eight bytes at a time: what it reads at once is written at once.
    let words = [key.word, u64::from(key.vlans)];
    // SAFETY: as long as a key and better aligned; the target is little-endian, so the order is the key's.
    let key = unsafe { &*(&raw const words).cast::<PeerKey>() };
    // SAFETY: values are plain integers; the loader replaces an element by a new one, it never writes into it.
    unsafe { PEERS.get(key) }.copied()
}

/// Adds one packet to a counter of this CPU.
#[inline(always)]
pub fn count(index: u32, bytes: u64) {
    if let Some(counter) = COUNTERS.get_ptr_mut(index) {
        // SAFETY: the verifier proved the pointer valid; the element belongs to this CPU and XDP programs do
        // not interrupt each other on one CPU.
        unsafe {
            (*counter)[0] += 1;
            (*counter)[1] += bytes;
        }
    }
}

/// Does the enforcement lease still run?
#[inline(always)]
pub fn is_leased() -> bool {
    LEASE.get_ptr(0).is_some_and(|until| {
        // SAFETY: the verifier proved the pointer valid; user space writes whole aligned words.
        let until = unsafe { core::ptr::read_volatile(until) };
        until == u64::MAX || now() < until
    })
}

/// CLOCK_MONOTONIC, nanoseconds.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: no arguments, no preconditions.
    unsafe { bpf_ktime_get_ns() }
}

/// May this slot send a sample at this time? A token bucket as one due time (GCRA); two CPUs that race may
/// let one sample too many through, never block.
#[inline(always)]
pub fn take_sample_token(slot: u32, now: u64) -> bool {
    // SAFETY: a volatile read of our own constant, which the loader overrides before loading.
    let interval = unsafe { core::ptr::read_volatile(&raw const SAMPLE_INTERVAL_NS) };
    let Some(due) = SAMPLE_DUE.get_ptr_mut(slot) else {
        return false;
    };
    if interval == 0 {
        return false;
    }
    // SAFETY: the verifier proved the pointer valid; aligned words are read and written whole.
    let at = unsafe { core::ptr::read_volatile(due) }.max(now);
    if at > now + interval * (SAMPLE_BURST - 1) {
        return false;
    }
    // SAFETY: as above.
    unsafe { core::ptr::write_volatile(due, at + interval) };
    true
}

/// A record in the sample ring for `fill` to write; a full ring is counted.
#[inline(always)]
pub fn sample(fill: impl FnOnce(&mut [u64; SAMPLE_WORDS])) {
    let Some(mut entry) = SAMPLES.reserve::<[u64; SAMPLE_WORDS]>(0) else {
        if let Some(lost) = SAMPLES_LOST.get_ptr_mut(0) {
            // SAFETY: as in `count`.
            unsafe { *lost += 1 };
        }
        return;
    };
    // SAFETY: any bits are a valid array of integers, and `fill` overwrites them all.
    fill(unsafe { entry.assume_init_mut() });
    entry.submit(0);
}
