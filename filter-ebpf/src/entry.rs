//! One packet: find the interface, judge, count, sample, act. The verdict itself is `filter_core`'s.
use aya_ebpf::{
    bindings::{xdp_action, xdp_md},
    helpers::generated::bpf_xdp_get_buff_len,
    programs::XdpContext,
};
use filter_core::layout::{
    ANY_MAC, Interface, SAMPLE_BYTES, SAMPLE_WORDS, Sample, counter_index, station,
};
use filter_core::packet::{Bytes, Mac, Vlans};
use filter_core::verdict::{self, Judgement, Membership, Policy};
use filter_core::{Address, Family, Mode, NonIp};

use crate::context::Frame;
use crate::maps;

/// How an engine keeps peers' sets. One value of `Peer` is one generation of one peer.
pub trait Engine {
    /// A peer's sets as they are now. `Option<Peer>` must be one word (a reference or a `NonZero`): of a larger
    /// one the compiler spills the unused part for `None`, and the verifier refuses to read what was never written.
    type Peer: Copy;

    /// The peer in this slot, if its table is published.
    fn open(slot: u32) -> Option<Self::Peer>;
    /// The slot it was opened with.
    fn slot(peer: Self::Peer) -> u32;
    /// See [`Policy::is_peered`].
    fn is_peered(peer: Self::Peer, family: Family) -> bool;
    /// See [`Policy::mode`].
    fn mode(peer: Self::Peer) -> Mode;
    /// See [`Policy::membership`].
    fn membership(peer: Self::Peer, source: Address, destination: Address) -> Membership;
    /// See [`Policy::is_bogon`].
    fn is_bogon(address: Address) -> bool;
    /// See [`Policy::is_ours`].
    fn is_ours(address: Address) -> bool;
}

/// In how many buffers the frames this program is given may lie.
#[derive(Clone, Copy)]
pub enum Buffers {
    /// Just one: kernels before 5.18.
    #[allow(dead_code, reason = "the baseline object has no such program")]
    One,
    /// Jumbo frames lie in several; they are judged from the first.
    Several,
}

/// No driver splits a frame before this many bytes; a shorter linear part is the whole frame.
const MIN_SPLIT: usize = 256;

/// The whole program.
#[inline(always)]
pub fn run<E: Engine>(ctx: &XdpContext, buffers: Buffers) -> u32 {
    let ifindex = ctx.ingress_ifindex() as u32;
    let Some((interface_slot, interface)) = maps::interface(ifindex) else {
        return xdp_action::XDP_PASS; // attached, but not configured yet
    };
    let frame = Frame::new(ctx);
    let judgement = verdict::judge(
        &frame,
        &OnInterface::<E> {
            ifindex,
            interface,
            engine: core::marker::PhantomData,
        },
    );
    let slot = judgement.verdict.peer.map_or(interface_slot, E::slot);
    let length = length(ctx, &frame, buffers);
    maps::count(
        counter_index(slot, judgement.verdict.reason, judgement.action.is_drop()),
        length,
    );
    if judgement.action.is_violation() {
        sample(ctx, &frame, &judgement, ifindex, slot, length);
    }
    if judgement.action.is_drop() {
        xdp_action::XDP_DROP
    } else {
        xdp_action::XDP_PASS
    }
}

/// Frame length on the wire. The helper is asked only about frames long enough to be split.
#[inline(always)]
fn length(ctx: &XdpContext, frame: &Frame, buffers: Buffers) -> u64 {
    if matches!(buffers, Buffers::Several) && frame.len() >= MIN_SPLIT {
        // SAFETY: the context is the one the kernel gave us.
        return unsafe { bpf_xdp_get_buff_len(ctx.ctx) };
    }
    frame.len() as u64
}

