//! The maps every program of this crate shares, and safe reads and writes of them.
//! Sizes marked "set by the loader" are placeholders. Never holds policy.
use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, BPF_NOEXIST},
    helpers::{bpf_ktime_get_ns, generated::bpf_jiffies64},
    macros::map,
    maps::{Array, HashMap, PerCpuArray, ProgramArray, RingBuf},
    programs::XdpContext,
};
use filter_core::Classes;
use filter_core::layout::station::{self, Found};
use filter_core::layout::{
    Interface, MAX_FAR_INDICES, MAX_INTERFACES, MAX_TAGGED_NETWORKS, MAX_UNRECORDED, NEAR_IFINDEX,
    NETWORK_PLACES, Network, PeerKey, Rate, SAMPLE_WORDS, SENDER_WORDS, Sender, SenderKey,
    WHOLE_FILTER, Wanted, counter_entries, from_interface_entry, tags_key,
};
use filter_core::packet::{Size, Vlans};

#[map(name = "if_slots")]
static INTERFACE_SLOTS: Array<u32> = Array::with_max_entries(NEAR_IFINDEX + 1, 0);

#[map(name = "if_far")]
static FAR_INTERFACES: HashMap<u32, u32> =
    HashMap::with_max_entries(MAX_FAR_INDICES, BPF_F_NO_PREALLOC);

#[map(name = "unrecorded")]
static UNRECORDED: HashMap<u32, u64> = HashMap::with_max_entries(MAX_UNRECORDED, BPF_F_NO_PREALLOC);

#[map(name = "interfaces")]
static INTERFACES: Array<Interface> = Array::with_max_entries(2 * MAX_INTERFACES, 0);

#[map(name = "networks")]
static NETWORKS: Array<Network> = Array::with_max_entries(NETWORK_PLACES, 0);

#[map(name = "tags")]
static TAGS: HashMap<u64, u32> = HashMap::with_max_entries(MAX_TAGGED_NETWORKS, BPF_F_NO_PREALLOC);

/// Set by the loader.
#[map(name = "peers")]
static PEERS: HashMap<PeerKey, u32> = HashMap::with_max_entries(1024, BPF_F_NO_PREALLOC);

#[map(name = "stations")]
static STATIONS: Array<station::Table> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Set by the loader.
#[map(name = "senders")]
static SENDERS: HashMap<SenderKey, [u64; SENDER_WORDS]> =
    HashMap::with_max_entries(1024, BPF_F_NO_PREALLOC);

/// Set by the loader.
#[map(name = "counters")]
static COUNTERS: PerCpuArray<[u64; 2]> =
    PerCpuArray::with_max_entries(counter_entries(MAX_INTERFACES + 1024), 0);

/// Set by the loader.
#[map(name = "sample_due")]
static SAMPLE_DUE: Array<u64> = Array::with_max_entries(MAX_INTERFACES + 1024, 0);

/// Set by the loader.
#[map(name = "icmp_due")]
static ICMP_DUE: Array<[u64; 2]> = Array::with_max_entries(MAX_INTERFACES + 1024, 0);

#[map(name = "samples")]
static SAMPLES: RingBuf = RingBuf::with_byte_size(256 * 1024, 0);

#[map(name = "samples_lost")]
static SAMPLES_LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

#[map(name = "lease")]
static LEASE: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Set by the loader.
#[map(name = "wanted")]
static WANTED: Array<u32> = Array::with_max_entries(MAX_INTERFACES + 1024, BPF_F_MMAPABLE);

/// Set by the loader.
#[map(name = "allowed")]
static ALLOWED: Array<u32> = Array::with_max_entries(MAX_INTERFACES + 1024, BPF_F_MMAPABLE);

/// Only the loader reads and writes it. Set by the loader.
#[map(name = "meta")]
static META: Array<[u64; 2]> = Array::with_max_entries(MAX_INTERFACES + 1024, 0);

/// Filled by the loader.
#[map(name = "split")]
static SPLIT: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Is there a program for frames whose headers lie in several buffers? Set by the loader: where this is 0 the verifier skips the
/// jump to it, which not every kernel allows in a program with functions.
#[unsafe(no_mangle)]
static JUDGES_SPLIT: u64 = 1;

/// How a slot's samples are rationed: [`Rate`]. Set by the loader.
#[unsafe(no_mangle)]
static SAMPLE_INTERVAL: u64 = 1;
#[unsafe(no_mangle)]
static SAMPLE_AHEAD: u64 = 1;

/// How a peer's ICMP errors are rationed: [`Rate`]. Set by the loader.
#[unsafe(no_mangle)]
static ICMP_INTERVAL: u64 = 1;
#[unsafe(no_mangle)]
static ICMP_AHEAD: u64 = 1;

/// An interface as a packet finds it.
#[derive(Clone, Copy)]
pub struct OurInterface {
    /// Its counter slot.
    pub slot: u32,
    /// The place of its records.
    pub place: u32,
    /// Its record.
    pub record: &'static Interface,
}

