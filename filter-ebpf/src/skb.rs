//! The packet as a program at tc sees it: bytes of its linear part directly, others through a helper, a tag that was taken
//! out of it, and how many segments a super-frame has. Never changes a packet: nothing is pulled into the linear part.
use core::mem::MaybeUninit;

use aya_ebpf::{
    EbpfContext,
    bindings::__sk_buff,
    helpers::generated::{bpf_skb_load_bytes, bpf_skb_load_bytes_relative},
    programs::TcContext,
};
use filter_core::packet::{
    self, Bytes, ETHERNET_LEN, ETHERTYPE_IPV4, Framing, IPV6_LEN, Malformed, Payload, Size,
    SuperFrame, TAG_LEN,
};

use crate::context::{MAX_OFFSET, opaque};
use crate::entry::{self, Engine, Packet};
use crate::maps;

/// `TC_ACT_UNSPEC` of clsact, `TCX_NEXT` of tcx: the next program is asked.
const NEXT: i32 = -1;
/// `TC_ACT_SHOT`, `TCX_DROP`.
const DROP: i32 = 2;
/// `BPF_HDR_START_MAC` and `BPF_HDR_START_NET`: offsets count from that header, wherever it lies.
const FROM_MAC_HEADER: u32 = 0;
const FROM_NETWORK_HEADER: u32 = 1;

/// A packet buffer; `ETHERNET` if the device's frames have that header.
#[derive(Clone, Copy)]
pub struct Skb<const ETHERNET: bool> {
    skb: *mut __sk_buff,
    start: usize,
    end: usize,
    /// Does the linear part start behind the Ethernet header? When generic XDP has copied a packet's buffer, Linux (6.18) forgets
    /// how long that header is, and leaves it out of what it shows programs at tc.
    is_askew: bool,
}

/// The whole program at tc.
#[inline(always)]
pub fn tc<E: Engine, const ETHERNET: bool>(ctx: &TcContext) -> i32 {
    if entry::run::<E, Skb<ETHERNET>>(&Skb::new(ctx.as_ptr().cast())) {
        DROP
    } else {
        NEXT
    }
}

impl<const ETHERNET: bool> Skb<ETHERNET> {
    #[inline(always)]
    fn new(skb: *mut __sk_buff) -> Self {
        // Read once: of a second read the verifier does not know that it is the same packet's.
        let ctx = TcContext::new(skb);
        let (start, end) = (ctx.data(), ctx.data_end());
        let is_askew = ETHERNET && bcp38_is_askew(skb) != 0;
        Self {
            skb,
            start,
            end,
            is_askew,
        }
    }

    #[inline(always)]
    fn descriptor(&self) -> &__sk_buff {
        // SAFETY: the context the kernel gave us.
        unsafe { &*self.skb }
    }

    /// Bytes of the packet, without a tag that was taken out.
    #[inline(always)]
    fn len(&self) -> usize {
        let beside = if self.is_askew { ETHERNET_LEN } else { 0 };
        self.descriptor().len as usize + beside
    }

    /// Eight bytes from anywhere in the packet.
    #[inline(always)]
    fn far(&self, offset: usize) -> u64 {
        bcp38_far(self.skb, offset as u64, u64::from(self.is_askew))
    }

    /// Bytes of a tag that was taken out.
    #[inline(always)]
    fn beside(&self) -> usize {
        match self.framing() {
            Framing::Stripped(_) => TAG_LEN,
            Framing::Whole | Framing::Bare(_) => 0,
        }
    }

    /// From the network header on.
    #[inline(always)]
    fn load_relative<T: Copy>(&self, offset: usize) -> Option<T> {
        load_relative(self.skb, offset, FROM_NETWORK_HEADER)
    }
}

/// From a header on, where the linear part has it. `T` is integers only.
#[inline(always)]
fn load_relative<T: Copy>(skb: *mut __sk_buff, offset: usize, header: u32) -> Option<T> {
    let mut to = MaybeUninit::<T>::uninit();
    // SAFETY: the helper writes as many bytes as the value has.
    let failed = unsafe {
        bpf_skb_load_bytes_relative(
            skb.cast(),
            offset as u32,
            to.as_mut_ptr().cast(),
            size_of::<T>() as u32,
            header,
        )
    };
    // SAFETY: all of it was written, and any bytes are valid integers.
    (failed == 0).then(|| unsafe { to.assume_init() })
}