/// Sends the violation to user space, if its slot's token bucket allows.
#[inline(always)]
fn sample<P: Copy>(
    ctx: &XdpContext,
    frame: &Frame,
    judgement: &Judgement<P>,
    ifindex: u32,
    slot: u32,
    length: u64,
) {
    let sample = Sample {
        time_ns: 0,
        ifindex,
        slot,
        length: length as u32,
        captured: frame.len().min(SAMPLE_BYTES) as u32,
        vlans: judgement.verdict.vlans,
        reason: judgement.verdict.reason,
        mode: judgement.mode,
        dropped: judgement.action.is_drop(),
        data: [0; SAMPLE_BYTES],
    };
    let [_, place, lengths, what] = sample.header();
    bcp38_sample(ctx.ctx, place, lengths, what);
}

/// The rest of it as a global function (kernel 5.6), which the verifier follows once for any arguments and not once
/// for each way that leads to a violation: three words of the record's header; the slot is in the first.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn bcp38_sample(ctx: *mut xdp_md, place: u64, lengths: u64, what: u64) -> u64 {
    let time_ns = maps::now();
    if !maps::take_sample_token(place as u32, time_ns) {
        return 0;
    }
    let frame = Frame::new(&XdpContext::new(ctx));
    let header = [time_ns, place, lengths, what];
    maps::sample(|record| {
        let (head, data) = record.split_at_mut(header.len());
        head.copy_from_slice(&header);
        copy(&frame, data);
    });
    1
}

/// The first bytes of the frame, zero-padded, in the byte order they have on the wire.
#[inline(always)]
fn copy(frame: &Frame, data: &mut [u64]) {
    for (i, word) in data.iter_mut().enumerate().take(SAMPLE_WORDS) {
        *word = match frame.read::<8>(8 * i) {
            Some(bytes) => u64::from_ne_bytes(bytes),
            None => tail(frame, 8 * i),
        };
    }
}

/// Fewer than eight bytes are left.
#[inline(always)]
fn tail(frame: &Frame, offset: usize) -> u64 {
    let mut bytes = [0; 8];
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = frame.u8(offset + i).unwrap_or(0);
    }
    u64::from_ne_bytes(bytes)
}

/// The policy for packets of one interface.
struct OnInterface<E> {
    ifindex: u32,
    interface: &'static Interface,
    engine: core::marker::PhantomData<E>,
}

impl<E: Engine> Policy for OnInterface<E> {
    type Peer = E::Peer;

    #[inline(always)]
    fn is_own_mac(&self, mac: Mac) -> bool {
        self.interface.is_own_mac(mac)
    }

    #[inline(always)]
    fn is_own_address(&self, address: Address) -> bool {
        self.interface.is_own_address(address)
    }

    #[inline(always)]
    fn is_lan(&self, address: Address) -> bool {
        self.interface.is_lan(address)
    }

    #[inline(always)]
    fn non_ip(&self) -> NonIp {
        self.interface.non_ip()
    }

    #[inline(always)]
    fn peer(&self, vlans: Vlans, source: Mac) -> Option<Self::Peer> {
        let of = |mac| maps::peer_slot(station::Key::new(self.ifindex, vlans, mac));
        let slot = match of(source) {
            Some(slot) => slot,
            None if self.interface.any_mac() => of(ANY_MAC)?,
            None => return None,
        };
        E::open(slot)
    }

    #[inline(always)]
    fn is_peered(&self, peer: Self::Peer, family: Family) -> bool {
        E::is_peered(peer, family)
    }

    #[inline(always)]
    fn membership(&self, peer: Self::Peer, source: Address, destination: Address) -> Membership {
        E::membership(peer, source, destination)
    }

    #[inline(always)]
    fn is_bogon(&self, address: Address) -> bool {
        E::is_bogon(address)
    }

    #[inline(always)]
    fn is_ours(&self, address: Address) -> bool {
        E::is_ours(address)
    }

    #[inline(always)]
    fn mode(&self, peer: Option<Self::Peer>) -> Mode {
        match peer {
            Some(peer) => E::mode(peer),
            None => self.interface.unknown_peer(),
        }
    }

    #[inline(always)]
    fn is_leased(&self) -> bool {
        maps::is_leased()
    }
}

/// A reachable panic makes this loop reachable, and the verifier refuses the program: no panic goes unseen.
#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The kernel gives some helpers only to programs that say this.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
