//! A frame in XDP whose headers lie in several buffers: every byte is read by the kernel's helper (5.18), wherever it lies.
//! Dearer than [`crate::context`], which is for all others. Never reads a byte beyond the frame's end: the helper refuses.
use core::mem::MaybeUninit;

use aya_ebpf::{bindings::xdp_md, helpers::generated::bpf_xdp_load_bytes, programs::XdpContext};
use filter_core::packet::{self, Bytes, Malformed, Payload, Size};

use crate::context::{self, MAX_OFFSET};
use crate::entry::{self, Engine, Packet};
use crate::maps;

/// A frame in however many buffers.
#[derive(Clone, Copy)]
pub struct Split {
    ctx: *mut xdp_md,
    length: usize,
}

/// The program for such frames.
#[inline(always)]
pub fn xdp<E: Engine>(ctx: &XdpContext) -> u32 {
    entry::action(entry::run::<E, Split>(&Split::new(ctx)))
}

impl Split {
    /// Of the packet at hand.
    #[inline(always)]
    pub fn new(ctx: &XdpContext) -> Self {
        Self {
            ctx: ctx.ctx,
            length: context::length(ctx.ctx),
        }
    }

    /// `T` is integers only.
    #[inline(always)]
    fn load<T: Copy>(&self, offset: usize) -> Option<T> {
        if offset > MAX_OFFSET {
            return None;
        }
        let mut to = MaybeUninit::<T>::uninit();
        // SAFETY: the context is the one the kernel gave us; the helper writes as many bytes as the value has.
        let failed = unsafe {
            bpf_xdp_load_bytes(
                self.ctx,
                offset as u32,
                to.as_mut_ptr().cast(),
                size_of::<T>() as u32,
            )
        };
        // SAFETY: all of it was written, and any bytes are valid integers.
        (failed == 0).then(|| unsafe { to.assume_init() })
    }
}

impl Bytes for Split {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.load(offset)
    }

    #[inline(always)]
    fn words<const N: usize>(&self, offset: usize) -> Option<[u64; N]> {
        Some(self.load::<[u64; N]>(offset)?.map(u64::from_be))
    }

    #[inline(always)]
    fn tagged(&self) -> Result<Payload, Malformed> {
        Payload::from_word(bcp38_tags_split(self.ctx)).ok_or(Malformed)
    }

    #[inline(always)]
    fn length(&self) -> usize {
        self.length
    }
}

impl Packet for Split {
    const AT_TC: bool = false;

    #[inline(always)]
    fn ifindex(&self) -> u32 {
        // SAFETY: the context is the one the kernel gave us.
        unsafe { (*self.ctx).ingress_ifindex }
    }

    /// As in [`crate::context`].
    #[inline(always)]
    fn size(&self) -> Size {
        Size {
            packets: 1,
            bytes: self.length as u64,
        }
    }

    #[inline(always)]
    fn kept(&self) -> usize {
        self.length
    }

    #[inline(always)]
    fn sample(&self, [_, place, lengths, what]: [u64; 4]) {
        bcp38_sample_split(self.ctx, place, lengths, what);
    }

    #[inline(always)]
    fn address_word(&self, index: u64) -> u64 {
        bcp38_address_split(self.ctx, index)
    }
}

/// See [`crate::context`]'s function of the same kind.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn bcp38_address_split(ctx: *mut xdp_md, index: u64) -> u64 {
    packet::address_word(&Split::new(&XdpContext::new(ctx)), index)
}

/// See [`crate::context`]'s function of the same kind.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn bcp38_tags_split(ctx: *mut xdp_md) -> u64 {
    match packet::tagged(&Split::new(&XdpContext::new(ctx))) {
        Ok(payload) => payload.word(),
        Err(Malformed) => 0,
    }
}

/// See [`crate::context`]'s function of the same kind.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn bcp38_sample_split(ctx: *mut xdp_md, place: u64, lengths: u64, what: u64) -> u64 {
    let frame = Split::new(&XdpContext::new(ctx));
    entry::send([maps::now(), place, lengths, what], |data| {
        entry::copy(&frame, data);
    });
    1
}
