//! The frame as the program sees it: the one place that reads packet memory.
//! Never reads a byte it has not compared with the frame's end.
use aya_ebpf::programs::XdpContext;
use filter_core::packet::Bytes;

/// No header the verdict reads starts further in: two VLAN tags, IPv4 with options, ICMP, the quoted header.
/// The verifier needs a bound on offsets that come from the packet.
const MAX_OFFSET: usize = 255;

/// The linear part of a frame.
#[derive(Clone, Copy)]
pub struct Frame {
    start: usize,
    end: usize,
}

impl Frame {
    /// Of the packet at hand.
    #[inline(always)]
    pub fn new(ctx: &XdpContext) -> Self {
        Self {
            start: ctx.data(),
            end: ctx.data_end(),
        }
    }

    /// Readable bytes.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.end - self.start
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