/// The interface of this index, if it is one of ours.
#[inline(always)]
pub fn interface(ifindex: u32) -> Option<OurInterface> {
    let entry = if ifindex <= NEAR_IFINDEX {
        let entry = INTERFACE_SLOTS.get_ptr(ifindex)?;
        // SAFETY: the verifier proved the pointer valid. Read once: both halves are of one moment.
        unsafe { core::ptr::read_volatile(entry) }
    } else {
        // SAFETY: values are plain integers; the loader replaces an element, it never writes into it.
        *unsafe { FAR_INTERFACES.get(ifindex) }?
    };
    if entry == 0 {
        return None;
    }
    let (place, slot) = from_interface_entry(entry);
    Some(OurInterface {
        slot,
        place,
        record: INTERFACES.get(place)?,
    })
}

/// The network of frames with these tags.
#[inline(always)]
pub fn network(interface: OurInterface, vlans: Vlans) -> Option<&'static Network> {
    let place = if vlans.is_none() {
        if !interface.record.has_untagged() {
            return None;
        }
        interface.place
    } else {
        // SAFETY: as for the indices above.
        *unsafe { TAGS.get(tags_key(interface.slot, vlans)) }?
    };
    NETWORKS.get(place)
}

/// The slot of the peer whose station this is. A frame was seen from there: this says so.
#[inline(always)]
pub fn peer_slot(key: station::Key) -> Option<u32> {
    let table = STATIONS.get_ptr_mut(0)?.cast::<station::Line>();
    // SAFETY: the verifier proved the pointer valid, and no key names a line beyond the last.
    let line = unsafe { table.add(key.line()) };
    let found = key.find(
        |place, word| {
            // SAFETY: a word of that line; user space writes whole aligned words, or the byte below.
            unsafe { core::ptr::read_volatile(&raw const (*line)[place][word]) }
        },
        // SAFETY: a word of that line.
        |place| mark_seen(unsafe { (&raw mut (*line)[place][1]).cast() }),
    );
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
    let value = PEERS.get_ptr_mut(key)?;
    // SAFETY: the verifier proved the pointer valid; the loader replaces an element by a new one, it never writes into it.
    let half = unsafe { core::ptr::read_volatile(value) };
    if half & station::SEEN == 0 {
        mark_seen(value.cast());
    }
    Some(station::slot_of(half))
}

/// Sets [`station::SEEN`] in the word or value at this place. One byte: what user space writes beside it meanwhile stays.
#[inline(always)]
fn mark_seen(word: *mut u8) {
    // SAFETY: callers pass an aligned word or value that is valid, of which this is a byte.
    unsafe { core::ptr::write_volatile(word.add(station::SEEN_BYTE), station::SEEN_MARK) };
}

/// A frame on the link came from this sender. On a `port` its station may stand for any MAC.
#[inline(always)]
pub fn note_sender(sender: Sender, is_port: bool) {
    let [word, tags, hi, lo] = sender.key();
    bcp38_sender(word, tags | u64::from(is_port) << PORT_BIT, hi, lo);
}

/// Above VLANs and family.
const PORT_BIT: u32 = 63;

/// A global function (kernel 5.6): the verifier follows it once, and it is off the path of frames that are not of the link.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn bcp38_sender(word: u64, tags: u64, hi: u64, lo: u64) -> u64 {
    let is_port = tags >> PORT_BIT != 0;
    let tags = tags & !(1 << PORT_BIT);
    let mut found = SENDERS.get_ptr_mut([word, tags, hi, lo]);
    if found.is_none() && is_port {
        found = SENDERS.get_ptr_mut([word & ANY_MAC_WORD, tags, hi, lo]);
    }
    let Some(last) = found else {
        return 0;
    };
    let (last, now) = (last.cast::<u64>(), ticks());
    // SAFETY: the verifier proved the pointer valid; words are read and written whole. At most once a tick, so that a flood
    // costs no CPU the cache line.
    unsafe {
        if core::ptr::read_volatile(last) != now {
            core::ptr::write_volatile(last, now);
        }
    }
    now
}

/// A station's word without its MAC, as [`filter_core::layout::ANY_MAC`]'s is.
const ANY_MAC_WORD: u64 = !0 << 48;

/// Has the frame judged by the program for frames whose headers lie in several buffers. Comes back only where that one is not
/// there.
#[inline(always)]
pub fn judge_split(ctx: &XdpContext) {
    // SAFETY: a volatile read of our own constant, which the loader overrides; the context is the one the kernel gave us.
    unsafe {
        if core::ptr::read_volatile(&raw const JUDGES_SPLIT) != 0 {
            SPLIT.tail_call(ctx, 0);
        }
    }
}

