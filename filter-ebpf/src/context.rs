//! The frame as a program in XDP sees it. Never reads a byte it has not compared with the frame's end.
use aya_ebpf::{bindings::xdp_md, helpers::generated::bpf_xdp_get_buff_len, programs::XdpContext};
use filter_core::layout::SAMPLE_BYTES;
use filter_core::packet::{self, Bytes, Malformed, Payload, Size};

use crate::entry::{self, Packet};
use crate::maps;

/// No header the verdict reads starts further in: four VLAN tags, IPv4 with options, ICMP, the quoted header.
/// The verifier needs a bound on offsets that come from the packet.
pub const MAX_OFFSET: usize = 255;

/// In how many buffers the frames this program is given may lie.
#[derive(Clone, Copy)]
pub enum Buffers {
    /// Just one: kernels before 5.18.
    One,
    /// Jumbo frames lie in several, and all frames of a driver that splits headers off.
    Several,
}

/// The shortest frame on a wire, without its checksum. A first buffer of this many bytes is all of it, and the kernel need not be
/// asked: short packets come in floods. No driver splits headers off there, for they end two bytes behind a multiple of four.
const SHORTEST: usize = 60;
/// A first buffer of this many bytes has every header the verdict reads, and every byte of a sample.
const HEADERS: usize = SAMPLE_BYTES;

/// The linear part of a frame.
#[derive(Clone, Copy)]
pub struct Frame {
    start: usize,
    end: usize,
    length: usize,
    ctx: *mut xdp_md,
}

impl Frame {
    /// Of the packet at hand. Where the verdict may read, or a sample have, bytes of a later buffer, another program judges it.
    #[inline(always)]
    pub fn new(ctx: &XdpContext, buffers: Buffers) -> Self {
        let first = Self::first_buffer(ctx);
        let linear = first.length;
        if matches!(buffers, Buffers::One) {
            return first;
        }
        let length = match linear {
            SHORTEST => linear,
            _ => length(ctx.ctx),
        };
        if linear < HEADERS && linear < length {
            maps::judge_split(ctx);
        }
        // Of places that are read anew the verifier remembers nothing: it follows the rest once, whatever was compared before.
        Self {
            length,
            ..Self::first_buffer(ctx)
        }
    }

    /// As if there were no other.
    #[inline(always)]
    fn first_buffer(ctx: &XdpContext) -> Self {
        // SAFETY: the context is the one the kernel gave us.
        let [start, end] = unsafe {
            [&raw const (*ctx.ctx).data, &raw const (*ctx.ctx).data_end]
                .map(|place| core::ptr::read_volatile(place) as usize)
        };
        Self {
            start,
            end,
            length: end - start,
            ctx: ctx.ctx,
        }
    }
}

/// Bytes of the whole frame, in however many buffers.
#[inline(always)]
pub fn length(ctx: *mut xdp_md) -> usize {
    // SAFETY: the context is the one the kernel gave us.
    unsafe { bpf_xdp_get_buff_len(ctx) as usize }
}

impl Packet for Frame {
    const AT_TC: bool = false;

    #[inline(always)]
    fn ifindex(&self) -> u32 {
        // SAFETY: the context is the one the kernel gave us.
        unsafe { (*self.ctx).ingress_ifindex }
    }

    /// Generic XDP does not say how many segments a super-frame has.
    #[inline(always)]
    fn size(&self) -> Size {
        Size {
            packets: 1,
            bytes: self.length as u64,
        }
    }

    #[inline(always)]
    fn kept(&self) -> usize {
        self.end - self.start
    }

    #[inline(always)]
    fn sample(&self, [_, place, lengths, what]: [u64; 4]) {
        bcp38_sample(self.ctx, place, lengths, what);
    }

    #[inline(always)]
    fn address_word(&self, index: u64) -> u64 {
        bcp38_address(self.ctx, index)
    }
}

impl Bytes for Frame {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        if offset > MAX_OFFSET {
            return None;
        }
        let at = self.start + offset;
        let end = at + N;
        let end = if N == 1 {
            opaque(end as *const u8) as usize
        } else {
            end
        };
        if end > self.end {
            return None;
        }
        // SAFETY: `at..at + N` lies within the frame, compared with its end just above; bytes have no
        // alignment and every value is valid.
        Some(unsafe { core::ptr::read_unaligned(at as *const [u8; N]) })
    }

    #[inline(always)]
    fn tagged(&self) -> Result<Payload, Malformed> {
        Payload::from_word(bcp38_tags(self.ctx)).ok_or(Malformed)
    }

    #[inline(always)]
    fn length(&self) -> usize {
        self.length
    }

    #[inline(always)]
    fn words<const N: usize>(&self, offset: usize) -> Option<[u64; N]> {
        if offset > MAX_OFFSET {
            return None;
        }
        // Opaque: what is compared with the end and what is read from is the same register to the verifier.
        let at = opaque((self.start + offset) as *const u64) as usize;
        if at + 8 * N > self.end {
            return None;
        }
        // SAFETY: as above, in whole words.
        let word = |i| unsafe { core::ptr::read_unaligned((at + 8 * i) as *const u64) };
        Some(core::array::from_fn(|i| u64::from_be(word(i))))
    }
}

/// Sends a sample as a global function (kernel 5.6), which the verifier follows once for any arguments and not once for
/// each way that leads to a violation: three words of the record's header; the slot is in the first.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn bcp38_sample(ctx: *mut xdp_md, place: u64, lengths: u64, what: u64) -> u64 {
    let frame = Frame::new(&XdpContext::new(ctx), Buffers::One);
    entry::send([maps::now(), place, lengths, what], |data| {
        entry::copy(&frame, data);
    });
    1
}

/// See [`packet::address_word`]. As a global function, for the same reason.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn bcp38_address(ctx: *mut xdp_md, index: u64) -> u64 {
    let frame = Frame::new(&XdpContext::new(ctx), Buffers::One);
    packet::address_word(&frame, index)
}

/// The tags of a frame that has any, as a global function (kernel 5.6): whatever they are, the rest of the program is
/// followed once for frames with tags, and not once for each number of them.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn bcp38_tags(ctx: *mut xdp_md) -> u64 {
    let frame = Frame::new(&XdpContext::new(ctx), Buffers::One);
    match packet::tagged(&frame) {
        Ok(payload) => payload.word(),
        Err(Malformed) => 0,
    }
}

/// The same pointer, but the compiler no longer knows how it came about. It would turn `at + 1 > end` into
/// `at >= end`, from which the verifier learns nothing, and add offsets before it compares with null, which the
/// verifier refuses.
#[cfg(target_arch = "bpf")]
#[inline(always)]
pub fn opaque<T>(mut pointer: *const T) -> *const T {
    // SAFETY: moves a register to itself. (No instruction at all would give two source lines one place.)
    unsafe {
        core::arch::asm!("{0} = {0}", inout(reg) pointer, options(pure, nomem, preserves_flags, nostack))
    };
    pointer
}

/// Other targets only check this crate: they do not know the instruction.
#[cfg(not(target_arch = "bpf"))]
pub fn opaque<T>(pointer: *const T) -> *const T {
    core::hint::black_box(pointer)
}