impl<const ETHERNET: bool> Bytes for Skb<ETHERNET> {
    #[inline(always)]
    fn framing(&self) -> Framing {
        let descriptor = self.descriptor();
        if !ETHERNET {
            return Framing::Bare(u16::from_be(descriptor.protocol as u16));
        }
        // Of a VLAN device the control information is still there when the tag is not.
        if descriptor.vlan_present == 0 {
            Framing::Whole
        } else {
            Framing::Stripped(descriptor.vlan_tci as u16)
        }
    }

    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        if offset > MAX_OFFSET {
            return None;
        }
        if !ETHERNET {
            return self.load_relative(offset);
        }
        let at = self.start + offset;
        let end = at + N;
        let end = if N == 1 {
            opaque(end as *const u8) as usize
        } else {
            end
        };
        if !self.is_askew && end <= self.end {
            // SAFETY: `at..at + N` lies within the linear part, compared with its end just above; bytes have no
            // alignment and every value is valid.
            return Some(unsafe { core::ptr::read_unaligned(at as *const [u8; N]) });
        }
        if offset + N > self.len() {
            return None;
        }
        let mut bytes = [0; N];
        for (i, chunk) in bytes.chunks_mut(8).enumerate() {
            let word = self.far(offset + 8 * i).to_ne_bytes();
            for (to, from) in chunk.iter_mut().zip(word) {
                *to = from;
            }
        }
        Some(bytes)
    }

    #[inline(always)]
    fn words<const N: usize>(&self, offset: usize) -> Option<[u64; N]> {
        if offset > MAX_OFFSET {
            return None;
        }
        if !ETHERNET {
            return Some(self.load_relative::<[u64; N]>(offset)?.map(u64::from_be));
        }
        // Opaque: what is compared with the end and what is read from is the same register to the verifier.
        let at = opaque((self.start + offset) as *const u64) as usize;
        if !self.is_askew && at + 8 * N <= self.end {
            // SAFETY: as above, in whole words.
            let word = |i| unsafe { core::ptr::read_unaligned((at + 8 * i) as *const u64) };
            return Some(core::array::from_fn(|i| u64::from_be(word(i))));
        }
        if offset + 8 * N > self.len() {
            return None;
        }
        let word = |i| self.far(offset + 8 * i);
        Some(core::array::from_fn(|i| u64::from_be(word(i))))
    }

    #[inline(always)]
    fn tagged(&self) -> Result<Payload, Malformed> {
        Payload::from_word(bcp38_tags_skb(self.skb)).ok_or(Malformed)
    }

    /// Without an Ethernet header, what the IP header says: a tunnel's packet may have its outer header before it.
    #[inline(always)]
    fn length(&self) -> usize {
        let said = match self.framing() {
            Framing::Bare(ETHERTYPE_IPV4) => self.u16(2).map_or(0, usize::from),
            Framing::Bare(_) => self
                .u16(4)
                .map_or(0, |payload| usize::from(payload) + IPV6_LEN),
            Framing::Whole | Framing::Stripped(_) => 0,
        };
        if said == 0 { self.len() } else { said }
    }
}

impl<const ETHERNET: bool> Packet for Skb<ETHERNET> {
    const AT_TC: bool = true;

    #[inline(always)]
    fn ifindex(&self) -> u32 {
        self.descriptor().ifindex
    }

    #[inline(always)]
    fn size(&self) -> Size {
        if self.descriptor().gso_size == 0 {
            return Size {
                packets: 1,
                bytes: (self.len() + self.beside()) as u64,
            };
        }
        let word = if ETHERNET {
            bcp38_segments(self.skb)
        } else {
            bcp38_segments_bare(self.skb)
        };
        Size {
            packets: word >> BYTES_BITS,
            bytes: word & BYTES_MASK,
        }
    }

    #[inline(always)]
    fn kept(&self) -> usize {
        if ETHERNET {
            return self.len();
        }
        self.length().min(self.len())
    }

    #[inline(always)]
    fn sample(&self, [_, place, lengths, what]: [u64; 4]) {
        if ETHERNET {
            bcp38_sample_skb(self.skb, place, lengths, what);
        } else {
            bcp38_sample_bare(self.skb, place, lengths, what);
        }
    }

    #[inline(always)]
    fn address_word(&self, index: u64) -> u64 {
        if ETHERNET {
            bcp38_address_skb(self.skb, index)
        } else {
            bcp38_address_bare(self.skb, index)
        }
    }
}

/// See [`crate::context`]'s function of the same kind.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn bcp38_address_skb(skb: *mut __sk_buff, index: u64) -> u64 {
    packet::address_word(&Skb::<true>::new(skb), index)
}

