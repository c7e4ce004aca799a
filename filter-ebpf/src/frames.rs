//! Other addresses for every packet of a test run, which repeats one frame: precomputed by user space, written into
//! the frame *after* the verdict, so that the next run finds them long settled. Only benchmarks have it.
use aya_ebpf::{bindings::BPF_F_MMAPABLE, macros::map, maps::Array, programs::XdpContext};
use filter_core::layout::replay::{
    CURSOR, ENTRIES, Entry, HEAD, IPV4_ADDRESSES, IPV6_ADDRESSES, LEN,
};
use filter_core::packet::ETHERTYPE_IPV6;

#[map(name = "frames")]
static FRAMES: Array<Entry> = Array::with_max_entries(ENTRIES, BPF_F_MMAPABLE);

/// Turns the frame at hand into the next one of the list. The frame itself says which that is, so CPUs that run
/// at once go through the list each on its own.
#[inline(always)]
pub fn next(ctx: &XdpContext) {
    let start = ctx.data();
    if start + LEN > ctx.data_end() {
        return;
    }
    // SAFETY: the frame is as long as checked just above, and so is every place written to; the verifier checks.
    unsafe {
        let cursor = (start + CURSOR) as *mut u32;
        let at = cursor.read_unaligned();
        cursor.write_unaligned(at.wrapping_add(1) % ENTRIES);
        let Some(entry) = FRAMES.get(at % ENTRIES) else {
            return;
        };
        ((start + HEAD) as *mut u64).write_unaligned(entry[0]);
        if (entry[0] >> 48) as u16 == ETHERTYPE_IPV6.to_be() {
            ((start + IPV6_ADDRESSES) as *mut [u64; 4])
                .write_unaligned([entry[1], entry[2], entry[3], entry[4]]);
        } else {
            ((start + IPV4_ADDRESSES) as *mut u64).write_unaligned(entry[1]);
        }
    }
}