/// Adds packets to a counter of this CPU.
///
/// Programs in XDP and at tc ingress run with bottom halves off, where packets are received, and one such section does not
/// interrupt another on one CPU: one judges a packet to its end before the next begins, at whichever hook. With
/// `PREEMPT_RT` those sections can be preempted, but each holds a lock of the CPU; only where Linux 6.18 and later are built
/// without that lock may two of them count at once, and one packet of the two be lost.
#[inline(always)]
pub fn count(index: u32, size: Size) {
    if let Some(counter) = COUNTERS.get_ptr_mut(index) {
        // SAFETY: the verifier proved the pointer valid; the element belongs to this CPU, and nothing else writes it
        // meanwhile, see above.
        unsafe {
            (*counter)[0] += size.packets;
            (*counter)[1] += size.bytes;
        }
    }
}

/// Adds packets of a device without a record to its counter, for user space to find out whose it is. Where there is no room
/// they are counted with all others only.
#[inline(always)]
pub fn count_unrecorded(ifindex: u32, packets: u64) {
    bcp38_unrecorded(u64::from(ifindex), packets);
}

/// A global function (kernel 5.6): off the path of frames that have a record.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn bcp38_unrecorded(ifindex: u64, packets: u64) -> u64 {
    let ifindex = ifindex as u32;
    if !add_unrecorded(ifindex, packets)
        && UNRECORDED
            .insert(ifindex, packets, u64::from(BPF_NOEXIST))
            .is_err()
    {
        add_unrecorded(ifindex, packets); // another CPU was first
    }
    0
}

#[inline(always)]
fn add_unrecorded(ifindex: u32, packets: u64) -> bool {
    let Some(counter) = UNRECORDED.get_ptr_mut(ifindex) else {
        return false;
    };
    add(counter, packets);
    true
}

/// Adds to a word that other CPUs add to. The compiler has no atomic addition for this target.
#[cfg(target_arch = "bpf")]
#[inline(always)]
fn add(counter: *mut u64, number: u64) {
    // SAFETY: the verifier proved the pointer valid, and it is aligned.
    unsafe {
        core::arch::asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) counter, in(reg) number, options(nostack));
    }
}

/// Other targets only check this crate: they do not know the instruction.
#[cfg(not(target_arch = "bpf"))]
fn add(_counter: *mut u64, _number: u64) {}

/// The classes in force for a slot now.
#[inline(always)]
pub fn in_force(slot: u32) -> Classes {
    let wanted = Wanted::from_word(word(&WANTED, slot));
    let [allowed, all] = [slot, WHOLE_FILTER].map(|slot| Classes::from_bits(word(&ALLOWED, slot)));
    wanted.in_force(allowed, all, is_leased)
}

#[inline(always)]
fn word(map: &Array<u32>, slot: u32) -> u32 {
    match map.get_ptr(slot) {
        // SAFETY: the verifier proved the pointer valid; user space writes whole aligned words.
        Some(word) => unsafe { core::ptr::read_volatile(word) },
        None => 0,
    }
}

/// Does the enforcement lease still run?
#[inline(always)]
fn is_leased() -> bool {
    LEASE.get_ptr(0).is_some_and(|until| {
        // SAFETY: the verifier proved the pointer valid; user space writes whole aligned words.
        ticks() < unsafe { core::ptr::read_volatile(until) }
    })
}

/// Ticks of the kernel's timer (jiffies): a load, and no call.
#[inline(always)]
pub fn ticks() -> u64 {
    // SAFETY: no arguments, no preconditions.
    unsafe { bpf_jiffies64() }
}

/// CLOCK_MONOTONIC, nanoseconds.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: no arguments, no preconditions.
    unsafe { bpf_ktime_get_ns() }
}

/// Takes a token from the bucket with this due time, if there is one. Two CPUs that race may let one too many
/// through, never block.
#[inline(always)]
fn take_token(rate: Rate, due: *mut u64) -> bool {
    // SAFETY: the verifier proved the pointer valid; aligned words are read and written whole.
    match rate.take(unsafe { core::ptr::read_volatile(due) }, ticks()) {
        Some(next) => {
            // SAFETY: as above.
            unsafe { core::ptr::write_volatile(due, next) };
            true
        }
        None => false,
    }
}

/// A rate that the loader set before loading.
#[inline(always)]
fn rate(interval: &'static u64, ahead: &'static u64) -> Rate {
    // SAFETY: volatile reads of our own constants, which the loader overrides.
    unsafe {
        Rate {
            interval: core::ptr::read_volatile(interval),
            ahead: core::ptr::read_volatile(ahead),
        }
    }
}

/// May this slot send a sample now?
#[inline(always)]
pub fn take_sample_token(slot: u32) -> bool {
    let due = SAMPLE_DUE.get_ptr_mut(slot);
    due.is_some_and(|due| take_token(rate(&SAMPLE_INTERVAL, &SAMPLE_AHEAD), due))
}

/// May another ICMP error to this slot's account pass now?
#[inline(always)]
pub fn take_icmp_token(slot: u32, too_big: bool) -> bool {
    let due = ICMP_DUE.get_ptr_mut(slot);
    due.is_some_and(|due| {
        let rate = rate(&ICMP_INTERVAL, &ICMP_AHEAD);
        take_token(rate, due.cast::<u64>().wrapping_add(too_big as usize))
    })
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