/// The same without an Ethernet header.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn bcp38_address_bare(skb: *mut __sk_buff, index: u64) -> u64 {
    packet::address_word(&Skb::<false>::new(skb), index)
}

/// See [`Skb::is_askew`]: counted from the Ethernet header, are there bytes behind as many as the linear part is shown to have?
/// Only places are compared, and no bytes, which the sender chose. As a global function (kernel 5.6), like those below: the
/// verifier follows it once, for any arguments. (The helper reads no further than 65,535; what generic XDP has copied starts with
/// a page at most.)
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn bcp38_is_askew(skb: *mut __sk_buff) -> u64 {
    let ctx = TcContext::new(skb);
    let (start, end) = (ctx.data(), ctx.data_end());
    let behind: Option<u8> = load_relative(skb, end - start, FROM_MAC_HEADER);
    u64::from(behind.is_some())
}

/// Eight bytes from anywhere in the packet, or as many as it has, as they lie there.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn bcp38_far(skb: *mut __sk_buff, offset: u64, is_askew: u64) -> u64 {
    if is_askew != 0 {
        return far_askew(skb, offset as usize);
    }
    let mut word = [0u8; 8];
    // SAFETY: the context the kernel gave us.
    let len = u64::from(unsafe { (*skb).len });
    let left = len.saturating_sub(offset);
    let mut load = |at: usize, count: u32| {
        // SAFETY: no caller asks for more than is left of the eight bytes.
        unsafe {
            bpf_skb_load_bytes(
                skb.cast(),
                offset as u32 + at as u32,
                word.as_mut_ptr().add(at).cast(),
                count,
            )
        };
    };
    if left >= 8 {
        load(0, 8);
    } else {
        // The last bytes of a packet.
        for at in 0..8 {
            if (at as u64) < left {
                load(at, 1);
            }
        }
    }
    u64::from_ne_bytes(word)
}

/// From the linear part, into which generic XDP copied what it had to.
#[inline(always)]
fn far_askew(skb: *mut __sk_buff, offset: usize) -> u64 {
    if let Some(word) = load_relative::<u64>(skb, offset, FROM_MAC_HEADER) {
        return word;
    }
    let byte = |i| load_relative::<u8>(skb, offset + i, FROM_MAC_HEADER).unwrap_or(0);
    u64::from_ne_bytes(core::array::from_fn(byte))
}

/// See [`crate::context`]'s function of the same kind.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn bcp38_tags_skb(skb: *mut __sk_buff) -> u64 {
    match packet::tagged(&Skb::<true>::new(skb)) {
        Ok(payload) => payload.word(),
        Err(Malformed) => 0,
    }
}

/// A super-frame's [`Size`] in one word: packets above, bytes below. Neither can be larger than there is room.
const BYTES_BITS: u32 = 40;
const BYTES_MASK: u64 = (1 << BYTES_BITS) - 1;

#[inline(always)]
fn segments<const ETHERNET: bool>(skb: *mut __sk_buff) -> u64 {
    let frame = Skb::<ETHERNET>::new(skb);
    let descriptor = frame.descriptor();
    let beside = frame.beside() as u64;
    let headers = packet::headers_len(&frame).map_or(0, |headers| headers as u64 + beside);
    let whole = SuperFrame {
        length: frame.len() as u64 + beside,
        headers,
        segment: u64::from(descriptor.gso_size).max(1),
        segments: u64::from(descriptor.gso_segs),
    };
    let size = whole.size();
    size.packets << BYTES_BITS | size.bytes & BYTES_MASK
}

/// A super-frame's packets and bytes.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn bcp38_segments(skb: *mut __sk_buff) -> u64 {
    segments::<true>(skb)
}

/// The same without an Ethernet header.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn bcp38_segments_bare(skb: *mut __sk_buff) -> u64 {
    segments::<false>(skb)
}

/// See [`crate::context`]'s function of the same kind.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn bcp38_sample_skb(skb: *mut __sk_buff, place: u64, lengths: u64, what: u64) -> u64 {
    let frame = Skb::<true>::new(skb);
    entry::send([maps::now(), place, lengths, what], |data| {
        for (i, word) in data.iter_mut().enumerate() {
            *word = frame.far(8 * i);
        }
    });
    1
}

/// The same without an Ethernet header.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn bcp38_sample_bare(skb: *mut __sk_buff, place: u64, lengths: u64, what: u64) -> u64 {
    let frame = Skb::<false>::new(skb);
    entry::send([maps::now(), place, lengths, what], |data| {
        entry::copy(&frame, data)
    });
    1
}
